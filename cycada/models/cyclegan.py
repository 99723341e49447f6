"""The paper's generator as it is, for weights that were trained with other code.

CycleGAN (Zhu et al., ICCV 2017), appendix 7.2, after Johnson et al. (ECCV 2016):
``c7s1-k, d2k, d4k, R4k x blocks, u2k, uk, c7s1-out`` with reflection padding, instance
normalisation that learns nothing, and convolutions with bias. Its widely used PyTorch code keeps
the layers in one ``Sequential`` called ``model``, padding and activations among them, and those of
a residual block in one called ``conv_block``. The names of weights here are the same, so a state
dict of that code is loaded as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from cycada import images
from cycada.models.cycle import RGB_CHANNELS, THERMAL_CHANNELS
from cycada.models.normalisation import InstanceNorm2d


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleGANShape:
    """How large the network of one direction is."""

    channels: int  # of the images that it was trained on: 1 or 3
    out_channels: int  # of those that it makes: 1 or 3
    width: int  # channels of the first layer
    blocks: int  # residual blocks


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; nothing bends the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1), *_normalised(nn.Conv2d(channels, channels, 3)),
            nn.ReflectionPad2d(1), *_normalised(nn.Conv2d(channels, channels, 3))[:-1],
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to the same shape."""
        out: Tensor = x + self.conv_block(x)
        return out


class CycleGANGenerator(nn.Module):
    """One direction, between images of our channels, whichever the network itself has.

    A network for grey images is shown the luminance of RGB ones; of what it makes in three
    channels for a thermal image, the luminance is taken.
    """

    def __init__(self, shape: CycleGANShape, *, made_channels: int) -> None:
        """Draw weights at random; they are to be loaded.

        Args:
            shape: Of the network.
            made_channels: Of the images that :meth:`forward` returns.
        """
        super().__init__()
        self.channels, self.made_channels = shape.channels, made_channels
        width = shape.width
        self.model = nn.Sequential(
            nn.ReflectionPad2d(3), *_normalised(nn.Conv2d(shape.channels, width, 7)),
            *_normalised(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)),
            *_normalised(nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1)),
            *(_Block(4 * width) for _ in range(shape.blocks)),
            *_normalised(_enlarging(4 * width, 2 * width)),
            *_normalised(_enlarging(2 * width, width)),
            nn.ReflectionPad2d(3), nn.Conv2d(width, shape.out_channels, 7), nn.Tanh(),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        """Translate ``(B, 1 or 3, H, W)`` in [-1, 1]; H and W are multiples of 4, from 8 px on.

        Returns:
            ``(B, made_channels, H, W)`` in [-1, 1].
        """
        made = self.model(images.with_channels(image, self.channels))
        return images.with_channels(made, self.made_channels)


class CycleGANGenerators(nn.Module):
    """Both directions of a translator, or the one into thermal alone."""

    to_rgb: CycleGANGenerator | None

    def __init__(self, to_thermal: CycleGANShape, to_rgb: CycleGANShape | None) -> None:
        super().__init__()
        self.shapes = (to_thermal, to_rgb)
        self.to_thermal = CycleGANGenerator(to_thermal, made_channels=THERMAL_CHANNELS)
        self.to_rgb = (
            None if to_rgb is None else CycleGANGenerator(to_rgb, made_channels=RGB_CHANNELS)
        )

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` makes such networks of, for ``about.json``."""
        to_thermal, to_rgb = self.shapes
        return {"to_thermal": asdict(to_thermal), "to_rgb": to_rgb and asdict(to_rgb)}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any], *, back: bool = True) -> CycleGANGenerators:
        """Return networks of noted shapes, with weights to be loaded; without ``back`` only one."""
        shape = facts["to_rgb"] if back else None
        return cls(CycleGANShape(**facts["to_thermal"]), shape and CycleGANShape(**shape))


def _normalised(layer: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [layer, InstanceNorm2d(layer.out_channels), nn.ReLU(inplace=True)]


def _enlarging(channels: int, out: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, out, 3, stride=2, padding=1, output_padding=1)
