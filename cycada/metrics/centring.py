"""What a detector says of a face, beside what it says of other faces of the same subject."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def centred(log_odds: Tensor, subjects: Sequence[str], *, share: float) -> Tensor:
    """Take a share of what the other faces of the same subject have alike off every face.

    Low brows, folds and thin lips look like Action Units in all faces of a person; an expression
    comes and goes. A subject's other faces tell the first, as neutral faces do where baselines are
    subtracted (Baltrusaitis et al., FG 2015). A subject with one face stays as it is.

    Args:
        log_odds: ``(N, A)``.
        subjects: The subject of each of the N faces.
        share: 0 leaves all as it is, 1 takes the whole difference from the mean of all faces off.

    Returns:
        ``(N, A)`` log-odds.
    """
    order = {name: place for place, name in enumerate(dict.fromkeys(subjects))}
    rows = torch.tensor([order[name] for name in subjects])
    sums = torch.zeros(len(order), log_odds.shape[1], dtype=log_odds.dtype)
    sums = sums.index_add_(0, rows, log_odds)[rows]
    others = (torch.bincount(rows)[rows] - 1)[:, None]
    usual = (sums - log_odds) / others.clamp(min=1) - log_odds.mean(0)
    return log_odds - share * torch.where(others > 0, usual, 0)
