"""Losses on the answers of a detector, Action Units or classes, where labels may be unknown."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cycada.task import TaskKind, decided, probabilities_of

_HEAVIEST = 20.0
"""Largest weight of a rare answer: a few wrong labels must not rule a training."""


def label_loss(
    logits: Tensor,
    labels: Tensor,
    known: Tensor,
    *,
    kind: TaskKind,
    weight: Tensor | None = None,
    total: Tensor | None = None,
) -> Tensor:
    """Return the cross-entropy averaged over the annotated answers.

    An AU that was not annotated says nothing, so it adds neither loss nor gradient; a batch
    without any annotation gives 0, not NaN.

    Args:
        logits: ``(B, A)`` raw scores, one column per AU or class.
        labels: ``(B, A)``. AUs: 1 where present, 0 where absent. Classes: rows that add up to 1.
            Anything where unknown.
        known: ``(B, A)`` True where ``labels`` was annotated; of classes whole rows.
        kind: AUs: one binary cross-entropy each. Classes: one cross-entropy per face.
        weight: ``(A,)`` weight of present AUs against absent ones, or of each class, to offset
            their rarity; ``None`` weighs all alike.
        total: Number to divide by instead of the annotations in this batch. Processes that share
            a batch divide by its annotations per process, so that their mean is the batch's.

    Returns:
        Scalar mean in nats per annotated AU, or per face.
    """
    count = known.sum() if total is None else total
    count = torch.where(count > 0, count, 1)  # not clamp: per process it may be one half
    wanted = labels.to(logits.dtype)
    if kind == "classes":
        # The mean over all columns is one A-th of the face's cross-entropy.
        each = -wanted * torch.log_softmax(logits, 1) * logits.shape[1]
        each = each if weight is None else each * weight
    else:
        each = F.binary_cross_entropy_with_logits(
            logits, wanted, pos_weight=weight, reduction="none"
        )
    return each.masked_fill(~known, 0).sum() / count


def semantic_loss(
    after: Tensor, before: Tensor, *, kind: TaskKind, keep: Literal["soft", "hard"]
) -> Tensor:
    """Return how much a translation changed what a detector says (CyCADA, equation 4).

    The detector's answer on the original is the pseudo-label of the translation. For AUs the
    paper's single class becomes one binary cross-entropy per AU. Soft pseudo-labels are the
    probabilities; their entropy is subtracted, so that an unchanged answer costs 0 (which makes
    it a Kullback-Leibler divergence, with the same gradient).

    Args:
        after: ``(B, A)`` logits of the translated images.
        before: ``(B, A)`` logits of the originals; no gradient flows into them.
        kind: Action Units or classes.
        keep: ``soft`` keeps probabilities, ``hard`` decisions (AUs: at 0.5).

    Returns:
        Scalar mean in nats per AU, or per face.
    """
    before = before.detach()
    known = torch.ones_like(before, dtype=torch.bool)
    probability = probabilities_of(before, kind)
    if keep == "hard":
        half = torch.full_like(probability[0], 0.5)
        return label_loss(after, decided(probability, half, kind), known, kind=kind)
    entropy = label_loss(before, probability, known, kind=kind)
    return label_loss(after, probability, known, kind=kind) - entropy


def answer_weights(labels: Tensor, known: Tensor, exponent: float, *, kind: TaskKind) -> Tensor:
    """Return ``(A,)`` weights that offset rarity, at most 20, 1 where undefined.

    AUs: ``(absent / present) ** exponent``. Classes: ``(mean count / count) ** exponent``.

    Args:
        labels: ``(N, A)`` 0 or 1.
        known: ``(N, A)`` True where annotated.
        exponent: 0 weighs all alike; 1 balances them fully.
        kind: Action Units or classes.
    """
    present = (labels.bool() & known).sum(0).double()
    absent = (~labels.bool() & known).sum(0).double()
    wanted = present.mean().expand_as(present) if kind == "classes" else absent
    ratio = torch.where((present > 0) & (absent > 0), wanted / present.clamp(min=1), 1.0)
    return ratio.pow(exponent).clamp(max=_HEAVIEST).float()
