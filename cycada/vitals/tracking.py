"""A face in the frames of a camera, and the temperatures of the parts that breathe.

A finder says now and then where the face is. There the nose and the eyes are looked for by their
temperatures (:mod:`cycada.vitals.face_pattern`), and from then on the face is followed from frame
to frame (:mod:`cycada.vitals.followed`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cycada.vitals.face_areas import PARTS, nowhere
from cycada.vitals.followed import FRAME, Followed
from cycada.vitals.registration import Pose

__all__ = ["PARTS", "Box", "FaceTracker", "pose_of_landmarks"]

Array = NDArray[Any]
Landmarks = Mapping[str, tuple[float, float]]

# Heights of a face: its box is that of cycada.data.faces.geometry.
_EYE_LINE, _WIDTH = 0.33, 0.8
_EYE_DISTANCE, _TO_NOSE, _TO_MOUTH = 0.4, 0.27, 0.41  # between the eyes; from there down
_LEAST_FALL, _MOST_FALL = 0.6, 1.8  # of a face against what its eyes tell of its size

_NONE_YET = "no face yet"
_HIDDEN = "the face left, turned away or is hidden"
_REPEATED = "the camera repeats a frame"


class Box(NamedTuple):
    """A face from below the hairline to the chin, as finders of faces give it; px."""

    left: float
    top: float
    width: float
    height: float


class FaceTracker:
    """Follows one face through the frames of a camera, in constant memory.

    Give it every frame; where a finder has looked for the face, the box as well. Between boxes it
    follows the face by itself, so a finder needs to be asked only while :attr:`box` is ``None``,
    and every few seconds besides: two boxes elsewhere, one after the other, are believed.

    Attributes:
        lost: Why the face was not seen in the last frame; empty where it was.
    """

    def __init__(self) -> None:
        """Begin without a face."""
        self.lost = _NONE_YET
        self._face: Followed | None = None
        self._last: Array | None = None
        self._time: float | None = None  # s of the last frame

    @property
    def box(self) -> Box | None:
        """Where the face is or was a moment ago, px, upright; ``None`` while it is lost."""
        if self._face is None:
            return None
        x, y, height, _ = self._face.pose
        return Box(x - _WIDTH / 2 * height, y - _EYE_LINE * height, _WIDTH * height, height)

    @property
    def angle(self) -> float:
        """Degrees by which the face is turned clockwise; NaN while it is lost."""
        return math.nan if self._face is None else math.degrees(self._face.pose.angle)

    def see(
        self,
        celsius: Tensor,
        landmarks: Landmarks | None = None,
        *,
        box: tuple[float, float, float, float] | None = None,
        seconds: float | None = None,
    ) -> Mapping[str, float]:
        """Return the mean temperature of each part of the face in the next frame.

        Args:
            celsius: ``(H, W)`` or ``(1, H, W)`` deg C, or grey levels of which higher is warmer.
            landmarks: Name -> x, y in px, as :mod:`cycada.landmarks` names them. The eyes and the
                nose or the mouth place a face better than a box.
            box: Left, top, width and height of the face in px, from below the hairline to the
                chin (``FacePlace`` without its angle); ``None`` where nobody has looked for it.
            seconds: Time of the frame, after that of the one before. If left out, nine frames are
                taken for a second: for that long a face may hide and is followed on.

        Returns:
            All of :data:`PARTS` -> deg C (or grey levels); NaN where a part was not seen, and
            where the camera repeats a frame, as it does while its shutter is closed.
        """
        passed = FRAME
        if seconds is not None and self._time is not None:
            passed = seconds - self._time
        self._time = seconds
        frame = celsius.reshape(celsius.shape[-2:]).numpy().astype(np.float32)
        if self._last is not None and np.array_equal(frame, self._last):
            self.lost = self.lost or _REPEATED
            return nowhere()
        self._last = frame
        by_landmarks = pose_of_landmarks(landmarks) if landmarks else None
        said = by_landmarks or (_pose_of_box(box) if box is not None else None)
        if self._face is not None and not self._face.follow(frame, said, passed=passed):
            self._face, self.lost = None, _HIDDEN
        if self._face is None and said is not None:
            self._face = Followed(frame, said, sure=by_landmarks is not None)
        if self._face is None:
            return nowhere()
        self.lost = _HIDDEN if self._face.hidden else ""
        return self._face.parts


def pose_of_landmarks(landmarks: Landmarks) -> Pose | None:
    """Return the face that the eyes, and the nose or the mouth if known, make out.

    Args:
        landmarks: Of them, ``eye_inner_left`` and ``eye_outer_left`` or ``eye_left``;
            ``nose_base`` or ``nose_wing_left``; ``mouth_corner_left``; and those of the right.

    Returns:
        ``None`` where an eye is unknown, or both are at one point.
    """
    right, left = (
        _middle(landmarks, f"eye_inner_{side}", f"eye_outer_{side}") or landmarks.get(f"eye_{side}")
        for side in ("right", "left")
    )
    if right is None or left is None or math.dist(right, left) == 0:
        return None
    pose = Pose(
        (right[0] + left[0]) / 2, (right[1] + left[1]) / 2, math.dist(right, left) / _EYE_DISTANCE,
        math.atan2(left[1] - right[1], left[0] - right[0]),
    )  # fmt: skip
    nose = landmarks.get("nose_base") or _middle(landmarks, "nose_wing_left", "nose_wing_right")
    mouth = _middle(landmarks, "mouth_corner_left", "mouth_corner_right")
    for point, below in ((nose, _TO_NOSE), (mouth, _TO_MOUTH)):
        # A turned head hides some of the distance between its eyes, and nothing of its height.
        fall = pose.to_face(*point)[1] / below if point is not None else 0.0
        if _LEAST_FALL < fall < _MOST_FALL:
            return pose._replace(height=pose.height * fall)
    return pose


def _pose_of_box(box: tuple[float, float, float, float]) -> Pose:
    left, top, width, height = box
    return Pose(left + width / 2, top + _EYE_LINE * height, height)


def _middle(landmarks: Landmarks, one: str, other: str) -> tuple[float, float] | None:
    if one not in landmarks or other not in landmarks:
        return None
    (x0, y0), (x1, y1) = landmarks[one], landmarks[other]
    return (x0 + x1) / 2, (y0 + y1) / 2
