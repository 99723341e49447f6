"""How a run stands, by its files alone: nothing is locked, opened for writing or waited for."""

from __future__ import annotations

import hashlib
import itertools
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cycada.config import DetectorConfig, TranslatorConfig
from cycada.errors import CycadaError
from cycada.locking import holder
from cycada.training.checkpoint import SUMS_NAME, Checkpoint, checkpoints
from cycada.training.run_reading import LOG_NAME, Kind, read_log, run_config, run_kind

State = Literal["training", "still", "waiting", "ended", "stopped", "broken"]
"""``still``: its process is there, but nothing new has come for long; ``waiting``: for a first
line."""

_PATIENCE = 60.0  # seconds without a line after which a training stands still, at the earliest
_SLOW = 10  # usual times between two lines, after which it does
_RECENT = 20  # intervals between lines that tell how fast it is
_NEW_TO_US = 120.0  # seconds for which the lock of another machine is believed without a new line


@dataclass(frozen=True, kw_only=True, slots=True)
class RunState:
    """What can be told of a run at a moment."""

    root: Path
    key: str
    kind: Kind
    state: State
    told: str  # a sentence that says so
    step: int
    steps: int  # that the settings ask for
    left: float | None  # seconds to the end, while it trains
    rate: float | None  # steps per second
    version: str  # another one: there are new lines
    samples: tuple[str, ...]  # steps of sample grids, oldest first
    checkpoints: tuple[int, ...]  # steps of those whose weights are whole


class Watch:
    """Looks at runs again and again, and reads of each only what has changed."""

    def __init__(self) -> None:
        """Begin without having seen anything."""
        self._logs: dict[Path, tuple[tuple[int, ...], list[dict[str, float]]]] = {}
        self._whole: dict[Path, tuple[tuple[int, ...], bool]] = {}

    def log(self, root: Path) -> Sequence[Mapping[str, float]]:
        """Return the whole lines of a run's log.

        Raises:
            CycadaError: A line before the last is damaged.
        """
        mark = _mark(root / LOG_NAME)
        known = self._logs.get(root)
        if known is None or known[0] != mark:
            known = mark, read_log(root)
            self._logs[root] = known
        return known[1]

    def state(self, root: Path, *, now: float | None = None) -> RunState:
        """Return how a run stands.

        Args:
            root: Run directory.
            now: Seconds since 1970; ``None`` asks the clock.

        Raises:
            CycadaError: ``root`` is no run directory.
        """
        now = time.time() if now is None else now
        kind = run_kind(root)
        config: DetectorConfig | TranslatorConfig = (
            run_config(root, "translator", TranslatorConfig)
            if kind == "translator"
            else run_config(root, "detector", DetectorConfig)
        )
        lines: Sequence[Mapping[str, float]] = ()
        fault = ""
        try:
            lines = self.log(root)
        except CycadaError as error:
            fault = str(error)
        whole = self.whole_checkpoints(root)
        step = int(lines[-1]["step"]) if lines else 0
        step = max(step, *whole, 0) if not lines else step
        pace = seconds_per_step(lines)
        state, told = _judged(root, lines, step=step, steps=config.steps, whole=whole, now=now)
        if fault:
            state, told = "broken", fault
        trains = state == "training" and pace is not None
        return RunState(
            root=root, key=key_of(root), kind=kind, state=state, told=told, step=step,
            steps=config.steps, left=(config.steps - step) * pace if trains and pace else None,
            rate=1 / pace if trains and pace else None,
            version="-".join(map(str, _mark(root / LOG_NAME))), samples=sample_steps(root),
            checkpoints=whole,
        )  # fmt: skip

    def whole_checkpoints(self, root: Path) -> tuple[int, ...]:
        """Return the steps of the checkpoints whose weights are as they were written."""
        return tuple(each.step for each in checkpoints(root) if self._is_whole(each))

    def _is_whole(self, checkpoint: Checkpoint) -> bool:
        files = [checkpoint.folder / SUMS_NAME, *sorted(checkpoint.folder.glob("*.safetensors"))]
        mark = tuple(number for file in files for number in _mark(file))
        known = self._whole.get(checkpoint.folder)
        if known is None or known[0] != mark:
            known = mark, checkpoint.damage(with_state=False) is None
            self._whole[checkpoint.folder] = known
        return known[1]


