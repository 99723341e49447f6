"""Where the nose is in a thermal face, from its temperatures alone.

The inner corners of the eyes are the warmest parts of a face, brows and the tip of the nose the
coolest, the cheeks are cooler than the lips, and both sides are alike. A pattern of that kind is
moved and scaled over the face until it fits best; another has glasses, which are cold, in place of
the eyes.
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


_EYES = (
    _Spot(0.5, 0.12, 0.0, 0.10, 0.06),  # their sockets
    _Spot(1.0, 0.095, 0.01, 0.04, 0.04),  # inner corners
    _Spot(-0.8, 0.19, 0.0, 0.07, 0.03),  # tear film
    _Spot(-1.2, 0.19, -0.14, 0.13, 0.035),  # brows
)
_GLASSES = (_Spot(-4.0, 0.19, 0.03, 0.13, 0.08),)
_BELOW_EYES = (
    _Spot(-1.5, 0.0, 0.22, 0.08, 0.07),  # tip of the nose
    _Spot(-0.6, 0.0, 0.12, 0.05, 0.09),  # its bridge
    _Spot(-0.5, 0.26, 0.24, 0.12, 0.14),  # cheeks
    _Spot(0.5, 0.0, 0.42, 0.13, 0.05),  # lips
    _Spot(-0.6, 0.0, 0.6, 0.13, 0.08),  # chin
)
_FACES = (_EYES + _BELOW_EYES, _GLASSES + _BELOW_EYES)
_ACROSS, _ALONG = np.linspace(-0.34, 0.34, 18), np.linspace(-0.22, 0.6, 21)
_BLUR = 0.02  # heights
_MOST_CONTRAST = 2.5  # K from the median: colder are glasses and what is behind the face
# How far off a finder's face is as a rule: right and down in heights, growth.
_USUAL = (0.07, 0.10, 0.12)
_TRUST = 0.2  # correlation that such a deviation must be worth, about


def _pattern(spots: tuple[_Spot, ...]) -> Array:
    """Return the normalised pattern that spots make at all points."""
    pattern = np.zeros_like(_U)
    for spot in spots:
        for side in {-spot.u, spot.u}:
            pattern += spot.contrast * np.exp(
                -(((_U - side) / spot.wide) ** 2) - ((_V - spot.v) / spot.high) ** 2
            )
    return _normalised(np.maximum(pattern, -_MOST_CONTRAST), _WEIGHTS)


def _normalised(values: Array, weights: Array) -> Array:
    """Return ``(..., N)`` values of mean 0 and of length 1, by the weights."""
    level = values - (values @ weights / weights.sum())[..., None]
    length = np.sqrt((weights * level**2).sum(axis=-1, keepdims=True))
    return np.asarray(level / np.maximum(length, 1e-9))


_V, _U = (each.ravel() for each in np.meshgrid(_ALONG, _ACROSS, indexing="ij"))
_WEIGHTS = np.exp(-((_U / 0.36) ** 4) - ((_V - 0.15) / 0.5) ** 8)
_PATTERNS = np.stack([_pattern(spots) for spots in _FACES], axis=1)


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
    best, worth = np.array([0.0, 0.0, 0.15]), -np.inf
    spans, steps = np.array([0.36, 0.30, 0.45]), (13, 11, 7)
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


def worth_of(frame: Array, pose: Pose, said: Pose) -> float:
    """Return how well the pattern fits at a pose, given where a finder says that the face is."""
    soft = ndimage.gaussian_filter(frame, _BLUR * said.height)
    right, down = said.to_face(pose.x, pose.y)
    move = np.array([[right, down, np.log(pose.height / said.height)]])
    return float(_worth(soft, said, move)[0])


def _worth(frame: Array, pose: Pose, moves: Array, *, trust: float = _TRUST) -> Array:
    """Return how well the pattern fits after each of ``(K, 3)`` moves."""
    size = np.exp(moves[:, 2:])
    u, v = moves[:, :1] + size * _U, moves[:, 1:2] + size * _V
    x, y = pose.to_frame(u, v)
    values = ndimage.map_coordinates(frame, [y, x], np.float64, order=1, mode="nearest")
    middle = np.median(values, axis=1, keepdims=True)
    values = np.clip(values, middle - _MOST_CONTRAST, middle + _MOST_CONTRAST)
    likeness = (_normalised(values, _WEIGHTS) @ (_PATTERNS * _WEIGHTS[:, None])).max(axis=1)
    unusual = ((moves / np.array(_USUAL)) ** 2).sum(axis=1)
    return np.asarray(likeness - trust * np.log1p(unusual / 2))
