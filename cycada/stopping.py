"""Ctrl-C and SIGTERM: an exception where work stands still, a flag where no step is cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_SHELL = 128  # shells report a process that a signal ended as this plus the signal's number


class Stopped(KeyboardInterrupt):
    """This process was asked to stop, by a signal that need not be that of Ctrl-C."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        """Take the number of the signal."""
        super().__init__(number)
        self.number = number


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return what shells report of a process that was stopped so: 130 or 143."""
    return _SHELL + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)


def _raise(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)


def raise_on_sigterm() -> None:
    """Let SIGTERM raise :class:`Stopped` from here on, as Ctrl-C raises `KeyboardInterrupt`."""
    signal.signal(signal.SIGTERM, _raise)


def ignore_sigterm() -> None:
    """Let SIGTERM do nothing from here on, in a process that is about to end by itself.

    Raised while Python ends it would be told as a traceback.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def raising_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise :class:`Stopped` within the block, where this is the main thread."""
    if not _in_main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    raise_on_sigterm()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(slots=True)
class StopFlag:
    """The signal that came first, if one did."""

    number: int | None = None


@contextmanager
def flagging_stops() -> Iterator[StopFlag]:
    """Turn Ctrl-C and SIGTERM into a flag within the block.

    A second Ctrl-C is somebody's who will not wait, and raises. A second SIGTERM is not: a
    scheduler sends it to all processes, and their parent passes it on.
    """
    flag = StopFlag()
    if not _in_main_thread():
        yield flag
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        if flag.number is None:
            flag.number = number
        elif number == signal.SIGINT:
            raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def holding_stops() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the block has ended.

    Raises:
        Stopped: At its end, if one came.
    """
    with flagging_stops() as flag:
        yield
    if flag.number is not None:
        raise Stopped(flag.number)


@contextmanager
def threads(count: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of threads that begins nothing more when the block is left by an exception.

    The standard one would first do all that was mapped, so that Ctrl-C waited for the end.
    """
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
