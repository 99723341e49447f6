"""How far found landmarks lie from the true ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

_ROUND = 0.03  # eye distances; below, the loss is quadratic


def landmark_loss(found: Tensor, true: Tensor, *, eyes: Sequence[int]) -> Tensor:
    """Return the smooth L1 distance in units of the distance between the eyes.

    Args:
        found: ``(B, K, 2)`` px.
        true: ``(B, K, 2)`` px, NaN where unknown; a face whose eyes are unknown does not count.
        eyes: Places of the corners of the left, then of the right eye among the points.

    Returns:
        Scalar mean over the known coordinates, 0 without any.
    """
    left, right = true[:, eyes[:2]].mean(1), true[:, eyes[2:]].mean(1)
    distance = torch.linalg.vector_norm(left - right, dim=1)[:, None, None]
    known = torch.isfinite(true) & torch.isfinite(distance) & (distance > 0)
    # NaN times 0 is NaN in the backward pass, so unknown places take what was found.
    aim = torch.where(known, true.to(found.dtype), found.detach())
    unit = torch.where(known, distance.to(found.dtype), 1.0)
    loss: Tensor = F.smooth_l1_loss(found / unit, aim / unit, beta=_ROUND, reduction="sum")
    mean: Tensor = loss / known.sum().clamp(min=1)
    return mean
