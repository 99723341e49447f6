"""The cores of a processor: threads that compute alone, and batches that are shared among them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

PIECE_PIXELS = 256 * 256
"""Pixels of the images that a processor is given at a time."""


@contextmanager
def lone_threads(count: int | None = None, *, cores: int = 1) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool whose threads compute alone, each on one core or on as many as are given.

    PyTorch would share every picture between all cores, from each thread again: a picture is too
    small for that, and the network needs them. As with :func:`cycada.stopping.threads`, nothing
    more is begun when the block is left by an exception.
    """
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(cores,))
    try:
        yield pool
    finally:
        try:
            pool.shutdown(cancel_futures=True)
        finally:  # a second Ctrl-C ends the waiting
            torch.set_num_threads(before)


def in_pieces(compute: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """Return what ``compute`` makes of a batch; on a processor a core computes a piece at a time.

    What a network holds of one piece stays in the cache, and no core waits for another after every
    layer. Pieces depend on the batch alone, and not on how many cores there are.

    Args:
        compute: Maps ``(B, C, H, W)`` to ``(B, ...)``, each image by itself. It is called by other
            threads, which know nothing of this one's ``torch.no_grad``.
        batch: Images, where they are computed.
    """
    if batch.device.type != "cpu":
        return compute(batch)
    pieces = torch.split(batch, max(1, PIECE_PIXELS // math.prod(batch.shape[-2:])))
    cores = torch.get_num_threads()
    count = min(cores, len(pieces))
    if count <= 1:
        return torch.cat([compute(piece) for piece in pieces])
    # This thread computes, too: what it held before is used again, as another's would not be.
    with lone_threads(count - 1, cores=cores // count) as pool:
        torch.set_num_threads(cores // count)  # until the pool ends
        others = [piece for number, piece in enumerate(pieces) if number % count]
        elsewhere = pool.map(compute, others)
        own = [compute(piece) for piece in pieces[::count]]
        return torch.cat(list(_merged(own, elsewhere, count)))


def _merged(own: Sequence[Tensor], others: Iterator[Tensor], count: int) -> Iterator[Tensor]:
    """Yield one of ``own`` before each ``count - 1`` of the others."""
    for mine in own:
        yield mine
        yield from itertools.islice(others, count - 1)
