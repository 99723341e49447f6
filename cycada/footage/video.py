"""Video files, through PyAV (FFmpeg)."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cycada.errors import DataError, reason
from cycada.footage.frames import SAMPLED, Domain, Pixels, Reading, Shot, numbered
from cycada.footage.packages import optional
from cycada.thermal import guess_unit

SUFFIXES = (
    ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".nut", ".webm", ".wmv",
)  # fmt: skip

_LOSSLESS = ("ffv1", "ffvhuff", "huffyuv", "png", "qtrle", "rawvideo", "utvideo")
_WHOLE_COLOUR = ("gray", "rgb", "bgr", "gbr", "argb", "pal")  # beginnings of formats' names
_DEEP = ("gray9", "gray10", "gray12", "gray14", "gray16")
_TWO_IN_ONE = "yuyv422"  # UVC cameras of InfiRay and TOPDON: a picture above its temperatures
_DURATION = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")  # of a stream, as Matroska files tag it
_COVER = 0x400  # disposition of a stream that is a still picture of the file (FFmpeg)
_LATE = 1.0  # second by which a file may end before its header says


class _About(NamedTuple):
    """What the header and the first frame tell of a video."""

    convert: Callable[[Any], Pixels]
    turns: int  # quarter turns against the clock that set the frames upright
    ends: float | None  # second at which the file should end, where that can be told
    frames: int | None
    rate: float | None  # frames per second, on average
    codec: str
    layout: str  # of the pixels
    note: str


def open_video(path: Path, domain: Domain) -> Reading:
    """Open a video file.

    Grey with more than 8 bits keeps its values; everything else becomes 8-bit RGB or grey. The
    rotation in the metadata is applied. Times are those of the frames, at irregular rates too.

    Raises:
        DataError: the file is no video, holds several, is mirrored, or its kind of pixels would
            lose values.
        UsageError: PyAV is not installed.
    """
    av = optional("av", extra="video", what="a video")
    try:
        with av.open(str(path)) as container:
            about = _about(container, domain, path)
    except DataError:
        raise
    except Exception as error:  # FFmpeg's errors are of many kinds
        raise DataError(f"{path}: cannot be read as a video ({reason(error)}).") from error

    def shots() -> Iterator[Shot]:
        return _shots(path, av, about)

    sample = tuple(islice(shots(), SAMPLED if domain == "thermal" else 1))
    turned = f", turned by {-90 * about.turns % 360} degrees" if about.turns else ""
    lossless = about.codec in _LOSSLESS and about.layout.startswith(_WHOLE_COLOUR)
    return Reading(
        path=path, shots=shots, sample=sample, count=about.frames, frame_rate=about.rate,
        lossy=not lossless,
        notes=(f"video, {about.codec}, {about.layout}: {about.note}{turned}",),
    )  # fmt: skip


def _shots(path: Path, av: Any, about: _About) -> Iterator[Shot]:
    number, times = 0, _Times()
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(_stream(container, path)):
                pixels = np.rot90(about.convert(frame), about.turns, axes=(1, 2))
                yield Shot(pixels, times.seconds(frame), numbered(number))
                number += 1
    except Exception as error:  # FFmpeg's errors are of many kinds
        raise DataError(
            f"{path}: breaks off after {number} frames ({reason(error)}); to use what is there, "
            f"copy it into a whole file: ffmpeg -i {path.name} -c copy whole{path.suffix}"
        ) from error
    if about.ends is not None and times.last is not None and times.end < about.ends - _LATE:
        raise DataError(
            f"{path}: ends after {number} frames at {times.end:.1f} s, though its header says "
            f"{about.ends:.1f} s; it was cut off. To use what is there, copy it into a whole file: "
            f"ffmpeg -i {path.name} -c copy whole{path.suffix}"
        )


class _Times:
    """Keeps the time stamps of the frames that have passed."""

    def __init__(self) -> None:
        self.first: Fraction | None = None
        self.last: Fraction | None = None
        self.step = Fraction(0)

    @property
    def end(self) -> float:
        """When the last frame ends, if it lasts as long as the one before, by the file's clock."""
        return float((self.last or 0) + self.step)

    def seconds(self, frame: Any) -> float | None:
        """Return the time of a frame since the first one."""
        if frame.pts is None:
            return None
        now = Fraction(frame.pts) * Fraction(frame.time_base)
        if self.first is None or self.last is None:
            self.first = now
        else:
            self.step = now - self.last
        self.last = now
        return float(now - self.first)


