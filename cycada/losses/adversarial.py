"""Adversarial losses on patch scores and domain scores."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cycada.losses.self_training import entropy
from cycada.task import TaskKind

Kind = Literal["least_squares", "hinge"]


def generator_loss(made: Tensor, kind: Kind) -> Tensor:
    """Return how far the generator is from fooling the discriminator, averaged over patches.

    Args:
        made: Discriminator scores of made images, any shape.
        kind: ``least_squares``: ``(D - 1)^2`` (LSGAN, Mao et al., ICCV 2017, equation 9);
            ``hinge``: ``-D`` (Lim & Ye, 2017).
    """
    return (made - 1).square().mean() if kind == "least_squares" else -made.mean()


def discriminator_loss(real: Tensor, made: Tensor, kind: Kind) -> Tensor:
    """Return the discriminator's loss, the mean of its errors on real and on made images.

    Args:
        real: Scores of real images.
        made: Scores of made images.
        kind: ``least_squares``: real to 1 and made to 0; ``hinge``: margins at +1 and -1.
    """
    if kind == "least_squares":
        return ((real - 1).square().mean() + made.square().mean()) / 2
    return (torch.relu(1 - real).mean() + torch.relu(1 + made).mean()) / 2


def domain_loss(
    source: Tensor,
    target: Tensor,
    *,
    weights: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return the domain classifier's binary cross-entropy; the domains count alike.

    Args:
        source: ``(S,)`` scores of source features.
        target: ``(T,)`` scores of target features, high when recognised as target.
        weights: ``(S,)`` and ``(T,)``, how much each face counts, with a mean of 1 in each domain
            (:func:`certainty_weights`); ``None`` counts all alike.
    """
    here, there = F.softplus(source), F.softplus(-target)
    if weights is not None:
        here, there = here * weights[0], there * weights[1]
    return (here.mean() + there.mean()) / 2


def certainty_weights(logits: Tensor, kind: TaskKind) -> Tensor:
    """Return ``(B,)`` weights ``1 + exp(-H)``, scaled to a mean of 1 (CDAN+E, equation 8).

    Faces that the detector is sure of are aligned first. H is the entropy of the answer in nats;
    of Action Units, so that their number does not matter, the mean entropy per AU.

    Args:
        logits: ``(B, A)``; no gradient flows into them.
        kind: Action Units or classes.
    """
    weight = 1 + torch.exp(-entropy(logits.detach(), kind))
    return weight / weight.mean()


def confusion_loss(target: Tensor) -> Tensor:
    """Return ADDA's encoder loss: target features should pass for source (equation 7).

    Args:
        target: ``(T,)`` scores of target features, high when recognised as target.
    """
    return F.softplus(target).mean()


def domain_accuracy(source: Tensor, target: Tensor) -> Tensor:
    """Return the share of features whose domain was recognised, both domains counting alike."""
    return ((source < 0).float().mean() + (target > 0).float().mean()) / 2
