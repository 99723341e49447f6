"""What stands behind scores on a page: counted again, by other means, from the tables of faces."""

from __future__ import annotations

import csv
import json
import math
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cycada.data.predictions import read_predictions
from cycada.errors import DataError
from cycada.metrics.bootstrap import subject_draws
from cycada.metrics.scores import DetectionScores, score_detector
from cycada.report.comparison import comparison_section, paired_difference
from cycada.report.decisions import decision_sections
from cycada.report.judged import Judged
from cycada.report.methods import Scored
from cycada.report.page import Fold, Plots, Section, Table
from cycada.stages.report import report
from cycada.stages.report_scores import score_sections
from cycada.task import Task

NAMES = ("AU01", "AU02", "AU12")
FRAMES, A = 120, len(NAMES)


def evaluation(
    folder: Path, skill: float, *, names: tuple[str, ...] = NAMES, seed: int = 0, table: bool = True
) -> Path:
    """Write scores and predictions of a made-up detector as ``cycada evaluate`` would."""
    classes = names != NAMES
    draw = np.random.default_rng(0)  # the same faces for all
    if classes:
        labels = np.eye(len(names), dtype=bool)[draw.integers(0, len(names), FRAMES)]
        known = np.ones((FRAMES, len(names)), dtype=bool)
    else:
        labels = draw.random((FRAMES, A)) < 0.4
        known = draw.random((FRAMES, A)) < 0.9
        known[:, 0] = True
    subjects = [f"Jane Doe {n // 10}" for n in range(FRAMES)]
    noise = np.random.default_rng(seed + 1).random(labels.shape)
    said = np.round(np.clip(skill * labels + (1 - skill) * noise, 0, 1), 2)  # with ties
    if classes:
        said = said / said.sum(1, keepdims=True)
        said = np.round(said, 6)
    calibrated = np.clip(said * 0.8, 0, 1)
    task = Task((), names) if classes else Task((1, 2, 12))
    thresholds = [0.45] * len(names)
    scores = score_detector(
        said, labels, known, subjects=subjects, thresholds=thresholds, task=task,
        calibrated=None if classes else calibrated, resamples=200,
    )  # fmt: skip
    folder.mkdir(parents=True)
    head = {"kind": "detector", "run": f"runs/{folder.name}", "index": "data", "split": "test",
            "domain": "thermal", "notes": []}  # fmt: skip
    (folder / "scores.json").write_text(json.dumps({**head, "scores": scores.to_json()}))
    if table:
        kinds = ["probability", "decision", "label", *([] if classes else ["calibrated"])]
        with (folder / "predictions.csv").open("w", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["path", "subject", *(f"{n}_{k}" for n in names for k in kinds)])
            for frame in range(FRAMES):
                cells = []
                for unit in range(len(names)):
                    decision = (
                        said[frame].argmax() == unit if classes else (said[frame, unit] >= 0.45)
                    )
                    label = int(labels[frame, unit]) if known[frame, unit] else ""
                    cells += [f"{said[frame, unit]:.6f}", int(decision), label]
                    cells += [] if classes else [f"{calibrated[frame, unit]:.6f}"]
                writer.writerow([f"secret/{frame}.png", subjects[frame], *cells])
    return folder


def judged(folder: Path) -> Judged:
    head = json.loads((folder / "scores.json").read_text())
    scores = DetectionScores.from_json(head["scores"])
    names = [unit.name for unit in scores.units]
    return Judged(
        method=Scored(name=folder.name, scores=scores, head=head, folder=folder),
        predictions=read_predictions(folder / "predictions.csv", names),
    )


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def block(section: Section, kind: type) -> object:
    return next(each for each in section.blocks if isinstance(each, kind))


def test_the_four_counts_are_those_of_the_table_counted_row_by_row(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "both", 0.3)
    section = decision_sections([judged(folder)])[0]
    table = block(section, Table)
    assert isinstance(table, Table)
    assert table.header[1:5] == ("TP", "FN", "FP", "TN")
    for name, row in zip(NAMES, table.rows, strict=True):
        counts = dict.fromkeys(("11", "01", "10", "00"), 0)
        for face in rows_of(folder):
            if face[f"{name}_label"]:
                counts[face[f"{name}_decision"] + face[f"{name}_label"]] += 1
        assert row[0].text == name
        assert [int(cell.text) for cell in row[1:5]] == list(counts.values())
        recall = counts["11"] / (counts["11"] + counts["01"])
        assert row[5].text == f"{100 * recall:.1f} %"
        assert row[1].shade == pytest.approx(recall)
        f1 = 2 * counts["11"] / (2 * counts["11"] + counts["01"] + counts["10"])
        assert row[8].text == f"{f1:.3f}"
        assert re.fullmatch(r"\d\.\d\d\u2013\d\.\d\d", row[8].note)
        assert row[10].text == "0.45"


