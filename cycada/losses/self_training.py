"""Losses that need no label of the target: its answers should be sure, and varied."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cycada.task import TaskKind, probabilities_of

_RAREST = 1e-6


def entropy(logits: Tensor, kind: TaskKind) -> Tensor:
    """Return ``(B,)`` entropies in nats: of the class, or the mean over the Action Units.

    Args:
        logits: ``(B, A)``.
        kind: Action Units or classes.
    """
    if kind == "classes":
        logarithms = torch.log_softmax(logits, 1)
        return -(logarithms.exp() * logarithms).sum(1)
    present = torch.sigmoid(logits)
    each = -(present * F.logsigmoid(logits) + (1 - present) * F.logsigmoid(-logits))
    return each.mean(1)


def information_loss(
    logits: Tensor, expected: Tensor, *, kind: TaskKind, frequencies: Tensor | None = None
) -> Tensor:
    """Return how unsure single answers are, plus how far all together are from ``expected``.

    For classes expected alike this is information maximisation (SHOT, Liang et al., ICML 2020,
    equation 3; Krause et al., NIPS 2010), up to a constant. Its demand that all answers be equally
    frequent makes no sense of Action Units, of which some occur in every second face and others
    in every fiftieth; for them the expected frequencies are the source's.

    Args:
        logits: ``(B, A)``.
        expected: ``(A,)`` frequencies in (0, 1); of classes they add up to 1.
        kind: Action Units or classes.
        frequencies: ``(A,)`` mean probabilities over all processes, with gradient; ``None`` takes
            those of this batch.

    Returns:
        Scalar in nats: the mean entropy, plus the Kullback-Leibler divergence of the mean answer
        from the expected one, of Action Units the mean over them.
    """
    if frequencies is None:
        frequencies = probabilities_of(logits, kind).mean(0)
    return entropy(logits, kind).mean() + frequency_distance(frequencies, expected, kind)


def frequency_distance(found: Tensor, expected: Tensor, kind: TaskKind) -> Tensor:
    """Return the Kullback-Leibler divergence of ``(A,)`` frequencies from the expected ones.

    Returns:
        Scalar in nats; of Action Units the mean over them.
    """
    found = found.clamp(_RAREST, 1 - _RAREST)
    wanted = expected.to(found).clamp(_RAREST, 1 - _RAREST)
    present = found * (found / wanted).log()
    if kind == "classes":
        return present.sum()
    return (present + (1 - found) * ((1 - found) / (1 - wanted)).log()).mean()


def sure(probabilities: Tensor, kind: TaskKind, *, confidence: float) -> Tensor:
    """Return ``(B, A)`` True where an answer is as sure as ``confidence`` (French et al., 2018).

    A class is sure where the most probable one is, for the whole row; each AU where its presence
    or its absence is.

    Args:
        probabilities: ``(B, A)``.
        kind: Action Units or classes.
        confidence: Probability in [0.5, 1].
    """
    if kind == "classes":
        best = probabilities.amax(1, keepdim=True)
        return (best >= confidence).expand_as(probabilities)
    return torch.maximum(probabilities, 1 - probabilities) >= confidence
