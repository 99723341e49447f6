"""Where a face has moved from frame to frame, to a fraction of a pixel.

A patch of the face is aligned with what it looked like before by Gauss and Newton's method in its
inverse compositional form (Baker & Matthews, IJCV 56:221, 2004): over shift, size and turn, and
over a common change of level and contrast, which cameras make when their shutter closes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[Any]

_ITERATIONS = 12
_SETTLED = 2e-4  # heights of the face: a hundredth of a pixel
_LONGEST_STEP = 0.08  # heights, of one iteration

_TICKS_U, _TICKS_V = np.linspace(-0.44, 0.44, 29), np.linspace(-0.36, 0.72, 36)
_V, _U = (ticks.ravel() for ticks in np.meshgrid(_TICKS_V, _TICKS_U, indexing="ij"))


class Pose(NamedTuple):
    """Where an upright pattern lies in a frame."""

    x: float  # px, of its origin between the eyes
    y: float
    height: float  # px, from below the hairline to the chin
    angle: float = 0.0  # radians by which it is turned clockwise

    def to_frame(self, u: Array, v: Array) -> tuple[Array, Array]:
        """Return x, y in px of points in heights of the face, to the right and below the eyes."""
        cosine, sine = self.height * np.cos(self.angle), self.height * np.sin(self.angle)
        return self.x + cosine * u - sine * v, self.y + sine * u + cosine * v

    def to_face(self, x: float, y: float) -> tuple[float, float]:
        """Return the point of the face in heights of it that lies at x, y in px."""
        cosine, sine = np.cos(self.angle) / self.height, np.sin(self.angle) / self.height
        right, down = x - self.x, y - self.y
        return float(cosine * right + sine * down), float(cosine * down - sine * right)

    def moved(self, right: float, down: float, growth: float = 0.0, turn: float = 0.0) -> Pose:
        """Return the pose after a move in heights of the face, growth and turn at its origin."""
        x, y = self.to_frame(np.float64(right), np.float64(down))
        return Pose(float(x), float(y), self.height * float(np.exp(growth)), self.angle + turn)


def _weights() -> Array:
    """Return how much each point counts: little where air and words change what is seen."""
    inside = np.exp(-((_U / 0.42) ** 8) - ((_V - 0.17) / 0.52) ** 8)
    changing = np.exp(-((_U / 0.17) ** 4) - ((_V - 0.36) / 0.16) ** 4)
    return np.asarray(inside * (1 - 0.85 * changing))


_WEIGHTS = _weights()


class Aligned(NamedTuple):
    """A pose, and how much what is seen there is like the pattern."""

    pose: Pose
    likeness: float  # correlation, -1 to 1


def sampled(frame: Array, pose: Pose, u: Array, v: Array) -> Array:
    """Return what a frame ``(H, W)`` shows at points of a face; beyond its edge, the edge."""
    x, y = pose.to_frame(u, v)
    values: Array = ndimage.map_coordinates(frame, [y, x], order=1, mode="nearest")
    return values


class Pattern:
    """What a face looks like, learned while it is followed."""

    def __init__(self, frame: Array, pose: Pose) -> None:
        """Take the pattern from a frame ``(H, W)``."""
        self._values = sampled(frame, pose, _U, _V).astype(np.float64)
        self._prepare()

    def learn(self, frame: Array, pose: Pose, *, share: float) -> None:
        """Let the pattern become more like what a frame shows."""
        seen = sampled(frame, pose, _U, _V)
        self._values += share * (seen - self._values)
        self._prepare()

    def align(self, frame: Array, start: Pose) -> Aligned:
        """Return where the pattern lies in a frame, looked for from ``start`` on."""
        pose, seen = start, sampled(frame, start, _U, _V)
        for _ in range(_ITERATIONS):
            step = self._solve @ (seen - self._values)
            step = np.clip(step[:4], -_LONGEST_STEP, _LONGEST_STEP)
            # The pattern would have to move by step; the pose moves the other way.
            right, down, growth, turn = -step
            pose = pose.moved(right, down, growth, turn)
            seen = sampled(frame, pose, _U, _V)
            if np.abs(step).max() < _SETTLED:
                break
        return Aligned(pose, self._likeness(seen))

    def _prepare(self) -> None:
        values = self._values
        grid = values.reshape(len(_TICKS_V), len(_TICKS_U))
        down, across = (
            part.ravel()
            for part in np.gradient(grid, _TICKS_V[1] - _TICKS_V[0], _TICKS_U[1] - _TICKS_U[0])
        )
        level = (_WEIGHTS @ values) / _WEIGHTS.sum()
        columns = np.stack(
            [
                across, down, across * _U + down * _V, down * _U - across * _V,
                np.ones_like(values), values - level,
            ],
            axis=1,
        )  # fmt: skip
        weighted = columns * _WEIGHTS[:, None]
        normal = weighted.T @ columns
        # A face without any pattern stays where it is.
        normal[np.diag_indices(6)] *= 1 + 1e-4
        normal[np.diag_indices(6)] += 1e-9
        self._solve = np.linalg.solve(normal, weighted.T)

    def _likeness(self, seen: Array) -> float:
        a = self._values - (_WEIGHTS @ self._values) / _WEIGHTS.sum()
        b = seen - (_WEIGHTS @ seen) / _WEIGHTS.sum()
        both = np.sqrt((_WEIGHTS @ (a * a)) * (_WEIGHTS @ (b * b)))
        return float((_WEIGHTS @ (a * b)) / both) if both > 0 else 0.0
