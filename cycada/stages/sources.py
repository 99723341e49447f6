"""What a verb is given to look at, as streams of frames: files, folders, recordings, indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cycada import image_reading
from cycada.data.faces.crops import CROPS_NAME
from cycada.data.index import CSV_NAME, Domain, Index, read_index
from cycada.data.index_checks import check_links
from cycada.errors import DataError
from cycada.footage import Footage, Frame, ReadOptions, find_sources, open_footage
from cycada.rejecting import fault_of_file
from cycada.thermal import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Frames that belong together."""

    path: Path
    name: str  # the last part of the path, without suffix
    domain: Domain
    unit: Unit  # what the pixels of thermal frames count
    frames: Callable[[], Iterator[Frame]] = field(repr=False)
    frame: Callable[[int], Frame] | None = field(default=None, repr=False)
    """A frame by its number, from any thread; ``None`` where frames come one after another."""
    count: int | None = None
    frame_rate: float | None = None
    files: tuple[Path, ...] = ()  # of each frame, where each is a file of its own
    series: Mapping[str, Path] = field(default_factory=dict, repr=False)
    """Of a folder that is one recording: name of a frame -> its file."""
    cut_out: bool = False  # whether each frame is a face that has been cut out already
    convention: bool = True  # whether it was cut out as this package does
    notes: tuple[str, ...] = ()  # what was understood

    def file_of(self, frame: Frame) -> Path | None:
        """Return the file of a frame; ``None`` where many are in one."""
        return self.files[frame.number] if self.files else self.series.get(frame.name)


class Opened(NamedTuple):
    """The sources that can be opened, and the files that cannot."""

    sources: tuple[Source, ...]
    faults: tuple[tuple[Path, str], ...]  # with what is wrong


def open_sources(
    paths: Sequence[Path], read: ReadOptions, *, cut_out: bool, allow_outside: bool = False
) -> Opened:
    """Open what the paths name.

    An index becomes one source with the faces of its domain, in the order of its rows. A folder
    becomes a source for each recording in it and one for its single images together. Frames are
    decoded when they are asked for. Where some of several files cannot be read, their frames say
    so (:attr:`Frame.fault`).

    Args:
        paths: Files, folders and indexes.
        read: How to read them.
        cut_out: Whether the frames are faces that have been cut out already; those of an index
            are.
        allow_outside: Believe paths of an index from elsewhere that leave its folder.

    Raises:
        CycadaError: A path is missing, holds nothing, or none of them can be read.
    """
    found: list[Source] = []
    faults: list[tuple[Path, DataError]] = []

    def add(path: Path) -> None:
        try:
            opened = source_of(open_footage(path, read), read.domain)
            found.append(replace(opened, cut_out=cut_out))
        except DataError as error:
            faults.append((path, error))

    for path in paths:
        if (path / CSV_NAME).is_file() or path.name == CSV_NAME:
            index = read_index(path, allow_outside=allow_outside)
            check_links(index)
            found.append(_of_index(index, read.domain))
        elif path.is_dir():
            inside = find_sources(path, domain=read.domain)
            for each in (*inside.recordings, *inside.folders):
                add(each)
            if inside.images:
                try:
                    found.append(_of_images(path, inside.images, read, cut_out=cut_out))
                except _NoneOpensError as none:
                    faults += none.faults
        else:
            add(path)
    if not found:
        raise faults[0][1]
    return Opened(tuple(found), tuple((path, fault_of_file(error, path)) for path, error in faults))


def _of_index(index: Index, domain: Domain) -> Source:
    chosen = index.select(domain=domain)
    if not chosen.faces:
        raise DataError(f"{index.root}: has no {domain} face.")
    files = tuple(chosen.file(face) for face in chosen.faces)
    picture = partial(_picture, files)
    return Source(
        path=index.root, name=index.root.resolve().name, domain=domain,
        unit=index.info.unit if domain == "thermal" else "grey",
        frames=partial(map, picture, range(len(files))), frame=picture, count=len(files),
        files=files, cut_out=True, convention=(index.root / CROPS_NAME).is_file(),
    )  # fmt: skip


