from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import pytest
import torch

from cycada import image_reading, image_writing
from cycada.data.index import Face, Index, IndexInfo
from cycada.data.landmarks import LANDMARKS_NAME, Landmarks, read_landmarks, write_landmarks
from cycada.errors import DataError
from cycada.landmarks import EYE_CORNERS

NAMES = (*EYE_CORNERS, "chin")
CORNERS = (10.0, 30.0, 12.0, 30.0, 20.0, 30.0, 22.0, 30.0)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    """Return two faces of 40 x 60 px, of which the first has landmarks."""
    faces = tuple(
        Face(path=f"{number}.png", domain="rgb", subject="a", split="train") for number in (0, 1)
    )
    for face in faces:
        image_writing.write_image(tmp_path / face.path, torch.zeros(3, 60, 40, dtype=torch.uint8))
    values = [*CORNERS, 39, 49.5]
    write_landmarks(tmp_path, NAMES, [("0.png", values)])
    return Index(tmp_path, IndexInfo(kind="none"), faces)


def known(index: Index) -> Landmarks:
    found = read_landmarks(index.root)
    assert found is not None
    return found


def table(index: Index, *lines: str) -> None:
    (index.root / LANDMARKS_NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_points_follow_the_scaling_and_the_central_crop(index: Index) -> None:
    """40 x 60 becomes 20 x 30, of which rows 5 to 24 are kept; pixel centres are at halves."""
    found = known(index).of(index, ("eye_inner_left", "chin"), size=20)
    expected = torch.tensor([[(10.5 / 2) - 0.5, 30.5 / 2 - 0.5 - 5], [39.5 / 2 - 0.5, 19.5]])
    torch.testing.assert_close(found[0], expected)
    assert torch.isnan(found[1]).all()
    assert known(index).names == NAMES


def test_a_pixel_lies_where_its_landmark_says_after_decoding(index: Index) -> None:
    from cycada.data.dataset import FaceImages

    picture = torch.zeros(3, 60, 40, dtype=torch.uint8)
    picture[:, 28:32, 20:24] = 255  # centred on (21.5, 29.5)
    image_writing.write_image(index.root / "0.png", picture)
    table(index, "path," + ",".join(f"{n}_{a}" for n in NAMES for a in "xy"),
          "0.png," + ",".join(["21.5", "29.5"] * 5))  # fmt: skip
    seen = FaceImages([index], domain="rgb", size=20).decode(0)[0].double()
    grid = torch.arange(20.0, dtype=torch.float64)
    centre = [float((seen.sum(axis) * grid).sum() / seen.sum()) for axis in (0, 1)]
    found = known(index).of(index, ("chin",), size=20)[0, 0]
    assert centre == pytest.approx(found.tolist(), abs=0.05)


def test_a_picture_lying_on_its_side_is_measured_as_it_is_shown(tmp_path: Path) -> None:
    from PIL import Image

    picture = Image.new("L", (40, 60))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    shown = image_reading.read_image(tmp_path / "a.jpg")
    assert image_reading.read_size(tmp_path / "a.jpg") == tuple(shown.shape[-2:]) == (40, 60)


@pytest.mark.parametrize("noted", [False, True])
def test_the_size_of_a_png_heeds_an_orientation_after_its_pixels(
    tmp_path: Path, *, noted: bool
) -> None:
    from PIL import Image

    picture = Image.effect_noise((40, 60), 64)  # noise, so that the pixels fill some kB
    picture.save(tmp_path / "a.png")
    if noted:
        exif = picture.getexif()
        exif[0x0112] = 6
        content = b"eXIf" + exif.tobytes()[6:]  # without "Exif" and two zeros, as in PNG
        chunk = struct.pack(">I", len(content) - 4) + content
        chunk += struct.pack(">I", zlib.crc32(content))
        plain = (tmp_path / "a.png").read_bytes()
        (tmp_path / "a.png").write_bytes(plain[:-12] + chunk + plain[-12:])  # before IEND
    shown = image_reading.read_image(tmp_path / "a.png")
    assert image_reading.read_size(tmp_path / "a.png") == tuple(shown.shape[-2:])
    assert shown.shape[-2:] == ((40, 60) if noted else (60, 40))


def test_unknown_cells_and_unknown_points_stay_unknown(index: Index) -> None:
    table(index, "path," + ",".join(f"{n}_{a}" for n in NAMES for a in "xy"),
          "0.png,1,2,,4,5,6,7,8,9,10")  # fmt: skip
    found = known(index).of(index, (*NAMES, "brow"), size=40)
    assert torch.isnan(found[0, 1, 0])
    assert torch.isfinite(found[0, 2:5]).all()
    assert torch.isnan(found[0, 5]).all()


def test_without_a_table_there_is_nothing(index: Index) -> None:
    (index.root / LANDMARKS_NAME).unlink()
    assert read_landmarks(index.root) is None


def test_unknown_places_are_written_as_empty_cells(index: Index) -> None:
    write_landmarks(index.root, NAMES, [("1.png", [math.nan] * 8 + [3.0, 4.0])])
    text = (index.root / LANDMARKS_NAME).read_text(encoding="utf-8")
    assert text.splitlines()[1] == "1.png,,,,,,,,,3.00,4.00"
    found = known(index).of(index, NAMES, size=40)
    assert torch.isnan(found[0]).all()
    assert torch.isfinite(found[1, 4]).all()


def test_blank_lines_and_spaces_in_the_header_do_no_harm(index: Index) -> None:
    table(index, "path, " + ", ".join(f"{n}_{a}" for n in NAMES for a in "xy"), "",
          "0.png,1,2,3,4,5,6,7,8,9,10", "")  # fmt: skip
    assert known(index).places == {"0.png": tuple(float(v) for v in range(1, 11))}


def test_the_fingerprint_heeds_the_faces_that_are_asked_for(index: Index) -> None:
    before = known(index).fingerprint(index.faces[:1])
    write_landmarks(index.root, NAMES, [("0.png", [*CORNERS, 39, 49.5]), ("1.png", [0.0] * 10)])
    assert known(index).fingerprint(index.faces[:1]) == before
    assert known(index).fingerprint(index.faces) != before


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["path,chin_x", "0.png,1"], "chin_y"),
        (["path,chin_x,chin_y", "0.png,1,2"], "eye_inner_left_x and eye_inner_left_y are missing"),
        (["file,chin_x,chin_y"], "no column `path`"),
        ([""], "is empty"),
        (["path,path"], "column path is there twice"),
        (["path,smile"], "column smile is no coordinate"),
        (["path," + ",".join(f"{n}_{a}" for n in NAMES for a in "xy"),
          *["0.png,1,2,3,4,5,6,7,8,9,10"] * 2], "row 3: 0.png is there already"),
        (["path," + ",".join(f"{n}_{a}" for n in NAMES for a in "xy"), "0.png,1"], "row 2 has 2"),
        (["path," + ",".join(f"{n}_{a}" for n in (*NAMES, "brow_left") for a in "xy")],
         "brow_left on one side"),
    ],
)  # fmt: skip
def test_a_faulty_table_is_told_by_file_and_place(
    index: Index, lines: list[str], told: str
) -> None:
    table(index, *lines)
    with pytest.raises(DataError, match=told) as caught:
        read_landmarks(index.root)
    assert str(index.root / LANDMARKS_NAME) in str(caught.value)


@pytest.mark.parametrize("cell", ["low", "1e999", "inf"])
def test_a_cell_that_is_no_number_is_told(cell: str, index: Index) -> None:
    table(index, "path," + ",".join(f"{n}_{a}" for n in NAMES for a in "xy"),
          f"0.png,1,2,3,4,5,6,7,8,9,{cell}")  # fmt: skip
    with pytest.raises(DataError, match=f"row 2, column chin_y: expected px, found '{cell}'"):
        read_landmarks(index.root)


def test_bytes_that_are_no_text_are_told(index: Index) -> None:
    (index.root / LANDMARKS_NAME).write_bytes(b"path\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read as a CSV table"):
        read_landmarks(index.root)
