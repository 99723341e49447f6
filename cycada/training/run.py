"""Open a run directory to write to it, and go on only with what it was begun with."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

import cycada
from cycada.config import TranslatorConfig
from cycada.data.subjects import seen_digests
from cycada.errors import RunError, reason
from cycada.files import replacing, sync
from cycada.locking import check_free, holds_anything, sole_writer
from cycada.models.build import chosen_generator
from cycada.settings import differences, to_dict
from cycada.training.checkpoint import (
    Checkpoint,
    cannot_be_written,
    checkpoints,
    drop_old_checkpoints,
    newest_checkpoint,
    remove_parts,
    set_aside_after,
    write_checkpoint,
)
from cycada.training.machine import machine_of
from cycada.training.run_reading import (
    CONFIG_NAME,
    LOG_NAME,
    STEPS_BACK_NAME,
    TRAINED_WITH_KEY,
    Kind,
    read_config,
    read_log,
    run_config,
    trained_with,
)
from cycada.training.trackers import Trackers

_MAY_CHANGE = frozenset(
    {
        "workers",
        "cache_mb",
        "log_every",
        "sample_every",
        "save_every",
        "keep",
        "steps_back",
        "trackers",
        "share_samples",
        "accumulate",  # changes rounding alone, but see _check_portions
    }
)
"""Settings that do not change what is learned."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run directory that this process writes to; only the main process writes."""

    root: Path
    writes: bool
    keep: int | None = None  # checkpoints that are to be there
    every: int = 1  # steps from one to the next
    trackers: Trackers | None = None

    def ever_seen(self, digests: Iterable[str]) -> list[str]:
        """Return the subjects and all whom the newest checkpoint has learned from, as digests.

        A detector to judge by, or to begin from, may have been trained anew on others since.
        """
        newest = newest_checkpoint(self.root, with_state=False, told=False)
        before = frozenset() if newest is None else seen_digests(newest.about())
        return sorted(before.union(digests))

    def newest(self) -> Checkpoint | None:
        """Return the whole checkpoint of the highest step, if any, to go on from.

        Those after it are damaged, and are set aside; a warning tells so. Old ones that a process
        did not come to remove before it was killed are removed.

        Raises:
            RunError: There are checkpoints, and all are damaged.
        """
        found = newest_checkpoint(self.root, told=self.writes)
        if found is not None and self.writes:
            set_aside_after(self.root, found.step)
            if self.keep is not None:
                drop_old_checkpoints(self.root, keep=self.keep, every=self.every)
        return found

    def log(self, step: int, figures: Mapping[str, float], *, waiting: float | None = None) -> None:
        """Append one line of figures.

        Args:
            step: Steps made.
            figures: Their means since the last line.
            waiting: The share of the steps' time since then for which they waited for images.
        """
        if self.writes:
            line = {"step": step, "seconds": round(time.time(), 3)}
            if waiting is not None:
                line["waiting"] = round(waiting, 4)
            line |= figures
            file = self.root / LOG_NAME
            try:
                with file.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line) + "\n")
            except OSError as error:
                raise cannot_be_written(file, reason(error)) from error
            if self.trackers is not None:
                self.trackers.log(line)

    def sample_file(self, step: int) -> Path:
        """Return the file for what the networks make at a step."""
        folder = self.root / "samples"
        try:
            folder.mkdir(exist_ok=True)  # not its parents: a run that has vanished stays so
        except OSError as error:
            raise cannot_be_written(folder, reason(error)) from error
        return folder / f"{step:06d}.png"

    def show_samples(self, step: int) -> None:
        """Give the trackers what is in the file for the samples of a step."""
        if self.writes and self.trackers is not None:
            self.trackers.show(step, self.sample_file(step))

    def _samples(self) -> list[tuple[int, Path]]:
        files = (self.root / "samples").glob("*.png")
        return sorted((int(file.stem), file) for file in files if file.stem.isdigit())

    def steps_back(self) -> int:
        """Return how often the training went back because a loss was not finite."""
        file = self.root / STEPS_BACK_NAME
        return len(file.read_bytes().splitlines()) if file.exists() else 0

    def note_step_back(self, found: str) -> None:
        """Note, for good, that the training goes back and on more slowly."""
        if not self.writes:
            return
        file = self.root / STEPS_BACK_NAME
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        line = json.dumps({"seconds": round(time.time(), 3), "found": found})
        with replacing(file) as temporary:
            temporary.write_text(f"{before}{line}\n", encoding="utf-8")

    def forget_after(self, step: int) -> None:
        """Drop log lines of steps after ``step``, which training is about to repeat.

        Trackers begin here, each time that a training begins or goes on.
        """
        if not self.writes:
            return
        file = self.root / LOG_NAME
        kept = [line for line in read_log(self.root) if line["step"] <= step]
        if file.exists():
            with replacing(file) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        if self.trackers is not None:
            self.trackers.begin(kept, [each for each in self._samples() if each[0] <= step])

    def save(
        self,
        step: int,
        *,
        state: Mapping[str, Any],
        weights: Mapping[str, nn.Module],
        about: Mapping[str, Any],
        keep: int,
    ) -> None:
        """Write checkpoint ``step`` whole or not at all, then drop all but the newest ``keep``.

        Raises:
            RunError: It cannot be written; those before it are as they were.
        """
        if not self.writes:
            return
        log = self.root / LOG_NAME
        if log.exists():
            sync([log])  # a run that goes on from here has all lines up to here
        write_checkpoint(self.root, step, state=state, weights=weights, about=about)
        drop_old_checkpoints(self.root, keep=keep, every=self.every)


