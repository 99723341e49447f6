"""Numpy arrays: one image, or a stack of frames."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cycada.errors import DataError, reason
from cycada.footage.frames import (
    SAMPLED,
    Domain,
    Reading,
    Shot,
    check_growth,
    numbered,
    spread,
)
from cycada.image_reading import MOST_PIXELS, image_planes

_FRAMES = ("frames", "temperatures")
_TIMES = ("times", "timestamps", "seconds")
_CHUNK = 1 << 20  # bytes
_RATES = ("fps", "frame_rate")


class _Layout(NamedTuple):
    """How an array holds its frames."""

    frames: int | None  # None: it is one image
    channels_first: bool


def stack_length(path: Path, domain: Domain) -> int | None:
    """Return how many frames an NPY file holds, ``None`` for one that holds one image.

    Raises:
        DataError: the file is broken.
    """
    return _layout(_opened(path).shape, domain, path).frames


def open_array(path: Path, domain: Domain) -> Reading:
    """Open an NPY file: an image ``(H, W)``, or a stack ``(N, H, W)``, mapped into memory.

    A last axis of 1 or 3 is that of the channels. In the RGB domain a first axis of 3 is so, too;
    in the thermal domain three pictures make a stack.
    """
    array = _opened(path)
    layout = _layout(array.shape, domain, path)
    _check_size(array.shape if layout.frames is None else array.shape[1:], path)

    def shot(number: int) -> Shot:
        # Mapped anew: a map that has been read through would keep all of the file in memory.
        mapped = _opened(path)
        picture = mapped if layout.frames is None else mapped[number]
        name = path.stem if layout.frames is None else numbered(number)
        return Shot(_planes(np.asarray(picture), layout, path, number), None, name)

    def shots() -> Iterator[Shot]:
        return map(shot, range(layout.frames or 1))

    return Reading(
        path=path, shots=shots, sample=tuple(map(shot, spread(layout.frames or 1))),
        count=layout.frames or 1, notes=_told(layout, array.shape, "without time stamps"),
    )  # fmt: skip


def open_archive(path: Path, domain: Domain) -> Reading:
    """Open an NPZ file: frames as in an NPY file, and time stamps or a frame rate if named.

    The frames are called ``frames`` or ``temperatures``, or are the only array of two or more
    axes; seconds are called ``times``, ``timestamps`` or ``seconds``, a rate ``fps`` or
    ``frame_rate``.

    Raises:
        DataError: the file is broken, or does not tell which array holds the frames.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.files)
            asked = [name for name in names if name in (*_TIMES, *_RATES)]
            for name in asked:
                _check_size(_member_shape(path, name), path)
            small = {name: archive[name] for name in asked}
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except Exception as error:  # numpy and zipfile raise anything on broken bytes
        raise DataError(f"{path}: cannot be read as NPZ ({reason(error)}).") from error
    member = _frames_name(path, [name for name in names if name not in small])
    shape = _member_shape(path, member)
    layout = _layout(shape, domain, path)
    _check_size(shape if layout.frames is None else shape[1:], path)
    _check_whole(path, member)
    count = layout.frames or 1
    seconds, note = _seconds(small, count, path)

    def shots() -> Iterator[Shot]:
        for number, picture in enumerate(_streamed(path, member, whole=layout.frames is None)):
            name = path.stem if layout.frames is None else numbered(number)
            time = None if seconds is None else float(seconds[number])
            yield Shot(_planes(picture, layout, path, number), time, name)

    rate = (count - 1) / float(seconds[-1]) if seconds is not None and seconds[-1] > 0 else None
    return Reading(
        path=path, shots=shots, sample=tuple(islice(shots(), SAMPLED)), count=count,
        frame_rate=rate, notes=_told(layout, shape, note),
    )  # fmt: skip


def _opened(path: Path) -> NDArray[Any]:
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except Exception as error:  # numpy raises anything on broken bytes
        raise DataError(f"{path}: cannot be read as NPY ({reason(error)}).") from error
    if not isinstance(loaded, np.ndarray):
        raise DataError(f"{path}: holds several arrays; call it .npz.")
    return loaded


def _layout(shape: tuple[int, ...], domain: Domain, path: Path) -> _Layout:
    colour = len(shape) > 2 and shape[-1] in (1, 3)
    first = domain == "rgb" and not colour and len(shape) > 2 and shape[-3] == 3
    picture = 3 if colour or first else 2
    if not shape or 0 in shape or len(shape) not in (picture, picture + 1):
        raise DataError(
            f"{path}: an image has height, width and perhaps 1 or 3 channels, and a stack of them "
            f"one axis more in front; the shape here is {shape}."
        )
    return _Layout(shape[0] if len(shape) > picture else None, first)


