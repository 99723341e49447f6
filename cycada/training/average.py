"""Exponential moving average of weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, *, decay: float, step: int) -> None:
    """Move the averaged weights towards those of ``module`` after step ``step`` (from 1).

    The decay starts small, ``(1 + step) / (10 + step)``, so that the random first weights are
    soon forgotten. Buffers, such as running statistics, are copied.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    slow: list[Tensor] = list(average.parameters())
    fast: list[Tensor] = list(module.parameters())
    torch._foreach_lerp_(slow, fast, share)
    kinds: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    for there, here in zip(average.buffers(), module.buffers(), strict=True):
        averages, newest = kinds.setdefault(there.dtype, ([], []))
        averages.append(there)
        newest.append(here)
    for averages, newest in kinds.values():
        torch._foreach_copy_(averages, newest)
