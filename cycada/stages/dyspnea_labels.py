"""Rated intervals: who was short of breath when, and what ``cycada monitor`` saw meanwhile."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cycada.action_units import column
from cycada.data.label_table import read_table
from cycada.errors import DataError, UsageError
from cycada.progress import Progress
from cycada.vitals.record import VITALS_NAME, Vitals, read_vitals

COLUMNS = ("vitals", "subject", "start", "end")
RATINGS = ("dyspnea", "dvas")

DVAS_THRESHOLD = 4.0
"""On the visual analogue scale from 0 to 10: what IC-RDOS was made to tell (Persichini et al.,
Anesthesiology 2015, 123:830)."""

_HIGHEST = 10.0
_KNOWN = 1 / 3  # share of an interval's seconds in which a feature must be known to have a mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """One interval.

    Attributes:
        subject: Whose.
        dyspnea: How it was rated.
        means: Feature -> mean over the seconds in which it is known; those that are known in less
            than a third of them are left out.
    """

    subject: str
    dyspnea: bool
    means: Mapping[str, float]


@dataclass(slots=True)
class _Row:
    number: int
    vitals: Path
    subject: str
    start: float
    end: float
    dyspnea: bool
    seconds: int = 0
    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, vitals: Vitals) -> None:
        """Count a second that lies in the interval."""
        if not self.start < vitals.seconds <= self.end:
            return
        self.seconds += 1
        for name, value in _values(vitals).items():
            if not math.isnan(value):
                self.sums[name] += value
                self.counts[name] += 1

    def rated(self) -> Rated:
        """Return what was seen in it."""
        return Rated(
            subject=self.subject, dyspnea=self.dyspnea,
            means={
                name: self.sums[name] / count
                for name, count in self.counts.items()
                if count >= _KNOWN * self.seconds
            },
        )  # fmt: skip


def read_rated(labels: Path, *, threshold: float | None, progress: Progress) -> list[Rated]:
    """Read the intervals of a table, and what was seen in them.

    The table has a row for each interval: ``vitals`` (the path of a ``vitals.csv``, or of its
    folder, from the table's own folder), ``subject``, ``start`` and ``end`` in seconds, and either
    ``dyspnea`` (0 or 1) or ``dvas`` (0 to 10).

    Args:
        labels: The table.
        threshold: D-VAS from which an interval counts as dyspnea; ``None``:
            :data:`DVAS_THRESHOLD`.
        progress: Shows the tables of vitals.

    Raises:
        DataError: A table cannot be read, a cell is wrong, or an interval holds no second.
        UsageError: A threshold for ratings of 0 and 1.
    """
    rows = _rows(labels, threshold)
    by_file: dict[Path, list[_Row]] = defaultdict(list)
    for row in rows:
        by_file[row.vitals].append(row)
    for file, wanted in progress(by_file.items(), total=len(by_file), desc="vitals"):
        last = -math.inf
        for vitals in read_vitals(file):
            last = vitals.seconds
            for row in wanted:
                row.add(vitals)
        for row in wanted:
            if not row.seconds:
                raise DataError(
                    f"{labels}, row {row.number}: no second of {file} lies between {row.start:g} "
                    f"and {row.end:g}; its last one is {last:g}."
                )
    return [row.rated() for row in rows]


def _values(vitals: Vitals) -> dict[str, float]:
    units = {column(number): value for number, value in vitals.units.items()}
    return {
        "respiration_rate": vitals.rate,
        "expressivity_rate": vitals.expressivity_rate,
        **units,
    }


def _rows(labels: Path, threshold: float | None) -> list[_Row]:
    if not labels.exists():
        raise DataError(f"{labels}: there is no such table of labels.")
    header, cells = read_table(labels)
    _check_header(labels, header)
    rating = next(name for name in RATINGS if name in header)
    if rating == "dyspnea" and threshold is not None:
        raise UsageError(
            "--threshold is for a column 'dvas'; 'dyspnea' holds 0 or 1. Leave it out."
        )
    cut = DVAS_THRESHOLD if threshold is None else threshold
    rows = []
    for number, texts in cells:
        row = dict(zip(header, texts, strict=True))
        where = f"{labels}, row {number}"
        rows.append(_Row(
            number=number,
            vitals=_vitals_of(labels, row["vitals"], where),
            subject=_subject_of(row["subject"], where),
            start=_number(row, "start", where),
            end=_number(row, "end", where),
            dyspnea=_rating(row, rating, cut, where),
        ))  # fmt: skip
        if rows[-1].end <= rows[-1].start:
            raise DataError(f"{where}: ends at {row['end']}, and begins at {row['start']}.")
    if not rows:
        raise DataError(f"{labels}: has a header and no row.")
    return rows


def _check_header(labels: Path, header: Sequence[str]) -> None:
    for name in COLUMNS:
        if name not in header:
            raise DataError(
                f"{labels}: has no column {name!r}; expected {', '.join(COLUMNS)}, and 'dyspnea' "
                "or 'dvas'."
            )
    given = [name for name in RATINGS if name in header]
    if len(given) != 1:
        raise DataError(f"{labels}: expected one of the columns 'dyspnea' and 'dvas'.")


def _vitals_of(labels: Path, text: str, where: str) -> Path:
    if not text:
        raise DataError(f"{where}: names no vitals.csv.")
    path = labels.parent / text
    path = path / VITALS_NAME if path.is_dir() else path
    if not path.exists():
        raise DataError(f"{where}: there is no {path}.")
    return path


def _subject_of(text: str, where: str) -> str:
    if not text:
        raise DataError(
            f"{where}: names no subject; whose interval it is must be known, so that nobody is "
            "fitted to and judged by."
        )
    return text


def _number(row: Mapping[str, str], name: str, where: str) -> float:
    try:
        value = float(row[name])
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise DataError(f"{where}, column {name}: expected a number from 0, found {row[name]!r}.")
    return value


def _rating(row: Mapping[str, str], name: str, cut: float, where: str) -> bool:
    value = _number(row, name, where)
    if name == "dvas":
        if value > _HIGHEST:
            raise DataError(
                f"{where}, column dvas: expected 0 to 10, found {value:g}; divide mm by 10."
            )
        return value >= cut
    if value not in (0, 1):
        raise DataError(f"{where}, column dyspnea: expected 0 or 1, found {row[name]!r}.")
    return value == 1
