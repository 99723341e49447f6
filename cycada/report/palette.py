"""Thermal pictures in the colours of a palette, for files in which no reader can change it."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cycada.footage.palettes import read_palette
from cycada.report.images import STOPS, Pixels

Palette = Literal["inferno", "ironbow", "grey"]

_FINELY = 4096  # steps: a window of 20 K in 5 mK

PALETTES: tuple[Palette, ...] = get_args(Palette)


def curve(palette: Palette) -> NDArray[Any]:
    """Return ``(N, 3)`` colours from 0 to 255 at even places, from cold to warm."""
    if palette == "inferno":
        return np.array([[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in STOPS])
    return read_palette(palette)


def painted(signed: Tensor, palette: Palette) -> Pixels:
    """Return ``(H, W, 3)`` of a picture in [-1, 1]: ``(3, H, W)`` as it is, ``(1, H, W)`` coloured.

    Values beyond [-1, 1] are shown as the ends of the range.
    """
    share = ((signed.detach().float().cpu().numpy() + 1) / 2).clip(0, 1)
    if len(share) == 3:
        return np.ascontiguousarray(np.moveaxis((share * 255).round().astype(np.uint8), 0, -1))
    colours = curve(palette)
    places, finely = np.linspace(0, 1, len(colours)), np.linspace(0, 1, _FINELY)
    planes = [np.interp(finely, places, colours[:, channel]) for channel in range(3)]
    table = np.stack(planes, axis=-1).round().astype(np.uint8)
    result: Pixels = table[(share[0] * (_FINELY - 1)).round().astype(np.intp)]
    return result
