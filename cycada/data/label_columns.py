"""Columns of tables that hold Action Units, known by their names and never by their places.

A name tells the FACS number and may tell what the values are (``AU01_r`` and ``au_1_intensity``:
intensity; ``AU01_c``: occurrence; ``AU01_p``: probability) and the half of the face (``AUL1``,
``AUR1``, ``L4``, ``R10``, ``AU12L``, ``AU12_L``). ``AU12_R`` is the right half where there is
``AU12_L``, else an intensity.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cycada.action_units import BY_NUMBER
from cycada.data.label_table import (
    LabelKind,
    Reading,
    Side,
    check_value,
    columns_text,
    listed,
    merge_sides,
    number_in,
)
from cycada.errors import DataError

_UNIT = re.compile(
    r"au[ _]?([lr]?)(\d{1,3})(?:_(r|c|p|intensity|occurrence|probability))?", re.IGNORECASE
)
_BARE_SIDE = re.compile(r"([LR])(\d{1,2})()")  # in capitals, for a short name may be anything
_SIDE_LAST = re.compile(r"(?:AU|au|Au)[ _]?(\d{1,3})(?:_([LRlr])|([LR]))")
_FLAVOUR: Mapping[str, LabelKind] = MappingProxyType(
    {
        "r": "intensity",
        "intensity": "intensity",
        "c": "occurrence",
        "occurrence": "occurrence",
        "p": "probability",
        "probability": "probability",
    }
)


@dataclass(frozen=True, slots=True)
class UnitColumn:
    """A column that holds one AU."""

    at: int
    name: str
    number: int  # by FACS
    side: Side
    kind: LabelKind | None  # None: the name does not tell


def unit_columns(header: Sequence[str]) -> list[UnitColumn]:
    """Return the columns whose names are those of AUs; also of numbers that FACS does not know."""
    found = []
    halves = _halves(header)
    for at, name in enumerate(header):
        if name in halves:
            found.append(UnitColumn(at, name, *halves[name], None))
            continue
        match = _UNIT.fullmatch(name) or _BARE_SIDE.fullmatch(name)
        if match:
            side = match[1].upper()
            kind = _FLAVOUR[match[3].lower()] if match[3] else None
            found.append(UnitColumn(at, name, int(match[2]), side, kind))  # type: ignore[arg-type]
    return found


def _halves(header: Sequence[str]) -> dict[str, tuple[int, Side]]:
    """Return the AU and the side of names that end in a side, such as ``AU12L`` and ``AU12_R``."""
    found: dict[str, tuple[int, Side]] = {}
    for name in header:
        if match := _SIDE_LAST.fullmatch(name):
            side: Side = "L" if (match[2] or match[3]) in "Ll" else "R"
            found[name] = int(match[1]), side
    left = {number for number, side in found.values() if side == "L"}
    return {
        name: (number, side)
        for name, (number, side) in found.items()
        if number in left or not _UNIT.fullmatch(name)
    }


def check_columns(columns: Iterable[UnitColumn], file: Path) -> None:
    """Refuse numbers that FACS does not know, and two columns for the same values.

    Raises:
        DataError: naming the column.
    """
    seen = set()
    for unit in columns:
        if unit.number not in BY_NUMBER:
            raise DataError(f"{file}, row 1: {unit.name!r} is no Action Unit that FACS knows.")
        key = (unit.number, unit.side, unit.kind)
        if key in seen:
            raise DataError(f"{file}, row 1: the column {unit.name!r} is there twice.")
        seen.add(key)


def of_kind(
    columns: Iterable[UnitColumn], kind: LabelKind | None
) -> tuple[list[UnitColumn], list[int]]:
    """Return the columns that hold ``kind`` or may do so, and the AUs that have none such.

    Where an AU has a column of the kind and another of unknown kind, the first is taken.
    """
    by_unit: dict[tuple[int, Side], dict[LabelKind | None, UnitColumn]] = {}
    for unit in columns:
        by_unit.setdefault((unit.number, unit.side), {})[unit.kind] = unit
    chosen = [
        fits for kinds in by_unit.values() if (fits := kinds.get(kind, kinds.get(None))) is not None
    ]
    found = {unit.number for unit in chosen}
    return chosen, sorted({number for number, _ in by_unit} - found)


def left_out(numbers: Sequence[int], kind: LabelKind | None, file: Path) -> list[str]:
    """Return the note about AUs without a column of the kind, if there are any."""
    if not numbers:
        return []
    return [f"{file}: no {kind or 'plain'} column for {columns_text(numbers)}; left out."]


def not_read(
    header: Sequence[str], used: Iterable[int], columns: Iterable[UnitColumn], file: Path
) -> list[str]:
    """Return the note about columns of a table that are not read, if there are any.

    Those come first whose names look like an AU's.

    Args:
        header: of the table.
        used: places of those that name images and the like.
        columns: the AUs that are read.
        file: the table.
    """
    read = {*used, *(unit.at for unit in columns)}
    names = [name for at, name in enumerate(header) if name and at not in read]
    names.sort(key=lambda name: not name.upper().startswith("AU"))
    return [f"{file}: columns not read: {listed(names)}."] if names else []


def sided(columns: Iterable[UnitColumn]) -> list[int]:
    """Return the AUs that have columns for the left or right half of the face."""
    return sorted({unit.number for unit in columns if unit.side})


def merged(values: Iterable[tuple[UnitColumn, float]], kind: LabelKind | None) -> dict[int, float]:
    """Return what is known of each AU, the halves of the face merged (``merge_sides``)."""
    by_unit: dict[int, dict[Side, float | None]] = {}
    for unit, value in values:
        by_unit.setdefault(unit.number, {})[unit.side] = value
    known = {}
    for number, sides in by_unit.items():
        both = sides[""] if sides.keys() == {""} else merge_sides(sides, kind)
        if both is not None:
            known[number] = both
    return known


def units_in(
    cells: Sequence[str],
    columns: Iterable[UnitColumn],
    *,
    kind: LabelKind,
    reading: Reading,
    place: str,
) -> dict[int, float]:
    """Return the AUs of one row of a table that a program wrote.

    Args:
        cells: of the row.
        columns: those to read.
        kind: what they hold.
        reading: says which values mean "not annotated".
        place: file and row, for a message.

    Raises:
        DataError: a cell holds no number, or one that cannot be of its kind.
    """
    found = []
    for unit in columns:
        where = f"{place}, column {unit.name}"
        value = number_in(cells[unit.at], missing=reading.missing, where=where)
        if value is not None:
            check_value(value, kind, where=where)
            found.append((unit, value))
    return merged(found, kind)
