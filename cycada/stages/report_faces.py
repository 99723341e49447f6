"""Strips of example faces for the page: what translators make of them, and what datasets hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cycada import image_reading, images
from cycada.data.dataset import FaceImages, signed
from cycada.data.index import DOMAINS, Domain, Face, Index
from cycada.report.images import coloured, file_uri, rgb_uri, thermal_uri
from cycada.report.page import Block, Picture, Scale, Scrubber, Strip, StripRow, Tile
from cycada.stages.evaluate_translator import paired_faces
from cycada.thermal import Window
from cycada.training.loading import LoadedTranslator

_FACES = 8  # columns of a strip
_ROWS_OF_SAMPLES = 6  # as training/samples.py writes them
_RGB_ROWS = (0, 2, 4)
_MOMENTS = 5  # steps of the samples shown side by side
_FRAMES = 60  # and with a slider, at most
_LARGEST_FRAME = 1024  # px


def translated_strips(
    translator: LoadedTranslator, indexes: Sequence[Index], *, named: bool = False
) -> list[Strip]:
    """Return RGB faces there and back, and thermal faces there and back.

    ``named`` has the pictures tell the subjects' names.
    """
    size, window = translator.size, translator.window
    strips = []
    rgb, split = _examples(indexes, "rgb")
    if rgb is not None:
        real = _images(rgb, "rgb", size)
        made = translator.to_thermal(real)
        rows = [
            _row("RGB", "source", real, rgb.faces, named=named),
            _row("As thermal", "made", made, rgb.faces, named=named),
        ]
        if translator.goes_back:
            again = translator.to_rgb(made)
            rows.append(_row("Back in RGB", "made", again, rgb.faces, named=named))
        pairs = paired_faces(rgb)
        if pairs is not None and len(pairs[1].faces) == len(rgb.faces):
            truth = _images(pairs[1], "thermal", size)
            rows.append(_row("True thermal", "the same face", truth, rgb.faces, named=named))
        strips.append(Strip(rows=tuple(rows), scale=_scale(window), caption=_told(split)))
    thermal, split = _examples(indexes, "thermal")
    if thermal is not None and translator.goes_back:
        real = _images(thermal, "thermal", size)
        made = translator.to_rgb(real)
        rows = [
            _row("Thermal", "source", real, thermal.faces, named=named),
            _row("As RGB", "made", made, thermal.faces, named=named),
            _row(
                "Back in thermal", "made", translator.to_thermal(made), thermal.faces, named=named
            ),
        ]
        strips.append(Strip(rows=tuple(rows), scale=_scale(window), caption=_told(split)))
    return strips


def samples_strip(run: Path) -> list[Block]:
    """Return what became of the same faces in the course of the training."""
    files = sorted((run / "samples").glob("*.png"))
    if not files:
        return []
    steps = sorted({round(i * (len(files) - 1) / (_MOMENTS - 1)) for i in range(_MOMENTS)})
    grids = [(files[i].stem, images.to_signed(image_reading.read_image(files[i]))) for i in steps]
    height, width = grids[-1][1].shape[-2:]
    side = height // _ROWS_OF_SAMPLES
    if height % _ROWS_OF_SAMPLES or width % side:
        uri = file_uri(files[-1])
        return [Picture(uri=uri, alt="Samples", caption=f"Samples at step {files[-1].stem}.")]

    def row(grid: Tensor, number: int) -> list[Tensor]:
        line = grid[:, number * side : (number + 1) * side]
        return list(torch.split(line, side, dim=-1))[:_FACES]

    rows = [StripRow(label="RGB", tiles=_tiles(row(grids[-1][1], 0), "RGB face"))]
    for step, grid in grids:
        tiles = _tiles(row(grid, 1), f"made thermal face, step {step}", thermal=True)
        rows.append(StripRow(label=f"Step {int(step):,}", tiles=tiles))
    caption = "The same faces as thermal ones, in the course of training."
    frames = _frames(files)
    blocks: list[Block] = [Strip(rows=tuple(rows), caption=caption)]
    if len(frames) > 1:
        told = (
            f"All of {len(files)} moments."
            if len(frames) == len(files)
            else (f"{len(frames)} of {len(files)} moments, evenly spread.")
        )
        blocks.append(
            Scrubber(
                frames=frames,
                caption=f"{told} Rows: RGB, as thermal, back in RGB; thermal, as RGB, back in "
                "thermal.",
            )
        )
    return blocks


def _frames(files: Sequence[Path]) -> tuple[tuple[str, str], ...]:
    """Return what was made at each step, at most 60 of them, with the thermal rows in colours."""
    count = min(len(files), _FRAMES)
    chosen = sorted({round(i * (len(files) - 1) / max(count - 1, 1)) for i in range(count)})
    frames = []
    for file in (files[number] for number in chosen):
        grid = images.to_signed(image_reading.read_image(file))
        side = grid.shape[-2] // _ROWS_OF_SAMPLES
        rows = [
            images.with_channels(row, 3) if number in _RGB_ROWS else _warm(row)
            for number, row in enumerate(torch.split(grid, side, dim=-2))
        ]
        shown = torch.cat(rows, dim=-2)
        frames.append((f"Step {int(file.stem):,}", rgb_uri(shown, largest=_LARGEST_FRAME)))
    return tuple(frames)


def _warm(row: Tensor) -> Tensor:
    return images.to_signed(torch.from_numpy(coloured(row)).permute(2, 0, 1))


def mean_strip(path: Path, values: Mapping[str, Any]) -> Strip:
    """Return the mean real beside the mean made thermal image that an evaluation wrote."""
    real, made = images.to_signed(image_reading.read_image(path)).chunk(2, dim=-1)
    tiles = _tiles([real], "mean of the real thermal images", thermal=True)
    tiles += _tiles([made], "mean of the made thermal images", thermal=True)
    span = values.get("window")
    return Strip(
        rows=(StripRow(label="Mean image", tiles=tiles),),
        columns=("real", "made"),
        scale=_scale(Window(*span) if span else None),
        caption="All thermal images averaged.",
    )


def dataset_strips(index: Index, *, named: bool = False, side: int = 128) -> list[Strip]:
    """Return examples of each domain; beside translated ones their origin and, if known, truth."""
    strips = []
    made = bool(index.info.translator)
    for domain in DOMAINS:
        chosen, _ = _examples([index], domain)
        if chosen is None:
            continue
        rows = []
        origins = [_file(index, face.origin) for face in chosen.faces]
        if all(origins):
            tiles = [_read(origin, side) for origin in origins if origin]
            rows.append(StripRow(label="Origin", note="source", tiles=_tiles(tiles, "RGB face")))
        label = "Thermal" if domain == "thermal" else "RGB"
        pictures = _images(chosen, domain, side)
        rows.append(_row(label, "made" if made else "", pictures, chosen.faces, named=named))
        if made and index.info.unit != "grey" and all(_file(index, f.pair) for f in chosen.faces):
            truth = replace(chosen, faces=tuple(replace(f, path=f.pair) for f in chosen.faces))
            pictures = _images(truth, domain, side)
            rows.append(_row("True thermal", "the same face", pictures, truth.faces, named=named))
        window = None if index.info.unit == "grey" else index.info.window
        strips.append(
            Strip(rows=tuple(rows), scale=_scale(window) if domain == "thermal" else None)
        )
    return strips


def _examples(indexes: Sequence[Index], domain: Domain) -> tuple[Index | None, str]:
    """Return a few faces of different subjects, unseen in training where there are any."""
    for split in ("test", "val", "train"):
        for index in indexes:
            first: dict[str, Face] = {}
            for face in index.select(domain=domain, split=split).faces:
                first.setdefault(face.subject, face)
            if first:
                faces = list(first.values())
                count = min(_FACES, len(faces))
                places = [i * len(faces) // count for i in range(count)]
                return Index(index.root, index.info, tuple(faces[i] for i in places)), split
    return None, ""


def _images(index: Index, domain: Domain, size: int) -> Tensor:
    faces = FaceImages([index], domain=domain, size=size)
    return signed(faces.batch(torch.arange(len(faces))))


def _file(index: Index, path: str) -> Path | None:
    file = index.root / path
    return file if path and file.is_file() else None


def _read(file: Path, side: int) -> Tensor:
    image = images.to_signed(image_reading.read_image(file))
    return images.resize(image, side)


def _row(
    label: str, note: str, pictures: Tensor, faces: Sequence[Face], *, named: bool
) -> StripRow:
    thermal = pictures.shape[1] == 1
    make = thermal_uri if thermal else rgb_uri
    tiles = tuple(
        Tile(
            uri=make(picture),
            thermal=thermal,
            alt=f"{label}, {f'subject {face.subject}' if named else f'face {number}'}",
        )
        for number, (picture, face) in enumerate(zip(pictures, faces, strict=True), start=1)
    )
    return StripRow(label=label, note=note, tiles=tiles)


def _tiles(pictures: Sequence[Tensor], alt: str, *, thermal: bool = False) -> tuple[Tile, ...]:
    make = thermal_uri if thermal else rgb_uri
    return tuple(Tile(uri=make(picture), alt=alt, thermal=thermal) for picture in pictures)


def _scale(window: Window | None) -> Scale:
    if window is None:
        return Scale(low="cold", high="warm")
    return Scale(low=f"{window.low:g} °C", high=f"{window.high:g} °C")


def _told(split: str) -> str:
    words = {
        "test": "Faces of test subjects, whom no stage has learned from.",
        "val": "Faces of validation subjects.",
        "train": "Faces of training subjects: there are no others.",
    }
    return words[split]
