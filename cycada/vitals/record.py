"""``vitals.csv`` and ``events.csv`` of ``cycada monitor``: what was seen of a patient, by seconds.

A row of the first tells what was known that many seconds after the first frame: of the frames of
the last second, and of what went before. An empty cell says that something is not known; it never
means 0. A row of the second is an alarm.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cycada.action_units import column, number_of
from cycada.errors import DataError
from cycada.files import check_table
from cycada.vitals.alarms import Event

VITALS_NAME, EVENTS_NAME = "vitals.csv", "events.csv"

BREATHING_COLUMNS = (
    "seconds", "frames", "face",
    "respiration_rate", "respiration_quality", "respiration_reason", "part", "apnea",
)  # fmt: skip
"""Columns before those of the Action Units, ``AU01`` and its like."""

SCORE_COLUMNS = (
    "expressivity_rate", "expressivity_entropy", "expressivity_lost",
    "dyspnea_score", "missing", "reasons",
)  # fmt: skip
"""Columns behind them."""

EVENT_COLUMNS = ("kind", "start", "raised", "end", "peak", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What is known at one moment."""

    seconds: float  # since the first frame; a whole number
    frames: int = 0  # of the last second
    face: float = 0.0  # share of those in which the face was looked for that show one
    rate: float = math.nan  # breaths per minute; NaN: none is given
    quality: float = 0.0  # of the rate, 0 to 1
    reason: str = ""  # why there is no rate
    part: str = ""  # of the face, that tells the breathing
    apnea: bool | None = None  # None: cannot be told
    units: Mapping[int, float] = field(default_factory=dict, hash=False)
    """FACS number -> probability, smoothed over time, 0 to 1; NaN where it was not seen."""
    expressivity_rate: float = math.nan  # Action Units that begin, per minute
    expressivity_entropy: float = math.nan  # 0 to 1
    expressivity_lost: bool | None = None  # None: cannot be told
    score: float = math.nan  # of dyspnea, 0 to 1; NaN: too little is known
    missing: str = ""  # items of the score that are not known, with the reason
    reasons: str = ""  # what gave points, and what else may look so


def vitals_columns(numbers: Sequence[int]) -> tuple[str, ...]:
    """Return the header for these Action Units."""
    return (*BREATHING_COLUMNS, *map(column, numbers), *SCORE_COLUMNS)


def vitals_row(vitals: Vitals, numbers: Sequence[int]) -> list[str]:
    """Return the cells of a moment, in the order of :func:`vitals_columns`."""
    return [
        f"{vitals.seconds:g}", str(vitals.frames), f"{vitals.face:.2f}",
        _figure(vitals.rate, 2), f"{vitals.quality:.3f}", vitals.reason, vitals.part,
        _flag(value=vitals.apnea),
        *(_figure(vitals.units.get(number, math.nan), 4) for number in numbers),
        _figure(vitals.expressivity_rate, 2), _figure(vitals.expressivity_entropy, 3),
        _flag(value=vitals.expressivity_lost),
        _figure(vitals.score, 4), vitals.missing, vitals.reasons,
    ]  # fmt: skip


def event_row(event: Event) -> list[str]:
    """Return the cells of an alarm, in the order of :data:`EVENT_COLUMNS`."""
    times = (_figure(value, 2) for value in (event.start, event.raised, event.end))
    return [event.kind, *times, _figure(event.peak, 4), event.reason]


def as_lines(rows: Iterable[Sequence[str]]) -> str:
    """Return rows as lines of a table."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def read_vitals(file: Path) -> Iterator[Vitals]:
    """Yield the rows of ``vitals.csv``, one at a time.

    Raises:
        DataError: It cannot be read, lacks a column, or a cell is not what it should be.
    """
    rows = _rows(file, (*BREATHING_COLUMNS, *SCORE_COLUMNS))
    numbers: dict[str, int] | None = None
    for row, cells in rows:
        if numbers is None:
            others = {*BREATHING_COLUMNS, *SCORE_COLUMNS}
            try:
                numbers = {name: number_of(name) for name in cells if name not in others}
            except DataError as error:
                raise DataError(f"{file}, row 1: {error}") from None
        yield _vitals(_Cells(file, row, cells), numbers)


def read_events(file: Path) -> list[Event]:
    """Return the rows of ``events.csv``.

    Raises:
        DataError: It cannot be read, lacks a column, or a cell is not what it should be.
    """
    return [
        Event(
            kind=told.cells["kind"], start=told.number("start", needed=True),
            raised=told.number("raised", needed=True), end=told.number("end"),
            peak=told.number("peak"), reason=told.cells["reason"],
        )
        for row, cells in _rows(file, EVENT_COLUMNS)
        for told in [_Cells(file, row, cells)]
    ]  # fmt: skip


def _vitals(told: _Cells, numbers: Mapping[str, int]) -> Vitals:
    cells = told.cells
    return Vitals(
        seconds=told.number("seconds", needed=True),
        frames=int(told.number("frames", needed=True)),
        face=told.number("face", high=1, needed=True),
        rate=told.number("respiration_rate"),
        quality=told.number("respiration_quality", high=1, needed=True),
        reason=cells["respiration_reason"],
        part=cells["part"],
        apnea=told.flag("apnea"),
        units={number: told.number(name, high=1) for name, number in numbers.items()},
        expressivity_rate=told.number("expressivity_rate"),
        expressivity_entropy=told.number("expressivity_entropy"),
        expressivity_lost=told.flag("expressivity_lost"),
        score=told.number("dyspnea_score", high=1),
        missing=cells["missing"],
        reasons=cells["reasons"],
    )


@dataclass(frozen=True, slots=True)
class _Cells:
    file: Path
    row: int
    cells: Mapping[str, str]

    def number(self, name: str, *, high: float = math.inf, needed: bool = False) -> float:
        """Return a number from 0 to ``high``; NaN for an empty cell unless it is ``needed``."""
        cell = self.cells[name]
        if not cell and not needed:
            return math.nan
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and 0 <= value <= high):
            told = f"from 0 to {high:g}" if math.isfinite(high) else "of at least 0"
            raise DataError(
                f"{self.file}, row {self.row}, column {name}: expected a number {told}, found "
                f"{cell!r}."
            )
        return value

    def flag(self, name: str) -> bool | None:
        """Return what a cell of 1, 0 or nothing says."""
        value = self.number(name, high=1)
        return None if math.isnan(value) else bool(value)


def _rows(file: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table with their numbers, the header being row 1."""
    try:
        check_table(file)
        with file.open(encoding="utf-8", newline="") as stream:
            rows = csv.reader(stream, strict=True)
            header = next(rows, [])
            for name in needed:
                if name not in header:
                    raise DataError(
                        f"{file}: has no column {name!r}, so `cycada monitor` did not write it."
                    )
            for row, cells in enumerate(rows, start=2):
                if len(cells) != len(header):
                    raise DataError(
                        f"{file}, row {row}: has {len(cells)} cells, but the header has "
                        f"{len(header)}."
                    )
                yield row, dict(zip(header, cells, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a CSV table in UTF-8 ({error}).") from error


def _flag(*, value: bool | None) -> str:
    return "" if value is None else str(int(value))


def _figure(value: float, decimals: int) -> str:
    return "" if math.isnan(value) else f"{value:.{decimals}f}"
