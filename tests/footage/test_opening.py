from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cycada.errors import DataError
from cycada.footage import find_sources, open_footage
from cycada.image_writing import write_image


def image(file: Path, height: int = 8) -> None:
    write_image(file, torch.full((1, height, 9), 30000, dtype=torch.int32).to(torch.uint16))


def test_a_png_whose_head_is_cut_off_is_refused_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    image(file)
    content = file.read_bytes()
    file.write_bytes(content[:8] + (4).to_bytes(4, "big") + content[12:20] + content[24:])
    with pytest.raises(DataError, match=r"a\.png: cannot be read as an image"):
        open_footage(file)


def test_recordings_frames_and_single_images_are_told_apart(tmp_path: Path) -> None:
    for name in ("T1/face_1.png", "T1/face_2.png", "stills/anna.png", "stills/bert.png",
                 ".hidden/a.png", "sizes/1.png", "alone/7.png"):  # fmt: skip
        image(tmp_path / name)
    image(tmp_path / "sizes" / "2.png", height=10)
    page = Image.fromarray(np.full((8, 9), 30000, np.uint16))
    page.save(tmp_path / "stack.tif", save_all=True, append_images=[page])
    page.save(tmp_path / "page.tif")
    np.save(tmp_path / "stack.npy", np.full((4, 8, 9), 30.0))
    np.save(tmp_path / "one.npy", np.full((8, 9), 30.0))
    for name in ("a.cptv", "b.mp4", "c.npz", "notes.txt", "T1/d.MKV"):
        (tmp_path / name).touch()
    (tmp_path / "broken.tif").write_text("hello")
    found = find_sources(tmp_path)
    recordings = ["T1/d.MKV", "a.cptv", "b.mp4", "c.npz", "stack.npy", "stack.tif"]
    assert [file.relative_to(tmp_path).as_posix() for file in found.recordings] == recordings
    assert found.folders == (tmp_path / "T1",)
    assert [file.relative_to(tmp_path).as_posix() for file in found.images] == [
        "alone/7.png", "broken.tif", "one.npy", "page.tif", "sizes/1.png", "sizes/2.png",
        "stills/anna.png", "stills/bert.png",
    ]  # fmt: skip


def test_a_folder_without_camera_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="holds no camera file"):
        find_sources(tmp_path)
    with pytest.raises(DataError, match="there is no such folder"):
        find_sources(tmp_path / "gone")


@pytest.mark.parametrize(
    ("name", "message"),
    [("gone.png", "there is no such file or folder"), ("a.txt", r"\.txt is no format that is re")],
)
def test_a_source_that_cannot_be_opened_is_named(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match=rf"{name}: {message}"):
        open_footage(tmp_path / name)


def test_a_file_of_several_frames_is_no_frame_of_a_folder(tmp_path: Path) -> None:
    for number in (1, 2):
        np.save(tmp_path / f"{number}.npy", np.full((4, 8, 9), 30.0))
    with pytest.raises(DataError, match=r"1\.npy: holds several frames, so it is no frame of a"):
        open_footage(tmp_path)
