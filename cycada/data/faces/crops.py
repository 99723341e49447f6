"""The record of crops, ``crops.csv``: it maps what is told of a crop back onto its frame."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cycada.data.faces.choose import Choice
from cycada.data.faces.geometry import Square
from cycada.errors import DataError
from cycada.files import check_table, replacing

CROPS_NAME = "crops.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class CropRow:
    """One face of a source frame; a frame without a face has one row, too."""

    source: str  # the recording or image, with "/"
    frame: int | None  # position in the recording, from 0; None: an image
    seconds: float | None  # since the start of the recording
    face_id: int  # 0 is the largest usable face
    path: str  # of the crop, relative to the folder of the table; empty: no crop
    left: float | None  # of the square before rotation, px of the frame; None: no face
    top: float | None
    width: float | None
    height: float | None
    angle: float | None  # degrees by which the square is turned clockwise around its centre
    confidence: float  # 0 to 1
    success: bool  # whether there is a crop
    reason: str  # why there is none
    outside: float | None  # share of the square beyond the frame

    @property
    def square(self) -> Square | None:
        """The square in the frame, whose ``to_frame`` maps points of the crop."""
        if self.left is None or self.top is None or self.width is None or self.height is None:
            return None
        x, y = self.left + self.width / 2, self.top + self.height / 2
        return Square(x, y, self.width, self.angle or 0.0)


_COLUMNS = tuple(field.name for field in fields(CropRow))
_NAMED = ("source", "path", "reason")
_WHOLE = ("frame", "face_id")
_ALWAYS = ("source", "face_id", "confidence", "success")


def row_of_choice(
    choice: Choice, *, source: str, frame: int | None, seconds: float | None, path: str
) -> CropRow:
    """Return the row of a face that was chosen, or was not.

    Args:
        choice: What became of the face.
        source: The recording or image, with "/".
        frame: Position in the recording, from 0; ``None`` for an image.
        seconds: Since the start of the recording, ``None`` where unknown.
        path: Of the crop, empty if there is none.
    """
    square, place = choice.square, choice.place
    return CropRow(
        source=source,
        frame=frame,
        seconds=seconds,
        face_id=choice.face_id,
        path=path,
        left=square.left if square else None,
        top=square.top if square else None,
        width=square.side if square else None,
        height=square.side if square else None,
        angle=square.angle if square else None,
        confidence=place.confidence if place else 0.0,
        success=not choice.reason,
        reason=choice.reason,
        outside=choice.outside if square else None,
    )


def write_crops(root: Path, rows: Iterable[CropRow]) -> None:
    """Write ``crops.csv`` into ``root``, whole or not at all.

    Places have 4 decimals, so that a point is mapped back to 0.001 px.

    Raises:
        DataError: It cannot be written.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        writer.writerow([_text(getattr(row, name)) for name in _COLUMNS])
    file = root / CROPS_NAME
    try:
        root.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            temporary.write_text(table.getvalue(), encoding="utf-8", newline="")
    except (OSError, UnicodeEncodeError) as error:
        raise DataError(f"{file}: cannot be written ({error}).") from error


def read_crops(root: Path) -> tuple[CropRow, ...]:
    """Read the ``crops.csv`` in ``root``.

    Raises:
        DataError: Naming the file and, where there is one, the row and column.
    """
    file = root / CROPS_NAME
    try:
        check_table(file)
        with file.open(encoding="utf-8-sig", newline="") as stream:
            table = list(csv.reader(stream, strict=True))
    except FileNotFoundError:
        raise DataError(f"{file}: there is no record of crops.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a CSV table in UTF-8 ({error}).") from error
    if not table or tuple(name.strip() for name in table[0]) != _COLUMNS:
        raise DataError(f"{file}, row 1: expected the columns {', '.join(_COLUMNS)}.")
    rows = []
    for number, cells in enumerate(table[1:], start=2):
        if not cells:
            continue
        if len(cells) != len(_COLUMNS):
            raise DataError(
                f"{file}, row {number}: has {len(cells)} cells, but the header has {len(_COLUMNS)}."
            )
        values = {
            name: _value(name, cell, file, number)
            for name, cell in zip(_COLUMNS, cells, strict=True)
        }
        rows.append(CropRow(**values))
    return tuple(rows)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _value(name: str, cell: str, file: Path, row: int) -> Any:
    if name in _NAMED:
        return cell
    if not cell and name not in _ALWAYS:
        return None
    if name == "success" and cell in ("0", "1"):
        return cell == "1"
    try:
        value = int(cell) if name in _WHOLE else float(cell)
    except ValueError:
        value = math.nan
    if name == "success" or not math.isfinite(value):
        expected = {"success": "0 or 1", "frame": "a whole number", "face_id": "a whole number"}
        raise DataError(
            f"{file}, row {row}, column {name}: expected {expected.get(name, 'a number')}, found "
            f"{cell!r}."
        )
    return value
