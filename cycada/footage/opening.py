"""Open any camera file as a stream of frames, and find the camera files in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from cycada.errors import DataError
from cycada.files import check_regular
from cycada.footage import arrays, cptv, flir, pictures, tables, video
from cycada.footage.frames import Domain, Footage, Reading, ReadOptions, Shot
from cycada.footage.interpreting import interpret
from cycada.image_reading import IMAGE_SUFFIXES, count_pages, read_size

SUFFIXES = frozenset({*IMAGE_SUFFIXES, *video.SUFFIXES, *tables.SUFFIXES, cptv.SUFFIX, ".npz"})
"""Suffixes (in lower case) of the files that are read."""


class Sources(NamedTuple):
    """The camera files below a folder, each in the order of their paths."""

    recordings: tuple[Path, ...]  # files of several frames
    folders: tuple[Path, ...]  # whose images are the frames of one recording
    images: tuple[Path, ...]  # single images: all that lie in none of these folders


def open_footage(path: Path | str, options: ReadOptions | None = None) -> Footage:
    """Open a file, or a folder of numbered images, and say what was understood of it.

    Args:
        path: PNG, JPEG, TIFF (also of several pages), NPY, NPZ, CSV, CPTV, a video file, or a
            folder whose images are the frames of one recording.
        options: how to read it; ``None`` for the defaults.

    Returns:
        The source; its frames have the values of the file where these are temperatures in a
        known unit or grey, and are float32 in deg C where a calibration, a radiometric JPEG or a
        stated window has made them.

    Raises:
        DataError: the file is missing, broken, of an unknown kind, or in doubt.
        UsageError: an option is impossible, or an optional package is missing.
    """
    options = options or ReadOptions()
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder.")
    if path.is_dir():
        reading = pictures.open_folder(path, lambda file: _only_shot(file, options))
    else:
        reading = _reading(path, options)
    return interpret(reading, options)


def find_sources(folder: Path, *, domain: Domain = "thermal") -> Sources:
    """Return the camera files below a folder, searched recursively; hidden ones do not count.

    CSV files count where they look like maps of temperatures.

    Raises:
        DataError: no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder.")
    recordings: list[Path] = []
    folders: list[Path] = []
    images: list[Path] = []
    for place, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        files = [Path(place, name) for name in sorted(names) if not name.startswith(".")]
        here: list[Path] = []
        for file in files:
            if _is_camera_file(file):
                (recordings if holds_several(file, domain=domain) else here).append(file)
        if _is_series(here, domain):
            folders.append(Path(place))
        else:
            images += here
    if not (recordings or folders or images):
        raise DataError(f"{folder}: holds no camera file ({', '.join(sorted(SUFFIXES))}).")
    return Sources(tuple(sorted(recordings)), tuple(sorted(folders)), tuple(sorted(images)))


def _reading(path: Path, options: ReadOptions) -> Reading:
    suffix = path.suffix.lower()
    check_regular(path)
    if suffix in IMAGE_SUFFIXES:
        return _picture(path, options)
    if suffix == ".npz":
        return arrays.open_archive(path, options.domain)
    if suffix in video.SUFFIXES:
        return video.open_video(path, options.domain)
    if suffix not in (*tables.SUFFIXES, cptv.SUFFIX):
        known = ", ".join(sorted(SUFFIXES))
        raise DataError(
            f"{path}: {suffix or 'no suffix'} is no format that is read; known are {known}."
        )
    if options.domain == "rgb":
        raise DataError(f"{path}: is a thermal file, not an RGB one.")
    return cptv.open_cptv(path) if suffix == cptv.SUFFIX else tables.open_table(path)


def _picture(path: Path, options: ReadOptions) -> Reading:
    suffix = path.suffix.lower()
    if suffix in pictures.TIFF and count_pages(path) > 1:
        return pictures.open_pages(path)
    if suffix == ".npy":
        return arrays.open_array(path, options.domain)
    if options.domain == "thermal" and flir.is_radiometric(path):  # by any name
        return flir.open_flir(path, options)
    return pictures.open_picture(path)


def _only_shot(file: Path, options: ReadOptions) -> Shot:
    reading = _reading(file, options)
    if reading.count != 1 or reading.unit is not None:
        what = "several frames" if reading.count != 1 else "its own calibration"
        raise DataError(f"{file}: holds {what}, so it is no frame of a folder; open it by itself.")
    return reading.sample[0]


def holds_several(file: Path, *, domain: Domain = "thermal") -> bool:
    """Tell whether a file holds several frames, by its kind or header.

    A broken file holds none; opening it tells what is wrong.
    """
    suffix = file.suffix.lower()
    try:
        check_regular(file)
        if suffix == ".npy":
            return arrays.stack_length(file, domain) is not None
        if suffix in pictures.TIFF:
            return count_pages(file) > 1
    except DataError:
        return False
    return suffix in video.SUFFIXES or suffix in (cptv.SUFFIX, ".npz")


def _is_camera_file(file: Path) -> bool:
    suffix = file.suffix.lower()
    return suffix in SUFFIXES and (suffix not in tables.SUFFIXES or tables.may_be_map(file))


def _is_series(files: Sequence[Path], domain: Domain) -> bool:
    """Tell whether the images of a folder are the frames of one recording."""
    if not pictures.frame_numbers(files):
        return False
    first = files[0]
    if domain == "thermal" and first.suffix.lower() in pictures.JPEG and flir.is_radiometric(first):
        return False  # stills, whose sizes and settings may differ
    if first.suffix.lower() in tables.SUFFIXES:
        return False
    return _size_of_first(files) == _size_of_first(reversed(files))


def _size_of_first(files: Iterable[Path]) -> tuple[int, int] | None:
    """Return the size of the first image that can be read; broken ones are told of later."""
    return next(filter(None, map(_size, files)), None)


def _size(file: Path) -> tuple[int, int] | None:
    try:
        return read_size(file)
    except DataError:
        return None
