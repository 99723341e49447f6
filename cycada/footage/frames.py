"""What a camera file is read as: a stream of frames, and the options that say how."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray
from torch import Tensor

from cycada.errors import DataError, UsageError
from cycada.thermal import FREEZING_POINT, Unit, Window

Domain = Literal["rgb", "thermal"]
Rotation = Literal[0, 90, 180, 270]
Polarity = Literal["white-hot", "black-hot"]

Pixels = NDArray[Any]  # (C, H, W) uint8, uint16 or float32
_GIGABYTE, _MOST_GROWTH = 2**30, 200  # blank frames aside, cameras pack by less than 10
SAMPLED = 16  # frames by which a thermal source is understood


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture of a source."""

    number: int  # position in the source, from 0
    seconds: float | None  # since the first frame; None where the source has no time stamps
    name: str  # stem of its file in a folder of frames, else the number in six digits
    image: Tensor  # (C, H, W) as read_image gives it: uint8, uint16 or float32; upright
    fault: str = ""  # why a file among others cannot be read; then the image is empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Footage:
    """An opened source, and what was understood of it."""

    path: Path
    unit: Unit  # what the pixels of a thermal source count; "grey": no temperatures
    frame_rate: float | None  # per second, on average
    count: int | None  # frames, where it is known without decoding all
    size: tuple[int, int]  # height, width
    notes: tuple[str, ...]  # camera, unit and how it was found, emissivity, palette, ...
    stream: Callable[[], Iterator[Frame]] = field(repr=False, compare=False)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order, one at a time in constant memory; can be called again.

        Raises:
            DataError: the file breaks off, or a frame is not like those that were looked at when
                it was opened. Where frames are files of a folder, one that cannot be read is
                yielded with its fault.
        """
        return self.stream()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How to read a source; the defaults find out, and refuse what is in doubt."""

    domain: Domain = "thermal"
    unit: Unit | None = None  # what the pixels count; None: as the format says, else guessed
    rotate: Rotation = 0  # degrees clockwise that turn the frames upright
    polarity: Polarity | None = None  # of grey pictures; None: white-hot, doubts are noted
    palette: str | None = None  # name or file of the palette of colour pictures; None: refuse them
    emissivity: float | None = None  # instead of the one in the file
    reflected: float | None = None  # deg C, apparent, instead of the one in the file
    calibration: Path | None = None  # TOML file that makes temperatures of raw counts
    window: Window | None = None  # deg C of black and white in 8-bit pictures; None: unknown

    def stated(self) -> dict[str, Any]:
        """Return what was chosen, for a table that says what its rows depend on."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(self).items()
            if value is not None
        }

    def __post_init__(self) -> None:
        if self.domain == "rgb":
            for name in ("unit", "polarity", "palette", "emissivity", "reflected", "calibration",
                         "window"):  # fmt: skip
                if getattr(self, name) is not None:
                    raise UsageError(f"--{name} is about thermal sources, not RGB ones.")
        if self.rotate not in (0, 90, 180, 270):
            raise UsageError(f"--rotate turns by 0, 90, 180 or 270 degrees, not {self.rotate}.")
        if self.emissivity is not None and not 0 < self.emissivity <= 1:
            raise UsageError(f"--emissivity lies above 0 and up to 1, not at {self.emissivity:g}.")
        if self.reflected is not None and not (
            math.isfinite(self.reflected) and self.reflected > -FREEZING_POINT
        ):
            raise UsageError(f"--reflected is a temperature in deg C, not {self.reflected:g}.")
        if self.calibration is not None and self.unit is not None:
            raise UsageError("--calibration makes deg C of raw counts; leave out --unit.")


class Shot(NamedTuple):
    """One picture as its file holds it."""

    pixels: Pixels
    seconds: float | None
    name: str
    fault: str = ""  # why a file among others cannot be read; then there are no pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A source that a reader has opened, before its pixels are interpreted."""

    path: Path
    shots: Callable[[], Iterator[Shot]]  # all, in order, in constant memory
    sample: tuple[Shot, ...]  # some, by which the source is understood
    count: int | None = None
    frame_rate: float | None = None
    unit: Unit | None = None  # where the format leaves no doubt
    lossy: bool = False  # whether compression has changed the pixels
    has_emissivity: bool = False  # whether the reader heeds emissivity and reflected temperature
    notes: tuple[str, ...] = ()


def spread(count: int, wanted: int = SAMPLED) -> list[int]:
    """Return up to ``wanted`` of the numbers below ``count``, spread evenly, 0 the first."""
    step = max(1, math.ceil(count / wanted))
    return list(range(0, count, step))


def numbered(number: int) -> str:
    """Return the name of a frame that has none of its own."""
    return f"{number:06d}"


def check_growth(packed: int, unpacked: int, path: Path) -> None:
    """Refuse a file that grows without measure when it is unpacked: no recording does.

    Raises:
        DataError: It has grown beyond 1 GB and ``_MOST_GROWTH`` times its size.
    """
    if unpacked > _GIGABYTE and unpacked > _MOST_GROWTH * packed:
        raise DataError(
            f"{path}: unpacks {packed} bytes into {unpacked} or more, as no recording does."
        )
