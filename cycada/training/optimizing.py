"""One optimizer step of a player, on a batch that may be gone through in portions.

A batch that does not fit into memory at once is gone through in portions (``accumulate``), whose
gradients add up to that of the whole batch. Of Accelerate's own mechanism this uses the setting,
the division of the loss and ``no_sync``. It does not use ``Accelerator.accumulate``, which counts
the batches of one loader to tell when its one player steps: here several players step in a fixed
order within a step, each after all portions, and a loss that is not finite may end a step between
two of them, after which the count would be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cycada.config import DetectorConfig
from cycada.training.finite import backward

Part = TypeVar("Part")
Result = TypeVar("Result")


def descend(
    optimizer: Any,
    module: nn.Module,
    loss_of: Callable[[Part], tuple[Tensor, Result]],
    batch: Part,
    *,
    clip_norm: float = 0.0,
    accelerator: Accelerator,
) -> list[Result]:
    """Make one step down the mean gradient of the losses of all portions of a batch.

    Args:
        optimizer: Of ``module``.
        module: As prepared; ``loss_of`` calls it once.
        loss_of: Takes a portion and returns its loss, and what else is to be known of it, which
            should hold no graph. The mean of the losses must be the loss of the whole batch.
        batch: This process's part of the batch: what :func:`portions` takes.
        clip_norm: Largest norm of the gradient; 0 does not clip.
        accelerator: Divides each loss by the number of portions; joins the processes once.

    Returns:
        What ``loss_of`` told of each portion.
    """
    parts = portions(batch, accelerator.gradient_accumulation_steps)
    optimizer.zero_grad()
    told = []
    for number, part in enumerate(parts, start=1):
        last = number == len(parts)
        with nullcontext() if last else accelerator.no_sync(module):
            loss, result = loss_of(part)
            backward(loss, accelerator)
        told.append(result)
    if clip_norm:
        accelerator.clip_grad_norm_(module.parameters(), clip_norm)
    optimizer.step()
    return told


def portions(batch: Part, count: int) -> list[Part]:
    """Cut a batch into ``count`` portions, the first of which has the lanes 0, count, 2 count, ...

    So each has its share of the labelled target faces, which come last in a batch.

    Args:
        batch: A tensor with one row per lane, ``None``, or a tuple of such.
        count: Divides the number of lanes.
    """
    return [_each(lambda rows, first=first: rows[first::count], batch) for first in range(count)]


def rejoined(parts: Sequence[Part]) -> Part:
    """Return the batch that :func:`portions` has cut into ``parts``."""
    if len(parts) == 1:
        return parts[0]
    joined: Part = _each(lambda *rows: torch.stack(rows, 1).flatten(0, 1), *parts)
    return joined


def mean_figures(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of each figure over the portions, which all have the same ones."""
    if len(parts) == 1:
        return parts[0]
    return {name: torch.stack([each[name] for each in parts]).mean(0) for name in parts[0]}


def known_per_portion(known: Tensor, dtype: torch.dtype, accelerator: Accelerator) -> Tensor:
    """Return how many places of a batch are known, as a mean over processes and portions.

    A portion's sum of losses divided by it is such that the mean over all portions of all
    processes is the mean over the known places of the whole batch.
    """
    mine = accelerator.reduce(known.sum().to(dtype), "mean")
    mean: Tensor = mine / accelerator.gradient_accumulation_steps
    return mean


def adam(config: DetectorConfig, *players: tuple[nn.Module, float]) -> torch.optim.AdamW:
    """Return AdamW over the players, each with its own ``base`` learning rate."""
    groups = [
        {"params": list(module.parameters()), "lr": rate, "base": rate} for module, rate in players
    ]
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def _each(act: Callable[..., Tensor], first: Any, *others: Any) -> Any:
    """Return ``first`` with ``act`` of each of its tensors and those at the same place in others.

    A place that holds no tensor stays as it is.
    """
    if isinstance(first, Tensor):
        return act(first, *others)
    if isinstance(first, tuple):
        parts = [_each(act, *places) for places in zip(first, *others, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    return first
