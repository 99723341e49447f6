"""The patch discriminator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cycada import images
from cycada.models.normalisation import InstanceNorm2d


class Discriminator(nn.Module):
    """PatchGAN (Isola et al., CVPR 2017): one score per overlapping patch.

    Beside the image it sees the image's amplified fine detail, the difference from its local
    mean: an AU shows in a face's temperature as some tenths of a degree, a few per cent of the
    range, where the outline of the head spans all of it.

    With 3 strided layers a score sees 74 x 74 px, with 2 it sees 38, with 1 it sees 20: 4 px more
    than the paper's networks, which is what the window of the fine detail reaches beyond.
    """

    def __init__(self, channels: int, *, width: int, layers: int) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(2 * channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        here = width
        for depth in range(1, layers + 1):
            there = width * min(2**depth, 8)
            stride = 2 if depth < layers else 1
            parts += [
                nn.Conv2d(here, there, 4, stride, 1, bias=False),
                InstanceNorm2d(there, affine=True),
                nn.LeakyReLU(0.2),
            ]
            here = there
        parts.append(nn.Conv2d(here, 1, 4, 1, 1))
        self.layers = nn.Sequential(*parts)

    def forward(self, image: Tensor) -> Tensor:
        """Judge ``(B, C, H, W)`` in [-1, 1]; returns ``(B, 1, h, w)`` scores, high for real."""
        scores: Tensor = self.layers(torch.cat((image, images.fine_detail(image)), dim=1))
        return scores
