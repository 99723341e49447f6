"""The dataset on disk: ``index.csv``, one row per face, and ``index.toml``, true of all rows."""

from __future__ import annotations

import csv
import gc
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from sys import intern
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from cycada.action_units import INTENSITY_MAX, column
from cycada.data.annotations import AnnotationReader, is_number, values_of
from cycada.data.index_columns import ALWAYS, REQUIRED, WHERE_USED, columns_of
from cycada.data.index_info import TOML_NAME, IndexInfo, Kind, info_text, read_info
from cycada.data.outside import folders_outside, links_outside, place_digest, staying_inside
from cycada.errors import DataError
from cycada.files import check_table, replacing
from cycada.task import Task

__all__ = [
    "CSV_NAME",
    "DOMAINS",
    "SPLITS",
    "Domain",
    "Face",
    "Index",
    "IndexInfo",
    "Kind",
    "Split",
    "read_index",
    "write_index",
]

Domain = Literal["rgb", "thermal"]
Split = Literal["train", "val", "test"]

DOMAINS: tuple[Domain, ...] = get_args(Domain)
SPLITS: tuple[Split, ...] = get_args(Split)

CSV_NAME = "index.csv"

_TOGETHER = 4096  # rows of which the AU values are checked at a time
_A = MappingProxyType({"intensity": "an intensity", "probability": "a probability"})
_LARGEST: Mapping[Kind, float] = MappingProxyType(
    {"occurrence": 1.0, "intensity": INTENSITY_MAX, "probability": 1.0}
)
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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
    """FACS number -> occurrence (0 or 1), intensity (0 to 5) or probability; absent: unknown."""
    label: str = ""  # class label


