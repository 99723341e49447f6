"""The loop that both trainings share; it knows no model."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from cycada.stopping import Stopped, flagging_stops
from cycada.training.finite import NonFiniteError

Batch = TypeVar("Batch")
Scalars = Mapping[str, Tensor]


class Interrupted(Stopped):
    """Training was asked to stop, and has saved what it had."""


@dataclass(frozen=True, slots=True)
class Periodic:
    """Something to do every so many steps, and after the last one."""

    every: int
    act: Callable[[int], None]  # takes the number of steps made

    def is_due(self, number: int, total: int) -> bool:
        """Tell whether it is time after ``number`` of ``total`` steps."""
        return number % self.every == 0 or number == total


class Processes(NamedTuple):
    """How the processes that train together come to know what they must all know."""

    mean: Callable[[Tensor], Tensor]  # takes figures of this process, gives their means over all
    any: Callable[[bool], bool]
    """Takes whether this process was asked to stop, and tells whether any was: a signal may reach
    them at different steps, or one of them alone."""

    asked_every: int  # steps between two times that it is asked


def run(
    batches: Iterable[Batch],
    step: Callable[[Batch, int], Scalars],
    *,
    done: int,
    total: int,
    log: Callable[[int, dict[str, float], float], None],
    log_every: int,
    since_log: list[dict[str, float]],
    processes: Processes,
    periodic: Sequence[Periodic],
    on_stop: Callable[[int], None],
) -> None:
    """Train from step ``done`` to step ``total``.

    Args:
        batches: One batch per step, beginning with that of step ``done``.
        step: Makes one step (counted from 0) and returns its figures, still on the device.
        done: Steps made before.
        total: Steps to have been made at the end.
        log: Takes the number of steps made, the means of the figures since the last call, and the
            share of the steps' time for which this process waited for batches meanwhile, 0 to 1.
        log_every: Steps between two logs.
        since_log: Figures of each step since the last log, means over the processes. Whenever
            something else is called it holds those of all steps before; who saves them, and gives
            them back, has a training that goes on log what an uninterrupted one does.
        processes: All that train together; they must log the same figures.
        periodic: What else to do between steps, such as saving; in this order, after the log.
            None of it is done after a figure that is not finite.
        on_stop: Saves when Ctrl-C or SIGTERM has come.

    Raises:
        Interrupted: After Ctrl-C or SIGTERM.
        NonFiniteError: A figure is not finite.
    """
    recent: list[Scalars] = []
    waited = worked = 0.0  # seconds
    asked = time.perf_counter()
    with flagging_stops() as stop:
        try:
            for number, batch in enumerate(batches, start=done + 1):
                came = time.perf_counter()
                waited += came - asked
                recent.append(step(batch, number - 1))
                logs = number % log_every == 0 or number == total
                due = [task for task in periodic if task.is_due(number, total)]
                asks = number % processes.asked_every == 0
                stops = asks and processes.any(stop.number is not None)
                if logs or due or stops:
                    since_log += _over_processes(recent, processes.mean)
                    recent.clear()
                    means = _means(since_log, number)
                worked += time.perf_counter() - came
                if logs:
                    log(number, means, waited / (waited + worked))
                    since_log.clear()
                    waited = worked = 0.0
                for task in due:
                    task.act(number)
                if stops:
                    if number < total:  # the last step is saved already
                        on_stop(number)
                        # Until all have saved: the end of one ends all.
                        processes.any(False)  # noqa: FBT003
                    raise Interrupted(stop.number or signal.SIGTERM)
                asked = time.perf_counter()
        except NonFiniteError:
            # Who wants an end does not want the training to go back and on.
            if processes.any(stop.number is not None):
                raise Interrupted(stop.number or signal.SIGTERM) from None
            raise


def _over_processes(
    recent: Sequence[Scalars], mean: Callable[[Tensor], Tensor]
) -> list[dict[str, float]]:
    """Return the figures of each step, averaged over the processes; waits for the device once."""
    if not recent:
        return []
    mine = torch.stack([figure.float() for figures in recent for figure in figures.values()])
    values = iter(mean(mine).tolist())
    # Interned, for a training that goes on would else write other bytes for the same figures.
    return [{sys.intern(name): next(values) for name in figures} for figures in recent]


def _means(steps: Sequence[Mapping[str, float]], number: int) -> dict[str, float]:
    """Return the mean of each figure over the steps that have it."""
    names = dict.fromkeys(name for figures in steps for name in figures)
    means = {name: fmean(each[name] for each in steps if name in each) for name in names}
    for name, mean in means.items():
        if not math.isfinite(mean):
            raise NonFiniteError(f"{name} is {mean} before step {number}")
    return means
