"""The semantic term, and the copy of the RGB detector that learns to read translations for it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cycada import images
from cycada.config import TranslatorConfig
from cycada.losses.action_units import semantic_loss
from cycada.models.cycle import Translation
from cycada.models.detector import Detection, Detector
from cycada.training.launch import frozen


def make_follower(
    detector: Detector, config: TranslatorConfig, accelerator: Accelerator
) -> tuple[nn.Module, Any]:
    """Return a copy of ``detector`` that learns, and its optimizer.

    It stays in evaluation mode: a few faces make poor batch statistics.
    """
    copied = copy.deepcopy(detector).requires_grad_(True)  # noqa: FBT003
    adam = torch.optim.Adam(copied.parameters(), lr=config.follower_learning_rate)
    follower, optimizer = accelerator.prepare(copied, adam)
    return follower, optimizer


def semantic_term(
    made: Translation,
    rgb: Tensor,
    thermal: Tensor,
    *,
    detector: Detector,
    follower: nn.Module | None,
    config: TranslatorConfig,
    accelerator: Accelerator,
) -> Tensor:
    """Return CyCADA's equation 4: what a detector says, before and after, both ways.

    In the paper the frozen RGB detector judges all four images, also the thermal ones, which it
    cannot read. With a follower each image is judged by the detector of its own domain.
    """
    thermal_judge = detector if follower is None else accelerator.unwrap_model(follower)
    with accelerator.autocast():
        with torch.no_grad():
            rgb_before = _logits(detector, rgb)
            thermal_before = _logits(thermal_judge, thermal)
        if follower is None:
            thermal_after = _logits(detector, made.thermal)
        else:
            with frozen(thermal_judge):
                thermal_after = _logits(thermal_judge, made.thermal)
        rgb_after = _logits(detector, made.rgb)
    return semantic_loss(thermal_after, rgb_before, config.pseudo_labels) + semantic_loss(
        rgb_after, thermal_before, config.pseudo_labels
    )


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
    with torch.no_grad(), accelerator.autocast():
        before = _logits(detector, rgb)
    said: Detection = follower(images.with_channels(made, detector.channels))
    loss = semantic_loss(said.logits.to(before.dtype), before, config.pseudo_labels)
    optimizer.zero_grad()
    accelerator.backward(loss)
    optimizer.step()
    return loss


def _logits(detector: nn.Module, pictures: Tensor) -> Tensor:
    said: Detection = detector(images.with_channels(pictures, detector.channels))  # type: ignore[arg-type]
    return said.logits.to(pictures.dtype)
