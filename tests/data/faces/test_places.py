from __future__ import annotations

from pathlib import Path

import pytest

from cycada.data.faces.geometry import FacePlace, Found
from cycada.data.faces.places import Key, PlaceTable, read_places
from cycada.data.landmarks import write_landmarks
from cycada.data.phantom import LANDMARK_NAMES
from cycada.errors import DataError
from cycada.landmarks import EYE_CORNERS

# Eye corners and mouth corners of iBUG's 68 points, of a face whose eyes are 40 px apart.
EYES_68 = {36: (90, 50), 39: (110, 50), 42: (130, 50), 45: (150, 50), 48: (105, 90), 54: (135, 90)}
X_68 = [f"x_{n}" for n in range(68)]
Y_68 = [f"y_{n}" for n in range(68)]


def points(known: dict[int, tuple[int, int]] = EYES_68, *, count: int = 68) -> list[str]:
    """Return cells of x, then of y; unknown points are in the corner."""
    return [str(known.get(n, (0, 0))[axis]) for axis in (0, 1) for n in range(count)]


def write(file: Path, *lines: str, newline: str = "\n", mark: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes((mark + newline.join(lines) + newline).encode())
    return file


def only(found: Found | None) -> FacePlace:
    assert found is not None
    (place,) = found.places
    return place


def openface(file: Path, *rows: str) -> PlaceTable:
    """Write OpenFace's header with its leading spaces, a byte order mark and DOS line ends."""
    names = ["frame", " face_id", " timestamp", " confidence", " success"]
    header = ",".join(names + [f" {name}" for name in (*X_68, *Y_68)])
    return read_places(write(file, header, *rows, newline="\r\n", mark="﻿"))


def test_openface_landmarks_become_a_face_of_the_frame_counted_from_zero(tmp_path: Path) -> None:
    row = f"1, 0, 0.000, 0.98, 1, {', '.join(points())}"
    table = openface(tmp_path / "clip.csv", row)
    place = only(table.of_frame(Path("/videos/clip.mp4"), 0))
    assert table.format == "openface"
    assert place.confidence == 0.98
    assert place.height == pytest.approx(40 / 0.4)  # eyes 40 px apart, and 40 px above the mouth
    assert place.centre == pytest.approx((120, 50 + 0.17 * 100))
    assert place.landmarks["eye_inner_left"] == (130, 50)
    assert table.of_frame(Path("/videos/clip.mp4"), 1) is None
    assert table.of_frame(Path("/videos/other.mp4"), 0) is None
    assert any("count from 1" in note for note in table.notes)


def test_a_frame_where_openface_failed_has_no_face_but_is_known(tmp_path: Path) -> None:
    failed = f"2, 0, 0.033, 0.02, 0, {', '.join(['0'] * 136)}"
    table = openface(tmp_path / "clip.csv", failed)
    found = table.of_frame(Path("clip"), 1)
    assert found is not None
    assert found.places == ()
    assert "success 0" in found.reason
    assert any("1 of 1 frames have no face" in note for note in table.notes)


def test_several_faces_of_a_frame_are_told_apart_by_their_number(tmp_path: Path) -> None:
    right = {n: (x + 200, y) for n, (x, y) in EYES_68.items()}
    table = openface(
        tmp_path / "clip.csv",
        f"1, 0, 0, 0.9, 1, {', '.join(points())}",
        f"1, 1, 0, 0.8, 1, {', '.join(points(right))}",
    )
    found = table.of_frame(Path("clip.avi"), 0)
    assert found is not None
    assert [place.centre[0] for place in found.places] == pytest.approx([120, 320])


def pyfeat(*rows: str, header: str = "") -> list[str]:
    columns = ["", "FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"]
    return [header or ",".join([*columns, *X_68, *Y_68, "input", "frame"]), *rows]


def test_pyfeat_landmarks_decide_where_its_box_is_known_too(tmp_path: Path) -> None:
    row = f"0,80.0,20.0,80.0,110.0,0.99,{','.join(points())},faces/a.jpg,0"
    table = read_places(write(tmp_path / "fex.csv", *pyfeat(row)))
    place = only(table.of_image(tmp_path / "faces" / "a.jpg"))
    assert (place.height, place.confidence) == (pytest.approx(100), 0.99)


def test_pyfeat_without_a_face_has_empty_cells(tmp_path: Path) -> None:
    nothing = f"0,NaN,NaN,NaN,NaN,NaN,{','.join(['NaN'] * 136)},clip.mp4,3.0"
    table = read_places(write(tmp_path / "fex.csv", *pyfeat(nothing)))
    found = table.of_frame(Path("/elsewhere/clip.mp4"), 3)
    assert found is not None
    assert (found.places, found.reason) == ((), "no face in the table (empty rectangle)")


def test_a_box_of_pyfeat_serves_where_the_eyes_are_unknown(tmp_path: Path) -> None:
    header = "FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,FaceScore,frame"
    file = write(tmp_path / "clip.csv", *pyfeat("10,20,60,80,0.7,0", "90,20,60,90,0.6,0",
                                                header=header))  # fmt: skip
    found = read_places(file).of_frame(Path("clip.mov"), 0)
    assert found is not None
    assert [place.height for place in found.places] == [80, 90]
    assert found.places[0].centre == (40, 60)


def test_the_mesh_of_478_points_is_known_by_its_numbers(tmp_path: Path) -> None:
    mesh = {33: (90, 50), 133: (110, 50), 362: (130, 50), 263: (150, 50)}
    names = [f"{axis}_{n}" for axis in "xy" for n in range(478)]
    header = ",".join(["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", *names,
                       "input", "frame"])  # fmt: skip
    row = f"1,2,3,4,{','.join(points(mesh, count=478))},a.png,0"
    place = only(read_places(write(tmp_path / "f.csv", header, row)).of_image(tmp_path / "a.png"))
    assert place.height == pytest.approx(100)


# Of the published face of the mesh, in cm: x to the person's left, y upwards.
MESH = {
    46: (-5.25, 3.88), 70: (-5.72, 4.25), 52: (-3.73, 4.51), 105: (-3.99, 5.11),
    55: (-1.22, 4.14), 107: (-1.40, 5.01), 276: (5.25, 3.88), 300: (5.72, 4.25),
    282: (3.73, 4.51), 334: (3.99, 5.11), 285: (1.22, 4.14), 336: (1.40, 5.01),
    33: (-4.45, 2.66), 159: (-3.18, 2.96), 145: (-3.18, 2.29), 133: (-1.86, 2.59),
    263: (4.45, 2.66), 386: (3.18, 2.96), 374: (3.18, 2.29), 362: (1.86, 2.59),
    168: (0, 3.27), 1: (0, -1.13), 98: (-1.41, -1.71), 327: (1.41, -1.71), 2: (0, -2.09),
    0: (0, -3.41), 13: (0, -3.99), 14: (0, -4.54), 17: (0, -5.37),
    61: (-2.46, -4.34), 291: (2.46, -4.34), 152: (0, -9.40),
}  # fmt: skip


def test_the_points_of_the_mesh_have_the_names_of_where_they_are(tmp_path: Path) -> None:
    names = [f"{axis}_{n}" for axis in "xy" for n in range(478)]
    where = {n: (round(100 * x), round(-100 * y)) for n, (x, y) in MESH.items()}
    header = ",".join(["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", *names,
                       "input", "frame"])  # fmt: skip
    row = f"1,2,3,4,{','.join(points(where, count=478))},a.png,0"
    table = read_places(write(tmp_path / "f.csv", header, row))
    known = only(table.of_image(tmp_path / "a.png")).landmarks
    assert set(known) == set(table.landmarks) == set(LANDMARK_NAMES)
    for name, (x, y) in known.items():
        if name.endswith("_left"):  # the person's left, which is at the right of the image
            assert x > 0
            assert known[f"{name.removesuffix('_left')}_right"] == (-x, y)
        elif not name.endswith("_right"):
            assert x == 0
    down = ["brow_middle_left", "lid_upper_left", "eye_outer_left", "lid_lower_left", "nose_tip",
            "nose_wing_left", "nose_base", "lip_upper_top", "lip_upper_bottom",
            "mouth_corner_left", "lip_lower_top", "lip_lower_bottom", "chin"]  # fmt: skip
    assert sorted(down, key=lambda name: known[name][1]) == down
    out = ["brow_inner_left", "eye_inner_left", "lid_upper_left", "eye_outer_left"]
    assert sorted(out, key=lambda name: known[name][0]) == out
    assert known["brow_outer_left"] == pytest.approx((548.5, -406.5))


def test_boxes_by_path_or_by_frame_are_read_with_any_separator(tmp_path: Path) -> None:
    by_path = write(tmp_path / "boxes.csv", "path;left;top;width;height;angle",
                    "a/1.png;10;20;30.5;40;-7", "a/2.png;;;;;")  # fmt: skip
    table = read_places(by_path)
    place = only(table.of_image(tmp_path / "a" / "1.png"))
    assert (place.top, place.height, place.angle, place.confidence) == (20, 40, -7, 1)
    assert place.centre == (25.25, 40)
    nothing = table.of_image(tmp_path / "a" / "2.png")
    assert nothing is not None
    assert not nothing.places
    by_frame = write(tmp_path / "clip.csv", "frame\tleft\ttop\twidth\theight\tconfidence",
                     "0\t1\t2\t3\t4\t0.5")  # fmt: skip
    assert only(read_places(by_frame).of_frame(Path("x/clip.cptv"), 0)).confidence == 0.5
    both = write(tmp_path / "all.csv", "path,frame,left,top,width,height", "b/clip.cptv,5,1,2,3,4")
    assert only(read_places(both).of_frame(Path("/data/b/clip.cptv"), 5)).height == 4
    assert read_places(both).of_frame(Path("/data/c/clip.cptv"), 5) is None


def test_a_relative_path_must_be_the_end_of_the_images_path(tmp_path: Path) -> None:
    file = write(tmp_path / "t" / "b.csv", "path,left,top,width,height", "A/1.png,1,2,3,4")
    table = read_places(file)
    assert table.of_image(Path("/x/A/1.png")) is not None
    assert table.of_image(Path("/x/B/1.png")) is None
    assert table.frames[Key("A/1.png")].places


def test_two_rows_that_may_mean_an_image_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "t" / "b.csv", "path,left,top,width,height", "A/1.png,1,2,3,4",
                 "1.png,5,6,7,8")  # fmt: skip
    with pytest.raises(DataError, match="write longer paths"):
        read_places(file).of_image(Path("/x/A/1.png"))


