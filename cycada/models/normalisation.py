"""Batch normalisation over the batch of all processes, on any device."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce


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
