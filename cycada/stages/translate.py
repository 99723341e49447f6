"""Translate the RGB faces of an index, or of a folder, into thermal ones, labels carried along."""

from __future__ import annotations

import dataclasses
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor

from cycada import images
from cycada.data.dataset import scaled_size
from cycada.data.folders import find_images
from cycada.data.index import (
    CSV_NAME,
    Face,
    Index,
    IndexInfo,
    fault_of_path,
    read_index,
    write_index,
)
from cycada.data.index_checks import check_links
from cycada.data.landmarks import Landmarks, read_landmarks, write_landmarks
from cycada.errors import DataError, RunError
from cycada.files import check_apart, replacing
from cycada.locking import holds_anything, sole_writer
from cycada.models.tiling import TILE, padded, padded_size, translate_any_size
from cycada.progress import Progress
from cycada.rejecting import Limit, Rejections, fault_of_file
from cycada.stages.flow import in_order, lone_threads
from cycada.thermal import INTEGER_UNITS, Unit
from cycada.training.launch import joins_on_processor
from cycada.training.loading import LoadedTranslator, load_translator

Depth = Literal["auto", "8", "16"]
Scale = Literal["fit", "keep"]

Bits = Literal["8", "16", "original"]

WINDOW = 32
"""Images, in the order of the index, of which those of a size make batches."""

MOST_PIXELS = WINDOW * 512 * 512
"""Pixels of the images that are in memory at a time, unless one alone has more."""

CLAIM_NAME = ".translator"

_DTYPES: Mapping[str, torch.dtype] = MappingProxyType({"8": torch.uint8, "16": torch.uint16})
_PASS_PIXELS = TILE * TILE  # the memory of a pass: 16 images of 256 px take as much as a tile
_AHEAD = 2  # batches that are read, and as many that are written, while the network computes


@dataclass(frozen=True, slots=True)
class _Job:
    number: int  # in the order of the index
    face: Face
    source: Path
    target: Path

    @property
    def done(self) -> bool:
        """Whether the translation is there."""
        try:
            return self.target.exists()
        except OSError:  # a name that is too long; reading the original tells
            return False


def run_translation(
    run: Path, source: Path, out: Path, *, depth: Depth, scale: Scale = "fit",
    limit: Limit | None = None, allow_outside: bool = False, progress: Progress,
) -> Index:  # fmt: skip
    """Translate every RGB face of ``source`` and write the new index into ``out``.

    A translated face has the name (with ``.png`` for JPEG and NPY), size, subject, split and
    labels of its original, and its landmarks where there are any. Images that are in ``out``
    already, from an interrupted translation of the same images by the same weights, are kept.
    Several processes under ``accelerate launch``
    share the work. Images that cannot be read are set aside in ``rejected.csv``, are not in the
    new index, and are tried again by the next run.

    Args:
        run: Run of a translator.
        source: An index, or a plain folder of images (then without labels).
        out: Folder of the new index.
        depth: Bits of the written images: ``auto`` writes 16 where the translator learned from
            temperatures, and else as many as the original has.
        scale: ``fit`` shows the translator every image at the size that it was trained on, which
            suits faces cut out alike; ``keep`` shows it the pixels as they are, which suits whole
            frames whose faces are about as large as those it was trained on.
        limit: How many images may be set aside; ``None`` for the default.
        allow_outside: Believe paths of an index from elsewhere that leave its folder.
        progress: Shows the images.

    Returns:
        The new index.

    Raises:
        CycadaError: The run, too many images, or what is in ``out`` cannot be used, or another
            process writes there.
    """
    state = PartialState(cpu=joins_on_processor())
    translator = load_translator(run, state.device)
    index = _source_index(source, out, allow_outside=allow_outside)
    landmarks = read_landmarks(index.root) if (index.root / CSV_NAME).exists() else None
    unit = _unit_to_write(translator, depth)
    info = dataclasses.replace(
        index.info,
        unit=unit,
        translator=str(run),
        translator_hash=translator.fingerprint,
        seen_digests=tuple(sorted(translator.seen | index.info.seen)),
        seen_subjects=(),
        window=translator.window or index.info.window,
    )
    bits: Bits = "original" if depth == "auto" and unit == "grey" else "16"
    if depth == "8":
        bits = "8"
    jobs = [_job(index, number, out) for number in range(len(index.faces))]
    _check_names(jobs)
    rejected = Rejections(out, total=len(jobs), limit=limit or Limit())
    claim = {
        "weights": translator.fingerprint,
        "originals": _relative(index.root, out),
        "pixels": f"{'as many' if bits == 'original' else bits} bit {unit}"
        + (", scale kept" if scale == "keep" else ""),
    }
    with ExitStack() as held:
        with state.main_process_first():
            if state.is_main_process:
                held.enter_context(sole_writer(out))
            _claim(out, claim, writes=state.is_main_process)
            if state.is_main_process:
                rejected.begin()
        check_apart((job.target for job in jobs), out, originals=(job.source for job in jobs))
        windows = [jobs[start : start + WINDOW] for start in range(0, len(jobs), WINDOW)]
        mine = [
            window
            for window in windows[state.process_index :: state.num_processes]
            if not all(job.done for job in window)
        ]
        _translate(_Translating(translator, unit, bits, scale, rejected), mine, progress=progress)
        rejected.join(gather_object([rejected.rows]))  # waits for all
        if state.is_main_process:
            rejected.close()
        rejected.check_some_left()  # now all have the same list, and come to the same end
        rejected.check()
        jobs = [job for job in jobs if (job.number,) not in rejected]
        made = Index(out, info, tuple(_carried(index, job, out) for job in jobs))
        if state.is_main_process:
            if landmarks is not None:  # before the index, which says that the folder is whole
                _carry_landmarks(landmarks, jobs, made)
            write_index(made)
        state.wait_for_everyone()
    return made


