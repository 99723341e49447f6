"""One face while it is followed: as a whole first, then its nose.

The nose stands out, so it moves further than the rest when a head turns, and what it breathes is
read where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cycada.vitals.face_areas import nowhere, temperatures
from cycada.vitals.face_pattern import fitted, worth_of
from cycada.vitals.registration import Aligned, Pattern, Pose, Region

Array = NDArray[Any]

_BLUR = 0.013  # heights of the face: so that a shift by half a pixel changes nothing else
_AROUND = 1.1  # heights on each side of the face's origin in which it is looked for
_LIKENESS = 0.6  # below, it is not the face
_CONTRASTS = 0.4, 2.5  # of the face against when it was found; beyond, it is not
FRAME = 1 / 9  # s from frame to frame, where nobody tells
_PATIENCE = 1.0  # s for which a face may hide and is looked for where it was
_LARGEST_JUMP = 0.6  # heights from frame to frame
_SIZES = (12.0, 2.0)  # px, and in heights of the frame: a face of another size is none
_LEARNS, _SHARE = 1 / 3, 0.06  # s from one to the next to learn from; its share
_FAR, _OTHER_SIZE = 0.35, 1.5  # heights, ratio by which a finder contradicts
_CONTRADICTIONS = 2  # one after the other, which are believed
_LOOK_AGAIN = tuple(n * FRAME for n in (5, 10, 20, 30, 45, 60, 90, 120, 180, 250))  # s after which
_OFTEN = 500 * FRAME  # the nose is looked for again, and from then on
_ROUNDING = 1e-4  # s, of the times of frames
_CLEARER, _APART = 0.05, 0.025  # worth, heights: by which another place has to be better
_BELIEVED = 0.3  # share of what a finder says in what finders have said
_FARTHEST_NOSE = 0.12  # heights by which it moves against the face


def _whole() -> Region:
    """Return the face; where air and words change it, it counts little."""
    u, v = np.linspace(-0.44, 0.44, 29), np.linspace(-0.36, 0.72, 36)
    down, across = np.meshgrid(v, u, indexing="ij")
    inside = np.exp(-((across / 0.42) ** 8) - ((down - 0.17) / 0.52) ** 8)
    changing = np.exp(-((across / 0.17) ** 4) - ((down - 0.36) / 0.16) ** 4)
    return Region(u, v, inside * (1 - 0.85 * changing), rigid=True)


def _nose() -> Region:
    """Return the nose; its nostrils count less."""
    u, v = np.linspace(-0.18, 0.18, 19), np.linspace(0.02, 0.38, 19)
    down, across = np.meshgrid(v, u, indexing="ij")
    inside = np.exp(-((across / 0.15) ** 4) - ((down - 0.2) / 0.15) ** 4)
    nostrils = np.exp(-((across / 0.12) ** 4) - ((down - 0.29) / 0.07) ** 4)
    return Region(u, v, inside * (1 - 0.3 * nostrils), rigid=False)


_WHOLE, _NOSE = _whole(), _nose()


class Followed:
    """One face while it is followed.

    Attributes:
        pose: Where it is, or was when it was seen last.
        nose: The same by its nose.
        hidden: Whether it was not seen in the last frame.
        parts: Temperatures of its parts in the last frame.
    """

    def __init__(self, frame: Array, said: Pose, *, sure: bool) -> None:
        """Begin with the face where a finder says that it is.

        Args:
            frame: ``(H, W)`` deg C or grey levels.
            said: By a finder.
            sure: Whether that is by its landmarks, so that the nose need not be looked for.
        """
        self.pose = self.nose = said
        self.hidden = False
        self.parts: Mapping[str, float] = nowhere()
        self._contradicted = 0
        self._hides = self._seen = 0.0  # s since it hides, and for which it was seen
        self._sure = sure
        view = _view(frame, said)
        found = Aligned(view.pose, 1.0) if sure else fitted(view.soft, view.pose)
        self._anchor(view, found.pose)
        self._finder = _Move.between(self.pose, said)  # from here to where finders see the face

    def follow(self, frame: Array, said: Pose | None, *, passed: float = FRAME) -> bool:
        """Look for the face in the next frame; return whether to go on with it.

        Args:
            frame: ``(H, W)``.
            said: Where a finder sees a face, if it has looked.
            passed: Seconds since the frame before.
        """
        view = _view(frame, self.pose)
        found = self._whole.align(view.soft, view.pose)
        if not _like(found):
            found = self._whole.align(view.soft, self._whole.searched(view.soft, view.pose))
        if not _like(found) or not _plausible(found.pose, view.pose, frame):
            self._hides = self._hides + passed if self.hidden else 0.0
            self.hidden, self.parts = True, nowhere()
            if said is not None and not _elsewhere(said, self.pose):
                return False  # it is there, and looks otherwise than it did
            self._contradicted += said is not None
            waits = self._hides < _PATIENCE - _ROUNDING
            return waits and self._contradicted < _CONTRADICTIONS
        self.hidden = False
        self._read(view, found.pose)
        self._learn(view, passed)
        if said is not None and _elsewhere(said, self.pose):
            self._contradicted += 1
        elif said is not None:
            self._contradicted = 0
            self._finder = self._finder.towards(_Move.between(self.pose, said), share=_BELIEVED)
        return self._contradicted < _CONTRADICTIONS

    def _anchor(self, view: _View, pose: Pose) -> None:
        """Begin to follow what is at a pose."""
        self._whole = Pattern(_WHOLE, view.soft, pose=pose)
        self._nose_alone = Pattern(_NOSE, view.soft, pose=pose)
        self._read(view, pose)

    def _read(self, view: _View, pose: Pose) -> None:
        nose = self._nose_alone.align(view.soft, pose).pose
        right, down = pose.to_face(nose.x, nose.y)
        if max(abs(right), abs(down)) > _FARTHEST_NOSE:
            nose = pose
        self.parts = temperatures(view.soft, pose, nose=nose)
        self.pose, self.nose = view.outside(pose), view.outside(nose)

    def _learn(self, view: _View, passed: float) -> None:
        """Learn what the face looks like, and now and then whether the nose is where it should."""
        before, self._seen = self._seen + _ROUNDING, self._seen + passed
        now = self._seen + _ROUNDING
        pose, nose = view.inside(self.pose), view.inside(self.nose)
        due = any(before < at <= now for at in _LOOK_AGAIN) or now // _OFTEN > before // _OFTEN
        if not self._sure and due:
            said = pose.moved(*self._finder)
            better = fitted(view.soft, said).pose
            apart = np.hypot(*pose.to_face(better.x, better.y))
            gain = worth_of(view.soft, better, said) - worth_of(view.soft, pose, said)
            if gain > _CLEARER and apart > _APART:
                self._finder = _Move.between(better, said)
                self._anchor(view, better)
                return
        if now // _LEARNS > before // _LEARNS:
            self._whole.learn(view.soft, pose, share=_SHARE)
            self._nose_alone.learn(view.soft, nose, share=_SHARE)


class _Move(NamedTuple):
    """From one pose to another, in heights of the first."""

    right: float
    down: float
    growth: float

    @classmethod
    def between(cls, pose: Pose, other: Pose) -> _Move:
        """Return the move from a pose to another, without its turn."""
        return cls(*pose.to_face(other.x, other.y), float(np.log(other.height / pose.height)))

    def towards(self, other: _Move, *, share: float) -> _Move:
        """Return a move between this and another."""
        return _Move(*(a + share * (b - a) for a, b in zip(self, other, strict=True)))


class _View(NamedTuple):
    """The part of a frame around a face, without the finest grain."""

    soft: Array
    pose: Pose  # of the face, in it
    left: int
    top: int

    def inside(self, pose: Pose) -> Pose:
        """Return a pose in the frame as one in the view."""
        return pose._replace(x=pose.x - self.left, y=pose.y - self.top)

    def outside(self, pose: Pose) -> Pose:
        """Return a pose in the view as one in the frame."""
        return pose._replace(x=pose.x + self.left, y=pose.y + self.top)


def _view(frame: Array, pose: Pose) -> _View:
    height, width = frame.shape
    reach = _AROUND * pose.height
    left, top = (max(0, int(min(at - reach, side - 2))) for at, side in
                 ((pose.x, width), (pose.y, height)))  # fmt: skip
    right, bottom = (max(2, int(at + reach) + 2) for at in (pose.x, pose.y))
    part = frame[top:bottom, left:right]
    soft = ndimage.gaussian_filter(part, _BLUR * pose.height)
    return _View(soft, pose._replace(x=pose.x - left, y=pose.y - top), left, top)


def _like(found: Aligned) -> bool:
    """Tell whether it is the face: not what is behind it, which a leaving face becomes."""
    return found.likeness >= _LIKENESS and _CONTRASTS[0] <= found.contrast <= _CONTRASTS[1]


def _plausible(pose: Pose, before: Pose, frame: Array) -> bool:
    jump = np.hypot(pose.x - before.x, pose.y - before.y)
    fits = _SIZES[0] <= pose.height <= _SIZES[1] * frame.shape[0]
    return bool(fits and jump <= _LARGEST_JUMP * before.height)


def _elsewhere(said: Pose, pose: Pose) -> bool:
    """Tell whether a finder sees another face."""
    apart = np.hypot(said.x - pose.x, said.y - pose.y) / pose.height
    ratio = said.height / pose.height
    return bool(apart > _FAR or not 1 / _OTHER_SIZE < ratio < _OTHER_SIZE)
