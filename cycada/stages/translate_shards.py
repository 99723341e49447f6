"""Translate the RGB images in WebDataset shards, each shard into one of the same name.

A shard is the unit of work. Processes share them, one that is there is kept, and what is in memory
is the samples around those that the network computes.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor

from cycada import image_reading, image_writing
from cycada.data.index_info import IndexInfo, info_text
from cycada.data.shards import (
    PICTURES,
    SHARD_SUFFIX,
    Sample,
    ShardError,
    check_library,
    read_samples,
    shard_writer,
)
from cycada.errors import DataError, RunError
from cycada.files import check_apart, replacing
from cycada.locking import sole_writer
from cycada.progress import Progress
from cycada.rejecting import (
    Limit,
    Rejection,
    Rejections,
    as_listed,
    fault_of_file,
    write_rejected,
)
from cycada.stages.translate import (
    Depth,
    check_claim,
    is_lossless,
    open_making,
    several_processes,
)
from cycada.stages.translate_images import WINDOW, Job, Scale, Translating, translated
from cycada.training.engines import Engine

TABLE_NAME = "shards.csv"
INFO_NAME = "shards.toml"

WINDOW_BYTES = 1 << 28
"""Bytes of samples after which a window ends before it has ``WINDOW`` of them."""

_HEADER = ("path", "samples", "set_aside")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard to translate."""

    number: int  # in the order of the source
    name: str  # path below the folder of all, with "/"
    source: Path
    target: Path

    @property
    def note(self) -> Path:
        """Where is noted what became of it."""
        return self.target.with_name(f".{self.target.name}.json")


@dataclass(frozen=True, slots=True)
class Note:
    """What became of a shard."""

    samples: int  # that were translated
    set_aside: tuple[tuple[int, str, str], ...]  # place in the shard, name, reason
    ignored: int  # files that belong to no sample
    size: int  # of the original, bytes
    modified: int  # time of the original, ns

    def rows(self, shard: Shard) -> list[Rejection]:
        """Return what was set aside of it as rows of the list."""
        return [Rejection((shard.number, place), name, why) for place, name, why in self.set_aside]


@dataclass(frozen=True, slots=True)
class MadeShards:
    """What was made."""

    shards: int
    samples: int


def run_shard_translation(
    run: Path, shards: Sequence[Path], out: Path, *, depth: Depth, scale: Scale = "fit",
    limit: Limit | None = None, engine: Engine = "torch", progress: Progress,
) -> MadeShards:  # fmt: skip
    """Translate the image of every sample of the shards; write shards of the same names to ``out``.

    Keys and all other members stay as they are. The image becomes what
    :func:`cycada.stages.translate.run_translation` would write, under its member's name, with
    ``png`` for JPEG. Several processes share the shards; shards that are in ``out`` already, from
    an interrupted translation, are kept unless their originals have changed since. Samples without
    one image that can be read are set aside in ``rejected.csv`` and are not in the new shard, and
    so are whole shards that are broken, which end the verb once the others are done.

    ``shards.toml`` tells what an ``index.toml`` would of the images, ``shards.csv`` how many
    samples each shard has. They are there when all shards are.

    Args:
        run: Run of a translator, or what was exported from one.
        shards: Tar files.
        out: Folder of the new shards.
        depth: As in ``run_translation``.
        scale: As in ``run_translation``.
        limit: How many samples may be set aside, of those that were read so far; ``None`` for the
            default.
        engine: What computes: PyTorch a run, ONNX Runtime an export.
        progress: Shows the samples of this process.

    Raises:
        CycadaError: The run, too many samples, a shard, or what is in ``out`` cannot be used, or
            another process writes there.
    """
    check_library()
    state = several_processes()
    making = open_making(run, engine, depth=depth, scale=scale, device=state.device)
    root = Path(os.path.commonpath([path.parent.resolve() for path in shards]))
    all_shards = _planned(shards, root, out)
    asked = limit or Limit()
    # A share of the first samples is less than one of them; at the end it is what was asked for.
    early = replace(asked, least=max(asked.least, Limit().least)) if asked.share else asked
    rejected = Rejections(out, limit=early, what="samples")
    with ExitStack() as held:
        with state.main_process_first():
            if state.is_main_process:
                held.enter_context(sole_writer(out))
            claim = making.claim(root, out, form=", in shards")
            check_claim(out, claim, writes=state.is_main_process)
            _check_no_others(all_shards, out)
            if state.is_main_process:
                rejected.begin()
        check_apart(
            (shard.target for shard in all_shards), out,
            originals=(shard.source for shard in all_shards),
        )  # fmt: skip
        notes = {}
        if state.is_main_process:
            notes = _notes(all_shards)
            _list(notes, all_shards, rejected.file)  # before others add to it
        [notes] = broadcast_object_list([notes])  # what others see may be newer
        todo = [shard for shard in all_shards if shard.number not in notes]
        if todo and state.is_main_process:
            (out / TABLE_NAME).unlink(missing_ok=True)
        rejected.total += sum(map(_size, notes.values()))
        rejected.join(_set_aside(notes, all_shards))
        work = _Work(making.work(rejected))
        with closing(work.translate(todo[state.process_index :: state.num_processes])) as made_now:
            for _ in progress(made_now, total=None, desc="samples"):
                pass
        found = gather_object([(rejected.rows, work.notes, work.seen, work.broken)])
        rejected.join([rows for rows, *_ in found])
        rejected.total = sum(map(_size, notes.values())) + sum(seen for _, _, seen, _ in found)
        rejected.limit = asked
        notes = {**notes, **{n: note for _, made, _, _ in found for n, note in made.items()}}
        broken = sorted(fault for *_, faults in found for fault in faults)
        if state.is_main_process:
            rejected.close()
            _tell_ignored(notes.values())
        rejected.check_some_left()
        rejected.check()
        _check_none_broken(broken, len(all_shards))
        if state.is_main_process:
            _write_tables(out, making.info(IndexInfo(kind="none")), all_shards, notes)
        state.wait_for_everyone()
    return MadeShards(len(notes), sum(note.samples for note in notes.values()))


