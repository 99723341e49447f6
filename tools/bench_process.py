"""Opponents in processes of their own, which ``bench.py`` asks to make rounds in turn."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import bench_machine
import bench_opponents
import torch
from bench_opponents import Opponent, Spec

if TYPE_CHECKING:
    from typing_extensions import Self

_ENOUGH_WARMING = 10.0  # seconds on a processor; a GPU warms up by rounds
_WARMING_ROUNDS = {"cpu": 3, "cuda": 20}


class PartFailedError(Exception):
    """An opponent could not be built or measured; the message says why."""


def _serve(spec: Spec, pipe: Connection) -> None:
    """Build the opponent, then do what comes through the pipe until it is None."""
    _print_to_standard_error()
    try:
        opponent = bench_opponents.build(spec)
        clock = device_clock(spec.device if spec.part in ("train", "detector_step") else "cpu")
        _forget_peak()
        pipe.send(("done", opponent.precision))
        while (asked := pipe.recv()) is not None:
            pipe.send(("done", _answer(opponent, clock, spec, *asked)))
    except BaseException as error:  # noqa: BLE001  # the other side of the pipe tells it
        traceback.print_exc()
        pipe.send(("failed", f"{type(error).__name__}: {error}".splitlines()[0]))


@contextlib.contextmanager
def _seeing(device: str) -> Iterator[None]:
    """Let a process that is started within the block see the GPU, or not, from its first line."""
    name = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(name)
    if device == "cpu":
        os.environ[name] = ""
    try:
        yield
    finally:
        if before is not None:
            os.environ[name] = before
        elif device == "cpu":
            del os.environ[name]


def _print_to_standard_error() -> None:
    """Keep standard output for the result."""
    os.dup2(2, 1)


def _warm(
    opponent: Opponent, clock: Callable[[Callable[[], Any], int], float], spec: Spec
) -> float:
    began = time.perf_counter()
    rounds = _WARMING_ROUNDS[spec.device] if spec.part in ("train", "detector_step") else 1
    seconds = 0.0
    for _ in range(rounds):
        seconds = clock(opponent.round, 1)
        if spec.device == "cpu" and time.perf_counter() - began > _ENOUGH_WARMING:
            break
    return seconds


def _answer(
    opponent: Opponent,
    clock: Callable[[Callable[[], Any], int], float],
    spec: Spec,
    command: str,
    value: Any,
) -> Any:
    if command == "warm":
        return _warm(opponent, clock, spec)
    if command == "strict":
        torch.backends.cudnn.allow_tf32 = not value
        return None
    if command == "time":
        return clock(opponent.round, value)
    if command == "profile":
        return bench_machine.profile(opponent.round, value, device=spec.device)
    return peak_mb(spec.device)


def device_clock(device: str) -> Callable[[Callable[[], Any], int], float]:
    """Return what measures the mean seconds of some rounds, by the device's own clock."""

    def by_processor(act: Callable[[], Any], rounds: int) -> float:
        began = time.perf_counter()
        for _ in range(rounds):
            act()
        return (time.perf_counter() - began) / rounds

    def by_events(act: Callable[[], Any], rounds: int) -> float:
        start, end = (_event() for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        for _ in range(rounds):
            act()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end)) / 1000 / rounds

    return by_events if device == "cuda" else by_processor


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def peak_mb(device: str) -> float:
    """Return the most memory in MB that this process has held: of the GPU, or resident.

    Where Linux tells, since the opponent was built: what it reads may have been made by it.
    """
    if device == "cuda":
        return torch.cuda.max_memory_reserved() / 2**20
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the process held that started this one
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) / 2**10
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def _forget_peak() -> None:
    with contextlib.suppress(OSError):  # other systems have no such file
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


class Process:
    """An opponent in its process; use it in a ``with`` block, which ends it."""

    def __init__(self, spec: Spec, *, patience: Callable[[], float]) -> None:
        """Start building; ``patience`` returns for how many seconds more it may work."""
        context = multiprocessing.get_context("spawn")
        self.spec, self._patience = spec, patience
        self._pipe, end = context.Pipe()
        self._process = context.Process(target=_serve, args=(spec, end))
        with _seeing(spec.device):
            self._process.start()
        end.close()

    def built(self) -> str:
        """Wait until it is built; returns the precision in which it multiplies.

        Raises:
            PartFailedError: It failed, died or took too long.
        """
        return str(self._wait())

    def ask(self, command: str, value: Any = None) -> Any:
        """Return its answer to ``warm``, ``time`` (rounds), ``strict``, ``memory`` or ``profile``.

        ``warm`` makes the first rounds and returns the seconds of the last of them; ``time``
        returns the mean seconds of a round.

        Raises:
            PartFailedError: It failed, died or took too long.
        """
        self._pipe.send((command, value))
        return self._wait()

    def _wait(self) -> Any:
        name = f"{self.spec.side} of {self.spec.part}"
        try:
            if not self._pipe.poll(max(self._patience(), 1.0)):
                self._process.kill()
                raise PartFailedError(f"{name}: not done in time")
            kind, value = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            raise PartFailedError(f"{name}: the process died ({self._process.exitcode})") from None
        if kind == "failed":
            raise PartFailedError(f"{name}: {value}")
        return value

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._process.is_alive():
            with contextlib.suppress(OSError):
                self._pipe.send(None)
            self._process.join(10)
            self._process.kill()
        self._process.join()
        self._pipe.close()


def alone(act: Callable[..., Any], *arguments: Any, device: str, patience: float) -> Any:
    """Return what ``act`` returns in a process of its own.

    Raises:
        PartFailedError: It failed, died or took too long.
    """
    context = multiprocessing.get_context("spawn")
    pipe, end = context.Pipe()
    process = context.Process(target=_act, args=(end, act, arguments))
    with _seeing(device):
        process.start()
    end.close()
    try:
        if not pipe.poll(patience):
            raise PartFailedError(f"{act.__name__}: not done in time")
        kind, value = pipe.recv()
    except (EOFError, OSError):
        raise PartFailedError(f"{act.__name__}: the process died") from None
    finally:
        process.kill()
        process.join()
    if kind == "failed":
        raise PartFailedError(f"{act.__name__}: {value}")
    return value


def _act(pipe: Connection, act: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    _print_to_standard_error()
    try:
        pipe.send(("done", act(*arguments)))
    except BaseException as error:  # noqa: BLE001  # the other side of the pipe tells it
        traceback.print_exc()
        pipe.send(("failed", f"{type(error).__name__}: {error}".splitlines()[0]))
