"""Cut the faces out of images and recordings, for an index, and record where they were."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch

from cycada import image_writing
from cycada.data.faces.choose import Choice, choose_faces
from cycada.data.faces.crops import CropRow, row_of_choice
from cycada.data.faces.geometry import crop_face
from cycada.data.faces.records import CropRecord, Cut, Points
from cycada.data.index import DOMAINS
from cycada.data.landmarks import LANDMARKS_NAME, Landmarks
from cycada.errors import DataError
from cycada.files import check_apart
from cycada.footage import (
    SUFFIXES,
    Frame,
    ReadOptions,
    find_sources,
    open_footage,
    write_frame,
)
from cycada.footage.writing import SUFFIX_OF, natural_kind
from cycada.image_reading import IMAGE_SUFFIXES
from cycada.landmarks import EYE_CORNERS, with_partners
from cycada.progress import Progress
from cycada.rejecting import Rejections, fault_of_file
from cycada.stages.crop_claim import CropClaim
from cycada.stages.finding import FaceSource, face_source
from cycada.stages.sources import Source, source_of
from cycada.thermal import Unit

IMAGES_NAME = "images"
_WORK_NAME = ".crops"  # records of what is done, while other things are not
_TOGETHER = 100  # frames that are recorded at a time


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
    landmarks: Landmarks | None  # by paths of crops, as in the rows
    notes: tuple[str, ...]


class _Job(NamedTuple):
    """Frames that have a record of their own."""

    files: tuple[Path, ...]  # a recording, or all single images
    single: bool


class _Cutting(NamedTuple):
    """How and where to the faces of a domain are cut out."""

    folder: Path  # of the originals
    out: Path  # of the index
    options: CropOptions
    finder: FaceSource
    landmarks: tuple[str, ...]  # names of those that are carried along
    units: dict[Unit, Path]  # what the pixels of thermal frames count, and where that was seen

    rejected: Rejections
    claim: CropClaim

    def opened(self, file: Path) -> Source | str:
        """Open a file; what is wrong with one that cannot be read is returned.

        Raises:
            DataError: It counts another unit than the others.
        """
        read = self.options.read
        try:
            source = source_of(open_footage(file, read), read.domain)
        except DataError as error:
            return fault_of_file(error, file)
        self.units.setdefault(source.unit, source.path)
        if len(self.units) > 1:
            (one, first), (other, second) = self.units.items()
            raise DataError(
                f"{first} counts {one} and {second} {other}; the thermal images of an index have "
                "one unit."
            )
        return source

    def set_aside(self, place: tuple[int, ...], file: Path, fault: str) -> None:
        """Set a file aside; it may be repaired before the same command goes on."""
        self.claim.exclude(file)
        self.rejected.add((DOMAINS.index(self.options.read.domain), *place), str(file), fault)


def crop_sources(
    folder: Path, out: Path, options: CropOptions, *, rejected: Rejections, progress: Progress
) -> Cropped:
    """Cut the face out of every image and frame below ``folder``.

    A recording ``a/b.cptv`` becomes ``out/images/DOMAIN/a/b/NNNNNN.png``, an image or a frame in
    a folder keeps its name. Temperatures are written as 16-bit centikelvin. Frames that an
    interrupted run of the same options has done are kept, and faces are not looked for in them
    again. Landmarks by which faces were found are told in px of the crops.

    Args:
        folder: Searched for images and recordings.
        out: Folder of the index.
        options: How.
        rejected: Takes the files that cannot be read, and recordings that break off; the frames
            before are used. An interrupted run that goes on tries them again.
        progress: Shows the frames.

    Returns:
        The crops, and a row for every frame whether it shows a face or not.

    Raises:
        CycadaError: Too many sources cannot be read, none shows a face, or ``out`` holds crops of
            other options.
    """
    domain = options.read.domain
    _check_apart(folder, out)
    finder = face_source(options.faces, domain)
    names, landmark_notes = _carried(finder.landmarks)
    jobs = _jobs(folder, options)
    work = out / _WORK_NAME
    claim = CropClaim(
        work / f"{domain}.json",
        {"folder": str(folder.resolve()), "options": repr(options), "faces": _told(options.faces)},
        [file for job in jobs for file in job.files],
    )
    rejected.total += sum(len(job.files) for job in jobs)
    cutting = _Cutting(folder, out, options, finder, names, {}, rejected, claim)
    cuts: list[Cut] = []
    notes = [*finder.notes, *landmark_notes]
    for number, job in enumerate(jobs):
        record = CropRecord(work / f"{domain}-{number:05d}")
        opened = map(cutting.opened, job.files)
        first = next((source for source in opened if isinstance(source, Source)), None)
        if first is not None and number == 0:
            notes += first.notes
        if not record.whole:
            known = first.count if first is not None else 0
            total = len(job.files) if job.single else -(-(known or 0) // options.every)
            desc = folder.name if job.single or first is None else first.name
            frames = _frames(job, cutting, number, done=record.done)
            shown = progress(frames, total=total, desc=desc, done=record.done)
            _fill(record, shown, cutting, single=job.single)
            if (DOMAINS.index(domain), number) not in rejected:  # else it may go on another time
                record.finish()
        cuts += _read(record, job, cutting, number)
    if len(jobs) > 1:
        notes.append(
            f"{folder}: what was understood of the other files, `cycada convert --dry-run` tells."
        )
    rows = tuple(cut.row for cut in cuts)
    if not rows:
        raise DataError(f"{folder}: holds no file that can be read; {rejected.told_first()}.")
    cut = sum(row.success for row in rows)
    if not cut:
        told = Counter(row.reason for row in rows).most_common(1)[0][0]
        raise DataError(
            f"{folder}: none of {len(rows)} frames shows a face that can be used; the most "
            f"frequent reason is: {told}. Are they upright (--rotate)?"
        )
    notes.append(_summary(rows, cut, folder))
    unit: Unit = next(iter(cutting.units))
    landmarks = _landmarks({cut.row.path: cut.landmarks for cut in cuts if cut.landmarks}, names)
    return Cropped(
        out / IMAGES_NAME / domain, "grey" if unit == "grey" else "centikelvin", rows, landmarks,
        tuple(notes),
    )  # fmt: skip


def _told(faces: str) -> str:
    """Return a SHA-256 of the file that says where faces are, if one does."""
    file = Path(faces)
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


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


def _check_apart(folder: Path, out: Path) -> None:
    """Refuse to take crops for originals, and to write crops over originals."""
    original, target = folder.resolve(), out.resolve()
    if target.is_relative_to(original):
        raise DataError(
            f"{out}: lies in {folder}, where its crops would be taken for originals; choose "
            "another --out."
        )
    if original.is_relative_to(target / IMAGES_NAME):
        raise DataError(
            f"{folder}: lies in {out / IMAGES_NAME}, where crops are written; choose another --out."
        )


def _carried(names: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return which landmarks an index can have, of those that faces are found by, and notes."""
    kept = with_partners(names)
    if not names or set(EYE_CORNERS) <= set(kept):
        left = ", ".join(name for name in names if name not in kept)
        told = f"landmarks of one side only are left out of {LANDMARKS_NAME}: {left}."
        return kept, [told] if left else []
    return (), [f"without {', '.join(EYE_CORNERS)} the index gets no {LANDMARKS_NAME}."]


