"""How much a sequence flickers: what changes from frame to frame without having moved.

The measure is the warping error of Lai et al. (Learning blind video temporal consistency, ECCV
2018, section 4.2): the next frame is pulled back along the motion of the source, and what then
still differs, where nothing was covered or uncovered, is flicker. The motion is estimated in the
source alone, so a translation cannot hide its flicker in a motion of its own, and a translation
that does the same to every frame has none, whatever its colours and contrast.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cycada.footage.packages import optional
from cycada.images import from_signed, resize, with_channels

_LEAST_SIDE = 256  # px; in smaller pictures the flow of OpenCV misses small motions

# Where forward and backward flow disagree, something was covered (Sundaram et al., ECCV 2010,
# equations 5 and 6, as Ruder et al., GCPR 2016, use them).
_SHARE, _LEAST = 0.01, 0.5
_EDGE_SHARE, _EDGE_LEAST = 0.01, 0.002


@dataclass(frozen=True, slots=True)
class Motion:
    """How a picture moved between two frames, in px of that picture."""

    forward: Tensor  # (2, H, W): where each pixel of the first went, to the right and down
    backward: Tensor  # (2, H, W): whence each pixel of the second came, likewise

    def at(self, size: tuple[int, int]) -> Motion:
        """Return the motion of the same picture in another size ``(height, width)``."""
        height, width = self.forward.shape[-2:]
        if (height, width) == size:
            return self
        scale = torch.tensor([size[1] / width, size[0] / height])[:, None, None]
        return Motion(resize(self.forward, size) * scale, resize(self.backward, size) * scale)

    def seen(self) -> Tensor:
        """Return ``(H, W)`` bool: pixels of the first that are seen in the second, too."""
        back = _pulled(self.backward, self.forward)
        away = (self.forward + back).square().sum(0)
        length = self.forward.square().sum(0) + back.square().sum(0)
        steps = sum(_slope(self.forward, axis).square().sum(0) for axis in (1, 2))
        edge = steps > _EDGE_SHARE * self.forward.square().sum(0) + _EDGE_LEAST
        return (away <= _SHARE * length + _LEAST) & ~edge & _inside(self.forward)


class MotionEstimator:
    """Estimates motion by OpenCV's dense inverse search (Kroeger et al., ECCV 2016)."""

    def __init__(self) -> None:
        """Make the estimator ready.

        Raises:
            UsageError: OpenCV is not installed.
        """
        cv2 = optional("cv2", extra="sheet", what="the flicker of a sequence")
        self._flow: Any = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(self, first: Tensor, second: Tensor) -> Motion:
        """Return the motion between two frames ``(1 or 3, H, W)`` in [-1, 1]."""
        height, width = first.shape[-2:]
        scale = max(1.0, _LEAST_SIDE / min(height, width))
        size = round(height * scale), round(width * scale)
        one, two = (_grey(picture, size) for picture in (first, second))
        forward, backward = (
            torch.from_numpy(self._flow.calc(a, b, None)).permute(2, 0, 1)
            for a, b in ((one, two), (two, one))
        )
        return Motion(forward, backward).at((height, width))


def warping_error(first: Tensor, second: Tensor, motion: Motion) -> float:
    """Return the mean squared difference of two frames along the motion between them.

    Args:
        first: ``(C, H, W)`` in [-1, 1].
        second: The next frame, likewise.
        motion: Of the source, in any size.

    Returns:
        Mean over the channels and the pixels seen in both frames, in squares of the range [-1, 1];
        NaN where no pixel is seen in both.
    """
    motion = motion.at((first.shape[-2], first.shape[-1]))
    seen = motion.seen()
    away = (first - _pulled(second, motion.forward)).square().mean(0)
    return float(away[seen].double().mean())


def flicker(errors: Iterable[float]) -> float:
    """Return the flicker of a sequence: the root of the mean of its warping errors.

    Lai et al. report the mean itself, of images in [0, 1]; that is a quarter of the square of
    this. The root has the unit of the pixels, so that it can be told in deg C.

    Returns:
        In the unit of the range [-1, 1]; NaN for fewer than two frames.
    """
    known = [error for error in errors if not math.isnan(error)]
    return math.sqrt(sum(known) / len(known)) if known else math.nan


def _grey(picture: Tensor, size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    grey = resize(with_channels(picture.float(), 1), size)
    return from_signed(grey, dtype=torch.uint8)[0].contiguous().numpy()


def _places(flow: Tensor) -> tuple[Tensor, Tensor]:
    height, width = flow.shape[-2:]
    across = torch.arange(width, dtype=flow.dtype) + flow[0]
    down = torch.arange(height, dtype=flow.dtype)[:, None] + flow[1]
    return across, down


def _inside(flow: Tensor) -> Tensor:
    height, width = flow.shape[-2:]
    across, down = _places(flow)
    return (across >= 0) & (across <= width - 1) & (down >= 0) & (down <= height - 1)


def _pulled(picture: Tensor, flow: Tensor) -> Tensor:
    """Return ``(C, H, W)`` whose pixel at x is that of ``picture`` at x + flow(x)."""
    height, width = picture.shape[-2:]
    across, down = _places(flow)
    # By hand and not by `grid_sample`, whose coordinates from -1 to 1 round: where nothing moves,
    # the picture must stay as it is to the last bit.
    across, down = across.clamp(0, width - 1), down.clamp(0, height - 1)
    left, top = across.floor(), down.floor()
    x, y = across - left, down - top
    columns = left.long(), (left.long() + 1).clamp(max=width - 1)
    rows = top.long(), (top.long() + 1).clamp(max=height - 1)
    upper = picture[:, rows[0], columns[0]] * (1 - x) + picture[:, rows[0], columns[1]] * x
    lower = picture[:, rows[1], columns[0]] * (1 - x) + picture[:, rows[1], columns[1]] * x
    return upper * (1 - y) + lower * y


def _slope(flow: Tensor, axis: int) -> Tensor:
    """Return how much the flow changes from a pixel to the next."""
    last = flow.narrow(axis, -1, 1)
    return torch.diff(flow, dim=axis, append=last)
