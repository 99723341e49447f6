from __future__ import annotations

from pathlib import Path

import pytest

from cycada.data.label_formats.plain import read_plain
from cycada.data.label_table import LabelTable, Reading
from cycada.errors import DataError


def table(tmp_path: Path, text: str, **options: object) -> LabelTable:
    file = tmp_path / "labels.csv"
    file.write_text(text, encoding="utf-8")
    return read_plain(file, Reading(**options))  # type: ignore[arg-type]


def units(read: LabelTable) -> list[dict[int, float]]:
    return [dict(row.action_units) for row in read.rows]


@pytest.mark.parametrize(
    "name", ["AU1", "AU01", "au_1", "au1", "AU 1", " AU01 ", "AU01_c", "AU1_r"]
)
def test_an_action_unit_is_known_by_any_common_name(tmp_path: Path, name: str) -> None:
    read = table(tmp_path, f"\ufeffpath,{name},colour\na.png,1,red\nb.png,,blue\n")
    assert units(read) == [{1: 1.0}, {}]
    assert read.rows[0].path == "a.png"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separator_is_found(tmp_path: Path, separator: str) -> None:
    text = "path,AU01,AU12\na.png,0,1\n".replace(",", separator)
    assert units(table(tmp_path, text)) == [{1: 0.0, 12: 1.0}]


def test_columns_are_taken_by_name_and_not_by_place(tmp_path: Path) -> None:
    assert units(table(tmp_path, "AU12,path,AU02,AU01\n1,a.png,0,1\n")) == [
        {12: 1.0, 2: 0.0, 1: 1.0}
    ]


def test_empty_cells_and_nan_are_unknown(tmp_path: Path) -> None:
    assert units(table(tmp_path, "path,AU01,AU02,AU04\na.png,, NaN ,1\n")) == [{4: 1.0}]


def test_the_kind_is_inferred_from_the_values_and_reported(tmp_path: Path) -> None:
    read = table(tmp_path, "path,AU01\na.png,0\nb.png,1\n")
    assert read.kind == "occurrence"
    assert "look like occurrences" in read.notes[0]
    read = table(tmp_path, "path,AU01\na.png,0\nb.png,3.5\n")
    assert read.kind == "intensity"
    assert "look like intensities" in read.notes[0]
    assert table(tmp_path, "path,AU01\na.png,1\n", kind="intensity").kind == "intensity"


def test_of_two_columns_per_unit_the_one_of_the_kind_is_taken(tmp_path: Path) -> None:
    text = "path,AU01_r,AU01_c,AU28_c\na.png,3.2,1,0\n"
    assert units(table(tmp_path, text)) == [{1: 1.0, 28: 0.0}]
    read = table(tmp_path, text, kind="intensity")
    assert units(read) == [{1: 3.2}]
    assert "no intensity column for AU28" in read.notes[0]


def test_a_table_may_name_subject_and_frame_or_only_subjects(tmp_path: Path) -> None:
    row = table(tmp_path, "subject,frame,sequence,AU01\nF001,12,T1,1\n").rows[0]
    assert (row.subject, row.frame, row.sequence) == ("F001", 12, "T1")
    read = table(tmp_path, "path,subject\na.png,F001\n")
    assert (read.kind, read.rows[0].subject) == (None, "F001")
    assert table(tmp_path, "path,label\na.png,pain\n").rows[0].label == "pain"


def test_values_that_mean_missing_are_masked_when_the_user_says_so(tmp_path: Path) -> None:
    text = "path,AU01,AU02\na.png,7,1\n"
    assert units(table(tmp_path, text, missing=frozenset({7}), kind="occurrence")) == [{2: 1.0}]
    with pytest.raises(DataError, match="say so with --missing 7"):
        table(tmp_path, text)