def check_run(
    root: Path, kind: Kind, config: Any, *, inputs: Mapping[str, str] | None = None
) -> None:
    """Refuse a directory that :func:`running` would refuse; write nothing.

    Raises:
        RunError: ``root`` holds something else, or a run with other settings or inputs, or another
            process is training there.
    """
    check_free(root)
    _check_fits(root, kind, config, inputs=inputs)


@contextmanager
def running(
    root: Path,
    kind: Kind,
    config: Any,
    *,
    accelerator: Accelerator,
    inputs: Mapping[str, str] | None = None,
) -> Iterator[Run]:
    """Open a run, as :func:`open_run` does, and hold it until the block ends.

    Of several processes the main one holds it, and is the first to write.

    Raises:
        RunError: Another process holds the directory, or :func:`open_run` refuses it.
    """
    with ExitStack() as held:
        with accelerator.main_process_first():
            if accelerator.is_main_process:
                held.enter_context(sole_writer(root))
                remove_parts(root)
            run = open_run(
                root, kind, config, writes=accelerator.is_main_process, inputs=inputs,
                machine=machine_of(accelerator),
            )  # fmt: skip
        trackers = Trackers(accelerator, root, kind=kind, config=config)
        held.callback(trackers.finish)
        yield replace(run, trackers=trackers)


def _check_fits(
    root: Path,
    kind: Kind,
    config: Any,
    *,
    inputs: Mapping[str, str] | None,
    machine: Mapping[str, Any] | None = None,
) -> None:
    if (root / CONFIG_NAME).exists():
        if other := trained_with(root):
            raise RunError(
                f"{root}: was trained with {other}'s code, and holds nothing to go on from; choose "
                "another --out."
            )
        _check_same(root, kind, config)
        _check_inputs(root, inputs or {})
        if kind == "detector" and machine is not None:
            _check_portions(root, machine)
    elif root.exists() and (not root.is_dir() or holds_anything(root)):
        raise RunError(f"{root}: not empty and no run of cycada; choose another --out.")


def open_run(
    root: Path,
    kind: Kind,
    config: Any,
    *,
    writes: bool,
    inputs: Mapping[str, str] | None = None,
    machine: Mapping[str, Any] | None = None,
    trained_with: str = "",
) -> Run:
    """Make a run directory, or come back to one that was made with the same settings.

    Args:
        root: Run directory.
        kind: What is trained.
        config: Settings.
        writes: Whether this process is the one that writes.
        inputs: Path, as in the settings -> fingerprint of each index and network to learn from.
        machine: What it is trained on; a run that went on elsewhere names all of them in order.
        trained_with: Whose code has trained what it is to hold; empty: ours will.

    Raises:
        RunError: ``root`` holds something else, or a run with other settings or inputs.
    """
    _check_fits(root, kind, config, inputs=inputs, machine=machine)
    file = root / CONFIG_NAME
    if writes:
        root.mkdir(parents=True, exist_ok=True)
        about = {
            "kind": kind,
            "version": cycada.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machines": _machines(root, machine),
            "settings": to_dict(_chosen(config)),  # another version may choose otherwise
            "inputs": dict(inputs or {}),
            **({TRAINED_WITH_KEY: trained_with} if trained_with else {}),
        }
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return Run(root, writes, keep=config.keep, every=config.save_every)


def _machines(root: Path, machine: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the machines of a run and, if it is none of them, this one."""
    before = read_config(root).get("machines", []) if (root / CONFIG_NAME).exists() else []
    new = machine is not None and dict(machine) not in before
    return [*before, *([dict(machine)] if new and machine is not None else [])]


def _check_same(root: Path, kind: Kind, config: Any) -> None:
    before = run_config(root, kind, type(config))
    differing = {
        name: pair
        for name, pair in differences(_chosen(before), _chosen(config)).items()
        if name not in _MAY_CHANGE and not (name == "steps" and pair[1] > pair[0])
    }
    if differing:
        told = "; ".join(f"{name} {old!r} -> {new!r}" for name, (old, new) in differing.items())
        raise RunError(
            f"{root}: was made with other settings ({told}); choose another --out, or the same "
            "settings to continue."
        )


def _chosen(config: Any) -> Any:
    """Return settings that say which network is meant, where they leave that to be chosen."""
    if isinstance(config, TranslatorConfig):
        return replace(config, generator=chosen_generator(config))
    return config


def _check_portions(root: Path, machine: Mapping[str, Any]) -> None:
    """Refuse to go on with a detector in other portions, which its batch normalisation sees.

    The settings may leave their number to Accelerate; the machines say what it was.
    """
    before = read_config(root).get("machines") or [{}]
    was, now = (each.get("accumulate", 1) for each in (before[-1], machine))
    if was != now and checkpoints(root):
        raise RunError(
            f"{root}: has gone through its batches in portions (accumulate {was} -> {now}); choose "
            "another --out, or the same to continue."
        )


def _check_inputs(root: Path, inputs: Mapping[str, str]) -> None:
    """Refuse to go on with an index that was remade, or a network that was trained further."""
    if not checkpoints(root):
        return  # nothing is learned yet
    before = read_config(root).get("inputs", {})
    for path, fingerprint in inputs.items():
        if before.get(path, fingerprint) != fingerprint:
            raise RunError(
                f"{root}: {path} has changed since this run learned from it; choose another "
                "--out, or bring the old one back to continue."
            )
