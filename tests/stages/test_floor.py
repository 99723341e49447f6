"""No adaptation makes a detector worse unnoticed: what is refused, kept, chosen and said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from cycada import image_reading, image_writing, images
from cycada.config import (
    AlignmentConfig,
    AugmentConfig,
    DetectorConfig,
    SelfTrainingConfig,
    TranslatorConfig,
)
from cycada.data.dataset import FaceImages, signed
from cycada.data.index import read_index, write_index
from cycada.errors import ConfigError, CycadaError, DataError
from cycada.progress import Progress
from cycada.stages.train_detector import run_training as train_detector
from cycada.stages.train_translator import run_training as train_translator
from cycada.training.checkpoint import newest_checkpoint
from cycada.training.loading import load_detector
from cycada.training.run_reading import read_log
from cycada.training.selection import CRITERIA, Comparison

SIDE = 16
CAUSE = "values from 0 to 255 in files of 16 bits"
MakeDetector = Callable[..., DetectorConfig]
MakeTranslator = Callable[..., TranslatorConfig]
Method = Literal["dann", "cdan", "adda"]


class Heard(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(shown=False)
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


# Images that nothing can be aligned to.


def grey(root: Path, dtype: torch.dtype) -> Path:
    """Write the thermal images anew, as grey values from 0 to 255 in files of that type."""
    index = read_index(root)
    for face in index.faces:
        if face.domain == "thermal":
            file = root / face.path
            counts = image_reading.read_image(file)
            picture = images.to_signed(counts, unit=index.info.unit, window=index.info.window)
            levels = images.from_signed(picture, dtype=torch.uint8)
            image_writing.write_image(file, levels.to(dtype))
    write_index(replace(index, info=replace(index.info, unit="grey")))
    return root


@pytest.fixture
def broken(own_faces: Path) -> Path:
    return grey(own_faces, torch.uint16)


@pytest.mark.parametrize("method", ["adda", "dann", "cdan"])
def test_a_target_of_bytes_in_files_of_16_bits_is_refused_before_any_training(
    method: Method, tiny_detector: MakeDetector, broken: Path, detector_run: Path,
    quiet: Progress, tmp_path: Path,
) -> None:  # fmt: skip
    config = tiny_detector(
        target=(str(broken),), initial=str(detector_run), alignment=AlignmentConfig(method=method)
    )
    with pytest.raises(DataError) as caught:
        train_detector(config, tmp_path / "run", progress=quiet)
    told = str(caught.value)
    assert CAUSE in told
    assert f"thermal images of {broken}" in told
    assert "\n" not in told
    assert told.endswith(".")
    assert caught.value.exit_code == 1
    assert not (tmp_path / "run").exists()


def test_the_same_images_with_labels_are_refused_as_the_source(
    tiny_detector: MakeDetector, broken: Path, quiet: Progress, tmp_path: Path
) -> None:
    config = tiny_detector(source=(str(broken),), source_domain="thermal")
    with pytest.raises(DataError, match=CAUSE):
        train_detector(config, tmp_path / "run", progress=quiet)
    assert not (tmp_path / "run").exists()


def test_the_same_images_with_labels_are_refused_beside_the_source(
    tiny_detector: MakeDetector, broken: Path, quiet: Progress, tmp_path: Path
) -> None:
    """docs/flow.md: sets that nothing can be learned from are refused."""
    config = tiny_detector(source=(str(broken),), labelled_target=(str(broken),))
    with pytest.raises(DataError, match=CAUSE):
        train_detector(config, tmp_path / "run", progress=quiet)
    assert not (tmp_path / "run").exists()


def test_a_translator_of_such_images_is_refused(
    tiny_translator: MakeTranslator, broken: Path, quiet: Progress, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=CAUSE) as caught:
        train_translator(tiny_translator(data=(str(broken),)), tmp_path / "run", progress=quiet)
    assert f"thermal images of {broken}" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_same_values_in_files_of_8_bits_are_learned_from(
    tiny_detector: MakeDetector, tiny_translator: MakeTranslator, own_faces: Path, tmp_path: Path
) -> None:
    data, heard = (str(grey(own_faces, torch.uint8)),), Heard()
    alignment = AlignmentConfig(method="dann", hidden=8)
    config = tiny_detector(source=data, target=data, alignment=alignment, steps=1)
    train_detector(config, tmp_path / "detector", progress=heard)
    train_translator(tiny_translator(data=data, steps=1), tmp_path / "run", progress=heard)
    assert not any("Warning" in text for text in heard.said)


def test_a_run_that_has_begun_stays_when_its_images_have_broken(
    tiny_detector: MakeDetector, own_faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    """Nothing is learned from them, and what was learned before is not lost."""
    data = (str(own_faces),)
    alignment = AlignmentConfig(method="dann", hidden=8)
    config = tiny_detector(source=data, target=data, alignment=alignment, steps=2)
    train_detector(config, tmp_path / "run", progress=quiet)
    before = {f: f.read_bytes() for f in (tmp_path / "run").rglob("*") if f.is_file()}
    grey(own_faces, torch.uint16)
    with pytest.raises(CycadaError, match=r"16 bits|has changed"):
        train_detector(replace(config, steps=4), tmp_path / "run", progress=quiet)
    assert before == {f: f.read_bytes() for f in (tmp_path / "run").rglob("*") if f.is_file()}


# The floor: the detector that adaptation began with.


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [(0.3, 0.2, "initial"), (0.2, 0.3, "adapted"), (0.2, 0.2, "adapted")],
)
def test_the_detector_that_tells_more_is_kept(before: float, after: float, kept: str) -> None:
    # All other figures say the opposite.
    figures = [
        {
            "net_information": value, "information": -value, "density": -value,
            "nuclear_norm": -value, "entropy": 0, "shift": 0,
        }
        for value in (before, after)
    ]  # fmt: skip
    found = Comparison(*figures)
    assert found.adapted_is_better == (kept == "adapted")
    assert found.to_json() == {
        "kept": kept, "judged": {"initial": figures[0], "adapted": figures[1]}
    }  # fmt: skip
    told = found.told(Path("runs/new"), "runs/old")
    assert told.startswith("runs/new: ")
    assert "runs/old" in told
    assert f"{after:.3f} nats per answer against {before:.3f}" in told
    assert ("weights are kept" in told) == (kept == "initial")


@pytest.fixture(scope="module")
def sound_run(
    tiny_detector: MakeDetector, quiet: Progress, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the run of a detector that says something of a face."""
    out = tmp_path_factory.mktemp("sound") / "run"
    config = tiny_detector(steps=60, validate_every=60, save_every=60, learning_rate=1e-2)
    train_detector(config, out, progress=quiet)
    return out


