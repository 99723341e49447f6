"""FLIR's radiometric JPEGs: raw counts and calibration in the file of a colour picture."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cycada.errors import DataError, reason
from cycada.files import check_regular
from cycada.footage.frames import Reading, ReadOptions, Shot, numbered
from cycada.footage.packages import optional
from cycada.thermal import FREEZING_POINT

_MARK = b"FLIR\x00"  # begins a segment of the JPEG that belongs to the camera's file
_MARK_LENGTH = 8  # with the number of the segment and of the last one
_RAW, _CALIBRATION, _PALETTE = 1, 32, 34  # types of records
_CALLED = MappingProxyType({_RAW: "counts", _CALIBRATION: "calibration", _PALETTE: "palette"})
_HEADER = 32  # bytes before the counts
_MODEL = slice(212, 244)  # name of the camera in the calibration
_PNG = b"\x89PNG"
_ORIENTATION, _TURNS = 0x0112, MappingProxyType({3: 2, 6: 3, 8: 1})  # of EXIF, and what it means
_CLEARLY = 2.0  # times as rough


class Thermogram(NamedTuple):
    """What a radiometric JPEG holds."""

    celsius: NDArray[np.float64]  # (H, W)
    notes: tuple[str, ...]


def is_radiometric(path: Path) -> bool:
    """Tell whether a JPEG holds a camera's file."""
    try:
        check_regular(path)
        with path.open("rb") as stream, Image.open(stream) as picture:
            return any(_is_camera(name, data) for name, data in getattr(picture, "applist", ()))
    except Exception:  # noqa: BLE001  # decoders raise anything on broken bytes; their reader tells
        return False


def open_flir(path: Path, options: ReadOptions) -> Reading:
    """Open a radiometric JPEG; its one frame is in deg C.

    The temperatures are flyr's: Planck's law with the camera's constants, the emissivity, the
    reflected temperature, the air and the window in the file.

    Raises:
        DataError: the file is broken, or its temperatures are impossible.
        UsageError: flyr is not installed.
    """

    def shots() -> Iterator[Shot]:
        celsius = _thermogram(path, options).celsius
        yield Shot(celsius.astype(np.float32)[None], None, numbered(0))

    found = _thermogram(path, options)
    return Reading(
        path=path, shots=shots, sample=(Shot(found.celsius.astype(np.float32)[None], None, ""),),
        count=1, unit="celsius", has_emissivity=True, notes=found.notes,
    )  # fmt: skip


def palette(path: Path) -> NDArray[np.float64]:
    """Return the palette of the colour picture, ``(N, 3)`` RGB from cold to hot.

    Raises:
        DataError: the file names none, or one that flyr cannot read.
    """
    parser = optional("flyr.palette_info", extra="flir", what="the palette of a radiometric JPEG")
    try:
        record = _record(_camera_file(path), _PALETTE)
        found = parser.parse_palette_info(io.BytesIO(record), (0, _PALETTE, 0, len(record)))
        return np.asarray(found.rgbs, dtype=np.float64)
    except Exception as error:  # flyr raises anything on records it does not know
        raise DataError(f"{path}: holds no palette that can be read.") from error


def _thermogram(path: Path, options: ReadOptions) -> Thermogram:
    load = partial(optional, extra="flir", what="a radiometric JPEG")
    thermal, thermogram = load("flyr.thermal"), load("flyr.thermogram")
    try:
        camera = _camera_file(path)
        raw, order = _counts(_record(camera, _RAW))
        info = _little_endian(_record(camera, _CALIBRATION))
        settings = thermal.parse_camera_info(io.BytesIO(info), (0, _CALIBRATION, 0, len(info)))
        _override(settings, options)
        with np.errstate(invalid="ignore", divide="ignore"):
            celsius = np.asarray(thermogram.FlyrThermogram(raw, settings).celsius)
    except Exception as error:  # decoders raise anything on broken bytes
        raise DataError(
            f"{path}: cannot be read as a radiometric JPEG ({reason(error)})."
        ) from error
    impossible = float((~np.isfinite(celsius)).mean())
    if impossible:
        raise DataError(
            f"{path}: {100 * impossible:.2g}% of its counts are of no temperature by the "
            f"calibration, emissivity and reflected temperature in use."
        )
    notes = (_told(info, settings, options), order)
    return Thermogram(np.rot90(celsius, _quarter_turns(path)), notes)


def _is_camera(name: str, data: bytes) -> bool:
    return name == "APP1" and data.startswith(_MARK) and len(data) > _MARK_LENGTH


def _camera_file(path: Path) -> bytes:
    """Return the camera's own file, put together from its segments in the JPEG."""
    with path.open("rb") as stream, Image.open(stream) as picture:
        all_segments = getattr(picture, "applist", ())
    segments = [data for name, data in all_segments if _is_camera(name, data)]
    last = segments[0][_MARK_LENGTH - 1]
    parts = {data[_MARK_LENGTH - 2]: data[_MARK_LENGTH:] for data in segments}
    missing = [str(number) for number in range(last + 1) if number not in parts]
    if missing:
        raise ValueError(f"part {missing[0]} of {last + 1} of its thermal data is missing")
    return b"".join(parts[number] for number in range(last + 1))