def key_of(root: Path) -> str:
    """Return what names a run in addresses: a digest, for its path is nobody's business."""
    return hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:12]


def _mark(file: Path) -> tuple[int, ...]:
    """Return what changes when a file does; empty where there is none."""
    try:
        facts = file.stat()
    except OSError:
        return ()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def sample_steps(root: Path) -> tuple[str, ...]:
    """Return the steps of the grids of samples, as their files are called."""
    try:
        names = [entry.name for entry in os.scandir(root / "samples")]
    except OSError:
        return ()
    steps = [name[:-4] for name in names if name.endswith(".png") and name[:-4].isdecimal()]
    return tuple(sorted(steps, key=int))


def seconds_per_step(lines: Sequence[Mapping[str, float]]) -> float | None:
    """Return how long a step takes, by the last lines of a log; ``None`` if they do not tell.

    The median passes over pauses: stops, and intervals with a save or a validation in them.
    """
    recent = lines[-_RECENT - 1 :]
    paces = [
        (after["seconds"] - before["seconds"]) / (after["step"] - before["step"])
        for before, after in itertools.pairwise(recent)
        if after["step"] > before["step"] and "seconds" in after and "seconds" in before
    ]
    paces = [pace for pace in paces if pace > 0]
    return statistics.median(paces) if paces else None


def _judged(
    root: Path, lines: Sequence[Mapping[str, float]], *, step: int, steps: int,
    whole: Sequence[int], now: float,
) -> tuple[State, str]:  # fmt: skip
    """Return how a training stands, and a sentence about it."""
    trainer = holder(root)
    if trainer is None or trainer.lives is False:
        if step >= steps or (whole and whole[-1] >= steps):
            return "ended", "The training has ended."
        return "stopped", _told_of_stop(step, steps, whole, killed=trainer is not None)
    if not lines:
        return "waiting", "Has begun; its first figures are to come."
    quiet = now - lines[-1].get("seconds", now)
    limit = patience(lines)
    if trainer.lives is None:  # of another machine, whose clock may differ, too
        limit = max(limit, _NEW_TO_US)
    if quiet > limit:
        return "still", (
            f"No new figures for {spoken_time(quiet)}, though its process is there: "
            "it stands still, saves, or is slowed down."
        )
    return "training", "Training."


def _told_of_stop(step: int, steps: int, whole: Sequence[int], *, killed: bool) -> str:
    if not step and not killed:
        return "Nobody trains here, and no step was made yet."
    goes_on = "it has no checkpoint yet."
    if whole:
        goes_on = f"the same command goes on from step {whole[-1]:,}."
    if killed:
        return f"Its process was killed at step {step:,}; {goes_on}"
    return f"Stopped at step {step:,} of {steps:,}; {goes_on}"


def patience(lines: Sequence[Mapping[str, float]]) -> float:
    """Return the seconds without a line after which a training stands still."""
    recent = lines[-_RECENT - 1 :]
    gaps = [b["seconds"] - a["seconds"] for a, b in itertools.pairwise(recent)
            if "seconds" in a and "seconds" in b]  # fmt: skip
    return max(_PATIENCE, _SLOW * statistics.median(gaps)) if gaps else 5 * _PATIENCE


def spoken_time(seconds: float) -> str:
    """Return a duration as people say it: ``40 s``, ``7 min``, ``3 h 20 min``, ``2 days``."""
    minutes = round(seconds / 60)
    if seconds < 90:  # beyond that nobody counts seconds
        return f"{max(seconds, 0):.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{round(hours / 24)} days"
