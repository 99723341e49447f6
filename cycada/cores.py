"""The cores of a processor: threads that compute alone, and batches that are shared among them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock

import torch
from torch import Tensor

PIECE_PIXELS = 256 * 256
"""Pixels of the images that a processor is given at a time."""

_MOST_THREADS = 32


@contextmanager
def lone_threads(count: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool whose threads compute alone, each on one core; by default one for each core.

    PyTorch would share every picture between all cores, from each thread again: a picture is too
    small for that, and the network needs them. As with :func:`cycada.stopping.threads`, nothing
    more is begun when the block is left by an exception.
    """
    before = torch.get_num_threads()
    count = count or min(os.cpu_count() or 1, _MOST_THREADS)
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        try:
            pool.shutdown(cancel_futures=True)
        finally:  # a second Ctrl-C ends the waiting
            torch.set_num_threads(before)


class Cores:
    """Shares a network's batches among the cores, by threads that stay from batch to batch.

    What a thread has held stays with it to be used again (glibc's arenas): with new threads for
    each batch, a folder of images took a tenth more memory.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._kind = (0, 0, 0)  # of which process, how many threads, and on how many cores each

    def __reduce__(self) -> tuple[type[Cores], tuple[()]]:
        """Copy as one that has no threads yet."""
        return Cores, ()

    def in_pieces(self, compute: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        """Return what ``compute`` makes of a batch; on processors a core takes a piece at a time.

        What a network holds of one piece stays in the cache, and no core waits for another after
        every layer. Pieces depend on the batch alone, and not on how many cores there are.

        Args:
            compute: Maps ``(B, C, H, W)`` to ``(B, ...)``, each image by itself. It is called by
                other threads, which know nothing of this one's ``torch.no_grad``.
            batch: Images, where they are computed.
        """
        if batch.device.type != "cpu":
            return compute(batch)
        pieces = torch.split(batch, max(1, PIECE_PIXELS // math.prod(batch.shape[-2:])))
        cores = torch.get_num_threads()
        count = min(cores, len(pieces))
        if count <= 1:
            return torch.cat([compute(piece) for piece in pieces])
        made: list[Future[Tensor]] = []
        try:
            with self._lock:
                pool = self._threads(count, cores // count)
                made += [pool.submit(compute, piece) for piece in pieces]
            return torch.cat([each.result() for each in made])
        finally:
            for each in made:
                each.cancel()  # what has not begun, if another failed
            torch.set_num_threads(cores)  # new threads set what later ones of any kind begin with

    def _threads(self, count: int, cores: int) -> ThreadPoolExecutor:
        kind = (os.getpid(), count, cores)  # a process that was forked has no thread of another
        if self._pool is None or kind != self._kind:
            if self._pool is not None and kind[0] == self._kind[0]:
                self._pool.shutdown(wait=False)  # others may wait for what it was given
            self._kind = kind
            self._pool = ThreadPoolExecutor(
                count, "cores", initializer=torch.set_num_threads, initargs=(cores,)
            )
        return self._pool
