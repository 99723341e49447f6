"""Exported networks give what PyTorch gives, carry what they need, and are refused if changed."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

import cycada
from cycada import image_reading
from cycada.cli import main
from cycada.config import DetectorConfig
from cycada.data.index import read_index
from cycada.errors import CycadaError, RunError, UsageError
from cycada.footage import ReadOptions
from cycada.progress import Progress
from cycada.stages import export as stage
from cycada.stages.detect import DetectOptions, detect
from cycada.stages.export import run_export
from cycada.stages.train_detector import run_training
from cycada.stages.translate import run_translation
from cycada.training.engines import open_detector, open_translator
from cycada.training.exported import KEY, seal
from cycada.training.exporting import load_archive
from cycada.training.loading import load_detector, load_translator
from cycada.training.quantising import quantise

CPU = torch.device("cpu")
LIMIT = 1e-4  # what the issue promises

SIDE = 16


@pytest.fixture(scope="module")
def translator_file(
    translator_run: Path, quiet: Progress, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("exported") / "translator.onnx"
    run_export(translator_run, out, form="onnx", progress=quiet)
    return out


@pytest.fixture(scope="module")
def detector_file(
    detector_run: Path, quiet: Progress, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("exported") / "detector.onnx"
    run_export(detector_run, out, form="onnx", progress=quiet)
    return out


def drawn(*shape: int) -> torch.Tensor:
    return 2 * torch.rand(*shape, generator=torch.Generator().manual_seed(5)) - 1


def away(one: torch.Tensor, other: torch.Tensor) -> float:
    assert one.shape == other.shape
    return float((one - other).abs().max())


@pytest.mark.parametrize("shape", [(1, 16, 16), (5, 12, 20), (2, 8, 8), (3, 64, 4 * 9)])
def test_an_exported_translator_takes_any_number_and_size(
    shape: tuple[int, int, int], translator_run: Path, translator_file: Path
) -> None:
    count, height, width = shape
    rgb = drawn(count, 3, height, width)
    exported = open_translator(translator_file, "onnx", device=CPU)
    exact = load_translator(translator_run, CPU).to_thermal(rgb)
    assert away(exported.to_thermal(rgb), exact) < LIMIT


def test_an_exported_translator_carries_what_its_run_knows(
    translator_run: Path, translator_file: Path
) -> None:
    run, exported = (
        load_translator(translator_run, CPU),
        open_translator(translator_file, "onnx", device=CPU),
    )
    for name in ("size", "window", "unit", "seen", "fingerprint"):
        assert getattr(exported, name) == getattr(run, name), name
    assert exported.seen
    assert exported.window is not None


@pytest.mark.parametrize("count", [1, 2, 7])
def test_an_exported_detector_takes_any_number(
    count: int, detector_run: Path, detector_file: Path
) -> None:
    faces = drawn(count, 3, SIDE, SIDE)
    run, exported = (
        load_detector(detector_run, CPU),
        open_detector(detector_file, "onnx", device=CPU),
    )
    assert away(exported.predict(faces), run.predict(faces)) < LIMIT


def test_an_exported_detector_carries_what_its_run_knows(
    detector_run: Path, detector_file: Path
) -> None:
    run, exported = (
        load_detector(detector_run, CPU),
        open_detector(detector_file, "onnx", device=CPU),
    )
    for name in ("size", "channels", "task", "window", "seen", "source_domains"):
        assert getattr(exported, name) == getattr(run, name), name
    said = drawn(6, len(run.task)).double().abs()
    assert run.calibration is not None
    assert torch.equal(exported.calibrated(said), run.calibrated(said))
    assert torch.equal(exported.decide(said), run.decide(said))
    assert torch.equal(exported.thresholds, run.thresholds)


def test_a_detector_of_regions_is_exported_too(
    own_faces: Path, mark_eyes: Callable[..., Path], tiny_detector: Callable[..., DetectorConfig],
    quiet: Progress, tmp_path: Path,
) -> None:  # fmt: skip
    """Its regions are cut out where it finds them, of any number of faces at once."""
    mark_eyes(own_faces)
    config = tiny_detector(
        source=(str(own_faces),), backbone="regions", view="structure", steps=2
    )  # fmt: skip
    run_training(config, tmp_path / "run", progress=quiet)
    (made,) = run_export(tmp_path / "run", tmp_path / "d.pt", form="torchscript", progress=quiet)
    assert made.difference < LIMIT
    network, _ = load_archive("torchscript", made.file)
    run = load_detector(tmp_path / "run", CPU)
    faces = drawn(5, run.channels, SIDE, SIDE)
    assert away(network(faces), run.predict(faces)) < LIMIT
    assert len({tuple(row) for row in network(faces).tolist()}) == 5  # each face for itself


@pytest.mark.parametrize("form", ["torchscript", "torch-export"])
def test_pytorchs_own_formats_take_any_number_and_size_and_carry_the_facts(
    form: Any, translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    out = tmp_path / "both"
    made = run_export(translator_run, out, form=form, progress=quiet)
    suffix = {"torchscript": ".pt", "torch-export": ".pt2"}[form]
    assert [each.file.name for each in made] == [f"to_thermal{suffix}", f"to_rgb{suffix}"]
    translator = load_translator(translator_run, CPU)
    network, facts = load_archive(form, made[1].file)
    thermal = drawn(3, 1, 20, 12)
    with torch.no_grad():
        assert away(network(thermal), translator.to_rgb(thermal)) < LIMIT
    assert facts["direction"] == "to_rgb"
    assert (facts["size"], facts["unit"]) == (translator.size, translator.unit)


def test_no_exported_file_names_a_folder_of_this_machine(
    translator_run: Path, translator_file: Path, detector_file: Path, quiet: Progress,
    tmp_path: Path,
) -> None:  # fmt: skip
    texts = [translator_file.read_bytes(), detector_file.read_bytes()]
    for form, name in (("torchscript", "t.pt"), ("torch-export", "t.pt2")):
        run_export(translator_run, tmp_path / name, form=form, progress=quiet)  # type: ignore[arg-type]
        with zipfile.ZipFile(tmp_path / name) as archive:
            texts += [archive.read(entry) for entry in archive.namelist()]
    folders = (str(Path(cycada.__file__).parents[1]), str(Path(torch.__file__).parents[1]))
    for folder in (*folders, str(translator_run)):
        assert not any(folder.encode() in text for text in texts), folder


def test_translations_by_onnx_runtime_are_those_of_pytorch(
    faces: Path, translator_run: Path, translator_file: Path, quiet: Progress, tmp_path: Path
) -> None:
    """The same index, and temperatures apart by one count of 0.01 K at most."""
    exact = run_translation(translator_run, faces, tmp_path / "a", depth="auto", progress=quiet)
    made = run_translation(
        translator_file, faces, tmp_path / "b", depth="auto", engine="onnx", progress=quiet
    )
    assert made.info.translator_hash == exact.info.translator_hash
    assert made.info.seen == exact.info.seen
    assert made.faces == exact.faces
    assert made.faces[0].action_units
    for face in made.faces:
        one, other = (image_reading.read_image(index.file(face)).int() for index in (made, exact))
        assert int((one - other).abs().max()) <= 1


def test_a_folder_is_filled_by_one_engine(
    faces: Path, translator_run: Path, translator_file: Path, quiet: Progress, tmp_path: Path
) -> None:
    run_translation(translator_run, faces, tmp_path / "out", depth="auto", progress=quiet)
    with pytest.raises(RunError, match="was made by other pixels"):
        run_translation(
            translator_file, faces, tmp_path / "out", depth="auto", engine="onnx", progress=quiet
        )


def test_a_translator_in_int8_takes_any_size_and_fills_a_folder_of_its_own(
    faces: Path, translator_run: Path, translator_file: Path, quiet: Progress, tmp_path: Path
) -> None:
    exact = load_translator(translator_run, CPU)
    small = Path(shutil.copy(translator_file, tmp_path / "small.onnx"))
    quantise(small, [drawn(4, 3, SIDE, SIDE)])
    exported = open_translator(small, "onnx", device=CPU)
    assert exported.fingerprint == exact.fingerprint
    for shape in ((1, 16, 16), (3, 12, 20)):
        rgb = drawn(shape[0], 3, *shape[1:])
        assert LIMIT < away(exported.to_thermal(rgb), exact.to_thermal(rgb)) < 0.5
    out = tmp_path / "out"
    run_translation(small, faces, out, depth="auto", engine="onnx", progress=quiet)
    with pytest.raises(RunError, match="was made by other pixels"):
        run_translation(translator_file, faces, out, depth="auto", engine="onnx", progress=quiet)


def test_detections_by_onnx_runtime_are_those_of_pytorch(
    faces: Path, detector_run: Path, detector_file: Path, quiet: Progress, tmp_path: Path
) -> None:
    tables = []
    for engine, path in (("torch", detector_run), ("onnx", detector_file)):
        options = DetectOptions(
            run=path, sources=(faces,), out=tmp_path / engine, read=ReadOptions(domain="rgb"),
            engine=engine, device=CPU,  # type: ignore[arg-type]
        )  # fmt: skip
        (done,) = detect(options, progress=quiet)
        with done.table.open(encoding="utf-8", newline="") as stream:
            tables.append(list(csv.DictReader(stream)))
    assert len(tables[0]) == len(tables[1]) == len(read_index(faces).select(domain="rgb").faces)
    for one, other in zip(*tables, strict=True):
        for name in ("AU01", "AU12", "AU51", "AU52"):
            assert float(one[name]) == pytest.approx(float(other[name]), abs=2e-3)
            assert one[f"{name}_c"] == other[f"{name}_c"]


def test_the_verbs_take_exports(faces: Path, detector_file: Path, tmp_path: Path) -> None:
    words = ["detect", str(detector_file), str(faces), "--engine", "onnx", "--domain", "rgb"]
    done = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    refused = CliRunner().invoke(main, [*words, "--device", "cuda", "--out", str(tmp_path / "b")])
    assert refused.exit_code == 2
    assert "ONNX Runtime computes on the processor" in refused.output


def spoiled(file: Path, change: Callable[[bytearray], bytearray], folder: Path) -> Path:
    spoilt = folder / "spoilt.onnx"
    spoilt.write_bytes(change(bytearray(file.read_bytes())))
    return spoilt


def flipped(content: bytearray) -> bytearray:
    content[len(content) // 2] ^= 1
    return content


def resealed(text: str) -> Callable[[bytearray], bytearray]:
    """Return a change of the metadata by someone who seals the file again."""

    def change(content: bytearray) -> bytearray:
        model = onnx.load_model_from_string(bytes(content[:-83]))
        onnx.helper.set_model_props(model, {KEY: text})
        body = model.SerializeToString()
        return bytearray(body + seal(body))

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (flipped, "is damaged or was changed after the export"),
        (lambda content: content[:-200], "is no network that this package exported, or is cut"),
        (lambda content: content + b"\x72\x00", "is damaged or was changed after the export"),
        (lambda _: bytearray(b"no network"), "is no network that this package exported"),
        (resealed("{}"), "its metadata cannot be read"),
        (resealed('{"layout": 2, "kind": "detector"}'), "by another version of cycada"),
        (resealed('{"layout": 1, "kind": "detector"}'), "its metadata lack something"),
        (lambda _: bytearray((b := b"no network") + seal(b)), "cannot open it"),
    ],
)
def test_a_file_that_was_changed_is_refused_in_a_sentence(
    change: Callable[[bytearray], bytearray], told: str, detector_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=told) as caught:
        open_detector(spoiled(detector_file, change, tmp_path), "onnx", device=CPU)
    assert str(caught.value).startswith(str(tmp_path / "spoilt.onnx"))


def test_no_other_file_is_read_for_a_network(
    detector_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX can keep weights beside the model, at a path in it: here a stranger's path."""
    model = onnx.load(detector_file)
    weights = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    (tmp_path / "secret.bin").write_bytes(weights.raw_data)
    onnx.external_data_helper.set_external_data(weights, "secret.bin")
    weights.ClearField("raw_data")
    body = model.SerializeToString()
    (tmp_path / "spoilt.onnx").write_bytes(body + seal(body))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="cannot open it"):
        open_detector(Path("spoilt.onnx"), "onnx", device=CPU)


