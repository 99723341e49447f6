"""Networks in int8: calibrated on whom they learned from, tried on others, refused if they lose."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from cycada import images
from cycada.cli import main
from cycada.config import TranslatorConfig
from cycada.data.dataset import FaceImages, signed
from cycada.data.index import Domain, Split, read_index
from cycada.errors import CycadaError, RunError, UsageError
from cycada.progress import Progress
from cycada.stages import export, train_detector
from cycada.stages import export_int8 as stage
from cycada.stages.export import run_export
from cycada.stages.export_int8 import detector_trial, translator_trials
from cycada.stages.train_translator import run_training
from cycada.training.engines import open_detector, precision_told
from cycada.training.exporting import write_sealed
from cycada.training.loading import load_detector, load_translator

CPU = torch.device("cpu")
SIDE = 16


@pytest.fixture(scope="module")
def judged_run(
    tiny_translator: Callable[..., TranslatorConfig], detector_run: Path, quiet: Progress,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    """Return the run of a translator that was trained with a judge."""
    out = tmp_path_factory.mktemp("judged") / "run"
    run_training(tiny_translator(steps=2, detector=str(detector_run)), out, progress=quiet)
    return out


def faces_of(faces: Path, domain: Domain, split: Split) -> Tensor:
    rows = read_index(faces).select(domain=domain, split=split)
    part = FaceImages([rows], domain=domain, size=SIDE)
    return signed(part.batch(torch.arange(len(part))))


def same_faces(found: tuple[Tensor, ...], expected: Tensor) -> bool:
    """Tell whether batches hold each expected face once and no other."""
    rows = sorted(map(tuple, torch.cat(found).flatten(1).tolist()))
    return rows == sorted(map(tuple, expected.flatten(1).tolist()))


def test_training_subjects_calibrate_and_validation_subjects_are_asked_of(
    faces: Path, detector_run: Path, judged_run: Path
) -> None:
    detector = detector_trial(detector_run, load_detector(detector_run, CPU), allow_outside=False)
    assert same_faces(detector.calibrating, faces_of(faces, "rgb", "train"))
    assert same_faces(detector.asked, faces_of(faces, "rgb", "val"))
    trials = translator_trials(judged_run, load_translator(judged_run, CPU), allow_outside=False)
    shown: tuple[tuple[str, Domain], ...] = (("to_thermal", "rgb"), ("to_rgb", "thermal"))
    assert list(trials) == [name for name, _ in shown]
    for name, domain in shown:
        assert same_faces(trials[name].calibrating, faces_of(faces, domain, "train"))
        assert same_faces(trials[name].asked, faces_of(faces, "rgb", "val"))


def test_images_that_the_training_left_out_are_not_read(
    faces: Path, tiny_detector: Callable[..., Any], quiet: Progress, tmp_path: Path
) -> None:
    own = tmp_path / "faces"
    shutil.copytree(faces, own)
    torn = read_index(own).select(domain="rgb", split="val").faces[0]
    (own / torn.path).write_bytes(b"torn")
    config = tiny_detector(steps=1, source=(str(own / "index.csv"),), target=())
    train_detector.run_training(config, tmp_path / "run", progress=quiet)
    trial = detector_trial(
        tmp_path / "run", load_detector(tmp_path / "run", CPU), allow_outside=False
    )
    assert sum(map(len, trial.asked)) == len(faces_of(faces, "rgb", "val")) - 1


def counted_f1(decided: Tensor, labels: Tensor, known: Tensor) -> float:
    """Return the macro F1 by counting."""
    each = []
    for unit in range(labels.shape[1]):
        cells = [
            (bool(decided[row, unit]), bool(labels[row, unit]))
            for row in range(len(labels)) if known[row, unit]
        ]  # fmt: skip
        right = cells.count((True, True))
        if any(truth for _, truth in cells):
            each.append(2 * right / (2 * right + cells.count((True, False))
                                     + cells.count((False, True))))  # fmt: skip
    return sum(each) / len(each)


def test_what_is_kept_is_what_the_judge_reads_of_faces_there_and_back(
    faces: Path, judged_run: Path, detector_run: Path, quiet: Progress
) -> None:
    translator, judge = load_translator(judged_run, CPU), load_detector(detector_run, CPU)
    trial = translator_trials(judged_run, translator, allow_outside=False)["to_thermal"]

    def darker(rgb: Tensor) -> Tensor:
        return translator.to_thermal(rgb) * 0.2 - 0.7

    kept = trial.kept(translator.to_thermal, darker, progress=quiet, name="to_thermal")
    rows = read_index(faces).select(domain="rgb", split="val")
    labels, known = rows.labels(judge.task)
    rgb = faces_of(faces, "rgb", "val")
    decided = [
        judge.decide(judge.predict(images.resize(translator.to_rgb(network(rgb)), SIDE)))
        for network in (translator.to_thermal, darker)
    ]
    assert kept.faces == len(rgb)
    assert kept.exact == pytest.approx(counted_f1(decided[0], labels, known))
    assert kept.macro_f1 == pytest.approx(counted_f1(decided[1], labels, known))
    assert kept.turned == pytest.approx(float((decided[0] != decided[1]).float().mean()))


@pytest.mark.parametrize(
    ("exact", "macro_f1", "enough"),
    [(0.5, 0.5, True), (0.5, 0.491, True), (0.5, 0.489, False), (0.5, 0.9, True),
     (float("nan"), 0.5, False), (0.5, float("nan"), False)],
)  # fmt: skip
def test_no_more_than_a_hundredth_of_macro_f1_may_be_lost(
    exact: float, macro_f1: float, enough: bool
) -> None:
    assert stage.Kept(9, exact, macro_f1, 0.1).enough == enough


@pytest.fixture(scope="module")
def int8_file(detector_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return an export in int8 and what the verb said; one this small may lose anything."""
    file = tmp_path_factory.mktemp("int8") / "detector.onnx"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stage, "LOSS", 1.0)
        done = CliRunner().invoke(main, ["export", str(detector_run), "--int8", "--out", str(file)])
    assert done.exit_code == 0, done.output
    return file, done.output


