"""The loop that both trainings share; it knows no model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from cycada.errors import RunError
from cycada.stopping import Stopped, flagging_stops

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


def run(
    batches: Iterable[Batch],
    step: Callable[[Batch, int], Scalars],
    *,
    done: int,
    total: int,
    log: Callable[[int, dict[str, float]], None],
    log_every: int,
    over_processes: Callable[[Tensor], Tensor],
    periodic: Sequence[Periodic],
    on_stop: Callable[[int], None] | None,
) -> None:
    """Train from step ``done`` to step ``total``.

    Args:
        batches: One batch per step, beginning with that of step ``done``.
        step: Makes one step (counted from 0) and returns its figures, still on the device.
        done: Steps made before.
        total: Steps to have been made at the end.
        log: Takes the number of steps made and the means of the figures since the last call.
        log_every: Steps between two logs.
        over_processes: Takes figures of this process and returns their means over all of them,
            which must log the same figures.
        periodic: What else to do between steps, such as saving; in this order, after the log.
        on_stop: Saves when Ctrl-C or SIGTERM comes between two steps. ``None`` with several
            processes, which the signal may reach at different steps.

    Raises:
        Interrupted: After Ctrl-C or SIGTERM.
        RunError: A figure is not finite.
    """
    recent: list[Scalars] = []
    with flagging_stops() as stop:
        for number, batch in enumerate(batches, start=done + 1):
            recent.append(step(batch, number - 1))
            if number % log_every == 0 or number == total:
                log(number, _means(recent, number, over_processes))
                recent.clear()
            for task in periodic:
                if task.is_due(number, total):
                    task.act(number)
            if stop.number is not None:
                if on_stop is not None and number < total:  # the last step is saved already
                    on_stop(number)
                raise Interrupted(stop.number)


def _means(
    recent: Sequence[Scalars], number: int, over_processes: Callable[[Tensor], Tensor]
) -> dict[str, float]:
    """Return the mean of each figure over the steps that have it; waits for the device once."""
    names = list(dict.fromkeys(name for figures in recent for name in figures))
    mine = torch.stack(
        [
            torch.stack([figures[name].float() for figures in recent if name in figures]).mean()
            for name in names
        ]
    )
    means = over_processes(mine).tolist()
    for name, mean in zip(names, means, strict=True):
        if not math.isfinite(mean):
            raise RunError(
                f"{name} is {mean} before step {number}; the last checkpoint is kept. Lower "
                "learning_rate, or set mixed_precision=no, and start a new run."
            )
    return dict(zip(names, means, strict=True))