def _planned(shards: Sequence[Path], root: Path, out: Path) -> list[Shard]:
    # Not the files resolved: links to a store have names of their own there.
    names = [(path.parent.resolve() / path.name).relative_to(root).as_posix() for path in shards]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{root / twice[0]}: is named twice; name each shard once.")
    return [
        Shard(number, name, path, out / name)
        for number, (name, path) in enumerate(zip(names, shards, strict=True))
    ]


def _check_no_others(shards: Sequence[Shard], out: Path) -> None:
    """Refuse shards in ``out`` that are not to be made: whoever reads the folder takes them too."""
    names = {shard.name for shard in shards}
    for found in sorted(out.rglob(f"*{SHARD_SUFFIX}")):
        name = found.relative_to(out).as_posix()
        if name not in names and not found.name.startswith("."):
            raise RunError(
                f"{out}: holds the shard {name}, which is not among those to be translated; name "
                "all of them, or choose another --out."
            )


def _notes(shards: Iterable[Shard]) -> dict[int, Note]:
    """Return the notes of the shards that are there, and whose originals are as they were."""
    found = {}
    for shard in shards:
        try:
            given = json.loads(shard.note.read_bytes())
            given["set_aside"] = tuple(map(tuple, given["set_aside"]))
            note = Note(**given)
            state = shard.source.stat()
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if shard.target.exists() and (note.size, note.modified) == (
            state.st_size, state.st_mtime_ns,
        ):  # fmt: skip
            found[shard.number] = note
    return found


def _size(note: Note) -> int:
    return note.samples + len(note.set_aside)


def _set_aside(notes: dict[int, Note], shards: Sequence[Shard]) -> list[list[Rejection]]:
    """Return what earlier runs have set aside of shards that are there."""
    return [note.rows(shards[number]) for number, note in notes.items()]


def _list(notes: dict[int, Note], shards: Sequence[Shard], file: Path) -> None:
    if rows := [row for each in _set_aside(notes, shards) for row in each]:
        write_rejected(file, rows)


@dataclass(slots=True, eq=False)
class SampleJob:
    """The image of a sample to translate: bytes that become others."""

    place: tuple[int, int]  # of the shard, and in it
    shard: Shard
    sample: Sample
    member: str  # that is the image
    made: bytes | None = None

    @property
    def name(self) -> str:
        """Its member, in its shard."""
        return str(self.original)

    @property
    def original(self) -> Path:
        """The same."""
        return Path(self.shard.name, f"{self.sample.key}.{self.member}")

    @property
    def done(self) -> bool:
        """Whether it was translated."""
        return self.made is not None

    def size(self) -> tuple[int, int]:
        """Return height and width of the original."""
        return image_reading.decode_size(self.sample.members[self.member], self.name)

    def read(self) -> Tensor:
        """Return the original."""
        return image_reading.decode_image(self.sample.members[self.member], self.name)

    def write(self, pixels: Tensor) -> None:
        """Keep the translation, encoded, for the shard."""
        self.made = image_writing.encode_image(pixels, f"{self.name}.{self._becomes}")

    @property
    def _becomes(self) -> str:
        return self.member if is_lossless(f".{self.member}") else "png"

    def finished(self) -> Sample | None:
        """Return the new sample; ``None`` if it was set aside."""
        if self.made is None:
            return None
        others = {n: content for n, content in self.sample.members.items() if n != self.member}
        return Sample(self.sample.key, {self._becomes: self.made, **others})


