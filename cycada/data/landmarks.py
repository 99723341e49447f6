"""Landmarks of an index's faces, ``landmarks.csv`` beside ``index.csv``: where eyes and lips are.

The columns are ``path`` and, for each point, ``NAME_x`` and ``NAME_y``: px in the image file, the
centre of the top left pixel being (0, 0); empty where unknown. Left and right are the person's own.
Any points will do if those of :data:`cycada.landmarks.EYE_CORNERS` are among them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from cycada import images
from cycada.data.dataset import scaled_size
from cycada.data.index import Index
from cycada.errors import DataError
from cycada.files import replacing
from cycada.landmarks import EYE_CORNERS, mirror_order

LANDMARKS_NAME = "landmarks.csv"


def landmark_names(index: Index) -> tuple[str, ...]:
    """Return the points that ``landmarks.csv`` of an index knows; none without the file.

    Raises:
        DataError: The table cannot be read, or an eye corner, or one of a pair, is missing in it.
    """
    file = index.root / LANDMARKS_NAME
    if not file.exists():
        return ()
    header, _ = _table(file)
    names = tuple(name.removesuffix("_x") for name in header if name.endswith("_x"))
    for name in names:
        if f"{name}_y" not in header:
            raise DataError(f"{file}: there is a column {name}_x, but none called {name}_y.")
    if missing := [name for name in EYE_CORNERS if name not in names]:
        raise DataError(
            f"{file}: the columns {missing[0]}_x and {missing[0]}_y are missing; faces are aligned "
            f"by {', '.join(EYE_CORNERS)}."
        )
    try:
        mirror_order(names)
    except KeyError as error:
        raise DataError(f"{file}: there is a point {error.args[0]} on one side only.") from None
    return names


def read_landmarks(index: Index, names: Sequence[str], *, size: int) -> Tensor:
    """Return where the named points lie once the images are scaled and cropped to ``size``.

    Returns:
        ``(N, K, 2)`` x and y in px for the index's faces in order, NaN where unknown.

    Raises:
        DataError: The table cannot be read, or a cell holds no number.
    """
    found = torch.full((len(index.faces), len(names), 2), math.nan)
    file = index.root / LANDMARKS_NAME
    if not file.exists():
        return found
    header, table = _table(file)
    place = {name: number for number, name in enumerate(header)}
    rows = {row[place["path"]]: (number, row) for number, row in enumerate(table, start=2)}
    columns = [
        place.get(f"{name}_{axis}") for name in names for axis in "xy"
    ]  # a point that this table does not know stays unknown
    for number, face in enumerate(index.faces):
        if face.path in rows:
            line, row = rows[face.path]
            values = [
                math.nan if column is None else _number(row[column], file, line, header[column])
                for column in columns
            ]
            points = torch.tensor(values).view(-1, 2)
            found[number] = _as_cropped(points, images.read_size(index.file(face)), size)
    return found


def landmarks_fingerprint(index: Index) -> str:
    """Return a SHA-256 of the table, or a text that says that there is none."""
    file = index.root / LANDMARKS_NAME
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "none"


def write_landmarks(
    file: Path, names: Sequence[str], places: Iterable[tuple[str, Iterable[float]]]
) -> None:
    """Write the table of ``(path, x and y of every point)``, whole or not at all."""
    header = ["path", *(f"{name}_{axis}" for name in names for axis in "xy")]
    rows = ([path, *(f"{value:.2f}" for value in values)] for path, values in places)
    _write(file, [header, *rows])


def carry_landmarks(source: Index, target: Path, renamed: Mapping[str, str]) -> None:
    """Write the rows of ``source`` for images that were made from its own, under their new names.

    Args:
        source: Where a table may be; without one nothing is written.
        target: Folder of the new index; its images are as large as their originals.
        renamed: Path of the original -> path of the image made from it.
    """
    file = source.root / LANDMARKS_NAME
    if file.exists():
        header, rows = _table(file)
        at = header.index("path")
        kept = ([*row[:at], renamed[row[at]], *row[at + 1 :]] for row in rows if row[at] in renamed)
        _write(target / LANDMARKS_NAME, [header, *kept])


def _as_cropped(points: Tensor, shape: tuple[int, int], size: int) -> Tensor:
    """Map px of a file of ``(height, width)`` to px of its scaled and cropped image."""
    scaled = scaled_size(shape, size)
    ratio = torch.tensor([scaled[1] / shape[1], scaled[0] / shape[0]])
    offset = torch.tensor([(side - size) // 2 for side in reversed(scaled)])
    return (points + 0.5) * ratio - 0.5 - offset


def _number(cell: str, file: Path, line: int, column: str) -> float:
    if not cell.strip():
        return math.nan
    try:
        return float(cell)
    except ValueError:
        raise DataError(
            f"{file}: row {line}, column {column}: expected px, found {cell!r}."
        ) from None


def _table(file: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            header, *rows = csv.reader(stream, strict=True)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise DataError(f"{file}: cannot be read as a CSV table in UTF-8 ({error}).") from error
    if "path" not in header:
        raise DataError(f"{file}: there is no column `path`.")
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise DataError(
                f"{file}: row {line} has {len(row)} cells, the header has {len(header)}."
            )
    return header, rows


def _write(file: Path, rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    with replacing(file) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