def test_the_threshold_lies_on_the_roc_curve_where_its_counts_say(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "both", 0.3)
    roc = next(s for s in decision_sections([judged(folder)]) if s.title == "ROC curves")
    plots = block(roc, Plots)
    assert isinstance(plots, Plots)
    assert len(plots.svgs) == A
    for name, svg in zip(NAMES, plots.svgs, strict=True):
        faces = [f for f in rows_of(folder) if f[f"{name}_label"]]
        yes = [f[f"{name}_decision"] == "1" for f in faces if f[f"{name}_label"] == "1"]
        no = [f[f"{name}_decision"] == "1" for f in faces if f[f"{name}_label"] == "0"]
        found = re.search(r'<circle class="dot[^>]*cx="([\d.]+)" cy="([\d.]+)"', svg)
        assert found
        x0, y0, x1, y1 = _ends(svg)
        assert (float(found[1]) - x0) / (x1 - x0) == pytest.approx(sum(no) / len(no), abs=1e-3)
        assert (float(found[2]) - y0) / (y1 - y0) == pytest.approx(sum(yes) / len(yes), abs=1e-3)
        corners = re.search(r'<path class="line[^>]*d="M([^"]+)"', svg)
        assert corners
        points = [tuple(map(float, p.split())) for p in corners[1].split("L")]
        dot = (float(found[1]), float(found[2]))
        nearest = min(_distance(dot, a, b) for a, b in pairwise(points))
        assert nearest < 1  # px


def _ends(svg: str) -> tuple[float, float, float, float]:
    tag = re.search(r'<line class="chance"[^>]*>', svg)
    assert tag
    value = {key: float(v) for key, v in re.findall(r'([xy][12])="([\d.]+)"', tag[0])}
    return value["x1"], value["y1"], value["x2"], value["y2"]


def _distance(p: tuple[float, ...], a: tuple[float, ...], b: tuple[float, ...]) -> float:
    length = math.dist(a, b)
    share = 0.0
    if length:
        share = sum((p[i] - a[i]) * (b[i] - a[i]) for i in (0, 1)) / length**2
    share = min(max(share, 0.0), 1.0)
    return math.dist(p, [a[i] + share * (b[i] - a[i]) for i in (0, 1)])


def test_the_calibration_errors_are_those_of_the_scores(tmp_path: Path) -> None:
    one = judged(evaluation(tmp_path / "both", 0.3))
    section = next(s for s in decision_sections([one]) if s.title == "Calibration")
    beside = section.blocks[0]
    table = beside.left  # type: ignore[union-attr]
    units = {unit.name: unit.calibration_error for unit in one.method.scores.units}
    shown = {row[0].text: row[1].text for row in table.rows}
    assert shown["Mean"] == f"{one.method.scores.macro_calibration_error:.3f}"
    assert shown["Mean, uncalibrated"] == f"{one.method.scores.macro_uncalibrated_error:.3f}"
    assert {name: shown[name] for name in NAMES} == {n: f"{e:.3f}" for n, e in units.items()}


def test_a_difference_has_the_interval_of_differences_on_the_same_resamples(
    tmp_path: Path,
) -> None:
    one, other = (
        judged(evaluation(tmp_path / name, skill, seed=n))
        for n, (name, skill) in enumerate((("both", 0.4), ("source_only", 0.25)))
    )
    draws = subject_draws(12, resamples=200, seed=0)
    names = sorted({face["subject"] for face in rows_of(tmp_path / "both")})

    def mean_f1(folder: Path, times: dict[str, int]) -> float:
        values = []
        for name in NAMES:
            tp = fp = fn = 0
            for face in rows_of(folder):
                told = (face[f"{name}_decision"], face[f"{name}_label"])
                weight = times[face["subject"]]
                tp += weight * (told == ("1", "1"))
                fp += weight * (told == ("1", "0"))
                fn += weight * (told == ("0", "1"))
            values.append(2 * tp / (2 * tp + fp + fn))
        return sum(values) / len(values)

    off = [
        mean_f1(tmp_path / "both", times) - mean_f1(tmp_path / "source_only", times)
        for times in (dict(zip(names, draw.tolist(), strict=True)) for draw in draws)
    ]
    found = paired_difference(one, other)
    assert found == pytest.approx(tuple(np.quantile(off, [0.025, 0.975])), abs=1e-9)
    assert paired_difference(one, one) == (0, 0)