@dataclass(slots=True)
class _Work:
    """What a process does, and what it has found."""

    translating: Translating
    notes: dict[int, Note] = field(default_factory=dict)  # by the shard's number
    broken: list[tuple[int, str]] = field(default_factory=list)  # number, and why
    seen: int = 0  # samples and broken shards

    def translate(self, shards: Iterable[Shard]) -> Generator[Job, None, None]:
        """Translate shards one by one; yield the samples as they are done or set aside."""
        for shard in shards:
            yield from self._attempt(shard)

    def _attempt(self, shard: Shard) -> Iterator[Job]:
        """Translate a shard; set it aside if it is broken, so that the others get their turn."""
        try:
            yield from self._translate(shard)
        except ShardError as error:
            self.broken.append((shard.number, str(error)))
            self._count(1)
            fault = fault_of_file(error, shard.source)
            self.translating.rejected.add((shard.number,), shard.name, fault)

    def _translate(self, shard: Shard) -> Iterator[Job]:
        state = _state(shard.source)
        ignored: list[str] = []
        waiting: deque[list[SampleJob]] = deque()
        samples = 0

        def windows() -> Iterator[list[SampleJob]]:
            for window in _windows(read_samples(shard.source, ignored=ignored.append)):
                jobs = [job for each in window if (job := self._job(shard, *each))]
                waiting.append(jobs)
                yield jobs

        with shard_writer(shard.target) as write:

            def write_first() -> int:
                made = [sample for job in waiting.popleft() if (sample := job.finished())]
                for sample in made:
                    write(sample)
                return len(made)

            with closing(translated(self.translating, windows())) as jobs:
                for job in jobs:
                    while job not in waiting[0]:  # all of the first window are done
                        samples += write_first()
                    yield job
            while waiting:
                samples += write_first()
        # After the shard: without its note it is made again.
        rows = [row for row in self.translating.rejected.rows if row.place[0] == shard.number]
        note = Note(
            samples, tuple((row.place[1], row.path, row.reason) for row in rows), len(ignored),
            state.st_size, state.st_mtime_ns,
        )  # fmt: skip
        _write_text(shard.note, json.dumps(asdict(note), indent=1) + "\n")
        self.notes[shard.number] = note

    def _job(self, shard: Shard, number: int, sample: Sample) -> SampleJob | None:
        """Return what is to be translated of a sample; set it aside unless it has one image."""
        self._count(1)
        pictures = sample.pictures
        if len(pictures) == 1:
            return SampleJob((shard.number, number), shard, sample, pictures[0])
        known = ", ".join(PICTURES)
        why = f"has {len(pictures)} images ({', '.join(pictures)}), not one"
        if not pictures:
            why = f"has no image ({known}) but {', '.join(sample.members)}"
        self.translating.rejected.add((shard.number, number), f"{shard.name}/{sample.key}", why)
        return None

    def _count(self, count: int) -> None:
        self.seen += count
        self.translating.rejected.total += count


def _windows(samples: Iterator[Sample]) -> Iterator[list[tuple[int, Sample]]]:
    """Yield the samples of a shard, numbered, in windows that depend on the shard alone."""
    window: list[tuple[int, Sample]] = []
    held = 0
    for number, sample in enumerate(samples):
        window.append((number, sample))
        held += sum(map(len, sample.members.values()))
        if len(window) == WINDOW or held >= WINDOW_BYTES:
            yield window
            window, held = [], 0
    if window:
        yield window


def _state(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError as error:
        raise ShardError(f"{file}: cannot be read ({error.strerror}).") from error


def _check_none_broken(broken: Sequence[tuple[int, str]], count: int) -> None:
    """Refuse to call a set whole that lacks shards.

    Raises:
        DataError: naming the first.
    """
    if broken:
        others = "the others are done" if len(broken) < count else "none could be translated"
        raise DataError(
            f"{len(broken)} of {count} shards cannot be used; {others}. The first is "
            f"{broken[0][1]} Put a whole one in its place; the same command continues."
        )


def _tell_ignored(notes: Iterable[Note]) -> None:
    if count := sum(note.ignored for note in notes):
        _log.warning("%d files in the shards belong to no sample and were left out.", count)


def _write_tables(
    out: Path, info: IndexInfo, shards: Sequence[Shard], notes: dict[int, Note]
) -> None:
    """Write what is true of all shards, and then their list, which says that they are all there."""
    _write_text(out / INFO_NAME, info_text(info))
    table = io.StringIO()
    rows = (
        (shard.name, notes[shard.number].samples, len(notes[shard.number].set_aside))
        for shard in shards
    )
    csv.writer(table, lineterminator="\n").writerows([_HEADER, *rows])
    _write_text(out / TABLE_NAME, as_listed(table.getvalue()))


def _write_text(file: Path, text: str) -> None:
    try:
        with replacing(file) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise DataError(f"{file}: cannot be written ({error.strerror}).") from error
