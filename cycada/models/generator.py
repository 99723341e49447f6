"""The translator's generator: residual blocks between two downsamplings and two upsamplings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812

from cycada import images
from cycada.config import GeneratorConfig
from cycada.models.normalisation import InstanceNorm2d, has_channels_last

WIDE = 7  # px
_STRIP = 64  # rows of an image


def make_generator(config: GeneratorConfig, in_channels: int, out_channels: int) -> nn.Module:
    """Return the network of the settings for one direction, with freshly drawn weights.

    It maps ``(B, in_channels, H, W)`` in [-1, 1] to ``(B, out_channels, H, W)`` in [-1, 1] for all
    sides that are multiples of 4. How to add one is told in ``docs/tutorials/add-your-own.md``.

    Args:
        config: Settings with no 0 left (:func:`cycada.models.build.chosen_generator`).
        in_channels: 3 for RGB, 1 for thermal images.
        out_channels: The same.
    """
    return Generator(
        in_channels, out_channels, width=config.width, blocks=config.blocks, skips=config.skips
    )


def _convolution(channels: int, out: int, kernel: int, *, stride: int = 1) -> list[nn.Module]:
    """Convolution without bias (the normalisation would cancel it), normalisation, ReLU.

    The widest kernels, which shape the border, reflect the image there, as in the paper; the
    others pad with zeros, which makes a step a sixth cheaper.
    """
    padding: Literal["reflect", "zeros"] = "reflect" if kernel >= WIDE else "zeros"
    return _normalised(
        nn.Conv2d(channels, out, kernel, stride, kernel // 2, padding_mode=padding, bias=False)
    )


def _normalised(layer: nn.Conv2d) -> list[nn.Module]:
    return [
        layer, InstanceNorm2d(layer.out_channels, affine=True, inplace=True), nn.ReLU(inplace=True)
    ]  # fmt: skip


class EnlargingConvolution(nn.Conv2d):
    """Nearest-neighbour resizing to double size, then a 3x3 convolution, as one convolution.

    Each output pixel sees only 2 x 2 different pixels, whose weights are sums of the kernel's;
    which ones depends on whether its row and column are even or odd. So four 2x2 kernels on the
    small image give the same as one 3x3 kernel on the large one, with four ninths of the products.
    """

    taps: Tensor

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, 3, padding=1, bias=False)
        # Even rows see one row above and twice their own; odd ones twice their own and one below.
        taps = torch.tensor([[[1.0, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
        self.register_buffer("taps", taps, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` to ``(B, out, 2H, 2W)``; the border is padded with zeros."""
        kernels = torch.einsum("oikl,pak,qbl->pqoiab", self.weight, self.taps, self.taps)
        every = F.conv2d(image, kernels.flatten(0, 2), padding=1)
        if has_channels_last(every):
            interleaved: Tensor = _Interleaved.apply(every)
            return interleaved
        (batch, _, height, width), out = image.shape, self.out_channels
        parts = every.reshape(batch, 2, 2, out, height + 1, width + 1)
        rows = [
            torch.stack([parts[:, p, q, :, p : p + height, q : q + width] for q in (0, 1)], dim=-1)
            for p in (0, 1)
        ]
        return torch.stack(rows, dim=-3).reshape(batch, out, 2 * height, 2 * width)


