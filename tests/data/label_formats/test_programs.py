"""The output of every program as it is documented, written by hand, and what it should give."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from cycada.data.label_table import LabelKind, LabelTable, Reading
from cycada.data.labels import AnyLayout, read_labels
from cycada.errors import DataError

NAN = "nan"


def write(root: Path, files: Mapping[str, str]) -> Path:
    """Write files byte for byte, so that CRLF and BOM stay."""
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    return root


def read(
    path: Path, layout: AnyLayout = "auto", *, kind: LabelKind | None = None, **more: object
) -> LabelTable:
    tables = read_labels(path, layout=layout, reading=Reading(kind=kind, **more))  # type: ignore[arg-type]
    assert len(tables) == 1
    return tables[0]


def named(table: LabelTable) -> dict[tuple[object, ...] | str, dict[int, float]]:
    """Return what is known, by the recording and frame, or by the path or name of the image."""
    return {
        (row.recording, row.frame) if row.recording else row.tail or row.stem: dict(
            row.action_units
        )
        for row in table.rows
    }


def noted(table: LabelTable, text: str) -> bool:
    return any(text in note for note in table.notes)


# FeatureExtraction: names begin with a blank; frame 3 was lost, its values mean nothing; AU28 has
# no intensity; the intensity of AU01 in frame 2 is high, and yet it does not occur.
OPENFACE = (
    "frame, face_id, timestamp, confidence, success, gaze_0_x, AU01_r, AU12_r, AU01_c, AU12_c,"
    " AU28_c\r\n"
    "1, 0, 0.000, 0.98, 1, 0.1, 0.30, 2.10, 1, 1, 0\r\n"
    "2, 0, 0.033, 0.98, 1, 0.1, 3.90, 0.00, 0.0, 0.0, 1.0\r\n"
    "3, 0, 0.067, 0.02, 0, 0.0, 5.00, 5.00, 1, 1, 1\r\n"
)


def test_openface_gives_occurrences_of_its_own_and_never_cut_intensities(tmp_path: Path) -> None:
    table = read(write(tmp_path, {"out/clip.csv": OPENFACE}) / "out")
    assert named(table) == {
        ("clip", 1): {1: 1, 12: 1, 28: 0},
        ("clip", 2): {1: 0, 12: 0, 28: 1},
        ("clip", 3): {},
    }
    assert (table.kind, table.layout, table.first_frame) == ("occurrence", "openface", 1)
    assert noted(table, "1 frame(s) without a face are not annotated")
    assert noted(table, "by a program (OpenFace)")


def test_openface_gives_intensities_when_asked(tmp_path: Path) -> None:
    table = read(write(tmp_path, {"clip.csv": OPENFACE}) / "clip.csv", kind="intensity")
    assert named(table) == {
        ("clip", 1): {1: 0.3, 12: 2.1},
        ("clip", 2): {1: 3.9, 12: 0},
        ("clip", 3): {},
    }
    assert (table.kind, noted(table, "no intensity column for AU28")) == ("intensity", True)


def test_a_frame_of_openface_with_two_faces_is_left_out_and_counted(tmp_path: Path) -> None:
    two = OPENFACE + "2, 1, 0.033, 0.90, 1, 0.1, 0.00, 0.00, 0, 0, 0\r\n"
    two += "1, 1, 0.000, 0.10, 0, 0.1, 0.00, 0.00, 0, 0, 0\r\n"  # no face, so 1 has one
    table = read(write(tmp_path, {"clip.csv": two}))
    assert named(table) == {("clip", 1): {1: 1, 12: 1, 28: 0}, ("clip", 2): {}, ("clip", 3): {}}
    assert noted(table, "1 frame(s) with several faces left out")


def test_single_images_of_openface_are_named_by_the_file(tmp_path: Path) -> None:
    text = "face,confidence,AU01_r,AU01_c\n0,0.975,1.20,1.0\n"
    both = text + "1,0.900,0.00,0.0\n"
    table = read(write(tmp_path, {"anna.csv": text, "group.csv": both}))
    assert named(table) == {"anna": {1: 1}, "group": {}}
    assert noted(table, "1 image(s) with several faces left out")


def test_a_path_in_a_table_of_openface_names_the_image(tmp_path: Path) -> None:
    text = "path,frame,confidence,success,AU01_c\nS1/img_4.png,0,1,1,0\nS1/img_5.png,1,1,1,1\n"
    table = read(write(tmp_path, {"detected.csv": text}) / "detected.csv")
    assert named(table) == {"S1/img_4.png": {1: 0}, "S1/img_5.png": {1: 1}}


# The eight numbers have no names; the first cosine exceeds 1 by rounding.
LIST = "[[1.0000001192092896, 0.0, 0.25, 0.5, 0.125, 0.75, 0.875, 0.375]]"
EIGHT = {1: 1.0, 2: 0.0, 4: 0.25, 6: 0.5, 9: 0.125, 12: 0.75, 25: 0.875, 26: 0.375}
OPENFACE3 = (
    "timestamp,video_path,frame_index,face_id,face_detection,landmarks,emotion,gaze_yaw,"
    "gaze_pitch,action_units\n"
    f'2026-01-01 10:00:00,C:\\videos\\clip.mp4,0,0.0,"[1, 2]","[[3, 4]]",1.0,0.1,0.2,"{LIST}"\n'
    "2026-01-01 10:00:00,C:\\videos\\clip.mp4,1,,,,,,,\n"
    f'2026-01-01 10:00:01,C:\\videos\\clip.mp4,2,0.0,"[1, 2]","[[3, 4]]",1.0,0.1,0.2,"{LIST}"\n'
    f'2026-01-01 10:00:01,C:\\videos\\clip.mp4,2,1.0,"[5, 6]","[[3, 4]]",1.0,0.1,0.2,"{LIST}"\n'
)


def test_the_eight_numbers_of_openface3_go_by_their_order(tmp_path: Path) -> None:
    table = read(write(tmp_path, {"face_analysis_clip.csv": OPENFACE3}))
    assert named(table) == {("clip", 0): EIGHT, ("clip", 1): {}, ("clip", 2): {}}
    assert (table.kind, table.layout, table.first_frame) == ("probability", "openface3", 0)
    assert noted(table, "is taken for AU01, AU02, AU04, AU06, AU09, AU12, AU25, AU26")
    assert noted(table, "1 frame(s) with several faces left out")


def test_openface3_by_tabs_names_images(tmp_path: Path) -> None:
    text = (
        "timestamp\timage_path\tface_id\tface_detection\tlandmarks\temotion\tgaze_yaw\tgaze_pitch"
        f"\taction_units\n17.5\tfaces/S1/a.jpg\t0\t[1]\tNone\t3\t.1\t.2\t{LIST}\n"
    )
    table = read(write(tmp_path, {"results.tsv": text}) / "results.tsv")
    assert named(table) == {"faces/S1/a.jpg": EIGHT}


@pytest.mark.parametrize("numbers", ["[0.1, 0.2]", "[]", "hello", "[[0.1], [0.2]]"])
def test_a_list_of_another_length_is_refused(tmp_path: Path, numbers: str) -> None:
    text = OPENFACE3.replace(LIST, numbers)
    with pytest.raises(DataError, match=r"row 2, column action_units: (holds|expected a list)"):
        read(write(tmp_path, {"f.csv": text}))


# Py-Feat: frames as floats from 0; one face too many in frame 2, none in frame 1.
PYFEAT = (
    "frame,FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,FaceScore,AU12,AU01,AU43,anger,input\n"
    "0.0,1,2,3,4,0.99,0.75,0.1,0.5,0.2,F:\\data\\clip.mp4\n"
    "1.0,nan,nan,nan,nan,nan,nan,nan,,nan,F:\\data\\clip.mp4\n"
    "2.0,1,2,3,4,0.99,0.75,0.1,0.5,0.2,F:\\data\\clip.mp4\n"
    "2.0,9,2,3,4,0.99,0.75,0.1,0.5,0.2,F:\\data\\clip.mp4\n"
)


def test_pyfeat_gives_probabilities_by_name(tmp_path: Path) -> None:
    table = read(write(tmp_path, {"fex.csv": PYFEAT}))
    known = {("clip", 0): {12: 0.75, 1: 0.1, 43: 0.5}, ("clip", 1): {}, ("clip", 2): {}}
    assert named(table) == known
    assert (table.kind, table.layout, table.first_frame) == ("probability", "pyfeat", 0)
    assert noted(table, "probabilities by a program (Py-Feat)")


def test_images_of_pyfeat_are_named_by_their_path(tmp_path: Path) -> None:
    text = "FaceRectX,FaceScore,AU01,input,frame\n1,.9,.5,/d/S1/a.jpg,0\n1,.9,1,/d/S2/a.jpg,1\n"
    table = read(write(tmp_path, {"fex.csv": text}))
    assert named(table) == {"/d/S1/a.jpg": {1: 0.5}, "/d/S2/a.jpg": {1: 1}}


def test_a_table_of_pyfeat_without_input_is_of_the_recording_of_its_name(tmp_path: Path) -> None:
    text = "frame,FaceRectX,FaceScore,AU01\n0,1,.9,.5\n"
    assert named(read(write(tmp_path, {"S1/clip.csv": text}))) == {("S1/clip", 0): {1: 0.5}}


LIBREFACE = (
    "frame_idx,frame_time_in_ms,pitch,yaw,lm_mp_0_x,au_1,au_7,au_1_intensity,au_5_intensity,"
    "facial_expression\n"
    "0,0.0,1.0,2.0,0.5,1,0,0.4,4.999,Neutral\n"
    "1,33.3,1.0,2.0,0.5,0,1,3.2,0.0,Happiness\n"
)


def test_libreface_keeps_occurrence_and_intensity_apart(tmp_path: Path) -> None:
    file = write(tmp_path, {"clip.csv": LIBREFACE}) / "clip.csv"
    table = read(file)
    assert named(table) == {("clip", 0): {1: 1, 7: 0}, ("clip", 1): {1: 0, 7: 1}}
    assert (table.kind, table.layout, table.first_frame) == ("occurrence", "libreface", 0)
    assert noted(table, "no occurrence column for AU05")
    table = read(file, kind="intensity")
    assert named(table) == {("clip", 0): {1: 0.4, 5: 4.999}, ("clip", 1): {1: 3.2, 5: 0}}


def test_an_image_of_libreface_is_named_by_the_file_or_its_path(tmp_path: Path) -> None:
    text = "facial_expression,pitch,au_1,au_1_intensity\nNeutral,0.1,1,0.4\n"
    assert named(read(write(tmp_path / "a", {"anna.csv": text}))) == {"anna": {1: 1}}
    text = "input_image_path,facial_expression,au_1,au_1_intensity\n/d/S1/anna.png,Neutral,1,0.4\n"
    assert named(read(write(tmp_path / "b", {"x.csv": text}))) == {"/d/S1/anna.png": {1: 1}}


@pytest.mark.parametrize(("value", "kind"), [("1", "occurrence"), ("4", "intensity")])
def test_tables_that_libreface_is_trained_from_are_read(
    tmp_path: Path, value: str, kind: str
) -> None:
    text = f"image_path,au12,au1,subject\nSN001/a.png,{value},0,x\nSN001/b.png,0,1,x\n"
    table = read(write(tmp_path, {"train.csv": text}))
    assert named(table) == {"SN001/a.png": {12: float(value), 1: 0}, "SN001/b.png": {12: 0, 1: 1}}
    assert table.kind == kind
    assert noted(table, f"the values look like {kind[:-1]}")
    assert noted(table, "columns not read: subject.")
    assert not noted(table, "by a program")


def test_occurrences_with_a_gap_that_libreface_is_trained_from_are_no_intensities(
    tmp_path: Path,
) -> None:
    text = "image_path,au12,au1\nSN001/a.png,1,nan\nSN001/b.png,0,NaN\nSN001/c.png,,-1\n"
    table = read(write(tmp_path, {"train.csv": text}), missing=frozenset({-1.0}))
    assert named(table) == {"SN001/a.png": {12: 1}, "SN001/b.png": {12: 0}, "SN001/c.png": {}}
    assert table.kind == "occurrence"


def test_fractions_that_libreface_is_trained_from_are_refused_until_their_kind_is_told(
    tmp_path: Path,
) -> None:
    text = "image_path,au12,au1\nSN001/a.png,0.7,0\nSN001/b.png,1,0.25\n"
    folder = write(tmp_path, {"train.csv": text})
    with pytest.raises(DataError, match=r"train\.csv: values between 0 and 1 \(such as 0\.25\)"):
        read(folder)
    assert read(folder, kind="probability").kind == "probability"
    assert read(folder, kind="intensity").kind == "intensity"
    assert read(folder, kind="occurrence", cuts=True).kind == "probability"


# PyAFAR: pandas writes its index first; frame 1 has no face and so no row; infants have an AU 3.
PYAFAR = (
    ",Frame,Person_ID,Pitch,Eye Aspect Ratio,Occ_au_3,Occ_au_12,Occ_au_1,Int_au_6,Int_au_12\n"
    "0,0,1,0.1,0.3,0.9,0.25,1.0,2.5,5.0\n"
    "1,2,1,0.1,0.3,0.9,0.75,0.0,0.0,0.5\n"
    "2,3,1,0.1,0.3,0.9,0.75,0.0,0.0,0.5\n"
    "3,3,2,0.1,0.3,0.9,0.75,0.0,0.0,0.5\n"
)


def test_pyafar_gives_likelihoods_of_the_frames_that_it_has(tmp_path: Path) -> None:
    table = read(write(tmp_path, {"clip.csv": PYAFAR}))
    known = {("clip", 0): {12: 0.25, 1: 1}, ("clip", 2): {12: 0.75, 1: 0}, ("clip", 3): {}}
    assert named(table) == known
    assert (table.kind, table.layout) == ("probability", "pyafar")
    assert noted(table, "FACS knows no AU 3")
    assert noted(table, "1 frame(s) with several faces left out")


def test_pyafar_gives_intensities_when_asked(tmp_path: Path) -> None:
    table = read(write(tmp_path, {"clip.csv": PYAFAR}), kind="intensity")
    known = {("clip", 0): {6: 2.5, 12: 5}, ("clip", 2): {6: 0, 12: 0.5}, ("clip", 3): {}}
    assert named(table) == known
    assert noted(table, "no intensity column for AU01")


@pytest.mark.parametrize("shape", ["rows", "columns", "columns by index"])
def test_pyafar_in_json_is_the_same(tmp_path: Path, shape: str) -> None:
    columns = {"Frame": [0, 2], "Occ_au_12": [0.25, 0.75], "Occ_au_1": [1.0, None]}
    content: object = columns
    if shape == "rows":
        content = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values())]  # noqa: B905
    elif shape == "columns by index":
        content = {name: dict(enumerate(values)) for name, values in columns.items()}
    table = read(write(tmp_path, {"clip.json": json.dumps(content, indent=1)}))
    assert named(table) == {("clip", 0): {12: 0.25, 1: 1}, ("clip", 2): {12: 0.75}}


BAD = {
    "openface": (
        {"a.csv": "frame,success,AU01_r\n1,1,0\n"},
        "openface",
        "no column such as AU01_c",
    ),
    "openface value": (
        {"a.csv": OPENFACE.replace("3.90", "3.90").replace("1, 1, 0\r\n2", "1, 2, 0\r\n2")},
        "openface",
        r"a\.csv, row 2, column AU12_c: expected 0 or 1, found 2",
    ),
    "openface frame": (
        {"a.csv": OPENFACE.replace("\r\n2,", "\r\nsecond,")},
        "openface",
        "row 3, column frame: expected a whole number, found 'second'",
    ),
    "openface cells": ({"a.csv": OPENFACE + "4, 0, 1\r\n"}, "openface", "row 5: has 3 cells"),
    "pyfeat value": (
        {"a.csv": PYFEAT.replace("0.75,0.1,0.5,0.2,F", "1.75,0.1,0.5,0.2,F")},
        "pyfeat",
        "row 2, column AU12: expected a probability from 0 to 1, found 1.75",
    ),
    "pyafar": ({"a.csv": "Frame,AU01\n0,1\n"}, "pyafar", "PyAFAR has 'Frame' and columns such"),
    "pyafar json": ({"a.json": "{]"}, "pyafar", "cannot be read as JSON"),
    "pyafar shape": ({"a.json": '{"Frame": [1, 2], "x": [1]}'}, "pyafar", "neither a list of rows"),
    "libreface": ({"a.csv": "frame_idx,mood\n0,1\n"}, "libreface", "no column such as au_1"),
    "openface3": ({"a.csv": "frame,AU01\n0,1\n"}, "openface3", "has the columns 'action_units'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_table_of_a_program_is_refused_with_its_place(tmp_path: Path, case: str) -> None:
    files, layout, message = BAD[case]
    file = next(iter(files))
    with pytest.raises(DataError, match=message) as caught:
        read(write(tmp_path, files) / file, layout)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_every_layout_is_recognised_for_what_it_is(tmp_path: Path) -> None:
    texts = {"openface": OPENFACE, "openface3": OPENFACE3, "pyfeat": PYFEAT, "pyafar": PYAFAR}
    for layout, text in (texts | {"libreface": LIBREFACE}).items():
        assert read(write(tmp_path, {f"{layout}.csv": text}) / f"{layout}.csv").layout == layout
    plain = "path,au_1,au_1_intensity,facial_expression\na.png,1,2,joy\n"
    assert read(write(tmp_path, {"p.csv": plain}) / "p.csv").layout == "csv"
