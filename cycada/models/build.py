"""Networks from settings."""

from __future__ import annotations

from cycada.config import DetectorConfig, TranslatorConfig
from cycada.models.cycle import Discriminators, Generators
from cycada.models.detector import Detector

LARGE_IMAGE = 256
"""Side in px from which CycleGAN uses nine residual blocks instead of six (appendix 7.2)."""


def build_generators(config: TranslatorConfig) -> Generators:
    """Return both generators with freshly drawn weights (N(0, 0.02), CycleGAN section 4)."""
    blocks = config.generator.blocks or (6 if config.size < LARGE_IMAGE else 9)
    return Generators(width=config.generator.width, blocks=blocks, skips=config.generator.skips)


def build_discriminators(config: TranslatorConfig) -> Discriminators:
    """Return both discriminators with freshly drawn weights."""
    return Discriminators(width=config.discriminator.width, layers=config.discriminator.layers)


def build_detector(
    config: DetectorConfig, *, channels: int, outputs: int, pretrained: str | None = None
) -> Detector:
    """Return a detector for ``channels`` input channels and ``outputs`` AUs.

    ``pretrained`` overrides the setting, for a detector whose weights are loaded right after.
    """
    return Detector(
        config.backbone,
        channels=channels,
        outputs=outputs,
        width=config.width,
        pretrained=config.pretrained if pretrained is None else pretrained,
        view=config.view,
    )
