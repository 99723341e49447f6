"""How near a thermal face is to real ones, by the temperatures of its places."""

from __future__ import annotations

import torch
from torch import Tensor

from cycada import images

CELLS = 16
"""Along each side of a face, over which temperatures are averaged."""


def coarse(thermal: Tensor) -> Tensor:
    """Return ``(B, CELLS ** 2)``: ``(B, 1, S, S)`` averaged over squares of the image.

    Coarse enough that a shift of a pixel or the noise of a camera count for little, and fine
    enough to tell a nose from a cheek.
    """
    return images.resize(thermal, CELLS).mean(1).flatten(1)


def nearest(made: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far the nearest of the real faces is from each made one, and which it is.

    Args:
        made: ``(B, CELLS ** 2)`` from :func:`coarse`.
        real: ``(N, CELLS ** 2)``.

    Returns:
        ``(B,)`` root of the mean squared difference, in the units of [-1, 1], and ``(B,)`` rows.
    """
    distances = torch.cdist(made.double(), real.double()) / made.shape[1] ** 0.5
    least = distances.min(1)
    return least.values.float(), least.indices
