"""What RGB and thermal faces share: where edges and creases run, not which side is bright."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cycada import images

CHANNELS = 3

_NEIGHBOURHOOD = 9  # px; a crease and the skin around it
_CREASE = 5  # px
_QUIET = 1e-3  # of the squared difference of two pixels: contrasts below are taken for noise
_TINY = 1e-6  # keeps the gradient of the root finite on flat skin


def local_structure(image: Tensor) -> Tensor:
    """Return edges and creases without their sign, relative to the contrast around them.

    Brows are dark in RGB and cool in thermal, but creases are dark in RGB and warm in thermal, and
    the contrasts of skin differ tenfold. Doubling an edge's angle makes opposite signs equal
    (Granlund, Computer Graphics and Image Processing 1978), as in the structure tensor (Bigun &
    Granlund, ICCV 1987); dividing by the local energy makes strong and weak contrasts equal.

    Args:
        image: ``(B, C, H, W)`` in [-1, 1]; RGB counts by its luminance.

    Returns:
        ``(B, 3, H, W)``: cosine and sine of the doubled angle of the gradient, times its
        magnitude over the local root mean square magnitude, and the magnitude of the difference
        from the local mean over its local root mean square. The same for ``-image``.
    """
    grey = images.with_channels(image, 1)
    wide = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    across = wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]
    down = wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]
    squared = across.square() + down.square()
    scale = torch.rsqrt((squared + _TINY) * (_mean(squared, _NEIGHBOURHOOD) + _QUIET))
    crease = grey - _mean(grey, _CREASE)
    around = torch.rsqrt(_mean(crease.square(), _NEIGHBOURHOOD) + _QUIET / _CREASE)
    return torch.cat(
        (
            (across.square() - down.square()) * scale,
            2 * across * down * scale,
            crease.abs() * around,
        ),
        dim=1,
    )


def _mean(image: Tensor, window: int) -> Tensor:
    # Two products with banded matrices: many times as fast on processors as average pooling.
    height, width = (
        _average_around(int(length), window, image.dtype, image.device)  # see cycada.models.regions
        for length in image.shape[-2:]
    )
    with torch.autocast(image.device.type, enabled=False):
        return height @ image @ width.T


@cache  # for good: a recorded step reads it where it lies
def _average_around(length: int, window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return ``(length, length)``: row i averages the places of the window around place i."""
    place = torch.arange(length, device=device)
    near = (place[:, None] - place).abs() <= window // 2
    return (near / near.sum(1, keepdim=True)).to(dtype)
