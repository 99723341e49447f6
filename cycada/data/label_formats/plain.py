"""``csv``: plain tables, one row per image, one column per Action Unit, found by name.

The layout is our own, so nothing here is assumed. A table needs the column ``path``, or
``subject`` and ``frame`` and perhaps ``sequence``; ``label`` (a class) is read where present, and
``subject`` beside ``path``. AU columns may be called ``AU1``, ``AU01``, ``au_1``, ``AU01_r``
(intensity), ``AU01_c`` (occurrence), ``AU01_p`` (probability), and for halves of the face ``AUL1``
and ``AUR1``, ``L1`` and ``R1``, or ``AU01L`` and ``AU01R``. Other columns are
left out, with a note.

Not annotated are empty cells, NaN, -1 and 999, which can be no value; 9 in a column that holds
else only 0 and 1, as BP4D codes it; and what the user says (``--missing``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from cycada.data.label_columns import (
    UnitColumn,
    check_columns,
    left_out,
    merged,
    not_read,
    of_kind,
    sided,
    unit_columns,
)
from cycada.data.label_table import (
    KINDS,
    PLURAL,
    LabelFile,
    LabelKind,
    LabelRow,
    LabelTable,
    Peek,
    Reading,
    check_value,
    columns_text,
    fits,
    is_letter,
    kind_of_values,
    number_in,
    read_table,
    whole_number,
)
from cycada.errors import DataError

_KEYS = ("path", "subject", "sequence", "frame", "label")
_CODES = (-1.0, 999.0)  # no intensity, occurrence or probability
_DOUBTFUL = 9.0  # "not annotated" of BP4D

_ADVICE = (
    " If these are intensities, say so with --kind intensity; with a --threshold they become "
    "occurrences."
)

_Column = list[float | None]


def recognise(peek: Peek) -> str | None:
    """Return why a file seems to be a plain table, if it does."""
    names = {name.lower() for name in peek.header}
    keys = "path" if "path" in names else "subject and frame"
    if not (unit_columns(peek.header) or {"subject", "label"} & names):
        return None
    return f"it has the column(s) {keys}" if {*keys.split(" and ")} <= names else None


def read_plain(file: Path, reading: Reading) -> LabelTable:
    """Read a table separated by commas, semicolons or tabs.

    Args:
        file: the table, UTF-8.
        reading: its ``kind`` says what the values are; ``None`` infers it: 0 and 1 only are
            occurrences. Where an AU has columns of several kinds, occurrences are taken unless
            ``kind`` says otherwise.

    Raises:
        DataError: naming the file and, where there is one, the row and column.
    """
    header, found = read_table(file)
    rows = list(found)
    place = _places(header, file)
    columns = unit_columns(header)
    check_columns(columns, file)
    if not columns and not {"subject", "label"} & place.keys():
        raise DataError(f"{file}, row 1: no column names an Action Unit (such as AU01).")
    kind = _kind_asked(columns, reading)
    chosen, without = of_kind(columns, kind)
    texts: dict[str, float | None] = {}
    values, masked = _values(chosen, rows, reading, file, texts)
    kind, told = _settled(
        kind, chosen, values, reading, graded=any(map(is_letter, texts)), file=file
    )
    _check_values(chosen, values, rows, kind, file)
    keys = {"path", "subject", "label"} if "path" in place else {*_KEYS}
    used = [at for key, at in place.items() if key in keys]
    notes = [*left_out(without, kind, file), *not_read(header, used, chosen, file)]
    notes += [*masked, *told]
    known = list(_known(chosen, values, kind, len(rows)))
    if halves := sided(chosen):
        notes.append(
            f"{file}: {columns_text(halves)} are coded for the left and the right half of the "
            f"face; merged."
        )
    labelled = tuple(
        _row(row, cells, place, units, file)
        for (row, cells), units in zip(rows, known, strict=True)
    )
    _check_keys(labelled, file, by_path="path" in place)
    return LabelTable(file, kind if any(known) else None, labelled, tuple(notes))


def read(files: Iterable[LabelFile], reading: Reading) -> list[LabelTable]:
    """Read every file as a table of its own.

    Raises:
        DataError: as :func:`read_plain`.
    """
    return [read_plain(file, reading) for file, _ in files]


def _places(header: Sequence[str], file: Path) -> dict[str, int]:
    """Return where the columns stand that name images and classes."""
    place: dict[str, int] = {}
    for at, name in enumerate(header):
        if name.lower() in _KEYS and place.setdefault(name.lower(), at) != at:
            raise DataError(f"{file}, row 1: the column {name!r} is there twice.")
    if "path" not in place and not {"subject", "frame"} <= place.keys():
        raise DataError(
            f"{file}, row 1: a label file needs the column 'path', or 'subject' and 'frame'; "
            f"found {', '.join(map(repr, header[:8]))}. --format names another layout."
        )
    return place


def _kind_asked(columns: Sequence[UnitColumn], reading: Reading) -> LabelKind | None:
    """Return the kind to read: the one asked for if a column may hold it, else by the names."""
    kinds = {unit.kind for unit in columns}
    if reading.kind and kinds & {reading.kind, None}:
        return reading.kind
    if None in kinds and "occurrence" not in kinds:
        return None
    return next((kind for kind in KINDS if kind in kinds), reading.kind)


def _values(
    columns: Sequence[UnitColumn],
    rows: Sequence[tuple[int, list[str]]],
    reading: Reading,
    file: Path,
    texts: dict[str, float | None],
) -> tuple[list[_Column], list[str]]:
    """Return the values of each column, ``None`` where not annotated, and the note about those.

    ``texts`` collects what each text in the cells means.
    """
    values: list[_Column] = []
    masked: Counter[str] = Counter()
    for unit in columns:
        column: _Column = []
        for row, cells in rows:
            text = cells[unit.at]
            if text not in texts:
                where = _cell(file, row, unit.name)
                texts[text] = number_in(text, missing=frozenset(), where=where)
            value = texts[text]
            if value is None:
                masked["NaN" if text else "empty"] += 1
            elif value in _CODES or value in reading.missing:
                masked[f"{value:g}"] += 1
                value = None
            column.append(value)
        if _DOUBTFUL in column:
            _check_nine(column, unit, file)
            masked[f"{_DOUBTFUL:g}"] += column.count(_DOUBTFUL)
            column = [None if value == _DOUBTFUL else value for value in column]
        values.append(column)
    if not masked:
        return values, []
    counts = ", ".join(f"{what} ({times} times)" for what, times in sorted(masked.items()))
    return values, [f"{file}: AU cells that are not annotated: {counts}."]


def _check_nine(column: _Column, unit: UnitColumn, file: Path) -> None:
    """Refuse 9 beside other values than 0 and 1: there it may be a slip of the pen."""
    others = [value for value in column if value not in (None, 0, 1, _DOUBTFUL)]
    if others:
        raise DataError(
            f"{file}, column {unit.name}: holds 9 and also {others[0]:g}, so 9 need not mean 'not "
            f"annotated'; if it does, say so with --missing 9."
        )


def _settled(
    kind: LabelKind | None,
    columns: Sequence[UnitColumn],
    values: Iterable[_Column],
    reading: Reading,
    *,
    graded: bool,
    file: Path,
) -> tuple[LabelKind | None, list[str]]:
    """Return the kind of the values, if need be by themselves, and the note about that."""
    found = {value for column in values for value in column if value is not None}
    if not found:
        return kind, []
    unnamed = all(unit.kind is None for unit in columns)
    cut = kind == "occurrence" and reading.cuts and unnamed and not found <= {0, 1}
    if kind is not None and not cut:
        if graded and kind != "intensity":
            raise DataError(f"{file}: the letters A to E grade intensities, not {PLURAL[kind]}.")
        return kind, []
    inferred, note = kind_of_values(found, graded=graded, cuts=cut, file=file)
    return inferred, [note]


def _check_values(
    columns: Sequence[UnitColumn],
    values: Sequence[_Column],
    rows: Sequence[tuple[int, list[str]]],
    kind: LabelKind | None,
    file: Path,
) -> None:
    for unit, column in zip(columns, values, strict=True):
        if all(fits(value, kind) for value in {*column} - {None}):
            continue
        for (row, _), value in zip(rows, column, strict=True):
            if value is not None:
                where = _cell(file, row, unit.name)
                check_value(value, kind, where=where, advice=_ADVICE)


def _known(
    columns: Sequence[UnitColumn], values: Sequence[_Column], kind: LabelKind | None, rows: int
) -> Iterator[Mapping[int, float]]:
    """Yield what each row knows; rows that know the same share one mapping."""
    seen: dict[tuple[float | None, ...], Mapping[int, float]] = {}
    for at in range(rows):
        row = tuple(column[at] for column in values)
        known = seen.get(row)
        if known is None:
            pairs = zip(columns, row, strict=True)
            known = merged(((unit, value) for unit, value in pairs if value is not None), kind)
            seen[row] = known
        yield known


def _row(
    row: int, cells: Sequence[str], place: Mapping[str, int], units: Mapping[int, float], file: Path
) -> LabelRow:
    def key(name: str) -> str:
        return cells[place[name]] if name in place else ""

    frame = key("frame")
    return LabelRow(
        row=row,
        path=key("path").replace("\\", "/").removeprefix("./"),
        subject=key("subject"),
        sequence=key("sequence"),
        frame=whole_number(frame, where=_cell(file, row, "frame")) if frame else None,
        label=key("label"),
        action_units=units,
    )


def _cell(file: Path, row: int, name: str) -> str:
    return f"{file}, row {row}, column {name}"


def _check_keys(rows: Iterable[LabelRow], file: Path, *, by_path: bool) -> None:
    seen: dict[tuple[str, str, int | None] | str, int] = {}
    for row in rows:
        key = row.path if by_path else (row.subject, row.sequence, row.frame)
        named = row.path if by_path else (row.subject and row.frame is not None)
        if not named:
            needed = "path" if by_path else "subject or frame"
            raise DataError(f"{file}, row {row.row}: the {needed} is empty.")
        first = seen.setdefault(key, row.row)
        if first != row.row:
            raise DataError(f"{file}, row {row.row}: names the same image as row {first}.")
