"""Count the parts of phantom faces that are told to be hidden, with glasses and without.

python tools/probe_visibility.py

Glasses hide the eyes from a thermal camera and nothing else of the face; where nothing is worn,
nothing is hidden.
"""

from __future__ import annotations

from collections import Counter

import click
import torch

from cycada.data import phantom
from cycada.data.faces.geometry import crop_face, place_of_landmarks, square_of
from cycada.data.visibility import hidden_regions

_FRAME = 96  # px
_CROP = 64


@click.command(context_settings={"show_default": True})
@click.option("--faces", type=click.IntRange(min=1), default=400, help="Phantom faces to draw.")
@click.option("--seed", type=int, default=5, help="Of the faces.")
def main(faces: int, seed: int) -> None:
    """Print how often each part of the face is told to be hidden."""
    draw = torch.Generator().manual_seed(seed)
    identity = phantom.sample_identities(faces, generator=draw)
    what = (
        identity,
        phantom.sample_intensities(faces, domain="thermal", generator=draw),
        phantom.sample_scenes(faces, generator=draw),
    )
    drawn = phantom.render_celsius(*what, size=_FRAME)
    points = phantom.landmarks(*what, size=_FRAME)
    counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    totals: Counter[bool] = Counter()
    for celsius, own, glasses in zip(drawn, points, identity.glasses.bool().tolist(), strict=True):
        named = dict(zip(phantom.LANDMARK_NAMES, map(tuple, own.tolist()), strict=True))
        place = place_of_landmarks(named)
        if place is None:
            raise AssertionError("the eyes of a phantom are known")
        crop = crop_face(celsius[None], square_of(place), size=_CROP)
        totals[glasses] += 1
        counts[glasses].update(hidden_regions(crop, None, None))
    for glasses in (True, False):
        hidden = ", ".join(f"{name} {count}" for name, count in sorted(counts[glasses].items()))
        worn = "with glasses" if glasses else "without glasses"
        click.echo(f"{totals[glasses]} faces {worn}: hidden {hidden or 'nothing'}")


if __name__ == "__main__":
    main()
