"""``truth.csv``: how a patient breathed, as known from a phantom, a belt or a ventilator."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cycada.errors import DataError, reason
from cycada.files import check_table

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

NO_ROUTE = "none"
"""Route of the air of an intubated patient: none passes nose or mouth."""

_NEEDED = ("seconds", "respiration_rate")
_SLOWEST = 1.0  # s between rows of a truth, and by which a window may reach beyond it


@dataclass(frozen=True, slots=True)
class Truth:
    """What happened in a clip.

    Attributes:
        seconds: ``(T,)`` since the first frame, rising.
        rate: ``(T,)`` breaths per minute; 0 where none is taken, NaN where unknown.
        apnea: ``(T,)`` True where breathing stands still.
        dyspnea: ``(T,)`` True where the patient is short of breath; ``None`` where nobody said.
        seen: Whether air passes nose or mouth at all.
        subject: Who it is; empty where the table does not say.
    """

    seconds: Array
    rate: Array
    apnea: Bools
    dyspnea: Bools | None = None
    seen: bool = True
    subject: str = ""


class Windows(NamedTuple):
    """What is true of windows of time, ``(N,)`` each."""

    rate: Array  # mean breaths per minute while there is breathing; NaN without, or not all known
    owed: Bools  # the patient breathes in the whole of it: a rate should be told
    without: Bools  # no breathing is to be seen in any of it: none should be told


def true_windows(truth: Truth, ends: Array, *, length: float) -> Windows:
    """Return what is true of the windows that end at ``(N,)`` seconds and look back ``length``.

    The rate of a window is the mean of the rates of its breathing moments: the breaths in it over
    the time that they take. It is known only if the truth tells of the whole window: of one that
    begins before the clip, of what there is of it. Such a window is neither owed nor without.
    """
    # Sums of what came before each moment, so that a window is a difference of two.
    known = np.isfinite(truth.rate) | truth.apnea  # who does not breathe has no rate to measure
    breathes = known & (truth.rate > 0) & ~truth.apnea & truth.seen
    rates = np.where(breathes, truth.rate, 0.0)
    first = np.searchsorted(truth.seconds, ends - length, side="right")
    last = np.searchsorted(truth.seconds, ends, side="right")

    def within(values: Array | Bools) -> Array:
        sums = np.concatenate([[0.0], np.cumsum(values)])
        return np.asarray(sums[last] - sums[first])

    count, breathing = within(np.ones(len(rates))), within(breathes)
    begins, slack = np.maximum(ends - length, 0.0), _SLOWEST + 1e-6
    covered = (truth.seconds[0] <= begins + slack) & (ends <= truth.seconds[-1] + slack)
    told = covered & (count > 0) & (within(known) == count)
    whole = told & (ends >= length)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.where(told & (breathing > 0), within(rates) / breathing, np.nan)
    return Windows(
        rate=np.asarray(rate),
        owed=whole & (breathing == count),
        without=whole & (breathing == 0),
    )


def truth_at(truth: Truth, flags: Bools, seconds: Array) -> Bools:
    """Return ``(N,)`` what ``(T,)`` flags of a truth say at other times: at the row before.

    Before the first row, where :func:`begun` is False, nothing is set.
    """
    at = np.searchsorted(truth.seconds, seconds + 1e-6, side="right") - 1
    return np.asarray(flags[np.maximum(at, 0)]) & (at >= 0)


def begun(truth: Truth, seconds: Array) -> Bools:
    """Return ``(N,)`` whether a truth has begun at these times; before, it says nothing."""
    return np.asarray(seconds + 1e-6 >= truth.seconds[0])


def read_truth(file: Path) -> Truth:
    """Read a table with the columns seconds and respiration_rate, one row a second or more.

    The columns ``apnea`` and ``dyspnea`` (1 or 0), ``route`` (``none`` where no air passes nose or
    mouth) and ``subject`` may be missing; without ``apnea`` a rate of 0 is one.

    Raises:
        DataError: It cannot be read, lacks a column, has no rows, or a cell is not what it should
            be.
    """
    rows = _rows(file)
    seconds = _column(file, rows, "seconds")
    gaps = np.diff(seconds)
    if not np.isfinite(seconds).all() or (gaps <= 0).any() or (gaps > _SLOWEST + 1e-6).any():
        raise DataError(
            f"{file}, column seconds: expected times that rise by {_SLOWEST:g} s at most, since "
            "rates are compared second by second."
        )
    rate = _column(file, rows, "respiration_rate")
    apnea = _flags(file, rows, "apnea")
    return Truth(
        seconds=seconds,
        rate=rate,
        apnea=rate == 0 if apnea is None else apnea,
        dyspnea=_flags(file, rows, "dyspnea"),
        seen=rows[0].get("route") != NO_ROUTE,
        subject=rows[0].get("subject") or "",
    )


def _rows(file: Path) -> Sequence[Mapping[str, str]]:
    try:
        check_table(file)
        with file.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            header = reader.fieldnames or []
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a CSV table ({reason(error)}).") from error
    missing = [name for name in _NEEDED if name not in header]
    if missing:
        raise DataError(
            f"{file}: has no column {missing[0]!r}; a truth has {' and '.join(_NEEDED)}."
        )
    if not rows:
        raise DataError(f"{file}: has no rows.")
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise DataError(f"{file}, row {number}: has not as many cells as the header.")
    return rows


def _column(file: Path, rows: Sequence[Mapping[str, str]], name: str) -> Array:
    """Return numbers of at least 0; NaN for empty cells."""
    return np.array([
        _number(file, place, name, row[name]) for place, row in enumerate(rows, start=2)
    ])  # fmt: skip


def _flags(file: Path, rows: Sequence[Mapping[str, str]], name: str) -> Bools | None:
    if name not in rows[0]:
        return None
    values = _column(file, rows, name)
    if not np.isin(values, (0, 1)).all():
        raise DataError(f"{file}, column {name}: expected 1 or 0 in every row.")
    return np.asarray(values == 1)


def _number(file: Path, row: int, name: str, cell: str) -> float:
    try:
        value = float(cell) if cell else math.nan
    except ValueError:
        value = -1.0
    if value < 0 or math.isinf(value):
        raise DataError(
            f"{file}, row {row}, column {name}: expected a number of at least 0, found {cell!r}."
        )
    return value
