"""Where a face is in a frame, and the square crop made from it.

One convention holds for every source: the box of a face reaches from below the hairline to the
chin and is 0.8 times as wide as high; the eyes lie a third of the height below its top. Crops
show it with a margin, so that it takes 0.78 of their height, as in aligned portraits.

Coordinates are px of the upright frame, the centre of the top left pixel being (0, 0); so the
frame reaches from -1/2 to its width or height less 1/2. Angles are degrees, positive clockwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

FACE_WIDTH = 0.8
"""Width of a face in its heights."""

EYE_LINE = 0.33
"""Where the eyes are in a face: share of its height below its top."""

EYE_DISTANCE = 0.4
"""Between the centres of the eyes, and from there down to the corners of the mouth, in heights
of the face (both measured on the mean of aligned portraits)."""

MARGIN = 0.14
"""Border around a face in its crop, on each side, in heights of the face."""


@dataclass(frozen=True, slots=True)
class FacePlace:
    """Where one face is in a frame: the box before rotation, which turns around its centre."""

    left: float  # px
    top: float
    width: float
    height: float
    angle: float = 0.0  # degrees by which the face is turned clockwise
    confidence: float = 1.0  # 0 to 1
    landmarks: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box, px."""
        return self.left + self.width / 2, self.top + self.height / 2

    def outside(self, height: int, width: int) -> float:
        """Return the share of the box, turned, that lies outside a frame, 0 to 1."""
        return _outside(*self.centre, (self.width, self.height), self.angle, (height, width))


class Found(NamedTuple):
    """The faces that were found in a frame, and the reason if there are none."""

    places: tuple[FacePlace, ...]
    reason: str = ""


Finder = Callable[[Tensor], Found]
"""Finds the faces in an upright frame ``(C, H, W)``: uint8, of 3 channels in RGB or of 1 channel
(warm is bright), or float32 of 1 channel in deg C."""


@dataclass(frozen=True, slots=True)
class Square:
    """A square part of a frame, turned around its centre, that becomes a crop."""

    x: float  # of the centre, px
    y: float
    side: float  # px
    angle: float = 0.0  # degrees by which it is turned clockwise

    @property
    def left(self) -> float:
        """Left edge before rotation, px."""
        return self.x - self.side / 2

    @property
    def top(self) -> float:
        """Top edge before rotation, px."""
        return self.y - self.side / 2

    def to_frame(self, points: Tensor, size: int) -> Tensor:
        """Return where ``(..., 2)`` points of a crop of ``size`` px lie in the frame, px.

        Pixel centres of both are whole numbers. The exact inverse of :meth:`to_crop`.
        """
        local = (points.to(torch.float64) + 0.5) / size - 0.5
        cosine, sine = self._turn()
        x, y = local.unbind(-1)
        turned = torch.stack([cosine * x - sine * y, sine * x + cosine * y], dim=-1)
        return turned * self.side + torch.tensor([self.x, self.y], dtype=torch.float64)

    def to_crop(self, points: Tensor, size: int) -> Tensor:
        """Return where ``(..., 2)`` points of the frame lie in a crop of ``size`` px, px."""
        centre = torch.tensor([self.x, self.y], dtype=torch.float64)
        x, y = ((points.to(torch.float64) - centre) / self.side).unbind(-1)
        cosine, sine = self._turn()
        local = torch.stack([cosine * x + sine * y, cosine * y - sine * x], dim=-1)
        return (local + 0.5) * size - 0.5

    def outside(self, height: int, width: int) -> float:
        """Return the share of the square that lies outside a frame, 0 to 1."""
        return _outside(self.x, self.y, (self.side, self.side), self.angle, (height, width))

    def _turn(self) -> tuple[float, float]:
        radians = math.radians(self.angle)
        return math.cos(radians), math.sin(radians)


def square_of(place: FacePlace, *, margin: float = MARGIN) -> Square:
    """Return the square that shows a face with ``margin`` heights of it on each side."""
    return Square(*place.centre, place.height * (1 + 2 * margin), place.angle)


