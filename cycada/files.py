"""Write files so that nothing half written is ever taken for whole."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from cycada.errors import DataError

_LONGEST_NAME = 255  # bytes, on every usual file system
_ADDED = 20  # bytes that a temporary name has more


_LONGEST_LINE = 1 << 20  # bytes of a table
_LARGEST_TEXT = 1 << 28  # bytes of a text that is read at once


def check_regular(path: Path) -> None:
    """Refuse what is there but is no regular file: a pipe would be waited for, a device be endless.

    What is missing or cannot be looked at is told of by whoever opens it.

    Raises:
        DataError: It is a folder, a pipe, a device or a socket, perhaps through a link.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise DataError(f"{path}: is {what}, not a file.")


def check_text(path: Path) -> None:
    """Refuse what would fill the memory if it were read as one text, as well.

    Raises:
        DataError: It is no regular file, or larger than 256 MB.
    """
    check_regular(path)
    try:
        size = path.stat().st_size
    except (OSError, ValueError):
        return
    if size > _LARGEST_TEXT:
        raise DataError(f"{path}: has {size} bytes, more than is read as one text.")


def check_table(path: Path) -> None:
    """Refuse what is read line by line but has none: a sparse file can be one line of gigabytes.

    Raises:
        DataError: It is no regular file, or its first line is longer than 1 MB.
    """
    check_regular(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(_LONGEST_LINE)
    except (OSError, ValueError):
        return
    if len(head) == _LONGEST_LINE and not {b"\n"[0], b"\r"[0]} & set(head):
        raise DataError(f"{path}: is no table: its first line is longer than 1 MB.")


@contextmanager
def replacing(path: Path, *, synced: bool = True, lone: bool = False) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; rename it to ``path`` when the block succeeds.

    A reader sees the old file or the whole new one, also after a crash or a full disk. The
    temporary name keeps the suffix, by which writers choose the format.

    Args:
        path: The file.
        synced: Whether that holds after a power cut, too, and the new name is there then.
        lone: Whether it may lie in a folder that no process holds (``cycada.locking``): then what
            processes of this machine that were killed have left of it is removed first.
    """
    temporary = temporary_beside(path)
    if lone:
        _remove_left(path)
    try:
        yield temporary
        if synced:
            sync([temporary])
        temporary.replace(path)
        if synced:
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def check_apart(targets: Iterable[Path], out: Path, *, originals: Iterable[Path]) -> None:
    """Refuse files to be written that would lie outside ``out`` or over an original.

    Links are followed: a folder in ``out`` may be a link to elsewhere. (A file that is a link is
    replaced, not followed, by :func:`replacing`.)

    Raises:
        DataError: Naming the first.
    """
    root = os.path.realpath(out)
    real = {folder: os.path.realpath(folder) for folder in {target.parent for target in targets}}
    taken = {os.path.realpath(folder) for folder in {original.parent for original in originals}}
    for folder, place in real.items():
        if place != root and not Path(place).is_relative_to(root):
            raise DataError(
                f"{folder}: leads out of {out}, to {place}; nothing is written outside the folder "
                "for it."
            )
        if place in taken:
            raise DataError(
                f"{folder}: holds originals, which are never written over; choose another --out."
            )


_TEMPORARY = re.compile(r"\..+\.part-\d+(\.[^.]*)?")


def temporary_beside(path: Path) -> Path:
    """Return a name beside ``path`` for what is to become it, with its suffix."""
    return path.with_name(f".{_short_stem(path)}.part-{os.getpid()}{path.suffix}")


def _short_stem(path: Path) -> str:
    """Return a stem that leaves room for what temporary names have more."""
    if len(os.fsencode(path.name)) > _LONGEST_NAME - _ADDED:
        return hashlib.sha256(os.fsencode(path.stem)).hexdigest()[:32]
    return path.stem


def is_temporary(name: str) -> bool:
    """Tell whether :func:`temporary_beside` gives such names."""
    return _TEMPORARY.fullmatch(name) is not None


def _remove_left(path: Path) -> None:
    """Remove what was to become ``path``, by processes of this machine that are no more."""
    named = re.compile(rf"\.{re.escape(_short_stem(path))}\.part-(\d+){re.escape(path.suffix)}")
    for file in path.parent.glob(".*.part-*"):
        if found := named.fullmatch(file.name):
            with suppress(OSError, OverflowError):  # the new file matters more than the old mess
                if not psutil.pid_exists(int(found[1])):
                    file.unlink()


def remove_temporaries(folder: Path, *, mark: str) -> None:
    """Remove what a process that was killed was writing below ``folder``.

    Folders below it that hold a file called ``mark`` are others' and stay as they are.
    """
    for place, folders, names in os.walk(folder):
        if mark in names and Path(place) != folder:
            folders.clear()
            continue
        for name in filter(is_temporary, names):
            Path(place, name).unlink(missing_ok=True)
        for name in filter(is_temporary, folders):
            shutil.rmtree(Path(place, name), ignore_errors=True)


def append_text(path: Path, text: str) -> None:
    """Append whole lines to a file; once this returns they survive a crash or a power cut."""
    with path.open("a", encoding="utf-8", newline="") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def whole_lines(path: Path) -> str:
    """Return the lines of a file that grows by :func:`append_text`.

    One that was being written at the end is cut off, in the file too, so that it can go on.
    """
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        os.truncate(path, end)
    return content[:end].decode("utf-8")


def sync(paths: Iterable[Path]) -> None:
    """Wait until files that have been written survive a power cut."""
    for path in paths:
        handle = os.open(path, os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder survive a power cut."""
    if os.name == "nt":  # where folders cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
