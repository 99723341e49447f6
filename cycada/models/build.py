"""Networks from settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from cycada.config import DetectorConfig, GeneratorConfig, TranslatorConfig
from cycada.errors import ConfigError
from cycada.models.cycle import Discriminators, Generators
from cycada.models.detector import Detector
from cycada.task import Task

LARGE_IMAGE = 256
"""Side in px from which CycleGAN uses nine residual blocks instead of six (appendix 7.2)."""


PAPER_WIDTH = 64
FACES_WIDTH, FACES_BLOCKS = 24, 6
"""The cheapest generator that keeps Action Units as well as the paper's (docs/performance.md)."""


class _Undrawn(TorchFunctionMode):
    """Lets PyTorch's layers, which take what they hold from ``torch.empty``, hold nothing."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        elsewhere = {"device": "meta"} if func is torch.empty else {}
        return func(*args, **{**(kwargs or {}), **elsewhere})


@contextmanager
def undrawn() -> Iterator[None]:
    """Within this block, build networks whose weights are neither held nor drawn.

    Those that are loaded afterwards take their place. Drawing them takes longer than loading, and
    what held them would stay with the process. Buffers, of which some are constants that no file
    holds, are as they are. Other threads build as ever.
    """
    with _Undrawn():
        yield


def build_generators(config: TranslatorConfig) -> Generators:
    """Return both generators with freshly drawn weights (N(0, 0.02), CycleGAN section 4)."""
    return Generators(chosen_generator(config))


def chosen_generator(config: TranslatorConfig) -> GeneratorConfig:
    """Return the settings of the generators with no 0 left: the default, or the paper's network.

    A stated width without blocks has the paper's, as in the versions before there was a default.
    """
    stated = config.generator
    paper = stated.width > 0 or not stated.skips
    blocks = (6 if config.size < LARGE_IMAGE else 9) if paper else FACES_BLOCKS
    return replace(
        stated,
        width=stated.width or (FACES_WIDTH if stated.skips else PAPER_WIDTH),
        blocks=stated.blocks or blocks,
    )


def build_discriminators(config: TranslatorConfig) -> Discriminators:
    """Return both discriminators with freshly drawn weights."""
    return Discriminators(width=config.discriminator.width, layers=config.discriminator.layers)


def build_detector(
    config: DetectorConfig,
    *,
    channels: int,
    task: Task,
    pretrained: str | None = None,
    landmarks: Sequence[str] = (),
) -> Detector:
    """Return a detector for ``channels`` input channels and the answers of ``task``.

    ``pretrained`` overrides the setting, for a detector whose weights are loaded right after.
    ``landmarks`` names the points that a network of regions finds, the eyes' corners among them.
    """
    return Detector(
        config.backbone,
        channels=channels,
        outputs=len(task),
        width=config.width,
        pretrained=config.pretrained if pretrained is None else pretrained,
        view=config.view,
        kind=task.kind,
        landmarks=landmarks,
    )


def check_size(config: TranslatorConfig) -> None:
    """Refuse a size that the networks cannot work at.

    Raises:
        ConfigError: ``size`` is no multiple of 4, or leaves the discriminator a single patch or
            the RGB cycle a few blocks.
    """
    if config.size % 4:
        raise ConfigError(f"size must be a multiple of 4, found {config.size}.")
    layers = config.discriminator.layers
    if config.size // 2**layers < 3:  # its last two layers take one each
        raise ConfigError(
            f"size {config.size} is too small for discriminator.layers {layers}, which needs "
            f"{3 * 2**layers} px; choose fewer layers."
        )
    if config.rgb_cycle_block > config.size // 4:
        raise ConfigError(
            f"rgb_cycle_block {config.rgb_cycle_block} leaves nearly no colours of an image of "
            f"{config.size} px to compare; choose at most {config.size // 4}."
        )
