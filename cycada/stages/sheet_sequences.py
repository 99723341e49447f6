"""The sequences of a video sheet, opened so that their frames show the same moments."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from cycada import images
from cycada.data.index import CSV_NAME, DOMAINS, Domain, Face
from cycada.errors import DataError
from cycada.files import check_table
from cycada.footage import Footage, ReadOptions, open_footage
from cycada.footage.pictures import frame_numbers, images_in
from cycada.report.methods import spoken
from cycada.stages.phantom import SEQUENCES_NAME
from cycada.stages.sheet_faces import Column, Dataset, Finder, Picture, columns_of, read_dataset
from cycada.thermal import Unit, Window

Frames = Callable[[Window | None], Iterator[Tensor]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Moving:
    """A sequence of frames."""

    label: str
    domain: Domain
    temperatures: bool
    window: Window | None  # deg C that its source says it spans, where that does
    frames: Frames  # given the deg C of -1 and 1, yields (3 or 1, H, W) in [-1, 1]
    rate: float | None  # frames per second
    files: tuple[Path, ...]  # that it is read from
    columns: tuple[Column, ...] = ()  # its frames as faces, where each is a file
    count: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """How sequences are opened."""

    sequence: str  # of an index: that of the column, or a subject; empty: its only one
    domain: Domain  # of the first
    unit: Unit | None  # of deeper grey frames in files and folders
    allow_outside: bool


def open_first(path: Path, opening: Opening) -> list[Moving]:
    """Open the source: an index, a folder of frames, or a recording.

    Returns:
        It and, where an index knows the other image of each of its faces, that sequence.

    Raises:
        CycadaError: There is no such sequence, or it cannot be read.
    """
    if not _is_index(path):
        return [_recorded(path, opening)]
    dataset = _chosen(read_dataset(
        path, domain=opening.domain, unit=None, allow_outside=opening.allow_outside
    ), opening)  # fmt: skip
    columns = tuple(columns_of(dataset, ()))
    if dataset.translated:
        columns = tuple(replace(each, source=each.shown[0]) for each in columns)
    rate = _noted_rate(dataset)
    own = [column.source for column in columns if column.source is not None]
    names = {"rgb": "RGB", "thermal": "Thermal"}
    first = _of_pictures(names[dataset.domain], own, rate)
    sequences = [replace(first, columns=columns)]
    truths = [column.truth for column in columns if column.truth is not None]
    if len(truths) == len(columns) and not dataset.translated:
        other = {"rgb": "True thermal", "thermal": "True RGB"}[dataset.domain]
        sequences.append(_of_pictures(other, truths, rate))
    return sequences


def open_other(path: Path, first: Moving, opening: Opening, *, alone: bool) -> Moving:
    """Open a sequence that shows the moments of ``first``.

    In an index these are found by origin, pair or path where the frames of ``first`` are files;
    else, as in recordings and folders, the first frame of one is the first of the other.
    ``alone`` tells that there is no third.

    Raises:
        CycadaError: It cannot be read, or lacks a frame.
    """
    if not _is_index(path):
        return _recorded(path, opening)
    other = next(domain for domain in DOMAINS if domain != first.domain)
    dataset = read_dataset(
        path, domain=other, unit=None, allow_outside=opening.allow_outside
    )  # fmt: skip
    label = "As thermal" if alone and dataset.translated else spoken(dataset.name)
    if not first.columns:
        faces = _chosen(dataset, opening)
        pictures = [each.shown[0] if each.shown else each.source for each in columns_of(faces, ())]
        return _of_pictures(label, [each for each in pictures if each], _noted_rate(faces))
    found = list(map(Finder(dataset), first.columns))
    for column, picture in zip(first.columns, found, strict=True):
        if picture is None:
            raise DataError(f"{path}: has no frame that is {column.name} of the first sequence.")
    return _of_pictures(label, [each for each in found if each], _noted_rate(dataset))


def _is_index(path: Path) -> bool:
    return (path / CSV_NAME).is_file() or path.name == CSV_NAME


def _chosen(dataset: Dataset, opening: Opening) -> Dataset:
    """Return one sequence of an index, its faces in the order of their frames."""
    groups: dict[tuple[str, str], list[Face]] = {}
    for face in dataset.index.faces:
        groups.setdefault((face.subject, face.sequence), []).append(face)
    wanted = opening.sequence
    fitting = [
        faces for (subject, sequence), faces in groups.items()
        if not wanted or wanted in (sequence, subject, f"{subject}/{sequence}")
    ]  # fmt: skip
    if len(fitting) != 1:
        (subject, sequence), *_ = groups
        how_many = f"{len(fitting)} sequences" if fitting else "no sequence"
        raise DataError(
            f"{dataset.path}: has {how_many}{f' called {wanted!r}' if wanted else ''} with "
            f"{dataset.domain} frames; choose one by --sequence, such as "
            f"{sequence or subject} or {subject}/{sequence}."
        )
    faces = fitting[0]
    if any(face.frame is None for face in faces):
        raise DataError(
            f"{dataset.path}: does not tell the order of its frames: the column frame is empty."
        )
    ordered = tuple(sorted(faces, key=lambda face: face.frame or 0))
    return replace(dataset, index=replace(dataset.index, faces=ordered))


def _of_pictures(label: str, pictures: Sequence[Picture], rate: float | None) -> Moving:
    first = pictures[0]

    def frames(window: Window | None) -> Iterator[Tensor]:
        return (picture.read(window) for picture in pictures)

    return Moving(
        label=label, domain=first.domain, temperatures=first.unit != "grey", window=first.window,
        frames=frames, rate=rate, files=tuple(picture.file for picture in pictures),
        count=len(pictures),
    )  # fmt: skip


def _recorded(path: Path, opening: Opening) -> Moving:
    footage, domain = _opened(path, opening.unit)
    unit = footage.unit if domain == "thermal" else "grey"
    columns: tuple[Column, ...] = ()
    files: tuple[Path, ...] = (path,)
    if path.is_dir():
        found = images_in(path)
        numbers = frame_numbers(found) or range(len(found))
        files = tuple(file for _, file in sorted(zip(numbers, found, strict=True)))
        columns = tuple(
            Column(file.name, "", "test", Picture(file, domain, unit), None) for file in files
        )
    return Moving(
        label="RGB" if domain == "rgb" else "Thermal", domain=domain,  # names may be subjects'
        temperatures=unit != "grey", window=None, rate=footage.frame_rate, files=files,
        columns=columns, count=footage.count,
        frames=partial(_signed_frames, footage, unit, 3 if domain == "rgb" else 1),
    )  # fmt: skip


def _signed_frames(
    footage: Footage, unit: Unit, channels: int, window: Window | None
) -> Iterator[Tensor]:
    for frame in footage.frames():
        if frame.fault:
            raise DataError(f"{footage.path}, frame {frame.name}: {frame.fault}.")
        signed = images.to_signed(frame.image, unit=unit, window=window)
        yield images.with_channels(signed, channels)


def _opened(path: Path, unit: Unit | None) -> tuple[Footage, Domain]:
    """Open a recording as what it holds: pictures in colour, or else a thermal one."""
    try:
        footage = open_footage(path, ReadOptions(domain="rgb"))
        if len(next(footage.frames()).image) == 3:
            return footage, "rgb"
    except DataError:  # thermal files are refused as RGB ones; what is broken, as both
        pass
    return open_footage(path, ReadOptions(domain="thermal", unit=unit)), "thermal"


def _noted_rate(dataset: Dataset) -> float | None:
    """Return the frame rate of phantom videos, which are noted beside their index."""
    file = dataset.index.root / SEQUENCES_NAME
    if not file.is_file():
        return None
    names = {face.sequence for face in dataset.index.faces}
    check_table(file)
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            times = [
                float(row["seconds"]) for row in csv.DictReader(stream) if row["sequence"] in names
            ]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{file}: is no table of sequences with their seconds.") from error
    last = max(times, default=0.0)
    return (len(times) - 1) / last if last > 0 else None
