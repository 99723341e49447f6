"""Threads that prepare what comes next and put away what is done while a network computes.

Threads suffice: decoders, encoders and PyTorch let go of Python's lock while they work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

S = TypeVar("S")
T = TypeVar("T")


@contextmanager
def lone_threads(count: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool whose threads compute alone, each on one core.

    PyTorch would share every picture between all cores, from each thread again: a picture is too
    small for that, and the network needs them. As with :func:`cycada.stopping.threads`, nothing
    more is begun when the block is left by an exception.
    """
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


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
