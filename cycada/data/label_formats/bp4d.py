"""``bp4d`` and ``bp4d-intensity``: BP4D-Spontaneous and BP4D+.

Documented (by the code that reads them: ME-GraphAU, BigSmall, AU R-CNN):

- Occurrence: ``AUCoding/AU_OCC/F001_T1.csv``, one file per subject and task. The first row holds
  AU numbers, below a 0 in the first column, which holds the frame as the image is called
  (``F001/T1/2440.jpg``). Values 0 and 1; 9: not coded, as where the part of the face is hidden.
- Intensity: ``AU_INT/AU06/F001_T1_AU06.csv``, a line ``frame,intensity`` per frame without a
  header, for AUs 6, 10, 12, 14 and 17.

Assumed: 9 means the same among intensities, where it can be no value. The head of the first column
may also be empty or ``frame``. Numbers that FACS does not know are left out, with a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from cycada.action_units import BY_NUMBER
from cycada.data.label_table import (
    LabelKind,
    LabelRow,
    LabelTable,
    Peek,
    Reading,
    Source,
    check_value,
    number_in,
    read_cells,
    read_table,
    unknown_units,
    whole_number,
)
from cycada.errors import DataError

NOT_CODED = 9.0

_FILE = re.compile(r"([FM]\d+)_(T\d+)(?:_AU(\d+))?\.csv", re.IGNORECASE)
_FOLDER = re.compile(r"AU(\d+)", re.IGNORECASE)
_FIRST = ("0", "", "frame")

_Rows = dict[tuple[str, str, int], tuple[Path, int, dict[int, float]]]


def recognise(peek: Peek) -> str | None:
    """Return why a file seems to hold occurrences of BP4D, if it does."""
    match = _FILE.fullmatch(peek.file.name)
    first, *numbers = peek.header or ("",)
    numbered = len(numbers) > 1 and all(map(str.isdecimal, numbers))
    if match and not match[3] and first.lower() in _FIRST and numbered:
        return f"the name {peek.file.name} is a subject's and a task's, and row 1 holds numbers"
    return None


def recognise_intensity(peek: Peek) -> str | None:
    """Return why a file seems to hold intensities of BP4D, if it does."""
    match = _FILE.fullmatch(peek.file.name)
    if match and len(peek.header) == 2 and (match[3] or _FOLDER.fullmatch(peek.file.parent.name)):
        return f"the name {peek.file.name} is a subject's, a task's and an AU's"
    return None


def read(source: Source, reading: Reading) -> LabelTable:
    """Read the occurrences of all subjects and tasks.

    Raises:
        DataError: naming the file and, where there is one, the row and column.
    """
    rows: list[LabelRow] = []
    odd: set[int] = set()
    seen: dict[tuple[str, ...], dict[tuple[str, ...], Mapping[int, float]]] = {}
    for file, _ in source.files:
        subject, sequence, _ = _whose(file)
        header, lines = read_table(file)
        columns = _columns(header, file)
        odd |= set(columns) - BY_NUMBER.keys()
        known = {number: at for number, at in columns.items() if number in BY_NUMBER}
        units = seen.setdefault(tuple(header), {})  # rows that know the same share one mapping
        for row, cells in lines:
            values = tuple(cells[1:])
            if values not in units:
                units[values] = _units(cells, known, reading, place=_place(file, row))
            frame = whole_number(cells[0], where=_place(file, row))
            rows.append(
                LabelRow(
                    row=row, file=file, subject=subject, sequence=sequence, frame=frame,
                    action_units=units[values],
                )
            )  # fmt: skip
    _check_once(rows)
    notes = (
        [f"{source.root}: FACS knows no AU {numbers}; left out."]
        if (numbers := unknown_units(odd))
        else []
    )
    return LabelTable(source.root, "occurrence", tuple(rows), tuple(notes), layout="bp4d")


def read_intensity(source: Source, reading: Reading) -> LabelTable:
    """Read the intensities of all subjects, tasks and AUs.

    Raises:
        DataError: naming the file and the row; a file whose name and folder tell no AU.
    """
    rows: _Rows = {}
    for file, _ in source.files:
        subject, sequence, number = _whose(file)
        if number is None or number not in BY_NUMBER:
            raise DataError(
                f"{file}: its name tells no Action Unit; intensities lie in AU06/F001_T1_AU06.csv."
            )
        for row, cells in read_cells(file):
            if len(cells) != 2:
                raise DataError(f"{_place(file, row)}: expected 'frame,intensity'.")
            frame = whole_number(cells[0], where=_place(file, row))
            known = rows.setdefault((subject, sequence, frame), (file, row, {}))[2]
            value = _value(cells[1], "intensity", reading, place=_place(file, row))
            if value is not None and known.setdefault(number, value) != value:
                raise DataError(
                    f"{_place(file, row)}: frame {frame} is there twice, with two intensities."
                )
    found = tuple(
        LabelRow(
            row=row, file=file, subject=subject, sequence=sequence, frame=frame,
            action_units=known,
        )
        for (subject, sequence, frame), (file, row, known) in rows.items()
    )  # fmt: skip
    return LabelTable(source.root, "intensity", found, (), layout="bp4d-intensity")


def _whose(file: Path) -> tuple[str, str, int | None]:
    """Return the subject, the task and, for intensities, the AU."""
    match = _FILE.fullmatch(file.name)
    if not match:
        raise DataError(f"{file}: its name tells no subject and task, such as F001_T1.csv.")
    folder = _FOLDER.fullmatch(file.resolve().parent.name)
    number = match[3] or (folder[1] if folder else None)
    return match[1].upper(), match[2].upper(), int(number) if number else None


def _columns(header: Iterable[str], file: Path) -> dict[int, int]:
    """Return the place of each AU by the numbers of the first row."""
    first, *names = header
    if first.lower() not in _FIRST or not names or not all(map(str.isdecimal, names)):
        raise DataError(
            f"{file}, row 1: BP4D has a row of AU numbers, headed by 0; found {first!r} and "
            f"{', '.join(map(repr, names[:4]))}."
        )
    place: dict[int, int] = {}
    for at, name in enumerate(names, start=1):
        if place.setdefault(int(name), at) != at:
            raise DataError(f"{file}, row 1: the AU {name} is there twice.")
    return place


def _units(
    cells: list[str], columns: Mapping[int, int], reading: Reading, *, place: str
) -> dict[int, float]:
    known = {}
    for number, at in columns.items():
        value = _value(cells[at], "occurrence", reading, place=f"{place}, column {number}")
        if value is not None:
            known[number] = value
    return known


def _value(text: str, kind: LabelKind, reading: Reading, *, place: str) -> float | None:
    value = number_in(text, missing=reading.missing | {NOT_CODED}, where=place)
    if value is not None:
        check_value(value, kind, where=place)
    return value


def _check_once(rows: Iterable[LabelRow]) -> None:
    seen: dict[tuple[str, str, int | None], LabelRow] = {}
    for row in rows:
        other = seen.setdefault((row.subject, row.sequence, row.frame), row)
        if other is not row:
            raise DataError(
                f"{row.file}, row {row.row}: frame {row.frame} is there already in row "
                f"{other.row} of {other.file}."
            )


def _place(file: Path, row: int) -> str:
    return f"{file}, row {row}"
