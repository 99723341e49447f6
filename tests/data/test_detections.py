from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from cycada.data.detections import (
    Detected,
    DetectionTable,
    read_detections,
    table_columns,
    table_row,
)
from cycada.data.label_table import Reading
from cycada.data.labels import read_labels
from cycada.errors import RunError
from cycada.task import Task

UNITS = Task((1, 25))
SETTINGS = {"run": "runs/both", "weights": "abc", "unit": "centikelvin"}


def seen(frame: int) -> Detected:
    return Detected(
        frame=frame, input="night.cptv", timestamp=frame / 8, confidence=0.9,
        box=(10.0, 20.5, 40.0, 50.0), angle=-3.0, probabilities=(0.25, 0.75),
        decisions=(False, True), assessable=(True, frame != 2),
    )  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_columns_are_those_that_users_of_openface_and_py_feat_know() -> None:
    columns = table_columns(UNITS, graded=False)
    assert columns[:6] == ("input", "frame", "face_id", "timestamp", "confidence", "success")
    assert {"FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"} < set(columns)
    assert columns[-4:] == ("AU01", "AU01_c", "AU25", "AU25_c")


def test_a_row_says_what_was_found_and_leaves_empty_what_cannot_be_seen() -> None:
    whole = dict(
        zip(
            table_columns(UNITS, graded=False), table_row(seen(1), UNITS, graded=False), strict=True
        )
    )
    assert (whole["frame"], whole["timestamp"], whole["success"]) == ("1", "0.125", "1")
    assert (whole["AU01"], whole["AU01_c"], whole["AU25"], whole["AU25_c"]) == (
        "0.2500", "0", "0.7500", "1",
    )  # fmt: skip
    hidden = dict(
        zip(
            table_columns(UNITS, graded=False), table_row(seen(2), UNITS, graded=False), strict=True
        )
    )
    assert (hidden["AU01"], hidden["AU25"], hidden["AU25_c"]) == ("0.2500", "", "")
    nobody = Detected(frame=3, reason="no warm region")
    empty = dict(
        zip(table_columns(UNITS, graded=False), table_row(nobody, UNITS, graded=False), strict=True)
    )
    assert (empty["success"], empty["reason"], empty["AU01"], empty["FaceRectX"]) == (
        "0", "no warm region", "", "",
    )  # fmt: skip


def test_a_table_is_read_as_labels_that_are_probabilities_of_frames_from_0(tmp_path: Path) -> None:
    table = DetectionTable(tmp_path / "night.csv", UNITS, SETTINGS, graded=False)
    table.add([seen(0), seen(2), Detected(frame=3, input="night.cptv", reason="nobody")])
    table.finish()
    (labels,) = read_labels(tmp_path / "night.csv", reading=Reading())
    assert (labels.kind, labels.first_frame) == ("probability", 0)
    assert {row.frame: dict(row.action_units) for row in labels.rows if row.action_units} == {
        0: {1: 0.25, 25: 0.75}, 2: {1: 0.25},
    }  # fmt: skip


def test_intensities_stand_beside_the_decisions_as_openface_names_them(tmp_path: Path) -> None:
    graded = [
        replace(seen(1), intensities=(0.4, 3.125)),
        replace(seen(2), intensities=(math.nan, 3.0)),
        Detected(frame=3, input="night.cptv", reason="nobody"),
    ]
    table = DetectionTable(tmp_path / "night.csv", UNITS, SETTINGS, graded=True)
    table.add(graded)
    table.finish()
    first, second, nobody = read(tmp_path / "night.csv")
    assert [*first][-6:] == ["AU01", "AU01_c", "AU01_r", "AU25", "AU25_c", "AU25_r"]
    assert (first["AU01_r"], first["AU25_r"]) == ("0.40", "3.12")
    assert (second["AU01_r"], second["AU25_r"], second["AU01"]) == ("", "", "0.2500")
    assert {nobody["AU01_r"], nobody["AU25_r"]} == {""}
    again = list(read_detections(tmp_path / "night.csv", UNITS))
    assert again[0].intensities == pytest.approx([0.4, 3.12])
    assert again[1].intensities == pytest.approx([math.nan, math.nan], nan_ok=True)
    assert not again[2].success
    (labels,) = read_labels(tmp_path / "night.csv", reading=Reading())
    assert (labels.kind, labels.first_frame) == ("probability", 0)
    assert labels.rows[0].action_units == {1: 0.25, 25: 0.75}


def test_a_class_is_told_by_its_name() -> None:
    task = Task(classes=("calm", "pain"))
    found = Detected(
        frame=0, probabilities=(0.4, 0.6), decisions=(False, True), assessable=(True, True)
    )
    row = dict(
        zip(table_columns(task, graded=False), table_row(found, task, graded=False), strict=True)
    )
    assert (row["calm"], row["pain"], row["label"]) == ("0.4000", "0.6000", "pain")


def test_a_table_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "night.csv"
    table = DetectionTable(path, UNITS, SETTINGS, graded=False)
    table.add([seen(0), seen(1)])
    assert not path.exists()
    table.add([seen(2)])
    table.finish(frames=3)
    assert [row["frame"] for row in read(path)] == ["0", "1", "2"]
    assert sorted(file.name for file in path.parent.iterdir()) == ["night.csv", "night.json"]
    assert json.loads((path.parent / "night.json").read_text()) == {
        "settings": SETTINGS, "frames": 3,
    }  # fmt: skip
    assert DetectionTable(path, UNITS, SETTINGS, graded=False).whole


@pytest.mark.parametrize("torn", [b"", b"night.cptv,2,0,0.2", b'"quoted, and'])
def test_it_goes_on_after_the_last_whole_row(tmp_path: Path, torn: bytes) -> None:
    whole, path = tmp_path / "whole.csv", tmp_path / "night.csv"
    for name, cut in ((whole, None), (path, 2)):
        table = DetectionTable(name, UNITS, SETTINGS, graded=False)
        table.add([seen(number) for number in range(cut or 4)])
        if cut:
            with table.part.open("ab") as stream:
                stream.write(torn)
            table = DetectionTable(name, UNITS, SETTINGS, graded=False)
            assert table.done == 2
            table.add([seen(2), seen(3)])
        table.finish()
    assert path.read_bytes() == whole.read_bytes()


def test_other_settings_are_not_mixed_into_a_table_or_taken_for_its_own(tmp_path: Path) -> None:
    path = tmp_path / "night.csv"
    DetectionTable(path, UNITS, SETTINGS, graded=False).add([seen(0)])
    with pytest.raises(RunError, match=r"other settings \(unit; unit was 'centikelvin', now 'gr"):
        DetectionTable(path, UNITS, {**SETTINGS, "unit": "grey"}, graded=False)
    table = DetectionTable(path, UNITS, SETTINGS, graded=False)
    assert table.done == 1
    table.finish()
    with pytest.raises(RunError, match="weights"):
        DetectionTable(path, UNITS, {**SETTINGS, "weights": "def"}, graded=False)


def test_a_table_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("my notes\n")
    with pytest.raises(RunError, match="nothing says what made it"):
        DetectionTable(path, UNITS, SETTINGS, graded=False)
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(RunError, match="does not say how"):
        DetectionTable(path, UNITS, SETTINGS, graded=False)
    assert path.read_text() == "my notes\n"
