"""``pyafar``: tables of PyAFAR, in CSV or JSON.

Documented (wiki "Output Format"): ``NAME.csv`` for the video ``NAME``; ``Frame``, and
``Person_ID`` where persons are tracked; ``Occ_au_1``: likelihood that the AU occurs, 0 to 1, for 12
AUs of adults or 9 of infants; ``Int_au_6``: intensity, 0 to 5, for AUs 6, 10, 12, 14 and 17. Frames
without a face have no row. JSON has the same fields. Infants have AU 3, which FACS for adults does
not know and which is left out, with a note.

Assumed: frames count from 0, as in ``adult_afar.py``'s descendants; JSON is a list of rows, or a
table by columns as pandas writes it; a row with ``Face_Index`` -1, as some descendants write for
frames without a face, knows nothing; -1 is no value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cycada.action_units import BY_NUMBER
from cycada.data.label_columns import UnitColumn, check_columns, left_out, of_kind, units_in
from cycada.data.label_formats.faces import FoundFace, Named, machine_made, one_face_each
from cycada.data.label_table import (
    PLURAL,
    LabelFile,
    LabelKind,
    LabelTable,
    Peek,
    Reading,
    Source,
    read_table,
    unknown_units,
    unreadable,
    whole_number,
)
from cycada.errors import DataError
from cycada.files import check_text

_UNIT = re.compile(r"(Occ|Int)_au_(\d+)", re.IGNORECASE)
_NO_VALUE = frozenset({-1.0})

_Lines = Iterator[tuple[int, list[str]]]


def recognise(peek: Peek) -> str | None:
    """Return why a file seems to come from PyAFAR, if it does."""
    if any(map(_UNIT.fullmatch, peek.header)):
        return "it has columns such as Occ_au_1 or Int_au_6"
    if peek.file.suffix.lower() == ".json" and re.search(r'"(Occ|Int)_au_\d+"', peek.line):
        return "it has fields such as Occ_au_1 or Int_au_6"
    return None


def read(source: Source, reading: Reading) -> LabelTable:
    """Read the likelihoods of occurrence, or intensities if those are asked for.

    Raises:
        DataError: naming the file and, where there is one, the row and column.
    """
    kind: LabelKind = "intensity" if reading.kind == "intensity" else "probability"
    found: list[FoundFace] = []
    notes: list[str] = []
    odd: set[int] = set()
    for file in source.files:
        is_json = file.file.suffix.lower() == ".json"
        header, lines = _read_json(file.file) if is_json else read_table(file.file)
        columns = _columns(header)
        odd |= {unit.number for unit in columns} - BY_NUMBER.keys()
        columns = [unit for unit in columns if unit.number in BY_NUMBER]
        check_columns(columns, file.file)
        chosen, without = of_kind(columns, kind)
        if not chosen or "Frame" not in header:
            raise DataError(
                f"{file.file}, row 1: PyAFAR has 'Frame' and columns such as "
                f"{'Int_au_6' if kind == 'intensity' else 'Occ_au_1'}."
            )
        if not notes:
            notes = left_out(without, kind, source.root)
        found += _faces(file, header, chosen, lines, kind=kind, reading=reading)
    if numbers := unknown_units(odd):
        notes = [*notes, f"{source.root}: FACS knows no AU {numbers}; left out."]
    rows, told = one_face_each(found, source.root, what="frame")
    made = machine_made(source.root, "PyAFAR", kind=PLURAL[kind])
    return LabelTable(
        source.root, kind, rows, (made, *notes, *told), layout="pyafar", first_frame=0
    )


def _columns(header: Sequence[str]) -> list[UnitColumn]:
    found = []
    for at, name in enumerate(header):
        if match := _UNIT.fullmatch(name):
            kind: LabelKind = "intensity" if match[1].lower() == "int" else "probability"
            found.append(UnitColumn(at, name, int(match[2]), "", kind))
    return found


def _faces(
    file: LabelFile,
    header: Sequence[str],
    columns: Sequence[UnitColumn],
    lines: _Lines,
    *,
    kind: LabelKind,
    reading: Reading,
) -> Iterator[FoundFace]:
    place = {name: at for at, name in enumerate(header)}
    reading = Reading(kind=kind, missing=reading.missing | _NO_VALUE)
    for row, cells in lines:
        where = f"{file.file}, row {row}"
        shown = "Face_Index" not in place or cells[place["Face_Index"]] != "-1"
        known = {}
        if shown:
            known = units_in(cells, columns, kind=kind, reading=reading, place=where)
        text = cells[place["Frame"]]
        frame = whole_number(text, where=f"{where}, column Frame")
        named = Named(recording=file.name, frame=frame)
        yield FoundFace(file.file, row, named, shown and bool(known), known)


def _read_json(file: Path) -> tuple[list[str], _Lines]:
    """Return the same of a JSON file as of a table; rows count from 1."""
    try:
        check_text(file)
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(file, error, as_="JSON") from error
    records = _records(content)
    if not records:
        raise DataError(f"{file}: holds neither a list of rows nor columns of one length.")
    header = list(records[0])
    if any(list(record) != header for record in records):
        raise DataError(f"{file}: its rows have different fields.")
    rows = (
        (row, ["" if value is None else str(value) for value in record.values()])
        for row, record in enumerate(records, start=1)
    )
    return header, rows


def _records(content: Any) -> list[Mapping[str, Any]]:
    if isinstance(content, list):
        return content if all(isinstance(item, dict) for item in content) else []
    if not isinstance(content, dict):
        return []
    columns = {
        name: list(values.values()) if isinstance(values, dict) else values
        for name, values in content.items()
    }
    if not all(isinstance(values, list) for values in columns.values()):
        return []
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        return []
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
