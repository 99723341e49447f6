"""Raw frames from a pipe: 16-bit little-endian pixels, row by row, one frame after the other."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cycada.errors import DataError, UsageError, reason
from cycada.footage.frames import Footage, Reading, ReadOptions, Shot, numbered
from cycada.footage.interpreting import interpret
from cycada.images import MOST_PIXELS

PIPE = Path("standard input")
"""What messages call a stream without a name."""

_SIZE = re.compile(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})")
_WAITING = 64  # frames that are read ahead at most: whoever writes them is kept waiting no sooner


@dataclass(frozen=True, slots=True)
class RawFrames:
    """How a stream of raw frames is cut into frames."""

    width: int  # px
    height: int
    rate: float  # frames per second

    @property
    def bytes(self) -> int:
        """Length of a frame."""
        return 2 * self.width * self.height


def raw_size(text: str) -> tuple[int, int]:
    """Return the width and height that ``160x120`` names.

    Raises:
        UsageError: It names none.
    """
    found = _SIZE.fullmatch(text)
    size = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 0 < size[0] * size[1] <= MOST_PIXELS:
        raise UsageError(
            f"--raw {text}: expected the width and height of a frame in px, such as 160x120."
        )
    return size


def open_raw(stream: BinaryIO, layout: RawFrames, options: ReadOptions) -> Footage:
    """Open a stream of uint16 frames; wait for the first one, by which it is understood.

    Frame n is of the time n / rate: a stream has no time stamps. A thread reads ahead, so that
    whoever looks at the frames may take longer for one now and then. What is left at the end, less
    than a frame, is left out.

    Args:
        stream: Where bytes come from; best without a buffer of its own.
        layout: How they are frames.
        options: What the pixels mean.

    Returns:
        The source. Its frames can be asked for once.

    Raises:
        DataError: The stream ends before the first frame does, or its pixels are in doubt.
    """
    shots = _shots(_ahead(stream, layout.bytes), layout)
    first = next(shots, None)
    if first is None:
        raise DataError(
            f"{PIPE}: ended before the first frame did, which has {layout.bytes} bytes "
            f"({layout.width} x {layout.height} pixels of 16 bits)."
        )
    note = (
        f"raw frames of {layout.width} x {layout.height} pixels, 16 bits each, little-endian; "
        f"{layout.rate:g} a second, as stated"
    )
    reading = Reading(
        path=PIPE, shots=lambda: chain([first], shots), sample=(first,), frame_rate=layout.rate,
        notes=(note,),
    )  # fmt: skip
    return interpret(reading, options)


def _shots(frames: Iterator[bytes], layout: RawFrames) -> Iterator[Shot]:
    shape = (1, layout.height, layout.width)
    for number, content in enumerate(frames):
        pixels = np.frombuffer(content, dtype="<u2").astype(np.uint16).reshape(shape)
        yield Shot(pixels, number / layout.rate, numbered(number))


def _ahead(stream: BinaryIO, length: int) -> Iterator[bytes]:
    """Yield pieces of a length that a thread reads."""
    waiting: queue.Queue[bytes | OSError] = queue.Queue(_WAITING)

    def read() -> None:
        try:
            while len(content := _exactly(stream, length)) == length:
                waiting.put(content)
        except OSError as error:
            waiting.put(error)
        waiting.put(b"")

    # A daemon: nobody waits for a camera that sends nothing any more.
    threading.Thread(target=read, name="raw frames", daemon=True).start()
    while content := waiting.get():
        if isinstance(content, OSError):
            raise DataError(f"{PIPE}: cannot be read ({reason(content)}).") from content
        yield content


def _exactly(stream: BinaryIO, length: int) -> bytes:
    """Return the next bytes, fewer at the end; a pipe gives as many as there are just then."""
    parts = bytearray()
    while len(parts) < length and (part := stream.read(length - len(parts))):
        parts += part
    return bytes(parts)
