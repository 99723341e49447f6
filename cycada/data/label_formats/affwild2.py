"""``affwild2``: Action Units of Aff-Wild2, as the ABAW challenges hand them out.

Documented (by the code that reads and writes it): a file per video, ``NAME.txt``; the first row is
``AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26``, the n-th row below it belongs to frame
n, whose image is ``NAME/00001.jpg`` for n = 1. Two persons of a video have files and folders of
their own (``NAME_left``, ``NAME_right``). Values 0 and 1; -1: not annotated.
"""

from __future__ import annotations

from collections.abc import Mapping

from cycada.data.label_columns import check_columns, unit_columns, units_in
from cycada.data.label_table import (
    LabelRow,
    LabelTable,
    Peek,
    Reading,
    Source,
    read_cells,
)
from cycada.errors import DataError

_NOT_ANNOTATED = -1.0


def recognise(peek: Peek) -> str | None:
    """Return why a file seems to belong to Aff-Wild2, if it does."""
    units = len(unit_columns(peek.header))
    if peek.file.suffix.lower() == ".txt" and 0 < units == len(peek.header):
        return "it ends in .txt and row 1 holds nothing but AUs"
    return None


def read(source: Source, reading: Reading) -> LabelTable:
    """Read the files of all videos.

    Raises:
        DataError: naming the file and, where there is one, the row and column.
    """
    reading = Reading(kind="occurrence", missing=reading.missing | {_NOT_ANNOTATED})
    seen: dict[tuple[tuple[str, ...], tuple[str, ...]], Mapping[int, float]] = {}
    rows: list[LabelRow] = []
    for file, name in source.files:
        lines = read_cells(file)
        top, header = next(lines, (1, []))
        columns = unit_columns(header)
        check_columns(columns, file)
        if not columns or len(columns) != len(header):
            raise DataError(f"{file}, row 1: expected AUs only, as in AU1,AU2,AU4.")
        for row, cells in lines:
            key = (tuple(header), tuple(cells))
            if key not in seen:
                place = f"{file}, row {row}"
                seen[key] = units_in(
                    cells, columns, kind="occurrence", reading=reading, place=place
                )
            rows.append(
                LabelRow(
                    row=row, file=file, recording=name, frame=row - top, action_units=seen[key]
                )
            )
    notes: tuple[str, ...] = ()
    if empty := sum(not row.action_units for row in rows):
        notes = (f"{source.root}: {empty} of {len(rows)} frames are not annotated.",)
    return LabelTable(
        source.root, "occurrence", tuple(rows), notes, layout="affwild2", first_frame=1
    )
