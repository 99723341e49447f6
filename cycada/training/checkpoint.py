"""Checkpoints: whole or absent when they are written, and recognised when they are damaged later.

::

    000100/about.json      what a user of the weights must know: AUs, window, subjects seen ...
    000100/*.safetensors   weights for use
    000100/state.pt        everything that training needs to go on
    000100/SHA256SUMS      of these files; ``sha256sum -c SHA256SUMS`` checks them
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from cycada.errors import RunError, reason
from cycada.files import check_text, sync, sync_folder
from cycada.weights import read_state

ABOUT_NAME, STATE_NAME, SUMS_NAME = "about.json", "state.pt", "SHA256SUMS"
_LARGEST_SUMS = 1 << 20  # bytes

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint."""

    step: int
    folder: Path
    found: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    """SHA-256 of the files that were compared with what was written."""

    def about(self) -> dict[str, Any]:
        """Return what was written about the weights.

        Raises:
            RunError: The file is missing or damaged.
        """
        return read_json(self.folder / ABOUT_NAME)

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
        _intern(state)
        return state

    def load_weights(self, name: str, module: nn.Module, *, without: str = "") -> None:
        """Load ``name.safetensors`` into ``module``, one tensor after the other.

        Args:
            name: Of the file.
            module: What it holds the weights of, on the processor; the tensors are put in place of
                its own, which need no memory (:func:`cycada.models.build.undrawn`), in their types
                and layouts.
            without: How names begin that the file has and ``module`` has not; empty for none.

        Raises:
            RunError: The file is missing, damaged, or of another network.
        """
        file = self.folder / f"{name}.safetensors"
        try:
            _load(file, module, without=without)
        except (OSError, RuntimeError, safetensors.SafetensorError) as error:
            raise RunError(
                f"{file}: does not hold the weights of this run's {name} "
                f"({str(error).splitlines()[0]}); train again or restore the file."
            ) from error

    def fingerprint(self) -> str:
        """Return a SHA-256 of the weights for use, to name the run that made a dataset."""
        files = sorted(self.folder.glob("*.safetensors"))
        if len(files) == 1 and files[0].name in self.found:
            return self.found[files[0].name]
        digest = hashlib.sha256()
        for file in files:
            _update(digest, file)
        return digest.hexdigest()

    def damage(self, *, with_state: bool) -> str | None:
        """Return which file is not as it was written, and how that shows; ``None`` if all are.

        Args:
            with_state: Whether the training state counts, which using the weights does not need.
        """
        try:
            sums = self.folder / SUMS_NAME
            if sums.exists():
                if not sums.is_file() or sums.stat().st_size > _LARGEST_SUMS:
                    return f"{sums}: is no list of checksums"
                return next(self._differing(with_state=with_state), None)
            return next(self._unreadable(with_state=with_state), None)
        except (OSError, ValueError) as error:
            return f"{self.folder}: cannot be read ({reason(error)})"

    def _differing(self, *, with_state: bool) -> Iterator[str]:
        for line in (self.folder / SUMS_NAME).read_text(encoding="utf-8").splitlines():
            wanted, _, name = line.partition("  ")
            file = self.folder / Path(name).name
            if file.name == STATE_NAME and not with_state:
                continue
            if not file.is_file():
                yield f"{file}: is missing"
                continue
            self.found[file.name] = _sha256(file)
            if self.found[file.name] != wanted:
                yield f"{file}: is damaged (its checksum differs)"

    def _unreadable(self, *, with_state: bool) -> Iterator[str]:
        """Yield what can be seen to lack in what an earlier version wrote, without checksums."""
        state, about = self.folder / STATE_NAME, self.folder / ABOUT_NAME
        if with_state and not zipfile.is_zipfile(state):
            yield f"{state}: is {'cut off' if state.exists() else 'missing'}"
        if not about.exists():
            yield f"{about}: is missing"
        weights = sorted(self.folder.glob("*.safetensors"))
        if not weights:
            yield f"{self.folder}: holds no weights"
        for file in weights:
            try:
                with safetensors.safe_open(file, framework="pt"):
                    pass  # it compares the header with the length
            except safetensors.SafetensorError as error:  # noqa: PERF203  # of each file
                yield f"{file}: is damaged ({reason(error)})"


