"""Intensities read from the log-odds of occurrence, and how they are scored."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import minimize

from cycada.metrics.calibration import log_odds, logistic
from cycada.metrics.intensity import (
    IntensityReading,
    icc_and_mae,
    intensity_reading,
    intensity_sums,
)
from cycada.metrics.scores import IntensityScores, score_intensities
from cycada.task import Task

Floats = npt.NDArray[np.float64]
OFFSETS = np.array([1.0, -0.5, -1.5, -3.0, -4.5])


def sigmoid(values: npt.ArrayLike) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.asarray(values, dtype=np.float64))))


def proportional_odds(seed: int, *, slope: float, count: int) -> tuple[Floats, Floats]:
    """Draw probabilities of occurrence, and grades 0 to 5 by the model, ``(N, 1)`` each."""
    draw = np.random.default_rng(seed)
    scores = draw.normal(scale=2, size=count)
    reached = sigmoid(slope * scores[:, None] + OFFSETS)
    grades = (draw.random((count, 1)) < reached).sum(1)
    return sigmoid(scores)[:, None], grades[:, None].astype(float)


@pytest.mark.parametrize("slope", [0.4, 1.0, 2.5])
def test_the_odds_that_made_the_grades_are_found_again(slope: float) -> None:
    said, grades = proportional_odds(0, slope=slope, count=40_000)
    reading = intensity_reading(said, grades, fewest=5)
    assert reading is not None
    assert reading.slope[0] == pytest.approx(slope, rel=0.05)
    assert reading.offset[:, 0] == pytest.approx(OFFSETS, abs=0.15)
    expected = sigmoid(slope * log_odds(said) + OFFSETS).sum(1)
    assert np.abs(reading(said)[:, 0] - expected).max() < 0.06


def test_the_fit_is_the_least_cross_entropy_that_a_general_minimiser_finds() -> None:
    said, grades = proportional_odds(1, slope=1.3, count=300)
    scores = log_odds(said)[:, 0]
    reached = np.clip(grades - np.arange(5), 0, 1)
    many, few = reached.sum(0), len(scores) - reached.sum(0)
    wanted = reached * (many + 1) / (many + 2) + (1 - reached) / (few + 2)

    def loss(values: Floats) -> float:
        odds = values[0] * scores[:, None] + values[1:]
        return float((np.logaddexp(0, odds) - wanted * odds).sum())

    best = minimize(loss, np.zeros(6), method="BFGS", options={"gtol": 1e-6}).x
    slope, offsets = logistic(scores, reached)
    assert [slope, *offsets] == pytest.approx(best, abs=1e-3)


def test_intensities_between_grades_are_met_in_the_mean_and_rise_with_the_probability() -> None:
    draw = np.random.default_rng(2)
    strength = np.clip(draw.normal(1, 1.5, size=(2000, 1)), 0, 5)
    said = sigmoid(1.5 * (strength - 2) + draw.normal(size=strength.shape))
    reading = intensity_reading(said, strength, fewest=5)
    assert reading is not None
    told = reading(said)
    assert told.mean() == pytest.approx(strength.mean(), abs=0.02)
    middle = (said > 0.4) & (said < 0.6)
    assert told[middle].mean() == pytest.approx(strength[middle].mean(), abs=0.15)
    assert (np.diff(reading(np.linspace(0, 1, 50)[:, None])[:, 0]) > 0).all()
    assert (np.diff(reading.offset[:, 0]) < 0).all()
    assert 0 <= reading([[0.0]])[0, 0] < reading([[1.0]])[0, 0] <= 5


def test_unknown_grades_tell_nothing_and_an_au_graded_too_seldom_is_not_told() -> None:
    said, grades = proportional_odds(3, slope=1.0, count=400)
    holes = np.where(np.arange(400)[:, None] % 2, grades, np.nan)
    rare = np.where(np.arange(400)[:, None] < 4, 1.0, 0.0)
    reading = intensity_reading(np.hstack([said] * 3), np.hstack([grades, holes, rare]), fewest=5)
    half = intensity_reading(said[1::2], grades[1::2], fewest=5)
    assert reading is not None
    assert half is not None
    assert reading.slope[1] == half.slope[0]
    assert np.isnan(reading(np.full((2, 3), 0.3))[:, 2]).all()
    assert np.isfinite(reading(np.full((2, 3), 0.3))[:, :2]).all()
    assert intensity_reading(said, np.full_like(said, np.nan), fewest=5) is None


def test_a_detector_that_is_worse_than_chance_tells_the_mean() -> None:
    said, grades = proportional_odds(4, slope=2.0, count=500)
    reading = intensity_reading(1 - said, grades, fewest=5)
    assert reading is not None
    assert reading.slope[0] == 0
    assert reading([[0.01], [0.99]])[:, 0] == pytest.approx([grades.mean()] * 2, abs=0.05)


def test_it_is_read_again_as_it_was_written() -> None:
    made = IntensityReading(np.array([0.5, np.nan]), np.array([[1.0, np.nan]] * 5))
    again = IntensityReading.from_json(made.to_json())
    raw = np.array([[0.2, 0.9]])
    np.testing.assert_array_equal(again(raw), made(raw))


def test_icc_is_that_of_the_analysis_of_variance() -> None:
    """Shrout & Fleiss, 1979: (BMS - EMS) / (BMS + EMS) for two judges, from the sums of squares."""
    draw = np.random.default_rng(5)
    truth = draw.integers(0, 6, size=30).astype(float)
    told = 0.7 * truth + draw.normal(size=30) + 1
    table = np.stack((told, truth), axis=1)
    grand = table.mean()
    between = 2 * ((table.mean(1) - grand) ** 2).sum() / 29
    judges = 30 * ((table.mean(0) - grand) ** 2).sum()
    residual = (((table - grand) ** 2).sum() - between * 29 - judges) / 29
    icc, mae = icc_and_mae(intensity_sums(told[:, None], truth[:, None], np.arange(30) % 4).sum(0))
    assert icc[0] == pytest.approx((between - residual) / (between + residual))
    assert mae[0] == pytest.approx(np.abs(told - truth).mean())


def test_scores_leave_out_what_is_unknown_and_resample_subjects() -> None:
    draw = np.random.default_rng(6)
    truth = draw.uniform(0, 5, size=(200, 2))
    told = truth + draw.normal(scale=0.5, size=truth.shape)
    told[:50, 0] = np.nan
    truth[150:, 1] = np.nan
    names = np.arange(200) // 20
    found = score_intensities(told, truth, subjects=names, task=Task((1, 12)), resamples=200)
    assert [unit.frames for unit in found.units] == [150, 150]
    assert found.units[0].mae == pytest.approx(np.abs(told - truth)[50:, 0].mean())
    assert found.macro_mae == pytest.approx(np.mean([unit.mae for unit in found.units]))
    for unit in found.units:
        assert unit.icc_interval.low < unit.icc < unit.icc_interval.high
    assert found.macro_icc_interval.low < found.macro_icc < found.macro_icc_interval.high
    assert IntensityScores.from_json(found.to_json()) == found
    alone = score_intensities(told, truth, subjects=np.zeros(200), task=Task((1, 12)))
    assert np.isnan(alone.macro_icc_interval.low)


def test_nothing_graded_is_no_number() -> None:
    empty = np.full((3, 1), np.nan)
    found = score_intensities(empty, empty, subjects=np.arange(3), task=Task((1,)))
    assert np.isnan(found.macro_icc)
    assert found.to_json()["macro_mae"] is None
