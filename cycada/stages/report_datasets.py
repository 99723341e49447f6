"""The galleries of datasets: their images, beside what translated ones were made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from cycada import image_reading, images
from cycada.action_units import meaning
from cycada.data.dataset import centre_crop, scaled_size
from cycada.data.index import DOMAINS, Domain, Face, Index
from cycada.errors import DataError
from cycada.metrics import translation as metrics
from cycada.report.full_size import PictureFile
from cycada.report.gallery import SetWriter
from cycada.report.gallery_items import FigureColumn, Item, UnitColumns, View
from cycada.report.page import Block, Gallery, Text
from cycada.stages.report_choice import GalleryOptions, ReadableFaces, chosen, counted
from cycada.stages.report_columns import luminance_figure, paired_figures, quality_figures
from cycada.stages.report_reading import KnownLabels
from cycada.task import Task
from cycada.thermal import Window

_LARGEST = 512  # px: most faces that were cut out have less, and more would make gigabytes
_LOOKED_AT = 16  # images that tell how large the images of an index are


@dataclass(frozen=True, slots=True)
class _Other:
    """Another picture of each face of an index."""

    path: Callable[[Face], str]  # empty: a face has none
    domain: Domain


def dataset_galleries(index: Index, options: GalleryOptions) -> list[Block]:
    """Write a set for each domain of a dataset, and return what the page shows of it.

    Beside a translated image stand its origin and, where that is known, the true image of the
    same face; beside another one that of the same face in the other domain.

    Raises:
        CycadaError: A set cannot be written.
    """
    blocks: list[Block] = []
    for domain in DOMAINS:
        some = chosen([index], domain, options.count)
        if some:
            blocks += _domain_set(index, some[0], domain, options)
    return blocks


def labels_of(index: Index) -> Task | None:
    """Return what an index says of its faces: AUs, else classes, else nothing."""
    if numbers := index.action_units():
        return Task(numbers)
    return Task(classes=index.classes()) if index.classes() else None


def unit_columns(task: Task | None, sides: Sequence[str] = ()) -> UnitColumns | None:
    """Return the columns of a task's answers, with thresholds of 0.5."""
    if task is None:
        return None
    return UnitColumns(
        names=task.names,
        meanings=tuple(map(meaning, task.names)),
        thresholds=(0.5,) * len(task),
        sides=tuple(sides),
        exclusive=task.kind == "classes",
    )


def shown_size(index: Index) -> int:
    """Return the side in px at which the images of an index are shown."""
    return min(max(map(_side, map(index.file, index.faces[:_LOOKED_AT])), default=0), _LARGEST)


def window_of(index: Index) -> Window | None:
    """Return the temperatures of an index's thermal images; None for grey ones."""
    return None if index.info.unit == "grey" else index.info.window


def picture_file(index: Index, file: Path, domain: Domain) -> PictureFile:
    """Return a file of an index as a gallery shows it in full size."""
    return PictureFile(file, domain, index.info.unit if domain == "thermal" else "grey")


def _side(file: Path) -> int:
    """Return the shorter side of an image in px; the largest that is shown if it is unknown."""
    try:
        return min(image_reading.read_size(file))
    except DataError:
        return _LARGEST


def _domain_set(index: Index, some: Index, domain: Domain, options: GalleryOptions) -> list[Block]:
    size, name = shown_size(some), index.root.name or "dataset"
    translated = bool(index.info.translator)
    task = labels_of(index)
    views, others = _views(some, domain, translated=translated)
    window = window_of(index)
    figures = _figures([view.key for view in views], window)
    title = f"{'Translated' if translated else 'RGB' if domain == 'rgb' else 'Thermal'} faces"
    identity = options.identity(
        name, domain, [index.fingerprint(), [face.path for face in some.faces], size]
    )
    known = KnownLabels([some], task)
    faces = ReadableFaces.of([some], domain, size)
    written: list[Face] = []
    with SetWriter(
        options.folder / identity, identity=identity, title=title,
        intro=counted([index], domain, len(some.faces)), views=views, figures=figures,
        units=unit_columns(task), include_subjects=options.subjects,
        window=None if window is None else (window.low, window.high),
    ) as writer:  # fmt: skip
        for numbers, pictures in faces.batches(
            progress=options.progress, desc=f"{name}: {domain} faces"
        ):
            for number, picture in zip(numbers, pictures, strict=True):
                face = faces.images.faces[number]
                mine = {"image": picture}
                for key, other in others.items():
                    if (found := _read(some, face, other, size)) is not None:
                        mine[key] = found
                written.append(face)
                writer.add(
                    Item(
                        name=face.path, split=face.split, domain=face.domain,
                        subject=face.subject if options.subjects else "", pictures=mine,
                        figures=_values(mine, window), true=known.of(number),
                    )
                )  # fmt: skip
        options.add_full_size(
            writer, lambda n: _files(some, written[n], domain, others), side=size, name=name
        )
        blocks: list[Block] = [Gallery(shown=writer.close())]
    return [*blocks, *([Text(text=faces.rest())] if faces.rest() else [])]


