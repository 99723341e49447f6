"""The dataset on disk: ``index.csv``, one row per face, and ``index.toml``, true of all rows."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from sys import intern
from typing import Any, Literal, NoReturn, get_args

import torch
from torch import Tensor

from cycada.action_units import INTENSITY_MAX, OCCURRENCE_THRESHOLD, column, number_of
from cycada.errors import DataError, did_you_mean
from cycada.files import replacing
from cycada.thermal import Unit, Window

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Domain = Literal["rgb", "thermal"]
Split = Literal["train", "val", "test"]
Kind = Literal["occurrence", "intensity", "class", "none"]

DOMAINS: tuple[Domain, ...] = get_args(Domain)
SPLITS: tuple[Split, ...] = get_args(Split)
KINDS: tuple[Kind, ...] = get_args(Kind)
UNITS: tuple[Unit, ...] = get_args(Unit)

CSV_NAME = "index.csv"
TOML_NAME = "index.toml"

_REQUIRED = ("path", "domain", "subject", "split")
_ALWAYS = (*_REQUIRED, "frame", "sequence")
_WHERE_USED = ("label", "pair", "origin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """One row: an image of one face, and what is known of it."""

    path: str  # relative to the index, with "/"
    domain: Domain
    subject: str
    split: Split
    frame: int | None = None
    sequence: str = ""
    pair: str = ""  # path of the same face in the other domain, where known
    origin: str = ""  # path of the image that a translated one was made from
    action_units: Mapping[int, float] = field(default_factory=dict, hash=False)
    """FACS number -> occurrence (0 or 1) or intensity (0 to 5); absent: not annotated."""
    label: str = ""  # class label


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexInfo:
    """What is true of all rows of an index."""

    kind: Kind  # what the labels are
    threshold: float = OCCURRENCE_THRESHOLD  # intensity from which an AU occurs
    unit: Unit = "grey"  # of the thermal images
    window: Window = Window()  # deg C that the thermal images span
    source: str = ""
    licence: str = ""
    translator: str = ""  # run that made a translated set
    translator_hash: str = ""


@dataclass(frozen=True, slots=True)
class Index:
    """A dataset: its folder, what is true of all rows, and the rows."""

    root: Path
    info: IndexInfo
    faces: tuple[Face, ...]

    def action_units(self) -> tuple[int, ...]:
        """Return the AUs with at least one annotation, in ascending order."""
        return tuple(sorted({number for face in self.faces for number in face.action_units}))

    def select(self, *, domain: Domain | None = None, split: Split | None = None) -> Index:
        """Return the index of the faces of one domain, of one split, or of both."""
        faces = tuple(
            face
            for face in self.faces
            if domain in (None, face.domain) and split in (None, face.split)
        )
        return replace(self, faces=faces)

    def subjects(self) -> set[str]:
        """Return the names of all subjects."""
        return {face.subject for face in self.faces}

    def file(self, face: Face) -> Path:
        """Return where the image of ``face`` lies."""
        return self.root / face.path

    def occurrences(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return which of the AUs ``numbers`` occur in each face, and where that is known.

        Intensities count as occurring from ``info.threshold``.

        Returns:
            labels: ``(N, A)`` float32, 1 where the AU occurs, else 0 (also where unknown).
            known: ``(N, A)`` bool, True where it was annotated.
        """
        threshold = self.info.threshold if self.info.kind == "intensity" else 1.0
        unknown = -1.0
        values = torch.tensor(
            [[face.action_units.get(number, unknown) for number in numbers] for face in self.faces],
            dtype=torch.float64,
        ).reshape(len(self.faces), len(numbers))
        known = values >= 0
        return ((values >= threshold) & known).to(torch.float32), known


def read_index(path: Path | str) -> Index:
    """Read an index, checking everything but the images (``check_files`` looks for those).

    Args:
        path: the folder that holds ``index.csv``, or that file.

    Raises:
        DataError: naming the file and, where there is one, the row and column.
    """
    path = Path(path)
    file = path if path.suffix.lower() == ".csv" else path / CSV_NAME
    if not file.is_file():
        raise DataError(f"{path}: there is no index; `cycada index` makes one.")
    info = _read_info(file.parent / TOML_NAME)
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            faces = tuple(_read_rows(csv.reader(stream, strict=True), file, info.kind))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a CSV table in UTF-8 ({error}).") from error
    index = Index(file.parent, info, faces)
    _check(index, file)
    return index


