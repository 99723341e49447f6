"""The galleries of a page: a set for each translator, dataset and evaluated detector on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cycada.data.index import Index
from cycada.errors import CycadaError, DataError, RunError
from cycada.progress import Progress
from cycada.report.methods import spoken
from cycada.report.page import Block, Section, Text, files_folder
from cycada.stages.report_choice import GalleryOptions
from cycada.stages.report_datasets import dataset_galleries
from cycada.stages.report_detections import detection_gallery
from cycada.stages.report_translation import Translations, translations
from cycada.training.loading import default_device, load_translator

_UNSAID = "the faces cannot be read; --include-subjects says why."
"""Reasons name files, and files are often named after subjects."""


def gallery_options(
    page: Path, *, count: int | None, full_pixels: int | None, subjects: bool, progress: Progress
) -> GalleryOptions:
    """Return how the sets of a page are made.

    Args:
        page: The HTML file, beside which they are written.
        count: Images of a set at most; None: all.
        full_pixels: Pixels of a set in full size at most; None: any number.
        subjects: Name subjects and files.
        progress: Shows the images.

    Raises:
        DataError: Something else lies where they are to be.
    """
    folder = files_folder(page)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise DataError(
            f"{folder}: is no folder, but the pictures of the page belong there; remove it, or "
            "choose another --out."
        )
    return GalleryOptions(
        folder=folder, count=count, full_pixels=full_pixels, subjects=subjects,
        device=default_device(), progress=progress,
    )  # fmt: skip


def translator_gallery(
    run: Path,
    indexes: Sequence[Index],
    detectors: Sequence[Path],
    options: GalleryOptions,
    *,
    title: str,
) -> Translations:
    """Write the sets of a translator; what cannot be read is told instead.

    Args:
        run: Of the translator.
        indexes: Of its faces.
        detectors: Runs on the page, which may judge it.
        options: Of the page.
        title: Of the section that sums the images up.

    Raises:
        CycadaError: A set cannot be written.
    """
    try:
        translator = load_translator(run, options.device)
        return translations(translator, indexes, detectors, options, title=title)
    except (DataError, RunError) as error:
        return Translations(None, (_told(error, run.name, options),))


def dataset_gallery(index: Index, options: GalleryOptions) -> list[Block]:
    """Write the sets of a dataset; what cannot be read is told instead.

    Raises:
        CycadaError: A set cannot be written.
    """
    try:
        return dataset_galleries(index, options)
    except DataError as error:
        return [_told(error, index.root.name, options)]


def detections_section(
    evaluations: Sequence[tuple[Path, Mapping[str, Any]]],
    options: GalleryOptions,
    *,
    allow_outside: bool,
) -> Section | None:
    """Write a set for each evaluated detector, and return their section; None without any.

    Args:
        evaluations: Folders and what their ``scores.json`` say.
        options: Of the page.
        allow_outside: Believe paths of an index from elsewhere that leave its folder.

    Raises:
        CycadaError: A set cannot be written.
    """
    blocks: list[Block] = []
    failed: dict[str, CycadaError] = {}
    for folder, result in evaluations:
        try:
            blocks += detection_gallery(folder, result, options, allow_outside=allow_outside)
        except (DataError, RunError) as error:  # noqa: PERF203  # of each of a few
            failed[folder.name] = error
    if options.subjects:
        blocks += [_told(error, name, options) for name, error in failed.items()]
    elif failed:
        names = ", ".join(map(spoken, failed))
        blocks.append(Text(text=f"No gallery of {names}: {_UNSAID}", warns=True))
    if not blocks:
        return None
    return Section(
        title="Faces and answers",
        intro="What each detector says of single faces, the worst first.",
        blocks=tuple(blocks),
    )


def _told(error: CycadaError, name: str, options: GalleryOptions) -> Text:
    """Return what is wrong; without the names of files and subjects unless they may be shown."""
    why = str(error) if options.subjects else _UNSAID
    return Text(text=f"No gallery of {spoken(name)}: {why}", warns=True)