def _quarter_turns(path: Path) -> int:
    """Return by how many quarter turns against the clock the metadata set the picture upright."""
    with Image.open(path) as picture:
        return _TURNS.get(picture.getexif().get(_ORIENTATION, 1), 0)


def _record(camera: bytes, kind: int) -> bytes:
    """Return the record of a kind from the camera's file.

    The header tells at byte 24 where the directory begins and how many entries it has; an entry
    of 32 bytes holds the kind, and from byte 12 where its record lies and how long it is. (flyr
    reads from the beginning of the header instead, and misses the last two entries.)
    """
    if camera[:4] not in (b"FFF\x00", b"AFF\x00"):
        raise ValueError("its thermal data are of an unknown kind")
    directory, count = struct.unpack_from(">2I", camera, 24)
    for number in range(count):
        entry = directory + 32 * number
        (found,) = struct.unpack_from(">H", camera, entry)
        start, length = struct.unpack_from(">2I", camera, entry + 12)
        if found == kind and start + length > len(camera):
            raise ValueError("its thermal data break off")
        if found == kind:
            return camera[start : start + length]
    raise ValueError(f"it holds no {_CALLED[kind]}")


def _byte_order(record: bytes) -> str:
    """Return the order in which a record counts; its first number is 2, the bytes of a pixel."""
    return ">" if record[:2] == b"\x00\x02" else "<"


def _little_endian(record: bytes) -> bytes:
    """Return a calibration record as flyr reads it.

    flyr takes every record for little-endian. Those of some cameras (ThermaCAM) are big-endian,
    and nearly all that matters in them are words of 4 bytes. The camera's name is left as it is.
    """
    if _byte_order(record) == "<":
        return record
    words = np.frombuffer(record[: len(record) // 4 * 4], dtype=">u4").astype("<u4").tobytes()
    return words[: _MODEL.start] + record[_MODEL] + words[_MODEL.stop :]


def _counts(record: bytes) -> tuple[NDArray[np.int64], str]:
    """Return the raw counts ``(H, W)``, and a note on the order of their bytes.

    Counts stored as PNG mostly have their bytes swapped, but not those of every camera, and
    neither the type nor the order of the record tells for sure. Thermal pictures are smooth, and
    become noise when the bytes change places; so the smoother order is right.
    """
    order = _byte_order(record)
    width, height = (int(side) for side in np.frombuffer(record[2:6], dtype=f"{order}u2"))
    stored = record[_HEADER:]
    if stored.startswith(_PNG):
        with Image.open(io.BytesIO(stored)) as picture:
            usual = np.asarray(picture)
        if usual.dtype.itemsize != 2:
            raise ValueError(f"its raw data are a PNG of the kind {usual.dtype}, not of 16 bits")
        usual = usual.astype(np.uint16)
        if order == "<":
            usual = usual.byteswap()
        kind = "a PNG"
    else:
        usual = np.frombuffer(stored, dtype=f"{order}u2", count=width * height)
        usual = usual.reshape(height, width).astype(np.uint16)
        kind = "plain numbers"
    if usual.shape != (height, width):
        raise ValueError(f"its raw data are {usual.shape[::-1]}, not {width} x {height}")
    other = usual.byteswap()
    unusual = _roughness(usual) > _CLEARLY * _roughness(other)
    swapped = (kind == "a PNG" and order == "<") != unusual
    note = f"raw counts {width} x {height} in {kind}, bytes {'swapped' if swapped else 'in order'}"
    if unusual:
        note += " (not as in most files: it is the order that makes a smooth picture)"
    return (other if unusual else usual).astype(np.int64), note


def _roughness(counts: NDArray[np.uint16]) -> float:
    """Return the mean step between neighbours."""
    values = counts.astype(np.float64)
    steps = (np.abs(np.diff(values, axis=axis)) for axis in (0, 1))
    return float(sum(each.mean() for each in steps if each.size))


def _override(settings: dict[str, Any], options: ReadOptions) -> None:
    if options.emissivity is not None:
        settings["emissivity"] = options.emissivity
    if options.reflected is not None:
        settings["reflected_apparent_temperature"] = options.reflected + FREEZING_POINT


def _told(info: bytes, settings: dict[str, Any], options: ReadOptions) -> str:
    model = info[_MODEL].split(b"\x00")[0].decode("ascii", "replace").strip()
    stated = {True: " as stated", False: ""}
    reflected = settings["reflected_apparent_temperature"] - FREEZING_POINT
    return (
        f"FLIR radiometric JPEG{f' of a {model}' if model else ''}: emissivity "
        f"{settings['emissivity']:.2f}{stated[options.emissivity is not None]}, reflected "
        f"{reflected:.1f} deg C{stated[options.reflected is not None]}, distance "
        f"{settings['object_distance']:.1f} m"
    )