def _planes(picture: NDArray[Any], layout: _Layout, path: Path, number: int) -> NDArray[Any]:
    if layout.channels_first:
        picture = picture.transpose(1, 2, 0)
    try:
        return image_planes(picture, path)
    except DataError as error:
        if layout.frames is None:
            raise
        told = str(error).removeprefix(f"{path}: ")
        raise DataError(f"{path}: frame {number} {told}") from None


def _told(layout: _Layout, shape: tuple[int, ...], times: str) -> tuple[str, ...]:
    if layout.frames is None:
        return ()
    return (f"stack of {layout.frames} frames in an array of shape {shape}, {times}",)


def _frames_name(path: Path, names: list[str]) -> str:
    named = [name for name in _FRAMES if name in names]
    pictures = named or [name for name in names if len(_member_shape(path, name)) >= 2]
    if len(pictures) != 1:
        raise DataError(
            f"{path}: does not tell which of its arrays ({', '.join(names) or 'none'}) holds the "
            f"frames; call that 'frames'."
        )
    return pictures[0]


def _member_shape(path: Path, name: str) -> tuple[int, ...]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
            return _header(stream, path)[0]
    except KeyError:
        raise DataError(f"{path}: holds {name}, which is no array.") from None
    except DataError:
        raise
    except Exception as error:  # zipfile and zlib raise anything on broken bytes
        raise DataError(f"{path}: cannot be read as NPZ ({reason(error)}).") from error


def _check_whole(path: Path, name: str) -> None:
    """Read an array to its end: the checksum is there, and would else be seen after the frames."""
    try:
        with zipfile.ZipFile(path) as archive:
            about = archive.getinfo(f"{name}.npy")
            check_growth(about.compress_size, about.file_size, path)
            with archive.open(about) as stream:
                shape, by_columns, _ = _header(stream, path)
                if by_columns:  # such a stack is read at once
                    _check_size(shape, path)
                while stream.read(_CHUNK):
                    pass
    except DataError:
        raise
    except Exception as error:  # zipfile and zlib raise anything on broken bytes
        raise DataError(f"{path}: cannot be read as NPZ ({reason(error)}).") from error


def _check_size(shape: tuple[int, ...], path: Path) -> None:
    """Refuse what would fill the memory, as a few packed kB can."""
    if math.prod(shape) > MOST_PIXELS:
        raise DataError(
            f"{path}: holds an array of the shape {shape}, more than is read at once "
            f"({MOST_PIXELS} numbers)."
        )


def _header(stream: Any, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        return read[npy.read_magic(stream)](stream)
    except Exception as error:  # numpy takes the header apart with Python's tokenizer
        raise DataError(f"{path}: cannot be read as NPZ ({reason(error)}).") from error


def _streamed(path: Path, name: str, *, whole: bool) -> Iterator[NDArray[Any]]:
    """Yield the frames of an archive's array one by one, unpacking no more than that."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
            shape, by_columns, dtype = _header(stream, path)
            if by_columns or dtype.hasobject or whole:
                stream.seek(0)
                array: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
                yield from [array] if whole else array
                return
            size = math.prod(shape[1:]) * dtype.itemsize
            for _ in range(shape[0]):
                yield np.frombuffer(stream.read(size), dtype=dtype).reshape(shape[1:])
    except DataError:
        raise
    except Exception as error:  # zipfile and zlib raise anything on broken bytes
        raise DataError(f"{path}: cannot be read as NPZ ({reason(error)}).") from error


def _seconds(
    small: Mapping[str, NDArray[Any]], count: int, path: Path
) -> tuple[NDArray[np.float64] | None, str]:
    """Return the time stamps, the first 0, and a note on where they come from."""
    times = [name for name in _TIMES if name in small]
    rates = [name for name in _RATES if name in small]
    if times:
        values = small[times[0]]
        if values.shape != (count,) or values.dtype.kind not in "iuf":
            raise DataError(
                f"{path}: {times[0]} has the shape {values.shape} and type {values.dtype}; it "
                f"holds one number of seconds for each of {count} frames."
            )
        seconds = values.astype(np.float64)
        if not np.isfinite(seconds).all() or (np.diff(seconds) < 0).any():
            raise DataError(f"{path}: the seconds in {times[0]} are not finite or not in order.")
        return seconds - seconds[0], f"time stamps of {times[0]!r}"
    if rates:
        value = small[rates[0]]
        if value.size != 1 or value.dtype.kind not in "iuf" or not value.item() > 0:
            raise DataError(f"{path}: {rates[0]} is one number of frames per second, above 0.")
        return np.arange(count) / float(value.item()), f"times by {rates[0]!r}"
    return None, "without time stamps"
