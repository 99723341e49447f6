"""Landmarks of an index's faces, ``landmarks.csv`` beside ``index.csv``: where eyes and lips are.

The columns are ``path`` as in the index and, for each point, ``NAME_x`` and ``NAME_y``: px in the
image file, the centre of the top left pixel being (0, 0); empty where unknown. Left and right are
the person's own. Points of one side need their partners on the other, and those of
:data:`cycada.landmarks.EYE_CORNERS` must be among them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cycada import image_reading
from cycada.data.dataset import scaled_size
from cycada.data.index import Face, Index
from cycada.errors import DataError
from cycada.files import check_table, replacing
from cycada.landmarks import EYE_CORNERS, mirror_order
from cycada.stopping import threads

LANDMARKS_NAME = "landmarks.csv"


@dataclass(frozen=True, slots=True)
class Landmarks:
    """The table of one index."""

    names: tuple[str, ...]
    places: Mapping[str, tuple[float, ...]]  # path -> x and y of every point, px; NaN: unknown

    def of(self, index: Index, names: Sequence[str], *, size: int) -> Tensor:
        """Return where the named points lie once the index's images are scaled and cropped.

        The images' sizes are read from their files.

        Returns:
            ``(N, K, 2)`` x and y in px of ``size``; NaN where a face or a point is unknown.
        """
        found = torch.full((len(index.faces), len(names), 2), math.nan)
        known = [row for row, face in enumerate(index.faces) if face.path in self.places]
        columns = [self.names.index(name) if name in self.names else None for name in names]

        def points(row: int) -> Tensor:
            face = index.faces[row]
            flat = self.places[face.path]
            values = [
                (math.nan, math.nan) if column is None else flat[2 * column : 2 * column + 2]
                for column in columns
            ]
            return _as_cropped(
                torch.tensor(values), image_reading.read_size(index.file(face)), size
            )

        with threads() as pool:
            for row, cropped in zip(known, pool.map(points, known), strict=True):
                found[row] = cropped
        return found

    def fingerprint(self, faces: Iterable[Face]) -> str:
        """Return a SHA-256 of what the table says of ``faces``."""
        digest = hashlib.sha256(repr(self.names).encode())
        for face in faces:
            digest.update(repr((face.path, self.places.get(face.path))).encode())
        return digest.hexdigest()


def read_landmarks(root: Path) -> Landmarks | None:
    """Read and check the table of the index in ``root``; ``None`` where there is none.

    Raises:
        DataError: Naming the file and, where there is one, the row and column.
    """
    file = root / LANDMARKS_NAME
    if not file.exists():
        return None
    try:
        check_table(file)
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(_rows(csv.reader(stream, strict=True)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a CSV table in UTF-8 ({error}).") from error
    if not rows:
        raise DataError(f"{file}: is empty; expected a header with the column `path`.")
    header = [cell.strip() for cell in rows[0][1]]
    names = _names(header, file)
    at = header.index("path")
    order = [header.index(f"{name}_{axis}") for name in names for axis in "xy"]
    places: dict[str, tuple[float, ...]] = {}
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise DataError(
                f"{file}: row {line} has {len(row)} cells, the header has {len(header)}."
            )
        if row[at] in places:
            raise DataError(f"{file}: row {line}: {row[at]} is there already.")
        places[row[at]] = tuple(_number(row[i], file, line, header[i]) for i in order)
    return Landmarks(names, places)


def write_landmarks(
    root: Path, names: Sequence[str], places: Iterable[tuple[str, Iterable[float]]]
) -> None:
    """Write the table of ``(path, x and y of every point)`` into ``root``, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", *(f"{name}_{axis}" for name in names for axis in "xy")])
    for path, values in places:
        writer.writerow([path, *("" if math.isnan(v) else f"{v:.2f}" for v in values)])
    root.mkdir(parents=True, exist_ok=True)
    with replacing(root / LANDMARKS_NAME) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def _names(header: Sequence[str], file: Path) -> tuple[str, ...]:
    if "path" not in header:
        raise DataError(f"{file}: there is no column `path`.")
    if twice := [name for name in header if header.count(name) > 1]:
        raise DataError(f"{file}: the column {twice[0]} is there twice.")
    names = tuple(name.removesuffix("_x") for name in header if name.endswith("_x"))
    columns = {"path", *(f"{name}_{axis}" for name in names for axis in "xy")}
    if missing := sorted(columns - set(header)):
        partner = missing[0].removesuffix("_y")
        raise DataError(f"{file}: there is a column {partner}_x, but none called {missing[0]}.")
    if unknown := [name for name in header if name not in columns]:
        raise DataError(
            f"{file}: the column {unknown[0]} is no coordinate; points have NAME_x and NAME_y."
        )
    if absent := [name for name in EYE_CORNERS if name not in names]:
        raise DataError(
            f"{file}: the columns {absent[0]}_x and {absent[0]}_y are missing; faces are aligned "
            f"by {', '.join(EYE_CORNERS)}."
        )
    try:
        mirror_order(names)
    except KeyError as error:
        raise DataError(f"{file}: there is a point {error.args[0]} on one side only.") from None
    return names


def _rows(reader: Iterable[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty, with their numbers."""
    for line, row in enumerate(reader, start=1):
        if row:
            yield line, row


def _number(cell: str, file: Path, line: int, column: str) -> float:
    if not cell.strip():
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise DataError(f"{file}: row {line}, column {column}: expected px, found {cell!r}.")
    return value


def _as_cropped(points: Tensor, shape: tuple[int, int], size: int) -> Tensor:
    """Map px of a file of ``(height, width)`` to px of its scaled and cropped image."""
    scaled = scaled_size(shape, size)
    ratio = torch.tensor([scaled[1] / shape[1], scaled[0] / shape[0]])
    offset = torch.tensor([(side - size) // 2 for side in reversed(scaled)])
    return (points + 0.5) * ratio - 0.5 - offset