def checkpoints(root: Path) -> Sequence[Checkpoint]:
    """Return all checkpoints of a run, whole or damaged, by step."""
    if not root.is_dir():
        return []
    names = sorted((int(p.name), p) for p in root.iterdir() if p.is_dir() and p.name.isdigit())
    return [Checkpoint(step, folder) for step, folder in names]


def newest_checkpoint(
    root: Path, *, with_state: bool = True, told: bool = True
) -> Checkpoint | None:
    """Return the whole checkpoint of the highest step in ``root``, if there is any checkpoint.

    Args:
        root: Run directory.
        with_state: Whether the training state has to be whole, too.
        told: Whether to warn of those that are passed over.

    Raises:
        RunError: There are checkpoints, and all are damaged.
    """
    problems: list[str] = []
    for checkpoint in reversed(checkpoints(root)):
        damage = checkpoint.damage(with_state=with_state)
        if damage is None:
            if problems and told:
                _log.warning(
                    "%s; the checkpoint before it, %s, is used.",
                    "; ".join(problems), checkpoint.folder.name,
                )  # fmt: skip
            return checkpoint
        problems.append(damage)
    if problems:
        raise RunError(
            f"{'; '.join(problems)}, and no other checkpoint is whole; restore the file, or "
            "choose another --out to begin again."
        )
    return None


def set_aside_after(root: Path, step: int) -> None:
    """Rename the checkpoints of later steps, which are damaged, so that none counts any more."""
    for checkpoint in checkpoints(root):
        if checkpoint.step > step:
            _set_aside(checkpoint.folder)


def _set_aside(folder: Path) -> None:
    aside = folder.with_name(f"{folder.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)


def write_checkpoint(
    root: Path,
    step: int,
    *,
    state: Mapping[str, Any],
    weights: Mapping[str, nn.Module],
    about: Mapping[str, Any],
) -> None:
    """Write checkpoint ``step`` whole or not at all; once this returns it survives a power cut.

    One that is there already, from a moment ago, is of the same state, and stays.

    Raises:
        RunError: It cannot be written; those before it are as they were.
    """
    final = root / f"{step:06d}"
    if final.exists():
        if Checkpoint(step, final).damage(with_state=True) is None:
            return
        _set_aside(final)
    part = _part_of(final)
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()  # not its parents: a run that has vanished does not begin anew
        with (part / STATE_NAME).open("wb") as stream:
            torch.save(dict(state), stream)
        for name, module in weights.items():
            tensors = {key: value.detach().cpu().contiguous() for key, value in
                       module.state_dict().items()}  # fmt: skip
            # save_file makes files that their owner alone may read, whatever the umask says.
            (part / f"{name}.safetensors").write_bytes(safetensors.torch.save(tensors))
        (part / ABOUT_NAME).write_text(
            json.dumps({"step": step, **about}, indent=1), encoding="utf-8"
        )
        _write_sums(part)
        part.rename(final)
        sync_folder(root)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        why = _reason_of_writing(error)
        if why is None:
            raise
        raise cannot_be_written(final, why) from error


def write_for_use(checkpoint: Checkpoint, root: Path, *, about: Mapping[str, Any]) -> None:
    """Write the weights of a checkpoint, as they are, into another folder, without its state.

    Args:
        checkpoint: A whole one.
        root: Folder that the checkpoint is to be in.
        about: What is to be written about the weights.

    Raises:
        OSError: It cannot be written; then ``root`` holds a part of it.
    """
    folder = root / checkpoint.folder.name
    folder.mkdir()
    for file in sorted(checkpoint.folder.glob("*.safetensors")):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / ABOUT_NAME).write_text(json.dumps(dict(about), indent=1), encoding="utf-8")
    _write_sums(folder)


