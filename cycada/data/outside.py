"""Paths of an index that leave its folder: whose they are, and when they are believed.

Most indexes are made where their images are not (``../../faces/a.png``), so such paths are common.
But in an index from elsewhere they could name any file of this machine. An index therefore notes,
when it is written, which folders outside its own its paths lead to, and where it lies itself, as a
digest. Where both hold when it is read, it was made here: an index from elsewhere hardly knows
where it is put. That tells one's own from others', and is no signature.
"""

from __future__ import annotations

import hashlib
import logging
import os
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from cycada.data.index_info import IndexInfo
from cycada.errors import DataError


class Paths(Protocol):
    """A row of an index, as a dataclass."""

    @property
    def path(self) -> str:
        """Of the image."""

    @property
    def pair(self) -> str:
        """Of the true image of the other domain, or nothing."""

    @property
    def origin(self) -> str:
        """Of the image that it was translated from, or nothing."""


Row = TypeVar("Row", bound=Paths)

_log = logging.getLogger(__name__)

_MOST_FOLDERS = 50  # noted one by one; of more, those above them


def place_digest(root: Path) -> str:
    """Return a SHA-256 of where an index lies."""
    return hashlib.sha256(os.fsencode(root.resolve())).hexdigest()


def folders_outside(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the folders outside of the index's that its relative paths lead to, as few as do."""
    found = {posixpath.dirname(path) for path in map(_leaving, paths) if path}
    while len(found) > _MOST_FOLDERS:
        above = {_above(folder) for folder in found}
        if above == found:
            break
        found = above
    kept: list[str] = []
    for folder in sorted(found):
        if not any(_is_below(folder, other) for other in kept):
            kept.append(folder)
    return tuple(kept)


def staying_inside(
    rows: Iterable[tuple[int, Row]], info: IndexInfo, file: Path
) -> Iterator[tuple[int, Row]]:
    """Pass on the rows with their numbers, without what leaves the folder of an index from afar.

    Where an image is elsewhere, that is an error. A pair or an origin is left out, with a word at
    the end: few uses need them, and a translated set that was copied has always left them behind.

    Args:
        rows: Of ``file``.
        info: What the index notes.
        file: ``index.csv``.

    Raises:
        DataError: Naming the row and its path.
    """
    made_here: bool | None = None  # asked for when it matters
    judged: dict[str, bool] = {}
    left_out = 0

    def believed(path: str) -> bool:
        nonlocal made_here
        straight = _leaving(path)
        if not straight:
            return True
        folder = posixpath.dirname(straight)
        if folder not in judged:
            if made_here is None:
                made_here = info.outside_of == place_digest(file.parent)
            judged[folder] = made_here and any(_is_below(folder, o) for o in info.outside)
        return judged[folder]

    for number, row in rows:
        if not believed(row.path):
            raise DataError(
                f"{file}, row {number}: {row.path!r} leaves the folder of the index, which was not "
                "written at this place, or by an earlier version. If it is yours, or you have "
                "looked at where its paths lead, give --allow-outside."
            )
        strange = {name: "" for name in ("pair", "origin") if not believed(getattr(row, name))}
        left_out += len(strange)
        yield number, replace(row, **strange) if strange else row  # type: ignore[type-var]
    if left_out:
        _log.warning(
            "%s: %d pairs and origins leave the folder of the index, which was not written at this "
            "place, and are left out; --allow-outside believes them.", file, left_out,
        )  # fmt: skip


def links_outside(files: Iterable[Path], root: Path) -> Iterator[Path]:
    """Yield the files below ``root`` that are links, or below links, which lead out of it."""
    whole, folders = root.resolve(), dict[Path, bool]()
    for file in files:
        folder = file.parent
        try:
            if folder not in folders:
                folders[folder] = folder.resolve().is_relative_to(whole)
            link = file.is_symlink()
            inside = folders[folder] and (not link or file.resolve().is_relative_to(whole))
        except (OSError, RuntimeError, ValueError):
            continue  # no file can be there; whoever opens it says so
        if not inside:
            yield file


def _leaving(path: str) -> str:
    """Return a relative path without detours if it leaves its folder, else nothing."""
    if not path.startswith("../") and "/../" not in path:
        return ""
    if path.rpartition("/")[2] in ("", ".", ".."):  # a folder, which is refused anyway
        return ""
    straight = posixpath.normpath(path)
    return straight if straight.startswith("../") else ""


def _above(folder: str) -> str:
    return folder if posixpath.basename(folder) == ".." else posixpath.dirname(folder)


def _is_below(folder: str, other: str) -> bool:
    return folder == other or folder.startswith(f"{other}/")
