"""A run directory: settings, log, samples, and checkpoints that are whole or absent.

::

    config.json            kind, version, settings, and fingerprints of what the run reads
    metrics.jsonl          one line of figures per log interval
    samples/000100.png     what the networks made at that step (translator)
    000100/about.json      what a user of the weights must know: AUs, window, subjects seen ...
    000100/*.safetensors   weights for use
    000100/state.pt        everything that training needs to go on
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import safetensors.torch
import torch
from torch import nn

import cycada
from cycada.data.subjects import seen_digests
from cycada.errors import RunError, reason
from cycada.files import replacing
from cycada.settings import differences, load_config, to_dict
from cycada.weights import read_state

Kind = Literal["translator", "detector"]
Config = TypeVar("Config")

CONFIG_NAME, ABOUT_NAME, STATE_NAME, LOG_NAME = (
    "config.json", "about.json", "state.pt", "metrics.jsonl",
)  # fmt: skip

_MAY_CHANGE = frozenset({"workers", "cache_mb", "log_every", "sample_every", "save_every", "keep"})
"""Settings that do not change what is learned."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One whole checkpoint."""

    step: int
    folder: Path

    def about(self) -> dict[str, Any]:
        """Return what was written about the weights."""
        return _read_json(self.folder / ABOUT_NAME)

    def state(self) -> dict[str, Any]:
        """Return the training state, loaded without running any code of the file.

        Raises:
            RunError: The file is missing or damaged.
        """
        file = self.folder / STATE_NAME
        try:
            state: dict[str, Any] = read_state(file)
        except (OSError, ValueError) as error:
            raise RunError(
                f"{file}: cannot be read ({reason(error)}); delete {self.folder} to go on from the "
                "checkpoint before it."
            ) from error
        return state

    def load_weights(self, name: str, module: nn.Module) -> None:
        """Load ``name.safetensors`` into ``module``.

        Raises:
            RunError: The file is missing, damaged, or of another network.
        """
        file = self.folder / f"{name}.safetensors"
        try:
            module.load_state_dict(safetensors.torch.load_file(file))
        except (OSError, RuntimeError, safetensors.SafetensorError) as error:
            raise RunError(
                f"{file}: does not hold the weights of this run's {name} "
                f"({str(error).splitlines()[0]}); train again or restore the file."
            ) from error

    def fingerprint(self) -> str:
        """Return a SHA-256 of the weights for use, to name the run that made a dataset."""
        digest = hashlib.sha256()
        for file in sorted(self.folder.glob("*.safetensors")):
            digest.update(file.read_bytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Run:
    """A run directory that this process writes to; only the main process writes."""

    root: Path
    writes: bool

    def ever_seen(self, digests: Iterable[str]) -> list[str]:
        """Return the subjects and all whom the newest checkpoint has learned from, as digests.

        A detector to judge by, or to begin from, may have been trained anew on others since.
        """
        newest = self.newest()
        before = frozenset() if newest is None else seen_digests(newest.about())
        return sorted(before.union(digests))

    def newest(self) -> Checkpoint | None:
        """Return the whole checkpoint of the highest step, if any."""
        return newest_checkpoint(self.root)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Append one line of figures."""
        if self.writes:
            line = {"step": step, "seconds": round(time.time(), 3), **figures}
            with (self.root / LOG_NAME).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")

    def forget_after(self, step: int) -> None:
        """Drop log lines of steps after ``step``, which training is about to repeat."""
        file = self.root / LOG_NAME
        if not self.writes or not file.exists():
            return
        kept = [line for line in read_log(self.root) if line["step"] <= step]
        with replacing(file) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def save(
        self,
        step: int,
        *,
        state: Mapping[str, Any],
        weights: Mapping[str, nn.Module],
        about: Mapping[str, Any],
        keep: int,
    ) -> None:
        """Write checkpoint ``step`` whole or not at all, then drop all but the newest ``keep``."""
        if not self.writes:
            return
        final = self.root / f"{step:06d}"
        part = self.root / f".{step:06d}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        torch.save(dict(state), part / STATE_NAME)
        for name, module in weights.items():
            tensors = {key: value.detach().cpu().contiguous() for key, value in
                       module.state_dict().items()}  # fmt: skip
            # save_file makes files that their owner alone may read, whatever the umask says.
            (part / f"{name}.safetensors").write_bytes(safetensors.torch.save(tensors))
        (part / ABOUT_NAME).write_text(json.dumps({"step": step, **about}, indent=1))
        for file in part.iterdir():
            _sync(file)
        if final.exists():
            shutil.rmtree(final)
        part.rename(final)
        for old in _checkpoints(self.root)[:-keep]:
            shutil.rmtree(old.folder)


def check_run(
    root: Path, kind: Kind, config: Any, *, inputs: Mapping[str, str] | None = None
) -> None:
    """Refuse a directory that :func:`open_run` would refuse; write nothing.

    Raises:
        RunError: ``root`` holds something else, or a run with other settings or inputs.
    """
    if (root / CONFIG_NAME).exists():
        _check_same(root, kind, config)
        _check_inputs(root, inputs or {})
    elif root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise RunError(f"{root}: not empty and no run of cycada; choose another --out.")


def open_run(
    root: Path,
    kind: Kind,
    config: Any,
    *,
    writes: bool,
    inputs: Mapping[str, str] | None = None,
) -> Run:
    """Make a run directory, or come back to one that was made with the same settings.

    Args:
        root: Run directory.
        kind: What is trained.
        config: Settings.
        writes: Whether this process is the one that writes.
        inputs: Path, as in the settings -> fingerprint of each index and network to learn from.

    Raises:
        RunError: ``root`` holds something else, or a run with other settings or inputs.
    """
    check_run(root, kind, config, inputs=inputs)
    file = root / CONFIG_NAME
    if writes:
        root.mkdir(parents=True, exist_ok=True)
        about = {
            "kind": kind,
            "version": cycada.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "settings": to_dict(config),
            "inputs": dict(inputs or {}),
        }
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return Run(root, writes)


def run_kind(root: Path) -> Kind:
    """Return what the run in ``root`` trained.

    Raises:
        RunError: ``root`` is no run directory.
    """
    kind = _read_config(root)["kind"]
    if kind not in ("translator", "detector"):
        raise RunError(f"{root / CONFIG_NAME}: unknown kind of run {kind!r}.")
    return kind  # type: ignore[no-any-return]


def run_config(root: Path, kind: Kind, cls: type[Config]) -> Config:
    """Return the settings of the run in ``root``.

    Raises:
        RunError: ``root`` is no run directory, or one of another kind.
    """
    found = _read_config(root)
    if found["kind"] != kind:
        raise RunError(f"{root}: is the run of a {found['kind']}; a {kind} is needed here.")
    return load_config(cls, root / CONFIG_NAME)


def newest_checkpoint(root: Path) -> Checkpoint | None:
    """Return the whole checkpoint of the highest step in ``root``, if any."""
    found = _checkpoints(root)
    return found[-1] if found else None


def finished_checkpoint(root: Path) -> Checkpoint:
    """Return the newest checkpoint of a run to use its weights.

    Raises:
        RunError: The run has none yet.
    """
    checkpoint = newest_checkpoint(root)
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
    if not file.exists():
        return []
    text = file.read_text(encoding="utf-8")
    return [_log_line(line, file) for line in text[: text.rfind("\n") + 1].splitlines()]


def _check_same(root: Path, kind: Kind, config: Any) -> None:
    before = run_config(root, kind, type(config))
    differing = {
        name: pair
        for name, pair in differences(before, config).items()
        if name not in _MAY_CHANGE and not (name == "steps" and pair[1] > pair[0])
    }
    if differing:
        told = "; ".join(f"{name} {old!r} -> {new!r}" for name, (old, new) in differing.items())
        raise RunError(
            f"{root}: was made with other settings ({told}); choose another --out, or the same "
            "settings to continue."
        )


def _check_inputs(root: Path, inputs: Mapping[str, str]) -> None:
    """Refuse to go on with an index that was remade, or a network that was trained further."""
    if newest_checkpoint(root) is None:
        return  # nothing is learned yet
    before = _read_config(root).get("inputs", {})
    for path, fingerprint in inputs.items():
        if before.get(path, fingerprint) != fingerprint:
            raise RunError(
                f"{root}: {path} has changed since this run learned from it; choose another "
                "--out, or bring the old one back to continue."
            )


def _checkpoints(root: Path) -> Sequence[Checkpoint]:
    if not root.is_dir():
        return []
    names = sorted((int(p.name), p) for p in root.iterdir() if p.is_dir() and p.name.isdigit())
    return [Checkpoint(step, folder) for step, folder in names]


def _read_config(root: Path) -> dict[str, Any]:
    file = root / CONFIG_NAME
    if not file.is_file():
        raise RunError(f"{root}: is no run directory (there is no {CONFIG_NAME} in it).")
    found = _read_json(file)
    if "kind" not in found or "settings" not in found:
        raise RunError(f"{file}: is not the settings file of a run.")
    return found


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: cannot be read ({error}).") from error
    if not isinstance(found, dict):
        raise RunError(f"{file}: expected a JSON object.")
    return found


def _log_line(line: str, file: Path) -> dict[str, float]:
    try:
        found = json.loads(line)
        found["step"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file}: holds a damaged line, {line[:60]!r}; delete that line.") from error
    return found  # type: ignore[no-any-return]


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
