"""Threads that prepare what comes next and put away what is done while a network computes.

Threads suffice: decoders, encoders and PyTorch let go of Python's lock while they work.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

PIECE_PIXELS = 256 * 256
"""Pixels of the images that a network is shown at a time by one core of a processor."""

S = TypeVar("S")
T = TypeVar("T")


@contextmanager
def lone_threads(count: int | None = None, *, cores: int = 1) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool whose threads compute alone, each on one core or as many as are given.

    PyTorch would share every picture between all cores, from each thread again: a picture is too
    small for that, and the network needs them. As with :func:`cycada.stopping.threads`, nothing
    more is begun when the block is left by an exception.
    """
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(cores,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


@contextmanager
def by_cores(
    compute: Callable[[Tensor], Tensor], device: torch.device, *, most: int
) -> Iterator[Callable[[Tensor], Tensor]]:
    """Yield what computes batches as ``compute`` does, but on a processor a piece on each core.

    What a network holds of one piece stays in a core's cache, and no core waits for another after
    every layer. Pieces depend on the batch alone, and not on how many cores there are.

    Args:
        compute: Maps ``(B, C, H, W)`` to ``(B, ...)``, each image by itself.
        device: Where it computes.
        most: Images in the largest batch.
    """
    if device.type != "cpu":
        yield compute
        return
    cores = torch.get_num_threads()
    count = min(cores, most)
    with lone_threads(count, cores=cores // count) as pool:

        def shared(batch: Tensor) -> Tensor:
            pieces = torch.split(batch, max(1, PIECE_PIXELS // math.prod(batch.shape[-2:])))
            if len(pieces) == 1:
                return compute(batch)
            return torch.cat(list(pool.map(compute, pieces)))

        yield shared


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[S], T], items: Iterable[S], *, ahead: int
) -> Iterator[T]:
    """Yield what ``work`` makes of the items, in their order; the pool is ``ahead`` items ahead.

    ``ahead`` bounds the memory: beside the one that is yielded no more are made or being made.
    """
    waiting: deque[Future[T]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
