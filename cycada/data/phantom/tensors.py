"""Rows of tensors that are taken and joined together, and the profiles that masks are made of."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor
    from typing_extensions import Self


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """A dataclass whose fields are tensors with one common leading dimension."""

    def __len__(self) -> int:
        """Return the number of rows."""
        first: Tensor = getattr(self, dataclasses.fields(self)[0].name)
        return len(first)

    def take(self, indices: Tensor | Sequence[int]) -> Self:
        """Return the rows at ``indices``, in that order; an index may come again."""
        at = torch.as_tensor(indices, dtype=torch.long)
        return self._map(lambda value: value.index_select(0, at))

    def slice(self, start: int, stop: int) -> Self:
        """Return rows ``start`` to ``stop`` without copying."""
        return self._map(lambda value: value[start:stop])

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        fields = dataclasses.fields(self)
        return type(self)(**{each.name: change(getattr(self, each.name)) for each in fields})


def column(value: Tensor) -> Tensor:
    """Return ``(N,)`` as ``(N, 1, 1)``, to be broadcast over an image."""
    return value.reshape(-1, 1, 1)


def bump(offset: Tensor, width: Tensor | float) -> Tensor:
    """Return a bell that is 1 at offset 0 and 0.34 at ``width``."""
    scaled = offset / width
    return _bell(scaled.mul_(scaled))


def spot(across: Tensor, along: Tensor) -> Tensor:
    """Return a round bell of two offsets given in units of its widths."""
    return _bell(across * across + along * along)


def _bell(square: Tensor) -> Tensor:
    # (1 - x/8)^8 is close to exp(-x), three times as fast, and ends in exact zeros: the tails of
    # exp are denormal numbers, which slow every later multiplication tenfold.
    base = square.mul_(-0.125).add_(1).clamp_(min=0)
    base.mul_(base)
    base.mul_(base)
    return base.mul_(base)


def step(offset: Tensor, width: Tensor | float) -> Tensor:
    """Return a smooth step from 0 to 1 about offset 0."""
    part = (offset / (1.5 * width)).add_(0.5).clamp_(0, 1)
    return (3 - 2 * part).mul_(part).mul_(part)


def cover(depth: Tensor, pixel: Tensor) -> Tensor:
    """Return how much of a pixel lies inside an outline, ``depth`` cm (negative: outside)."""
    return (depth / pixel + 0.5).clamp(0, 1)


def ridges(phase: Tensor) -> Tensor:
    """Return thin parallel lines, 1 at every whole ``phase`` and 0 between."""
    wave = 0.5 + 0.5 * torch.cos(phase * (2 * torch.pi))
    squared = wave * wave
    return squared * squared