def place_of_box(
    left: float, top: float, width: float, height: float, *, confidence: float = 1.0
) -> FacePlace:
    """Return the upright face whose box from forehead to chin is given; its width may be any."""
    wide = FACE_WIDTH * height
    return FacePlace(left + (width - wide) / 2, top, wide, height, confidence=confidence)


def place_of_landmarks(
    landmarks: Mapping[str, tuple[float, float]], *, confidence: float = 1.0
) -> FacePlace | None:
    """Return the face that the eyes, and the mouth if it is known, make out.

    The line through the eyes gives the angle. The larger of the distances between the eyes and
    from them to the mouth gives the size: a turned head shortens the first, a bowed one the
    second.

    Args:
        landmarks: Of them, ``eye_inner_left`` and its like (the person's own left), or
            ``eye_left`` and ``eye_right`` for their centres; ``mouth_corner_left`` and
            ``mouth_corner_right``. Any others are kept, not used.
        confidence: Of the face, 0 to 1.

    Returns:
        ``None`` when an eye is unknown or both are at one point.
    """
    eyes = [_eye(landmarks, side) for side in ("right", "left")]
    if eyes[0] is None or eyes[1] is None:
        return None
    (x0, y0), (x1, y1) = eyes[0], eyes[1]  # the person's right eye is at the left of the image
    apart = math.hypot(x1 - x0, y1 - y0)
    if apart == 0:
        return None
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    right, down = ((x1 - x0) / apart, (y1 - y0) / apart), ((y0 - y1) / apart, (x1 - x0) / apart)
    corners = [landmarks.get(f"mouth_corner_{side}") for side in ("right", "left")]
    below = (0.5 - EYE_LINE) / EYE_DISTANCE  # of the centre, in distances from eyes to mouth
    if corners[0] is not None and corners[1] is not None:
        to_mouth = (
            (corners[0][0] + corners[1][0]) / 2 - x,
            (corners[0][1] + corners[1][1]) / 2 - y,
        )
        drop = to_mouth[0] * down[0] + to_mouth[1] * down[1]
        aside = to_mouth[0] * right[0] + to_mouth[1] * right[1]
        apart = max(apart, drop)
    else:
        drop, aside = apart, 0.0
    height = apart / EYE_DISTANCE
    # Between both estimates of how far below the eyes the centre is: of the eyes, of the mouth.
    fall = below * (apart + max(drop, 0.0)) / 2
    centre_x = x + fall * down[0] + below * aside * right[0]
    centre_y = y + fall * down[1] + below * aside * right[1]
    width = FACE_WIDTH * height
    return FacePlace(
        centre_x - width / 2,
        centre_y - height / 2,
        width,
        height,
        angle=math.degrees(math.atan2(right[1], right[0])),
        confidence=confidence,
        landmarks=dict(landmarks),
    )