def with_last(file: Path, folder: Path, *nodes: Any, made: int, more: tuple[Any, ...] = ()) -> Path:
    """Return a sealed file whose network ends with nodes from ``before`` to its output."""
    model = onnx.load(file)
    (output,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = ["before" if name == output.name else name for name in node.output]
    for node in nodes:
        node.output[:] = [output.name]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(more)
    output.type.tensor_type.elem_type = made
    del model.metadata_props[1:]
    body = model.SerializeToString()
    (folder / "spoilt.onnx").write_bytes(body + seal(body))
    return folder / "spoilt.onnx"


def test_a_network_of_other_numbers_than_floats_is_refused(
    detector_file: Path, tmp_path: Path
) -> None:
    double = onnx.TensorProto.DOUBLE
    cast = onnx.helper.make_node("Cast", ["before"], ["x"], to=double)
    with pytest.raises(RunError, match="its network does not fit its metadata"):
        open_detector(with_last(detector_file, tmp_path, cast, made=double), "onnx", device=CPU)


def test_a_network_that_cannot_be_computed_is_told_in_a_sentence(
    detector_file: Path, tmp_path: Path
) -> None:
    seven = onnx.helper.make_tensor("seven", onnx.TensorProto.INT64, [1], [7])
    cut = onnx.helper.make_node("Gather", ["before", "seven"], ["x"], axis=0)
    file = with_last(
        detector_file, tmp_path, cut, made=onnx.TensorProto.FLOAT, more=(seven,)
    )  # fmt: skip
    detector = open_detector(file, "onnx", device=CPU)
    with pytest.raises(RunError, match="ONNX Runtime cannot compute the exported network"):
        detector.predict(torch.zeros(1, 3, SIDE, SIDE))


def test_metadata_of_another_network_are_refused(detector_file: Path, tmp_path: Path) -> None:
    model = onnx.load(detector_file)
    facts = json.loads(next(each.value for each in model.metadata_props if each.key == KEY))
    facts["action_units"], facts["thresholds"] = [1, 12], [0.5, 0.5]
    del facts["calibration"]
    spoilt = spoiled(detector_file, resealed(json.dumps(facts)), tmp_path)
    with pytest.raises(RunError, match="its network does not fit its metadata"):
        open_detector(spoilt, "onnx", device=CPU)


def test_the_checksum_leaves_a_model_that_others_read(detector_file: Path) -> None:
    model = onnx.load(detector_file)
    onnx.checker.check_model(model, full_check=True)
    assert {each.key for each in model.metadata_props} == {KEY, "cycada_sha256"}
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in shape] == ["batch", 3, SIDE, SIDE]