def _stream(container: Any, path: Path) -> Any:
    streams = [each for each in container.streams.video if not each.disposition.value & _COVER]
    if not streams:
        raise DataError(f"{path}: holds no pictures.")
    if len(streams) > 1:
        raise DataError(
            f"{path}: holds {len(streams)} videos; save the one that is meant as a file, the "
            f"first with ffmpeg -i {path.name} -map 0:v:0 -c copy one{path.suffix}"
        )
    return streams[0]


def _about(container: Any, domain: Domain, path: Path) -> _About:
    stream = _stream(container, path)
    first = next(container.decode(stream), None)
    if first is None:
        raise DataError(f"{path}: holds no frame.")
    if _is_mirrored(first):
        raise DataError(f"{path}: its metadata mirror it; save it the right way round first.")
    turns, odd = divmod(round(first.rotation), 90)
    if odd:
        raise DataError(
            f"{path}: its metadata turn it by {first.rotation} degrees; turn it upright first."
        )
    convert, note = _conversion(first, domain, path)
    return _About(
        convert=convert, turns=turns, ends=_end(container, stream), note=note,
        frames=stream.frames or None,
        rate=float(stream.average_rate) if stream.average_rate else None,
        codec=stream.codec_context.name, layout=first.format.name,
    )  # fmt: skip


def _end(container: Any, stream: Any) -> float | None:
    """Return the second at which the pictures end by the header, ``None`` where it does not tell.

    The duration of an AVI file is reckoned from what is there of it, but its header counts the
    frames. Sound may go on when the pictures have ended, so a duration of both tells nothing.
    """
    kind, tagged = container.format.name, _DURATION.match(stream.metadata.get("DURATION", ""))
    if kind == "avi":
        rate = stream.average_rate
        return float(stream.frames / rate) if stream.frames and rate else None
    if kind.startswith("mov") and stream.duration is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    if kind.startswith("matroska") and tagged:
        hours, minutes, seconds = map(float, tagged.groups())
        return 3600 * hours + 60 * minutes + seconds
    alone = len(container.streams) == 1 and container.duration is not None
    return container.duration / 1_000_000 if alone else None


def _is_mirrored(frame: Any) -> bool:
    """Tell whether the display matrix, 3 x 3 numbers with fixed points, turns left into right."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data))
            return bool(a * d - b * c < 0)
    return False


def _conversion(first: Any, domain: Domain, path: Path) -> tuple[Callable[[Any], Pixels], str]:
    name = first.format.name
    if name.startswith(_DEEP):
        if domain == "rgb":
            raise DataError(f"{path}: is grey with more than 8 bits, which no RGB video is.")
        return _as_it_is, "more than 8 bits, kept"
    if domain == "thermal" and name == _TWO_IN_ONE and _lower_half_is_thermal(first):
        return _lower_half, "temperatures in the lower half of each frame, the picture left out"
    if domain == "thermal" and name == "gray":
        return _as_it_is, "8-bit grey"
    if name.startswith("grayf32") and domain == "thermal":
        return _as_it_is, "floats, kept"
    deep = " (more bits are lost)" if first.format.components[0].bits > 8 else ""
    return _rgb, f"8-bit colour{deep}"


def _as_it_is(frame: Any) -> Pixels:
    return np.asarray(frame.to_ndarray())[None]


def _rgb(frame: Any) -> Pixels:
    # Contiguous planes: sums over strided channels take ten times as long.
    return np.ascontiguousarray(frame.to_ndarray(format="rgb24").transpose(2, 0, 1))


def _lower_half(frame: Any) -> Pixels:
    pairs = np.ascontiguousarray(frame.to_ndarray(), dtype=np.uint8)
    counts = pairs.reshape(pairs.shape[0], -1).view("<u2")
    return counts[len(counts) // 2 :].astype(np.uint16)[None]


def _lower_half_is_thermal(frame: Any) -> bool:
    if frame.height % 2:
        return False
    median = float(np.median(_lower_half(frame)))
    return guess_unit(median, integer=True) in ("kelvin64", "kelvin16")
