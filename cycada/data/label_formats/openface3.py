"""``openface3``: tables of OpenFace 3 (``openface detect``, ``detect-video``).

Documented (package openface-test 0.1.26, ``demo.py``): separated by commas (by tabs in scripts
built on it), a row per face; ``image_path``, or ``video_path`` and ``frame_index`` from 0;
``face_id``, ``emotion`` and others; ``action_units``, a list of 8 numbers within one more pair of
brackets. Without a face, the row's cells are empty. The numbers are cosines between two vectors
without negative parts, so between 0 and 1; nothing says that they are calibrated.

The list names no AUs; this is the one layout that is read by position. From the code of its
training, which takes the files of DISFA 0, 4, 8, 10, 11, 1, 6 and 7 in the order of a listing, the
eight are AU01, AU02, AU04, AU06, AU09, AU12, AU25 and AU26. Its authors do not say so, and third
parties have published other orders. A list of another length is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping

from cycada.action_units import column
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
    check_value,
    read_table,
    whole_number,
)
from cycada.errors import DataError

UNITS = (1, 2, 4, 6, 9, 12, 25, 26)
"""What the numbers of the list mean, in its order."""

_ROUNDING = 1e-5  # a cosine in float32 may exceed 1 by this


def recognise(peek: Peek) -> str | None:
    """Return why a file seems to come from OpenFace 3, if it does."""
    names = {*peek.header}
    if {"action_units", "gaze_yaw"} <= names and names & {"image_path", "video_path"}:
        return "it has the columns action_units and gaze_yaw"
    return None


def read(source: Source, reading: Reading) -> LabelTable:
    """Read the lists.

    Raises:
        DataError: naming the file and, where there is one, the row.
    """
    found: list[FoundFace] = []
    for file in source.files:
        header, lines = read_table(file.file)
        place = {name: at for at, name in enumerate(header)}
        if "action_units" not in place or not place.keys() & {"image_path", "video_path"}:
            raise DataError(
                f"{file.file}, row 1: OpenFace 3 has the columns 'action_units' and 'image_path' "
                f"or 'video_path'."
            )
        found += _faces(file, place, lines, reading)
    by_image = any(face.named.tail for face in found)
    rows, notes = one_face_each(found, source.root, what="image" if by_image else "frame")
    made = machine_made(source.root, "OpenFace 3", kind="uncalibrated probabilities")
    order = (
        f"{source.root}: the list 'action_units' is taken for "
        f"{', '.join(map(column, UNITS))}, which the program's training code implies but no "
        f"document states."
    )
    return LabelTable(
        source.root, "probability", rows, (made, order, *notes), layout="openface3", first_frame=0
    )


def _faces(
    file: LabelFile,
    place: Mapping[str, int],
    lines: Iterator[tuple[int, list[str]]],
    reading: Reading,
) -> Iterator[FoundFace]:
    for row, cells in lines:
        where = f"{file.file}, row {row}"
        text = cells[place["action_units"]]
        known = _units(text, reading, where=f"{where}, column action_units") if text else {}
        yield FoundFace(file.file, row, _named(file, place, cells, where), bool(text), known)


def _units(text: str, reading: Reading, *, where: str) -> dict[int, float]:
    try:
        values = json.loads(text.replace("nan", "NaN"))
    except (ValueError, RecursionError):
        values = None
    if isinstance(values, list) and len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    if not isinstance(values, list) or not all(isinstance(item, (int, float)) for item in values):
        raise DataError(f"{where}: expected a list of numbers, found {text[:40]!r}.")
    if len(values) != len(UNITS):
        raise DataError(
            f"{where}: holds {len(values)} numbers; OpenFace 3 writes {len(UNITS)}, whose meaning "
            f"goes by their order."
        )
    known = {}
    for number, value in zip(UNITS, map(float, values), strict=True):
        if math.isnan(value) or value in reading.missing:
            continue
        rounded = 1.0 if 1 < value <= 1 + _ROUNDING else value
        check_value(rounded, "probability", where=f"{where}, AU{number:02d}")
        known[number] = rounded
    return known


def _named(file: LabelFile, place: Mapping[str, int], cells: list[str], where: str) -> Named:
    path = cells[place["image_path"] if "image_path" in place else place["video_path"]]
    if "frame_index" in place:
        text = cells[place["frame_index"]]
        frame = whole_number(text, where=f"{where}, column frame_index")
        return Named(recording=video_name(path) or file.name, frame=frame)
    image = image_name(path)
    if not image:
        raise DataError(f"{where}, column image_path: {path!r} is no image.")
    return Named(tail=image)
