from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cycada import images
from cycada.data.index import Face, Index, IndexInfo
from cycada.data.landmarks import (
    LANDMARKS_NAME,
    carry_landmarks,
    landmark_names,
    landmarks_fingerprint,
    read_landmarks,
    write_landmarks,
)
from cycada.errors import DataError
from cycada.landmarks import EYE_CORNERS

NAMES = (*EYE_CORNERS, "chin")


@pytest.fixture
def index(tmp_path: Path) -> Index:
    """Return two faces of 40 x 60 px, of which the first has landmarks."""
    faces = tuple(
        Face(path=f"{number}.png", domain="rgb", subject="a", split="train") for number in (0, 1)
    )
    for face in faces:
        images.write_image(tmp_path / face.path, torch.zeros(3, 60, 40, dtype=torch.uint8))
    values = [10.0, 30, 12, 30, 20, 30, 22, 30, 39, 49.5]
    write_landmarks(tmp_path / LANDMARKS_NAME, NAMES, [("0.png", values)])
    return Index(tmp_path, IndexInfo(kind="none"), faces)


def table(index: Index, *lines: str) -> None:
    (index.root / LANDMARKS_NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_points_follow_the_scaling_and_the_central_crop(index: Index) -> None:
    """40 x 60 becomes 20 x 30, of which rows 5 to 24 are kept; pixel centres are at halves."""
    found = read_landmarks(index, ("eye_inner_left", "chin"), size=20)
    expected = torch.tensor([[(10.5 / 2) - 0.5, 30.5 / 2 - 0.5 - 5], [39.5 / 2 - 0.5, 19.5]])
    torch.testing.assert_close(found[0], expected)
    assert torch.isnan(found[1]).all()
    assert landmark_names(index) == NAMES


def test_a_pixel_lies_where_its_landmark_says_after_decoding(index: Index) -> None:
    from cycada.data.dataset import FaceImages

    picture = torch.zeros(3, 60, 40, dtype=torch.uint8)
    picture[:, 28:32, 20:24] = 255  # centred on (21.5, 29.5)
    images.write_image(index.root / "0.png", picture)
    table(index, "path," + ",".join(f"{n}_{a}" for n in NAMES for a in "xy"),
          "0.png," + ",".join(["21.5", "29.5"] * 5))  # fmt: skip
    seen = FaceImages([index], domain="rgb", size=20).decode(0)[0].double()
    grid = torch.arange(20.0, dtype=torch.float64)
    centre = [float((seen.sum(axis) * grid).sum() / seen.sum()) for axis in (0, 1)]
    found = read_landmarks(index, ("chin",), size=20)[0, 0]
    assert centre == pytest.approx(found.tolist(), abs=0.05)


def test_a_picture_lying_on_its_side_is_measured_as_it_is_shown(tmp_path: Path) -> None:
    from PIL import Image

    picture = Image.new("L", (40, 60))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    shown = images.read_image(tmp_path / "a.jpg")
    assert images.read_size(tmp_path / "a.jpg") == tuple(shown.shape[-2:]) == (40, 60)


def test_unknown_cells_and_unknown_points_stay_unknown(index: Index) -> None:
    table(index, "path," + ",".join(f"{n}_{a}" for n in NAMES for a in "xy"),
          "0.png,1,2,,4,5,6,7,8,9,10")  # fmt: skip
    found = read_landmarks(index, (*NAMES, "brow"), size=40)
    assert torch.isnan(found[0, 1, 0])
    assert torch.isfinite(found[0, 2:5]).all()
    assert torch.isnan(found[0, 5]).all()


def test_without_a_table_there_are_no_names(index: Index) -> None:
    (index.root / LANDMARKS_NAME).unlink()
    assert landmark_names(index) == ()
    assert torch.isnan(read_landmarks(index, NAMES, size=20)).all()
    assert landmarks_fingerprint(index) == "none"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["path,chin_x", "0.png,1"], "chin_y"),
        (["path,chin_x,chin_y", "0.png,1,2"], "eye_inner_left_x and eye_inner_left_y are missing"),
        (["file,chin_x,chin_y"], "no column `path`"),
        ([""], "no column `path`"),
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
        landmark_names(index)
    assert str(index.root / LANDMARKS_NAME) in str(caught.value)


def test_a_cell_that_is_no_number_is_told(index: Index) -> None:
    table(index, "path," + ",".join(f"{n}_{a}" for n in NAMES for a in "xy"),
          "0.png,1,2,3,4,5,6,7,8,9,low")  # fmt: skip
    with pytest.raises(DataError, match="row 2, column chin_y: expected px, found 'low'"):
        read_landmarks(index, NAMES, size=20)


def test_bytes_that_are_no_text_are_told(index: Index) -> None:
    (index.root / LANDMARKS_NAME).write_bytes(b"path\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read as a CSV table"):
        landmark_names(index)


def test_made_images_keep_their_originals_landmarks(index: Index, tmp_path: Path) -> None:
    out = tmp_path / "made"
    out.mkdir()
    carry_landmarks(index, out, {"0.png": "thermal/0.png"})
    made = Index(out, index.info, (replace(index.faces[0], path="thermal/0.png"),))
    images.write_image(out / "thermal/0.png", torch.zeros(1, 60, 40, dtype=torch.uint8))
    before, after = (read_landmarks(each, NAMES, size=20)[0] for each in (index, made))
    torch.testing.assert_close(before, after)
    (index.root / LANDMARKS_NAME).unlink()
    carry_landmarks(index, tmp_path / "none", {})
    assert not (tmp_path / "none").exists()
