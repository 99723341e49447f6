"""The cores of a processor: threads that compute alone, and batches that are shared among them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

LONE_PIXELS = 256 * 256
"""Pixels of the largest image that a core computes alone."""

PIECE_PIXELS = 2 * 128 * 128
"""Pixels of the images that a network computes at a time; one may have more."""

_KEPT_BLOCK = 24 * 2**20  # bytes; glibc takes up to 32 MB for its threshold


def keep_what_is_freed() -> None:
    """Let threads keep the memory that a network's layers free, to be used by the next ones.

    glibc gives back what lies free beyond twice the largest block that was ever mapped by itself
    and freed (``M_TRIM_THRESHOLD`` in mallopt(3)), and the system clears each page of what it is
    asked for again. Such a block is mapped here and freed, but never written to, so it takes no
    memory. With other allocators nothing changes.
    """
    torch.empty(_KEPT_BLOCK, dtype=torch.uint8, device="cpu")


@contextmanager
def lone_threads(count: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool whose threads compute alone, each on one core.

    PyTorch would share every picture between all cores, from each thread again: a picture is too
    small for that, and the network needs them. As with :func:`cycada.stopping.threads`, nothing
    more is begun when the block is left by an exception.
    """
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, initializer=_compute_alone)
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
        # Of which process, how many threads, and these: one value, for several threads may look.
        self._held: tuple[int, int, ThreadPoolExecutor] | None = None

    def __reduce__(self) -> tuple[type[Cores], tuple[()]]:
        """Copy as one that has no threads yet."""
        return Cores, ()

    def in_pieces(self, compute: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        """Return what ``compute`` makes of a batch; on processors a core takes a piece at a time.

        What a network holds of one piece stays in the cache, and no core waits for another after
        every layer. Pieces depend on the batch alone, and each is computed by one core even where
        others are idle: sums over a piece depend on how many cores share it. Only an image of more
        than :data:`LONE_PIXELS` is given to all.

        Args:
            compute: Maps ``(B, C, H, W)`` to ``(B, ...)``, each image by itself. It is called by
                other threads, which know nothing of this one's ``torch.no_grad``.
            batch: Images, where they are computed.
        """
        if batch.device.type != "cpu":
            return compute(batch)
        area, cores = math.prod(batch.shape[-2:]), torch.get_num_threads()
        pieces = torch.split(batch, images_in_a_piece(area))
        if cores == 1 or area > LONE_PIXELS:
            return torch.cat([compute(piece) for piece in pieces])
        made: list[Future[Tensor]] = []
        try:
            pool = self._threads(cores)
            for piece in pieces:
                made.append(pool.submit(compute, piece))
            return torch.cat([each.result() for each in made])
        finally:
            for each in made:
                each.cancel()  # what has not begun, if another failed
            torch.set_num_threads(cores)  # new threads set what later ones of any kind begin with

    def _threads(self, cores: int) -> ThreadPoolExecutor:
        """Return the threads; where callers make them at once, each has threads that it can use."""
        held, process = self._held, os.getpid()  # one that was forked has no thread of another
        if held is None or held[:2] != (process, cores):
            pool = ThreadPoolExecutor(cores, "cores", initializer=_compute_alone)
            self._held = held = (process, cores, pool)
        return held[2]


def images_in_a_piece(area: int) -> int:
    """Return how many images of so many pixels a core is given at a time."""
    return max(1, PIECE_PIXELS // area)


def _compute_alone() -> None:
    torch.get_num_threads()  # else the first operation would take over what another thread has set
    torch.set_num_threads(1)
