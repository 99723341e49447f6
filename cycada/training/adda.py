"""ADDA: a target encoder against a domain classifier that knows a frozen source encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cycada.config import DetectorConfig
from cycada.losses.adversarial import confusion_loss, domain_accuracy, domain_loss
from cycada.models.detector import Detector
from cycada.training.launch import frozen, set_learning_rate
from cycada.training.optimizing import descend, mean_figures, rejoined
from cycada.training.schedule import cosine
from cycada.training.self_training import signs_of_collapse


@dataclass(slots=True)
class Adversary:
    """ADDA's other half: the frozen source encoder, and the domain classifier."""

    teacher: Detector
    domain: nn.Module
    optimizer: Any


def without_dropout(encoder: nn.Module) -> nn.Module:
    """Return ``encoder``, trained as it is used: only batch normalisation is in training mode.

    The frozen source encoder drops nothing, so what the target's drops would give it away: the
    domain classifier would learn to see dropout.
    """
    encoder.train()  # all but what is fixed
    for part in encoder.modules():
        part.training &= isinstance(part, nn.BatchNorm2d)
    return encoder


def adda_step(
    encoder: nn.Module,
    optimizer: Any,
    adversary: Adversary,
    source: Tensor,
    target: Tensor,
    *,
    step: int,
    expected: Tensor,
    config: DetectorConfig,
    accelerator: Accelerator,
) -> dict[str, Tensor]:
    """Improve the domain classifier, then, while it is good enough, the target encoder.

    The source encoder is frozen, and so is the head, which reads the features of both encoders
    (ADDA, Tzeng et al., CVPR 2017, section 4). The gate, ``healthy_from``, is CyCADA's: a poor
    classifier teaches nothing.

    Args:
        encoder: The target's, as prepared; changed in place.
        optimizer: The encoder's.
        adversary: Changed in place but for the teacher.
        source: ``(S, C, H, W)`` images in [-1, 1].
        target: ``(T, C, H, W)`` real thermal images in [-1, 1].
        step: Number of this step, from 0.
        expected: ``(A,)`` frequencies of the answers, to tell a collapse by.
        config: Settings.
        accelerator: Runs the backward passes.

    Returns:
        The unweighted terms; ``confusion`` only where the encoder learned.
    """
    dtype, teacher = source.dtype, adversary.teacher
    factor = cosine(step, total=config.steps)
    set_learning_rate(adversary.optimizer, factor)
    set_learning_rate(optimizer, factor)
    judge = accelerator.unwrap_model(adversary.domain)

    def judged(part: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[dict[str, Tensor], Tensor]]:
        source, target = part
        with torch.no_grad(), accelerator.autocast():
            features = torch.cat(
                (teacher.backbone(source), accelerator.unwrap_model(encoder)(target))
            ).to(dtype)
            logits = teacher.head(features).to(dtype)
        scores: Tensor = adversary.domain(features, logits)
        source_scores, target_scores = torch.split(scores, [len(source), len(target)])
        domain = domain_loss(source_scores, target_scores)
        accuracy = domain_accuracy(source_scores, target_scores)
        figures = {"domain": domain.detach(), "domain_accuracy": accuracy.detach()}
        return domain, (figures, logits[len(source) :])

    def confused(target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        target_features = encoder(target)
        with accelerator.autocast():
            said = judge(target_features, teacher.head(target_features))
            confusion = confusion_loss(said.to(dtype))
        return config.alignment.weight * confusion, {"confusion": confusion.detach()}

    told, target_logits = zip(
        *descend(
            adversary.optimizer, adversary.domain, judged, (source, target),
            clip_norm=config.clip_norm, accelerator=accelerator,
        ),
        strict=True,
    )  # fmt: skip
    figures = mean_figures(told)
    figures["domain_accuracy"] = accelerator.reduce(figures["domain_accuracy"], "mean")
    figures |= signs_of_collapse(rejoined(target_logits), expected, teacher.kind)
    if figures["domain_accuracy"] >= config.alignment.healthy_from:
        with frozen(judge):
            figures |= mean_figures(
                descend(
                    optimizer, encoder, confused, target, clip_norm=config.clip_norm,
                    accelerator=accelerator,
                )
            )  # fmt: skip
    return figures
