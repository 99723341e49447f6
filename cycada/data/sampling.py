"""Order and randomness as functions of (seed, step, lane), so that resuming is exact.

A *lane* is the place of an image in the global batch, the batch over all processes. Whatever is
random depends on the lane and not on the process, so N processes draw what one would.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


def generator(*key: int | str) -> torch.Generator:
    """Return a generator seeded by a hash of ``key``, such as ``(seed, "flip", step)``."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@dataclass(frozen=True, slots=True)
class Share:
    """The part of the global batch that one process works on: lanes ``first`` to ``last - 1``."""

    lanes: int  # images in the global batch
    first: int
    last: int

    @property
    def size(self) -> int:
        """Number of lanes of this process."""
        return self.last - self.first

    def of(self, drawn: Tensor) -> Tensor:
        """Return this process's rows of something drawn for all lanes, ``(lanes, ...)``."""
        return drawn[self.first : self.last]


def share(lanes: int, *, rank: int, processes: int) -> Share:
    """Divide the lanes of the global batch evenly.

    Raises:
        ValueError: ``processes`` does not divide ``lanes``.
    """
    size, rest = divmod(lanes, processes)
    if rest:
        raise ValueError(f"{lanes} images per step cannot be shared evenly by {processes}")
    return Share(lanes, rank * size, (rank + 1) * size)


class Order:
    """Which images step ``n`` sees: epoch after epoch, each in a fresh random order."""

    def __init__(self, images: int, lanes: int, *, seed: int, stream: str) -> None:
        """Order ``images`` images for steps of ``lanes``; ``stream`` tells two orders apart."""
        self.images, self.lanes, self.seed, self.stream = images, lanes, seed, stream
        self._epoch, self._permutation = -1, torch.empty(0, dtype=torch.long)

    def __call__(self, step: int) -> Tensor:
        """Return the ``(lanes,)`` image numbers of step ``step`` (counted from 0)."""
        places = range(step * self.lanes, (step + 1) * self.lanes)
        return torch.stack([self._at(place) for place in places])

    def _at(self, place: int) -> Tensor:
        epoch, position = divmod(place, self.images)
        if epoch != self._epoch:  # a cache of the last permutation, not state
            draw = generator(self.seed, "order", self.stream, epoch)
            self._epoch, self._permutation = epoch, torch.randperm(self.images, generator=draw)
        return self._permutation[position]