def test_our_landmarks_serve_as_places(tmp_path: Path) -> None:
    corners = (130.0, 50.0, 150.0, 50.0, 110.0, 50.0, 90.0, 50.0)
    blind = (float("nan"), float("nan"), *corners[2:])
    write_landmarks(tmp_path, EYE_CORNERS, [("a.png", corners), ("b.png", blind)])
    table = read_places(tmp_path / "landmarks.csv")
    assert only(table.of_image(tmp_path / "a.png")).height == pytest.approx(100)
    nothing = table.of_image(tmp_path / "b.png")
    assert nothing is not None
    assert "eyes are unknown" in nothing.reason


BOXES = "path,left,top,width,height"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["path,left,top,width", "a.png,1,2,3"], "row 1: the column 'height' is missing"),
        (["left,top,width,height", "1,2,3,4"], "'path' or 'frame' is missing"),
        (["path,smile", "a.png,1"], "no columns say where faces are"),
        ([BOXES], "holds no rows"),
        ([BOXES, "a.png,1,2,3"], "row 2: has 4 cells, but the header has 5"),
        ([BOXES, "a.png,1,2,0,4"], "row 2: a box needs .* found 1, 2, 0, 4"),
        ([BOXES, "a.png,1,,3,4"], "row 2: a box needs .* found 1, nan, 3, 4"),
        ([BOXES, "a.png,x,2,3,4"], "row 2, column left: expected a number, found 'x'"),
        ([BOXES, "a.png,1e999,2,3,4"], "row 2, column left: expected a number"),
        ([BOXES, "a.png,1,2,3,4", "a.png,5,6,7,8"], "row 3: names the same face as row 2"),
        ([BOXES + ",confidence", "a.png,1,2,3,4,85"], "confidence from 0 to 1, found 85"),
        (["frame,left,top,width,height", "1.5,1,2,3,4"], "column frame: expected a whole number"),
        (["path,path,left", "a,b,1"], "column 'path' is there twice"),
        (["x_0,x_1,y_0,y_1", "1,2,3,4"], "has 2 landmarks x_N; known are 68"),
        ([",".join(["frame", *X_68, *Y_68]), "0," + ",".join(points())], "counts from 1, found 0"),
        ([",".join(["frame", *X_68]), "1," + ",".join(points()[:68])], "'y_0' is missing"),
    ],
)  # fmt: skip
def test_a_faulty_table_is_told_by_file_and_place(
    tmp_path: Path, lines: list[str], told: str
) -> None:
    file = write(tmp_path / "faces.csv", *lines)
    with pytest.raises(DataError, match=told) as caught:
        read_places(file)
    assert str(file) in str(caught.value)


def test_a_missing_table_and_one_of_other_bytes_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file of boxes"):
        read_places(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_bytes(b"path\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read as a CSV table"):
        read_places(tmp_path / "bad.csv")
