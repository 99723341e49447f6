"""Cut the faces out of images and recordings, for an index, and record where they were."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch

from cycada import images
from cycada.data.faces.choose import Choice, choose_faces
from cycada.data.faces.crops import CropRow, row_of_choice
from cycada.data.faces.geometry import crop_face
from cycada.data.faces.records import CropRecord, Cut, Points
from cycada.data.landmarks import LANDMARKS_NAME, Landmarks
from cycada.errors import DataError, RunError
from cycada.files import check_apart, replacing
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
from cycada.landmarks import EYE_CORNERS, with_partners
from cycada.progress import Progress
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

    def opened(self, file: Path) -> Source:
        """Open a file.

        Raises:
            DataError: It cannot be read, or counts another unit than the others.
        """
        read = self.options.read
        source = source_of(open_footage(file, read), read.domain)
        self.units.setdefault(source.unit, source.path)
        if len(self.units) > 1:
            (one, first), (other, second) = self.units.items()
            raise DataError(
                f"{first} counts {one} and {second} {other}; the thermal images of an index have "
                "one unit."
            )
        return source


def crop_sources(folder: Path, out: Path, options: CropOptions, *, progress: Progress) -> Cropped:
    """Cut the face out of every image and frame below ``folder``.

    A recording ``a/b.cptv`` becomes ``out/images/DOMAIN/a/b/NNNNNN.png``, an image or a frame in
    a folder keeps its name. Temperatures are written as 16-bit centikelvin. Frames that an
    interrupted run of the same options has done are kept, and faces are not looked for in them
    again. Landmarks by which faces were found are told in px of the crops.

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
    _check_apart(folder, out)
    finder = face_source(options.faces, domain)
    names, landmark_notes = _carried(finder.landmarks)
    jobs = _jobs(folder, options)
    _claim(out, folder, jobs, options)
    cutting = _Cutting(folder, out, options, finder, names, {})
    cuts: list[Cut] = []
    notes = [*finder.notes, *landmark_notes]
    for number, job in enumerate(jobs):
        record = CropRecord(out / _WORK_NAME / f"{domain}-{number:05d}")
        first = cutting.opened(job.files[0])
        if number == 0:
            notes += first.notes
        if not record.whole:
            total = len(job.files) if job.single else -(-(first.count or 0) // options.every)
            desc = folder.name if job.single else first.name
            frames = _frames(job, cutting, done=record.done)
            shown = progress(frames, total=total, desc=desc, done=record.done)
            _fill(record, shown, cutting, single=job.single)
        cuts += record.read()
    if len(jobs) > 1:
        notes.append(
            f"{folder}: what was understood of the other files, `cycada convert --dry-run` tells."
        )
    rows = tuple(cut.row for cut in cuts)
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


def _frames(job: _Job, cutting: _Cutting, *, done: int) -> Iterator[tuple[Source, Frame]]:
    """Yield the frames that are not done."""
    every = cutting.options.every
    if job.single:
        for file in job.files[done:]:
            source = cutting.opened(file)
            yield source, next(source.frames())
        return
    source = cutting.opened(job.files[0])
    # Compressed video begins at key frames only, so that those that are done are read over.
    for frame in islice(source.frames(), done * every, None, every):
        yield source, frame


def _fill(
    record: CropRecord, frames: Iterator[tuple[Source, Frame]], cutting: _Cutting, *, single: bool
) -> None:
    """Cut the faces out of the frames, and record them as they are done."""
    made: list[list[Cut]] = []
    for source, frame in frames:
        made.append(list(_cuts(source, frame, cutting, single=single)))
        if len(made) == _TOGETHER:
            record.add(made, root=cutting.out)
            made.clear()
    record.add(made, root=cutting.out)
    record.finish()


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
                images.write_image(file, crop)
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


def _claim(out: Path, folder: Path, jobs: Sequence[_Job], options: CropOptions) -> None:
    """Note what the crops are made of and how; refuse to mix them with others.

    Raises:
        RunError: An unfinished run had other options.
    """
    work = out / _WORK_NAME
    note = work / f"{options.read.domain}.txt"
    wanted = f"{folder.resolve()}\n{options!r}\n{_fingerprint(jobs, options)}\n"
    if note.exists():
        if note.read_text(encoding="utf-8") != wanted:
            raise RunError(
                f"{out}: holds crops that were begun from other files or with other options; give "
                "those again to finish them, or delete the folder."
            )
        return
    work.mkdir(parents=True, exist_ok=True)
    with replacing(note) as temporary:
        temporary.write_text(wanted, encoding="utf-8")


def _fingerprint(jobs: Sequence[_Job], options: CropOptions) -> str:
    """Return a SHA-256 of the names and sizes of the originals, and of what says where faces are.

    Records are by number: with a file more they would be those of others.
    """
    told = Path(options.faces)
    digest = hashlib.sha256(told.read_bytes() if told.is_file() else b"")
    for job in jobs:
        for file in job.files:
            parts = sorted(filter(Path.is_file, file.iterdir())) if file.is_dir() else [file]
            sizes = [(part.name, part.stat().st_size) for part in parts]
            digest.update(repr((str(file), sizes)).encode())
    return digest.hexdigest()