@dataclass(frozen=True, slots=True)
class Index:
    """A dataset: its folder, what is true of all rows, and the rows."""

    root: Path
    info: IndexInfo
    faces: tuple[Face, ...]

    def action_units(self) -> tuple[int, ...]:
        """Return the AUs with at least one annotation, in ascending order."""
        return tuple(sorted(set().union(*{frozenset(face.action_units) for face in self.faces})))

    def classes(self) -> tuple[str, ...]:
        """Return the class labels in use, sorted."""
        return tuple(sorted({face.label for face in self.faces if face.label}))

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

    def fingerprint(self) -> str:
        """Return a SHA-256 of what a training learns from here, but not of the images.

        Rows count in their order, which decides what each step sees; faces to test on do not.
        """
        info = self.info
        window = (info.window.low, info.window.high)
        known = (info.kind, info.threshold, info.unit, window, info.translator_hash)
        seen = sorted((*info.seen_subjects, *info.seen_digests))
        digest = hashlib.sha256(json.dumps((*known, seen)).encode())
        for face in self.faces:
            if face.split != "test":
                units = sorted(face.action_units.items())
                row = (face.path, face.domain, face.subject, face.split, units)
                digest.update(json.dumps((*row, face.label) if face.label else row).encode())
        return digest.hexdigest()

    def file(self, face: Face) -> Path:
        """Return where the image of ``face`` lies."""
        return self.root / face.path

    def occurrences(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return which of the AUs ``numbers`` occur in each face, and where that is known.

        Intensities and probabilities count as occurring from ``info.threshold``.

        Returns:
            ``(N, A)`` float32, 1 where the AU occurs, else 0 (also where unknown), and ``(N, A)``
            bool, True where it was annotated.
        """
        graded = self.info.kind in ("intensity", "probability")
        values = self._values(numbers)
        known = ~values.isnan()
        return (values >= (self.info.threshold if graded else 1.0)).to(torch.float32), known

    def intensities(self, numbers: Sequence[int]) -> Tensor:
        """Return ``(N, A)`` float64 intensities of the AUs from 0 to 5; NaN where unknown.

        Those of an index of another kind are all unknown.
        """
        values = self._values(numbers)
        return values if self.info.kind == "intensity" else torch.full_like(values, math.nan)

    def _values(self, numbers: Sequence[int]) -> Tensor:
        return torch.from_numpy(values_of([face.action_units for face in self.faces], numbers))

    def labels(self, task: Task) -> tuple[Tensor, Tensor]:
        """Return the labels of each face for ``task``, and where they are known.

        A class that the task does not name counts as unknown.

        Returns:
            ``(N, A)`` float32, 1 for the AUs that occur or for the class, else 0, and ``(N, A)``
            bool, True where known; of classes whole rows.
        """
        if task.kind == "action_units":
            return self.occurrences(task.action_units)
        place = {name: number for number, name in enumerate(task.classes)}
        found = torch.tensor([place.get(face.label, -1) for face in self.faces], dtype=torch.long)
        labels = torch.zeros(len(self.faces), len(task))
        rows = (found >= 0).nonzero().squeeze(1)
        labels[rows, found[rows]] = 1.0
        return labels, (found >= 0)[:, None].expand(-1, len(task)).clone()


def read_index(path: Path | str, *, one_split: bool = True, allow_outside: bool = False) -> Index:
    """Read an index, checking everything but the images (``check_files`` looks for those).

    Args:
        path: the folder that holds ``index.csv``, or that file.
        one_split: refuse a subject who is in two splits; an audit names all of them instead.
        allow_outside: believe paths that leave the folder of an index that was not written there
            (``cycada/data/outside.py``).

    Raises:
        DataError: naming the file and, where there is one, the row and column.
    """
    path = Path(path)
    file = path if path.suffix.lower() == ".csv" else path / CSV_NAME
    if not file.is_file():
        raise DataError(f"{path}: there is no index; `cycada index` makes one.")
    info = read_info(file.parent / TOML_NAME)
    try:
        check_table(file)
        with file.open(encoding="utf-8-sig", newline="") as stream, _without_collecting():
            rows = _parsed(csv.reader(stream, strict=True), file)
            if not allow_outside:
                rows = staying_inside(rows, info, file)
            faces = _checked(rows, file, info, one_split=one_split)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a CSV table in UTF-8 ({error}).") from error
    if allow_outside:
        info = replace(info, outside_of=place_digest(file.parent))
    return Index(file.parent, info, faces)


def paths_of(face: Face) -> Iterator[str]:
    """Yield the paths of all files that a row names."""
    return filter(None, (face.path, face.pair, face.origin))


def write_index(index: Index) -> None:
    """Write ``index.csv`` and ``index.toml`` into ``index.root``, each whole or not at all.

    The columns ``label``, ``pair`` and ``origin`` appear only where a face uses them.

    Raises:
        DataError: the index would not be read again, or cannot be written.
    """
    file = index.root / CSV_NAME
    _checked(enumerate(index.faces, start=2), file, index.info)
    outside = folders_outside(path for face in index.faces for path in paths_of(face))
    inside = (index.root / path for face in index.faces for path in paths_of(face))
    leaves = bool(outside) or any(links_outside(inside, index.root))
    info = replace(
        index.info, outside=outside, outside_of=place_digest(index.root) if leaves else ""
    )
    optional = [name for name in WHERE_USED if any(getattr(face, name) for face in index.faces)]
    numbers = index.action_units()
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*ALWAYS, *map(column, numbers), *optional])
    for face in index.faces:
        known = {number: _number_text(value) for number, value in face.action_units.items()}
        writer.writerow(
            [
                *(face.path, face.domain, face.subject, face.split),
                "" if face.frame is None else face.frame,
                face.sequence,
                *(known.get(number, "") for number in numbers),
                *(getattr(face, name) for name in optional),
            ]
        )
    try:
        index.root.mkdir(parents=True, exist_ok=True)
        with replacing(index.root / TOML_NAME) as temporary:
            temporary.write_text(info_text(info), encoding="utf-8")
        with replacing(file) as temporary:
            temporary.write_text(table.getvalue(), encoding="utf-8", newline="")
    except (OSError, UnicodeEncodeError) as error:
        raise DataError(f"{file}: cannot be written ({error}).") from error


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Leave Python's search for cycles out: rows have none, and it would visit all over again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _parsed(rows: Iterator[list[str]], file: Path) -> Iterator[tuple[int, Face]]:
    """Yield each row of the table with its number, as typed but not yet as checked values."""
    header = [name.strip() for name in next(rows, [])]
    place, units = columns_of(header, file)
    annotated = AnnotationReader(units, width=len(header))
    at_path, at_domain, at_subject, at_split = (place[name] for name in REQUIRED)
    others = {name: place[name] for name in (*WHERE_USED, "sequence") if name in place}
    at_frame = place.get("frame")
    for number, row in enumerate(rows, start=2):
        if not row:  # a blank line
            continue
        if len(row) != len(header):
            raise DataError(
                f"{file}, row {number}: has {len(row)} cells, but the header has {len(header)}."
            )
        try:
            known = annotated(row)
        except ValueError:
            at = next(at for at in units.values() if row[at] and not is_number(row[at]))
            raise _wrong(file, number, header[at], "a number or nothing", row[at]) from None
        frame = row[at_frame] if at_frame is not None else ""
        if frame and not frame.isdecimal():
            raise _wrong(file, number, "frame", "a whole number or nothing", frame)
        texts = {name: intern(row[at]) for name, at in others.items()}
        face = Face(
            path=row[at_path],
            domain=intern(row[at_domain]),  # type: ignore[arg-type]  # checked by _checked
            subject=intern(row[at_subject]),
            split=intern(row[at_split]),  # type: ignore[arg-type]  # checked by _checked
            frame=int(frame) if frame else None,
            action_units=known,
            **texts,
        )
        yield number, face


def _checked(
    rows: Iterable[tuple[int, Face]], file: Path, info: IndexInfo, *, one_split: bool = True
) -> tuple[Face, ...]:
    """Return the faces, or refuse the first that contradicts ``info``, itself or another row."""
    faces: list[Face] = []
    paths: set[str] = set()
    unchecked: list[tuple[int, Mapping[int, float]]] = []
    splits: dict[str, tuple[Split, int]] = {}
    try:
        for row, face in rows:
            if face.domain not in DOMAINS:
                raise _wrong(file, row, "domain", "rgb or thermal", face.domain)
            if face.split not in SPLITS:
                raise _wrong(file, row, "split", "train, val or test", face.split)
            if not face.subject:
                raise _wrong(file, row, "subject", "a name", "")
            _check_paths(face, file, row)
            if face.path in paths:
                raise DataError(f"{file}, row {row}, column path: {face.path!r} is there twice.")
            split, first_row = splits.setdefault(face.subject, (face.split, row))
            if one_split and split != face.split:
                raise DataError(
                    f"{file}, row {row}: subject {face.subject!r} is in the split "
                    f"{face.split!r}, but in row {first_row} in {split!r}; a subject belongs to "
                    "one split."
                )
            if face.action_units:
                unchecked.append((row, face.action_units))
                if len(unchecked) == _TOGETHER:
                    _check_values(unchecked, info, file)
                    unchecked.clear()
            paths.add(face.path)
            faces.append(face)
    finally:  # an earlier row is told of first
        _check_values(unchecked, info, file)
    if not faces:
        raise DataError(f"{file}: holds no faces.")
    return tuple(faces)


def _check_values(
    faces: Sequence[tuple[int, Mapping[int, float]]], info: IndexInfo, file: Path
) -> None:
    """Refuse the first AU value that is not of its kind, of rows with their numbers."""
    values = np.fromiter(chain.from_iterable(units.values() for _, units in faces), np.float64)
    if not len(values):
        return
    largest = _LARGEST.get(info.kind)
    if largest is None:
        raise DataError(
            f"{file.parent / TOML_NAME}: kind = {info.kind!r}, but {file} annotates "
            f'Action Units; write kind = "occurrence" (0 or 1), "intensity" (0 to 5) or '
            f'"probability" (0 to 1).'
        )
    whole = info.kind == "occurrence"
    fits = (values == 0) | (values == 1) if whole else (values >= 0) & (values <= largest)
    if fits.all():
        return
    at = int(np.argmin(fits))
    cells = ((row, number, value) for row, units in faces for number, value in units.items())
    row, number, value = next(islice(cells, at, None))
    expected = "0 or 1" if whole else f"{_A[info.kind]} from 0 to {largest:g}"
    raise _wrong(file, row, column(number), expected, f"{value:g}")


def fault_of_path(path: str) -> str:
    """Return why an index cannot hold a path that leads to a file; empty if it can."""
    if not _is_relative(path):
        return "has a name that no index can hold (a backslash, a drive or a control character)"
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "has a name that is not UTF-8, so that no index can hold it"
    return ""


def _check_paths(face: Face, file: Path, row: int) -> None:
    for name, text in (("path", face.path), ("pair", face.pair), ("origin", face.origin)):
        if not (_is_relative(text) if text else name != "path"):
            raise _wrong(file, row, name, "a path relative to the index, with '/'", text)


def _is_relative(path: str) -> bool:
    """Tell whether a path leads from the index to a file, on any system.

    Absolute ones lead to a place of the writer's machine, with a drive (``C:``) or a share
    (``//host``) on Windows, where the backslash leads there, too; one that ends in ``.`` or ``..``
    names a folder, and control characters (NUL, line breaks) are in no path of ours.
    """
    if path.startswith("/") or "\\" in path or (":" in path and _DRIVE.match(path)):
        return False
    if not path.isprintable() and _CONTROL.search(path):
        return False
    return path.rpartition("/")[2] not in ("", ".", "..")


def _wrong(file: Path, row: int, name: str, expected: str, found: str) -> DataError:
    return DataError(f"{file}, row {row}, column {name}: expected {expected}, found {found!r}.")


def _number_text(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