def _jobs(folder: Path, options: CropOptions) -> list[_Job]:
    inside = find_sources(folder, domain=options.read.domain)
    recordings = sorted((*inside.recordings, *inside.folders))
    singles = [_Job(inside.images, single=True)] if inside.images else []
    return [*(_Job((path,), single=False) for path in recordings), *singles]


def _frames(
    job: _Job, cutting: _Cutting, number: int, *, done: int, wanted: Collection[int] | None = None
) -> Iterator[tuple[Source, Frame] | None]:
    """Yield the frames that are not done, ``None`` for files of one that are set aside.

    Args:
        job: The source.
        cutting: How it is opened, and where files are set aside.
        number: Of the job.
        done: How many are done.
        wanted: Which of the others are yielded; ``None`` for all.
    """
    if job.single:
        for at in range(done, len(job.files)):
            if wanted is None or at in wanted:
                yield _single(job.files[at], cutting, (number, at))
        return
    source = cutting.opened(job.files[0])
    if isinstance(source, str):
        cutting.set_aside((number,), job.files[0], source)
        return
    every = cutting.options.every
    # Compressed video begins at key frames only, so that those that are done are read over.
    frames = islice(source.frames(), done * every, None, every)
    for at in count(done):
        try:
            frame = next(frames, None)
        except DataError as error:
            used = f"after {at} frames, which are used: " if at else ""
            cutting.set_aside((number,), source.path, used + fault_of_file(error, source.path))
            return
        if frame is None:
            return
        if wanted is not None and at not in wanted:
            continue
        if frame.fault:
            cutting.rejected.total += 1
            cutting.set_aside((number, at), source.file_of(frame) or source.path, frame.fault)
        yield None if frame.fault else (source, frame)