def drop_old_checkpoints(root: Path, *, keep: int, every: int = 1) -> None:
    """Remove all but the newest ``keep`` checkpoints.

    Only the newest may be of another step than each ``every``-th: one that was saved because the
    training was stopped has served when the next is there.
    """
    found = checkpoints(root)
    kept = [each for each in found if each.step % every == 0 or each is found[-1]][-keep:]
    for old in found:
        if old in kept:
            continue
        # At once: of a folder that is removed file by file, a kill would leave a part.
        part = _part_of(old.folder)
        old.folder.rename(part)
        shutil.rmtree(part)


def remove_parts(root: Path) -> None:
    """Remove what a killed process was writing or removing."""
    for part in root.glob(".[0-9]*.part"):
        shutil.rmtree(part, ignore_errors=True)


def read_json(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        RunError: There is none.
    """
    check_text(file)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{file}: cannot be read ({error}).") from error
    if not isinstance(found, dict):
        raise RunError(f"{file}: expected a JSON object.")
    return found


def cannot_be_written(file: Path, why: str) -> RunError:
    """Return the error to raise when something in a run directory cannot be written."""
    if not file.parent.is_dir():
        return RunError(f"{file.parent}: is no longer there; the training has stopped.")
    return RunError(
        f"{file}: cannot be written ({why}); the checkpoints before are kept. When that is "
        "mended, the same command continues."
    )


def _intern(state: object) -> None:
    """Make the names in a state the objects that the same names in the code are.

    A pickle writes a string that it has written already as a reference. So a training that went on
    would else write other bytes for the same state.
    """
    if isinstance(state, dict):
        entries = list(state.items())
        state.clear()  # not a new one: those of modules carry their versions
        for name, value in entries:
            state[sys.intern(name) if type(name) is str else name] = value
            _intern(value)
    elif isinstance(state, list | tuple):
        for value in state:
            _intern(value)


def _write_sums(folder: Path) -> None:
    """Write the checksums of the files of a checkpoint; once this returns all survive."""
    files = sorted(folder.iterdir())
    sums = "".join(f"{_sha256(file)}  {file.name}\n" for file in files)
    (folder / SUMS_NAME).write_text(sums, encoding="utf-8")
    sync((*files, folder / SUMS_NAME))
    sync_folder(folder)


def _part_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.part")


def _reason_of_writing(error: BaseException) -> str | None:
    """Return why something cannot be written; ``None`` if the error is not about that.

    torch raises an error of its own over that of the file.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError | safetensors.SafetensorError):
            return reason(cause)
        cause = cause.__context__
    return None


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    _update(digest, file)
    return digest.hexdigest()


def _update(digest: hashlib._Hash, file: Path) -> None:
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)


def _load(file: Path, module: nn.Module, *, without: str) -> None:
    """Put the tensors of a file in place of a module's, one after the other.

    Raises:
        RuntimeError: They are others.
    """
    weights = module.state_dict()
    with safetensors.safe_open(file, framework="pt") as opened:
        names: list[str] = opened.keys()
    held = {name for name in names if not (without and name.startswith(without))}
    if others := weights.keys() ^ held:
        raise RuntimeError(f"{min(others)} is in one of the two alone")
    for name, old in weights.items():
        new = torch.empty_like(old, device="cpu")
        # Opened anew each time, for what was read of a mapped file stays in memory until it closes.
        with safetensors.safe_open(file, framework="pt") as opened:
            found = opened.get_tensor(name)
            if found.shape != old.shape:
                raise RuntimeError(f"{name} is {tuple(found.shape)} instead of {tuple(old.shape)}")
            new.copy_(found)
            del found
        owner, _, leaf = name.rpartition(".")
        part = module.get_submodule(owner)
        if isinstance(before := getattr(part, leaf), nn.Parameter):
            new = nn.Parameter(new, requires_grad=before.requires_grad)
        setattr(part, leaf, new)