def write_index(index: Index) -> None:
    """Write ``index.csv`` and ``index.toml`` into ``index.root``, each whole or not at all.

    The columns ``label``, ``pair`` and ``origin`` appear only where a face uses them.

    Raises:
        DataError: the index would not be read again, or cannot be written.
    """
    file = index.root / CSV_NAME
    _check(index, file)
    optional = [name for name in _WHERE_USED if any(getattr(face, name) for face in index.faces)]
    numbers = index.action_units()
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*_ALWAYS, *map(column, numbers), *optional])
    for face in index.faces:
        known = face.action_units
        writer.writerow(
            [
                *(face.path, face.domain, face.subject, face.split),
                "" if face.frame is None else face.frame,
                face.sequence,
                *(_number_text(known[number]) if number in known else "" for number in numbers),
                *(getattr(face, name) for name in optional),
            ]
        )
    try:
        index.root.mkdir(parents=True, exist_ok=True)
        with replacing(index.root / TOML_NAME) as temporary:
            temporary.write_text(_info_text(index.info), encoding="utf-8")
        with replacing(file) as temporary:
            temporary.write_text(table.getvalue(), encoding="utf-8", newline="")
    except OSError as error:
        raise DataError(f"{file}: cannot be written ({error.strerror}).") from error


def check_disjoint(indexes: Iterable[Index]) -> None:
    """Refuse indexes of which one trains on a subject that another one tests or validates on.

    Raises:
        DataError: naming the subject, both splits and both indexes.
    """
    seen: dict[str, tuple[Split, Path]] = {}
    for index in indexes:
        for face in index.faces:
            split, root = seen.setdefault(face.subject, (face.split, index.root))
            if split != face.split:
                raise DataError(
                    f"subject {face.subject!r} is in the split {split!r} of {root} and in "
                    f"{face.split!r} of {index.root}; a subject belongs to one split."
                )


def check_files(index: Index) -> None:
    """Refuse an index of which image files are missing.

    Raises:
        DataError: naming the first missing file and how many are missing.
    """
    missing = [file for file in map(index.file, index.faces) if not file.is_file()]
    if missing:
        raise DataError(
            f"{index.root / CSV_NAME}: {len(missing)} of {len(index.faces)} images are missing; "
            f"the first is {missing[0]}."
        )


def _read_rows(rows: Iterator[list[str]], file: Path, kind: Kind) -> Iterator[Face]:
    header = [name.strip() for name in next(rows, [])]
    place, units = _columns(header, file)
    at_path, at_domain, at_subject, at_split = (place[name] for name in _REQUIRED)
    at_frame, at_sequence = place.get("frame"), place.get("sequence")
    optional = {name: place[name] for name in _WHERE_USED if name in place}
    for row_number, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) != len(header):
            raise DataError(
                f"{file}, row {row_number}: has {len(row)} cells where the header has "
                f"{len(header)}."
            )
        known: dict[int, float] = {}
        for number, at in units:
            if text := row[at].strip():
                known[number] = _value(text, _Cell(file, row_number, header[at]), kind)
        yield Face(
            path=row[at_path],
            domain=_choice(row[at_domain], DOMAINS, _Cell(file, row_number, "domain")),
            subject=intern(row[at_subject].strip()),
            split=_choice(row[at_split], SPLITS, _Cell(file, row_number, "split")),
            frame=None if at_frame is None else _frame(row[at_frame], file, row_number),
            sequence="" if at_sequence is None else intern(row[at_sequence]),
            action_units=known,
            **{name: row[at] for name, at in optional.items()},
        )


def _columns(header: list[str], file: Path) -> tuple[dict[str, int], list[tuple[int, int]]]:
    """Return where the named columns stand, and (AU number, place) of each AU column."""
    place: dict[str, int] = {}
    units: dict[int, int] = {}
    names = (*_ALWAYS, *_WHERE_USED)
    for at, name in enumerate(header):
        number = None if name in names else _unit_of_column(name, names, file)
        if name in place or number in units:
            raise DataError(f"{file}, row 1: the column {name!r} appears twice.")
        if number is None:
            place[name] = at
        else:
            units[number] = at
    missing = [name for name in _REQUIRED if name not in place]
    if missing:
        raise DataError(
            f"{file}, row 1: the column {missing[0]!r} is missing; "
            f"an index needs {', '.join(_REQUIRED)}."
        )
    return place, list(units.items())


def _unit_of_column(name: str, names: Sequence[str], file: Path) -> int:
    try:
        return number_of(name)
    except DataError as error:
        if name.upper().startswith("AU"):
            raise DataError(f"{file}, row 1: {error}") from None
    raise DataError(f"{file}, row 1: unknown column {name!r}.{did_you_mean(name, names)}")


@dataclass(frozen=True, slots=True)
class _Cell:
    file: Path
    row: int
    column: str

    def refuse(self, expected: str, found: object) -> NoReturn:
        raise DataError(
            f"{self.file}, row {self.row}, column {self.column}: expected {expected}, "
            f"found {str(found)!r}."
        )


def _value(text: str, cell: _Cell, kind: Kind) -> float:
    try:
        value = float(text)
    except ValueError:
        cell.refuse(_expected(kind), text)
    if not _is_allowed(value, kind):
        cell.refuse(_expected(kind), text)
    return value
