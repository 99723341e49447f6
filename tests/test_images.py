from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cycada.errors import DataError
from cycada.images import fine_detail, from_signed, resize, to_signed, with_channels
from cycada.thermal import Unit, Window, counts_from_celsius

WINDOW = Window(20, 40)


def every_count() -> Tensor:
    """Return an image that holds each 16-bit value once."""
    return torch.arange(65536, dtype=torch.int32).to(torch.uint16).reshape(1, 256, 256)


def test_grey_values_come_back_from_signed() -> None:
    bytes_ = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    assert torch.equal(from_signed(to_signed(bytes_), dtype=torch.uint8), bytes_)
    again = from_signed(to_signed(every_count()), dtype=torch.uint16)
    assert torch.equal(again, every_count())


def test_grey_ranges_end_at_minus_one_and_one() -> None:
    for values in (
        torch.tensor([0, 255]).to(torch.uint8),
        torch.tensor([0, 65535]).to(torch.uint16),
    ):
        assert to_signed(values.reshape(1, 1, 2)).flatten().tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("unit", ["centikelvin", "decikelvin", "kelvin64", "kelvin16"])
def test_every_count_within_the_window_comes_back_from_signed(unit: Unit) -> None:
    ends = torch.tensor([WINDOW.low, WINDOW.high])
    first, last = counts_from_celsius(ends, unit).tolist()
    counts = torch.arange(first + 1, last, dtype=torch.int32).to(torch.uint16).reshape(1, 1, -1)
    signed = to_signed(counts, unit=unit, window=WINDOW)
    assert signed.abs().max() < 1
    again = from_signed(signed, dtype=torch.uint16, unit=unit, window=WINDOW)
    assert torch.equal(again, counts)


def test_centikelvin_at_the_ends_of_the_window_are_exact() -> None:
    counts = torch.tensor([29315, 30315, 31315]).to(torch.uint16).reshape(1, 1, 3)
    signed = to_signed(counts, unit="centikelvin", window=WINDOW)
    assert signed.flatten().tolist() == pytest.approx([-1, 0, 1], abs=1e-6)
    again = from_signed(signed, dtype=torch.uint16, unit="centikelvin", window=WINDOW)
    assert torch.equal(again, counts)


def test_temperatures_as_floats_come_back_from_signed() -> None:
    celsius = torch.linspace(20, 40, 101).reshape(1, 1, -1)
    for unit, shift in (("celsius", 0.0), ("kelvin", 273.15)):
        signed = to_signed(celsius + shift, unit=unit, window=WINDOW)  # type: ignore[arg-type]
        again = from_signed(signed, dtype=torch.float32, unit=unit, window=WINDOW)  # type: ignore[arg-type]
        assert torch.allclose(again, celsius + shift, atol=5e-5)


def test_an_image_whose_range_is_unknown_is_refused() -> None:
    with pytest.raises(DataError, match="needs the unit"):
        to_signed(torch.zeros(1, 2, 2))
    with pytest.raises(DataError, match="8-bit image cannot count centikelvin"):
        to_signed(torch.zeros(1, 2, 2, dtype=torch.uint8), unit="centikelvin", window=WINDOW)
    with pytest.raises(ValueError, match="too coarse"):
        from_signed(torch.zeros(1), dtype=torch.uint16, unit="celsius", window=WINDOW)


def test_channels_are_weighted_as_the_eye_weighs_them() -> None:
    rgb = torch.tensor([1.0, 0.0, -1.0]).reshape(1, 3, 1, 1)
    assert with_channels(rgb, 1).item() == pytest.approx(0.299 - 0.114)
    grey = torch.rand(2, 1, 3, 3)
    assert torch.equal(with_channels(grey, 3)[:, 2], grey[:, 0])
    assert torch.allclose(with_channels(with_channels(grey, 3), 1), grey)


def test_an_even_image_has_no_fine_detail_up_to_its_border() -> None:
    even = torch.full((2, 3, 9, 7), 0.3, dtype=torch.float64)
    torch.testing.assert_close(fine_detail(even), torch.zeros_like(even), rtol=0, atol=1e-15)


def test_fine_detail_is_four_times_the_difference_from_the_mean_of_the_window() -> None:
    dot = torch.zeros(1, 1, 11, 11, dtype=torch.float64)
    dot[..., 5, 5] = 1
    found = fine_detail(dot)
    expected = torch.zeros(11, 11, dtype=torch.float64)
    expected[3:8, 3:8] = -4 / 25
    expected[5, 5] = 4 * (1 - 1 / 25)
    torch.testing.assert_close(found[0, 0], expected)
    corner = torch.zeros(1, 1, 11, 11, dtype=torch.float64)
    corner[..., 0, 0] = 1
    assert float(fine_detail(corner)[0, 0, 0, 0]) == pytest.approx(4 * (1 - 1 / 9))


def test_fine_detail_treats_images_and_channels_alone() -> None:
    draw = torch.Generator().manual_seed(0)
    pictures = torch.rand(2, 3, 12, 10, generator=draw, dtype=torch.float64)
    for row in range(2):
        for channel in range(3):
            alone = fine_detail(pictures[row : row + 1, channel : channel + 1])
            torch.testing.assert_close(fine_detail(pictures)[row, channel], alone[0, 0])


def test_resizing_averages_what_it_shrinks() -> None:
    stripes = torch.full((3, 64, 64), -1.0)
    stripes[..., ::8] = 1.0  # the mean is -0.75; plain sampling would miss the stripes
    small = resize(stripes, 8)
    assert small.shape == (3, 8, 8)
    assert torch.allclose(small[..., 2:-2], torch.tensor(-0.75), atol=0.05)
    assert resize(stripes[None], (16, 8)).shape == (1, 3, 16, 8)
    assert resize(stripes, 64) is stripes
