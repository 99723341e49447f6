"""Breaths are counted, and told from noise by how alike they are."""

from __future__ import annotations

import numpy as np
import pytest

from cycada.vitals.breaths import breaths
from cycada.vitals.respiration import BAND, GRID, Array, band_passed

TIMES = np.arange(300) / GRID


def wave(rates: Array) -> Array:
    """Return breaths of given rates per minute at each moment."""
    return np.sin(2 * np.pi * np.cumsum(rates / 60) / GRID)


def counted(values: Array) -> tuple[float, float]:
    found = breaths(values, fastest=BAND[1], grid=GRID)
    return 60 * found.rate, found.likeness


@pytest.mark.parametrize("rate", [9.0, 14.3, 26.0, 44.0])
def test_steady_breaths_are_counted_and_alike(rate: float) -> None:
    found, likeness = counted(wave(np.full(300, rate)))
    assert found == pytest.approx(rate, abs=0.15)
    assert likeness > 0.9


def test_breaths_of_a_changing_rate_are_alike_and_their_mean_is_told() -> None:
    rates = np.linspace(14, 22, 300)
    found, likeness = counted(wave(rates))
    assert found == pytest.approx(18, abs=0.7)
    assert likeness > 0.8


def test_noise_in_the_band_of_breathing_is_not_alike() -> None:
    draw = np.random.default_rng(0)
    told = [counted(band_passed(draw.normal(size=300)))[1] for _ in range(100)]
    assert np.mean(np.array(told) > 0.5) <= 0.02


def test_a_breath_that_was_not_seen_does_not_slow_the_rate() -> None:
    values = wave(np.full(300, 24.0))
    values[140:160] = 0  # most of one of twelve
    assert counted(values)[0] == pytest.approx(24, abs=0.5)


def test_too_few_breaths_tell_nothing() -> None:
    found, likeness = counted(wave(np.full(300, 5.0)))
    assert np.isnan(found)
    assert likeness == 0