def test_runs_stand_in_one_table_with_what_they_learned_from(tmp_path: Path) -> None:
    skills = {"source_only": 0.1, "pixel": 0.25, "both": 0.4, "target_supervised": 0.5}
    methods = [judged(evaluation(tmp_path / name, skill)) for name, skill in skills.items()]
    settings = {
        "source_only": {"source": ["a/faces"], "target": [], "alignment": {"method": "none"}},
        "both": {
            "source": ["a/faces", "b/translated"], "target": ["c/real"],
            "alignment": {"method": "dann"}, "initial": "runs/pixel",
        },
    }  # fmt: skip
    section = score_sections([each.method for each in methods], settings)[0]
    assert section.title == "Runs compared"
    table = section.blocks[0]
    assert isinstance(table, Table)
    assert [row[0].text for row in table.rows] == [
        "Source only", "Pixel", "Pixel + feature", "Supervised on target",
    ]  # fmt: skip
    learned = [row[1].text for row in table.rows]
    assert learned == ["faces", "", "faces + translated; dann to real; begun from pixel", ""]
    f1 = [each.method.scores.macro_f1 for each in methods]
    assert [row[2].text for row in table.rows] == [f"{value:.3f}" for value in f1]
    assert [row[3].text for row in table.rows][1:] == [f"+{v - f1[0]:.3f}" for v in f1[1:]]
    gap = (f1[2] - f1[0]) / (f1[3] - f1[0])
    assert table.rows[2][4].text == f"{100 * gap:.0f} %"
    assert [row[2].strong for row in table.rows] == [False, False, True, False]
    low, high = paired_difference(methods[2], methods[0])
    assert (low > 0 or high < 0) == table.rows[2][3].strong


def test_one_run_alone_is_not_compared(tmp_path: Path) -> None:
    one = judged(evaluation(tmp_path / "both", 0.3))
    assert comparison_section([one.method], [one], learned=[""]) is None


def test_without_predictions_a_sentence_says_so_and_the_rest_is_shown(tmp_path: Path) -> None:
    evaluation(tmp_path / "e" / "both", 0.4)
    evaluation(tmp_path / "e" / "pixel", 0.3, table=False)
    text = report([tmp_path / "e"], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "are not shown of Pixel: there is no predictions.csv" in text
    assert "ROC of AU01; area under the curve: Pixel + feature" in text
    assert "<h2>Runs compared</h2>" in text
    (tmp_path / "e" / "both" / "predictions.csv").unlink()
    text = report([tmp_path / "e"], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "are not shown of Pixel, Pixel + feature" in text
    assert "F1 of each Action Unit and method" in text
    assert "<h2>ROC curves</h2>" not in text


def test_others_than_the_shown_method_are_folded_away(tmp_path: Path) -> None:
    names = ("source_only", "both")
    methods = [judged(evaluation(tmp_path / name, 0.2 + 0.1 * n)) for n, name in enumerate(names)]
    section = decision_sections(methods)[0]
    assert [type(each) for each in section.blocks] == [Table, Fold]
    assert section.blocks[1].title == "Decisions of Source only"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.replace("AU02_probability", "AU02_chance"), "no column 'AU02_probability'"),
        (lambda t: "\n".join(t.splitlines()[:50]) + "\n", "holds 49 faces with a label"),
        (lambda t: t.replace("secret/3.png,Jane Doe 0,0.", "secret/3.png,Jane Doe 0,7."),
         "row 5, column AU01_probability: expected a number from 0 to 1"),
        (lambda t: t + "a,b,c\n", "row 122: has 3 cells"),
        (lambda _: "", "no column 'path'"),
    ],
)  # fmt: skip
def test_a_table_that_is_not_of_the_scores_is_refused(tmp_path: Path, change, told: str) -> None:
    file = evaluation(tmp_path / "both", 0.4) / "predictions.csv"
    file.write_text(change(file.read_text()))
    with pytest.raises(DataError, match=told):
        report([tmp_path / "both"], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_classes_have_curves_against_all_others_and_hostile_names_are_text(tmp_path: Path) -> None:
    names = ("<script>alert(1)</script>", "b & c", "d")
    evaluation(tmp_path / "e" / "both", 0.4, names=names)
    evaluation(tmp_path / "e" / "source_only", 0.2, names=names)
    text = report([tmp_path / "e"], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<h2>ROC curves</h2>" in text
    assert "<h2>Decisions</h2>" not in text  # the confusion matrix tells more
    assert "faces of each true class" in text
    assert "ROC of b &amp; c" in text
    assert "<script>alert(1)" not in text


def test_a_page_of_scores_names_no_subject_and_no_file(tmp_path: Path) -> None:
    evaluation(tmp_path / "e" / "both", 0.4)
    evaluation(tmp_path / "e" / "source_only", 0.2)
    text = report([tmp_path / "e"], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Jane Doe" not in text
    assert "secret" not in text
