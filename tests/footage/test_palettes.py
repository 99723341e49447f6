from __future__ import annotations

import colorsys
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from cycada.errors import DataError, UsageError
from cycada.footage import ReadOptions, open_footage
from cycada.footage.palettes import MAPS, NAMES, read_palette
from cycada.image_writing import write_image


def ramp() -> NDArray[np.uint8]:
    """Return a smooth picture that holds every grey, 128 x 128."""
    y, x = np.mgrid[:128, :128]
    wave = 127.5 + 127.5 * np.sin(x / 20) * np.cos(y / 26)
    return np.round(wave).astype(np.uint8)


def painted(grey: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Return ``(H, W, 3)``: the picture as a camera would paint it."""
    curve = read_palette(name)
    at = grey / 255 * (len(curve) - 1)
    channels = [np.interp(at, np.arange(len(curve)), curve[:, k]) for k in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def test_rainbow_is_the_hues_from_blue_to_red() -> None:
    curve = read_palette("rainbow")
    for at, colour in enumerate(curve):
        hue = 240 / 360 * (1 - at / 255)
        assert colour == pytest.approx([255 * c for c in colorsys.hsv_to_rgb(hue, 1, 1)], abs=1e-6)


def test_jet_and_hot_have_the_corners_of_their_definition() -> None:
    jet, hot = read_palette("jet"), read_palette("hot")

    def at(curve: NDArray[np.float64], place: float) -> list[float]:
        return [
            float(np.interp(place, np.linspace(0, 1, len(curve)), curve[:, k])) / 255
            for k in range(3)
        ]

    assert at(jet, 0) == pytest.approx([0, 0, 0.5])
    assert at(jet, 1 / 8) == pytest.approx([0, 0, 1], abs=0.01)
    assert at(jet, 3 / 8) == pytest.approx([0, 1, 1], abs=0.02)
    assert at(jet, 5 / 8) == pytest.approx([1, 1, 0], abs=0.02)
    assert at(jet, 7 / 8) == pytest.approx([1, 0, 0], abs=0.01)
    assert at(jet, 1) == pytest.approx([0.5, 0, 0])
    assert at(hot, 3 / 8) == pytest.approx([1, 0, 0], abs=0.01)
    assert at(hot, 6 / 8) == pytest.approx([1, 1, 0], abs=0.02)
    assert at(hot, 1) == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("name", [*NAMES, *MAPS])
def test_every_palette_is_undone_where_nothing_was_lost(tmp_path: Path, name: str) -> None:
    Image.fromarray(painted(ramp(), name)).save(tmp_path / "a.png")
    footage = open_footage(tmp_path / "a.png", ReadOptions(palette=name))
    image = next(footage.frames()).image
    assert (footage.unit, image.dtype, image.shape) == ("grey", torch.uint8, (1, 128, 128))
    # Colours are rounded, so greys that a flat stretch paints alike may change places.
    assert (image[0].int() - torch.from_numpy(ramp()).int()).abs().max() <= 3


@pytest.mark.parametrize("name", ["ironbow", "jet", "rainbow", "inferno"])
@pytest.mark.parametrize("quality", [75, 95])
def test_a_palette_is_undone_through_jpeg(tmp_path: Path, name: str, quality: int) -> None:
    Image.fromarray(painted(ramp(), name)).save(tmp_path / "a.jpg", quality=quality)
    image = next(open_footage(tmp_path / "a.jpg", ReadOptions(palette=name)).frames()).image
    away = (image[0].int() - torch.from_numpy(ramp()).int()).abs().float()
    assert away.mean() < 3
    assert away.quantile(0.99) <= 12


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize(("painted_by", "read_by"), [("jet", "ironbow"), ("ironbow", "inferno")])
def test_colours_of_another_palette_are_refused(
    tmp_path: Path, suffix: str, painted_by: str, read_by: str
) -> None:
    Image.fromarray(painted(ramp(), painted_by)).save(tmp_path / f"a{suffix}")
    with pytest.raises(DataError, match="its colours are not those of the palette"):
        open_footage(tmp_path / f"a{suffix}", ReadOptions(palette=read_by))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_scale_drawn_over_the_picture_is_refused(tmp_path: Path, suffix: str) -> None:
    picture = painted(ramp(), "ironbow")
    picture[5:20, 5:60] = (30, 200, 60)
    Image.fromarray(picture).save(tmp_path / f"a{suffix}")
    with pytest.raises(DataError, match="A scale, a logo"):
        open_footage(tmp_path / f"a{suffix}", ReadOptions(palette="ironbow"))


def test_without_a_palette_colours_are_refused_with_the_way_in(tmp_path: Path) -> None:
    Image.fromarray(painted(ramp(), "ironbow")).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: is in colour; a palette .* --palette NAME"):
        open_footage(tmp_path / "a.png")


def test_a_stated_window_makes_temperatures_of_a_palette(tmp_path: Path) -> None:
    from cycada.thermal import Window

    Image.fromarray(painted(ramp(), "ironbow")).save(tmp_path / "a.png")
    footage = open_footage(
        tmp_path / "a.png", ReadOptions(palette="ironbow", window=Window(20, 45.5))
    )
    celsius = next(footage.frames()).image[0].numpy()
    assert footage.unit == "celsius"
    assert abs(celsius - (20 + ramp() / 10)).max() <= 0.31


@pytest.mark.parametrize("upright", [False, True])
def test_a_picture_of_the_colour_bar_is_a_palette(tmp_path: Path, *, upright: bool) -> None:
    corners = np.array([(0, 20, 40), (0, 160, 90), (180, 60, 220), (255, 190, 0), (255, 255, 255)])
    at = np.linspace(0, 4, 200)
    bar = np.stack([np.interp(at, range(5), corners[:, k]) for k in range(3)], axis=1)
    strip = np.repeat(bar.round().astype(np.uint8)[None], 12, axis=0)  # cold at the left
    Image.fromarray(np.rot90(strip) if upright else strip).save(tmp_path / "bar.png")
    grey = ramp()
    place = grey / 255 * 199
    picture = np.stack([np.interp(place, range(200), bar[:, k]) for k in range(3)], axis=-1)
    Image.fromarray(picture.round().astype(np.uint8)).save(tmp_path / "a.png")
    options = ReadOptions(palette=str(tmp_path / "bar.png"))
    image = next(open_footage(tmp_path / "a.png", options).frames()).image
    assert (image[0].int() - torch.from_numpy(grey).int()).abs().max() <= 3


def test_a_palette_that_shows_two_temperatures_alike_is_refused(tmp_path: Path) -> None:
    there = np.linspace(0, 255, 100).round().astype(np.uint8)
    bar = np.stack([there, there, there // 2], axis=1)
    Image.fromarray(np.concatenate([bar, bar[::-1]])[None].repeat(8, 0)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match="passes twice through the same colour"):
        read_palette(str(tmp_path / "b.png"))


def test_an_unknown_palette_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="--palette iron: is none of grey, ironbow, hot"):
        read_palette("iron")


def test_grey_in_three_channels_is_grey(tmp_path: Path) -> None:
    grey = torch.from_numpy(ramp())[None]
    write_image(tmp_path / "a.png", grey.expand(3, -1, -1))
    footage = open_footage(tmp_path / "a.png")
    assert torch.equal(next(footage.frames()).image, grey)
    assert "grey, stored in three channels" in footage.notes
    buffer = io.BytesIO()
    Image.fromarray(np.repeat(ramp()[..., None], 3, axis=-1)).save(buffer, "jpeg", quality=80)
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    found = next(open_footage(tmp_path / "a.jpg").frames()).image
    assert (found.int() - grey.int()).abs().max() <= 12