def test_each_engine_says_what_it_takes(
    translator_run: Path, translator_file: Path, detector_file: Path, tmp_path: Path
) -> None:
    cases: tuple[tuple[Callable[[], object], str], ...] = (
        (lambda: open_translator(translator_run, "onnx", device=CPU), "cycada export"),
        (lambda: open_translator(translator_file, "torch", device=CPU), "add --engine onnx"),
        (lambda: open_translator(detector_file, "onnx", device=CPU), "is the export of a detector"),
        (lambda: open_detector(translator_file, "onnx", device=CPU), "export of a translator"),
        (lambda: open_detector(tmp_path / "none.onnx", "onnx", device=CPU), "No such file"),
        (lambda: open_translator(tmp_path, "onnx", device=CPU), "holds no exported translator"),
    )
    for refused, told in cases:
        with pytest.raises(CycadaError, match=told):
            refused()


@pytest.mark.parametrize(("wrong", "told"), [(0.001, "up to 0.001"), (float("nan"), "up to nan")])
def test_a_network_that_differs_is_not_written(
    wrong: float, told: str, translator_run: Path, quiet: Progress, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    real = stage.load_archive

    def load(form: Any, file: Path) -> Any:
        network, facts = real(form, file)
        return (lambda seen: network(seen) + wrong), facts

    monkeypatch.setattr(stage, "load_archive", load)
    out = tmp_path / "exported" / "t.pt"
    with pytest.raises(RunError, match=f"differs from PyTorch by {told}"):
        run_export(translator_run, out, form="torchscript", progress=quiet)
    assert not list(out.parent.iterdir())


def test_a_file_of_another_format_is_refused(
    translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="a file of --format onnx ends in"):
        run_export(translator_run, tmp_path / "t.pt", form="onnx", progress=quiet)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_the_command_that_brings_it(
    package: str, detector_run: Path, detector_file: Path, quiet: Progress, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"{package}: pip install 'cycada\[onnx\]'"):
        run_export(detector_run, tmp_path / "d.onnx", form="onnx", progress=quiet)
    assert not list(tmp_path.iterdir())
    if package == "onnxruntime":
        with pytest.raises(UsageError, match=rf"{package}: pip install 'cycada\[onnx\]'"):
            open_detector(detector_file, "onnx", device=CPU)


def test_the_verb_prints_the_difference(translator_run: Path, tmp_path: Path) -> None:
    words = ["export", str(translator_run), "--format", "torchscript"]
    done = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "t.pt")])
    assert done.exit_code == 0, done.output
    assert "differs from PyTorch by at most" in done.output
    assert "on 32 faces of 12 x 20, 16 x 16 px" in done.output


def test_faces_to_compare_are_32_of_both_kinds() -> None:
    for window, channels in ((None, 3), (stage.Window(), 1)):
        faces = stage._drawn(SIDE, window)
        assert faces.shape == (32, channels, SIDE, SIDE)
        assert float(faces.min()) >= -1
        assert float(faces.max()) <= 1
        assert len(np.unique(faces.flatten(1).mean(1).numpy())) == 32