def _views(
    some: Index, domain: Domain, *, translated: bool
) -> tuple[list[View], dict[str, _Other]]:
    """Return the views of a set, and where those other than the image come from."""
    views: list[View] = []
    others: dict[str, _Other] = {}
    if translated and any(f.origin and (some.root / f.origin).is_file() for f in some.faces):
        views.append(View(key="source", label="Origin", kind="rgb"))
        others["source"] = _Other(lambda face: face.origin, "rgb")
    paired = any(face.pair and (some.root / face.pair).is_file() for face in some.faces)
    other: Domain = "rgb" if domain == "rgb" else "thermal"
    if not translated:
        other = "thermal" if domain == "rgb" else "rgb"
    label = "Made thermal" if translated else "RGB" if domain == "rgb" else "Thermal"
    beside = "truth" if paired and translated else ""
    views.append(View(key="image", label=label, kind=domain, of=beside))
    if paired:
        told = "True thermal" if translated else f"The same in {other.replace('rgb', 'RGB')}"
        key = "truth" if translated else "pair"
        views.append(View(key=key, label=told, kind=other))
        others[key] = _Other(lambda face: face.pair, other)
    return views, others


def _other_file(index: Index, face: Face, other: _Other) -> Path | None:
    """Return where the other picture of a face lies; None if it has none."""
    path = other.path(face)
    return index.root / path if path and (index.root / path).is_file() else None


def _files(
    index: Index, face: Face, domain: Domain, others: Mapping[str, _Other]
) -> dict[str, PictureFile]:
    """Return the files of all pictures of a face, by view."""
    files = {"image": picture_file(index, index.file(face), domain)}
    for key, other in others.items():
        if (file := _other_file(index, face, other)) is not None:
            files[key] = picture_file(index, file, other.domain)
    return files


def _read(index: Index, face: Face, other: _Other, size: int) -> Tensor | None:
    """Return the other picture of a face, scaled and cropped as the face is, if it has any."""
    file = _other_file(index, face, other)
    if file is None:
        return None
    try:
        return _square(file, other.domain, size, index, window_of(index))
    except DataError:
        return None


def _square(file: Path, domain: Domain, size: int, index: Index, window: Window | None) -> Tensor:
    unit = index.info.unit if domain == "thermal" else "grey"
    signed = images.to_signed(image_reading.read_image(file), unit=unit, window=window)
    signed = images.with_channels(signed, 3 if domain == "rgb" else 1)
    scaled = images.resize(signed, scaled_size(signed.shape[-2:], size))
    return centre_crop(scaled, size)


def _figures(views: Sequence[str], window: Window | None) -> list[FigureColumn]:
    figures = []
    if "truth" in views:
        figures += paired_figures(window)
    if "source" in views:
        figures += luminance_figure()
    return [*figures, *quality_figures()]


def _values(pictures: dict[str, Tensor], window: Window | None) -> dict[str, float]:
    image = pictures["image"][None]
    values = {
        "contrast": float(image.std()),
        "detail": float(images.fine_detail(image).square().mean().sqrt()),
    }
    if "truth" in pictures:
        truth = pictures["truth"][None]
        error = float(metrics.absolute_error(image, truth))
        scale = 1.0 if window is None else (window.high - window.low) / 2
        values[paired_figures(window)[0].key] = error * scale
        values["follows"] = float(metrics.correlation(image, truth))
    if "source" in pictures:
        values["luminance"] = float(metrics.luminance_correlation(pictures["source"][None], image))
    return values
