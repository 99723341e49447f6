from __future__ import annotations

import math

import pytest
import torch

from cycada.errors import DataError
from cycada.thermal import (
    Unit,
    Window,
    celsius_from_counts,
    counts_from_celsius,
    from_signed,
    guess_unit,
    to_signed,
)

# 32 deg C is 305.15 K.
KNOWN = [
    ("centikelvin", 30515),
    ("decikelvin", 3051.5),
    ("kelvin64", 305.15 * 64),
    ("kelvin16", 305.15 * 16),
    ("kelvin", 305.15),
    ("celsius", 32.0),
]


@pytest.mark.parametrize(("unit", "counts"), KNOWN)
def test_32_degrees_are_the_counts_that_the_unit_defines(unit: Unit, counts: float) -> None:
    celsius = celsius_from_counts(torch.tensor(counts, dtype=torch.float64), unit)
    assert celsius.dtype == torch.float32
    assert celsius.item() == pytest.approx(32.0, abs=2e-5)
    back = counts_from_celsius(torch.tensor(32.0), unit)
    rounding = 0.5 if back.dtype == torch.uint16 else 1e-4
    assert back.item() == pytest.approx(counts, abs=rounding)


@pytest.mark.parametrize("unit", ["centikelvin", "decikelvin", "kelvin64", "kelvin16"])
def test_every_16_bit_count_comes_back_from_its_temperature(unit: Unit) -> None:
    counts = torch.arange(65536, dtype=torch.int32)
    celsius = celsius_from_counts(counts.to(torch.uint16), unit)
    assert torch.equal(counts_from_celsius(celsius, unit).to(torch.int32), counts)


def test_counts_are_held_within_16_bits() -> None:
    counts = counts_from_celsius(torch.tensor([-400.0, 1000.0]), "centikelvin")
    assert counts.tolist() == [0, 65535]


def test_grey_pixels_have_no_temperature() -> None:
    with pytest.raises(DataError, match="no temperature scale"):
        celsius_from_counts(torch.zeros(1), "grey")
    with pytest.raises(DataError, match="no temperature scale"):
        counts_from_celsius(torch.zeros(1), "grey")


def test_the_window_spans_minus_one_to_one_and_clips() -> None:
    signed = to_signed(torch.tensor([10.0, 20.0, 25.0, 30.0, 40.0, 99.0]), Window(20, 40))
    assert signed.tolist() == [-1.0, -1.0, -0.5, 0.0, 1.0, 1.0]
    assert from_signed(torch.tensor([-1.0, 0.0, 1.0]), Window(24, 38)).tolist() == [24, 31, 38]


def test_a_window_upside_down_is_refused() -> None:
    with pytest.raises(DataError, match=r"40 to 20 deg C is upside down"):
        Window(40, 20)
    with pytest.raises(DataError, match="upside down"):
        Window(30, 30)
    with pytest.raises(DataError, match="two finite numbers"):
        Window(20, math.inf)


@pytest.mark.parametrize(
    ("median", "integer", "unit"),
    [
        (30515, True, "centikelvin"),
        (3051, True, "decikelvin"),
        (19530, True, "kelvin64"),
        (4882, True, "kelvin16"),
        (305.15, False, "kelvin"),
        (32.0, False, "celsius"),
        (305, True, None),  # a 16-bit file holds no whole kelvin
        (8192, True, None),  # raw counts of an uncalibrated Lepton
    ],
)
def test_the_unit_is_guessed_from_the_median_of_a_face(
    median: float, integer: bool, unit: Unit | None
) -> None:
    assert guess_unit(median, integer=integer) == unit