def test_all_layers_but_the_first_and_the_last_hold_8_bits(int8_file: tuple[Path, str]) -> None:
    file, said = int8_file
    assert "in float32 differs from PyTorch by at most" in said
    assert "in int8 the macro F1 of 4 labelled validation faces is" in said
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    made_by = {output: node for node in model.graph.node for output in node.output}
    kept = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    exact = [node.input[1] in kept for node in layers]
    assert exact == [True, *[False] * (len(layers) - 2), True]
    for node in layers[1:-1]:
        dequantised = made_by[node.input[1]]
        assert dequantised.op_type == "DequantizeLinear"
        weights, scales = (kept[each] for each in dequantised.input[:2])
        assert weights.dtype == np.int8
        assert scales.shape == (weights.shape[0],)  # one for each channel that is made
    texts = [each.doc_string for each in (model, model.graph, *model.graph.node)]
    assert not any(texts)
    assert str(file.parent) not in file.read_bytes().decode("latin-1")


def test_a_detector_in_int8_is_used_as_the_one_in_float32(
    int8_file: tuple[Path, str], detector_run: Path, faces: Path
) -> None:
    file, _ = int8_file
    run, exported = load_detector(detector_run, CPU), open_detector(file, "onnx", device=CPU)
    assert (precision_told(exported), precision_told(run)) == (" in int8", "")
    for name in ("size", "channels", "task", "window", "seen", "source_domains"):
        assert getattr(exported, name) == getattr(run, name), name
    rgb = faces_of(faces, "rgb", "test")
    away = (exported.predict(rgb) - run.predict(rgb)).abs()
    assert 0 < float(away.max()) < 0.1
    facts = json.loads(next(e.value for e in onnx.load(file).metadata_props if e.key == "cycada"))
    assert facts["precision"] == "int8"


def test_a_network_that_loses_too_much_is_not_written(
    detector_run: Path, quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blinded(file: Path, _: object) -> None:
        """Leave a network that finds no AU in any face."""
        model = onnx.load(file)
        head = [node for node in model.graph.node if node.op_type == "Gemm"][-1]
        for each in model.graph.initializer:
            if each.name in head.input[1:]:
                values = onnx.numpy_helper.to_array(each)
                filled = np.full_like(values, 0 if values.ndim == 2 else -50)
                each.CopyFrom(onnx.numpy_helper.from_array(filled, each.name))
        text = next(each.value for each in model.metadata_props if each.key == "cycada")
        write_sealed(model, file, text=text)

    monkeypatch.setattr(export, "quantise", blinded)
    with pytest.raises(RunError, match=r"in int8 detector brings the macro F1 of 4 .* to 0\.000"):
        run_export(detector_run, tmp_path / "d.onnx", form="onnx", int8=True, progress=quiet)
    assert not list(tmp_path.iterdir())


def test_int8_without_what_it_needs_is_told_in_a_sentence(
    detector_run: Path, translator_run: Path, own_faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    out = tmp_path / "out.onnx"
    with pytest.raises(UsageError, match="--int8 is of --format onnx"):
        run_export(detector_run, tmp_path / "d.pt", form="torchscript", int8=True, progress=quiet)
    with pytest.raises(UsageError, match="there is no such detector or way back"):
        run_export(translator_run, out, form="onnx", int8=True, progress=quiet)
    moved = shutil.copytree(detector_run, tmp_path / "moved" / "run")
    config: dict[str, Any] = json.loads((moved / "config.json").read_text())
    named = config["settings"]["source"][0]
    config["settings"]["source"] = [str(tmp_path / "gone" / "own_faces")]
    (moved / "config.json").write_text(json.dumps(config))
    with pytest.raises(CycadaError, match="is not there; bring it there or to"):
        run_export(moved, out, form="onnx", int8=True, progress=quiet)
    config["inputs"] = {str(tmp_path / "gone" / "own_faces"): config["inputs"][named]}
    (moved / "config.json").write_text(json.dumps(config))
    beside = shutil.move(own_faces, moved.parent / "own_faces")
    assert detector_trial(moved, load_detector(moved, CPU), allow_outside=False).asked
    table = (Path(beside) / "index.csv").read_text().replace(",val,", ",test,", 1)
    (Path(beside) / "index.csv").write_text(table.replace("rgb3", "rgb5", 1))
    with pytest.raises(CycadaError, match="has changed since"):
        run_export(moved, out, form="onnx", int8=True, progress=quiet)
    assert not out.exists()