def crop_face(image: Tensor, square: Square, *, size: int | None = None) -> Tensor:
    """Cut a square out of an image and turn it upright.

    Each px of the crop is the mean of bilinear samples no further than a px of the image apart,
    so nothing aliases when it shrinks. What lies outside the image repeats its edge. A square
    that is not turned, on whole px and not scaled, is copied exactly.

    Args:
        image: ``(C, H, W)`` uint8, uint16 or float32.
        square: What to cut out.
        size: Side of the crop in px; ``None``: that of the square, rounded.

    Returns:
        ``(C, size, size)`` of the same dtype; whole numbers are rounded once, at the end.
    """
    size = size or max(1, round(square.side))
    height, width = image.shape[-2:]
    fine = max(1, math.ceil(square.side / size - 1e-6))  # samples per px of the crop, each way
    corners = torch.cartesian_prod(*[torch.tensor([-0.5, size - 0.5])] * 2)
    reach = square.to_frame(corners, size)
    low, high = reach.amin(0).floor().long() - 1, reach.amax(0).ceil().long() + 2
    # Only the part of a large frame that the square touches is converted.
    x0, x1 = _within(int(low[0]), int(high[0]), width)
    y0, y1 = _within(int(low[1]), int(high[1]), height)
    part = image[:, y0:y1, x0:x1]
    shape = torch.tensor([x1 - x0, y1 - y0], dtype=torch.float64)
    offset = torch.tensor([x0, y0], dtype=torch.float64)
    # uint16 has no interpolation, and float32 would round its values: float64 holds them.
    part = part.to(torch.float64)[None]
    ticks = (torch.arange(size * fine, dtype=torch.float64) + 0.5) / fine - 0.5
    total = torch.zeros(image.shape[0], size, size, dtype=torch.float64)
    for row in range(fine):  # a row of samples at a time bounds the memory
        rows = torch.arange(size, dtype=torch.float64) + (row + 0.5) / fine - 0.5
        points = torch.stack(torch.meshgrid(ticks, rows, indexing="xy"), dim=-1)
        grid = (2 * (square.to_frame(points, size) - offset) + 1) / shape - 1
        samples = F.grid_sample(
            part, grid[None], mode="bilinear", padding_mode="border", align_corners=False
        )[0]
        total += samples.reshape(image.shape[0], size, size, fine).sum(-1)
    mean = total / fine**2
    if image.dtype == torch.float32:
        return mean.to(torch.float32)
    if image.dtype == torch.uint8:
        return mean.round().to(torch.uint8)
    if image.dtype == torch.uint16:
        return mean.round().to(torch.int32).to(torch.uint16)
    raise ValueError(f"an image holds uint8, uint16 or float32, not {image.dtype}")


def _within(low: int, high: int, size: int) -> tuple[int, int]:
    """Return the overlap of a range of px with an axis; at least its nearest px."""
    start = min(max(low, 0), size - 1)
    return start, max(start + 1, min(high, size))


def _eye(landmarks: Mapping[str, tuple[float, float]], side: str) -> tuple[float, float] | None:
    """Return the centre of the eye: as given, or between its corners."""
    corners = [landmarks.get(f"eye_{end}_{side}") for end in ("inner", "outer")]
    if corners[0] is not None and corners[1] is not None:
        (x0, y0), (x1, y1) = corners[0], corners[1]
        return (x0 + x1) / 2, (y0 + y1) / 2
    return landmarks.get(f"eye_{side}")


def _outside(
    x: float, y: float, box: tuple[float, float], angle: float, frame: tuple[int, int]
) -> float:
    """Return the share of a turned box of (width, height) outside a frame of (height, width)."""
    wide, tall = box
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    polygon: list[tuple[float, ...]] = [
        (x + cosine * u * wide - sine * v * tall, y + sine * u * wide + cosine * v * tall)
        for u, v in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
    ]
    height, width = frame
    limits = ((0, -0.5, 1), (0, width - 0.5, -1), (1, -0.5, 1), (1, height - 0.5, -1))
    for axis, limit, sign in limits:
        polygon = _clipped(polygon, axis, limit, sign)
    return min(1.0, max(0.0, 1 - _area(polygon) / (wide * tall)))


def _clipped(
    polygon: list[tuple[float, ...]], axis: int, limit: float, sign: int
) -> list[tuple[float, ...]]:
    """Return the part of a convex polygon on one side of a line (Sutherland and Hodgman)."""
    kept: list[tuple[float, ...]] = []
    for here, there in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        a, b = sign * (here[axis] - limit), sign * (there[axis] - limit)
        if a >= 0:
            kept.append(here)
        if (a >= 0) != (b >= 0):
            share = a / (a - b)
            kept.append(tuple(h + share * (t - h) for h, t in zip(here, there, strict=True)))
    return kept


def _area(polygon: list[tuple[float, ...]]) -> float:
    """Return the area within a polygon (the shoelace formula)."""
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs)) / 2
