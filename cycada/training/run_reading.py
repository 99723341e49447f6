"""A run directory: settings, log, samples, and checkpoints.

::

    config.json            kind, versions, machines, settings, and fingerprints of what is read
    metrics.jsonl          one line of figures per log interval
    rejected.csv           images that cannot be read and are left out, where there are any
    steps-back.jsonl       when a loss was not finite, and training went back and on more slowly
    samples/000100.png     what the networks made at that step (translator)
    tensorboard/           figures and samples, for TensorBoard: cycada.training.trackers
    000100/                a checkpoint: cycada.training.checkpoint
    000200.damaged/        one that was found damaged, from before which the training went on
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, TypeVar

from cycada.errors import RunError, reason
from cycada.files import check_text
from cycada.settings import load_config
from cycada.training.checkpoint import (
    Checkpoint,
    checkpoints,
    newest_checkpoint,
    read_json,
)

Kind = Literal["translator", "detector"]
Config = TypeVar("Config")

CONFIG_NAME, LOG_NAME, STEPS_BACK_NAME = "config.json", "metrics.jsonl", "steps-back.jsonl"

TIMES = frozenset({"seconds", "waiting"})
"""Figures of a line of the log that tell times: in no two trainings they are the same."""

FOREIGN_KEY = "cyclegan"
"""In ``about.json`` of weights that were trained with CycleGAN's code: the shapes of its networks.

tools/compare_cyclegan.py writes it.
"""

TRAINED_WITH_KEY = "trained_with"
"""In ``config.json``: whose code trained a run that was brought here."""


def run_kind(root: Path) -> Kind:
    """Return what the run in ``root`` trained.

    Raises:
        RunError: ``root`` is no run directory.
    """
    kind = read_config(root)["kind"]
    if kind not in ("translator", "detector"):
        raise RunError(f"{root / CONFIG_NAME}: unknown kind of run {kind!r}.")
    return kind  # type: ignore[no-any-return]


def trained_with(root: Path) -> str:
    """Return the name of the code that trained a run that was brought here; empty for our own.

    Raises:
        RunError: ``root`` is no run directory.
    """
    return str(read_config(root).get(TRAINED_WITH_KEY, ""))


def run_config(root: Path, kind: Kind, cls: type[Config]) -> Config:
    """Return the settings of the run in ``root``.

    Raises:
        RunError: ``root`` is no run directory, or one of another kind.
    """
    found = read_config(root)
    if found["kind"] != kind:
        raise RunError(f"{root}: is the run of a {found['kind']}; a {kind} is needed here.")
    return load_config(cls, root / CONFIG_NAME)


def finished_checkpoint(root: Path, *, told: bool = True, step: int | None = None) -> Checkpoint:
    """Return the newest checkpoint of a run, or that of a step, to use its whole weights.

    Args:
        root: Run directory.
        told: Whether to warn of newer ones that are damaged.
        step: Which one; ``None`` for the newest.

    Raises:
        RunError: The run has none yet, or all are damaged; there is none of that step, or it is.
    """
    if step is not None:
        chosen = next((each for each in checkpoints(root) if each.step == step), None)
        if chosen is None:
            raise RunError(f"{root}: has no checkpoint of step {step} any more; choose another.")
        if damage := chosen.damage(with_state=False):
            raise RunError(f"{damage}; choose another checkpoint.")
        return chosen
    checkpoint = newest_checkpoint(root, with_state=False, told=told)
    if checkpoint is None:
        raise RunError(f"{root}: has no checkpoint yet; train it first.")
    return checkpoint


def read_log(root: Path) -> list[dict[str, float]]:
    """Return the lines of ``metrics.jsonl``, oldest first; empty where there is none.

    A last line without its end was cut off when the training was killed; it does not count.

    Raises:
        RunError: Another line is damaged.
    """
    file = root / LOG_NAME
    if not file.is_file():
        return []
    check_text(file)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise RunError(f"{file}: cannot be read ({reason(error)}).") from error
    whole = content[: content.rfind(b"\n") + 1]
    return [_log_line(line, file) for line in whole.splitlines()]


def read_config(root: Path) -> dict[str, Any]:
    """Return what ``config.json`` says of a run.

    Raises:
        RunError: ``root`` is no run directory.
    """
    file = root / CONFIG_NAME
    if not file.is_file():
        raise RunError(f"{root}: is no run directory (there is no {CONFIG_NAME} in it).")
    found = read_json(file)
    if "kind" not in found or "settings" not in found:
        raise RunError(f"{file}: is not the settings file of a run.")
    return found


def _log_line(line: bytes, file: Path) -> dict[str, float]:
    try:
        found = json.loads(line.decode("utf-8"))
        damaged = not isinstance(found["step"], int)
    except (ValueError, KeyError, TypeError, RecursionError):
        damaged = True
    if damaged:
        raise RunError(f"{file}: holds a damaged line, {str(line[:60])[1:]}; delete that line.")
    return found  # type: ignore[no-any-return]