def weights_of(run: Path) -> dict[str, Tensor]:
    checkpoint = newest_checkpoint(run)
    assert checkpoint is not None
    return safetensors.torch.load_file(checkpoint.folder / "detector.safetensors")


def equal(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def about_of(run: Path) -> dict[str, Any]:
    checkpoint = newest_checkpoint(run)
    assert checkpoint is not None
    return checkpoint.about()


def information(run: Path, root: Path) -> float:
    """Return the mean over AUs of the binary mutual information, by its definition."""
    index = read_index(root).select(split="train")
    pictures = FaceImages([index], domain="thermal", size=SIDE)
    said = load_detector(run, torch.device("cpu")).predict(
        signed(pictures.batch(torch.arange(len(pictures))))
    )
    p = said.double().numpy()

    def entropy(q: Any) -> Any:
        return -(q * np.log(q) + (1 - q) * np.log(1 - q))

    return float((entropy(p.mean(0)) - entropy(p).mean(0)).mean())


ABSURD: dict[str, dict[str, Any]] = {
    "an alignment that drowns the labels": {
        "alignment": AlignmentConfig(method="dann", hidden=8, weight=1e4, warm_up=0.0),
        "clip_norm": 0.0, "learning_rate": 0.1,
    },
    "a learning rate of adda that destroys": {
        "alignment": AlignmentConfig(method="adda", hidden=8, weight=1.0, healthy_from=0.0),
        "learning_rate": 1.0,
    },
    "a learning rate of self-training that destroys": {
        "self_training": SelfTrainingConfig(information=1.0), "learning_rate": 3.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("way", ABSURD)
def test_what_adaptation_has_destroyed_is_not_kept(
    way: str, tiny_detector: MakeDetector, sound_run: Path, faces: Path, tmp_path: Path
) -> None:
    run, heard = tmp_path / "run", Heard()
    config = tiny_detector(
        target=(str(faces),), initial=str(sound_run), steps=8, average_decay=0.1, save_every=4,
        **ABSURD[way],
    )  # fmt: skip
    train_detector(config, run, progress=heard)
    about = about_of(run)
    assert about["kept"] == "initial"
    assert equal(weights_of(run), weights_of(sound_run))
    judged = about["judged"]
    assert judged["initial"]["net_information"] > judged["adapted"]["net_information"]
    assert judged["initial"]["information"] == pytest.approx(
        information(sound_run, faces), rel=1e-4
    )
    (told,) = (text for text in heard.said if "nats per answer" in text)
    assert str(sound_run) in told
    assert "weights are kept" in told
    # What does not end there is not compared; and what training goes on with is no floor.
    early = json.loads((run / "000004" / "about.json").read_text())
    assert "kept" not in early
    saved = torch.load(run / "000008" / "state.pt", weights_only=True)
    assert not equal(saved["average"], weights_of(sound_run))
    # The facts beside the weights are of those kept.
    assert about["validation"] == pytest.approx(about_of(sound_run)["validation"], abs=1e-6)


def test_an_adaptation_that_tells_more_is_kept(
    tiny_detector: MakeDetector, detector_run: Path, faces: Path, tmp_path: Path
) -> None:
    run, heard = tmp_path / "run", Heard()
    config = tiny_detector(
        target=(str(faces),), initial=str(detector_run), steps=30, learning_rate=1e-2,
        alignment=AlignmentConfig(method="dann", hidden=8, weight=0.1), save_every=30,
    )  # fmt: skip
    train_detector(config, run, progress=heard)
    about = about_of(run)
    assert about["kept"] == "adapted"
    assert not equal(weights_of(run), weights_of(detector_run))
    saved = torch.load(run / "000030" / "state.pt", weights_only=True)
    assert equal(weights_of(run), saved["best"])
    judged = about["judged"]
    assert judged["adapted"]["net_information"] > judged["initial"]["net_information"]
    for figures in judged.values():
        assert figures["net_information"] == figures["information"] - figures["shift"]
    assert judged["adapted"]["information"] == pytest.approx(information(run, faces), rel=1e-4)
    assert [text for text in heard.said if "it tells more than" in text] == [
        text for text in heard.said if "nats per answer" in text
    ]


def test_a_stopped_adaptation_has_the_floor_that_it_began_with(
    tiny_detector: MakeDetector, sound_run: Path, faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    config = tiny_detector(
        target=(str(faces),), initial=str(sound_run), steps=8, average_decay=0.1, save_every=4,
        **ABSURD["an alignment that drowns the labels"],
    )  # fmt: skip
    train_detector(config, run, progress=quiet)
    whole = about_of(run)
    shutil.rmtree(run / "000008")
    train_detector(config, run, progress=quiet)
    assert about_of(run) == whole
    assert whole["kept"] == "initial"
    assert equal(weights_of(run), weights_of(sound_run))


def test_nothing_is_compared_without_a_target_or_a_beginning(
    tiny_detector: MakeDetector, sound_run: Path, faces: Path, tmp_path: Path
) -> None:
    alignment = AlignmentConfig(method="dann", hidden=8)
    ways: tuple[dict[str, Any], ...] = (
        {"initial": str(sound_run)}, {"target": (str(faces),), "alignment": alignment}
    )  # fmt: skip
    for number, changes in enumerate(ways):
        heard = Heard()
        train_detector(tiny_detector(steps=1, **changes), tmp_path / str(number), progress=heard)
        assert "kept" not in about_of(tmp_path / str(number))
        assert not any("nats per answer" in text for text in heard.said)


# What chooses among the looks.


def test_a_criterion_keeps_the_weights_of_the_look_with_the_highest_figure(
    tiny_detector: MakeDetector, faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    chosen = []
    for criterion in CRITERIA:
        run = tmp_path / criterion
        config = tiny_detector(
            target=(str(faces),), alignment=AlignmentConfig(method="dann", hidden=8, weight=1.0),
            choose=criterion, steps=10, validate_every=1, save_every=1, keep=10,
            learning_rate=0.1, average_decay=0.3,
        )  # fmt: skip
        train_detector(config, run, progress=quiet)
        looks = [line for line in read_log(run) if "validation" in line]
        assert [line["step"] for line in looks] == list(range(1, 11))
        figures = {int(line["step"]): line[f"criterion_{criterion}"] for line in looks}
        best = max(figures, key=lambda step: figures[step])
        about = about_of(run)
        assert about["chosen_step"] == best
        looked_at = torch.load(run / f"{best:06d}" / "state.pt", weights_only=True)["average"]
        assert equal(weights_of(run), looked_at)
        chosen.append(best)
    assert min(chosen) < 10  # so that not simply the last is kept
    assert len(set(chosen)) > 1  # and each goes by a figure of its own


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_criterion_on_unlabelled_faces_needs_some(
    criterion: str, tiny_detector: MakeDetector, quiet: Progress, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"choose={criterion} .* give --target INDEX\.$"):
        train_detector(tiny_detector(choose=criterion), tmp_path / "run", progress=quiet)
    assert not (tmp_path / "run").exists()


# What is said while it trains.


def test_a_domain_classifier_that_wins_is_told_while_it_trains_and_once(
    tiny_detector: MakeDetector, faces: Path, tmp_path: Path
) -> None:
    """RGB and thermal faces are easily told apart, and nothing holds against it here."""
    run, heard = tmp_path / "run", Heard()
    still = AugmentConfig(
        flip=0, rotate=0, scale=0, shift=0, brightness=0, contrast=0, blur=0, noise=0
    )
    config = tiny_detector(
        target=(str(faces),), steps=200, log_every=20, save_every=180, validate_every=200,
        batch_size=12, learning_rate=0.0, augment=still,
        alignment=AlignmentConfig(method="dann", hidden=64, weight=0.0, learning_rate=3e-3),
    )  # fmt: skip
    train_detector(config, run, progress=heard)
    lines = [line for line in read_log(run) if "domain_accuracy" in line]
    assert all(line["domain_accuracy"] >= 0.99 for line in lines[2:])
    (told,) = (text for text in heard.said if "the domain classifier is right in" in text)
    assert told.startswith(f"{run}: since step ")
    assert "it wins" in told
    # Taken up again after it was said, the training does not say it anew.
    shutil.rmtree(run / "000200")
    again = Heard()
    train_detector(config, run, progress=again)
    assert not any("it wins" in text for text in again.said)


def test_of_a_training_without_a_target_nothing_is_said(
    tiny_detector: MakeDetector, tmp_path: Path
) -> None:
    heard = Heard()
    config = tiny_detector(steps=120, log_every=20, save_every=120, validate_every=120)
    train_detector(config, tmp_path / "run", progress=heard)
    assert not any("since step" in text for text in heard.said)
