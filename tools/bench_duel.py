"""Opponents that make rounds in turn, and what is said of the seconds that they took."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench_opponents import Backbone, Configuration, Spec
from bench_process import PartFailedError, Process

from cycada.files import replacing

_FEWEST = 3  # alternations, even where the budget is used up
_STRICT = "textbook, strict"
_ROUND_SECONDS = {"cpu": 1.0, "cuda": 0.5}  # of steps that are timed together
_FEWEST_ROUNDS = {"cpu": 1, "cuda": 5}
_OVERRUN, _GRACE = 0.5, 30.0  # share of a budget, and seconds, after it when a part is given up


@dataclass(slots=True, kw_only=True)
class Bench:
    """What is measured, and the result so far."""

    device: str
    alternations: int
    budgets: Mapping[str, float]  # seconds for each part
    most: float  # seconds for all of it
    configurations: Sequence[Configuration]
    backbones: Sequence[Backbone]
    translated: Configuration
    images: int  # in the folder to translate
    read: int  # images in the folder to detect in
    profiled: bool
    scratch: Path
    out: Path | None
    result: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    deadline: float = 0.0  # of the part, by time.monotonic
    given_up: float = 0.0  # when the part is given up

    def say(self, text: str) -> None:
        """Print a line of progress."""
        print(text, file=sys.stderr, flush=True)

    def begin(self, part: str, *, later: Sequence[str]) -> None:
        """Begin a part: its budget counts from now, and those of the ``later`` parts are kept."""
        now, budget = time.monotonic(), self.budgets[part]
        self.deadline = now + budget
        kept = sum(self.budgets[other] for other in later)
        self.given_up = min(
            self.deadline + _OVERRUN * budget + _GRACE,
            max(self.began + self.most - kept, self.deadline),
        )

    def share(self, left: int) -> float:
        """Return the seconds for the next of ``left`` equal tasks of the part."""
        return max(self.deadline - time.monotonic(), 0.0) / left

    def patience(self) -> float:
        """Return the seconds after which the part is given up."""
        return self.given_up - time.monotonic()

    def keep(self) -> None:
        """Write what is measured so far."""
        if self.out is not None:
            with replacing(self.out) as temporary:
                temporary.write_text(json.dumps(self.result, indent=1) + "\n", encoding="utf-8")

    @contextmanager
    def guarded(self, name: str) -> Iterator[None]:
        """Note a failure within the block, and go on after it."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  # the other parts are worth having
            told = str(error) if isinstance(error, PartFailedError) else repr(error)
            self.result.setdefault("failed", {})[name] = told
            self.say(f"{name}: FAILED: {told}")
        self.keep()


def alternate(
    measures: Mapping[str, Callable[[], float]], *, alternations: int, seconds: float,
    most: float, told: Callable[[str], None], clock: Callable[[], float] = time.monotonic,
) -> dict[str, list[float]]:  # fmt: skip
    """Return the measurements of every opponent, taken in turn.

    Every second time the order is reversed, so that no one always comes first.

    Args:
        measures: What takes one measurement of each opponent.
        alternations: How many of each to take.
        seconds: No alternation begins that would end after these, unless there are fewer than
            three yet.
        most: No second or third alternation begins that would end after these.
        told: Is given a line after each alternation.
        clock: Tells seconds.
    """
    found: dict[str, list[float]] = {name: [] for name in measures}
    began = clock()
    for number in range(alternations):
        ends = (clock() - began) * (number + 1) / number if number else 0.0
        if ends > (seconds if number >= _FEWEST else most):
            break
        for name in list(measures)[:: -1 if number % 2 else 1]:
            found[name].append(measures[name]())
        last = ", ".join(f"{name} {figures[-1]:.4g} s" for name, figures in found.items())
        told(f"  {number + 1}: {last}")
    return found


def compare(found: Mapping[str, Sequence[float]], *, side: str = "package") -> dict[str, Any]:
    """Return how many times as long the textbook took as ``side``, and the median seconds.

    The ratio is the median over the pairs that were taken in turn, so what slows the machine down
    for a while counts little.
    """
    seconds, textbook = found[side], found["textbook"]
    ratios = [slow / fast for slow, fast in zip(textbook, seconds, strict=True)]
    figures = {
        "ratio": statistics.median(ratios),
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
        "seconds": statistics.median(seconds),
        "textbook_seconds": statistics.median(textbook),
    }
    if _STRICT in found:
        pairs = zip(found[_STRICT], seconds, strict=True)
        figures["ratio_strict_float32"] = statistics.median(slow / fast for slow, fast in pairs)
        figures["textbook_strict_float32_seconds"] = statistics.median(found[_STRICT])
    return {
        **{name: rounded(value) for name, value in figures.items()}, "alternations": len(ratios)
    }  # fmt: skip


def rounded(value: float) -> float:
    """Return a figure with as many digits as a measurement deserves."""
    return float(f"{value:.4g}")


def duel(
    bench: Bench, specs: Sequence[Spec], *, share: float, by_steps: bool
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Return the seconds of a round of each opponent, by side, and further facts of each.

    Args:
        bench: The run.
        specs: The opponents, the textbook among them.
        share: Seconds for the whole of it.
        by_steps: Whether rounds are training steps. Of those several are timed together, they may
            be profiled, and on a GPU the textbook's are also timed in strict float32.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        processes = {
            str(spec.side): stack.enter_context(Process(spec, patience=bench.patience))
            for spec in specs
        }
        precision = {name: process.built() for name, process in processes.items()}
        rounds, peaks = {}, {}
        for name, process in processes.items():  # one after the other, or they share the cores
            seconds = process.ask("warm")
            rounds[name] = _rounds(seconds, bench.device) if by_steps else 1
            if not by_steps:  # a command goes once through a folder
                peaks[name] = process.ask("memory")
        measures: dict[str, Callable[[], float]] = {
            name: partial(process.ask, "time", rounds[name]) for name, process in processes.items()
        }
        if by_steps and bench.device == "cuda":
            measures[_STRICT] = partial(_strictly, processes["textbook"], rounds["textbook"])
        spent = time.monotonic() - began
        found = alternate(
            measures, alternations=bench.alternations, seconds=share - spent,
            most=bench.patience() - 5, told=bench.say,
        )  # fmt: skip
        facts: dict[str, Any] = {
            name: {
                "precision": precision[name],
                "peak_mb": round(peaks.get(name) or process.ask("memory")),
            }
            for name, process in processes.items()
        }
        if bench.profiled and by_steps:
            for name, process in processes.items():
                facts[name]["profile"] = process.ask("profile", min(rounds[name], 10))
    return found, facts


def _strictly(process: Process, rounds: int) -> float:
    """Time the textbook without TF32, which PyTorch takes for float32 unless it is forbidden."""
    process.ask("strict", True)  # noqa: FBT003
    process.ask("time", 2)  # the first ones may choose other algorithms
    seconds: float = process.ask("time", rounds)
    process.ask("strict", False)  # noqa: FBT003
    process.ask("time", 2)
    return seconds


def _rounds(seconds: float, device: str) -> int:
    wanted = round(_ROUND_SECONDS[device] / max(seconds, 1e-6))
    return max(_FEWEST_ROUNDS[device], min(200, wanted))
