"""``emotionet``: files of the EmotioNet challenge (release 1.2), one image per line.

Documented (by the code that reads them): ``*.txt``, separated by tabs: the address of the image,
its original address, and 60 values, those of AUs 1 to 60 in order: 1 present, 0 absent, 999 not
annotated. The images are called as the first address ends (``N_0000000001_00008.jpg``), and no two
alike. Some copies have a header that names the AUs, in place of which the order is then not used.

Assumed: blanks may part the cells instead of tabs. Columns of numbers that FACS does not know are
left out, with a note if any of them has a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from cycada.action_units import BY_NUMBER
from cycada.data.label_columns import unit_columns
from cycada.data.label_table import (
    ALIGNED,
    LabelRow,
    LabelTable,
    Peek,
    Reading,
    Source,
    check_value,
    number_in,
    unknown_units,
    unreadable,
)
from cycada.errors import DataError
from cycada.files import check_table

NOT_ANNOTATED = 999.0

_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
_UNITS = 60
_BEFORE = 2  # addresses


def recognise(peek: Peek) -> str | None:
    """Return why a file seems to belong to EmotioNet, if it does."""
    first, *cells = peek.line.split() or [""]
    if _ADDRESS.fullmatch(first) and len(cells) == _UNITS + _BEFORE - 1:
        return f"row 1 holds the addresses of an image and {_UNITS} values"
    if _is_header(peek.line) and peek.file.suffix.lower() == ".txt":
        return "row 1 names an address and AUs"
    return None


def read(source: Source, reading: Reading) -> LabelTable:
    """Read the lines of wanted images; of the others only the first, as an example.

    Raises:
        DataError: naming the file and, where there is one, the row and AU.
    """
    reading = replace(reading, missing=reading.missing | {NOT_ANNOTATED})
    seen: dict[tuple[tuple[int, ...], str], Mapping[int, float]] = {}
    rows: list[LabelRow] = []
    odd: set[int] = set()
    unused = 0
    for file, _ in source.files:
        numbers: tuple[int, ...] = tuple(range(1, _UNITS + 1))
        for row, line in _lines(file):
            if row == 1 and _is_header(line):
                numbers = _numbers(line, file)
                continue
            address, *rest = _SPACE.split(line, maxsplit=_BEFORE)
            if not _ADDRESS.fullmatch(address) or len(rest) < _BEFORE:
                raise DataError(
                    f"{file}, row {row}: expected two addresses and {len(numbers)} values, found "
                    f"{line[:40]!r}."
                )
            stem = PurePosixPath(address).stem
            if rows and not _is_wanted(stem, reading):
                unused += 1
                continue
            key = (numbers, rest[-1])
            if key not in seen:  # a million lines hold some thousand different ones
                place = f"{file}, row {row}"
                seen[key] = _units(rest[-1], numbers, reading, place=place, odd=odd)
            rows.append(LabelRow(row=row, file=file, stem=stem, action_units=seen[key]))
    left = unknown_units(odd)
    notes = (f"{source.root}: FACS knows no AU {left}; left out.",) if left else ()
    return LabelTable(
        source.root, "occurrence", tuple(rows), notes, layout="emotionet", unused=unused
    )


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, without holding a file of some 300 MB."""
    try:
        check_table(file)
        with file.open(encoding="utf-8-sig") as stream:
            for row, line in enumerate(stream, start=1):
                if stripped := line.strip():
                    yield row, stripped
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(file, error) from error


def _is_header(line: str) -> bool:
    cells = line.split("\t")
    return len(cells) > _BEFORE and "url" in cells[0].lower() and bool(unit_columns(_names(cells)))


def _names(cells: list[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def _numbers(line: str, file: Path) -> tuple[int, ...]:
    names = _names(line.split("\t"))
    units = unit_columns(names)
    if [unit.at for unit in units] != list(range(_BEFORE, len(names))):
        raise DataError(f"{file}, row 1: expected two addresses and then only AUs in the header.")
    return tuple(unit.number for unit in units)


def _is_wanted(stem: str, reading: Reading) -> bool:
    return reading.wanted is None or stem in reading.wanted or stem + ALIGNED in reading.wanted


def _units(
    values: str, numbers: tuple[int, ...], reading: Reading, *, place: str, odd: set[int]
) -> Mapping[int, float]:
    """Return the AUs of one line; ``odd`` collects numbers with a value that FACS lacks."""
    cells = values.split()
    if len(cells) != len(numbers):
        raise DataError(f"{place}: holds {len(cells)} values, but there are {len(numbers)} AUs.")
    known = {}
    for number, text in zip(numbers, cells, strict=True):
        where = f"{place}, AU {number}"
        value = number_in(text, missing=reading.missing, where=where)
        if value is None:
            continue
        if number in BY_NUMBER:
            check_value(value, "occurrence", where=where)
            known[number] = value
        else:
            odd.add(number)
    return known
