"""Lists of images to leave out of an index, as marked on a page or written by hand.

A list is a CSV table. Its column ``path`` names an image as the index does that was looked at;
where a page names nobody, there is ``digest`` instead, the first 16 hexadecimal digits of the
SHA-256 of that path. ``set`` says which pictures of the page it was marked among, ``reason`` why.

A path is one from the folder of an index, and another index may lie elsewhere. So a list is matched
by set: all of its rows must be found under one and the same way of naming images.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cycada.errors import DataError
from cycada.files import check_table

Naming = Callable[[], Sequence[str]]
"""Gives the name of every image in order, under one way of naming them; empty where it has none."""

_DIGEST = re.compile(r"[0-9a-f]{16}")
_KNOWN = ("path", "digest", "set", "reason")
_DEEPER = 5  # folders that an index may lie below one that leads to the images
_KEPT = 2  # namings whose tables are kept for the next set: the likely ones
_NOWHERE = "\0"  # a folder that no path leads through


class Mark(NamedTuple):
    """A row of a list: an image to be left out."""

    file: Path  # the list
    row: int  # in it
    name: str  # path or digest
    is_digest: bool
    group: str  # the set of pictures that it was marked among
    reason: str

    @property
    def told(self) -> str:
        """The row, for an error."""
        return f"{self.file}, row {self.row}: {self.name}"


def path_digest(path: str) -> str:
    """Return how a page that names nobody names the image of a path."""
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def read_marks(file: Path) -> list[Mark]:
    """Read a list.

    Raises:
        DataError: It is another table, holds no row, or cannot be read.
    """
    try:
        check_table(file)
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.reader(stream, strict=True))
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such list.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a CSV table in UTF-8 ({error}).") from error
    header = [name.strip() for name in rows[0]] if rows else []
    place = {name: number for number, name in enumerate(header)}
    if ("path" in place) == ("digest" in place):
        raise DataError(
            f"{file}: expected a table with the column path or the column digest, and beside it "
            "set and reason."
        )
    for name in header:
        if name not in _KNOWN:
            raise DataError(f"{file}: unknown column {name!r}. Known are {', '.join(_KNOWN)}.")
    marks = []
    for number, row in enumerate(rows[1:], start=2):
        if not row:  # a blank line
            continue
        if len(row) != len(header):
            raise DataError(
                f"{file}, row {number}: has {len(row)} cells, but the header has {len(header)}."
            )
        cells = dict(zip(header, row, strict=True))
        is_digest = "digest" in cells
        name = cells["digest"].strip().lower() if is_digest else cells["path"]
        if not name or (is_digest and not _DIGEST.fullmatch(name)):
            wanted = "16 hexadecimal digits" if is_digest else "a path"
            raise DataError(f"{file}, row {number}: expected {wanted}, found {name!r}.")
        group, reason = cells.get("set", ""), cells.get("reason", "")
        marks.append(Mark(file, number, name, is_digest, group, reason))
    if not marks:
        raise DataError(f"{file}: names no image to leave out.")
    return marks


def marked(
    marks: Sequence[Mark], namings: Sequence[Naming]
) -> tuple[dict[int, Mark], list[tuple[Path, str, int]]]:
    """Return which images are marked, and the sets of which none is here.

    Args:
        marks: Rows of lists.
        namings: Ways to name the images, tried in this order for each set.

    Returns:
        marked: Number of the image -> its row, the first of several.
        strange: List, name and size of each set that names no image: it is of another index.

    Raises:
        DataError: A set names images that are here and others that are not, or no set names any.
    """
    groups: dict[tuple[Path, str], list[Mark]] = {}
    for mark in marks:
        groups.setdefault((mark.file, mark.group), []).append(mark)
    tables = _Tables(namings)
    found: dict[int, Mark] = {}
    strange = []
    for (file, group), rows in groups.items():
        places = _best(rows, tables)
        lacking = [row for row, place in zip(rows, places, strict=True) if place is None]
        if len(lacking) == len(rows):
            strange.append((file, group, len(rows)))
            continue
        if lacking:
            told = f"{len(rows) - len(lacking)} of the {len(rows)} rows"
            raise DataError(
                f"{lacking[0].told} is no image of this index, but {told} of the set {group!r} "
                "are; give the list of the index that was looked at."
            )
        for row, place in zip(rows, places, strict=True):
            if place is not None:
                found.setdefault(place, row)
    if not found:
        raise DataError(
            f"{marks[0].told} is no image of this index, nor is any other that is to be left out; "
            "give --from the index that was looked at, and its images are named alike."
        )
    return found, strange


def seen_from(files: Sequence[Path], *folders: Path) -> Iterator[Naming]:
    """Yield how indexes near the files or near folders may name them.

    Such an index lies in a folder above, or some folders deeper in one of these.

    Args:
        files: Absolute, without steps upwards.
        folders: Absolute.
    """
    drives = {file.anchor for file in files}
    around = [os.path.commonpath([str(file.parent) for file in files])] if len(drives) == 1 else []
    places = (*folders, *map(Path, around))
    above = dict.fromkeys(each for place in places for each in (place, *place.parents))
    for folder in above:
        for deeper in range(_DEEPER):
            yield partial(_relative, files, (*folder.parts, *[_NOWHERE] * deeper))


def _relative(files: Iterable[Path], root: tuple[str, ...]) -> list[str]:
    return [_path_between(root, file.parts) for file in files]


def _path_between(root: tuple[str, ...], parts: tuple[str, ...]) -> str:
    """Return the path from a folder to a file, as ``os.path.relpath`` does."""
    alike = 0
    for one, other in zip(root, parts, strict=False):
        if one != other:
            break
        alike += 1
    return "/".join([".."] * (len(root) - alike) + list(parts[alike:]))


class _Tables:
    """Where each name leads, made when it is asked for."""

    def __init__(self, namings: Sequence[Naming]) -> None:
        self._namings = namings
        self._made: dict[tuple[int, bool], dict[str, int | None]] = {}

    def __len__(self) -> int:
        return len(self._namings)

    def of(self, number: int, *, digests: bool) -> dict[str, int | None]:
        """Return name or digest -> number of the image, ``None`` where it is that of several."""
        key = (number, digests)
        if key in self._made:
            return self._made[key]
        table: dict[str, int | None] = {}
        for image, name in enumerate(self._namings[number]()):
            if name:
                known = path_digest(name) if digests else os.path.normpath(name)
                table[known] = image if known not in table else None
        if number < _KEPT:
            self._made[key] = table
        return table


def _best(rows: Sequence[Mark], tables: _Tables) -> list[int | None]:
    """Return the images of the rows under the first naming that knows all, or else the most."""
    best: list[int | None] = [None] * len(rows)
    digests = rows[0].is_digest
    names = [row.name if digests else os.path.normpath(row.name) for row in rows]
    for number in range(len(tables)):
        table = tables.of(number, digests=digests)
        places = [table.get(name) for name in names]
        if None not in places:
            return places
        if places.count(None) < best.count(None):
            best = places
    return best
