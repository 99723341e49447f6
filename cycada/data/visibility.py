"""Which Action Units can be seen: the part of the face in the frame, and not behind cold glasses.

Spectacles do not let thermal radiation through: a thermal camera sees them, at about the
temperature of the room, and no eye behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from cycada.action_units import BY_NUMBER, Region
from cycada.data.faces.geometry import MARGIN, Square

HIDDEN = 0.5
"""Share of a region's pixels that are cold, or outside the frame, above which it is not to be
seen. Of 400 phantom faces the eyes of all 64 with glasses are hidden then, and nothing else
(``tools/probe_visibility.py``)."""

COLD = 0.4
"""Distance below the median of the face, in units of that between it and the coldest twentieth of
the crop, from which skin is no skin."""

_COLDEST = 0.05
_FINE = 24  # points per side of a crop at which it is asked whether they lie in the frame


class _Part(NamedTuple):
    """Part of a face, in its heights: across from its middle, down from its top."""

    left: float
    right: float
    top: float
    bottom: float


_WHOLE = _Part(-0.3, 0.3, 0.1, 0.9)
_PARTS = MappingProxyType[Region, _Part](
    {
        "brow": _Part(-0.32, 0.32, 0.16, 0.30),
        "eye": _Part(-0.32, 0.32, 0.26, 0.40),
        "gaze": _Part(-0.32, 0.32, 0.26, 0.40),
        "cheek": _Part(-0.38, 0.38, 0.40, 0.62),
        "nose": _Part(-0.15, 0.15, 0.36, 0.60),
        "mouth": _Part(-0.22, 0.22, 0.64, 0.84),
        "chin": _Part(-0.20, 0.20, 0.82, 1.00),
        "jaw": _Part(-0.30, 0.30, 0.62, 1.00),
        "head": _WHOLE,
    }
)


def hidden_regions(
    crop: Tensor, square: Square | None, frame_size: tuple[int, int] | None
) -> frozenset[Region]:
    """Return the parts of a face that cannot be seen.

    Args:
        crop: ``(C, S, S)`` with the margin of :mod:`cycada.data.faces.geometry`; one channel is
            thermal, warm being bright, and is looked over for what is cold.
        square: Where it was cut out of the frame; ``None``: the image is the crop.
        frame_size: Height and width of the frame.
    """
    outside = torch.zeros(_FINE, _FINE)
    if square is not None and frame_size is not None:
        outside = _outside(square, *frame_size).to(torch.float32)
    cold = _cold(crop[0].to(torch.float32)) if len(crop) == 1 else torch.zeros(_FINE, _FINE)
    return frozenset(
        region
        for region, part in _PARTS.items()
        if max(_share(outside, part), _share(cold, part)) > HIDDEN
    )


def assessable(numbers: Sequence[int], hidden: frozenset[Region]) -> list[bool]:
    """Return for each AU whether the part of the face that it moves can be seen."""
    return [BY_NUMBER[number].region not in hidden for number in numbers]


def _outside(square: Square, height: int, width: int) -> Tensor:
    """Return ``(F, F)`` bool: which points of a crop lie outside the frame."""
    ticks = torch.arange(_FINE, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1)
    x, y = square.to_frame(points, _FINE).unbind(-1)
    return (x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5)


def _cold(crop: Tensor) -> Tensor:
    """Return ``(S, S)``: 1 where a thermal crop is far colder than its face."""
    face = _cut(crop, _WHOLE).median()
    floor = crop.flatten().kthvalue(max(1, round(_COLDEST * crop.numel()))).values
    return (crop < face - COLD * (face - floor)).to(torch.float32)


def _share(mask: Tensor, part: _Part) -> float:
    return float(_cut(mask, part).mean())


def _cut(image: Tensor, part: _Part) -> Tensor:
    """Return a part of a face from ``(S, S)``; at least a pixel."""
    size, span = len(image), 1 + 2 * MARGIN
    top, bottom = (round(size * (MARGIN + y) / span) for y in (part.top, part.bottom))
    left, right = (round(size * (0.5 + x / span)) for x in (part.left, part.right))
    return image[top : max(bottom, top + 1), left : max(right, left + 1)]
