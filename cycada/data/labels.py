"""Labels from plain tables: one row per image, one column per Action Unit, found by name.

The formats of published corpora (BP4D, DISFA, OpenFace video tables, ...) do not belong here but
beside this module, one reader each; they return a ``LabelTable`` too.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from cycada.action_units import BY_NUMBER, INTENSITY_MAX, column
from cycada.errors import DataError

LabelKind = Literal["occurrence", "intensity"]

_SEPARATORS = ",;\t"
_UNKNOWN = frozenset({"", "nan", "na", "n/a"})
_UNIT_COLUMN = re.compile(r"au[ _]?(\d{1,3})(?:_(r|c|intensity|occurrence))?", re.IGNORECASE)
_FLAVOUR: Mapping[str, LabelKind] = MappingProxyType(
    {"r": "intensity", "intensity": "intensity", "c": "occurrence", "occurrence": "occurrence"}
)
_PLURAL: Mapping[LabelKind, str] = MappingProxyType(
    {"occurrence": "occurrences", "intensity": "intensities"}
)
_KEYS = ("path", "subject", "sequence", "frame", "label")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """What a table says of one image, which it names by path or by subject and frame."""

    row: int  # in the file; the header is row 1
    path: str = ""
    subject: str = ""
    sequence: str = ""
    frame: int | None = None
    label: str = ""  # class label
    action_units: Mapping[int, float]  # FACS number -> value; absent: unknown


@dataclass(frozen=True, slots=True)
class LabelTable:
    """One label file."""

    file: Path
    kind: LabelKind | None  # None: no AU column, or none with a value
    rows: tuple[LabelRow, ...]
    notes: tuple[str, ...]  # what was inferred or left out, for the user to see


def read_labels(
    file: Path, *, kind: LabelKind | None = None, missing: Iterable[float] = ()
) -> LabelTable:
    """Read a table separated by commas, semicolons or tabs.

    It needs the column ``path``, or ``subject`` and ``frame``; ``sequence`` and ``label`` (a
    class) are read where present. AU columns may be called ``AU1``, ``AU01``, ``au_1``,
    ``AU01_r`` (intensity) or ``AU01_c`` (occurrence). Other columns are ignored.

    Args:
        file: the table, UTF-8.
        kind: what the values are; ``None`` infers it: 0 and 1 only are occurrences. Where an AU
            has a column of either kind, occurrences are taken unless ``kind`` says otherwise.
        missing: values that mean "not annotated", besides empty cells and NaN (such as 9).

    Raises:
        DataError: naming the file and, where there is one, the row and column.
    """
    header, rows = _read_table(file)
    place, flavours = _columns(header, file)
    kind = kind or _kind_by_name(flavours)
    chosen = _choose(flavours, kind)
    notes = []
    if left_out := [column(number) for number in flavours if number not in chosen]:
        notes.append(f"{file}: no {kind} column for {', '.join(left_out)}; left out.")
    unknown = frozenset(missing)
    values = [
        {
            number: value
            for number, at in chosen.items()
            if (value := _number(cells[at], file, row, header[at], unknown)) is not None
        }
        for row, cells in rows
    ]
    if kind is None and any(values):
        kind = _kind_by_values(values, file)
        notes.append(f"{file}: the values look like {_PLURAL[kind]}; --kind says otherwise.")
    for (row, _), known in zip(rows, values, strict=True):
        for number, value in known.items():
            _check_value(value, kind, file, row, header[chosen[number]])
    labelled = tuple(
        LabelRow(
            row=row,
            path=_key(cells, place, "path").replace("\\", "/").removeprefix("./"),
            subject=_key(cells, place, "subject"),
            sequence=_key(cells, place, "sequence"),
            frame=_frame(_key(cells, place, "frame"), file, row),
            label=_key(cells, place, "label"),
            action_units=known,
        )
        for (row, cells), known in zip(rows, values, strict=True)
    )
    _check_keys(labelled, file, by_path="path" in place)
    return LabelTable(file, kind if any(values) else None, labelled, tuple(notes))


def _read_table(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            separator = max(_SEPARATORS, key=first.count)
            table = [
                (row, [cell.strip() for cell in cells])
                for row, cells in enumerate(csv.reader(stream, delimiter=separator), start=1)
                if any(map(str.strip, cells))
            ]
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such label file.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a CSV table in UTF-8 ({error}).") from error
    if not table:
        raise DataError(f"{file}: is empty.")
    header = table[0][1]
    for row, cells in table[1:]:
        if len(cells) != len(header):
            raise DataError(
                f"{file}, row {row}: has {len(cells)} cells, but the header has {len(header)}."
            )
    return header, table[1:]


_Flavours = dict[int, dict[LabelKind | None, int]]


def _columns(header: Sequence[str], file: Path) -> tuple[dict[str, int], _Flavours]:
    """Return where the keys stand, and for each AU where each kind of its values stands."""
    place: dict[str, int] = {}
    flavours: _Flavours = {}
    for at, name in enumerate(header):
        twice = False
        if name.lower() in _KEYS:
            twice = name.lower() in place
            place[name.lower()] = at
        elif match := _UNIT_COLUMN.fullmatch(name):
            number = int(match[1])
            if number not in BY_NUMBER:
                raise DataError(f"{file}, row 1: {name!r} is no Action Unit that FACS knows.")
            flavour = _FLAVOUR[match[2].lower()] if match[2] else None
            twice = flavour in flavours.setdefault(number, {})
            flavours[number][flavour] = at
        if twice:
            raise DataError(f"{file}, row 1: the column {name!r} is there twice.")
    if "path" not in place and not {"subject", "frame"} <= place.keys():
        raise DataError(
            f"{file}, row 1: a label file needs the column 'path', or 'subject' and 'frame'; "
            f"found {', '.join(map(repr, header[:8]))}."
        )
    if not flavours and not {"subject", "label"} & place.keys():
        raise DataError(f"{file}, row 1: no column names an Action Unit (such as AU01).")
    return place, flavours


def _kind_by_name(flavours: _Flavours) -> LabelKind | None:
    found = {flavour for kinds in flavours.values() for flavour in kinds}
    if "occurrence" in found:
        return "occurrence"
    return "intensity" if found == {"intensity"} else None


def _choose(flavours: _Flavours, kind: LabelKind | None) -> dict[int, int]:
    chosen = {}
    for number, kinds in flavours.items():
        at = kinds.get(kind, kinds.get(None))
        if at is not None:
            chosen[number] = at
    return chosen


def _kind_by_values(values: Iterable[Mapping[int, float]], file: Path) -> LabelKind:
    found = {value for known in values for value in known.values()}
    if found <= {0, 1}:
        return "occurrence"
    if max(found) <= 1:
        odd = min(found - {0, 1})
        raise DataError(
            f"{file}: values between 0 and 1 (such as {odd:g}) may be probabilities, which are "
            f"no labels; state what they are with --kind."
        )
    return "intensity"


def _number(text: str, file: Path, row: int, name: str, missing: frozenset[float]) -> float | None:
    if text.lower() in _UNKNOWN:
        return None
    try:
        value = float(text)
    except ValueError:
        raise DataError(
            f"{file}, row {row}, column {name}: expected a number or nothing, found {text!r}."
        ) from None
    return None if value in missing else value


def _check_value(value: float, kind: LabelKind | None, file: Path, row: int, name: str) -> None:
    if kind == "occurrence":
        expected, fits = "0 or 1", value in (0, 1)
    else:
        expected, fits = f"an intensity from 0 to {INTENSITY_MAX:g}", 0 <= value <= INTENSITY_MAX
    if fits:
        return
    hint = ""
    if math.isfinite(value) and not 0 <= value <= INTENSITY_MAX:
        hint = f" If {value:g} means 'not annotated', say so with --missing {value:g}."
    elif kind == "occurrence":
        hint = " If these are intensities, say so with --kind intensity."
    raise DataError(
        f"{file}, row {row}, column {name}: expected {expected}, found {value:g}.{hint}"
    )


def _key(cells: Sequence[str], place: Mapping[str, int], name: str) -> str:
    return cells[place[name]] if name in place else ""


def _frame(text: str, file: Path, row: int) -> int | None:
    if not text:
        return None
    if not text.isdecimal():
        raise DataError(
            f"{file}, row {row}, column frame: expected a whole number, found {text!r}."
        )
    return int(text)


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
