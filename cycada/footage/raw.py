"""Raw frames from a pipe: 16-bit little-endian pixels, row by row, one frame after the other."""

from __future__ import annotations

import queue
import re
import select
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cycada.errors import DataError, UsageError, reason
from cycada.footage.frames import Footage, Reading, ReadOptions, Shot, numbered
from cycada.footage.interpreting import interpret
from cycada.image_reading import MOST_PIXELS

PIPE = Path("standard input")
"""What messages call a stream without a name."""

_SIZE = re.compile(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})")
_WAITING, _FEWEST = 64, 2  # frames that are read ahead at most, and if they are large
_MOST_BYTES = 2**28  # that are read ahead; beyond, whoever writes them is kept waiting


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


def open_raw(
    stream: BinaryIO, layout: RawFrames, options: ReadOptions, *,
    note: Callable[[str], None] = lambda _: None,
) -> Footage:  # fmt: skip
    """Open a stream of uint16 frames; wait for the first one, by which it is understood.

    Frame n is of the time n / rate: a stream has no time stamps. A thread reads ahead, so that
    whoever looks at the frames may take longer for one now and then. What is left at the end, less
    than a frame, is left out with a word.

    Args:
        stream: Where bytes come from; best without a buffer of its own.
        layout: How they are frames.
        options: What the pixels mean.
        note: Is told what was left out, when the last frame has been asked for.

    Returns:
        The source. Its frames can be asked for once.

    Raises:
        DataError: The stream ends before the first frame does, or its pixels are in doubt.
    """
    shots = _shots(_ahead(stream, layout.bytes, note), layout)
    first = next(shots, None)
    if first is None:
        raise DataError(
            f"{PIPE}: ended before the first frame did, which has {layout.bytes} bytes "
            f"({layout.width} x {layout.height} pixels of 16 bits)."
        )
    understood = (
        f"raw frames of {layout.width} x {layout.height} pixels, 16 bits each, little-endian; "
        f"{layout.rate:g} a second, as stated"
    )
    reading = Reading(
        path=PIPE, shots=lambda: chain([first], shots), sample=(first,), frame_rate=layout.rate,
        notes=(understood,),
    )  # fmt: skip
    return interpret(reading, options)


def _shots(frames: Iterator[bytes], layout: RawFrames) -> Iterator[Shot]:
    shape = (1, layout.height, layout.width)
    for number, content in enumerate(frames):
        pixels = np.frombuffer(content, dtype="<u2").astype(np.uint16).reshape(shape)
        yield Shot(pixels, number / layout.rate, numbered(number))


def _ahead(stream: BinaryIO, length: int, note: Callable[[str], None]) -> Iterator[bytes]:
    """Yield pieces of a length that a thread reads."""
    waiting: queue.Queue[bytes | Exception] = queue.Queue(
        max(_FEWEST, min(_WAITING, _MOST_BYTES // length))
    )

    def read() -> None:
        try:
            while len(content := _exactly(stream, length)) == length:
                waiting.put(content)
            waiting.put(content)
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits
            waiting.put(error)

    # A daemon: nobody waits for a camera that sends nothing any more.
    threading.Thread(target=read, name="raw frames", daemon=True).start()
    while not isinstance(content := waiting.get(), Exception) and len(content) == length:
        yield content
    if isinstance(content, (OSError, ValueError)):  # it failed, or was closed
        raise DataError(f"{PIPE}: cannot be read ({reason(content)}).") from content
    if isinstance(content, Exception):
        raise content
    if content:
        note(f"{PIPE}: ended with {len(content)} of the {length} bytes of a frame; left out.")


def _exactly(stream: BinaryIO, length: int) -> bytes:
    """Return the next bytes, fewer at the end; a pipe gives as many as there are just then."""
    parts = bytearray()
    while len(parts) < length:
        part: bytes | None = stream.read(length - len(parts))
        if part is None:  # it does not block, and there is nothing just now
            select.select([stream], [], [])
        elif part:
            parts += part
        else:
            break
    return bytes(parts)