class _NoneOpensError(Exception):
    def __init__(self, faults: Sequence[tuple[Path, DataError]]) -> None:
        super().__init__()
        self.faults = faults


def _of_images(folder: Path, files: Sequence[Path], read: ReadOptions, *, cut_out: bool) -> Source:
    """Return the single images of a folder as one source."""
    opened = [opened_or_fault(path, read) for path in files]
    if all(isinstance(each, DataError) for each in opened):
        raise _NoneOpensError([
            (path, each) for path, each in zip(files, opened, strict=True)
            if isinstance(each, DataError)
        ])  # fmt: skip
    return source_of_images(folder, files, opened, domain=read.domain, cut_out=cut_out)


def source_of_images(
    folder: Path, files: Sequence[Path], opened: Sequence[Footage | DataError], *, domain: Domain,
    cut_out: bool,
) -> Source:  # fmt: skip
    """Return opened images, of which one at least could be opened, as one source.

    Args:
        folder: What they are in, for errors and notes.
        files: What each is called.
        opened: Each as a footage of one frame, or what is wrong with it.
        domain: What they show.
        cut_out: Whether they are faces that have been cut out already.

    Raises:
        DataError: They count different units.
    """
    whole = [each for each in opened if isinstance(each, Footage)]
    units = {footage.unit: footage.path for footage in whole}
    if len(units) > 1:
        (one, first), (other, second) = list(units.items())[:2]
        raise DataError(
            f"{first} counts {one} and {second} {other}; detect in them one after the other."
        )
    single = partial(_single, tuple(zip(files, opened, strict=True)))
    return Source(
        path=folder, name=folder.resolve().name, domain=domain, unit=whole[0].unit,
        frames=partial(map, single, range(len(opened))), frame=single, count=len(opened),
        files=tuple(files), cut_out=cut_out, convention=False,
        notes=tuple(f"{f.path}: {note}" for f in whole[:1] for note in f.notes),
    )  # fmt: skip


def source_of(footage: Footage, domain: Domain) -> Source:
    """Return an opened file or folder of frames as a source."""
    path = footage.path
    return Source(
        path=path, name=path.resolve().name if path.is_dir() else path.stem, domain=domain,
        unit=footage.unit, frames=footage.frames, count=footage.count,
        frame_rate=footage.frame_rate,
        files=(path,) if footage.count == 1 and path.is_file() else (),
        series=_series(path) if path.is_dir() else {}, convention=False,
        notes=tuple(f"{path}: {note}" for note in footage.notes),
    )  # fmt: skip


def _series(folder: Path) -> dict[str, Path]:
    return {
        file.stem: file
        for file in folder.iterdir()
        if file.suffix.lower() in image_reading.IMAGE_SUFFIXES
    }


def opened_or_fault(path: Path, read: ReadOptions) -> Footage | DataError:
    """Open a file, or return what is wrong with it."""
    try:
        return open_footage(path, read)
    except DataError as error:
        return error


def _picture(files: Sequence[Path], number: int) -> Frame:
    return _frame(number, files[number], partial(image_reading.read_image, files[number]))


def _single(opened: Sequence[tuple[Path, Footage | DataError]], number: int) -> Frame:
    path, footage = opened[number]
    return _frame(number, path, partial(_first_image, footage))


def _first_image(footage: Footage | DataError) -> Tensor:
    if isinstance(footage, DataError):
        raise footage
    return next(footage.frames()).image


def _frame(number: int, file: Path, read: Callable[[], Tensor]) -> Frame:
    """Return a file's picture, or what is wrong with it."""
    image, fault = torch.empty(0), ""
    try:
        image = read()
    except DataError as error:
        fault = str(error).removeprefix(f"{file}: ")
    return Frame(number=number, seconds=None, name=file.stem, image=image, fault=fault)
