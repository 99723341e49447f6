"""Run a generator over an image of any size: padded to a multiple, in tiles where it is large."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

MULTIPLE = 4
"""The generators halve an image twice."""

SMALLEST = 8
"""Shortest side that is translated, in px: instance normalisation needs more than one place."""

TILE = 1024
"""Longest side, in px, of what is translated in one pass: some 1.5 GB with 64 base channels."""

OVERLAP = 128
"""Least common border of two tiles, in px; a residual generator of 9 blocks sees 75 px around."""


def translate_any_size(
    translate: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    tile: int = TILE,
    overlap: int = OVERLAP,
) -> Tensor:
    """Return what ``translate`` makes of an image whose sides need not suit it.

    The image is reflected at its lower and right border up to multiples of 4, 8 or more, and what
    was added is cut off again. An image with a side beyond ``tile`` is translated in equal tiles
    that overlap; where they do, they are blended in proportion to the distance from their borders.
    Instance normalisation sees one tile at a time, so brightness may drift over a very large image.

    Args:
        translate: Maps ``(1, C, H, W)`` to ``(1, C', H, W)`` for sides that are multiples of 4.
        image: ``(C, H, W)``.
        tile: Longest side of one pass in px, a multiple of 4.
        overlap: Least overlap of neighbouring tiles in px, less than ``tile``.

    Returns:
        ``(C', H, W)``.
    """
    height, width = image.shape[-2:]
    whole = padded(image)
    tops, tall = _cuts(whole.shape[-2], tile, overlap)
    lefts, wide = _cuts(whole.shape[-1], tile, overlap)
    if len(tops) == len(lefts) == 1:
        return translate(whole[None])[0, :, :height, :width]
    weight = _ramp(tall, overlap)[:, None] * _ramp(wide, overlap)
    made, weights = torch.zeros(1), torch.zeros(whole.shape[-2:])
    for top, left in itertools.product(tops, lefts):
        place = (..., slice(top, top + tall), slice(left, left + wide))
        part = translate(whole[place][None])[0]
        if made.ndim == 1:  # the generator says how many channels there are
            made = part.new_zeros(len(part), *whole.shape[-2:])
        made[place] += part * weight
        weights[place] += weight
    return (made / weights)[:, :height, :width]


def most_in_a_pass(shape: tuple[int, int], *, pixels: int) -> int:
    """Return how many images of a padded ``(height, width)`` may share a pass.

    One alone where a side is beyond ``TILE``, for such images are translated in tiles.

    Args:
        shape: Of each.
        pixels: Of all that share a pass.
    """
    return 1 if max(shape) > TILE else max(1, pixels // math.prod(shape))


def padded(image: Tensor) -> Tensor:
    """Reflect ``(C, H, W)`` at the lower and right border up to multiples of 4, 8 or more.

    A side too short to be reflected is repeated at its edge.
    """
    height, width = image.shape[-2:]
    tall, wide = padded_size((height, width))
    below, right = tall - height, wide - width
    if not below and not right:
        return image
    mode = "reflect" if below < height and right < width else "replicate"
    return F.pad(image[None], (0, right, 0, below), mode=mode)[0]


def padded_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width that :func:`padded` gives an image of ``size``."""
    height, width = (side + max(SMALLEST - side, -side % MULTIPLE) for side in size)
    return height, width


def _cuts(side: int, tile: int, overlap: int) -> tuple[list[int], int]:
    """Return where tiles begin along a side, and how long they are: all alike, evenly spread."""
    if side <= tile:
        return [0], side
    count = math.ceil((side - overlap) / (tile - overlap))
    length = math.ceil((side + (count - 1) * overlap) / count)
    length += -length % MULTIPLE
    last = side - length
    starts = [round(last * number / (count - 1) / MULTIPLE) * MULTIPLE for number in range(count)]
    return starts, length


def _ramp(length: int, overlap: int) -> Tensor:
    """Return weights that rise from the borders to 1 over ``overlap`` px; none is 0."""
    place = torch.arange(length)
    from_border = torch.minimum(place, length - 1 - place) + 1.0
    return (from_border / max(overlap, 1)).clamp(max=1.0)
