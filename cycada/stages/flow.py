"""Threads that prepare what comes next and put away what is done while a network computes.

Threads suffice: decoders, encoders and PyTorch let go of Python's lock while they work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[S], T], items: Iterable[S], *, ahead: int
) -> Iterator[T]:
    """Yield what ``work`` makes of the items, in their order; the pool is ``ahead`` items ahead.

    ``ahead`` bounds the memory: beside the one that is yielded no more are made or being made. If
    the items break off, what was made of those before is yielded before the error is raised.
    """
    waiting: deque[Future[T]] = deque()
    broken: Exception | None = None
    coming = iter(items)
    while True:
        try:
            item = next(coming)
        except StopIteration:
            break
        except Exception as error:  # noqa: BLE001 - raised below, in its place
            broken = error
            break
        waiting.append(pool.submit(work, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
    if broken is not None:
        raise broken
