"""Files from strangers: nothing in them runs, whatever they are given as."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cycada import image_reading
from cycada.data.auditing.looks import LOOKS_NAME
from cycada.data.faces.detectors import open_detector
from cycada.data.landmarks import LANDMARKS_NAME
from cycada.errors import CycadaError, DataError, RunError
from cycada.footage import ReadOptions, open_footage
from cycada.losses.perceptual import PerceptualDistance
from cycada.metrics.features import load_features
from cycada.models.backbones import PUBLISHED, TorchvisionBackbone, imagenet_address
from cycada.training.loading import load_detector
from cycada.training.run_reading import finished_checkpoint
from cycada.weights import read_state, read_tensors


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.file),)


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    return Trap(tmp_path / "sprung")


def _plain(trap: Trap, file: Path) -> None:
    file.write_bytes(pickle.dumps({"conv1.weight": trap}))


def _protocol_2(trap: Trap, file: Path) -> None:
    file.write_bytes(pickle.dumps({"conv1.weight": trap}, protocol=2))


def _zipped(trap: Trap, file: Path) -> None:
    torch.save({"conv1.weight": trap}, file)


def _legacy(trap: Trap, file: Path) -> None:
    torch.save({"conv1.weight": trap}, file, _use_new_zipfile_serialization=False)


def _object_array(trap: Trap, file: Path) -> None:
    with file.open("wb") as stream:
        np.save(stream, np.array([[trap]], dtype=object), allow_pickle=True)


def _object_archive(trap: Trap, file: Path) -> None:
    with file.open("wb") as stream:
        np.savez(stream, arr_0=np.array([[trap]], dtype=object))


WRITERS = (_plain, _protocol_2, _zipped, _legacy, _object_array, _object_archive)
Writer = Callable[[Trap, Path], None]


def test_the_trap_is_one(trap: Trap, tmp_path: Path) -> None:
    _zipped(trap, tmp_path / "file")
    torch.load(tmp_path / "file", weights_only=False)
    assert trap.file.exists()
    trap.file.rmdir()
    _object_array(trap, tmp_path / "file.npy")
    np.load(tmp_path / "file.npy", allow_pickle=True)
    assert trap.file.exists()


def _refused(act: Callable[[], object], trap: Trap, *, names: Path) -> str:
    """Return the sentence of the refusal, which is one, and names the file."""
    with pytest.raises(CycadaError) as caught:
        act()
    told = str(caught.value)
    assert not trap.file.exists()
    assert str(names) in told
    assert "\n" not in told
    assert "weights_only" not in told  # PyTorch's advice to read the file all the same
    return told


@pytest.mark.parametrize(
    "use",
    [
        read_tensors,
        lambda file: PerceptualDistance(str(file)),
        load_features,
        lambda file: TorchvisionBackbone("resnet18", 3, pretrained=str(file)),
    ],
    ids=["weights", "lpips", "inception", "backbone"],
)
def test_a_pickle_given_as_weights_is_refused_and_never_runs(
    use: Callable[[Path], object], trap: Trap, tmp_path: Path
) -> None:
    for number, write in enumerate(WRITERS if use is read_tensors else (_protocol_2, _zipped)):
        for suffix in (".pth", ".safetensors"):
            file = tmp_path / f"{number}{suffix}"
            write(trap, file)
            _refused(lambda file=file: use(file), trap, names=file)  # type: ignore[misc]


def test_a_refusal_names_what_a_pickle_would_have_called(trap: Trap, tmp_path: Path) -> None:
    _zipped(trap, tmp_path / "weights.pth")
    with pytest.raises(DataError, match=r"pickle that names posix\.mkdir"):
        read_tensors(tmp_path / "weights.pth")


def test_weights_are_read_from_safetensors_and_from_a_state_dict_alike(tmp_path: Path) -> None:
    import safetensors.torch

    wanted = {"a": torch.arange(3.0)}
    safetensors.torch.save_file(wanted, tmp_path / "a.safetensors")
    torch.save(wanted, tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pth"):
        torch.testing.assert_close(read_tensors(tmp_path / name), wanted)
    for wrong in ([torch.zeros(1)], {"a": 1}, {1: torch.zeros(1)}):
        torch.save(wrong, tmp_path / "wrong.pth")
        with pytest.raises(DataError, match="expected a state dict"):
            read_tensors(tmp_path / "wrong.pth")


def test_a_pickle_in_the_cache_of_downloads_is_refused_and_never_runs(
    trap: Trap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    cache = tmp_path / "checkpoints"
    cache.mkdir()
    for backbone in PUBLISHED:
        file = cache / imagenet_address(backbone).rpartition("/")[2]
        _zipped(trap, file)
        _refused(
            lambda name=backbone: TorchvisionBackbone(name, 3, pretrained="imagenet"),  # type: ignore[misc]
            trap, names=file,
        )  # fmt: skip
    file = cache / "alexnet-owt-7be5be79.pth"
    _zipped(trap, file)
    _refused(lambda: PerceptualDistance(""), trap, names=file)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("kind", "suffix"), [("dlib", "svm"), ("yunet", "onnx"), ("tflite", "tflite")]
)
def test_a_pickle_given_as_a_detector_of_faces_is_refused_and_never_runs(
    kind: Any, suffix: str, write: Writer, trap: Trap, tmp_path: Path
) -> None:
    file = tmp_path / f"weights.{suffix}"
    write(trap, file)
    _refused(lambda: open_detector(kind, weights=file), trap, names=file)


@pytest.mark.parametrize("write", WRITERS)
def test_a_pickle_in_the_place_of_a_checkpoint_is_refused_and_never_runs(
    write: Writer, detector_run: Path, trap: Trap, tmp_path: Path
) -> None:
    run = shutil.copytree(detector_run, tmp_path / "run")
    checkpoint = finished_checkpoint(run)
    state, weights = checkpoint.folder / "state.pt", checkpoint.folder / "detector.safetensors"
    write(trap, state)
    _refused(checkpoint.state, trap, names=state)
    write(trap, weights)
    _refused(lambda: load_detector(run), trap, names=weights)
    weights.unlink()
    write(trap, checkpoint.folder / "detector.pth")  # which nobody asks for
    with pytest.raises(RunError):
        load_detector(run)
    assert not trap.file.exists()


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("suffix", sorted(image_reading.IMAGE_SUFFIXES))
def test_a_pickle_given_as_an_image_is_refused_and_never_runs(
    suffix: str, write: Writer, trap: Trap, tmp_path: Path
) -> None:
    file = tmp_path / f"image{suffix}"
    write(trap, file)
    _refused(lambda: image_reading.read_image(file), trap, names=file)
    _refused(lambda: image_reading.read_size(file), trap, names=file)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".cptv", ".tiff", ".csv", ".mp4"])
def test_a_pickle_given_as_a_recording_is_refused_and_never_runs(
    suffix: str, write: Writer, trap: Trap, tmp_path: Path
) -> None:
    file = tmp_path / f"recording{suffix}"
    write(trap, file)
    _refused(
        lambda: list(open_footage(file, ReadOptions(unit="celsius")).frames()), trap, names=file
    )


@pytest.mark.parametrize("write", [_plain, _object_archive])
def test_a_pickle_beside_an_index_never_runs(write: Writer, own_faces: Path, trap: Trap) -> None:
    from cycada.progress import Progress
    from cycada.stages.audit import audit

    for name in (LOOKS_NAME, LANDMARKS_NAME):
        write(trap, own_faces / name)
    audit([own_faces], progress=Progress(shown=False))
    assert not trap.file.exists()


def test_no_reader_may_unpickle() -> None:
    package = Path(image_reading.__file__).parent
    sources = [*package.rglob("*.py"), *(package.parent / "tools").glob("*.py")]
    assert len(sources) > 100
    for source in sources:
        text = source.read_text(encoding="utf-8")
        for word in ("import pickle", "import joblib", "import dill", "allow_pickle=True",
                     "weights_only=False", "load_state_dict_from_url", "get_state_dict(",
                     "np.fromfile(", "import marshal", "import shelve"):  # fmt: skip
            assert word not in text, f"{source}: {word}"
        for call, safe in (
            ("torch.load(", "weights_only=True"),
            ("np.load(", "allow_pickle=False"),
        ):
            for line in text.splitlines():
                assert call not in line or safe in line or "safetensors" in line, (
                    f"{source}: {line}"
                )
    assert read_state.__module__ == "cycada.weights"
