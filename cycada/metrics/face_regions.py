"""Which pixels of a face are brow, eye, nose ...: by its landmarks, for temperatures of parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cycada.landmarks import EYE_CORNERS
from cycada.metrics.bootstrap import Floats, Integers
from cycada.metrics.translation import BINS, histogram


@dataclass(frozen=True, slots=True)
class FacePart:
    """An ellipse of an upright face, on both sides where it lies to one.

    Lengths are in distances between the eyes; ``across`` runs to the person's left, ``down`` to
    the chin. Its centre is the mean of its landmarks, where an index has them, else it lies where
    it does in most faces, seen from the point between the eyes.
    """

    name: str
    across: float
    down: float
    half_width: float
    half_height: float
    landmarks: tuple[str, ...] = ()  # of the left side, or of the middle


FACE_PARTS = (
    FacePart("forehead", 0.0, -0.75, 0.5, 0.2),
    FacePart("brows", 0.5, -0.36, 0.32, 0.1,
             ("brow_inner_left", "brow_middle_left", "brow_outer_left")),
    FacePart("eyes", 0.5, 0.0, 0.25, 0.12, EYE_CORNERS[:2]),
    FacePart("nose", 0.0, 0.5, 0.16, 0.16, ("nose_tip",)),
    FacePart("cheeks", 0.58, 0.6, 0.2, 0.2),
    FacePart("mouth", 0.0, 1.02, 0.36, 0.14, ("mouth_corner_left", "mouth_corner_right")),
)  # fmt: skip
"""Parts whose temperatures differ on every face: inner eyes are warm, noses cool."""


def part_masks(landmarks: Tensor, names: Sequence[str], *, side: int) -> Tensor:
    """Return which pixels belong to each of :data:`FACE_PARTS`.

    Args:
        landmarks: ``(B, K, 2)`` x and y in px; NaN where unknown.
        names: Of the points, with the corners of the eyes among them.
        side: Of the images, px.

    Returns:
        ``(B, P, side, side)`` bool; all False where the eyes of a face are unknown.
    """
    columns = {name: landmarks[:, place] for place, name in enumerate(names)}
    left, right = ((columns[a] + columns[b]) / 2 for a, b in (EYE_CORNERS[:2], EYE_CORNERS[2:]))
    between, along = (left + right) / 2, left - right
    below = torch.stack((-along[:, 1], along[:, 0]), 1)  # turned by 90 degrees, to the chin
    at = torch.arange(side, dtype=landmarks.dtype)
    y, x = torch.meshgrid(at, at, indexing="ij")
    pixels = torch.stack((x, y), -1)
    masks = []
    for part in FACE_PARTS:
        mask = torch.zeros(len(landmarks), side, side, dtype=torch.bool)
        for turn in (1.0, -1.0) if part.across else (1.0,):
            centre = between + turn * part.across * along + part.down * below
            seen = _mean_of(columns, part.landmarks, mirrored=turn < 0)
            centre = torch.where(seen.isnan(), centre, seen)
            mask |= _inside(pixels, centre, along, below, part)
        masks.append(mask)
    return torch.stack(masks, 1)


class PartValues:
    """Histograms of thermal images, whole and in parts; no more memory for more of them."""

    def __init__(self) -> None:
        """Begin without images."""
        self.images = 0
        self.whole: Integers = np.zeros(BINS, dtype=np.int64)
        self.parts: Integers = np.zeros((len(FACE_PARTS), BINS), dtype=np.int64)

    def add(self, thermal: Tensor, masks: Tensor | None = None) -> None:
        """Add ``(B, 1, S, S)`` images in [-1, 1], with masks as of :func:`part_masks`."""
        self.images += len(thermal)
        self.whole += histogram(thermal)
        if masks is not None:
            for number in range(len(FACE_PARTS)):
                self.parts[number] += histogram(thermal[:, 0][masks[:, number]])

    def part_means(self) -> Floats:
        """Return the mean of each part in [-1, 1]; NaN where none of it was seen."""
        return np.array([mean_of(counts) for counts in self.parts])


def mean_of(counts: Integers) -> float:
    """Return the mean of a histogram's values in [-1, 1], exact to half a bin; NaN if empty."""
    total = counts.sum()
    return float(counts @ _CENTRES / total) if total else float("nan")


def deviation_of(counts: Integers) -> float:
    """Return the standard deviation of a histogram's values in [-1, 1]; NaN if empty."""
    total = counts.sum()
    if not total:
        return float("nan")
    return float(np.sqrt(counts @ (_CENTRES - mean_of(counts)) ** 2 / total))


_CENTRES = (np.arange(BINS) + 0.5) / BINS * 2 - 1


def _mean_of(columns: dict[str, Tensor], names: Sequence[str], *, mirrored: bool) -> Tensor:
    """Return ``(B, 2)`` the mean of some points; NaN where one is unknown."""
    chosen = [name.replace("_left", "_right") if mirrored else name for name in names]
    unknown = torch.full_like(next(iter(columns.values())), torch.nan)
    points = [columns.get(name, unknown) for name in chosen]
    return torch.stack(points).mean(0) if points else unknown


def _inside(pixels: Tensor, centre: Tensor, along: Tensor, below: Tensor, part: FacePart) -> Tensor:
    """Return ``(B, H, W)``; comparisons with NaN are False."""
    away = pixels - centre[:, None, None]
    squared = along.square().sum(1)[:, None, None]
    u = (away * along[:, None, None]).sum(-1) / squared / part.half_width
    v = (away * below[:, None, None]).sum(-1) / squared / part.half_height
    return u.square() + v.square() <= 1
