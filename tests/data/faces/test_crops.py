from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cycada.data.faces.choose import choose_faces
from cycada.data.faces.crops import CROPS_NAME, CropRow, read_crops, row_of_choice, write_crops
from cycada.data.faces.geometry import FacePlace, Found, square_of
from cycada.errors import DataError

FACE = FacePlace(20.125, 21.5, 40.25, 50.0625, angle=-12.34567, confidence=0.87654321)


def rows() -> list[CropRow]:
    """Return a frame with a face, one without, and an image with an unused face."""
    (used,) = choose_faces(Found((FACE,)), (100, 120))
    (none,) = choose_faces(Found((), 'no "warm" region, at all'), (100, 120))
    (small,) = choose_faces(Found((replace(FACE, height=5.0, width=4.0),)), (100, 120))
    return [
        row_of_choice(used, source="a/clip.cptv", frame=7, seconds=0.798, path="a/clip/0007.png"),
        row_of_choice(none, source="a/clip.cptv", frame=8, seconds=0.912, path=""),
        row_of_choice(small, source="b.png", frame=None, seconds=None, path=""),
    ]


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_crops(tmp_path, rows())
    used, none, small = read_crops(tmp_path)
    assert (used.source, used.frame, used.seconds, used.path) == (
        "a/clip.cptv", 7, 0.798, "a/clip/0007.png",
    )  # fmt: skip
    assert (used.face_id, used.success, used.reason) == (0, True, "")
    assert used.confidence == pytest.approx(0.8765, abs=1e-4)
    assert (none.success, none.reason) == (False, 'no "warm" region, at all')
    assert (none.left, none.square, none.outside, none.confidence) == (None, None, None, 0)
    assert (small.frame, small.seconds, small.success) == (None, None, False)
    assert small.square is not None


def test_a_point_of_the_crop_is_mapped_onto_the_frame_by_its_row(tmp_path: Path) -> None:
    write_crops(tmp_path, rows())
    square = read_crops(tmp_path)[0].square
    assert square is not None
    points = torch.tensor([[0.0, 0.0], [111.0, 3.0], [50.5, 60.25]])
    expected = square_of(FACE).to_frame(points, 112)
    torch.testing.assert_close(square.to_frame(points, 112), expected, atol=1e-3, rtol=0)


def test_the_table_is_written_as_its_columns_are_called(tmp_path: Path) -> None:
    write_crops(tmp_path, rows()[1:2])
    assert (tmp_path / CROPS_NAME).read_text(encoding="utf-8") == (
        "source,frame,seconds,face_id,path,left,top,width,height,angle,confidence,success,reason,"
        'outside\na/clip.cptv,8,0.9120,0,,,,,,,0.0000,0,"no ""warm"" region, at all",\n'
    )


HEADER = (
    "source,frame,seconds,face_id,path,left,top,width,height,angle,"
    "confidence,success,reason,outside"
)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["source,frame"], "row 1: expected the columns source, frame"),
        ([HEADER, "a,0"], "row 2: has 2 cells, but the header has 14"),
        ([HEADER, "a,x,,0,,,,,,,0,0,,"], "row 2, column frame: expected a whole number, found 'x'"),
        ([HEADER, "a,0,,0,,,,,,,0,yes,,"], "row 2, column success: expected 0 or 1, found 'yes'"),
        ([HEADER, "a,0,,0,,nan,,,,,0,0,,"], "row 2, column left: expected a number, found 'nan'"),
        ([HEADER, "a,0,,,,,,,,,0,0,,"], "row 2, column face_id: expected a whole number"),
    ],
)
def test_a_faulty_record_is_told_by_file_and_place(
    tmp_path: Path, lines: list[str], told: str
) -> None:
    (tmp_path / CROPS_NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=told) as caught:
        read_crops(tmp_path)
    assert str(tmp_path / CROPS_NAME) in str(caught.value)


def test_a_missing_record_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no record of crops"):
        read_crops(tmp_path)
