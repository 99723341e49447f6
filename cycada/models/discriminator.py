"""The patch discriminator."""

from __future__ import annotations

from torch import Tensor, nn


class Discriminator(nn.Module):
    """PatchGAN (Isola et al., CVPR 2017): one score per overlapping patch.

    With 3 strided layers a score sees 70 x 70 px, with 2 it sees 34, with 1 it sees 16.
    """

    def __init__(self, channels: int, *, width: int, layers: int) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        here = width
        for depth in range(1, layers + 1):
            there = width * min(2**depth, 8)
            stride = 2 if depth < layers else 1
            parts += [
                nn.Conv2d(here, there, 4, stride, 1, bias=False),
                nn.InstanceNorm2d(there, affine=True),
                nn.LeakyReLU(0.2),
            ]
            here = there
        parts.append(nn.Conv2d(here, 1, 4, 1, 1))
        self.layers = nn.Sequential(*parts)

    def forward(self, image: Tensor) -> Tensor:
        """Judge ``(B, C, H, W)`` in [-1, 1]; returns ``(B, 1, h, w)`` scores, high for real."""
        scores: Tensor = self.layers(image)
        return scores
