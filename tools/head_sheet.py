"""Draw the faces that are found in thermal frames on a sheet of numbered tiles, to count by eye.

python tools/head_sheet.py clips stills --rotate 90 --count 60 --seed 1 --out sheet.png

Sources are CPTV clips (needs the package cptv), images, and folders of them; a folder of images
counts as one recording. Every recording gives as many frames as the others, evenly spaced from a
place that the seed decides. Green boxes are used, red ones are not; the lines printed say why.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import click
import numpy as np
import torch
from ending import run_tool
from PIL import Image, ImageDraw
from torch import Tensor

from cycada import image_reading, images, thermal
from cycada.data.faces import Choice, Detector, Rule, Square, choose_faces, open_detector
from cycada.errors import DataError, UsageError
from cycada.image_reading import IMAGE_SUFFIXES
from cycada.thermal import Unit

_TILE = (240, 320)  # px, width and height
_HEAD = 14  # px above a tile, for its number
_COLUMNS = 10
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_ANY = click.Path(exists=True, path_type=Path)
_TURNS = click.Choice(["0", "90", "180", "270"])


class _Recording(NamedTuple):
    name: str
    files: tuple[Path, ...]  # one clip, or images


@click.command(context_settings={"show_default": True})
@click.argument("sources", nargs=-1, required=True, type=_ANY)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="PNG to write.")
@click.option("--detector", type=click.Choice(get_args(Detector)), default="heads")
@click.option("--weights", type=_FILE, help="File with its weights.")
@click.option("--unit", type=click.Choice(get_args(Unit)), default="grey", help="Of images.")
@click.option("--rotate", type=_TURNS, default="0", help="Clockwise, to turn clips upright.")
@click.option("--count", type=click.IntRange(min=1), default=60, help="Tiles.")
@click.option("--seed", type=int, default=0)
def main(
    sources: tuple[Path, ...],
    *,
    out: Path,
    detector: Detector,
    weights: Path | None,
    unit: Unit,
    rotate: str,
    count: int,
    seed: int,
) -> None:
    """Draw COUNT frames of SOURCES with the faces found in them."""
    find = open_detector(detector, weights=weights)
    recordings = [recording for source in sources for recording in _recordings(source)]
    draw = np.random.default_rng(seed)
    shares = [len(part) for part in np.array_split(np.arange(count), len(recordings))]
    draw.shuffle(shares)
    tiles: list[Image.Image] = []
    for recording, share in zip(recordings, shares, strict=True):
        for name, frame in _frames(
            recording, share, float(draw.random()), unit, -int(rotate) // 90
        ):
            shape = (frame.shape[-2], frame.shape[-1])
            choices = choose_faces(find(frame), shape, rule=Rule(several="all"))
            tiles.append(_tile(len(tiles), frame, choices))
            told = "; ".join(map(_told, choices))
            click.echo(f"{len(tiles) - 1}: {name}: {told}")
    _sheet(tiles).save(out)
    click.echo(f"{len(tiles)} tiles in {out}")


def _recordings(source: Path) -> list[_Recording]:
    if source.is_file():
        return [_Recording(source.name, (source,))]
    found = [_Recording(file.name, (file,)) for file in sorted(source.rglob("*.cptv"))]
    folders: dict[Path, list[Path]] = {}
    for file in sorted(source.rglob("*")):
        if file.suffix.lower() in IMAGE_SUFFIXES:
            folders.setdefault(file.parent, []).append(file)
    found += [_Recording(folder.name, tuple(files)) for folder, files in folders.items()]
    if not found:
        raise DataError(f"{source}: holds neither clips nor images.")
    return found


def _frames(
    recording: _Recording, share: int, phase: float, unit: Unit, turns: int
) -> list[tuple[str, Tensor]]:
    """Return evenly spaced frames, upright: float32 deg C or uint8."""
    if recording.files[0].suffix.lower() != ".cptv":
        at = _spaced(len(recording.files), share, phase)
        return [(recording.files[i].name, _image(recording.files[i], unit)) for i in at]
    frames = _clip(recording.files[0])
    return [
        (
            f"{recording.name} {i}",
            thermal.celsius_from_counts(frames[i].rot90(turns), "centikelvin")[None],
        )
        for i in _spaced(len(frames), share, phase)
    ]


def _spaced(length: int, share: int, phase: float) -> list[int]:
    share = min(share, length)
    return [int((number + phase) * length / share) for number in range(share)]


def _image(file: Path, unit: Unit) -> Tensor:
    image = image_reading.read_image(file)[:1]
    if unit != "grey":
        return thermal.celsius_from_counts(image, unit)
    if image.dtype == torch.uint8:
        return image
    return images.from_signed(images.to_signed(image), dtype=torch.uint8)


def _clip(file: Path) -> list[Tensor]:
    try:
        from cptv import CPTVReader  # noqa: PLC0415  # for clips alone
    except ImportError:
        raise UsageError("the package cptv is missing: pip install cptv.") from None
    with file.open("rb") as stream:
        return [
            torch.from_numpy(np.asarray(frame.pix).astype(np.uint16))
            for frame in CPTVReader(stream)
            if not frame.background_frame
        ]


def _told(choice: Choice) -> str:
    if choice.place is None:
        return choice.reason
    return f"{choice.place.confidence:.2f} {choice.reason or 'used'}"


def _tile(number: int, frame: Tensor, choices: Sequence[Choice]) -> Image.Image:
    """Draw a frame, stretched from its coldest to nearly its warmest, with boxes."""
    values = frame[0].to(torch.float32).numpy()
    low, high = np.percentile(values, (0.5, 99.7))
    grey = (np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
    scale = min(_TILE[0] / grey.shape[1], _TILE[1] / grey.shape[0])
    size = round(grey.shape[1] * scale), round(grey.shape[0] * scale)
    tile = Image.new("RGB", (_TILE[0] + 4, _TILE[1] + _HEAD))
    tile.paste(Image.fromarray(grey).resize(size).convert("RGB"), (0, _HEAD))
    pen = ImageDraw.Draw(tile)
    pen.text((2, 1), str(number), fill="yellow")
    for choice in choices:
        if choice.place is None:
            pen.text((30, 1), choice.reason, fill="white")
            continue
        place = choice.place
        corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]) - 0.5
        corners[:, 0] *= place.width / place.height
        square = Square(*place.centre, place.height, place.angle)
        drawn = [
            ((x + 0.5) * scale, (y + 0.5) * scale + _HEAD)
            for x, y in square.to_frame(corners, 1).tolist()
        ]
        colour = "red" if choice.reason else "lime"
        pen.polygon(drawn, outline=colour)
        pen.text((drawn[0][0] + 2, drawn[0][1] - 11), f"{place.confidence:.2f}", fill=colour)
    return tile


def _sheet(tiles: Sequence[Image.Image]) -> Image.Image:
    rows = -(-len(tiles) // _COLUMNS)
    width, height = tiles[0].size
    sheet = Image.new("RGB", (width * min(_COLUMNS, len(tiles)), height * rows))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % _COLUMNS * width, number // _COLUMNS * height))
    return sheet


if __name__ == "__main__":
    run_tool(main)
