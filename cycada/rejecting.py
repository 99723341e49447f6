"""What a verb that works through many files sets aside because it cannot be read.

``rejected.csv`` in the folder of the results has a row for each: its path and the reason. It grows
while the verb works, so that a process that is killed has told what it found; at the end it is
written whole, in the order of the source. Where nothing is set aside there is none.
"""

from __future__ import annotations

import csv
import io
import logging
import math
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cycada.errors import DataError, UsageError, reason
from cycada.files import append_text, replacing

REJECTED_NAME = "rejected.csv"

_log = logging.getLogger(__name__)
_HEADER = ("path", "reason")
_LIMIT = re.compile(r"(\d+(?:\.\d+)?)%|(\d+)")


@dataclass(frozen=True, slots=True)
class Limit:
    """How many files may be set aside before a verb stops: whichever of the two is more."""

    share: float = 0.01  # of all files
    least: int = 10

    def of(self, total: int) -> int:
        """Return how many of ``total`` that are."""
        return max(self.least, math.floor(self.share * total + 1e-9))


def parse_limit(text: str) -> Limit:
    """Return the limit of ``--max-rejected``: a number of files, or a percentage such as 5%.

    Raises:
        UsageError: It is neither.
    """
    found = _LIMIT.fullmatch(text.strip())
    share = float(found[1]) / 100 if found and found[1] else 0.0
    if not found or share > 1:
        raise UsageError(
            f"--max-rejected {text}: give a number of files such as 25, or a percentage from 0% "
            "to 100%."
        )
    return Limit(share, int(found[2] or 0))


class Rejection(NamedTuple):
    """A file that was set aside."""

    place: tuple[int, ...]  # in the order of the source
    path: str  # as the source names it
    reason: str  # without a full stop


class Rejections:
    """What has been set aside so far; threads may share it."""

    def __init__(self, folder: Path, *, limit: Limit, total: int = 0, what: str = "images") -> None:
        """Begin with none; what an earlier run has set aside is tried again.

        Args:
            folder: Of the results; ``rejected.csv`` is in it.
            limit: How many may be set aside.
            total: Of how many files; what is found later is added to it.
            what: Name of the files in sentences.
        """
        self.file = folder / REJECTED_NAME
        self.total, self.limit, self.what = total, limit, what
        self._found: dict[tuple[int, ...], Rejection] = {}
        self._lock = threading.Lock()

    def __contains__(self, place: tuple[int, ...]) -> bool:
        """Tell whether the file of that place is set aside."""
        return place in self._found

    def __len__(self) -> int:
        """Return how many are set aside."""
        return len(self._found)

    @property
    def rows(self) -> list[Rejection]:
        """Those that are set aside, in the order of the source."""
        return sorted(self._found.values())

    def begin(self) -> None:
        """Remove the list of an earlier run."""
        self.file.unlink(missing_ok=True)

    def add(self, place: tuple[int, ...], path: str, why: str) -> None:
        """Set a file aside; a file that is already is not counted twice.

        Raises:
            DataError: That is one too many, or the list cannot be written.
        """
        with self._lock:
            if place in self._found:
                return
            self._found[place] = Rejection(place, path, why)
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                head = [] if self.file.exists() else [_HEADER]
                append_text(self.file, _text([*head, (path, why)]))
            except OSError as error:
                raise DataError(f"{self.file}: cannot be written ({reason(error)}).") from error
            self.check()

    def join(self, others: Iterable[Sequence[Rejection]]) -> None:
        """Take in what other processes have set aside."""
        self._found |= {row.place: row for rows in others for row in rows}

    def check(self, *, listed: str = "") -> None:
        """Refuse to go on when too many are set aside.

        Args:
            listed: Sentence that tells where all of them are listed, if not in the file.

        Raises:
            DataError: Saying how many, and where they are listed.
        """
        count = len(self._found)
        if count <= self.limit.of(self.total):
            return
        raise DataError(
            f"{count} of {self.total} {self.what} cannot be used, more than --max-rejected allows "
            f"({self.limit.of(self.total)}); {self.told_first()}. "
            f"{listed or f'{self.file} lists them.'} Repair them, or allow more; the same command "
            "continues."
        )

    def check_some_left(self) -> None:
        """Refuse to go on with nothing.

        Raises:
            DataError: All are set aside.
        """
        if self._found and len(self._found) >= self.total:
            raise DataError(f"none of {self.total} {self.what} can be used; {self.told_first()}.")

    def told_first(self) -> str:
        """Return, for a sentence, what is wrong with the first that is set aside."""
        return "".join(f"the first is {row.path}: {row.reason}" for row in self.rows[:1])

    def close(self) -> None:
        """Write the list whole and in order, and say so; without one, leave none.

        Raises:
            DataError: It cannot be written.
        """
        if not self._found:
            self.begin()
            return
        write_rejected(self.file, self.rows)
        _log.warning(
            "%d of %d %s were set aside (%s).", len(self), self.total, self.what, self.file
        )


def as_listed(path: str) -> str:
    """Return a path as the list holds it: what UTF-8 has no sign for is escaped."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def fault_of_file(error: DataError, file: Path) -> str:
    """Return what an error says of a file, without its name in front and the full stop."""
    return str(error).removeprefix(f"{file}: ").rstrip(".")


def write_rejected(file: Path, rows: Iterable[Rejection]) -> None:
    """Write a list of files that were set aside, whole or not at all.

    Raises:
        DataError: It cannot be written.
    """
    try:
        with replacing(file) as temporary:
            text = _text([_HEADER, *((row.path, row.reason) for row in rows)])
            temporary.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise DataError(f"{file}: cannot be written ({reason(error)}).") from error


def read_rejected(file: Path) -> list[Rejection]:
    """Read ``rejected.csv``; none where there is no such file.

    A last row that was being written when the process was killed does not count.

    Raises:
        DataError: It is another table, or cannot be read.
    """
    try:
        content = file.read_bytes()
        text = content[: content.rfind(b"\n") + 1].decode("utf-8")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a CSV table in UTF-8 ({error}).") from error
    if rows and tuple(rows[0]) != _HEADER:
        raise DataError(f"{file}, row 1: expected the columns {', '.join(_HEADER)}.")
    for number, cells in enumerate(rows[1:], start=2):
        if len(cells) != len(_HEADER):
            raise DataError(f"{file}, row {number}: has {len(cells)} cells, not {len(_HEADER)}.")
    return [Rejection((number,), *cells) for number, cells in enumerate(rows[1:])]


def _text(rows: Iterable[Sequence[str]]) -> str:
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    return as_listed(table.getvalue())
