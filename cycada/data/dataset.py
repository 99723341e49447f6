"""Images of an index as tensors of one size, decoded once where memory allows."""

from __future__ import annotations

import signal
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cycada import image_reading, images
from cycada.data.decoded import ALONE, Neighbours, make_room
from cycada.data.index import Domain, Index
from cycada.errors import CycadaError, DataError
from cycada.progress import Progress
from cycada.stopping import threads
from cycada.thermal import Unit, Window

T = TypeVar("T")

_BYTES_PER_MB = 2**20
_SIXTEEN_BIT = 65535


class FaceImages:
    """The faces of one domain, from one or more indexes, as square images.

    An image is scaled so that its shorter side is ``size`` and cropped to the central square.
    RGB comes as uint8, thermal in 16 bits (as int32, which every device knows) over the temperature
    window, or over the range of grey images, so that a 16-bit file keeps its precision.
    """

    def __init__(self, indexes: Sequence[Index], *, domain: Domain, size: int) -> None:
        """Take the rows of ``domain`` from ``indexes``.

        Raises:
            DataError: No row of that domain, or thermal indexes with different units' kind or
                windows.
        """
        chosen = [index.select(domain=domain) for index in indexes]
        self.domain, self.size = domain, size
        self.faces = tuple(face for index in chosen for face in index.faces)
        if not self.faces:
            listed = ", ".join(str(index.root) for index in indexes) or "no index"
            raise DataError(f"no {domain} face to use in {listed}; check `domain` and `split`.")
        self.window = common_window(chosen) if domain == "thermal" else None
        self._indexes = [index for index in chosen if index.faces]
        self.roots = tuple(index.root for index in self._indexes)
        self._ends = list(accumulate(len(index.faces) for index in self._indexes))
        self._cache: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of faces."""
        return len(self.faces)

    @property
    def channels(self) -> int:
        """Channels of the images: 3 for RGB, 1 for thermal."""
        return 3 if self.domain == "rgb" else 1

    @property
    def sixteen_bit(self) -> bool:
        """Whether the first file holds more than 8 bits."""
        return image_reading.read_image(self._file(0)).dtype != torch.uint8

    def decode(self, number: int) -> Tensor:
        """Return image ``number`` as ``(C, size, size)``, uint8 (RGB) or int32 0..65535."""
        file, info = self._file(number), self._index(number).info
        image = image_reading.read_image(file)
        unit: Unit = info.unit if self.domain == "thermal" else "grey"
        try:
            signed = images.to_signed(image, unit=unit, window=info.window)
        except DataError as error:
            raise DataError(f"{file}: {error}") from None
        signed = images.with_channels(signed, self.channels)
        square = images.resize(signed, scaled_size(signed.shape[-2:], self.size))
        square = centre_crop(square, self.size)
        return _widened(images.from_signed(square, dtype=self._dtype))

    def _index(self, number: int) -> Index:
        return self._indexes[bisect(self._ends, number)]

    def _file(self, number: int) -> Path:  # made when it is asked for: a path takes 0.5 kB
        return self._index(number).file(self.faces[number])

    @property
    def cached(self) -> bool:
        """Whether the decoded images are in memory."""
        return self._cache is not None

    @property
    def decoded_mb(self) -> float:
        """MB that all images take decoded."""
        numbers = len(self) * self.channels * self.size**2
        return numbers * self._dtype.itemsize / _BYTES_PER_MB

    @property
    def _dtype(self) -> torch.dtype:
        return torch.uint8 if self.domain == "rgb" else torch.uint16

    def preload(
        self, *, limit_mb: float, progress: Progress, neighbours: Neighbours = ALONE
    ) -> float:
        """Decode all images into memory if they fit into ``limit_mb``; return the MB taken.

        Neighbours share the work and the memory; all of them must call this.

        Raises:
            DataError: An image cannot be read, here or by a neighbour.
        """
        # Another host may have less left, where a set could not be shared.
        if not neighbours.agree(self.decoded_mb <= limit_mb):
            return 0.0
        shape = (len(self), self.channels, self.size, self.size)
        room = make_room(shape, self._dtype, neighbours, progress.say)
        problem: CycadaError | None = None
        taken = self.decoded_mb * (1 if room.shared else neighbours.count)
        if taken <= limit_mb:
            first, step = (neighbours.number, neighbours.count) if room.shared else (0, 1)
            try:
                self._decode_into(room.memory, range(first, len(self), step), progress)
            except CycadaError as error:
                problem = error
        told = next(filter(None, neighbours.exchange(str(problem or ""))), None)
        if told is not None:
            raise problem or DataError(told)
        if taken > limit_mb:
            return 0.0
        self._cache = room.memory
        return taken

    def _decode_into(self, memory: Tensor, numbers: range, progress: Progress) -> None:
        with threads() as pool:
            decoded = pool.map(self.decode, numbers)
            shown = progress(decoded, total=len(numbers), desc=f"reading {self.domain}")
            for number, image in zip(numbers, shown, strict=True):
                memory[number] = image

    def batch(self, numbers: Tensor) -> Tensor:
        """Return the images ``numbers``, ``(B, C, size, size)``, as :meth:`decode` does."""
        if self._cache is not None:
            return _widened(self._cache[numbers])
        return torch.stack([self.decode(int(number)) for number in numbers])


def preload_all(
    parts: Iterable[FaceImages],
    *,
    limit_mb: float,
    progress: Progress,
    neighbours: Neighbours = ALONE,
) -> None:
    """Decode one set after another into memory, those that still fit into ``limit_mb`` together.

    Raises:
        DataError: An image cannot be read.
    """
    for part in parts:
        limit_mb -= part.preload(limit_mb=limit_mb, progress=progress, neighbours=neighbours)


def signed(stored: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Map stored images (uint8, or int32 up to 65535) to [-1, 1]."""
    half = 255 / 2 if stored.dtype == torch.uint8 else _SIXTEEN_BIT / 2
    return stored.to(dtype) / half - 1


