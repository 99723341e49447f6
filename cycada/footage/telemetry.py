"""Rows of telemetry that cameras append to the picture in 16-bit files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cycada.footage.frames import Pixels

_MOST = 4  # rows at either edge; the Lepton 2 writes 3, the Lepton 3 writes 2, the Boson 1
_SMALLEST = 16  # px, height of a picture that is looked at


def telemetry_rows(pictures: Sequence[Pixels]) -> tuple[int, int]:
    """Return how many rows at the top and at the bottom of each picture hold no pixels.

    Telemetry is mostly reserved words, which are 0, and small numbers. Of a row of it, half the
    values or more lie below half of the coldest pixel, which no pixel of a room does in a unit
    that counts from absolute zero.

    Args:
        pictures: ``(1, H, W)`` uint16 of one source; what they do not agree on is no telemetry.
    """
    found = {_rows(picture[0]) for picture in pictures}
    return found.pop() if len(found) == 1 else (0, 0)


def _rows(picture: Pixels) -> tuple[int, int]:
    if picture.dtype != np.uint16 or len(picture) < _SMALLEST:
        return 0, 0
    coldest = int(picture[_MOST:-_MOST].min())
    strange = [bool((row < coldest / 2).mean() >= 0.5) for row in picture]
    top = next(at for at in range(_MOST + 1) if not strange[at])
    bottom = next(at for at in range(_MOST + 1) if not strange[-1 - at])
    return top, bottom
