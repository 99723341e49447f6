from __future__ import annotations

import gzip
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cptv import CPTVWriter
from cptv import Frame as CPTVFrame
from numpy.typing import NDArray

from cycada.errors import DataError, UsageError
from cycada.footage import ReadOptions, find_sources, open_footage


def pictures(count: int) -> list[NDArray[np.uint16]]:
    """Return frames of a Lepton in centikelvin, 120 x 160, no two alike."""
    rng = np.random.default_rng(0)
    room = 29600 + np.add.outer(np.arange(120), np.arange(160)) * 3
    return [
        (room + rng.integers(0, 40, room.shape) + 7 * i).astype(np.uint16) for i in range(count)
    ]


def write(file: Path, frames: Any, *, background: NDArray[np.uint16] | None = None) -> Path:
    """Write a recording; ``frames`` are (milliseconds since the camera was switched on, pixels)."""
    with file.open("wb") as stream:
        writer = CPTVWriter(stream)
        writer.brand, writer.model, writer.fps = b"flir", b"lepton3.5", 9
        if background is not None:
            writer.background_frame = _frame(0, background, background=True)
        for milliseconds, pixels in frames:
            writer.write_frame(_frame(milliseconds, pixels))
        writer.close()
    return file


def _frame(milliseconds: int, pixels: NDArray[np.uint16], *, background: bool = False) -> Any:
    return CPTVFrame(
        pixels, timedelta(milliseconds=milliseconds), timedelta(), 20.0, 20.0, background
    )


STAMPS = [80000, 80114, 80228, 82342, 82456]  # the shutter closes for two seconds


def test_frames_keep_their_counts_and_the_times_of_their_stamps(tmp_path: Path) -> None:
    shown = pictures(5)
    file = write(tmp_path / "a.cptv", zip(STAMPS, shown, strict=True))
    footage = open_footage(file, ReadOptions(rotate=90))
    for _ in range(2):
        frames = list(footage.frames())
        assert [frame.seconds for frame in frames] == pytest.approx([0, 0.114, 0.228, 2.342, 2.456])
        for frame, picture in zip(frames, shown, strict=True):
            assert frame.image[0].tolist() == np.rot90(picture, -1).tolist()
    assert (footage.unit, footage.size, footage.count) == ("centikelvin", (160, 120), 5)
    assert footage.frame_rate == pytest.approx(1 / 0.114)  # not the 9 of the header
    assert footage.notes[0] == "CPTV recording of a flir lepton3.5"
    assert footage.notes[-1] == "turned clockwise by 90 degrees"


def test_the_background_frame_is_left_out(tmp_path: Path) -> None:
    shown = pictures(4)
    file = write(tmp_path / "a.cptv", zip(STAMPS, shown[:3], strict=False), background=shown[3])
    footage = open_footage(file)
    frames = list(footage.frames())
    assert [frame.number for frame in frames] == [0, 1, 2]
    assert frames[0].seconds == 0
    assert frames[0].image[0].tolist() == shown[0].tolist()
    assert footage.count == 3


def long(file: Path) -> None:
    """Write more frames than are looked at when a recording is opened."""
    write(file, [(114 * number, picture) for number, picture in enumerate(pictures(20))])


def cut(file: Path) -> None:
    long(file)
    file.write_bytes(file.read_bytes()[:-3000])


def damaged(file: Path) -> None:
    long(file)
    whole = bytearray(file.read_bytes())
    whole[-3000] ^= 0xFF
    file.write_bytes(whole)


def other(file: Path) -> None:
    file.write_bytes(gzip.compress(b"VTPC\x02"))


@pytest.mark.parametrize(
    "make", [cut, damaged, other, lambda file: file.write_text("hello"), Path.touch]
)
def test_a_broken_recording_is_refused_when_it_is_opened(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "a.cptv")
    with pytest.raises(DataError, match=r"a\.cptv: cannot be read as a CPTV recording") as caught:
        open_footage(tmp_path / "a.cptv")
    assert "\n" not in str(caught.value)


def test_a_recording_without_a_frame_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.cptv: holds no frame"):
        open_footage(write(tmp_path / "a.cptv", []))


def test_a_recording_is_found_as_one(tmp_path: Path) -> None:
    file = write(tmp_path / "a.cptv", zip(STAMPS, pictures(5), strict=True))
    assert find_sources(tmp_path).recordings == (file,)


def test_without_the_reader_the_command_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "a.cptv", zip(STAMPS, pictures(5), strict=True))
    monkeypatch.setitem(sys.modules, "cptv", None)
    with pytest.raises(UsageError, match=r"needs the package cptv: pip install 'cycada\[cptv\]'"):
        open_footage(file)
