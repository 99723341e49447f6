from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from cycada.errors import DataError
from cycada.footage.radiometry import (
    Linear,
    Planck,
    celsius_from_raw,
    raw_from_celsius,
    read_calibration,
)

# Of a FLIR E40, as its files state them.
E40 = Planck(15401.146, 0.012555, 1437.3, -6303, 1.0)


def by_the_formula(count: float, c: Planck) -> float:
    """Return deg C, one count at a time, as the formula is published."""
    seen = count
    if c.reflected is not None:
        mirrored = c.r1 / (c.r2 * (math.exp(c.b / (c.reflected + 273.15)) - c.f)) - c.o
        seen = (count - (1 - c.emissivity) * mirrored) / c.emissivity
    return c.b / math.log(c.r1 / (c.r2 * (seen + c.o)) + c.f) - 273.15


@pytest.mark.parametrize("surface", [(1.0, None), (0.98, 22.0), (0.6, -40.0)])
def test_counts_become_the_temperatures_of_plancks_law(
    surface: tuple[float, float | None],
) -> None:
    calibration = Planck(E40.r1, E40.r2, E40.b, E40.o, E40.f, *surface)
    counts = np.arange(12000, 40000, 500, dtype=np.uint16).reshape(4, 14)
    found = celsius_from_raw(counts, calibration)
    expected = [by_the_formula(int(count), calibration) for count in counts.ravel()]
    np.testing.assert_allclose(found.ravel(), expected, rtol=0, atol=1e-9)


def test_temperatures_come_back_from_their_counts() -> None:
    celsius = np.linspace(-60, 300, 361)
    back = celsius_from_raw(raw_from_celsius(celsius, E40), E40)
    np.testing.assert_allclose(back, celsius, rtol=0, atol=1e-8)


def test_a_mirror_at_the_temperature_of_its_surroundings_looks_like_a_black_body() -> None:
    counts = raw_from_celsius(np.array([22.0]), E40)
    half = Planck(E40.r1, E40.r2, E40.b, E40.o, E40.f, 0.5, 22.0)
    assert celsius_from_raw(counts, half).item() == pytest.approx(22.0)


def test_counts_that_no_temperature_gives_are_refused() -> None:
    counts = np.array([[100, 20000]], dtype=np.uint16)  # 100 + O is negative
    with pytest.raises(DataError, match="50% of its counts are of no temperature"):
        celsius_from_raw(counts, E40)


def test_linear_calibrations_are_straight_lines() -> None:
    found = celsius_from_raw(np.array([0, 8192, 65535], dtype=np.uint16), Linear(0.025, -180))
    assert found.tolist() == pytest.approx([-180, 24.8, 1458.375])


PLANCK = "R1 = 15401.146\nR2 = 0.012555\nB = 1437.3\nO = -6303\nF = 1\n"


def test_a_calibration_is_read_and_its_surface_can_be_stated_anew(tmp_path: Path) -> None:
    file = tmp_path / "camera.toml"
    file.write_text(PLANCK)
    assert read_calibration(file) == E40
    file.write_text(PLANCK + "emissivity = 0.9\nreflected = 18\n")
    assert read_calibration(file, emissivity=0.98) == Planck(
        E40.r1, E40.r2, E40.b, E40.o, E40.f, 0.98, 18.0
    )
    file.write_text("gain = 0.04\noffset = -273.15\n")
    assert read_calibration(file) == Linear(0.04, -273.15)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds nothing; a calibration holds R1, R2, B, O and F"),
        ("R1 = 1\nB = 2\n", "holds B, R1; a calibration"),
        ("gain = 1\noffset = 0\nF = 1\n", "holds F, gain, offset; a calibration"),
        ("gain = true\noffset = 0\n", "gain is a number, not True"),
        (PLANCK.replace("B = 1437.3", "B = -1"), "R1, R2, B and F are finite and above 0"),
        (PLANCK + "emissivity = 0.9\n", "an emissivity below 1 needs the apparent temperature"),
        (PLANCK + "emissivity = 1.2\nreflected = 20\n", "the emissivity lies above 0"),
        ("gain = \n", "cannot be read as TOML"),
    ],
)
def test_a_wrong_calibration_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "camera.toml"
    file.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_calibration(file)
    assert "camera.toml" in str(caught.value)


def test_a_linear_calibration_has_no_place_for_a_surface(tmp_path: Path) -> None:
    file = tmp_path / "camera.toml"
    file.write_text("gain = 0.04\noffset = -273.15\n")
    with pytest.raises(DataError, match="linear, which leaves no place for --emissivity"):
        read_calibration(file, emissivity=0.9)
    with pytest.raises(DataError, match="there is no such calibration"):
        read_calibration(tmp_path / "gone.toml")
