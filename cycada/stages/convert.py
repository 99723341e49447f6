"""Make images of camera files: one folder per recording, temperatures kept."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from cycada.errors import DataError, RunError, UsageError
from cycada.files import check_apart, replacing
from cycada.footage import (
    FileKind,
    Footage,
    Frame,
    ReadOptions,
    find_sources,
    holds_several,
    open_footage,
    write_frame,
)
from cycada.footage.pictures import TIMES_NAME, images_in
from cycada.footage.writing import SUFFIX_OF, natural_kind, pixels_of_file
from cycada.locking import holds_anything, sole_writer
from cycada.progress import Progress
from cycada.rejecting import (
    REJECTED_NAME,
    Limit,
    Rejections,
    fault_of_file,
    read_rejected,
)
from cycada.stopping import threads

CLAIM_NAME = ".convert"

_BATCH = 16  # frames that are written side by side
_LAST_NUMBER = re.compile(r"(\d+)\D*$")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """What to convert, and into what."""

    sources: tuple[Path, ...]  # files and folders
    out: Path
    read: ReadOptions = ReadOptions()
    kind: FileKind | None = None  # None: what keeps the values, 16 bits for temperatures
    every: int = 1  # take each n-th frame of a recording, from the first
    limit: Limit = dataclasses.field(default_factory=Limit)  # how many sources may be set aside


@dataclass(frozen=True, slots=True)
class Job:
    """One source, and where its images go."""

    source: Path
    name: str  # below the output folder: of the recording's folder, or of the image without suffix
    several: bool  # whether it is a recording, or a single image
    done: bool = False  # whether an earlier run has finished it, with all its frames


class Problem(NamedTuple):
    """A source that cannot be read."""

    number: int  # of its job
    source: Path
    reason: str  # without its name and a full stop


class Plan(NamedTuple):
    """What a conversion will do."""

    options: ConvertOptions
    jobs: tuple[tuple[Job, Footage | None], ...]  # None: done, or cannot be read
    notes: tuple[str, ...]  # what was understood of each source
    problems: tuple[Problem, ...]

    def check(self) -> None:
        """Refuse to begin when none of the sources, or too few of them, can be read.

        Raises:
            DataError: naming the first of them.
        """
        count, total = len(self.problems), len(self.jobs)
        allowed = self.options.limit.of(total)
        if not count or (count < total and count <= allowed):
            return
        first = self.problems[0]
        more = (
            f" That is more than --max-rejected allows ({allowed}); --dry-run tells of each."
            if count < total
            else ""
        )
        raise DataError(
            f"{count} of {total} sources cannot be read: {first.source}: {first.reason}.{more}"
        )


class Converted(NamedTuple):
    """How many images and recordings there are now."""

    images: int
    recordings: int


def plan_conversion(options: ConvertOptions, *, progress: Progress) -> Plan:
    """Find the sources and look into each; write nothing.

    Raises:
        CycadaError: no source, two that would become one, or ``out`` holds something else.
    """
    before = {Path(row.path).parent.name for row in read_rejected(options.out / REJECTED_NAME)}
    jobs = [_marked(job, options, before) for job in _jobs(options)]
    _check_claim(options, jobs)
    opened: list[tuple[Job, Footage | None]] = []
    told: dict[str, list[Path]] = {}  # what is said, and of which sources
    problems = []
    for number, job in enumerate(progress(jobs, total=len(jobs), desc="opening")):
        footage = None
        if job.done:
            told.setdefault("converted before, kept", []).append(job.source)
        else:
            try:
                footage = open_footage(job.source, options.read)
                _check_kind(job.source, footage, options)
                told.setdefault(described(footage), []).append(job.source)
            except DataError as error:
                problems.append(Problem(number, job.source, fault_of_file(error, job.source)))
        opened.append((job, footage))
    notes = (f"{_counted(sources)}: {text}" for text, sources in told.items())
    return Plan(options, tuple(opened), tuple(notes), tuple(problems))


def _check_kind(source: Path, footage: Footage, options: ConvertOptions) -> None:
    """Refuse a stated kind of image that cannot hold the first frame, before anything is written.

    Raises:
        DataError: saying why.
    """
    if options.kind is not None:
        pixels_of_file(
            source, next(footage.frames()).image, unit=footage.unit, kind=options.kind,
            window=options.read.window,
        )  # fmt: skip


def described(footage: Footage) -> str:
    """Return what was understood of a source: facts, and indented lines with the notes."""
    height, width = footage.size
    facts = [f"{width} x {height}", footage.unit]
    if footage.count != 1:
        facts.append(f"{footage.count} frames" if footage.count else "frames not counted")
    if footage.frame_rate:
        facts.append(f"{footage.frame_rate:.4g} per second")
    return "\n".join([", ".join(facts), *(f"  {note}" for note in footage.notes)])


def _counted(sources: Sequence[Path]) -> str:
    alike = f" and {len(sources) - 1} like it" if len(sources) > 1 else ""
    return f"{sources[0]}{alike}"


def run_conversion(plan: Plan, *, progress: Progress) -> Converted:
    """Write the images of every source that is not done.

    A recording becomes a folder of images named by the number of their frame (those of a folder
    keep their names), with ``times.csv``, which is written last; a single image becomes one. What
    an interrupted run has written is kept. Sources that cannot be read are set aside in
    ``rejected.csv`` and tried again by the next run: of a folder of frames single ones, of a
    recording that breaks off all, but what was made of it stays.

    Raises:
        CycadaError: too many sources cannot be read, an image cannot be written, or another
            process writes to ``out``.
    """
    plan.check()
    with sole_writer(plan.options.out):
        return _convert(plan, progress)


def _convert(plan: Plan, progress: Progress) -> Converted:
    options = plan.options
    _claim(options, [job for job, _ in plan.jobs])
    check_apart(
        (options.out / job.name / TIMES_NAME if job.several else _target(job, options)
         for job, _ in plan.jobs),
        options.out,
        originals=(job.source / TIMES_NAME if job.source.is_dir() else job.source
                   for job, _ in plan.jobs),
    )  # fmt: skip
    rejected = Rejections(options.out, limit=options.limit, what="sources", total=len(plan.jobs))
    for job, footage in plan.jobs:
        if footage is not None and job.several:  # perhaps done but for frames that were set aside
            (options.out / job.name / TIMES_NAME).unlink(missing_ok=True)
    rejected.begin()
    for problem in plan.problems:
        rejected.add((problem.number,), str(problem.source), problem.reason)
    broken = {problem.number for problem in plan.problems}
    written = recordings = 0
    for number, (job, footage) in enumerate(plan.jobs):
        if number in broken:
            continue
        if footage is None:
            made = 1 if not job.several else _rows(options.out / job.name / TIMES_NAME)
        else:
            made = _converted(number, job, footage, options, rejected, progress)
        written += made
        recordings += job.several and made > 0
    rejected.check_some_left()
    rejected.close()
    return Converted(written, recordings)


def _converted(
    number: int, job: Job, footage: Footage, options: ConvertOptions, rejected: Rejections,
    progress: Progress,
) -> int:  # fmt: skip
    """Write the images of a source, and return how many; 0 if it is set aside."""
    frames = _Frames(footage)
    if not job.several:
        for frame in frames.taken(1):
            _write(frame, footage, _target(job, options), options)
            return 1
    else:
        made = _write_recording(job, footage, frames, options, progress)
        if not frames.fault:
            _set_aside(number, job, frames.faults, rejected)
            return made
        if made:
            frames.fault = f"after {made} images, which are kept: {frames.fault}"
    rejected.add((number,), str(job.source), frames.fault)
    return 0


def _set_aside(number: int, job: Job, faults: Sequence[Frame], rejected: Rejections) -> None:
    """Set single frames of a folder aside."""
    files = {file.stem: file for file in images_in(job.source)} if faults else {}
    for frame in faults:
        rejected.total += 1
        rejected.add((number, frame.number), str(files[frame.name]), frame.fault)


class _Frames:
    """The frames of a source up to its end, or to where it breaks off."""

    def __init__(self, footage: Footage) -> None:
        self._footage = footage
        self.fault = ""  # why there are no more
        self.faults: list[Frame] = []  # single ones that cannot be read

    def taken(self, every: int) -> Iterator[Frame]:
        """Yield each n-th frame."""
        frames = islice(self._footage.frames(), 0, None, every)
        while True:
            try:  # here, and not around what is done with a frame, which may fail for other reasons
                frame = next(frames, None)
            except DataError as error:
                self.fault = fault_of_file(error, self._footage.path)
                return
            if frame is None:
                return
            yield frame

    def sound(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield those of ``frames`` that can be read, and keep the others."""
        for frame in frames:
            if frame.fault:
                self.faults.append(frame)
            else:
                yield frame


