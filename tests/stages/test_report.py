"""The page gathers whatever it is given, and says what it cannot show."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from cycada import image_writing
from cycada.config import DetectorConfig, GeneratorConfig, TranslatorConfig
from cycada.data.index import Face, Index, IndexInfo, write_index
from cycada.errors import DataError, UsageError
from cycada.metrics.scores import score_detector, score_intensities
from cycada.metrics.translation import TranslationScores
from cycada.models.build import build_generators
from cycada.report.methods import (
    Scored,
    detection_figures,
    detection_section,
    in_order,
    spoken,
    tones,
)
from cycada.report.page import Beside, Plot, Strip, Table
from cycada.report.plots import Estimates, units_plot
from cycada.stages.demo import BETWEEN, METHODS
from cycada.stages.report import report
from cycada.task import Task
from cycada.training.run import Run, open_run

SIZE = 16


def evaluation(folder, skill: float, *, frames: int = 200, index: str = "data"):
    """Write the scores of a made-up detector that sees the labels through noise."""
    draw = np.random.default_rng(0)
    labels = draw.random((frames, 3)) < 0.4
    scores = score_detector(
        np.clip(skill * labels + (1 - skill) * draw.random((frames, 3)), 0, 1),
        labels,
        np.ones_like(labels),
        subjects=np.arange(frames) // 10,
        thresholds=[0.5] * 3,
        task=Task((1, 2, 12)),
        resamples=50,
    )
    head = {"kind": "detector", "run": "r", "index": index, "split": "test", "domain": "thermal"}
    folder.mkdir(parents=True)
    text = json.dumps({**head, "notes": ["a note"], "scores": scores.to_json()})
    (folder / "scores.json").write_text(text)
    return Scored(name=folder.name, scores=scores, head=head)


def test_calibration_and_intensities_are_shown_where_a_method_has_them(tmp_path):
    for name, skill in (("source_only", 0.1), ("both", 0.4)):
        evaluation(tmp_path / name, skill)
    plain = report([tmp_path], tmp_path / "plain").read_text(encoding="utf-8")
    assert "ICC" not in plain
    assert "Calibration error" not in plain
    file = tmp_path / "both" / "scores.json"
    result = json.loads(file.read_text())
    draw = np.random.default_rng(0)
    truth = draw.uniform(0, 5, size=(200, 3))
    graded = score_intensities(
        truth + draw.normal(size=truth.shape), truth, subjects=np.arange(200) // 10,
        task=Task((1, 2, 12)), resamples=20,
    )  # fmt: skip
    result["intensities"] = graded.to_json()
    result["scores"]["macro_calibration_error"] = 0.0625
    file.write_text(json.dumps(result))
    text = report([tmp_path], tmp_path / "graded").read_text(encoding="utf-8")
    for words in ("Mean ICC(3,1)", "Calibration error", "0.062", f"{graded.macro_icc:.3f}",
                  f"{graded.macro_mae:.3f}"):  # fmt: skip
        assert words in text


def dataset(root) -> Index:
    faces = []
    for number, split in enumerate(("train", "test", "test")):
        for domain, channels in (("rgb", 3), ("thermal", 1)):
            path = f"{domain}/{number}.png"
            picture = torch.randint(0, 255, (channels, SIZE, SIZE), dtype=torch.uint8)
            image_writing.write_image(root / path, picture)
            pair = f"thermal/{number}.png" if domain == "rgb" else ""
            faces.append(
                Face(path=path, domain=domain, subject=f"S{number}", split=split, pair=pair)
            )
    index = Index(root, IndexInfo(kind="none"), tuple(faces))
    write_index(index)
    return index


def translator_run(root, data) -> Run:
    config = TranslatorConfig(
        data=(str(data),), size=SIZE, generator=GeneratorConfig(width=4, blocks=1), steps=20
    )
    run = open_run(root, "translator", config, writes=True)
    about = {"window": None, "unit": "grey", "seen_subjects": ["S0"]}
    weights = {"generators": build_generators(config)}
    run.save(20, state={}, weights=weights, about=about, keep=1)
    for step in (10, 20):
        run.log(step, {"cycle": 1.0 / step, "adversarial": 0.5})
        grid = torch.zeros(3, 6 * SIZE, 4 * SIZE, dtype=torch.uint8)
        image_writing.write_image(root / "samples" / f"{step:06d}.png", grid)
    return run


def test_a_page_of_everything_shows_everything(tmp_path):
    dataset(tmp_path / "data")
    translator_run(tmp_path / "runs" / "translator", tmp_path / "data")
    detector = open_run(tmp_path / "runs" / "both", "detector", DetectorConfig(), writes=True)
    detector.log(5, {"action_units": 0.7, "validation": 0.4})
    for name, skill in (("source_only", 0.1), ("both", 0.4), ("target_supervised", 0.55)):
        evaluation(tmp_path / "scores" / name, skill)
    file = report([tmp_path], tmp_path / "out", title="A title")
    text = file.read_text(encoding="utf-8")
    assert file == tmp_path / "out" / "report.html"
    for words in (
        "<h1>A title</h1>",
        "Gap closed",
        "Pixel + feature",
        "True thermal",
        "Back in RGB",
        "Step 20",
        "Cycle, L1",
        "Validation: average precision, or accuracy",
        "&#34;steps&#34;: 20",
        "whom no stage has learned from",
        "A note.",
    ):
        assert words in text, words


def test_only_scores_of_the_same_faces_share_a_table(tmp_path):
    for name, frames in (("one", 200), ("two", 200), ("three", 100)):
        evaluation(tmp_path / name, 0.4, frames=frames)
    paths = [tmp_path / name for name in ("one", "two", "three")]
    text = report(paths, tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("<h2>Action Units</h2>") == 2
    assert text.count("<h2>Runs compared</h2>") == 1  # the third has nothing to be compared with


def test_the_head_of_the_page_tells_the_gap_closed(tmp_path):
    skills = {"source_only": 0.1, "both": 0.4, "target_supervised": 0.55}
    methods = [evaluation(tmp_path / name, skill) for name, skill in skills.items()]
    low, middle, high = (method.scores.macro_f1 for method in methods)
    shown = {figure.label: figure.value for figure in detection_figures(methods)}
    assert shown["Macro F1, Pixel + feature"] == f"{middle:.3f}"
    assert shown["Gap closed"] == f"{100 * (middle - low) / (high - low):.0f} %"


def test_the_best_method_below_the_ceiling_is_bold(tmp_path):
    skills = {"source_only": 0.1, "both": 0.4, "target_supervised": 0.55}
    methods = [evaluation(tmp_path / name, skill) for name, skill in skills.items()]
    beside = detection_section(methods).blocks[1]
    assert isinstance(beside.left, Table)
    for row in beside.left.rows[beside.left.total :]:
        assert [cell.strong for cell in row[2:]] == [False, True, False]


def test_the_table_of_units_begins_with_the_mean_f1_and_roc_auc(tmp_path):
    methods = [evaluation(tmp_path / name, skill) for name, skill in (("one", 0.1), ("two", 0.4))]
    table = detection_section(methods).blocks[1].left
    assert isinstance(table, Table)
    assert table.total == 2
    f1, auc = table.rows[:2]
    assert (f1[0].text, auc[0].text) == ("Mean F1", "Mean ROC-AUC")
    assert [cell.text for cell in auc[2:]] == [f"{m.scores.macro_roc_auc:.3f}" for m in methods]
    low, high = methods[0].scores.macro_roc_auc_interval
    assert auc[2].note == f"{low:.2f}\u2013{high:.2f}"
    assert table.rows[2][0].text == "AU01"


def test_the_table_of_many_methods_has_the_width_of_the_page(tmp_path):
    names = ("source_only", "structure", "pixel", "feature", "both", "target_supervised")
    methods = [evaluation(tmp_path / name, 0.1 * n) for n, name in enumerate(names)]
    for count, kinds in ((4, [Beside, Beside]), (6, [Beside, Table, Plot])):
        blocks = detection_section(methods[:count]).blocks
        assert [type(block) for block in blocks[: len(kinds)]] == kinds


def test_the_names_of_many_methods_are_all_within_the_plot():
    names = [
        spoken(name) for name in in_order(["both", "structure", "target_supervised", "feature"])
    ]
    methods = [Estimates(name=name, values=[0.5], tone="1") for name in names * 2]
    svg = units_plot(methods, ["AU01 Inner brow raiser"], title="F1", width=450)
    found = re.findall(r'<text class="name" x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>', svg)
    shown = [(float(x), float(y), text) for x, y, text in found if text in names]
    assert [text for _, _, text in shown] == names * 2
    assert all(x + 6.5 * len(text) <= 450 for x, _, text in shown)
    assert len({y for _, y, _ in shown}) > 1
    ticks = [float(y) for y in re.findall(r'y="([\d.]+)" text-anchor="middle">0.5<', svg)]
    assert min(ticks) > max(y for _, y, _ in shown)


def test_methods_keep_cycadas_order_and_their_own_colours():
    names = ["target_supervised", "mine", "both", "source_only"]
    assert in_order(names) == ["source_only", "both", "mine", "target_supervised"]
    colours = tones(["mine", "both", "other"])
    assert len(set(colours.values())) == 3
    assert colours["both"] == tones(["both"])["both"]


def test_every_detector_of_the_demo_has_a_colour_of_its_own():
    names = {*METHODS, *BETWEEN}
    assert len(set(tones(sorted(names)).values())) == len(names)


def test_a_translator_without_checkpoint_says_so(tmp_path):
    dataset(tmp_path / "data")
    config = TranslatorConfig(data=(str(tmp_path / "data"),), size=SIZE)
    open_run(tmp_path / "run", "translator", config, writes=True)
    text = report([tmp_path / "run"], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "No translations to show" in text
    assert "has no checkpoint yet" in text


def test_a_translated_dataset_is_shown_beside_its_origin(tmp_path):
    source = dataset(tmp_path / "data")
    made = [face for face in source.faces if face.domain == "rgb"]
    faces = []
    for face in made:
        image_writing.write_image(
            tmp_path / "made" / face.path, torch.zeros(1, SIZE, SIZE, dtype=torch.uint8)
        )
        faces.append(replace(face, domain="thermal", origin=f"../data/{face.path}", pair=""))
    info = IndexInfo(kind="none", translator="runs/t", translator_hash="0" * 64)
    write_index(Index(tmp_path / "made", info, tuple(faces)))
    text = report([tmp_path / "made"], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Origin" in text
    assert "Dataset made" in text


def test_a_folder_without_anything_to_report_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="expected a run, a folder of `cycada evaluate`"):
        report([tmp_path / "empty"], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    "text",
    [
        '{"accuracy": 1}',
        '{"kind": "detector", "domain": "thermal"}',
        '{"kind": "..", "scores": {}}',
        '{"kind": "translator", "scores": {"distances": {}}}',
        '{"kind": "translator", "scores": {"figures": {"a": 1}, "distances": {}}}',
        '{"kind": "translator", "scores": {"figures": {}, "distances": [1]}}',
    ],
)
def test_scores_of_something_else_are_refused(tmp_path, text):
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(DataError, match="was not written by `cycada evaluate`"):
        report([tmp_path], tmp_path / "page.html")


def test_strips_are_of_different_subjects(tmp_path):
    from cycada.stages.report_faces import dataset_strips

    strips = dataset_strips(dataset(tmp_path), named=True)
    assert all(isinstance(strip, Strip) for strip in strips)
    assert [tile.alt for tile in strips[0].rows[0].tiles] == ["RGB, subject S1", "RGB, subject S2"]


def test_the_mean_images_of_an_evaluation_are_shown(tmp_path):
    folder = tmp_path / "translator"
    image_writing.write_image(folder / "mean_thermal.png", torch.zeros(1, 8, 16, dtype=torch.uint8))
    scores = TranslationScores(rgb_images=1, thermal_images=1, subjects=1, paired=0)
    head = {"kind": "translator", "window": [20.0, 40.0], "scores": scores.to_json()}
    (folder / "scores.json").write_text(json.dumps(head))
    text = report([folder], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "mean of the made thermal images" in text
    assert "40 °C" in text