def _single(file: Path, cutting: _Cutting, place: tuple[int, int]) -> tuple[Source, Frame] | None:
    source = cutting.opened(file)
    try:
        if isinstance(source, Source):
            return source, next(source.frames())
    except DataError as error:
        source = fault_of_file(error, file)
    cutting.set_aside(place, file, source)
    return None


def _fill(
    record: CropRecord, frames: Iterator[tuple[Source, Frame] | None], cutting: _Cutting, *,
    single: bool,
) -> None:  # fmt: skip
    """Cut the faces out of the frames, and record them as they are done; no face of no frame."""
    made: list[list[Cut]] = []
    for each in frames:
        made.append([] if each is None else list(_cuts(*each, cutting, single=single)))
        if len(made) == _TOGETHER:
            record.add(made, root=cutting.out)
            made.clear()
    record.add(made, root=cutting.out)


def _read(record: CropRecord, job: _Job, cutting: _Cutting, number: int) -> Iterator[Cut]:
    """Yield what was cut out of a source; files that an earlier run set aside are tried again."""
    frames = list(record.read())
    domain = DOMAINS.index(cutting.options.read.domain)
    left = [
        at for at, cuts in enumerate(frames)
        if not cuts and (domain, number, at) not in cutting.rejected
    ]  # fmt: skip
    if left:
        again = _frames(job, cutting, number, done=0, wanted=left)
        for at, each in zip(left, again, strict=False):  # a recording may have become shorter
            frames[at] = [] if each is None else list(_cuts(*each, cutting, single=job.single))
    for cuts in frames:
        yield from cuts


def _cuts(source: Source, frame: Frame, cutting: _Cutting, *, single: bool) -> Iterator[Cut]:
    """Write the crops of a frame, and yield what became of its faces."""
    shape = (frame.image.shape[-2], frame.image.shape[-1])
    below = PurePosixPath(source.path.relative_to(cutting.folder).as_posix())
    for choice in choose_faces(cutting.finder(frame, source), shape):
        path = ""
        landmarks: Points = {}
        if choice.square is not None and not choice.reason:
            kind = natural_kind(frame.image, source.unit)
            suffix = SUFFIX_OF[kind] if source.domain == "thermal" else ".png"
            name = below.with_suffix(suffix) if single else _inside(source, below, frame, suffix)
            crop = crop_face(frame.image, choice.square)
            file = cutting.out / IMAGES_NAME / source.domain / name
            original = source.path / frame.name if source.path.is_dir() else source.path
            check_apart((file,), cutting.out, originals=(original,))
            if source.domain == "thermal":
                write_frame(file, crop, unit=source.unit, kind=kind)
            else:
                image_writing.write_image(file, crop, synced=False)  # the record syncs many at once
            path = str(file)
            landmarks = _in_crop(choice, cutting.landmarks, size=crop.shape[-1])
        row = row_of_choice(
            choice, source=str(source.path), frame=None if single else frame.number,
            seconds=frame.seconds, path=path,
        )  # fmt: skip
        yield Cut(_relative(row, cutting.out), landmarks)


def _in_crop(choice: Choice, names: Sequence[str], *, size: int) -> Points:
    """Return the named landmarks that the crop shows, in its px."""
    if choice.square is None or choice.place is None:
        return {}
    known = [name for name in names if name in choice.place.landmarks]
    if not known:
        return {}
    places = torch.tensor([choice.place.landmarks[name] for name in known], dtype=torch.float64)
    moved = choice.square.to_crop(places, size).tolist()
    return {
        name: (x, y)
        for name, (x, y) in zip(known, moved, strict=True)
        if -0.5 <= x < size - 0.5 and -0.5 <= y < size - 0.5
    }


def _landmarks(known: Mapping[str, Points], names: tuple[str, ...]) -> Landmarks | None:
    """Return the table of what is known of crops, ``None`` where nothing is."""
    if not known:
        return None
    unknown = (math.nan, math.nan)
    flat = {
        path: tuple(axis for name in names for axis in points.get(name, unknown))
        for path, points in known.items()
    }
    return Landmarks(names, flat)


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