BAD = {
    "no key": ("file,AU01\na,1\n", "row 1: a label file needs the column 'path'"),
    "no AU": ("path,mood\na,1\n", "row 1: no column names an Action Unit"),
    "AU": ("path,AU99\na,1\n", "row 1: 'AU99' is no Action Unit"),
    "twice": ("path,AU01,au_1\na,1,1\n", "row 1: the column 'au_1' is there twice"),
    "text": ("path,AU01\na,1\nb,yes\n", "row 3, column AU01: expected a number.*'yes'"),
    "comma": ("path;AU01\na;1,5\n", "row 2, column AU01: expected a number.*'1,5'.*with a point"),
    "probability": ("path,AU01\na,0.37\n", r"such as 0\.37\) may be probabilities"),
    "negative": ("path,AU01\na,-2\nb,1\n", "row 2, .* from 0 to 5, found -2.*--missing -2"),
    "range": ("path,AU01\na,7\nb,2\n", "row 2, column AU01: expected an intensity from 0 to 5"),
    "frame": ("subject,frame,AU01\na,x,1\n", "row 2, column frame: .*'x'"),
    "no frame": ("subject,frame,AU01\na,,1\n", "row 2: the subject or frame is empty"),
    "no path": ("path,AU01\n,1\n", "row 2: the path is empty"),
    "same": ("path,AU01\na,1\nb,1\na,0\n", "row 4: names the same image as row 2"),
    "cells": ("path,AU01\na\n", "row 2: has 1 cells, but the header has 2"),
    "empty": ("", "is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_table_is_refused_with_its_place(tmp_path: Path, case: str) -> None:
    text, message = BAD[case]
    with pytest.raises(DataError, match=message) as caught:
        table(tmp_path, text)
    assert "labels.csv" in str(caught.value)


def test_an_intensity_among_stated_occurrences_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected 0 or 1, found 3\..*--kind intensity"):
        table(tmp_path, "path,AU01\na,3\n", kind="occurrence")


def test_a_missing_file_or_another_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such label file"):
        read_plain(tmp_path / "gone.csv", Reading())
    (tmp_path / "wide.csv").write_bytes("path,AU01\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"wide\.csv: .* CSV table in UTF-8 .*Save it in UTF-8"):
        read_plain(tmp_path / "wide.csv", Reading())


def test_codes_that_can_be_no_value_are_missing_and_told(tmp_path: Path) -> None:
    read = table(tmp_path, "path,AU01,AU02,AU04\na,-1,1,999\nb,0,-1.0,\nc,1,nan,1\n")
    assert units(read) == [{2: 1.0}, {1: 0.0}, {1: 1.0, 4: 1.0}]
    told = "-1 (2 times), 999 (1 times), NaN (1 times), empty (1 times)"
    assert any(told in note for note in read.notes)


def test_9_beside_0_and_1_is_missing_but_beside_intensities_it_is_refused(tmp_path: Path) -> None:
    read = table(tmp_path, "path,AU01,AU02\na,9,1\nb,0,9\n")
    assert units(read) == [{2: 1.0}, {1: 0.0}]
    assert (read.kind, any("9 (2 times)" in note for note in read.notes)) == ("occurrence", True)
    text = "path,AU01,AU02\na,9,3\nb,3,9\n"
    with pytest.raises(DataError, match=r"column AU01: holds 9 and also 3.*--missing 9"):
        table(tmp_path, text)
    read = table(tmp_path, text, missing=frozenset({9.0}))
    assert units(read) == [{2: 3.0}, {1: 3.0}]


def test_letters_grade_intensities(tmp_path: Path) -> None:
    read = table(tmp_path, "path,AU01,AU02\na,A,0\nb,e,C\n")
    assert (read.kind, units(read)) == ("intensity", [{1: 1.0, 2: 0.0}, {1: 5.0, 2: 3.0}])
    assert table(tmp_path, "path,AU01\na,A\nb,0\n").kind == "intensity"
    with pytest.raises(DataError, match="the letters A to E grade intensities"):
        table(tmp_path, "path,AU01\na,A\n", kind="occurrence")


def test_occurrence_on_either_side_is_occurrence(tmp_path: Path) -> None:
    text = "path,AUL1,AUR1\na,1,0\nb,0,0\nc,0,\nd,,1\ne,,\n"
    read = table(tmp_path, text)
    assert units(read) == [{1: 1.0}, {1: 0.0}, {}, {1: 1.0}, {}]
    assert any("AU01 are coded for the left and the right" in note for note in read.notes)
    assert units(table(tmp_path, text.replace("AUL1,AUR1", "L1,R1"))) == units(read)


def test_the_intensity_of_two_sides_is_that_of_the_stronger(tmp_path: Path) -> None:
    read = table(tmp_path, "path,AUL12,AUR12,AU04\na,2,3.5,1\nb,2,,1\nc,0,0,1\n")
    assert units(read) == [{12: 3.5, 4: 1.0}, {4: 1.0}, {12: 0.0, 4: 1.0}]


@pytest.mark.parametrize(
    ("left", "right"),
    [("AUL12", "AUR12"), ("AU_L12", "au_r12"), ("L12", "R12"), ("AU12L", "AU12R"),
     ("AU12_L", "AU12_R"), ("au12_l", "au12_r"), ("AU 12L", "AU 12R")],
)  # fmt: skip
def test_the_sides_of_the_face_may_stand_before_or_after_the_number(
    tmp_path: Path, left: str, right: str
) -> None:
    read = table(tmp_path, f"path,{right},{left},AU01\na.png,0,1,1\nb.png,0,0,0\n")
    assert units(read) == [{12: 1, 1: 1}, {12: 0, 1: 0}]
    assert any("AU12 are coded for the left and the right half" in note for note in read.notes)


def test_r_without_a_left_side_stays_an_intensity(tmp_path: Path) -> None:
    read = table(tmp_path, "path,AU12_R\na.png,1\n")
    assert (units(read), read.kind) == ([{12: 1}], "intensity")


def test_columns_that_are_not_read_are_told_those_that_look_like_units_first(
    tmp_path: Path,
) -> None:
    text = "path,frame,subject,pose,AU01,AU12 (left),AU06_onset\na.png,3,S1,0,1,1,1\n"
    read = table(tmp_path, text)
    assert read.notes[0].endswith(
        "labels.csv: columns not read: AU12 (left), AU06_onset, frame, pose."
    )
    assert len(table(tmp_path, "subject,frame,sequence,AU01\nS1,3,T1,1\n").notes) == 1


def test_one_side_alone_can_tell_presence_but_not_absence(tmp_path: Path) -> None:
    assert units(table(tmp_path, "path,AUL1\na,1\nb,0\n")) == [{1: 1.0}, {}]


def test_probabilities_are_read_when_stated_or_named(tmp_path: Path) -> None:
    read = table(tmp_path, "path,AU01\na,0.37\n", kind="probability")
    assert (read.kind, units(read)) == ("probability", [{1: 0.37}])
    assert table(tmp_path, "path,AU01_p\na,1\n").kind == "probability"
    with pytest.raises(DataError, match="expected a probability from 0 to 1, found 2"):
        table(tmp_path, "path,AU01_p\na,2\n")


def test_columns_of_intensity_stay_intensities_whatever_is_asked(tmp_path: Path) -> None:
    read = table(tmp_path, "path,AU01_r\na,1\n", kind="occurrence")
    assert (read.kind, units(read)) == ("intensity", [{1: 1.0}])


def test_a_threshold_lets_unnamed_values_be_what_they_look_like(tmp_path: Path) -> None:
    for text, kind in (("3", "intensity"), ("0.3", "probability"), ("1", "occurrence")):
        read = table(tmp_path, f"path,AU01\na,{text}\n", kind="occurrence", cuts=True)
        assert read.kind == kind
    with pytest.raises(DataError, match="AU01_c: expected 0 or 1, found 3"):
        table(tmp_path, "path,AU01_c\na,3\n", kind="occurrence", cuts=True)


def test_carriage_returns_and_quotes_do_not_matter(tmp_path: Path) -> None:
    text = '\ufeff"path";"AU01"\r\n"a b.png"; 1 \r\n\r\n"c.png";0\r\n'
    read = table(tmp_path, text)
    assert [(row.path, dict(row.action_units)) for row in read.rows] == [
        ("a b.png", {1: 1.0}),
        ("c.png", {1: 0.0}),
    ]
