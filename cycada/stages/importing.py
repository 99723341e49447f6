"""Cut the faces out of images and recordings, for an index, and record where they were."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cycada import images
from cycada.data.faces.choose import choose_faces
from cycada.data.faces.crops import CropRow, read_crops, row_of_choice, write_crops
from cycada.data.faces.geometry import crop_face
from cycada.errors import DataError, RunError
from cycada.files import replacing
from cycada.footage import (
    SUFFIXES,
    Frame,
    ReadOptions,
    find_sources,
    open_footage,
    write_frame,
)
from cycada.footage.writing import SUFFIX_OF, natural_kind
from cycada.images import IMAGE_SUFFIXES
from cycada.progress import Progress
from cycada.stages.finding import FaceSource, face_source
from cycada.stages.sources import Source, source_of
from cycada.thermal import Unit

IMAGES_NAME = "images"
_WORK_NAME = ".crops"  # records of the sources that are done, while others are not
_TOGETHER = 100  # single images that are done or not together


@dataclass(frozen=True, slots=True, kw_only=True)
class CropOptions:
    """How faces are cut out."""

    faces: str  # how they are found: cycada.stages.finding
    read: ReadOptions = field(default_factory=ReadOptions)
    every: int = 1  # of a recording each n-th frame, from the first


class Cropped(NamedTuple):
    """The crops of one domain."""

    folder: Path  # of the images
    unit: Unit  # of thermal ones
    rows: tuple[CropRow, ...]
    notes: tuple[str, ...]


class _Job(NamedTuple):
    """Frames that are done together."""

    files: tuple[Path, ...]  # a recording, or some single images
    single: bool


def crop_sources(folder: Path, out: Path, options: CropOptions, *, progress: Progress) -> Cropped:
    """Cut the face out of every image and frame below ``folder``.

    A recording ``a/b.cptv`` becomes ``out/images/DOMAIN/a/b/NNNNNN.png``, an image or a frame in
    a folder keeps its name. Temperatures are written as 16-bit centikelvin. What an interrupted
    run of the same options has done is kept.

    Args:
        folder: Searched for images and recordings.
        out: Folder of the index.
        options: How.
        progress: Shows the frames.

    Returns:
        The crops, and a row for every frame whether it shows a face or not.

    Raises:
        CycadaError: A source cannot be read, none shows a face, or ``out`` holds crops of other
            options.
    """
    domain = options.read.domain
    work, target = out / _WORK_NAME, out / IMAGES_NAME / domain
    if out.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"{out}: lies in {folder}, where its crops would be taken for originals; choose "
            "another --out."
        )
    finder = face_source(options.faces, domain)
    jobs = _jobs(folder, options)
    _claim(work, domain, folder, options)
    rows: list[CropRow] = []
    notes = list(finder.notes)
    units: dict[Unit, Path] = {}
    for number, job in enumerate(jobs):
        record = work / f"{domain}-{number:05d}"
        sources = [source_of(open_footage(file, options.read), domain) for file in job.files]
        for source in sources:
            units.setdefault(source.unit, source.path)
        if len(units) > 1:
            (one, first), (other, second) = units.items()
            raise DataError(
                f"{first} counts {one} and {second} {other}; the thermal images of an index have "
                "one unit."
            )
        if number == 0:
            notes += sources[0].notes
        if not record.exists():
            made = list(_crop(sources, job, folder, target, finder, options, progress=progress))
            write_crops(record, [_relative(row, out) for row in made])
        rows += read_crops(record)
    if len(jobs) > 1:
        notes.append(
            f"{folder}: what was understood of the other files, `cycada convert --dry-run` tells."
        )
    cut = sum(row.success for row in rows)
    if not cut:
        told = Counter(row.reason for row in rows).most_common(1)[0][0]
        raise DataError(
            f"{folder}: none of {len(rows)} frames shows a face that can be used; the most "
            f"frequent reason is: {told}. Are they upright (--rotate)?"
        )
    notes.append(_summary(rows, cut, folder))
    unit: Unit = next(iter(units))
    return Cropped(target, "grey" if unit == "grey" else "centikelvin", tuple(rows), tuple(notes))


def passed_over(folder: Path | None) -> list[str]:
    """Return what to say of recordings in a folder whose images alone are indexed."""
    if folder is None or not folder.is_dir():
        return []
    known = SUFFIXES - IMAGE_SUFFIXES - {".csv", ".tsv"}
    recordings = sorted(
        Path(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in known
    )
    if not recordings:
        return []
    told = (
        f"{folder}: {len(recordings)} recordings ({recordings[0].name} is the first) are not "
        "indexed; --crop cuts the faces out of them."
    )
    return [told]


def forget_work(out: Path) -> None:
    """Delete what only an unfinished run needs."""
    shutil.rmtree(out / _WORK_NAME, ignore_errors=True)


def _jobs(folder: Path, options: CropOptions) -> list[_Job]:
    inside = find_sources(folder, domain=options.read.domain)
    recordings = sorted((*inside.recordings, *inside.folders))
    singles = [
        _Job(inside.images[start : start + _TOGETHER], single=True)
        for start in range(0, len(inside.images), _TOGETHER)
    ]
    return [*(_Job((path,), single=False) for path in recordings), *singles]


def _crop(
    sources: Sequence[Source], job: _Job, folder: Path, target: Path, finder: FaceSource,
    options: CropOptions, *, progress: Progress,
) -> Iterator[CropRow]:  # fmt: skip
    """Yield the rows of a job, whose crops are written by then."""
    total = len(sources) if job.single else -(-(sources[0].count or 0) // options.every)
    desc = folder.name if job.single else sources[0].name
    frames = (
        (source, frame)
        for source in sources
        for frame in islice(source.frames(), 0, None, options.every)
    )
    for source, frame in progress(frames, total=total, desc=desc):
        yield from _rows(source, frame, folder, target, finder, single=job.single)


def _rows(
    source: Source, frame: Frame, folder: Path, target: Path, finder: FaceSource, *, single: bool
) -> Iterator[CropRow]:  # fmt: skip
    """Write the crops of a frame, and yield its rows."""
    shape = (frame.image.shape[-2], frame.image.shape[-1])
    below = PurePosixPath(source.path.relative_to(folder).as_posix())
    for choice in choose_faces(finder(frame, source), shape):
        path = ""
        if choice.square is not None and not choice.reason:
            kind = natural_kind(frame.image, source.unit)
            suffix = SUFFIX_OF[kind] if source.domain == "thermal" else ".png"
            name = below.with_suffix(suffix) if single else _inside(source, below, frame, suffix)
            crop = crop_face(frame.image, choice.square)
            file = target / name
            if source.domain == "thermal":
                write_frame(file, crop, unit=source.unit, kind=kind)
            else:
                images.write_image(file, crop)
            path = str(file)
        yield row_of_choice(
            choice, source=str(source.path), frame=None if single else frame.number,
            seconds=frame.seconds, path=path,
        )  # fmt: skip


def _inside(source: Source, below: PurePosixPath, frame: Frame, suffix: str) -> PurePosixPath:
    """Return where the crop of a frame of a recording goes, below the folder of the images."""
    if source.path.is_file():
        below = below.with_suffix("")
    elif str(below) == ".":
        below = PurePosixPath(source.name)
    return below / f"{frame.name}{suffix}"


def _relative(row: CropRow, out: Path) -> CropRow:
    def relative(path: str) -> str:
        return Path(os.path.relpath(Path(path).resolve(), out.resolve())).as_posix()

    return replace(row, source=relative(row.source), path=relative(row.path) if row.path else "")


def _summary(rows: Sequence[CropRow], cut: int, folder: Path) -> str:
    reasons = Counter(row.reason.partition(" (")[0] for row in rows if not row.success)
    told = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return f"{folder}: {cut} faces cut out" + (f"; not used: {told}." if told else ".")


def _claim(work: Path, domain: str, folder: Path, options: CropOptions) -> None:
    """Note what the crops are made of and how; refuse to mix them with others.

    Raises:
        RunError: An unfinished run had other options.
    """
    note = work / f"{domain}.txt"
    wanted = f"{folder.resolve()}\n{options!r}\n"
    if note.exists():
        if note.read_text(encoding="utf-8") != wanted:
            raise RunError(
                f"{work.parent}: holds crops that were begun from another folder or with other "
                "options; give those again to finish them, or delete the folder."
            )
        return
    work.mkdir(parents=True, exist_ok=True)
    with replacing(note) as temporary:
        temporary.write_text(wanted, encoding="utf-8")