def _widened(stored: Tensor) -> Tensor:
    return stored.to(torch.int32) if stored.dtype == torch.uint16 else stored


def common_window(indexes: Sequence[Index]) -> Window | None:
    """Return the temperature window that thermal indexes share, ``None`` for grey images.

    Raises:
        DataError: Two indexes span different temperatures, or only one of them is radiometric.
    """
    spans = {
        index.root: None if index.info.unit == "grey" else index.info.window
        for index in indexes
        if index.faces
    }
    distinct = list(dict.fromkeys(spans.values()))
    if len(distinct) > 1:
        told = "; ".join(
            f"{root}: {'grey' if span is None else f'{span.low:g} to {span.high:g} deg C'}"
            for root, span in spans.items()
        )
        raise DataError(
            f"the thermal indexes span different temperatures ({told}); give them one window."
        )
    return distinct[0] if distinct else None


def scaled_size(shape: Sequence[int], side: int) -> tuple[int, int]:
    """Return ``(height, width)`` after scaling so that the shorter side is ``side``."""
    height, width = shape
    scale = side / min(height, width)
    return max(side, round(height * scale)), max(side, round(width * scale))


def centre_crop(image: Tensor, side: int) -> Tensor:
    """Return the central ``side`` x ``side`` square of ``(..., H, W)``."""
    top, left = (image.shape[-2] - side) // 2, (image.shape[-1] - side) // 2
    return image[..., top : top + side, left : left + side]


class _Steps(Dataset[Any]):
    """Step number -> the batch of that step."""

    def __init__(self, make: Callable[[int], Any], steps: int) -> None:
        self.make, self.steps = make, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Any:
        # An error raised in a worker would reach the parent with the worker's traceback as text.
        try:
            return self.make(step)
        except CycadaError as error:
            return error


def step_batches(make: Callable[[int], T], *, done: int, total: int, workers: int) -> Iterator[T]:
    """Yield ``make(step)`` for the steps ``done`` to ``total - 1``, made ahead by ``workers``.

    A :class:`CycadaError` in a worker is raised here as it is.
    """
    steps = range(done, total)
    if workers == 0:
        return (make(step) for step in steps)
    loader = DataLoader(
        _Steps(make, total), sampler=steps, batch_size=None, num_workers=workers,
        pin_memory=torch.cuda.is_available(), worker_init_fn=_leave_interrupts_to_the_parent,
    )  # fmt: skip
    return map(_made, loader)


def _made(found: Any) -> Any:
    """Return what a worker made, or raise the error that it met."""
    if isinstance(found, CycadaError):
        raise found
    return found


def _leave_interrupts_to_the_parent(_worker: int) -> None:
    """Let a signal that reaches all processes not end the workers: the parent still needs them.

    Ctrl-C at a terminal does, and SIGTERM of a scheduler. They end when their parent does.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
