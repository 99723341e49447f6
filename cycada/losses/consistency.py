"""Losses that keep an image what it is."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cycada import images


def image_distance(made: Tensor, real: Tensor) -> Tensor:
    """Return the L1 distance of two batches plus that of their fine detail.

    CycleGAN (equation 2) takes the plain L1 distance. It is blind to thermal faces' creases and
    lids, which differ from the skin by a few per cent of the range, so their amplified detail
    counts beside it (:func:`cycada.images.fine_detail`).

    Args:
        made: ``(B, C, H, W)`` in [-1, 1].
        real: ``(B, C, H, W)`` in [-1, 1].

    Returns:
        Scalar mean per pixel, in units of [-1, 1].
    """
    detail = F.l1_loss(images.fine_detail(made), images.fine_detail(real))
    return F.l1_loss(made, real) + detail


def colour_distance(made: Tensor, real: Tensor, *, block: int) -> Tensor:
    """Return the L1 distance of the mean colours of squares, ``block`` x ``block`` px.

    An RGB image's freckles, irises and eyeliner are nothing that a thermal camera sees. Where
    they count in the cycle term, the generators write them into the thermal image, and there they
    blur what it should show: whether the cool eye is open. Mean colours ask for no such trace.

    Args:
        made: ``(B, C, H, W)`` in [-1, 1].
        real: ``(B, C, H, W)`` in [-1, 1].
        block: Side of the squares in px; 1 is the plain L1 distance. Those at the right and the
            lower edge may be smaller.

    Returns:
        Scalar mean per square, in units of [-1, 1].
    """
    here, there = (F.avg_pool2d(x, block, ceil_mode=True) for x in (made, real))
    return F.l1_loss(here, there)
