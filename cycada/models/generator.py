"""The translator's generator: residual blocks between two downsamplings and two upsamplings."""

from __future__ import annotations

from torch import Tensor, nn


def _convolution(channels: int, out: int, kernel: int, *, stride: int = 1) -> list[nn.Module]:
    """Reflect-padded convolution without bias (the normalisation would cancel it)."""
    return [
        nn.Conv2d(
            channels, out, kernel, stride, kernel // 2, padding_mode="reflect", bias=False
        ),
        nn.InstanceNorm2d(out, affine=True),
        nn.ReLU(inplace=True),
    ]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(channels, channels, 3), *_convolution(channels, channels, 3)[:-1]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to the same shape."""
        out: Tensor = x + self.layers(x)
        return out


class Generator(nn.Module):
    """ResNet generator (Johnson et al., ECCV 2016; CycleGAN, appendix 7.2).

    Instead of transposed convolutions, which leave checkerboards, the image grows by
    nearest-neighbour resizing followed by a convolution (Odena et al., Distill 2016).
    """

    def __init__(self, in_channels: int, out_channels: int, *, width: int, blocks: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(in_channels, width, 7),
            *_convolution(width, 2 * width, 3, stride=2),
            *_convolution(2 * width, 4 * width, 3, stride=2),
            *(ResidualBlock(4 * width) for _ in range(blocks)),
            nn.Upsample(scale_factor=2, mode="nearest"),
            *_convolution(4 * width, 2 * width, 3),
            nn.Upsample(scale_factor=2, mode="nearest"),
            *_convolution(2 * width, width, 3),
            nn.Conv2d(width, out_channels, 7, padding=3, padding_mode="reflect"),
            nn.Tanh(),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Translate ``(B, in_channels, H, W)`` in [-1, 1]; H and W are multiples of 4.

        Returns:
            ``(B, out_channels, H, W)`` in [-1, 1].
        """
        made: Tensor = self.layers(image)
        return made
