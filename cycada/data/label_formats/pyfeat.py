"""``pyfeat``: tables of Py-Feat (``Fex``), as ``detect(..., save=...)`` and ``to_csv`` write them.

Documented (Py-Feat 2.1 and the tables in its tests): a row per face; ``AU01`` to ``AU43``, 20 or
12 of them, probabilities from 0 to 1 (0 or 1 from its SVMs); ``FaceRectX``, ``FaceScore`` and
others; ``input``, the path of the image or video; ``frame``, from 0, which among images counts
them. A frame without a face has NaN everywhere, or no row.

Assumed: whether ``input`` is an image is told by its suffix; older tables without ``input`` are of
the video ``NAME`` if the table is ``NAME.csv``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cycada.data.label_columns import UnitColumn, check_columns, unit_columns, units_in
from cycada.data.label_formats.faces import (
    FoundFace,
    Named,
    image_name,
    machine_made,
    one_face_each,
    video_name,
)
from cycada.data.label_table import (
    LabelFile,
    LabelTable,
    Peek,
    Reading,
    Source,
    read_table,
    whole_number,
)
from cycada.errors import DataError


def recognise(peek: Peek) -> str | None:
    """Return why a file seems to come from Py-Feat, if it does."""
    if {"FaceRectX", "FaceScore"} <= {*peek.header} and unit_columns(peek.header):
        return "it has the columns FaceRectX and FaceScore, and AUs"
    return None


def read(source: Source, reading: Reading) -> LabelTable:
    """Read the probabilities.

    Raises:
        DataError: naming the file and, where there is one, the row and column.
    """
    found: list[FoundFace] = []
    for file in source.files:
        header, lines = read_table(file.file)
        # `cycada detect` adds its decisions (AU01_c) to the probabilities.
        columns = [unit for unit in unit_columns(header) if unit.kind is None]
        check_columns(columns, file.file)
        place = {name: at for at, name in enumerate(header)}
        if not columns or not place.keys() & {"input", "frame"}:
            raise DataError(f"{file.file}, row 1: Py-Feat has 'input', 'frame' and AU columns.")
        found += _faces(file, columns, place, lines, reading)
    by_image = any(face.named.tail for face in found)
    rows, notes = one_face_each(found, source.root, what="image" if by_image else "frame")
    made = machine_made(source.root, "Py-Feat", kind="probabilities")
    return LabelTable(
        source.root, "probability", rows, (made, *notes), layout="pyfeat", first_frame=0
    )


def _faces(
    file: LabelFile,
    columns: Sequence[UnitColumn],
    place: Mapping[str, int],
    lines: Iterator[tuple[int, list[str]]],
    reading: Reading,
) -> Iterator[FoundFace]:
    for row, cells in lines:
        where = f"{file.file}, row {row}"
        known = units_in(cells, columns, kind="probability", reading=reading, place=where)
        given = cells[place["input"]] if "input" in place else ""
        named = Named(tail=image_name(given) or "")
        if not named.tail:
            if "frame" not in place:
                raise DataError(f"{where}: {given!r} is no image, and there is no column 'frame'.")
            text = cells[place["frame"]]
            frame = whole_number(text, where=f"{where}, column frame")
            named = Named(recording=video_name(given) if given else file.name, frame=frame)
        yield FoundFace(file.file, row, named, bool(known), known)