class _Interleaved(torch.autograd.Function):
    """The last step of an enlarging convolution, for images with their channels last.

    What PyTorch derives for it copies every part as a whole, forward and backward.
    """

    @staticmethod
    def forward(ctx: Any, every: Tensor) -> Tensor:
        batch, channels, tall, wide = every.shape
        ctx.shape = every.shape
        made = torch.empty(
            (batch, channels // 4, 2 * tall - 2, 2 * wide - 2), dtype=every.dtype,
            device=every.device, memory_format=torch.channels_last,
        )  # fmt: skip
        for large, small in _places(made, every):
            large.copy_(small)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        every = torch.empty(
            ctx.shape, dtype=gradient.dtype, device=gradient.device,
            memory_format=torch.channels_last,
        ).zero_()  # fmt: skip
        for large, small in _places(gradient, every):
            small.copy_(large)
        return every


def _places(large: Tensor, every: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the pixels of even and odd rows and columns, and the parts that they are made of."""
    (height, width), out = every.shape[-2:], every.shape[1] // 4
    for p, q in itertools.product((0, 1), (0, 1)):
        start = (2 * p + q) * out
        part = every[:, start : start + out, p : p + height - 1, q : q + width - 1]
        yield large[:, :, p::2, q::2], part


class NarrowingConvolution(nn.Conv2d):
    """A wide kernel that makes few channels, the border reflected.

    A processor computes 16 or 32 channels of output at a time, however few there are. So with the
    channels last, each column of the kernel makes channels of its own, which are then shifted into
    place and added: as many products, and a kernel of 7 x 7 that makes one channel takes a seventh
    of the time. The sum is in float32 under autocast, too.
    """

    def __init__(self, channels: int, out: int, kernel: int) -> None:
        super().__init__(channels, out, kernel, padding=kernel // 2, padding_mode="reflect")

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` to ``(B, out, H, W)``."""
        autocast = torch.is_autocast_enabled(image.device.type)
        dtype = image.dtype if autocast else self.weight.dtype
        if image.device.type != "cpu" or not has_channels_last(image):
            return super().forward(image.to(dtype))
        around = F.pad(image, self._reversed_padding_repeated_twice, mode="reflect")
        height, reach = image.shape[-2], self.kernel_size[0] - 1
        # In float32 a whole image of so many channels would be most of what a pass holds.
        strip = height if torch.is_grad_enabled() else _STRIP
        return torch.cat(
            [
                self._by_columns(around[:, :, top : top + strip + reach].to(dtype))
                for top in range(0, height, strip)
            ],
            dim=2,
        )

    def _by_columns(self, around: Tensor) -> Tensor:
        """Map ``(B, channels, H + border, W + border)`` to ``(B, out, H, W)``."""
        bias: Tensor = self.bias  # type: ignore[assignment]
        columns = self.kernel_size[1]
        width = around.shape[-1] - columns + 1
        kernels = self.weight.permute(3, 0, 1, 2).flatten(0, 1)[..., None]
        every = F.conv2d(around, kernels)
        every = every.view(len(around), columns, -1, *every.shape[-2:])
        if every.dtype == torch.bfloat16:
            every = every.float()
        made: Tensor = bias.view(-1, 1, 1) + every[:, 0, :, :, :width]
        for column in range(1, columns):
            made = made + every[:, column, :, :, column : column + width]
        return made


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
    """ResNet generator (Johnson et al., ECCV 2016; CycleGAN, appendix 7.2) with long shortcuts.

    Three things differ from the paper. The network sees the image's amplified fine detail beside
    it (:func:`cycada.images.fine_detail`). The image grows by nearest-neighbour resizing followed
    by a convolution (Odena et al., Distill 2016), because transposed convolutions leave
    checkerboards.
    And ``skips`` adds the features from before each downsampling to those after the matching
    upsampling, as in a U-Net (Ronneberger et al., MICCAI 2015), so that lids and creases need not
    pass through the coarse middle.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, width: int, blocks: int, skips: bool
    ) -> None:
        super().__init__()
        self.skips = skips
        self.enter = nn.Sequential(*_convolution(2 * in_channels, width, 7))
        self.down = nn.Sequential(*_convolution(width, 2 * width, 3, stride=2))
        self.middle = nn.Sequential(
            *_convolution(2 * width, 4 * width, 3, stride=2),
            *(ResidualBlock(4 * width) for _ in range(blocks)),
        )
        self.up_to_half = nn.Sequential(*_normalised(EnlargingConvolution(4 * width, 2 * width)))
        self.up_to_full = nn.Sequential(*_normalised(EnlargingConvolution(2 * width, width)))
        self.out = nn.Sequential(NarrowingConvolution(width, out_channels, WIDE), nn.Tanh())

    def forward(self, image: Tensor) -> Tensor:
        """Translate ``(B, in_channels, H, W)`` in [-1, 1]; H and W are multiples of 4.

        Returns:
            ``(B, out_channels, H, W)`` in [-1, 1].
        """
        x = self.enter(torch.cat((image, images.fine_detail(image)), dim=1))
        full = x if self.skips else None
        x = self.down(x)
        half = x if self.skips else None
        x = self.up_to_half(self.middle(x))
        x = self.up_to_full(x if half is None else x + half)
        return self._image(x if full is None else x + full)

    def _image(self, features: Tensor) -> Tensor:
        """Return the image; once trained, in the precision of the weights under autocast, too.

        bfloat16 keeps 8 bits of a number. An image made in it has some 2,000 different values, and
        near the ends of a window of 20 deg C steps of 40 mK, which show as bands in smooth skin;
        with this layer in float32 it has as many values as one made in float32 all through. While
        training nobody looks at them, and it would take a sixth of a step.
        """
        if self.training:
            trained: Tensor = self.out(features)
            return trained
        with torch.autocast(features.device.type, enabled=False):
            made: Tensor = self.out(features)
        return made
