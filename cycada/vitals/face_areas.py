"""The parts of a face that are looked at for breathing, and their temperatures in a frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cycada.vitals.registration import Pose, sampled

Array = NDArray[Any]


class Area(NamedTuple):
    """A part of a face with soft edges; heights of the face, from between the eyes."""

    u: float  # of its middle, to the right in the image
    v: float  # below
    wide: float  # at which it counts for 1/e, on both sides
    high: float


_ROWS, _COLUMNS = (-0.18, 0.04, 0.16, 0.28, 0.40, 0.52), (-0.24, 0.0, 0.24)

AREAS: Mapping[str, Area] = MappingProxyType(
    {"nostrils": Area(0.0, 0.29, 0.085, 0.045), "mouth": Area(0.0, 0.43, 0.09, 0.055)}
    | {
        f"face {1 + len(_COLUMNS) * row + column}": Area(u, v, 0.11, 0.075)
        for row, v in enumerate(_ROWS)
        for column, u in enumerate(_COLUMNS)
    }
)
"""Name -> place of the parts, preferred ones first: nostrils, mouth, and a grid of the face, from
the forehead to the chin, row by row, in the image from left to right."""

PARTS: tuple[str, ...] = tuple(AREAS)

_MOVES_WITH_NOSE = 0.2  # heights from the middle line within which a part below the eyes does
_LEAST_SEEN = 0.8  # share of a part that lies within the frame
_TICKS_U, _TICKS_V = np.linspace(-0.42, 0.42, 43), np.linspace(-0.32, 0.68, 51)


class _Readings(NamedTuple):
    points: tuple[Array, Array]
    weights: Array  # (parts, N), each row sums to 1


def _readings(areas: Mapping[str, Area]) -> _Readings:
    """Return the points at which areas are read, and how much each counts."""
    v, u = (each.ravel() for each in np.meshgrid(_TICKS_V, _TICKS_U, indexing="ij"))
    weights = np.stack([
        np.exp(-(((u - area.u) / area.wide) ** 4) - ((v - area.v) / area.high) ** 4)
        for area in areas.values()
    ])  # fmt: skip
    near = weights.max(axis=0) > 1e-3
    weights = weights[:, near]
    return _Readings((u[near], v[near]), weights / weights.sum(axis=1, keepdims=True))


def _with_nose(area: Area) -> bool:
    return abs(area.u) < _MOVES_WITH_NOSE and area.v > 0.1


_OF_NOSE = _readings({name: area for name, area in AREAS.items() if _with_nose(area)})
_OF_REST = _readings({name: area for name, area in AREAS.items() if not _with_nose(area)})
_ORDER = [name for name, area in AREAS.items() if _with_nose(area)]
_ORDER += [name for name, area in AREAS.items() if not _with_nose(area)]


def temperatures(frame: Array, face: Pose, *, nose: Pose) -> Mapping[str, float]:
    """Return the mean of each part.

    Args:
        frame: ``(H, W)`` deg C or grey levels.
        face: Where the face is.
        nose: The same by the nose, which stands out and moves further when a head turns; what is
            near the middle line below the eyes moves with it.

    Returns:
        :data:`PARTS` -> mean; NaN where a part reaches beyond the frame.
    """
    means = np.concatenate([_means(frame, nose, _OF_NOSE), _means(frame, face, _OF_REST)])
    found = dict(zip(_ORDER, means.tolist(), strict=True))
    return {name: found[name] for name in PARTS}


def nowhere() -> Mapping[str, float]:
    """Return that no part was seen."""
    return dict.fromkeys(PARTS, math.nan)


def _means(frame: Array, pose: Pose, readings: _Readings) -> Array:
    x, y = pose.to_frame(*readings.points)
    height, width = frame.shape
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    means = readings.weights @ sampled(frame, pose, readings.points)
    return np.where(readings.weights @ inside < _LEAST_SEEN, np.nan, means)
