"""Normalisations: over the batch of all processes, and of each image whatever its layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce

_WHILE_TRAINING = True  # by the statistics of this image
_FEW = 8  # images, up to which one after the other is faster than copying all


class InstanceNorm2d(nn.InstanceNorm2d):
    """Instance normalisation (Ulyanov et al., 2016) that keeps the memory layout of its input.

    PyTorch's copies an image with its channels last into the other layout. On a processor the
    kernel of batch normalisation, which does not, computes the same of a batch of one image. That
    of group normalisation would be faster, but takes the variance from the mean square, which is
    of no use for an image of little contrast.
    """

    def __init__(self, channels: int, *, affine: bool = False, inplace: bool = False) -> None:
        """Make the layer; ``inplace`` lets it overwrite what it is given where nothing is learned.

        The larger images are, the more of a pass's time and memory another copy of them takes.
        """
        super().__init__(channels, affine=affine)
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)``."""
        suits = x.device.type == "cpu" and has_channels_last(x) and 0 < len(x) <= _FEW
        if not suits or self.track_running_stats:
            return super().forward(x)
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if not self.affine:
            weight, bias = x.new_ones(x.shape[1]), x.new_zeros(x.shape[1])
        if self.inplace and not torch.is_grad_enabled():
            return _overwritten(x, weight, bias, self.eps)
        made: Tensor = _ChannelsLast.apply(x, weight, bias, self.eps)
        return made


def _overwritten(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalise images with their channels last where they are."""
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    for image in torch.split(x, 1):
        mean, inverse = (torch.empty(0, dtype=wide) for _ in range(2))
        torch.ops.aten.native_batch_norm.out(
            image, weight, bias, None, None, _WHILE_TRAINING, 0.0, eps,
            out=image, save_mean=mean, save_invstd=inverse,
        )  # fmt: skip
    return x


class _ChannelsLast(torch.autograd.Function):
    """Instance normalisation on a processor, with the channels last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        made, means, inverses = zip(
            *(
                torch.native_batch_norm(image, weight, bias, None, None, _WHILE_TRAINING, 0.0, eps)
                for image in torch.split(x, 1)
            ),
            strict=True,
        )
        ctx.save_for_backward(x, weight, torch.stack(means), torch.stack(inverses))
        ctx.eps = eps
        return _joined(made)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, means, inverses = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        images, weights, biases = zip(
            *(
                torch.ops.aten.native_batch_norm_backward(
                    upstream, image, weight, None, None, mean, inverse,
                    *(_WHILE_TRAINING, ctx.eps, [True, True, True]),
                )
                for upstream, image, mean, inverse in zip(
                    torch.split(gradient, 1), torch.split(x, 1), means, inverses, strict=True
                )
            ),
            strict=True,
        )  # fmt: skip
        return _joined(images), sum(weights[1:], weights[0]), sum(biases[1:], biases[0]), None


def _joined(images: Sequence[Tensor]) -> Tensor:
    return images[0] if len(images) == 1 else torch.cat(list(images))


def has_channels_last(x: Tensor) -> bool:
    """Tell whether ``(B, C, H, W)`` lies in memory with its channels last, and only so."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation with the statistics of the whole batch (Ioffe & Szegedy, ICML 2015).

    While training on N processes, each normalises by the mean and variance over all of them, so
    that N processes compute what one does. PyTorch's ``SyncBatchNorm`` does so on GPUs alone.
    Every process must hold as many images as the others.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)``."""
        if not (self.training and _several_processes()):
            return super().forward(x)
        processes = distributed.get_world_size()
        wide = x.double() if x.dtype == torch.float64 else x.float()
        moments = torch.stack((wide.mean((0, 2, 3)), wide.square().mean((0, 2, 3))))
        total: Tensor = all_reduce(moments)  # type: ignore[no-untyped-call]
        mean, square = torch.unbind(total / processes)
        variance = (square - mean.square()).clamp(min=0)
        self._remember(mean.detach(), variance.detach(), x.numel() // x.shape[1] * processes)
        shape = (1, -1, 1, 1)
        normal = (wide - mean.view(shape)) * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        out: Tensor = normal.to(x.dtype)
        return out

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            return
        unbiased = variance * (count / max(count - 1, 1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def share_batch_norm(module: nn.Module) -> None:
    """Turn every ``BatchNorm2d`` inside ``module`` into one shared by all processes, in place."""
    for part in module.modules():
        if type(part) is nn.BatchNorm2d:
            part.__class__ = SharedBatchNorm2d


def _several_processes() -> bool:
    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )
