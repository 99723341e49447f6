"""Probabilities that mean what they say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from cycada.metrics.calibration import Calibration, calibrated, calibration_error, log_odds
from cycada.metrics.thresholds import target_reading

Floats = npt.NDArray[np.float64]


def sigmoid(values: npt.ArrayLike) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.asarray(values, dtype=np.float64))))


def domain(seed: int, *, frequency: float, count: int = 6000) -> tuple[Floats, Floats, Floats]:
    """Return scores of two normal heaps, labels, and the posterior by Bayes' rule, ``(N, 1)``."""
    draw = np.random.default_rng(seed)
    labels = (draw.random((count, 1)) < frequency).astype(float)
    scores = draw.normal(size=labels.shape) + 2 * labels
    return scores, labels, sigmoid(2 * scores - 2 + np.log(frequency / (1 - frequency)))


@pytest.mark.parametrize(("slope", "offset"), [(0.3, 0.0), (1.0, -2.0), (3.0, 1.0)])
def test_probabilities_that_are_too_sure_too_timid_or_shifted_become_the_posterior(
    slope: float, offset: float
) -> None:
    _, labels, right = domain(0, frequency=0.2)
    wrong = sigmoid(slope * log_odds(right) + offset)
    found = calibrated(wrong, labels, labels >= 0, fewest=5)(wrong)
    assert np.abs(found - right).mean() < 0.01
    assert calibration_error(found, labels, labels >= 0)[0] < 0.015
    assert calibration_error(wrong, labels, labels >= 0)[0] > 0.05


def test_unknown_labels_tell_nothing() -> None:
    _, labels, right = domain(1, frequency=0.3, count=400)
    known = np.random.default_rng(2).random(labels.shape) < 0.5
    one = calibrated(right, labels, known, fewest=5)
    other = calibrated(right, np.where(known, labels, 1 - labels), known, fewest=5)
    assert one.slope == other.slope
    assert one.offset == other.offset
    error = calibration_error(right, np.where(known, labels, 1 - labels), known)
    assert error == pytest.approx(
        calibration_error(right[known][:, None], labels[known][:, None], np.ones((known.sum(), 1)))
    )


@pytest.mark.parametrize("labels", [np.zeros((50, 1)), np.ones((50, 1)), np.eye(50)[:, :1]])
def test_an_answer_with_too_few_examples_of_either_kind_stays_as_it_is(labels: Floats) -> None:
    raw = np.linspace(0.01, 0.99, 50)[:, None]
    found = calibrated(raw, labels, np.ones_like(labels), fewest=5)
    np.testing.assert_allclose(found(raw), raw, atol=1e-12)


@pytest.mark.parametrize(("there", "shift"), [(0.06, 1.5), (0.15, 1.5), (0.15, -1.5), (0.4, -1.5)])
def test_where_nothing_is_labelled_a_shift_is_undone_and_the_frequency_drawn_to_what_is_seen(
    there: float, shift: float
) -> None:
    own, labels, _ = domain(3, frequency=0.15)
    other, hidden, right = domain(4, frequency=there)
    shifted = sigmoid(2 * other - 2 + shift)  # as adaptation may leave them
    reading = target_reading(sigmoid(2 * own - 2), labels, labels >= 0, shifted)
    found = reading.calibration(shifted)
    as_at_home = calibrated(sigmoid(2 * own - 2), labels, labels >= 0, fewest=5)(shifted)
    assert np.abs(found - right).mean() < np.abs(as_at_home - right).mean()
    low, high = sorted((0.15, there))
    assert 0.9 * low < found.mean() < 1.1 * high
    if there == 0.15:
        assert calibration_error(found, hidden, hidden >= 0)[0] < 0.03


def test_the_error_is_that_of_its_definition() -> None:
    """By hand: two bins, one with 0.2 said of a half, one with 0.9 said of all."""
    said = np.array([[0.15], [0.25 - 0.06], [0.9], [0.9]])
    labels = np.array([[0.0], [1.0], [1.0], [1.0]])
    error = (2 * abs(0.5 - (0.15 + 0.19) / 2) + 2 * abs(1 - 0.9)) / 4
    assert calibration_error(said, labels, np.ones_like(labels))[0] == pytest.approx(error)
    assert np.isnan(calibration_error(said, labels, np.zeros_like(labels))[0])
    sure = np.array([[1.0], [0.0]])
    assert calibration_error(sure, sure, np.ones_like(sure))[0] == 0


def test_it_is_read_again_as_it_was_written() -> None:
    made = Calibration(np.array([0.5, 2.0]), np.array([-1.0, 0.25]))
    again = Calibration.from_json(made.to_json())
    raw = np.array([[0.0, 1.0], [0.3, 0.6]])
    assert np.array_equal(again(raw), made(raw))
    assert made(raw)[1, 0] == pytest.approx(float(sigmoid(0.5 * np.log(0.3 / 0.7) - 1)))
