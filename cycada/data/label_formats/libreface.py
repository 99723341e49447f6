"""``libreface``: tables of LibreFace, and those that it is trained from.

Documented (package libreface 0.2.0 and its repository):

- Of a video: ``frame_idx`` from 0, ``frame_time_in_ms``, ``facial_expression``; ``au_1``: 0 or 1,
  the program has cut at 0.5 already, for the 12 AUs of BP4D; ``au_1_intensity``: 0 to 5, for the 12
  of DISFA. Earlier versions add ``path_to_frame`` and ``aligned_frame_path``.
- Of an image: the same columns, with ``input_image_path`` in earlier versions, else without any
  name; the user names the file.
- For training: ``image_path``, ``au1``, ``au2``, ... with occurrences or intensities.

Assumed: a table without any path is of the video or image ``NAME`` if it is ``NAME.csv``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cycada.data.label_columns import (
    UnitColumn,
    check_columns,
    left_out,
    not_read,
    of_kind,
    unit_columns,
    units_in,
)
from cycada.data.label_formats.faces import (
    FoundFace,
    Named,
    image_name,
    machine_made,
    one_face_each,
)
from cycada.data.label_table import (
    PLURAL,
    LabelFile,
    LabelKind,
    LabelTable,
    Peek,
    Reading,
    Source,
    kind_of_values,
    number_in,
    read_table,
    whole_number,
)
from cycada.errors import DataError

_TRAINED = re.compile(r"au\d+")
_PATHS = ("image_path", "input_image_path")


def recognise(peek: Peek) -> str | None:
    """Return why a file seems to come from LibreFace, if it does."""
    names = {*peek.header}
    graded = any(unit.kind == "intensity" for unit in unit_columns(peek.header))
    if graded and "facial_expression" in names and names.isdisjoint({"path", "subject"}):
        return "it has the column facial_expression, and AUs that end in _intensity"
    if "image_path" in names and any(map(_TRAINED.fullmatch, peek.header)):
        return "it has the columns image_path and au1 or the like"
    return None


def read(source: Source, reading: Reading) -> LabelTable:
    """Read occurrences, or intensities if those are asked for.

    Raises:
        DataError: naming the file and, where there is one, the row and column.
    """
    found: list[FoundFace] = []
    notes: list[str] = []
    made = trained = False
    kinds: set[LabelKind] = set()
    for file in source.files:
        header, lines = read_table(file.file)
        columns = unit_columns(header)
        check_columns(columns, file.file)
        if not columns:
            raise DataError(f"{file.file}, row 1: no column such as au_1 or au_1_intensity.")
        rows = list(lines)
        if any(unit.kind for unit in columns):
            made, kind = True, _asked(reading)
            columns = [
                unit if unit.kind else UnitColumn(unit.at, unit.name, unit.number, "", "occurrence")
                for unit in columns
            ]
        else:
            trained = True
            kind, told = _kind(columns, rows, reading, file.file)
            used = [at for at, name in enumerate(header) if name in _PATHS]
            notes += [*told, *not_read(header, used, columns, file.file)]
        kinds.add(kind)
        chosen, without = of_kind(columns, kind)
        if made and not notes:
            notes = left_out(without, kind, source.root)
        found += _faces(file, header, chosen, rows, kind=kind, reading=reading)
    if len(kinds) > 1 or (made and trained):
        raise DataError(
            f"{source.root}: some files hold occurrences and some intensities, or some are a "
            f"program's and some are not; give them one by one."
        )
    kind = kinds.pop()
    by_image = any(face.named.frame is None for face in found)
    labelled, told = one_face_each(found, source.root, what="image" if by_image else "frame")
    told = [machine_made(source.root, "LibreFace", kind=PLURAL[kind]), *told] if made else told
    return LabelTable(
        source.root, kind, labelled, (*notes, *told), layout="libreface", first_frame=0
    )


def _asked(reading: Reading) -> LabelKind:
    return "intensity" if reading.kind == "intensity" else "occurrence"


def _kind(
    columns: Sequence[UnitColumn],
    rows: Sequence[tuple[int, list[str]]],
    reading: Reading,
    file: Path,
) -> tuple[LabelKind, list[str]]:
    """Return the kind of a table for training, whose names do not tell it, and a note if so."""
    cuts = reading.kind == "occurrence" and reading.cuts
    if reading.kind and not cuts:
        return reading.kind, []
    values = {
        number_in(
            cells[unit.at], missing=reading.missing, where=f"{file}, row {row}, column {unit.name}"
        )
        for row, cells in rows
        for unit in columns
    }
    kind, note = kind_of_values(
        {value for value in values if value is not None}, cuts=cuts, file=file
    )
    return kind, [note]


def _faces(
    file: LabelFile,
    header: Sequence[str],
    columns: Sequence[UnitColumn],
    rows: Sequence[tuple[int, list[str]]],
    *,
    kind: LabelKind,
    reading: Reading,
) -> Iterator[FoundFace]:
    place = {name: at for at, name in enumerate(header)}
    for row, cells in rows:
        where = f"{file.file}, row {row}"
        known = units_in(cells, columns, kind=kind, reading=reading, place=where)
        yield FoundFace(file.file, row, _named(file, place, cells, where), bool(known), known)


def _named(file: LabelFile, place: Mapping[str, int], cells: Sequence[str], where: str) -> Named:
    path = next((cells[place[name]] for name in _PATHS if name in place), "")
    if path:
        image = image_name(path)
        if not image:
            raise DataError(f"{where}: {path!r} is no image.")
        return Named(tail=image)
    if "frame_idx" in place:
        text = cells[place["frame_idx"]]
        frame = whole_number(text, where=f"{where}, column frame_idx")
        return Named(recording=file.name, frame=frame)
    return Named(stem=file.file.stem)
