"""What the target's unlabelled faces teach: teachers' answers, information, consistency."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from cycada import images
from cycada.config import DetectorConfig
from cycada.losses.labels import label_loss
from cycada.losses.self_training import entropy, frequency_distance, information_loss, sure
from cycada.models.detector import Detector
from cycada.task import TaskKind, probabilities_of
from cycada.training.examples import Labelled
from cycada.training.launch import mean_over_processes


class Unlabelled(NamedTuple):
    """The target's faces of one step on this process, augmented."""

    images: Tensor  # (B, C, S, S) in [-1, 1]
    answers: Labelled | None = None  # of the teachers that were asked before the training
    mean_teacher: Labelled | None = None  # of the averaged weights, at this step


class Term(NamedTuple):
    """One term of the loss."""

    value: Tensor
    weight: float
    rises: bool  # over ``self_training.warm_up``


def mean_teacher_answers(
    average: Detector, plain: Tensor, *, config: DetectorConfig, accelerator: Accelerator
) -> tuple[Tensor, Tensor]:
    """Return what the averaged weights say of the faces as they are, and where they are sure.

    Tarvainen & Valpola (NIPS 2017) ask them about another random view; the plain face is the
    easiest view (Sohn et al., NeurIPS 2020). That only sure answers teach is from French et al.
    (ICLR 2018).

    Returns:
        ``(B, A)`` probabilities and ``(B, A)`` bool.
    """
    average.eval()
    with torch.no_grad(), accelerator.autocast():
        logits = average(images.with_channels(plain, average.channels)).logits
    said = probabilities_of(logits.to(plain.dtype), average.kind)
    return said, sure(said, average.kind, confidence=config.self_training.confidence)


def target_terms(
    logits: Tensor,
    target: Unlabelled,
    *,
    config: DetectorConfig,
    expected: Tensor,
    kind: TaskKind,
    answered: Tensor | None = None,
) -> dict[str, Term]:
    """Return the terms of the loss that the target's faces add.

    Args:
        logits: ``(B, A)`` of the augmented faces.
        target: The faces, with what is known of them.
        config: Settings.
        expected: ``(A,)`` frequencies of the answers.
        kind: Action Units or classes.
        answered: Number of teachers' answers to divide by where these faces are a part of a batch,
            from :func:`cycada.training.optimizing.known_per_portion`; ``None`` counts them here.
    """
    settings = config.self_training
    terms: dict[str, Term] = {}
    if target.answers is not None:
        answers = target.answers
        loss = label_loss(logits, answers.labels, answers.known, kind=kind, total=answered)
        terms["teachers"] = Term(loss, config.teacher_weight, rises=False)
    if target.mean_teacher is not None:
        taught = target.mean_teacher
        # Of all answers, not of the sure ones: where few are sure, little is learned.
        asked = torch.full_like(logits[0, 0], taught.known.numel())
        loss = label_loss(logits, taught.labels, taught.known, kind=kind, total=asked)
        terms["consistency"] = Term(loss, settings.consistency, rises=True)
    if settings.information:
        frequencies = mean_over_processes(probabilities_of(logits, kind).mean(0))
        loss = information_loss(logits, expected, kind=kind, frequencies=frequencies)
        terms["information"] = Term(loss, settings.information, rises=True)
    return terms


@torch.no_grad()
def signs_of_collapse(logits: Tensor, expected: Tensor, kind: TaskKind) -> dict[str, Tensor]:
    """Return figures of the answers on the target's faces to watch (``training/health.py``).

    Returns:
        target_entropy: mean entropy, 1 for answers that say nothing.
        target_shift: divergence of the batch's mean answers from the expected ones, in nats.
    """
    answers = logits.shape[1] if kind == "classes" else 2
    frequencies = mean_over_processes(probabilities_of(logits, kind).mean(0))
    return {
        "target_entropy": entropy(logits, kind).mean() / math.log(answers),
        "target_shift": frequency_distance(frequencies, expected, kind),
    }
