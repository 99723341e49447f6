"""Write what was drawn as a video, or as pictures."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cycada.errors import DataError, UsageError
from cycada.files import replacing, temporary_beside
from cycada.footage.packages import optional
from cycada.report.images import Pixels

_QUALITY = "20"  # constant rate factor of H.264: no visible loss
_RATE_STEPS = 1000
_GIF_COLOURS = 256
_FASTEST_GIF = 50  # frames per second; viewers slow down what is faster
_LONGEST_GIF = 2000  # frames, which are held in memory here and there


def write_video(path: Path, pictures: Iterable[Pixels], *, rate: float) -> None:
    """Write an MP4 (H.264) whole or not at all.

    Args:
        path: Where to, with the suffix ``.mp4``.
        pictures: ``(height, width, 3)`` uint8 each, of one size with even sides.
        rate: Frames per second.

    Raises:
        UsageError: PyAV is not installed.
        DataError: The file cannot be written.
    """
    av = optional("av", extra="video", what="writing a video")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path, lone=True) as temporary, av.open(str(temporary), "w") as container:
            stream = container.add_stream(
                "libx264", rate=Fraction(rate).limit_denominator(_RATE_STEPS)
            )
            stream.pix_fmt, stream.options = "yuv420p", {"crf": _QUALITY}
            for number, picture in enumerate(pictures):
                if number == 0:
                    stream.height, stream.width = picture.shape[:2]
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (OSError, av.FFmpegError) as error:
        raise DataError(f"{path}: cannot be written ({error}).") from error


def check_gif(path: Path, *, frames: int, rate: float) -> None:
    """Refuse a GIF that viewers would not show as it is meant.

    Raises:
        UsageError: It has more frames, or more of them per second, than they bear.
    """
    if rate > _FASTEST_GIF:
        raise UsageError(
            f"{path}: a GIF has {_FASTEST_GIF} frames per second at most, not {rate:g}; write an "
            "MP4."
        )
    if frames > _LONGEST_GIF:
        raise UsageError(
            f"{path}: a GIF of {frames} frames is more than most viewers bear (here at most "
            f"{_LONGEST_GIF}); write an MP4."
        )


def write_gif(
    path: Path, pictures: Iterable[Pixels], *, some: Sequence[Pixels],
    colours: Sequence[tuple[int, ...]], rate: float,
) -> None:  # fmt: skip
    """Write an animated GIF whole or not at all.

    All frames share 256 colours, and none is dithered: both would flicker. A frame lasts a whole
    number of hundredths of a second, so times are rounded, but do not drift.

    Args:
        path: Where to, with the suffix ``.gif``.
        pictures: ``(height, width, 3)`` uint8 each, of one size; held in memory with 8 bits.
        some: Those by which the colours are chosen.
        colours: Red, green and blue from 0 to 255 of colours that must be among them.
        rate: Frames per second.

    Raises:
        DataError: The file cannot be written.
    """
    together = Image.fromarray(np.concatenate(some))
    left = _GIF_COLOURS - len(colours)
    chosen = together.quantize(left, method=Image.Quantize.MEDIANCUT).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*(level for colour in colours for level in colour), *chosen])
    flat = [_indexed(picture, palette, colours) for picture in pictures]
    ends = [round(100 * number / rate) for number in range(len(flat) + 1)]
    lasts = [10 * (end - begin) for begin, end in pairwise(ends)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, lone=True) as temporary:
            flat[0].save(
                temporary, save_all=True, append_images=flat[1:], duration=lasts, loop=0,
                optimize=False,
            )  # fmt: skip
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}).") from error


def _indexed(
    picture: Pixels, palette: Image.Image, colours: Sequence[tuple[int, ...]]
) -> Image.Image:
    """Return a picture in the colours of a palette, which begins with ``colours``.

    Pillow looks for the nearest colour by fewer bits than there are. A colour that is in
    ``colours`` is kept exactly: paper stays white.
    """
    near = Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE)
    held, first = np.unique(_packed(np.array(colours)), return_index=True)
    wanted = _packed(picture)
    place = np.searchsorted(held, wanted).clip(max=len(held) - 1)
    numbers = np.where(held[place] == wanted, first[place], np.asarray(near)).astype(np.uint8)
    indexed = Image.fromarray(numbers, "P")
    indexed.putpalette(near.getpalette() or [])
    return indexed


def _packed(pixels: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
    return np.asarray((red << 16) | (green << 8) | blue)


def write_pictures(folder: Path, pictures: Iterable[tuple[str, Pixels]]) -> None:
    """Write PNG files into a new folder, which appears when all are there.

    Args:
        folder: Where to.
        pictures: Name without suffix, and ``(height, width, 3)`` uint8.

    Raises:
        DataError: A file cannot be written.
    """
    part = temporary_beside(folder)
    try:
        part.mkdir(parents=True)
        for name, picture in pictures:
            Image.fromarray(picture).save(part / f"{name}.png")
        part.rename(folder)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
