"""``openface``: tables of OpenFace 1 and 2 (FeatureExtraction, FaceLandmarkVidMulti, -Img).

Documented (wiki "Output Format", ``RecorderCSV.cpp``):

- Sequences: ``NAME.csv`` for the video or folder ``NAME``, with the columns ``frame`` (from 1),
  ``face_id``, ``timestamp``, ``confidence``, ``success`` and others. Aligned faces lie in
  ``NAME_aligned/frame_det_00_000001.bmp``. Up to version 2.0, names begin with a blank, and
  ``face_id`` may be missing.
- Single images: ``NAME.csv`` for the image ``NAME.jpg``, with ``face`` and ``confidence``, a row
  per face.
- ``AU01_r`` is an intensity from 0 to 5, ``AU01_c`` an occurrence; they come from two models, so
  the one is not the other cut at a threshold. ``AU28`` has ``_c`` alone.
- ``success`` = 0: the face was lost, and the values mean nothing.

Ours: a column ``path`` or ``input``, as ``cycada detect`` writes, names the image itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cycada.data.label_columns import (
    UnitColumn,
    check_columns,
    left_out,
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
    video_name,
)
from cycada.data.label_table import (
    PLURAL,
    LabelFile,
    LabelKind,
    LabelTable,
    Peek,
    Reading,
    Source,
    number_in,
    read_table,
    whole_number,
)
from cycada.errors import DataError

_LOST = "success"


def recognise(peek: Peek) -> str | None:
    """Return why a file seems to come from OpenFace, if it does."""
    kinds = {unit.kind for unit in unit_columns(peek.header)}
    sequence = {"frame", "confidence", _LOST} <= {*peek.header}
    image = peek.header[:2] == ("face", "confidence")
    if not (sequence or image) or not kinds & {"intensity", "occurrence"}:
        return None
    if "FaceScore" in peek.header:  # of `cycada detect`, whose frames count as Py-Feat's do
        return None
    columns = "frame, confidence and success" if sequence else "face and confidence"
    return f"it has the columns {columns}, and AUs that end in _r or _c"


def read(source: Source, reading: Reading) -> LabelTable:
    """Read occurrences, or intensities if those are asked for.

    Raises:
        DataError: naming the file and, where there is one, the row and column.
    """
    kind: LabelKind = "intensity" if reading.kind == "intensity" else "occurrence"
    found: list[FoundFace] = []
    notes: list[str] = []
    by_image = False
    for file in source.files:
        header, lines = read_table(file.file)
        columns = unit_columns(header)
        check_columns(columns, file.file)
        chosen, without = of_kind([unit for unit in columns if unit.kind], kind)
        if not chosen:
            suffix = "r" if kind == "intensity" else "c"
            raise DataError(f"{file.file}, row 1: no column such as AU01_{suffix}.")
        if not notes:
            notes = left_out(without, kind, source.root)
        by_image = by_image or "frame" not in header
        found += _faces(file, header, chosen, lines, kind=kind, reading=reading)
    rows, told = one_face_each(found, source.root, what="image" if by_image else "frame")
    made = machine_made(source.root, "OpenFace", kind=PLURAL[kind])
    return LabelTable(
        source.root, kind, rows, (made, *notes, *told), layout="openface", first_frame=1
    )


def _faces(
    file: LabelFile,
    header: Sequence[str],
    columns: Sequence[UnitColumn],
    lines: Iterator[tuple[int, list[str]]],
    *,
    kind: LabelKind,
    reading: Reading,
) -> Iterator[FoundFace]:
    place = {name: at for at, name in enumerate(header)}
    if not place.keys() & {"frame", "face"}:
        raise DataError(f"{file.file}, row 1: OpenFace has the column 'frame', or 'face'.")
    for row, cells in lines:
        where = f"{file.file}, row {row}"
        shown = not (_LOST in place and _is_lost(cells[place[_LOST]], where))
        known = {}
        if shown:
            known = units_in(cells, columns, kind=kind, reading=reading, place=where)
        yield FoundFace(file.file, row, _named(file, place, cells, where), shown, known)


def _is_lost(text: str, where: str) -> bool:
    return not number_in(text, missing=frozenset(), where=f"{where}, column {_LOST}")


def _named(file: LabelFile, place: Mapping[str, int], cells: Sequence[str], where: str) -> Named:
    given = next((cells[place[name]] for name in ("path", "input") if name in place), "")
    if given and (image := image_name(given)):
        return Named(tail=image)
    if "frame" not in place:
        return Named(stem=file.file.stem)
    frame = whole_number(cells[place["frame"]], where=f"{where}, column frame")
    return Named(recording=video_name(given) if given else file.name, frame=frame)
