"""Images through a translator, in batches.

On a processor each core takes small images from the file to the file, so that none waits for
another and little is held. Else threads decode and encode others while the network computes.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol

import torch
from torch import Tensor

from cycada import images
from cycada.cores import LONE_PIXELS, lone_threads
from cycada.data.dataset import scaled_size
from cycada.errors import DataError
from cycada.models.tiling import (
    TILE,
    most_in_a_pass,
    padded,
    padded_size,
    translate_any_size,
)
from cycada.rejecting import Rejections, fault_of_file
from cycada.stages.flow import in_order
from cycada.thermal import Unit
from cycada.training.engines import UsableTranslator, computes_by_core

Scale = Literal["fit", "keep"]
Bits = Literal["8", "16", "original"]

WINDOW = 32
"""Images, in the order of the index, of which those of a size make batches."""

MOST_PIXELS = WINDOW * 512 * 512
"""Pixels of the images that are in memory at a time, unless one alone has more."""

PASS_PIXELS = TILE * TILE
"""Pixels of the images that share a pass: 16 images of 256 px take as much memory as a tile."""

_DTYPES: Mapping[str, torch.dtype] = MappingProxyType({"8": torch.uint8, "16": torch.uint16})
_AHEAD = 2  # batches that are read, and as many that are written, while the network computes


class Job(Protocol):
    """An image to translate."""

    @property
    def place(self) -> tuple[int, ...]:
        """Where it is in the order of the source."""

    @property
    def name(self) -> str:
        """What the source calls it."""

    @property
    def original(self) -> Path:
        """What errors call it."""

    @property
    def done(self) -> bool:
        """Whether the translation is there."""

    def size(self) -> tuple[int, int]:
        """Return height and width of the original.

        Raises:
            DataError: It cannot be read, or its name cannot be used.
        """

    def read(self) -> Tensor:
        """Return the original as :func:`image_reading.read_image` gives it.

        Raises:
            DataError: It cannot be read.
        """

    def write(self, pixels: Tensor) -> None:
        """Put the translation, in the values of a file, where it is to be.

        Raises:
            DataError: It cannot be written.
        """


@dataclass(frozen=True, slots=True)
class Batch:
    """Images that share a pass of the network: of one size once they are scaled and padded."""

    jobs: tuple[Job, ...]
    sizes: tuple[tuple[int, int], ...]  # of the originals
    shape: tuple[int, int]  # as the network sees them

    @property
    def pixels(self) -> int:
        """Pixels that it holds in memory, in whichever of the two sizes has more."""
        return sum(max(math.prod(size), math.prod(self.shape)) for size in self.sizes)


@dataclass(frozen=True, slots=True)
class Translating:
    """A translator, and what it is to make of each image."""

    translator: UsableTranslator
    unit: Unit
    bits: Bits
    scale: Scale
    rejected: Rejections

    def size(self, job: Job) -> tuple[int, int] | None:
        """Return the size of an image; ``None`` if it is set aside."""
        try:
            return job.size()
        except DataError as error:
            self.reject(job, error)
            return None

    def reject(self, job: Job, error: DataError) -> None:
        """Set an image aside, unless its translation is there from before."""
        if not job.done:
            self.rejected.add(job.place, job.name, fault_of_file(error, job.original))

    def scaled(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size in which an image of ``size`` is shown to the translator."""
        return scaled_size(size, self.translator.size) if self.scale == "fit" else size

    def read(self, batch: Batch, number: int, pictures: Tensor) -> torch.dtype | None:
        """Put an image into its row of a batch for the network.

        Returns:
            The dtype to write; ``None`` if the image is set aside. Then the row is black, for the
            others must share the pass with as many as they would else: it decides their last bits.
        """
        job, size = batch.jobs[number], batch.sizes[number]
        try:
            image = _read(job, size)
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

    def whole(self, batch: Batch) -> None:
        """Read, translate and write a batch."""
        pictures = torch.empty(len(batch.jobs), 3, *batch.shape)
        dtypes = [self.read(batch, number, pictures) for number in range(len(batch.jobs))]
        made = self.made(pictures)
        for number, dtype in enumerate(dtypes):
            if dtype is not None:
                self.write(batch, number, made, dtype)

    def write(self, batch: Batch, number: int, made: Tensor, dtype: torch.dtype) -> None:
        """Write a translation in the size of its original, unless it is there."""
        job, size = batch.jobs[number], batch.sizes[number]
        if job.done:
            return
        height, width = self.scaled(size)
        signed = images.resize(made[number, :, :height, :width], size)
        pixels = images.from_signed(
            signed, dtype=dtype, unit=self.unit, window=self.translator.window
        )
        job.write(pixels)


def _read(job: Job, size: tuple[int, int]) -> Tensor:
    image = job.read()
    if tuple(image.shape[-2:]) != size:
        raise DataError(f"{job.original}: has been changed while it was read.")
    return image


