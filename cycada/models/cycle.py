"""Both generators and both discriminators, each pair as one module for one forward per step."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cycada.config import GeneratorConfig
from cycada.models.discriminator import Discriminator
from cycada.models.generator import make_generator

RGB_CHANNELS = 3
THERMAL_CHANNELS = 1


class Translation(NamedTuple):
    """What the generators make of one batch; every image is ``(B, C, H, W)`` in [-1, 1]."""

    thermal: Tensor  # thermal version of the RGB images
    rgb: Tensor  # RGB version of the thermal images
    rgb_again: Tensor  # RGB -> thermal -> RGB
    thermal_again: Tensor  # thermal -> RGB -> thermal
    thermal_same: Tensor | None  # thermal images through the RGB-to-thermal generator
    rgb_same: Tensor | None  # RGB images through the thermal-to-RGB generator


class Judgement(NamedTuple):
    """Patch scores of real and made images of both domains, high for real."""

    real_rgb: Tensor
    made_rgb: Tensor
    real_thermal: Tensor
    made_thermal: Tensor


class Generators(nn.Module):
    """The two directions of the translator."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.to_thermal = make_generator(config, RGB_CHANNELS, THERMAL_CHANNELS)
        self.to_rgb = make_generator(config, THERMAL_CHANNELS, RGB_CHANNELS)

    def forward(
        self,
        rgb: Tensor,
        thermal: Tensor,
        thermal_as_rgb: Tensor | None,
        rgb_as_thermal: Tensor | None,
    ) -> Translation:
        """Translate both batches there and back.

        Instance normalisation treats every image alone, so images share a pass freely.

        Args:
            rgb: ``(B, 3, H, W)``.
            thermal: ``(B, 1, H, W)``.
            thermal_as_rgb: ``thermal`` with three channels, for the identity term, or ``None``.
            rgb_as_thermal: ``rgb`` with one channel, for the identity term, or ``None``.
        """
        made_thermal, thermal_same = _joined(self.to_thermal, rgb, thermal_as_rgb)
        made_rgb, rgb_same = _joined(self.to_rgb, thermal, rgb_as_thermal)
        return Translation(
            thermal=made_thermal,
            rgb=made_rgb,
            rgb_again=self.to_rgb(made_thermal),
            thermal_again=self.to_thermal(made_rgb),
            thermal_same=thermal_same,
            rgb_same=rgb_same,
        )


class ToThermal(nn.Module):
    """One direction of the translator alone, for use; its weights have the names of both."""

    to_rgb = None

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.to_thermal = make_generator(config, RGB_CHANNELS, THERMAL_CHANNELS)


class Discriminators(nn.Module):
    """One patch discriminator per domain."""

    def __init__(self, *, width: int, layers: int) -> None:
        super().__init__()
        self.rgb = Discriminator(RGB_CHANNELS, width=width, layers=layers)
        self.thermal = Discriminator(THERMAL_CHANNELS, width=width, layers=layers)

    def forward(
        self, real_rgb: Tensor, made_rgb: Tensor, real_thermal: Tensor, made_thermal: Tensor
    ) -> Judgement:
        """Judge real and made images of both domains, each ``(B, C, H, W)``."""
        rgb = self.rgb(torch.cat((real_rgb, made_rgb)))
        thermal = self.thermal(torch.cat((real_thermal, made_thermal)))
        return Judgement(
            *rgb.split((len(real_rgb), len(made_rgb))),
            *thermal.split((len(real_thermal), len(made_thermal))),
        )


def _joined(
    network: nn.Module, images: Tensor, others: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    if others is None:
        return network(images), None
    first, second = network(torch.cat((images, others))).split((len(images), len(others)))
    return first, second
