from __future__ import annotations

import io
import os
import threading
import time

import numpy as np
import pytest

from cycada.errors import DataError, UsageError
from cycada.footage import ReadOptions
from cycada.footage.raw import RawFrames, open_raw, raw_size

LAYOUT = RawFrames(width=3, height=2, rate=4.0)
PIXELS = np.arange(30000, 30000 + 5 * 6, dtype=np.uint16).reshape(5, 2, 3)
UNIT = ReadOptions(unit="centikelvin")


def test_frames_are_those_that_were_written_with_times_by_the_rate() -> None:
    footage = open_raw(io.BytesIO(PIXELS.astype("<u2").tobytes()), LAYOUT, UNIT)
    frames = list(footage.frames())
    assert np.array_equal(np.stack([f.image.numpy()[0] for f in frames]), PIXELS)
    assert [f.seconds for f in frames] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert (footage.size, footage.frame_rate, footage.unit) == ((2, 3), 4.0, "centikelvin")


def test_bytes_are_little_endian() -> None:
    footage = open_raw(io.BytesIO(b"\x01\x75" * 6), LAYOUT, UNIT)
    assert next(footage.frames()).image.unique().tolist() == [0x7501]


def test_a_stream_is_turned_upright() -> None:
    options = ReadOptions(unit="centikelvin", rotate=90)
    footage = open_raw(io.BytesIO(PIXELS.astype("<u2").tobytes()), LAYOUT, options)
    assert np.array_equal(next(footage.frames()).image[0].numpy(), np.rot90(PIXELS[0], -1))


def test_what_is_less_than_a_frame_at_the_end_is_left_out() -> None:
    notes: list[str] = []
    stream = io.BytesIO(PIXELS.tobytes() + b"\x01" * 11)
    footage = open_raw(stream, LAYOUT, UNIT, note=notes.append)
    assert len(list(footage.frames())) == 5
    assert notes == ["standard input: ended with 11 of the 12 bytes of a frame; left out."]


@pytest.mark.parametrize(
    ("fault", "told"), [(ValueError("closed"), DataError), (EOFError(), EOFError)]
)
def test_whatever_fails_while_reading_is_told(fault: Exception, told: type[Exception]) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() == 12:
                raise fault
            return super().read(size)

    footage = open_raw(Broken(PIXELS.tobytes()), LAYOUT, UNIT)
    with pytest.raises(told):
        list(footage.frames())


def test_a_stream_that_does_not_block_is_waited_for() -> None:
    read, write = os.pipe()
    os.set_blocking(read, False)
    with os.fdopen(read, "rb", buffering=0) as stream, os.fdopen(write, "wb", 0) as camera:

        def later() -> None:
            for frame in PIXELS.astype("<u2"):
                time.sleep(0.05)
                camera.write(frame.tobytes())
            camera.close()

        threading.Thread(target=later).start()
        footage = open_raw(stream, LAYOUT, UNIT)
        assert len(list(footage.frames())) == 5


def test_a_frame_is_there_as_soon_as_its_last_byte_is() -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as stream, os.fdopen(write, "wb", 0) as camera:
        frames = PIXELS.astype("<u2")
        threading.Timer(0.05, lambda: [camera.write(frames[0].tobytes()[:5]),
                                       time.sleep(0.05),
                                       camera.write(frames[0].tobytes()[5:])]).start()  # fmt: skip
        footage = open_raw(stream, LAYOUT, UNIT)  # the second frame is never written
        assert np.array_equal(next(footage.frames()).image[0].numpy(), PIXELS[0])


def test_the_unit_is_guessed_from_the_first_frame_or_asked_for() -> None:
    assert open_raw(io.BytesIO(PIXELS.tobytes()), LAYOUT, ReadOptions()).unit == "centikelvin"
    with pytest.raises(DataError, match=r"standard input: its median pixel, 7, .* give --unit"):
        open_raw(io.BytesIO(b"\x07\x00" * 6), LAYOUT, ReadOptions())


def test_an_empty_stream_is_one_sentence() -> None:
    with pytest.raises(DataError, match=r"ended before the first frame did, which has 12 bytes"):
        open_raw(io.BytesIO(b"\x01" * 11), LAYOUT, UNIT)


@pytest.mark.parametrize("text", ["160", "0x120", "160x", "-3x4", "99999x99999", "160x120x2"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    assert raw_size("160x120") == (160, 120)
    with pytest.raises(UsageError, match="such as 160x120"):
        raw_size(text)
