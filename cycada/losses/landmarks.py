"""How far found landmarks lie from the true ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

_LEAST = 1.0  # px between two eyes: nearer ones are a slip of the table
_ROUND = 0.03  # eye distances; below, the loss is quadratic


def known_landmarks(true: Tensor, *, eyes: Sequence[int]) -> Tensor:
    """Return ``(B, K, 2)`` bool: the coordinates that are known, of faces whose eyes are.

    Args:
        true: ``(B, K, 2)`` px, NaN where unknown.
        eyes: Places of the corners of the left, then of the right eye among the points.
    """
    return torch.isfinite(true) & torch.isfinite(_taken(true, eyes)).all(2).all(1)[:, None, None]


def landmark_loss(
    found: Tensor, true: Tensor, *, eyes: Sequence[int], total: Tensor | None = None
) -> Tensor:
    """Return the smooth L1 distance in units of the distance between the eyes.

    Args:
        found: ``(B, K, 2)`` px.
        true: ``(B, K, 2)`` px, NaN where unknown; a face whose eyes are unknown does not count.
        eyes: Places of the corners of the left, then of the right eye among the points.
        total: Number of known coordinates to divide by; with several processes their mean over
            all, so that the mean of the losses is the loss of the whole batch.

    Returns:
        Scalar mean over the known coordinates, 0 without any.
    """
    known = known_landmarks(true, eyes=eyes)
    left, right = _taken(true, eyes[:2]).mean(1), _taken(true, eyes[2:]).mean(1)
    distance = torch.linalg.vector_norm(left - right, dim=1)[:, None, None]
    # NaN times 0 is NaN in the backward pass, so unknown places take what was found.
    aim = torch.where(known, true.to(found.dtype), found.detach())
    unit = torch.where(known, distance.to(found.dtype).clamp(min=_LEAST), 1.0)
    loss: Tensor = F.smooth_l1_loss(found / unit, aim / unit, beta=_ROUND, reduction="sum")
    count = known.sum().to(loss.dtype) if total is None else total
    return torch.where(count > 0, loss / torch.where(count > 0, count, 1), 0 * loss)


def _taken(points: Tensor, places: Sequence[int]) -> Tensor:
    """Return ``points[:, places]`` without sending a list of places to the device in every step."""
    return torch.stack([points[:, place] for place in places], 1)
