"""Where faces are, from tables that others wrote: OpenFace, py-feat, boxes, landmarks.

Each table becomes faces by image path or by recording and frame, under the one convention of
:mod:`cycada.data.faces.geometry`. Landmarks with both eyes decide where they are known, else the
box, which is taken to reach from forehead to chin.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Literal

from cycada.data.faces.geometry import FacePlace, Found, place_of_box, place_of_landmarks
from cycada.data.faces.numbering import NUMBERINGS, Numbering
from cycada.data.label_table import read_table
from cycada.errors import DataError
from cycada.image_reading import IMAGE_SUFFIXES

PlaceFormat = Literal["openface", "pyfeat", "landmarks", "boxes"]

_UNKNOWN = frozenset({"", "nan", "na", "n/a"})
_POINT = re.compile(r"x_(\d+)")
_BOX = ("left", "top", "width", "height")
_RECT = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")


@dataclass(frozen=True, slots=True)
class Key:
    """The frame that a row speaks of: an image, or a frame of a recording."""

    path: str  # as written, with "/"; of an image, or of the recording if there is a frame
    frame: int | None = None  # position in the recording, from 0


@dataclass(frozen=True, slots=True)
class PlaceTable:
    """What one file says of faces."""

    file: Path
    format: PlaceFormat
    frames: Mapping[Key, Found]
    by_name: Mapping[tuple[str, int | None], tuple[Key, ...]]  # name of the file, and frame
    landmarks: tuple[str, ...]  # names of those that faces have
    notes: tuple[str, ...]  # what was understood or left out, for the user to see

    def of_image(self, image: Path) -> Found | None:
        """Return the faces of an image, ``None`` where the table does not name it.

        A path in the table is taken from the folder of the table; or it is the end of the path
        of the image, whose suffix may be missing.

        Raises:
            DataError: Two rows may mean the image.
        """
        return self._of(image, None)

    def of_frame(self, recording: Path, frame: int) -> Found | None:
        """Return the faces of a frame, ``None`` where the table does not name it.

        Args:
            recording: The video file or the folder of frames, found as an image is.
            frame: Its position in the recording, from 0.

        Raises:
            DataError: Two rows may mean the frame.
        """
        return self._of(recording, frame)

    def _of(self, file: Path, frame: int | None) -> Found | None:
        file = file.resolve()
        names = dict.fromkeys((file.name, file.stem))
        keys = [key for name in names for key in self.by_name.get((name, frame), ())]
        for key in keys:
            if (self.file.parent / key.path).resolve() == file:
                return self.frames[key]
        near = [key for key in keys if _ends_with(file.parts, key.path)]
        if len(near) > 1:
            raise DataError(
                f"{self.file}: both {near[0].path!r} and {near[1].path!r} may mean {file}; "
                f"write longer paths."
            )
        return self.frames[near[0]] if near else None


def read_places(file: Path) -> PlaceTable:
    """Read a table of faces, telling its format by the columns.

    * OpenFace: ``x_0`` to ``x_67`` and ``y_0`` to ``y_67``; the recording is what the file is
      named after, and its frames count from 1; ``success`` 0 means no face.
    * py-feat: ``FaceRectX`` and its like, ``FaceScore``, ``input``, and landmarks if there are.
    * Landmarks as in ``landmarks.csv`` of an index: ``eye_inner_left_x`` and so on, with ``path``,
      ``frame`` or both, as boxes have them.
    * Boxes: ``path`` (an image), ``frame`` (of the recording that the file is named after) or
      both (the path is that of a recording); ``left``, ``top``, ``width``, ``height``; perhaps
      ``angle``, ``confidence`` and ``face_id``.

    Separated by commas, semicolons or tabs; other columns are ignored.

    Raises:
        DataError: Naming the file and, where there is one, the row and column.
    """
    table = _read_table(file)
    names = set(table.header)
    points = sorted(int(match[1]) for name in names if (match := _POINT.fullmatch(name)))
    numbering = _numbering(table, points) if points else {}
    if set(_RECT) & names:
        return _collect(table, "pyfeat", _pyfeat_row(table, numbering), tuple(numbering))
    if points:
        return _collect(table, "openface", _openface_row(table, numbering), tuple(numbering))
    if set(_BOX) & names:
        return _collect(table, "boxes", _box_row(table), ())
    if any(name.startswith("eye_") and name.endswith("_x") for name in names):
        named = tuple(name.removesuffix("_x") for name in table.header if name.endswith("_x"))
        return _collect(table, "landmarks", _landmark_row(table, named), named)
    raise DataError(
        f"{file}, row 1: no columns say where faces are; expected left, top, width and height, "
        f"landmarks (x_0 ... or eye_inner_left_x ...), or FaceRectX and its like."
    )


@dataclass(frozen=True, slots=True)
class _Table:
    file: Path
    header: tuple[str, ...]
    column: Mapping[str, int]  # where a name stands in the header, which may be long
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def cell(self, cells: Sequence[str], name: str) -> str:
        """Return the text in column ``name``, empty where there is no such column."""
        at = self.column.get(name)
        return "" if at is None else cells[at]

    def number(self, row: int, cells: Sequence[str], name: str) -> float:
        """Return the number in column ``name``, NaN where it is empty or unknown."""
        text = self.cell(cells, name)
        if text.lower() in _UNKNOWN:
            return math.nan
        try:
            value = float(text)
        except ValueError:
            value = math.inf
        if not math.isfinite(value):
            raise DataError(
                f"{self.file}, row {row}, column {name}: expected a number, found {text!r}."
            )
        return value

    def whole(self, row: int, cells: Sequence[str], name: str) -> int:
        """Return the whole number in column ``name``, which may be written as 3.0."""
        value = self.number(row, cells, name)
        if math.isnan(value) or value != int(value) or value < 0:
            raise DataError(
                f"{self.file}, row {row}, column {name}: expected a whole number, found "
                f"{self.cell(cells, name)!r}."
            )
        return int(value)

    def share(self, row: int, cells: Sequence[str], name: str) -> float:
        """Return the confidence in column ``name``, 1 where it is unknown."""
        value = self.number(row, cells, name)
        if math.isnan(value):
            return 1.0
        if not 0 <= value <= 1:
            raise DataError(
                f"{self.file}, row {row}, column {name}: expected a confidence from 0 to 1, found "
                f"{value:g}."
            )
        return value

    def needs(self, *names: str) -> None:
        """Refuse a table that lacks one of the columns."""
        if missing := [name for name in names if name not in self.header]:
            raise DataError(f"{self.file}, row 1: the column {missing[0]!r} is missing.")


_Row = Callable[[int, Sequence[str]], tuple[Key, FacePlace | str]]
"""Reads a row: the frame, and its face or the reason why it shows none."""


def _read_table(file: Path) -> _Table:
    if not file.exists():
        raise DataError(f"{file}: there is no such file of boxes or landmarks.")
    names, lines = read_table(file)
    header, rows = tuple(names), [(row, tuple(cells)) for row, cells in lines]
    if not rows:
        raise DataError(f"{file}: holds no rows.")
    # py-feat writes its row numbers under an empty name, perhaps several times over.
    if twice := [name for name in header if name and header.count(name) > 1]:
        raise DataError(f"{file}, row 1: the column {twice[0]!r} is there twice.")
    return _Table(file, header, {name: at for at, name in enumerate(header)}, tuple(rows))


def _collect(
    table: _Table, kind: PlaceFormat, read: _Row, landmarks: tuple[str, ...]
) -> PlaceTable:
    """Gather the faces of each frame, in the order of the rows."""
    places: dict[Key, list[FacePlace]] = {}
    reasons: dict[Key, str] = {}
    seen: dict[tuple[Key, str], int] = {}
    for row, cells in table.rows:
        key, face = read(row, cells)
        # py-feat writes a row per face, and does not name them.
        if kind != "pyfeat":
            first = seen.setdefault((key, table.cell(cells, "face_id")), row)
            if first != row:
                raise DataError(
                    f"{table.file}, row {row}: names the same face as row {first}; several faces "
                    f"of a frame need a column face_id."
                )
        faces = places.setdefault(key, [])
        if isinstance(face, str):
            reasons[key] = face
        else:
            faces.append(face)
    frames = {
        key: Found(tuple(faces), "" if faces else reasons[key]) for key, faces in places.items()
    }
    notes = [f"{table.file}: read as {_TOLD[kind]}."]
    if none := sum(not found.places for found in frames.values()):
        notes.append(f"{table.file}: {none} of {len(frames)} frames have no face in it.")
    if kind == "openface" and "frame" in table.header:
        notes.append(
            f"{table.file}: its frames count from 1; frame 1 is the first of the recording."
        )
    by_name: dict[tuple[str, int | None], tuple[Key, ...]] = {}
    for key in frames:
        name = PurePosixPath(key.path).name, key.frame
        by_name[name] = (*by_name.get(name, ()), key)
    return PlaceTable(table.file, kind, frames, by_name, landmarks, tuple(notes))


_TOLD: Mapping[PlaceFormat, str] = MappingProxyType(
    {
        "openface": "landmarks of OpenFace",
        "pyfeat": "faces of py-feat",
        "landmarks": "landmarks by name",
        "boxes": "boxes from forehead to chin",
    }
)


def _openface_row(table: _Table, numbering: Numbering) -> _Row:
    name = table.file.stem

    def read(row: int, cells: Sequence[str]) -> tuple[Key, FacePlace | str]:
        key = Key(name)
        if "frame" in table.header:
            number = table.whole(row, cells, "frame")
            if number < 1:
                raise DataError(
                    f"{table.file}, row {row}, column frame: OpenFace counts from 1, found 0."
                )
            key = Key(name, number - 1)
        if "success" in table.header and table.number(row, cells, "success") != 1:
            return key, "no face in the table (success 0)"
        confidence = table.share(row, cells, "confidence")
        landmarks = _landmarks(table, row, cells, numbering)
        return key, place_of_landmarks(landmarks, confidence=confidence) or _BLIND

    return read


_BLIND = "the landmarks of the eyes are unknown"


def _pyfeat_row(table: _Table, numbering: Numbering) -> _Row:
    table.needs(*_RECT)
    if not {"input", "frame"} & set(table.header):
        raise DataError(f"{table.file}, row 1: the column 'input' or 'frame' is missing.")

    def read(row: int, cells: Sequence[str]) -> tuple[Key, FacePlace | str]:
        path = table.cell(cells, "input").replace("\\", "/") or table.file.stem
        is_image = PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES
        key = Key(path) if is_image else Key(path, table.whole(row, cells, "frame"))
        box = [table.number(row, cells, name) for name in _RECT]
        if any(map(math.isnan, box)):
            return key, "no face in the table (empty rectangle)"
        confidence = table.share(row, cells, "FaceScore")
        landmarks = _landmarks(table, row, cells, numbering)
        by_eyes = place_of_landmarks(landmarks, confidence=confidence)
        return key, by_eyes or _checked_box(table, row, box, confidence)

    return read


def _box_row(table: _Table) -> _Row:
    table.needs(*_BOX)
    _check_names_frames(table)

    def read(row: int, cells: Sequence[str]) -> tuple[Key, FacePlace | str]:
        key = _named_frame(table, row, cells)
        box = [table.number(row, cells, name) for name in _BOX]
        if all(map(math.isnan, box)):
            return key, "no face in the table (empty box)"
        place = _checked_box(table, row, box, table.share(row, cells, "confidence"))
        angle = table.number(row, cells, "angle")
        return key, place if math.isnan(angle) else replace(place, angle=angle)

    return read


def _landmark_row(table: _Table, names: Sequence[str]) -> _Row:
    table.needs(*(f"{name}_y" for name in names))
    _check_names_frames(table)

    def read(row: int, cells: Sequence[str]) -> tuple[Key, FacePlace | str]:
        points = {
            name: (table.number(row, cells, f"{name}_x"), table.number(row, cells, f"{name}_y"))
            for name in names
        }
        return _named_frame(table, row, cells), place_of_landmarks(_known(points)) or _BLIND

    return read


def _check_names_frames(table: _Table) -> None:
    if not {"path", "frame"} & set(table.header):
        raise DataError(f"{table.file}, row 1: the column 'path' or 'frame' is missing.")


def _named_frame(table: _Table, row: int, cells: Sequence[str]) -> Key:
    """Return the frame that the columns ``path``, ``frame`` or both name."""
    path = table.cell(cells, "path").replace("\\", "/")
    if "path" in table.header and not path:
        raise DataError(f"{table.file}, row {row}, column path: is empty.")
    frame = table.whole(row, cells, "frame") if "frame" in table.header else None
    return Key(path or table.file.stem, frame)


def _numbering(table: _Table, points: Sequence[int]) -> Numbering:
    numbering = NUMBERINGS.get(len(points))
    if numbering is None or list(points) != list(range(len(points))):
        raise DataError(
            f"{table.file}, row 1: has {len(points)} landmarks x_N; known are 68 (x_0 to x_67) and "
            f"478 (x_0 to x_477)."
        )
    table.needs(*(f"y_{number}" for number in points))
    return numbering


def _landmarks(
    table: _Table, row: int, cells: Sequence[str], numbering: Numbering
) -> dict[str, tuple[float, float]]:
    def mean(axis: str, points: Sequence[int]) -> float:
        return sum(table.number(row, cells, f"{axis}_{at}") for at in points) / len(points)

    return _known({name: (mean("x", at), mean("y", at)) for name, at in numbering.items()})


def _known(points: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    return {name: point for name, point in points.items() if not any(map(math.isnan, point))}


def _checked_box(table: _Table, row: int, box: Sequence[float], confidence: float) -> FacePlace:
    left, top, width, height = box
    if any(map(math.isnan, box)) or width <= 0 or height <= 0:
        told = ", ".join(f"{value:g}" for value in box)
        raise DataError(
            f"{table.file}, row {row}: a box needs left, top and a width and height above 0, "
            f"found {told}."
        )
    return place_of_box(left, top, width, height, confidence=confidence)


def _ends_with(parts: Sequence[str], path: str) -> bool:
    """Tell whether a relative path, perhaps without suffix, is the end of an absolute one."""
    wanted = PurePosixPath(path)
    if wanted.is_absolute() or ".." in wanted.parts:
        return False
    *folders, name = parts[-len(wanted.parts) :]
    return (*folders, wanted.name) == wanted.parts and wanted.name in (name, Path(name).stem)
