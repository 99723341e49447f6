"""Where a face has moved from frame to frame, to a fraction of a pixel.

A patch of the face is aligned with what it looked like before by Gauss and Newton's method in its
inverse compositional form (Baker & Matthews, IJCV 56:221, 2004), whatever the camera does to
level and contrast of the whole patch, as it does when its shutter closes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[Any]

_ITERATIONS = 12
_SETTLED = 3e-4  # heights of the face: a hundredth of a pixel or so
_LONGEST_STEP = 0.08  # heights, of one iteration
_SEARCH_STEP, _SEARCH_STEPS = 0.12, 4  # heights; so many in each direction
_STIFFNESS = 1e-4  # share of the normal equations' diagonal: a patch without a pattern stays


class Pose(NamedTuple):
    """Where a face lies in a frame; its own coordinates are heights of it from its origin."""

    x: float  # px, of its origin between the eyes
    y: float
    height: float  # px, from below the hairline to the chin
    angle: float = 0.0  # radians by which it is turned clockwise

    def to_frame(self, u: Array, v: Array) -> tuple[Array, Array]:
        """Return x, y in px of points at the right of the origin and below it."""
        cosine, sine = self.height * np.cos(self.angle), self.height * np.sin(self.angle)
        return self.x + cosine * u - sine * v, self.y + sine * u + cosine * v

    def to_face(self, x: float, y: float) -> tuple[float, float]:
        """Return the point of the face that lies at x, y in px."""
        cosine, sine = np.cos(self.angle) / self.height, np.sin(self.angle) / self.height
        right, down = x - self.x, y - self.y
        return float(cosine * right + sine * down), float(cosine * down - sine * right)

    def moved(self, right: float, down: float, growth: float = 0.0, turn: float = 0.0) -> Pose:
        """Return the pose after a move in heights of the face, growth and turn at its origin.

        Args:
            right: Towards the face's right in the image.
            down: Towards the chin.
            growth: Logarithm of the factor of its size.
            turn: Radians clockwise.
        """
        x, y = self.to_frame(np.asarray(right), np.asarray(down))
        return Pose(float(x), float(y), self.height * float(np.exp(growth)), self.angle + turn)


@dataclass(frozen=True, eq=False, slots=True)
class Region:
    """A grid of points on a face, and how it may move."""

    across: Array  # (N,) heights of the face, at the right of its origin
    along: Array  # (M,) below it
    weights: Array  # (M, N) how much each point counts
    rigid: bool  # False: it is shifted alone, neither scaled nor turned

    def points(self) -> tuple[Array, Array]:
        """Return u and v of all points, row by row."""
        v, u = np.meshgrid(self.along, self.across, indexing="ij")
        return u.ravel(), v.ravel()


class Aligned(NamedTuple):
    """A pose, and how much what is seen there is like the pattern."""

    pose: Pose
    likeness: float  # correlation, -1 to 1
    contrast: float = 1.0  # against that of the pattern when it was taken


def sampled(frame: Array, pose: Pose, points: tuple[Array, Array]) -> Array:
    """Return what a frame ``(H, W)`` shows at points of a face; beyond its edge, the edge."""
    x, y = pose.to_frame(*points)
    values: Array = ndimage.map_coordinates(frame, [y, x], np.float64, order=1, mode="nearest")
    return values


class Pattern:
    """What a region of a face looks like, learned while it is followed."""

    def __init__(self, region: Region, frame: Array, *, pose: Pose) -> None:
        """Take the pattern from a frame ``(H, W)``."""
        self._region, self._points = region, region.points()
        self._weights = region.weights.ravel() / region.weights.sum()
        self._values = sampled(frame, pose, self._points)
        self._contrast = self._spread(self._values)
        self._prepare()

    def learn(self, frame: Array, pose: Pose, *, share: float) -> None:
        """Let the pattern become more like what a frame shows, by a share of the difference."""
        self._values += share * (sampled(frame, pose, self._points) - self._values)
        self._prepare()

    def align(self, frame: Array, start: Pose) -> Aligned:
        """Return where the pattern lies in a frame, looked for from ``start`` on."""
        pose, seen = start, sampled(frame, start, self._points)
        for _ in range(_ITERATIONS):
            # The step takes the pattern to the frame, so the pose goes the other way.
            step = np.clip(self._solve @ (self._values - seen), -_LONGEST_STEP, _LONGEST_STEP)
            pose = pose.moved(*step)
            seen = sampled(frame, pose, self._points)
            if np.abs(step).max() < _SETTLED:
                break
        contrast = self._spread(seen) / self._contrast if self._contrast > 0 else 1.0
        return Aligned(pose, self._likeness(seen), contrast)

    def searched(self, frame: Array, around: Pose) -> Pose:
        """Return where, within half a face of a pose, a frame is most like the pattern."""
        shifts = [_SEARCH_STEP * number for number in range(-_SEARCH_STEPS, _SEARCH_STEPS + 1)]
        poses = [around.moved(right, down) for down in shifts for right in shifts]
        return max(poses, key=lambda pose: self._likeness(sampled(frame, pose, self._points)))

    def _prepare(self) -> None:
        """Solve the normal equations for whatever may be seen."""
        region, (u, v) = self._region, self._points
        grid = self._values.reshape(len(region.along), len(region.across))
        down, across = (part.ravel() for part in np.gradient(grid, region.along, region.across))
        moves = [across, down]
        if region.rigid:
            moves += [across * u + down * v, down * u - across * v]
        level = self._values - self._weights @ self._values
        columns = np.stack([*moves, np.ones_like(level), level], axis=1)
        weighted = columns * self._weights[:, None]
        normal = weighted.T @ columns
        normal[np.diag_indices(len(normal))] *= 1 + _STIFFNESS
        normal[np.diag_indices(len(normal))] += 1e-9
        self._solve = np.linalg.solve(normal, weighted.T)[: len(moves)]

    def _spread(self, values: Array) -> float:
        return float(np.sqrt(self._weights @ (values - self._weights @ values) ** 2))

    def _likeness(self, seen: Array) -> float:
        return correlation(self._values, seen, self._weights)


def correlation(one: Array, other: Array, weights: Array) -> float:
    """Return how alike ``(N,)`` values are, -1 to 1; 0 where one of them is even."""
    one, other = one - weights @ one / weights.sum(), other - weights @ other / weights.sum()
    both = np.sqrt((weights @ one**2) * (weights @ other**2))
    return float(weights @ (one * other) / both) if both > 0 else 0.0