def translated(work: Translating, windows: Iterable[Sequence[Job]]) -> Generator[Job, None, None]:
    """Translate the images of each window, and yield each image that is done or set aside.

    Those that are there already stay. Images that are set aside by their header alone are not
    yielded; else all those of a window are, before any of a later one. Windows are taken as they
    are needed: two of them are in memory beside what ``MOST_PIXELS`` bounds.
    """
    cores = torch.get_num_threads()
    with lone_threads(cores if computes_by_core(work.translator) else None) as pool:
        batches = (
            batch
            for window in _measured(windows, work, pool)
            for batch in _batches(window, work)
            if not all(job.done for job in batch.jobs)
        )
        for small, run in itertools.groupby(
            batches, lambda batch: suits_a_core(work.translator, batch.shape)
        ):
            if small:
                yield from _by_core(work, run, pool, cores)
            else:
                yield from _flow(work, run, pool)


def _by_core(
    work: Translating, batches: Iterable[Batch], pool: ThreadPoolExecutor, cores: int
) -> Iterator[Job]:
    """Translate batches side by side, and yield each image that is done, in their order.

    They hold ``MOST_PIXELS`` at most, or one image.
    """
    running: deque[tuple[Batch, Future[None]]] = deque()

    def oldest() -> Iterator[Job]:
        batch, future = running.popleft()
        future.result()
        yield from batch.jobs

    for batch in batches:
        held = sum(each.pixels for each, _ in running)
        while running and (len(running) > cores or held + batch.pixels > MOST_PIXELS):
            held -= running[0][0].pixels
            yield from oldest()
        running.append((batch, pool.submit(work.whole, batch)))
    while running:
        yield from oldest()


def _measured(
    windows: Iterable[Sequence[Job]], work: Translating, pool: ThreadPoolExecutor
) -> Iterator[Sequence[tuple[Job, tuple[int, int]]]]:
    """Yield the images of each window with their sizes, read one window ahead."""

    def measure(window: Sequence[Job]) -> Sequence[tuple[Job, tuple[int, int]]]:
        sizes = map(work.size, window)
        return [(job, size) for job, size in zip(window, sizes, strict=True) if size]

    return in_order(pool, measure, windows, ahead=1)


def _flow(work: Translating, batches: Iterable[Batch], pool: ThreadPoolExecutor) -> Iterator[Job]:
    """Translate the batches in their order, and yield each image that is done.

    While the network computes, threads decode the next batches and encode the last ones. What is
    in memory, from the begin of its decoding to the end of its encoding, are ``MOST_PIXELS`` at
    most, or one image.
    """
    reading: deque[tuple[Batch, Tensor, list[Future[torch.dtype | None]]]] = deque()
    writing: deque[tuple[Batch, list[Future[None]]]] = deque()

    def advance() -> Iterator[Job]:
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


def _batches(window: Sequence[tuple[Job, tuple[int, int]]], work: Translating) -> Iterator[Batch]:
    """Yield the images of a window in batches of one size, as large as a pass may be.

    They depend on the window alone, and not on what is there already or on how many processes
    there are: kernels for one image and for several differ in the last bits.
    """
    sizes = [size for _, size in window]
    seen = [work.scaled(size) for size in sizes]
    for shape, numbers in passes(sizes, seen, translator=work.translator):
        jobs = tuple(window[number][0] for number in numbers)
        yield Batch(jobs, tuple(sizes[number] for number in numbers), shape)


def suits_a_core(translator: UsableTranslator, shape: tuple[int, int]) -> bool:
    """Tell whether passes of images of a padded ``(height, width)`` are made side by side."""
    return computes_by_core(translator) and math.prod(shape) <= LONE_PIXELS


def passes(
    sizes: Sequence[tuple[int, int]],
    seen: Sequence[tuple[int, int]],
    *,
    translator: UsableTranslator,
) -> Iterator[tuple[tuple[int, int], list[int]]]:
    """Yield which images of a window share a pass: of one size once they are padded.

    Args:
        sizes: Heights and widths of the images.
        seen: In which the network is shown them.
        translator: Computes them.

    Yields:
        The size of a pass once padded, and the places of its images in the window. It holds
        ``MOST_PIXELS`` at most, in whichever of the two sizes has more, or one image.
    """
    # Where all cores share a pass, few images do, or they would only wait in memory.
    pixels_shared = PASS_PIXELS // 4 if translator.device.type == "cpu" else PASS_PIXELS
    alike: dict[tuple[int, int], list[int]] = {}
    for number, size in enumerate(seen):
        alike.setdefault(padded_size(size), []).append(number)
    for shape, members in alike.items():
        most = LONE_PIXELS if suits_a_core(translator, shape) else pixels_shared
        count = most_in_a_pass(shape, pixels=min(most, MOST_PIXELS))
        held: list[int] = []
        pixels = 0
        for number in members:
            own = max(math.prod(sizes[number]), math.prod(shape))
            if held and (len(held) == count or pixels + own > MOST_PIXELS):
                yield shape, held
                held, pixels = [], 0
            held.append(number)
            pixels += own
        yield shape, held
