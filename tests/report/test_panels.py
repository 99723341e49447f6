from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cycada.report.palette import painted
from cycada.report.panels import _CURVE, _HEAD, _HEIGHT, _LINE, _MARGIN, Panel, Panels
from cycada.report.video import write_gif
from cycada.thermal import Window


def panel(**changes: Any) -> Panel:
    facts = {
        "label": "As thermal", "size": (48, 48), "thermal": True, "flicker": "flicker 0.1 K",
        "errors": (math.nan, 0.1, 0.1),
    }  # fmt: skip
    return Panel(**{**facts, **changes})


def laid_out(*panels: Panel, **changes: Any) -> Panels:
    given = {"window": Window(28, 37), "palette": "inferno", "rate": 10.0, **changes}
    return Panels(panels, **given)


@pytest.mark.parametrize("count", [1, 3, 9])
@pytest.mark.parametrize("size", [(48, 48), (31, 57), (57, 31)])
def test_all_frames_have_one_even_size_that_a_screen_holds(
    count: int, size: tuple[int, int]
) -> None:
    panels = laid_out(*[panel(size=size, label="a name that is long " * 3)] * count)
    shapes = {panels.frame(number, [torch.zeros(1, *size)] * count).shape for number in range(3)}
    assert len(shapes) == 1
    height, width, _ = shapes.pop()
    assert height % 2 == width % 2 == 0
    assert width <= 1920


def test_a_picture_as_high_as_its_panel_is_shown_pixel_by_pixel() -> None:
    draw = torch.Generator().manual_seed(0)
    pictures = [
        torch.rand(channels, _HEIGHT, _HEIGHT, generator=draw) * 2 - 1 for channels in (3, 1)
    ]
    size = (_HEIGHT, _HEIGHT)
    panels = laid_out(panel(size=size, thermal=False), panel(size=size), palette="ironbow")
    frame = panels.frame(1, pictures)
    for place, picture in zip(panels.places, pictures, strict=True):
        shown = frame[_HEAD : _HEAD + _HEIGHT, place.left : place.left + place.width]
        assert np.array_equal(shown, painted(picture, "ironbow"))
    assert panels.places[0].left == _MARGIN


def test_the_curve_is_high_where_the_sequence_flickers() -> None:
    errors = (math.nan, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1)
    panels = laid_out(panel(errors=errors))
    frame = panels.frame(0, [torch.zeros(1, 48, 48)]).astype(int)
    curve = frame[panels.curves : panels.curves + _CURVE]
    line = (np.abs(curve - np.array(_LINE)).sum(-1) < 150).argmax(0)  # its upper edge
    left, width = panels.places[0]
    spike = left + 3 * (width - 1) // 8
    assert line[spike] < 0.15 * _CURVE
    assert line[left + 6 * (width - 1) // 8] == pytest.approx(0.76 * _CURVE, abs=3)


def test_grey_sequences_have_a_scale_without_degrees_and_colour_ones_none() -> None:
    def width(**changes: Any) -> int:
        made = laid_out(panel(**changes), window=None)
        return int(made.frame(0, [torch.zeros(3, 48, 48)]).shape[1])

    assert width(thermal=True) > width(thermal=False) + 60
    assert width(thermal=False) == _HEIGHT + 2 * _MARGIN


def test_a_gif_keeps_the_colours_that_must_be_in_it_exactly(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    pictures = [draw.integers(0, 256, (40, 60, 3), dtype=np.uint8) for _ in range(3)]
    wanted = [(255, 255, 255), (26, 26, 26), (254, 250, 251)]
    for number, picture in enumerate(pictures):
        for row, colour in enumerate(wanted):
            picture[10 * row : 10 * row + 5, number:] = colour
    file = tmp_path / "a.gif"
    write_gif(file, pictures, some=pictures[:1], colours=wanted, rate=10.0)
    with Image.open(file) as opened:
        assert opened.n_frames == 3
        for number in range(3):
            opened.seek(number)
            shown = np.asarray(opened.convert("RGB"))
            for row, colour in enumerate(wanted):
                assert (shown[10 * row : 10 * row + 5, number:] == np.array(colour)).all()
