"""Measure a detector of faces on aligned portraits laid into larger pictures.

python tools/bench_faces.py portraits --detector dlib --count 150

Each portrait must show one upright face as `cycada index --crop` leaves it: 0.78 of the height,
in the middle. It is laid, scaled and turned, upon coloured noise; so the true place is known. For
each setting the line tells in how many pictures the face was found, in how many nothing else was,
the size found over the true size and how far off the middle was (mean and deviation, in heights
of the face), and the time for a picture.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import get_args

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cycada import image_reading
from cycada.data.faces import MARGIN, Detector, FacePlace, Finder, open_detector
from cycada.image_reading import IMAGE_SUFFIXES

_SHAPE = (480, 640)
_SETTINGS = ((1.0, 0.0), (1.0, 15.0), (0.5, 15.0), (0.3, 0.0))  # scale, degrees either way
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(context_settings={"show_default": True})
@click.argument("portraits", type=_FOLDER)
@click.option("--detector", type=click.Choice(get_args(Detector)), default="dlib")
@click.option("--weights", type=_FILE, help="File with its weights.")
@click.option("--count", type=click.IntRange(min=1), default=150, help="Portraits to draw.")
@click.option("--seed", type=int, default=0)
def main(
    portraits: Path, *, detector: Detector, weights: Path | None, count: int, seed: int
) -> None:
    """Lay PORTRAITS into larger pictures and look how their faces are found."""
    find = open_detector(detector, weights=weights)
    files = sorted(f for f in portraits.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES)
    draw = np.random.default_rng(seed)
    chosen = [files[i] for i in draw.permutation(len(files))[:count]]
    alone = [image_reading.read_image(file) for file in chosen]
    _report("as it is", find, [(image, _truth(image)) for image in alone])
    for scale, degrees in _SETTINGS:
        pairs = [_laid(image, scale, degrees, draw) for image in alone]
        _report(f"scale {scale:g}, {degrees:g} degrees", find, pairs)


def _truth(image: torch.Tensor) -> tuple[float, float, float]:
    """Return the middle of the face and its height, px."""
    height, width = image.shape[-2:]
    return (width - 1) / 2, (height - 1) / 2, height / (1 + 2 * MARGIN)


def _laid(
    image: torch.Tensor, scale: float, degrees: float, draw: np.random.Generator
) -> tuple[torch.Tensor, tuple[float, float, float]]:
    height, width = _SHAPE
    noise = draw.integers(0, 255, (6, 8, 3)).astype(np.uint8)
    ground = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    portrait = Image.fromarray(image.permute(1, 2, 0).numpy())
    side = round(portrait.height * scale)
    portrait = portrait.resize((side, side), Image.Resampling.BILINEAR)
    angle = degrees * draw.choice([-1, 1])
    turned = portrait.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    mask = Image.new("L", portrait.size, 255).rotate(angle, expand=True)
    left = int(draw.integers(0, max(1, width - turned.width)))
    top = int(draw.integers(0, max(1, height - turned.height)))
    ground.paste(turned, (left, top), mask)
    middle = left + (turned.width - 1) / 2, top + (turned.height - 1) / 2
    pixels: NDArray[np.uint8] = np.array(ground)
    return torch.from_numpy(pixels).permute(2, 0, 1), (*middle, side / (1 + 2 * MARGIN))


def _report(
    name: str, find: Finder, pairs: list[tuple[torch.Tensor, tuple[float, float, float]]]
) -> None:
    met, alone, offs = 0, 0, []
    started = time.perf_counter()
    for image, (x, y, height) in pairs:
        places = [place for place in find(image).places if place.confidence >= 0.5]
        right = [place for place in places if _fits(place, x, y, height)]
        met += bool(right)
        alone += bool(right) and len(places) == 1
        if right:
            centre = right[0].centre
            offs.append(
                (right[0].height / height, (centre[0] - x) / height, (centre[1] - y) / height)
            )
    each = (time.perf_counter() - started) / len(pairs)
    table = np.array(offs or [(math.nan, math.nan, math.nan)])
    mean, spread = table.mean(0), table.std(0)
    size, right_, down = (f"{m:.3f} +- {s:.3f}" for m, s in zip(mean, spread, strict=True))
    click.echo(
        f"{name}: found {met} of {len(pairs)}, nothing else in {alone}; size {size}, right "
        f"{right_}, down {down}; {1000 * each:.0f} ms"
    )


def _fits(place: FacePlace, x: float, y: float, height: float) -> bool:
    apart = math.hypot(place.centre[0] - x, place.centre[1] - y)
    return apart < 0.3 * height and 0.6 < place.height / height < 1.6


if __name__ == "__main__":
    main()
