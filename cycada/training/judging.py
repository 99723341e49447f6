"""The semantic term, and the network beside the generators that learns to judge for it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cycada import images
from cycada.config import TranslatorConfig
from cycada.losses.labels import label_loss, semantic_loss
from cycada.models.cycle import Translation
from cycada.models.detector import Detection, Detector
from cycada.models.regions import RegionBackbone
from cycada.training.examples import Examples, Labelled
from cycada.training.launch import frozen
from cycada.training.optimizing import descend, known_per_portion

_JOINT_LEARNING_RATE = 1e-3  # CyCADA's released code, with CycleGAN's moments
_JOINT_BETAS = (0.5, 0.999)


class Readers(NamedTuple):
    """The fixed detectors that say what is in an image."""

    rgb: Detector
    thermal: Detector | None  # of a thermal domain that it has adapted to, where there is one
    labels: Examples | None  # of the RGB images, for a judge that is trained jointly


def make_learner(
    readers: Readers, config: TranslatorConfig, accelerator: Accelerator
) -> tuple[nn.Module, Any] | None:
    """Return the judge that learns beside the generators, and its optimizer; or ``None``.

    A follower begins as a copy of the RGB detector. A joint judge begins from random weights.
    Both stay in evaluation mode: a few faces make poor batch statistics.
    """
    if config.semantic_judge == "frozen" or readers.thermal is not None:
        return None
    learner = copy.deepcopy(readers.rgb).requires_grad_(True)  # noqa: FBT003
    kept: set[nn.Module] = set()
    if isinstance(learner.backbone, RegionBackbone):
        learner.backbone.fix_finder()  # no landmarks are at hand here
        kept = set(learner.backbone.finder.modules())
    if config.semantic_judge == "joint":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            for part in learner.modules():
                if isinstance(part, nn.Conv2d | nn.Linear | nn.BatchNorm2d) and part not in kept:
                    part.reset_parameters()
    learning = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    if config.semantic_judge == "joint":
        adam = torch.optim.Adam(learning, lr=_JOINT_LEARNING_RATE, betas=_JOINT_BETAS)
    else:
        adam = torch.optim.Adam(learning, lr=config.follower_learning_rate)
    prepared, optimizer = accelerator.prepare(learner, adam)
    return prepared, optimizer


def semantic_term(
    made: Translation,
    rgb: Tensor,
    thermal: Tensor,
    *,
    readers: Readers,
    learner: nn.Module | None,
    labelled: Labelled | None,
    annotated: Tensor | None = None,
    config: TranslatorConfig,
    accelerator: Accelerator,
) -> Tensor:
    """Return CyCADA's equation 4: what a detector says, before and after, both ways.

    In the paper the frozen RGB detector judges all four images, also the thermal ones, which it
    cannot read well (``frozen``). The authors' released code judges all four by a classifier that
    is trained along on the labelled RGB images, whose labels also take the place of its answers
    on them (``joint``). Else each image is judged by a detector of its own domain: a copy of the
    RGB detector that learns to read translations (``following``), or a detector that has been
    adapted to thermal faces (``thermal_detector``).

    Args:
        made: Of both batches.
        rgb: ``(B, 3, S, S)`` in [-1, 1].
        thermal: ``(B, 1, S, S)`` in [-1, 1].
        readers: Frozen detectors.
        learner: From :func:`make_learner`.
        labelled: The RGB images with their labels, for a joint judge.
        annotated: Number of labels to divide by where these images are a part of a batch, from
            :func:`cycada.training.optimizing.known_per_portion`; ``None`` counts them here.
        config: Settings.
        accelerator: Half precision.
    """
    kind, keep = readers.rgb.kind, config.pseudo_labels
    own = learner if learner is None else accelerator.unwrap_model(learner)
    reads_thermal: nn.Module = own or readers.thermal or readers.rgb
    reads_rgb: nn.Module = own if own is not None and labelled is not None else readers.rgb
    with frozen(reads_thermal), accelerator.autocast():
        with torch.no_grad():
            thermal_before = _logits(reads_thermal, thermal)
        thermal_after = _logits(reads_thermal, made.thermal)
        rgb_after = _logits(reads_rgb, made.rgb)
        if labelled is None:
            with torch.no_grad():
                rgb_before = _logits(reads_rgb, rgb)
            there = semantic_loss(thermal_after, rgb_before, kind=kind, keep=keep)
        else:
            there = label_loss(
                thermal_after, labelled.labels, labelled.known, kind=kind, total=annotated
            )
    return there + semantic_loss(rgb_after, thermal_before, kind=kind, keep=keep)


def teach_follower(
    follower: nn.Module,
    optimizer: Any,
    *,
    detector: Detector,
    rgb: Tensor,
    made: Tensor,
    config: TranslatorConfig,
    accelerator: Accelerator,
) -> Tensor:
    """Teach the follower to say of the translations what the RGB detector says of the originals.

    Args:
        follower: Changed in place.
        optimizer: The follower's.
        detector: Frozen.
        rgb: ``(B, 3, S, S)`` originals in [-1, 1].
        made: ``(B, 1, S, S)`` their translations, without gradient.
        config: Settings.
        accelerator: Runs the backward pass.

    Returns:
        The loss before the step.
    """

    def loss_of(part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        rgb, made = part
        with torch.no_grad(), accelerator.autocast():
            before = _logits(detector, rgb)
        said: Detection = follower(images.with_channels(made, detector.channels))
        loss = semantic_loss(
            said.logits.to(before.dtype), before, kind=detector.kind, keep=config.pseudo_labels
        )
        return loss, loss.detach()

    return _mean(descend(optimizer, follower, loss_of, (rgb, made), accelerator=accelerator))


def teach_joint_judge(
    judge: nn.Module, optimizer: Any, *, labelled: Labelled, detector: Detector,
    accelerator: Accelerator,
) -> Tensor:  # fmt: skip
    """Teach the joint judge the labels of the RGB images, as CyCADA's released code does.

    Args:
        judge: Changed in place.
        optimizer: The judge's.
        labelled: RGB images in [-1, 1] with their labels.
        detector: Says how many channels it takes, and what kind of answers it gives.
        accelerator: Runs the backward pass.

    Returns:
        The loss before the step, the mean over all processes.
    """
    dtype = labelled.images.dtype
    annotated = known_per_portion(labelled.known, dtype, accelerator)

    def loss_of(part: Labelled) -> tuple[Tensor, Tensor]:
        said: Detection = judge(images.with_channels(part.images, detector.channels))
        loss = label_loss(
            said.logits.to(dtype), part.labels, part.known, kind=detector.kind, total=annotated
        )
        return loss, loss.detach()

    loss = _mean(descend(optimizer, judge, loss_of, labelled, accelerator=accelerator))
    mean: Tensor = accelerator.reduce(loss, "mean")
    return mean


def _mean(losses: Sequence[Tensor]) -> Tensor:
    return losses[0] if len(losses) == 1 else torch.stack(list(losses)).mean()


def _logits(detector: nn.Module, pictures: Tensor) -> Tensor:
    said: Detection = detector(images.with_channels(pictures, detector.channels))  # type: ignore[arg-type]
    return said.logits.to(pictures.dtype)
