"""Where the nose is in a thermal face, from its temperatures alone.

The inner corners of the eyes are the warmest parts of a face, brows and the tip of the nose the
coolest, the cheeks are cooler than the lips, and both sides are alike. A pattern of that kind is
moved and scaled over the face until it fits best. Glasses hide the eyes; the pattern then fits by
the rest of the face, and by where the face was said to be.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cycada.vitals.registration import Aligned, Pose

Array = NDArray[Any]


class _Spot(NamedTuple):
    contrast: float  # about K against the skin around
    u: float  # heights of the face; both sides, unless 0
    v: float
    wide: float
    high: float


_SPOTS = (
    _Spot(0.5, 0.12, 0.0, 0.10, 0.06),  # sockets of the eyes
    _Spot(1.0, 0.095, 0.01, 0.04, 0.04),  # their inner corners
    _Spot(-0.8, 0.19, 0.0, 0.07, 0.03),  # tear film
    _Spot(-1.2, 0.19, -0.14, 0.13, 0.035),  # brows
    _Spot(-1.5, 0.0, 0.22, 0.08, 0.07),  # tip of the nose
    _Spot(-0.6, 0.0, 0.12, 0.05, 0.09),  # its bridge
    _Spot(-0.5, 0.26, 0.24, 0.12, 0.14),  # cheeks
    _Spot(0.5, 0.0, 0.42, 0.13, 0.05),  # lips
    _Spot(-0.6, 0.0, 0.6, 0.13, 0.08),  # chin
)
_ACROSS, _ALONG = np.linspace(-0.34, 0.34, 18), np.linspace(-0.22, 0.6, 21)
_BLUR = 0.02  # heights
_MOST_CONTRAST = 2.5  # K from the median: colder are glasses and what is behind the face
# How far off a finder's face is as a rule: right and down in heights, growth.
_USUAL = (0.07, 0.10, 0.12)
_TRUST = 0.15  # correlation that such a deviation must be worth


def _grid() -> tuple[Array, Array, Array, Array]:
    """Return u, v, the normalised pattern and the weights of all points."""
    v, u = (each.ravel() for each in np.meshgrid(_ALONG, _ACROSS, indexing="ij"))
    pattern = np.zeros_like(u)
    for spot in _SPOTS:
        for side in {-spot.u, spot.u}:
            pattern += spot.contrast * np.exp(
                -(((u - side) / spot.wide) ** 2) - ((v - spot.v) / spot.high) ** 2
            )
    weights = np.exp(-((u / 0.36) ** 4) - ((v - 0.15) / 0.5) ** 8)
    return u, v, _normalised(pattern, weights), weights


def _normalised(values: Array, weights: Array) -> Array:
    """Return ``(..., N)`` values of mean 0 and of length 1, by the weights."""
    level = values - (values @ weights / weights.sum())[..., None]
    length = np.sqrt((weights * level**2).sum(axis=-1, keepdims=True))
    return np.asarray(level / np.maximum(length, 1e-9))


_U, _V, _PATTERN, _WEIGHTS = _grid()


def fitted(frame: Array, pose: Pose) -> Aligned:
    """Return where the pattern of a face fits best.

    Args:
        frame: ``(H, W)`` deg C, or grey levels of which higher is warmer.
        pose: Where a finder says that the face is.

    Returns:
        The pose, of the same angle, and the correlation of what is there with the pattern: above
        about 0.3 the eyes or the nose were found; below, the pose is little more than ``pose``.
    """
    soft = ndimage.gaussian_filter(frame, _BLUR * pose.height)
    best, worth = np.zeros(3), -np.inf
    spans = np.array([0.15, 0.30, 0.30])  # right, down and growth
    steps: tuple[int, ...] = (7, 11, 5)
    while spans.max() > 0.01:
        ticks = [
            centre + np.linspace(-span, span, count)
            for centre, span, count in zip(best, spans, steps, strict=True)
        ]
        moves = np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1).reshape(-1, 3)
        found = _worth(soft, pose, moves)
        top = int(np.argmax(found))
        if found[top] > worth:
            best, worth = moves[top], found[top]
        spans, steps = spans / (np.array(steps) - 1), (3, 3, 3)
    likeness = _worth(soft, pose, best[None], trust=0.0)[0]
    return Aligned(pose.moved(*best), float(likeness))


def likeness_at(frame: Array, pose: Pose) -> float:
    """Return the correlation of what is at a pose with the pattern of a face."""
    soft = ndimage.gaussian_filter(frame, _BLUR * pose.height)
    return float(_worth(soft, pose, np.zeros((1, 3)), trust=0.0)[0])


def _worth(frame: Array, pose: Pose, moves: Array, *, trust: float = _TRUST) -> Array:
    """Return how well the pattern fits after each of ``(K, 3)`` moves."""
    size = np.exp(moves[:, 2:])
    u, v = moves[:, :1] + size * _U, moves[:, 1:2] + size * _V
    x, y = pose.to_frame(u, v)
    values = ndimage.map_coordinates(frame, [y, x], np.float64, order=1, mode="nearest")
    middle = np.median(values, axis=1, keepdims=True)
    values = np.clip(values, middle - _MOST_CONTRAST, middle + _MOST_CONTRAST)
    likeness = _normalised(values, _WEIGHTS) @ (_PATTERN * _WEIGHTS)
    return np.asarray(likeness - trust / 2 * ((moves / np.array(_USUAL)) ** 2).sum(axis=1))
