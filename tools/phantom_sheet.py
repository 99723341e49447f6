"""Write a contact sheet of phantom faces: every Action Unit at rest, slight and extreme.

python tools/phantom_sheet.py docs/images/phantom_aus.png
python tools/phantom_sheet.py faces.png --random 64 --size 64
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from cycada import action_units
from cycada.data import phantom

_WINDOW = (20.0, 40.0)  # deg C, the window of cycada's thermal images
_LEVELS = (0.0, 2.0, 5.0)
_ACROSS = 3  # AUs side by side
_MARGIN, _LABEL = 8, 16
# Dark violet to pale yellow through red: lightness grows with temperature.
_STOPS = ((2, 2, 10), (60, 15, 105), (150, 35, 105), (220, 75, 60), (248, 150, 30), (252, 250, 165))


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--size", default=104, show_default=True, help="Side of one face in pixels.")
@click.option("--random", "count", default=0, help="Draw this many random faces instead.")
@click.option("--domain", type=click.Choice(["rgb", "thermal"]), default="rgb")
@click.option("--seed", default=9, show_default=True)
@click.option("--window", default=_WINDOW, type=(float, float), show_default=True, help="deg C.")
def main(
    out: Path,
    *,
    size: int,
    count: int,
    domain: phantom.Domain,
    seed: int,
    window: tuple[float, float],
) -> None:
    """Write the sheet to OUT."""
    generator = torch.Generator().manual_seed(seed)
    sheet = (
        _random_faces(count, size, domain, generator, window)
        if count
        else _action_units(size, generator, window)
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, optimize=True)


def _action_units(
    size: int, generator: torch.Generator, window: tuple[float, float]
) -> Image.Image:
    """Draw each AU at three intensities; RGB above thermal."""
    numbers = phantom.PHANTOM_ACTION_UNITS
    people = _presentable(len(numbers), generator)
    across, down = len(_LEVELS) * size, 2 * size + _LABEL
    rows = -(-len(numbers) // _ACROSS)
    width = _ACROSS * (across + _MARGIN) + _MARGIN
    sheet = Image.new("RGB", (width, rows * (down + _MARGIN) + _MARGIN), "white")
    pen = ImageDraw.Draw(sheet)
    for at, number in enumerate(numbers):
        intensities = torch.zeros(len(_LEVELS), len(numbers))
        intensities[:, at] = torch.tensor(_LEVELS)
        if number == 26:
            intensities[:, numbers.index(25)] = torch.tensor(_LEVELS)
        who = people.take([at] * len(_LEVELS))
        pair = phantom.render_pair(who, intensities, _portrait(len(_LEVELS)), size=size)
        left = _MARGIN + (at % _ACROSS) * (across + _MARGIN)
        top = _MARGIN + (at // _ACROSS) * (down + _MARGIN)
        also = " (with AU25)" if number == 26 else ""
        name = f"AU{number}  {action_units.BY_NUMBER[number].name}{also}:  0, 2, 5"
        pen.text((left, top), name, fill="black", font_size=13)
        for level in range(len(_LEVELS)):
            place = (left + level * size, top + _LABEL)
            sheet.paste(_picture(pair.rgb[level]), place)
            sheet.paste(_heat(pair.celsius[level], window), (place[0], place[1] + size))
    return sheet


def _presentable(count: int, generator: torch.Generator) -> phantom.Identity:
    """Draw persons whose features nothing hides: no glasses, fringe or beard."""
    drawn = phantom.sample_identities(12 * count, generator=generator)
    plain = (drawn.glasses == 0) & (drawn.fringe == 0) & (drawn.beard < 0.3)
    plain &= (drawn.moustache < 0.3) & (drawn.nose_temperature > 29) & (drawn.melanin < 0.8)
    plain &= (drawn.brow_strength > 0.7) & (drawn.age < 0.75)
    return drawn.take(plain.nonzero()[:count, 0])


def _portrait(count: int) -> phantom.Scene:
    """Return one frontal, evenly lit scene without noise, ``count`` times."""
    scene = phantom.sample_scenes(1, generator=torch.Generator().manual_seed(11)).take([0] * count)
    zero = torch.zeros(count)
    light = torch.tensor([0.35, -0.55, 0.76]).expand(count, 3)
    return replace(
        scene,
        yaw=zero,
        pitch=zero,
        roll=zero,
        scale=zero + 1.12,
        shift=torch.tensor([0.0, -0.5]).expand(count, 2),
        gaze=torch.zeros(count, 2),
        light=light,
        light_colour=torch.tensor([0.98, 0.95, 0.90]).expand(count, 3),
        ambient_colour=torch.tensor([0.38, 0.39, 0.42]).expand(count, 3),
        exposure=zero + 1,
        noise=zero,
        focus=zero + 0.4,
        background=torch.full_like(scene.background, 0.35),
    )


def _random_faces(
    count: int,
    size: int,
    domain: phantom.Domain,
    generator: torch.Generator,
    window: tuple[float, float],
) -> Image.Image:
    """Draw random faces; RGB on the left, the same faces in thermal on the right."""
    people = phantom.sample_identities(count, generator=generator)
    intensities = phantom.sample_intensities(count, domain=domain, generator=generator)
    scene = phantom.sample_scenes(count, generator=generator)
    pair = phantom.render_pair(people, intensities, scene, size=size)
    across = round(count**0.5)
    rows = -(-count // across)
    sheet = Image.new("RGB", (2 * across * size + _MARGIN, rows * size), "white")
    for at in range(count):
        x, y = (at % across) * size, (at // across) * size
        sheet.paste(_picture(pair.rgb[at]), (x, y))
        sheet.paste(_heat(pair.celsius[at], window), (x + across * size + _MARGIN, y))
    return sheet


def _picture(rgb: Tensor) -> Image.Image:
    return Image.fromarray(rgb.permute(1, 2, 0).contiguous().numpy())


def _heat(celsius: Tensor, window: tuple[float, float]) -> Image.Image:
    """Return temperatures as false colour over a fixed window."""
    stops = torch.tensor(_STOPS, dtype=torch.float32)
    place = ((celsius - window[0]) / (window[1] - window[0])).clamp(0, 1) * (len(stops) - 1)
    low = place.long().clamp(max=len(stops) - 2)
    part = (place - low)[..., None]
    colour = stops[low] * (1 - part) + stops[low + 1] * part
    return Image.fromarray(colour.to(torch.uint8).numpy())


if __name__ == "__main__":
    main()
