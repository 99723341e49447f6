"""The images that are to be indexed: found, or cut out of whole pictures, and readable."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from cycada.data.faces.crops import CropRow
from cycada.data.folders import Found, find_images
from cycada.data.index import DOMAINS, Domain, fault_of_path
from cycada.data.landmarks import Landmarks
from cycada.data.matching import CutOut
from cycada.errors import DataError
from cycada.footage import ReadOptions
from cycada.image_reading import read_image
from cycada.progress import Progress
from cycada.rejecting import Rejections, fault_of_file
from cycada.stages.importing import CropOptions, Cropped, crop_sources, passed_over
from cycada.stages.index_options import IndexOptions
from cycada.stopping import threads

_THREADS = 2


class Crops(NamedTuple):
    """What was cut out of all domains."""

    rows: tuple[CropRow, ...]  # of ``crops.csv``
    landmarks: Landmarks | None  # by the paths of the rows
    notes: tuple[str, ...]
    rejected: Rejections


def with_faces_cut_out(options: IndexOptions, progress: Progress) -> tuple[IndexOptions, Crops]:
    """Return the options for the crops, and what is known of these."""
    made: dict[Domain, Cropped] = {}
    rejected = Rejections(options.out, limit=options.limit, what="files")
    rejected.begin()
    for domain in DOMAINS:
        folder = options.rgb if domain == "rgb" else options.thermal
        if folder is None:
            continue
        read = ReadOptions(domain="rgb")
        if domain == "thermal":
            read = replace(options.read, unit=options.unit)
        cropping = CropOptions(faces=options.crop, read=read, every=options.every)
        made[domain] = crop_sources(
            folder, options.out, cropping, rejected=rejected, progress=progress
        )
    rgb, thermal = made.get("rgb"), made.get("thermal")
    changed = replace(
        options, rgb=rgb and rgb.folder, thermal=thermal and thermal.folder,
        unit=thermal.unit if thermal else options.unit,
    )  # fmt: skip
    known = [part.landmarks for part in made.values() if part.landmarks]  # of the same names
    places = {path: points for table in known for path, points in table.places.items()}
    return changed, Crops(
        tuple(row for part in made.values() for row in part.rows),
        Landmarks(known[0].names, places) if known else None,
        tuple(note for part in made.values() for note in part.notes),
        rejected,
    )


def names_of_crops(given: IndexOptions, options: IndexOptions, crops: Sequence[CropRow]) -> CutOut:
    """Return what labels may name crops by.

    Those of a file with frames are numbered from 0; those of a folder of frames keep their names.
    """
    folders = ((options.rgb, given.rgb), (options.thermal, given.thermal))
    made = {row.source: row.path for row in crops if row.path and row.frame is not None}
    out = options.out
    return CutOut(
        folders={cut.resolve(): whole.resolve() for cut, whole in folders if cut and whole},
        from_zero={
            (out / path).resolve().parent
            for source, path in made.items()
            if (out / source).is_file()
        },
    )


def images_to_index(
    options: IndexOptions, crops: Crops | None
) -> tuple[list[Found], tuple[str, ...]]:
    """Return the images to index, and notes; of crops those of this run, not of one before."""
    if crops:
        root = options.out.resolve()
        cut = {os.path.normpath(root / row.path) for row in crops.rows if row.path}
        return [image for image in _images(options) if str(image.file) in cut], crops.notes
    notes = (*passed_over(options.rgb), *passed_over(options.thermal))
    try:
        return _images(options), notes
    except DataError as error:
        raise DataError(" ".join((str(error), *notes))) from None


def readable(
    found: Sequence[Found],
    options: IndexOptions,
    rejected: Rejections,
    progress: Progress,
    *,
    left_out: Collection[Path],
) -> tuple[list[Found], list[torch.dtype]]:
    """Decode every image once: a file broken in the middle should not stop a training.

    Of those that are left out anyway a broken one is nothing to be told of.
    """
    images, dtypes = [], []
    if not options.crop:
        rejected.begin()
        rejected.total = len(found)
    with threads(_THREADS) as pool:
        results = pool.map(partial(_try_reading, out=options.out), found)
        for number, (image, result) in enumerate(
            zip(found, progress(results, total=len(found), desc="checking images"), strict=True)
        ):
            if isinstance(result, torch.dtype):
                images.append(image)
                dtypes.append(result)
            elif image.file not in left_out:
                given = options.rgb if image.domain == "rgb" else options.thermal
                rejected.add((number,), str(Path(given or "", image.relative)), result)
    return images, dtypes


def check_some_left(images: Sequence[Found], found: Sequence[Found], rejected: Rejections) -> None:
    """Refuse to go on without a single image of a domain.

    Raises:
        DataError: none of those found can be read.
    """
    left = {image.domain for image in images}
    for image in found:
        if image.domain not in left:
            rejected.begin()  # there is nothing for a list to be beside
            raise DataError(
                f"{image.folder}: no image of the {image.domain} domain can be read; "
                f"{rejected.told_first()}."
            )


def path_from(out: Path, found: Found) -> str:
    """Return the path of an image as an index in ``out`` names it."""
    return Path(os.path.relpath(found.file, out.resolve())).as_posix()


def _images(options: IndexOptions) -> list[Found]:
    found = find_images(options.rgb, "rgb") if options.rgb else []
    return found + (find_images(options.thermal, "thermal") if options.thermal else [])


def _try_reading(found: Found, *, out: Path) -> torch.dtype | str:
    """Return what an image holds, or why it cannot be used."""
    if fault := fault_of_path(path_from(out, found)):
        return fault
    try:
        dtype = read_image(found.file).dtype
    except DataError as error:
        return fault_of_file(error, found.file)
    if found.domain == "rgb" and dtype == torch.float32:
        return "holds floats, which have no known range in an RGB image"
    return dtype