def _write_recording(
    job: Job, footage: Footage, frames: _Frames, options: ConvertOptions, progress: Progress
) -> int:
    """Write the images of a recording, and note their times if it could be read to its end."""
    folder = options.out / job.name
    suffix = _suffix(options)

    def write(frame: Frame) -> tuple[str, str]:
        target = folder / f"{frame.name}{suffix}"
        if not target.exists():
            _write(frame, footage, target, options)
        number = _LAST_NUMBER.search(frame.name)
        seconds = "" if frame.seconds is None else f"{frame.seconds:.6f}"
        return str(int(number[1]) if number else frame.number), seconds

    total = footage.count and -(-footage.count // options.every)
    taken = progress(frames.taken(options.every), total=total, desc=job.name)
    rows: list[tuple[str, str]] = []
    with threads() as pool:
        for batch in _batches(
            frames.sound(taken), _BATCH
        ):  # reading ahead without a limit would fill the memory
            rows += pool.map(write, batch)
    if not rows and not frames.fault:
        frames.fault = "holds no frame" if not frames.faults else frames.faults[0].fault
    if frames.fault:
        return len(rows)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("frame", "seconds"), *rows])
    with replacing(folder / TIMES_NAME) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    return len(rows)


def _write(frame: Frame, footage: Footage, target: Path, options: ConvertOptions) -> None:
    kind = options.kind or natural_kind(frame.image, footage.unit)
    write_frame(target, frame.image, unit=footage.unit, kind=kind, window=options.read.window)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    every = iter(items)
    while batch := list(islice(every, size)):
        yield batch


