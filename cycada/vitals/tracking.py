"""Where on a face to look for breathing: the nostrils, the mouth and a grid, followed over time.

A face is placed by landmarks, or by a box and what is warm and cool in it: the inner corners of
the eyes are warm, the nose between and below them is cool, and both sides are alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


class Box(NamedTuple):
    """A face from below the hairline to the chin, as finders of faces give it; px."""

    left: float
    top: float
    width: float
    height: float


class Area(NamedTuple):
    """A part of an upright face: in its heights from its middle line and from its top."""

    left: float
    top: float
    right: float
    bottom: float


_GRID_ROWS, _GRID_COLUMNS = (0.36, 0.52, 0.68, 0.84, 1.0), (-0.32, -0.11, 0.11, 0.32)

AREAS: Mapping[str, Area] = MappingProxyType(
    {"nostrils": Area(-0.12, 0.55, 0.12, 0.67), "mouth": Area(-0.15, 0.68, 0.15, 0.83)}
    | {
        f"face {1 + 3 * row + column}": Area(left, top, right, bottom)
        for row, (top, bottom) in enumerate(zip(_GRID_ROWS[:-1], _GRID_ROWS[1:], strict=True))
        for column, (left, right) in enumerate(
            zip(_GRID_COLUMNS[:-1], _GRID_COLUMNS[1:], strict=True)
        )
    }
)
"""Name -> place of the parts, preferred ones first: nostrils, mouth, and twelve of the face."""

PARTS: tuple[str, ...] = tuple(AREAS)


class FaceTracker:
    """Follows one face through the frames of a camera, in constant memory.

    Give it every frame; where a finder has looked for the face, the box as well. Between boxes it
    follows the face by itself, so a finder needs to be asked now and then only.

    Attributes:
        box: The face in the last frame, px; ``None`` where it was not seen.
        lost: Why it was not seen in the last frame; empty where it was.
    """

    def __init__(self) -> None:
        """Begin without a face."""
        self.box: Box | None = None
        self.lost = "no face yet"

    def see(
        self,
        celsius: Tensor,
        landmarks: Mapping[str, tuple[float, float]] | None = None,
        *,
        box: tuple[float, float, float, float] | None = None,
    ) -> Mapping[str, float]:
        """Return the mean temperature of each part of the face in the next frame.

        Args:
            celsius: ``(H, W)`` or ``(1, H, W)`` deg C, or grey levels of which higher is warmer.
            landmarks: Name -> x, y in px, as :mod:`cycada.landmarks` names them.
            box: Left, top, width and height of the face in px, from below the hairline to the
                chin (``FacePlace`` without its angle); ``None`` where nobody has looked for it.

        Returns:
            All of :data:`PARTS` -> deg C (or grey levels); NaN where a part was not seen.
        """
        frame = celsius.reshape(celsius.shape[-2:]).numpy().astype(np.float32, copy=False)
        if box is not None:
            self.box, self.lost = Box(*box), ""
        if self.box is None:
            return dict.fromkeys(PARTS, math.nan)
        return {name: _mean(frame, self.box, area) for name, area in AREAS.items()}


def _mean(frame: Array, box: Box, area: Area) -> float:
    middle = box.left + box.width / 2
    x = [round(middle + box.height * part) for part in (area.left, area.right)]
    y = [round(box.top + box.height * part) for part in (area.top, area.bottom)]
    if x[0] < 0 or y[0] < 0 or x[1] >= frame.shape[1] or y[1] >= frame.shape[0]:
        return math.nan
    return float(frame[y[0] : y[1] + 1, x[0] : x[1] + 1].mean())