def _carry_landmarks(landmarks: Landmarks, jobs: Sequence[_Job], made: Index) -> None:
    write_landmarks(
        made.root, landmarks.names,
        (
            (face.path, landmarks.places[job.face.path])
            for job, face in zip(jobs, made.faces, strict=True)
            if job.face.path in landmarks.places
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Batch:
    """Images that share a pass of the network: of one size once they are scaled and padded."""

    jobs: tuple[_Job, ...]
    sizes: tuple[tuple[int, int], ...]  # of the originals
    shape: tuple[int, int]  # as the network sees them

    @property
    def pixels(self) -> int:
        """Pixels that it holds in memory, in whichever of the two sizes has more."""
        return sum(max(math.prod(size), math.prod(self.shape)) for size in self.sizes)


@dataclass(frozen=True, slots=True)
class _Translating:
    """A translator, and what it is to make of each image."""

    translator: LoadedTranslator
    unit: Unit
    bits: Bits
    scale: Scale
    rejected: Rejections

    def size(self, job: _Job) -> tuple[int, int] | None:
        """Return the size of an image; ``None`` if it is set aside."""
        if fault := fault_of_path(job.face.path):
            self.rejected.add((job.number,), job.face.path, fault)
            return None
        try:
            return images.read_size(job.source)
        except DataError as error:
            self.reject(job, error)
            return None

    def reject(self, job: _Job, error: DataError) -> None:
        """Set an image aside, unless its translation is there from before."""
        if not job.done:
            fault = fault_of_file(error, job.source)
            self.rejected.add((job.number,), job.face.path, fault)

    def scaled(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size in which an image of ``size`` is shown to the translator."""
        return scaled_size(size, self.translator.size) if self.scale == "fit" else size

    def read(self, batch: _Batch, number: int, pictures: Tensor) -> torch.dtype | None:
        """Put an image into its row of a batch for the network.

        Returns:
            The dtype to write; ``None`` if the image is set aside. Then the row is black, for the
            others must share the pass with as many as they would else: it decides their last bits.
        """
        job, size = batch.jobs[number], batch.sizes[number]
        try:
            image = _read(job.source, size)
            # Floats are refused here: no index has checked those of a plain folder.
            signed = images.with_channels(images.to_signed(image), pictures.shape[1])
        except DataError as error:
            self.reject(job, error)
            pictures[number] = -1.0
            return None
        pictures[number] = padded(images.resize(signed, self.scaled(size)))
        return image.dtype if self.bits == "original" else _DTYPES[self.bits]

    def made(self, pictures: Tensor) -> Tensor:
        """Return ``(B, 1, H, W)`` thermal for ``(B, 3, H, W)`` RGB, both in [-1, 1] and padded."""
        if max(pictures.shape[-2:]) > TILE:  # such a batch has one image
            return translate_any_size(self.translator.to_thermal, pictures[0])[None]
        return self.translator.to_thermal(pictures)

    def write(self, batch: _Batch, number: int, made: Tensor, dtype: torch.dtype) -> None:
        """Write a translation in the size of its original, unless it is there."""
        job, size = batch.jobs[number], batch.sizes[number]
        if job.done:
            return
        height, width = self.scaled(size)
        signed = images.resize(made[number, :, :height, :width], size)
        pixels = images.from_signed(
            signed, dtype=dtype, unit=self.unit, window=self.translator.window
        )
        images.write_image(job.target, pixels)


def _read(file: Path, size: tuple[int, int]) -> Tensor:
    image = images.read_image(file)
    if tuple(image.shape[-2:]) != size:
        raise DataError(f"{file}: has been changed while it was read.")
    return image


def _translate(
    work: _Translating, windows: Sequence[Sequence[_Job]], *, progress: Progress
) -> None:
    with lone_threads() as pool:
        batches = (
            batch
            for window in _measured(windows, work, pool)
            for batch in _batches(window, work)
            if not all(job.done for job in batch.jobs)
        )
        faces = sum(len(window) for window in windows)
        for _ in progress(_flow(work, batches, pool), total=faces, desc="faces"):
            pass


def _measured(
    windows: Sequence[Sequence[_Job]], work: _Translating, pool: ThreadPoolExecutor
) -> Iterator[Sequence[tuple[_Job, tuple[int, int]]]]:
    """Yield the images of each window with their sizes, read one window ahead."""

    def measure(window: Sequence[_Job]) -> Sequence[tuple[_Job, tuple[int, int]]]:
        sizes = map(work.size, window)
        return [(job, size) for job, size in zip(window, sizes, strict=True) if size]

    return in_order(pool, measure, windows, ahead=1)


def _flow(
    work: _Translating, batches: Iterable[_Batch], pool: ThreadPoolExecutor
) -> Iterator[_Job]:
    """Translate the batches in their order, and yield each image that is done.

    While the network computes, threads decode the next batches and encode the last ones. What is
    in memory, from the begin of its decoding to the end of its encoding, are ``MOST_PIXELS`` at
    most, or one image.
    """
    reading: deque[tuple[_Batch, Tensor, list[Future[torch.dtype | None]]]] = deque()
    writing: deque[tuple[_Batch, list[Future[None]]]] = deque()

    def advance() -> Iterator[_Job]:
        """Translate the oldest batch that was read; wait for the oldest one that is written."""
        if reading:
            batch, pictures, dtypes = reading.popleft()
            wanted = [dtype.result() for dtype in dtypes]
            made = work.made(pictures)
            writing.append((batch, [
                pool.submit(work.write, batch, number, made, dtype)
                for number, dtype in enumerate(wanted) if dtype is not None
            ]))  # fmt: skip
        if not reading or len(writing) > _AHEAD:
            batch, written = writing.popleft()
            for each in written:
                each.result()
            yield from batch.jobs

    for batch in batches:
        while held := [each[0] for each in reading] + [each[0] for each in writing]:
            room = batch.pixels + sum(each.pixels for each in held) <= MOST_PIXELS
            if room and len(reading) < _AHEAD:
                break
            yield from advance()
        pictures = torch.empty(
            len(batch.jobs), 3, *batch.shape, pin_memory=work.translator.device.type == "cuda"
        )
        reading.append((batch, pictures, [
            pool.submit(work.read, batch, number, pictures) for number in range(len(batch.jobs))
        ]))  # fmt: skip
    while reading or writing:
        yield from advance()


def _batches(
    window: Sequence[tuple[_Job, tuple[int, int]]], work: _Translating
) -> Iterator[_Batch]:
    """Yield the images of a window in batches of one size, as large as a pass may be.

    They depend on the window alone, and not on what is there already or on how many processes
    there are: kernels for one image and for several differ in the last bits.
    """
    alike: dict[tuple[int, int], list[tuple[_Job, tuple[int, int]]]] = {}
    for job, size in window:
        alike.setdefault(padded_size(work.scaled(size)), []).append((job, size))
    for shape, members in alike.items():
        most = max(1, min(_PASS_PIXELS, MOST_PIXELS) // math.prod(shape))
        held: list[tuple[_Job, tuple[int, int]]] = []
        pixels = 0
        for member in members:
            own = max(math.prod(member[1]), math.prod(shape))
            if held and (len(held) == most or pixels + own > MOST_PIXELS):
                yield _batch(held, shape)
                held, pixels = [], 0
            held.append(member)
            pixels += own
        yield _batch(held, shape)


def _batch(held: Sequence[tuple[_Job, tuple[int, int]]], shape: tuple[int, int]) -> _Batch:
    jobs, sizes = zip(*held, strict=True)
    return _Batch(jobs, sizes, shape)


def _source_index(source: Path, out: Path, *, allow_outside: bool) -> Index:
    if (source / CSV_NAME).exists() or source.suffix.lower() == ".csv":
        index = read_index(source, allow_outside=allow_outside).select(domain="rgb")
        check_links(index)
        if not index.faces:
            raise DataError(f"{source}: has no RGB face to translate.")
        return index
    if out.resolve().is_relative_to(source.resolve()):
        raise DataError(
            f"{out}: lies in the folder to be translated, where its images would be taken for "
            "originals; choose another --out."
        )
    faces = (
        Face(path=found.relative, domain="rgb", subject=found.relative, split="train")
        for found in find_images(source, "rgb")
    )
    return Index(source, IndexInfo(kind="none"), tuple(faces))


def _unit_to_write(translator: LoadedTranslator, depth: Depth) -> Unit:
    if translator.window is None or depth == "8":
        return "grey"
    return translator.unit if translator.unit in INTEGER_UNITS else "centikelvin"


def _job(index: Index, number: int, out: Path) -> _Job:
    face = index.faces[number]
    path = Path(face.path)
    inside = path if not path.is_absolute() and ".." not in path.parts else _below(path)
    lossless = inside.suffix.lower() in (".png", ".tif", ".tiff")
    target = inside if lossless else inside.with_suffix(".png")
    return _Job(number, face, index.file(face), out / target)


def _below(path: Path) -> Path:
    """Return a path without its steps upwards, so that it lies below any folder."""
    parts = [part for part in path.parts if part not in ("..", path.anchor)]
    return Path(*parts)


def _check_names(jobs: Sequence[_Job]) -> None:
    taken: dict[Path, Path] = {}
    for job in jobs:
        other = taken.setdefault(job.target, job.source)
        if other != job.source:
            raise DataError(
                f"{job.source} and {other} would both become {job.target}; give them different "
                "names."
            )


def _carried(index: Index, job: _Job, out: Path) -> Face:
    """Return the original's row as that of its translation: another path and domain."""
    pair = job.face.pair
    return dataclasses.replace(
        job.face,
        path=job.target.relative_to(out).as_posix(),
        domain="thermal",
        origin=_relative(job.source, out),
        pair=_relative(index.root / pair, out) if pair else "",
    )


def _relative(path: Path, start: Path) -> str:
    return Path(os.path.relpath(path.resolve(), start.resolve())).as_posix()


def _claim(out: Path, wanted: dict[str, str], *, writes: bool) -> None:
    """Note in ``out`` what fills it; refuse a folder that something else fills.

    Images that are kept from other faces or another depth would belie the index.

    Raises:
        RunError: ``out`` holds something else.
    """
    note = out / CLAIM_NAME
    if note.exists():
        found = dict(line.split(" = ", 1) for line in note.read_text("utf-8").splitlines())
        for name, value in wanted.items():
            if found.get(name) != value:
                raise RunError(
                    f"{out}: was made by other {name} ({found.get(name)}, now {value}); choose "
                    "another --out, or delete it."
                )
        return
    if out.exists() and (not out.is_dir() or holds_anything(out)):
        raise RunError(f"{out}: is not empty; choose another --out.")
    if writes:
        out.mkdir(parents=True, exist_ok=True)
        with replacing(note) as temporary:
            text = "".join(f"{name} = {value}\n" for name, value in wanted.items())
            temporary.write_text(text, encoding="utf-8")