def _jobs(options: ConvertOptions) -> list[Job]:
    """Return the sources, a folder opened up into what it holds."""
    jobs: dict[str, Job] = {}
    for source in options.sources:
        for job in _jobs_of(source, options):
            other = jobs.setdefault(job.name, job)
            if other.source.resolve() != job.source.resolve():
                raise DataError(
                    f"{other.source} and {job.source} would both become {options.out / job.name}; "
                    f"convert them into different folders."
                )
    return list(jobs.values())


def _jobs_of(source: Path, options: ConvertOptions) -> list[Job]:
    if not source.is_dir():
        return [Job(source, source.stem, holds_several(source))]
    if options.out.resolve().is_relative_to(source.resolve()):
        raise UsageError(
            f"--out {options.out} lies in {source}, where its images would be taken for sources; "
            f"choose another."
        )
    found = find_sources(source)
    return [
        *(_job(file, file.with_suffix(""), source, several=True) for file in found.recordings),
        *(_job(folder, folder, source, several=True) for folder in found.folders),
        *(_job(file, file.with_suffix(""), source, several=False) for file in found.images),
    ]


def _job(source: Path, path: Path, root: Path, *, several: bool) -> Job:
    below = path.relative_to(root).as_posix()
    return Job(source, root.resolve().name if below == "." else below, several)


def _suffix(options: ConvertOptions) -> str:
    return SUFFIX_OF[options.kind or "png16"]  # png8 is written to a .png, too


def _target(job: Job, options: ConvertOptions) -> Path:
    return options.out / f"{job.name}{_suffix(options)}"


def _marked(job: Job, options: ConvertOptions, before: Collection[str]) -> Job:
    """Note whether a job is done; a folder with frames that were set aside ``before`` is not.

    Folders are told by their last name: paths in the list are as they were given, perhaps from
    elsewhere. One that is called alike is only looked through again.
    """
    last = options.out / job.name / TIMES_NAME if job.several else _target(job, options)
    return dataclasses.replace(
        job, done=last.exists() and not (job.several and job.source.resolve().name in before)
    )


def _rows(file: Path) -> int:
    return max(0, len(file.read_text(encoding="utf-8").splitlines()) - 1)


def _check_claim(options: ConvertOptions, jobs: Sequence[Job]) -> dict[str, str]:
    """Return what ``out`` holds by its note: options, and the source of each image or folder.

    Images that are kept from other sources, or were read otherwise, would belie their names.

    Raises:
        RunError: ``out`` holds something else.
    """
    note = options.out / CLAIM_NAME
    if not note.exists():
        if options.out.exists() and (not options.out.is_dir() or holds_anything(options.out)):
            raise RunError(f"{options.out}: is not empty; choose another --out.")
        return {}
    found = dict(line.split("\t", 1) for line in note.read_text("utf-8").splitlines())
    if found[""] != _told(options):
        raise RunError(
            f"{options.out}: was converted with other options ({found['']}, now "
            f"{_told(options)}); choose another --out, or delete it."
        )
    for job in jobs:
        if found.get(job.name, _origin(job, options)) != _origin(job, options):
            raise RunError(
                f"{options.out / job.name}: was made from {found[job.name]}, not from "
                f"{job.source}; choose another --out."
            )
    return found


def _claim(options: ConvertOptions, jobs: Sequence[Job]) -> None:
    held = _check_claim(options, jobs)
    held |= {"": _told(options), **{job.name: _origin(job, options) for job in jobs}}
    options.out.mkdir(parents=True, exist_ok=True)
    with replacing(options.out / CLAIM_NAME) as temporary:
        text = "".join(f"{name}\t{value}\n" for name, value in held.items())
        temporary.write_text(text, encoding="utf-8")


def _told(options: ConvertOptions) -> str:
    """Return the options that decide about the images, those that are not the defaults."""
    default = ReadOptions()
    given = {
        item.name: getattr(options.read, item.name)
        for item in dataclasses.fields(ReadOptions)
        if getattr(options.read, item.name) != getattr(default, item.name)
    }
    given |= {"as": options.kind} if options.kind else {}
    given |= {"every": options.every} if options.every > 1 else {}
    return ", ".join(f"{name} {value}" for name, value in given.items()) or "none"


def _origin(job: Job, options: ConvertOptions) -> str:
    return Path(os.path.relpath(job.source.resolve(), options.out.resolve())).as_posix()
