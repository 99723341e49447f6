"""Image files, TIFFs of several pages, and folders of numbered images."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from cycada.errors import DataError
from cycada.files import check_table
from cycada.footage.frames import SAMPLED, Reading, Shot, numbered, spread
from cycada.image_reading import IMAGE_SUFFIXES, count_pages, read_image, read_pages

TIMES_NAME = "times.csv"
"""Time stamps of a folder of frames: columns frame (the number in the name) and seconds."""

JPEG = (".jpg", ".jpeg")
TIFF = (".tif", ".tiff")


def open_picture(path: Path) -> Reading:
    """Open a file that holds one image."""

    def shots() -> Iterator[Shot]:
        yield Shot(read_image(path).numpy(), None, path.stem)

    return Reading(
        path=path, shots=shots, sample=tuple(shots()), count=1, lossy=path.suffix.lower() in JPEG
    )


def open_pages(path: Path) -> Reading:
    """Open a TIFF whose pages are frames."""

    def shots() -> Iterator[Shot]:
        for number, page in enumerate(read_pages(path)):
            yield Shot(page.numpy(), None, numbered(number))

    count = count_pages(path)
    return Reading(
        path=path, shots=shots, sample=tuple(islice(shots(), SAMPLED)), count=count,
        notes=(f"TIFF of {count} pages, each a frame, without time stamps",),
    )  # fmt: skip


def open_folder(path: Path, read: Callable[[Path], Shot]) -> Reading:
    """Open a folder whose images are the frames of one recording, in the order of their numbers.

    ``times.csv``, as ``cycada convert`` writes it, gives the time stamps.

    Args:
        path: of the folder.
        read: makes a shot of one of its images.

    Raises:
        DataError: no images, images whose names are not those of one series, or none of those
            that were looked at can be read. A single one that cannot be read is a fault.
    """
    images = images_in(path)
    numbers = frame_numbers(images)
    if numbers is None:
        names = f"{images[0].name}, ..." if images else "none"
        raise DataError(
            f"{path}: its images ({names}) are no frames of one recording: those are called alike "
            f"but for one number, such as face_0001.png and face_0002.png."
        )
    times = _times(path / TIMES_NAME, numbers)
    files = [file for _, file in sorted(zip(numbers, images, strict=True))]
    seconds = [times[number] - times[min(times)] for number in sorted(numbers)] if times else None

    def shot(at: int) -> Shot:
        pixels, fault = np.empty(0, dtype=np.uint8), ""
        try:
            pixels = read(files[at]).pixels
        except DataError as error:
            fault = str(error).removeprefix(f"{files[at]}: ").rstrip(".")
        return Shot(pixels, None if seconds is None else seconds[at], files[at].stem, fault)

    def shots() -> Iterator[Shot]:
        return map(shot, range(len(files)))

    looked_at = [shot(at) for at in spread(len(files))]
    sample = tuple(one for one in looked_at if not one.fault)
    if not sample:
        raise DataError(f"{files[0]}: {looked_at[0].fault}.")

    note = f"folder of {len(files)} images, each a frame, {files[0].name} the first"
    rate = (len(files) - 1) / seconds[-1] if seconds and seconds[-1] > 0 else None
    return Reading(
        path=path, shots=shots, sample=sample, count=len(files),
        frame_rate=rate, lossy=any(file.suffix.lower() in JPEG for file in files),
        notes=(f"{note}; {'time stamps of times.csv' if seconds else 'no time stamps'}",),
    )  # fmt: skip


def images_in(folder: Path) -> list[Path]:
    """Return the image files that lie directly in a folder, hidden ones apart, by name."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
    )


def frame_numbers(images: Sequence[Path]) -> list[int] | None:
    """Return the numbers of frames that are named alike but for the last number in their names.

    ``None`` where the names are not those of one series of two or more.
    """
    matches = [_last_number(file.stem) for file in images]
    frames = {(before, after) for before, _, after in matches}
    numbers = [number for _, number, _ in matches if number is not None]
    alike = len(frames) == 1 and len(numbers) == len(images) == len(set(numbers))
    same_kind = len({file.suffix.lower() for file in images}) == 1
    return numbers if alike and same_kind and len(numbers) > 1 else None


def _last_number(stem: str) -> tuple[str, int | None, str]:
    found = re.fullmatch(r"(.*?)(\d+)(\D*)", stem)
    return (found[1], int(found[2]), found[3]) if found else (stem, None, "")


def _times(file: Path, numbers: Sequence[int]) -> dict[int, float]:
    """Return the seconds of each frame, empty where there is no such file or it tells none.

    Raises:
        DataError: the file is wrong, or does not tell of every frame.
    """
    if not file.exists():
        return {}
    try:
        check_table(file)
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        known = {int(row["frame"]): float(row["seconds"]) for row in rows if row["seconds"]}
    except (OSError, KeyError, TypeError, ValueError, csv.Error):
        raise DataError(
            f"{file}: is no table of time stamps: it has the columns frame and seconds."
        ) from None
    for number, seconds in known.items():
        if not math.isfinite(seconds):
            raise DataError(f"{file}: the time of frame {number} is {seconds}, which is none.")
    missing = [number for number in numbers if number not in known]
    if known and missing:
        raise DataError(f"{file}: tells no time of frame {missing[0]}, of which there is an image.")
    return {number: known[number] for number in numbers} if known else {}
