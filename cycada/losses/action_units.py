"""Losses on Action Unit scores: multi-label, with unknown labels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def action_unit_loss(
    logits: Tensor,
    labels: Tensor,
    known: Tensor,
    *,
    positive_weight: Tensor | None = None,
    total: Tensor | None = None,
) -> Tensor:
    """Return the binary cross-entropy averaged over the annotated Action Units.

    An AU that was not annotated says nothing, so it adds neither loss nor gradient; a batch
    without any annotation gives 0, not NaN.

    Args:
        logits: ``(B, A)`` raw scores, one column per AU.
        labels: ``(B, A)`` 1 where the AU is present, 0 where absent, anything where unknown.
        known: ``(B, A)`` True where ``labels`` was annotated.
        positive_weight: ``(A,)`` weight of present AUs against absent ones, to offset their
            rarity; ``None`` weighs both alike.
        total: Number to divide by instead of the annotations in this batch. Processes that share
            a batch divide by its annotations per process, so that their mean is the batch's.

    Returns:
        Scalar mean in nats per annotated AU.
    """
    each = F.binary_cross_entropy_with_logits(
        logits, labels.to(logits.dtype), pos_weight=positive_weight, reduction="none"
    )
    count = known.sum() if total is None else total
    count = torch.where(count > 0, count, 1)  # not clamp: per process it may be one half
    return each.masked_fill(~known, 0).sum() / count


def semantic_loss(after: Tensor, before: Tensor, kind: Literal["soft", "hard"]) -> Tensor:
    """Return how much a translation changed what a detector says (CyCADA, equation 4).

    The detector's answer on the original is the pseudo-label of the translation. The paper's
    single class becomes one binary cross-entropy per AU. Soft pseudo-labels are the
    probabilities; their entropy is subtracted, so that an unchanged answer costs 0 (which makes
    it a Kullback-Leibler divergence, with the same gradient).

    Args:
        after: ``(B, A)`` logits of the translated images.
        before: ``(B, A)`` logits of the originals; no gradient flows into them.
        kind: ``soft`` keeps probabilities, ``hard`` decisions at 0.5.

    Returns:
        Scalar mean in nats per AU.
    """
    before = before.detach()
    if kind == "hard":
        return F.binary_cross_entropy_with_logits(after, (before > 0).to(after.dtype))
    probability = torch.sigmoid(before)
    entropy = F.binary_cross_entropy_with_logits(before, probability)
    return F.binary_cross_entropy_with_logits(after, probability) - entropy


def positive_weights(labels: Tensor, known: Tensor, exponent: float) -> Tensor:
    """Return ``(A,)`` weights ``(absent / present) ** exponent``, at most 20, 1 where undefined.

    Args:
        labels: ``(N, A)`` 0 or 1.
        known: ``(N, A)`` True where annotated.
        exponent: 0 weighs present and absent AUs alike, 1 balances them fully.
    """
    present = (labels.bool() & known).sum(0).double()
    absent = (~labels.bool() & known).sum(0).double()
    ratio = torch.where((present > 0) & (absent > 0), absent / present.clamp(min=1), 1.0)
    return ratio.pow(exponent).clamp(max=20).float()
