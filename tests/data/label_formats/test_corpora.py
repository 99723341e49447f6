"""Every corpus as it is documented, written by hand, against the table that it should give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from cycada.data.label_table import LabelKind, LabelTable, Reading
from cycada.data.labels import AnyLayout, read_labels
from cycada.errors import DataError

BOM = "\ufeff"


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


def by_frame(table: LabelTable) -> dict[tuple[object, ...], dict[int, float]]:
    return {
        (row.subject or row.recording, row.sequence, row.frame): dict(row.action_units)
        for row in table.rows
    }


def by_stem(table: LabelTable) -> dict[str, dict[int, float]]:
    return {row.stem: dict(row.action_units) for row in table.rows}


# DISFA: the files of a subject sort as au1, au12, au2, au25, so that taking them by position would
# give AU02 the values of AU12.
DISFA = {
    "SN001/SN001_au1.txt": "1,0\r\n2,3\r\n3,5\r\n",
    "SN001/SN001_au12.txt": "1,1\r\n2,1\r\n3,1\r\n",
    "SN001/SN001_au2.txt": "1,2\r\n2,2\r\n3,2\r\n",
    "SN001/SN001_au25.txt": "1,4\r\n2,4\r\n",
    "SN002/SN002_au1.txt": BOM + "1, 5\n\n2, 4\n",
}


def test_disfa_takes_the_unit_from_the_name_of_the_file(tmp_path: Path) -> None:
    table = read(write(tmp_path, DISFA))
    assert by_frame(table) == {
        ("SN001", "", 1): {1: 0, 12: 1, 2: 2, 25: 4},
        ("SN001", "", 2): {1: 3, 12: 1, 2: 2, 25: 4},
        ("SN001", "", 3): {1: 5, 12: 1, 2: 2},
        ("SN002", "", 1): {1: 5},
        ("SN002", "", 2): {1: 4},
    }
    assert (table.kind, table.layout, table.first_frame) == ("intensity", "disfa", 1)
    assert "recognised as DISFA, for the name SN001_au1.txt" in table.notes[0]
    assert table.notes[1].endswith("fewer frames than others have SN001/SN001_au25.txt (2 of 3).")
    assert len(table.notes) == 2


def test_one_file_of_disfa_is_a_corpus_too(tmp_path: Path) -> None:
    file = write(tmp_path, DISFA) / "SN001" / "SN001_au12.txt"
    assert by_frame(read(file))["SN001", "", 3] == {12: 1}


def test_disfa_plus_names_images_within_trials(tmp_path: Path) -> None:
    text = "# AU12\n# name and intensity\n000.jpg     0\n001.jpg     3\n"
    table = read(
        write(
            tmp_path,
            {
                "Labels/SN001/A1_AU1_TrailNo_1/AU12.txt": text,
                "Labels/SN001/A1_AU1_TrailNo_1/AU1.txt": text.replace("3", "5"),
                "Labels/SN001/B2_TrailNo_2/AU12.txt": "000.jpg     2\n",
            },
        )
    )
    assert by_frame(table) == {
        ("SN001", "A1_AU1_TrailNo_1", 0): {1: 0, 12: 0},
        ("SN001", "A1_AU1_TrailNo_1", 1): {1: 5, 12: 3},
        ("SN001", "B2_TrailNo_2", 0): {12: 2},
    }
    assert table.first_frame is None


def test_disfa_and_disfa_plus_which_count_frames_differently_are_not_one_corpus(
    tmp_path: Path,
) -> None:
    plus = {"Labels/SN003/A1_TrailNo_1/AU12.txt": "000.jpg  4\n"}
    with pytest.raises(
        DataError, match=r"holds DISFA \(.*au\d+\.txt\) and DISFA\+ \(.*AU12\.txt\)"
    ):
        read(write(tmp_path, DISFA | plus))


# BP4D: 9 is not coded; FACS knows no AU 3; the columns of the second file stand elsewhere.
BP4D = {
    "AU_OCC/F001_T1.csv": "0,1,2,3,12\r\n2440,0,1,1,9\r\n2441,1,9,0,0\r\n",
    "AU_OCC/M007_T8.csv": BOM + "0,12,1\n7,1,0\n",
}


def test_bp4d_is_read_by_the_numbers_of_its_first_row(tmp_path: Path) -> None:
    table = read(write(tmp_path, BP4D))
    assert by_frame(table) == {
        ("F001", "T1", 2440): {1: 0, 2: 1},
        ("F001", "T1", 2441): {1: 1, 12: 0},
        ("M007", "T8", 7): {1: 0, 12: 1},
    }
    assert (table.kind, table.layout, table.first_frame) == ("occurrence", "bp4d", None)
    assert any("FACS knows no AU 3; left out" in note for note in table.notes)


def test_rows_of_bp4d_that_look_alike_mean_what_their_own_headers_say(tmp_path: Path) -> None:
    write(tmp_path, {"F001_T1.csv": "0,1,12\n5,1,0\n", "F001_T2.csv": "0,12,1\n5,1,0\n"})
    assert by_frame(read(tmp_path)) == {
        ("F001", "T1", 5): {1: 1, 12: 0},
        ("F001", "T2", 5): {12: 1, 1: 0},
    }


def test_9_is_missing_in_bp4d_but_an_intensity_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"F001_T1.csv": "0,1,2\n1,9,0\n2,3,0\n"})
    with pytest.raises(DataError, match=r"F001_T1\.csv, row 3, column 1: expected 0 or 1, found 3"):
        read(tmp_path)


INTENSITIES = {
    "AU_INT/AU06/F001_T1_AU06.csv": "101,0\r\n102,5\r\n103,9\r\n",
    "AU_INT/AU12/F001_T1_AU12.csv": "101,3\n102,9\n",
}


def test_bp4d_intensities_take_the_unit_from_the_name(tmp_path: Path) -> None:
    table = read(write(tmp_path, INTENSITIES))
    assert by_frame(table) == {
        ("F001", "T1", 101): {6: 0, 12: 3},
        ("F001", "T1", 102): {6: 5},
        ("F001", "T1", 103): {},
    }
    assert (table.kind, table.layout) == ("intensity", "bp4d-intensity")


def test_a_folder_of_both_kinds_of_bp4d_is_read_as_told(tmp_path: Path) -> None:
    write(tmp_path, BP4D | INTENSITIES)
    with pytest.raises(
        DataError, match=r"holds BP4D intensities .* and BP4D occurrences .*--format"
    ):
        read(tmp_path)
    assert read(tmp_path, "bp4d").kind == "occurrence"
    table = read(tmp_path, "bp4d-intensity")
    assert table.kind == "intensity"
    assert "2 files; not read: AU_OCC/F001_T1.csv, AU_OCC/M007_T8.csv" in table.notes[0]


def line(name: str, **units: str) -> str:
    """Return a line of EmotioNet: addresses, then AUs 1 to 60."""
    values = [units.get(f"au{number}", "999") for number in range(1, 61)]
    address = f"https://s3.us-east-2.amazonaws.com/emotionet/Images/N_1/{name}"
    return "\t".join([address, "http://some.site/photo.jpg", *values])


EMOTIONET = (
    line("N_0000000001_00008.jpg", au1="1", au12="0")
    + "\r\n"
    + line("N_0000000001_00009.jpg", au60="1", au12="1")
    + "\r\n"
)


def test_emotionet_masks_999_and_names_images_as_the_first_address_ends(tmp_path: Path) -> None:
    table = read(write(tmp_path, {"dataFile_0001.txt": EMOTIONET}) / "dataFile_0001.txt")
    assert by_stem(table) == {
        "N_0000000001_00008": {1: 1, 12: 0},
        "N_0000000001_00009": {12: 1},
    }
    assert (table.kind, table.layout) == ("occurrence", "emotionet")
    assert any("FACS knows no AU 60" in note for note in table.notes)


def test_a_header_of_emotionet_goes_before_the_order(tmp_path: Path) -> None:
    text = "URL\tURL orig\tAU 12\tAU 1\nhttp://a.b/c/x.jpg\thttp://d.e/f.jpg\t0\t1\n"
    table = read(write(tmp_path, {"e.txt": text}) / "e.txt")
    assert by_stem(table) == {"x": {12: 0, 1: 1}}


def test_of_emotionet_only_wanted_lines_are_kept_and_the_others_counted(tmp_path: Path) -> None:
    lines = "\n".join(line(f"N_{number}.jpg", au1="1") for number in range(10))
    write(tmp_path, {"e.txt": lines})
    table = read(tmp_path, wanted=frozenset({"N_3", "N_7_aligned"}))
    assert by_stem(table).keys() == {"N_0", "N_3", "N_7"}  # the first as an example
    assert table.unused == 7


def test_a_short_line_of_emotionet_is_refused(tmp_path: Path) -> None:
    text = EMOTIONET + "http://a.b/x.jpg\thttp://c.d/y.jpg\t1\t0\n"
    with pytest.raises(DataError, match=r"row 3: holds 2 values, but there are 60 AUs"):
        read(write(tmp_path, {"e.txt": text}))


RAFAU = "0001.jpg 1+L4+R10 \r\n0002.jpg null\r\n0003.jpg 12\r\n0004.jpg 1L+T23+4B\r\n"


def test_rafau_lists_what_is_present_and_sides_count(tmp_path: Path) -> None:
    table = read(write(tmp_path, {"RAFAU_label.txt": RAFAU}) / "RAFAU_label.txt")
    none = {1: 0, 4: 0, 10: 0, 12: 0, 23: 0}
    assert by_stem(table) == {
        "0001": none | {1: 1, 4: 1, 10: 1},
        "0002": none,
        "0003": none | {12: 1},
        "0004": none | {1: 1, 23: 1, 4: 1},
    }
    assert any("4 AUs seen on one side count as present" in note for note in table.notes)


def test_an_item_of_rafau_that_is_no_unit_is_refused(tmp_path: Path) -> None:
    text = RAFAU + "0005.jpg 1+smile\n"
    with pytest.raises(DataError, match=r"row 5: expected AUs such as 1.L4.R10, found 'smile'"):
        read(write(tmp_path, {"RAFAU_label.txt": text}))


CKPLUS = {
    "FACS/S005/001/S005_001_00000011_facs.txt": "   9.0000000e+00   5.0000000e+00\r\n"
    "   1.7000000e+01   0.0000000e+00\r\n",
    "FACS/S010/004/S010_004_00000019_facs.txt": "   1.0000000e+00   2.0000000e+00\n"
    "   2.1000000e+01   1.0000000e+00\n",
}


def test_ckplus_lists_what_is_present_graded_or_not(tmp_path: Path) -> None:
    table = read(write(tmp_path, CKPLUS))
    assert by_stem(table) == {
        "S005_001_00000011": {1: 0, 9: 1, 17: 1},
        "S010_004_00000019": {1: 1, 9: 0, 17: 0},
    }
    assert (table.kind, table.layout) == ("occurrence", "ckplus")
    assert any("FACS knows no AU 21" in note for note in table.notes)
    assert any("1 AUs that were seen but not graded count as present" in n for n in table.notes)


def test_a_file_of_ckplus_that_lists_nothing_is_told(tmp_path: Path) -> None:
    table = read(write(tmp_path, {"S005_001_00000011_facs.txt": "9 3\n", "S6_facs.txt": " \n"}))
    assert by_stem(table) == {"S005_001_00000011": {9: 1}, "S6": {9: 0}}
    assert any("1 files list no AU, so that all are absent" in note for note in table.notes)


def test_ckplus_intensities_leave_ungraded_units_unknown(tmp_path: Path) -> None:
    assert by_stem(read(write(tmp_path, CKPLUS), kind="intensity")) == {
        "S005_001_00000011": {1: 0, 9: 5},
        "S010_004_00000019": {1: 2, 9: 0, 17: 0},
    }


AFFWILD2 = {
    "Train_Set/10-30-1280x720_right.txt": "AU2,AU1,AU26 \r\n0,1,0\r\n-1,-1,-1\r\n1,0,-1\r\n",
    "Train_Set/video5.txt": "AU1,AU2,AU26\n1,1,1\n",
}


def test_row_n_of_affwild2_is_frame_n_of_the_recording(tmp_path: Path) -> None:
    table = read(write(tmp_path, AFFWILD2))
    assert by_frame(table) == {
        ("Train_Set/10-30-1280x720_right", "", 1): {2: 0, 1: 1, 26: 0},
        ("Train_Set/10-30-1280x720_right", "", 2): {},
        ("Train_Set/10-30-1280x720_right", "", 3): {2: 1, 1: 0},
        ("Train_Set/video5", "", 1): {1: 1, 2: 1, 26: 1},
    }
    assert (table.kind, table.first_frame) == ("occurrence", 1)


def test_a_blank_row_of_affwild2_does_not_shift_the_frames(tmp_path: Path) -> None:
    table = read(write(tmp_path, {"v.txt": "AU1,AU2\n1,1\n\n0,0\n"}))
    assert [(row.frame, row.action_units[1]) for row in table.rows] == [(1, 1), (3, 0)]
    table = read(write(tmp_path / "first", {"v.txt": "\r\nAU1,AU2\r\n1,1\r\n0,0\r\n"}))
    assert [(row.frame, row.action_units[1]) for row in table.rows] == [(1, 1), (2, 0)]


BAD = {
    "disfa line": ({"SN001_au1.txt": "1 0\n"}, "disfa", "row 1: expected the numbers of a frame"),
    "disfa empty": (
        {"SN001_au1.txt": "1,0\n", "SN001_au2.txt": ""},
        "disfa",
        r"au2\.txt: is empty",
    ),
    "disfa value": (
        {"SN001_au1.txt": "1,6\n"},
        "disfa",
        r"SN001_au1\.txt, row 1: expected an intensity from 0 to 5, found 6",
    ),
    "disfa unit": ({"SN001_au3.txt": "1,0\n"}, "disfa", "FACS knows no Action Unit 3"),
    "disfa twice": ({"SN001_au1.txt": "1,0\n1,2\n"}, "disfa", "row 2: frame 1 is there twice"),
    "disfa+": (
        {"SN001/T1/AU1.txt": "000.jpg 1\nend of file\n"},
        "disfa",
        "row 2: expected the name of an image",
    ),
    "bp4d cells": ({"F001_T1.csv": "0,1,2\n1,0\n"}, "bp4d", "row 2: has 2 cells, but .* 3"),
    "bp4d frame": ({"F001_T1.csv": "0,1,2\nx,0,1\n"}, "bp4d", "row 2: expected a whole number"),
    "bp4d twice": ({"F001_T1.csv": "0,1,1\n1,0,1\n"}, "bp4d", "row 1: the AU 1 is there twice"),
    "bp4d frames": (
        {"F001_T1.csv": "0,1,2\n1,0,1\n1,0,1\n"},
        "bp4d",
        "row 3: frame 1 is there already in row 2",
    ),
    "ckplus": ({"S1_facs.txt": "9 of 3\n"}, "ckplus", "row 1: expected an AU and its intensity"),
    "ckplus number": ({"S1_facs.txt": "9.5 3\n"}, "ckplus", "9.5 is no AU"),
    "affwild2": ({"v.txt": "AU1,AU2\n1,2\n"}, "affwild2", "row 2, column AU2: expected 0 or 1"),
    "rafau": ({"r.txt": "1.jpg 4\nnothing\n"}, "rafau", "row 2: expected an image and its AUs"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_file_of_a_corpus_is_refused_with_its_place(tmp_path: Path, case: str) -> None:
    files, layout, message = BAD[case]
    with pytest.raises(DataError, match=message) as caught:
        read(write(tmp_path, files), layout)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_rows_that_know_the_same_share_one_mapping(tmp_path: Path) -> None:
    frames = range(1, 101)
    disfa = {f"SN001_au{n}.txt": "".join(f"{f},{f % 2}\n" for f in frames) for n in (1, 12)}
    bp4d = {"F001_T1.csv": "0,1,12\n" + "".join(f"{f},{f % 2},{f % 2}\n" for f in frames)}
    emotionet = {"e.txt": "\n".join(line(f"{f}.jpg", au1=str(f % 2)) for f in frames)}
    for folder, files in (("d", disfa), ("b", bp4d), ("e", emotionet)):
        rows = read(write(tmp_path / folder, files)).rows
        assert len(rows) == 100
        assert len({id(row.action_units) for row in rows}) == 2


def test_a_folder_without_labels_is_told_from_one_of_unknown_labels(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no label file"):
        read(tmp_path / "empty")
    write(tmp_path / "odd", {"a.txt": "hello\n"})
    (tmp_path / "odd" / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="none of its files tells what labels it holds"):
        read(tmp_path / "odd")
    with pytest.raises(DataError, match=r"none of its 2 files .* looks like DISFA"):
        read(tmp_path / "odd", "disfa")
    with pytest.raises(DataError, match="neither its name nor row 1 tells"):
        read(tmp_path / "odd" / "a.txt")
    with pytest.raises(DataError, match="there is no such label file"):
        read(tmp_path / "gone")
