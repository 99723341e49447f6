"""Thresholds for a domain without labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import minimize

from cycada.metrics.calibration import platt
from cycada.metrics.detection import best_thresholds, f1_scores
from cycada.metrics.frequency import frequency_likelihood
from cycada.metrics.thresholds import target_reading

Floats = npt.NDArray[np.float64]


def probability(log_odds: npt.ArrayLike) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.asarray(log_odds))))


def domain(
    seed: int, *, frequency: float, apart: float, shift: float = 0.0, count: int = 4000
) -> tuple[Floats, Floats]:
    """Return the log-odds that a detector gives, and labels, each ``(N, 1)``.

    Its scores are normal, ``apart`` between absent and present, so the log-odds are linear in them.
    """
    draw = np.random.default_rng(seed)
    labels = (draw.random((count, 1)) < frequency).astype(float)
    scores = draw.normal(size=labels.shape) + apart * labels
    prior = np.log(frequency / (1 - frequency))
    return apart * scores - apart**2 / 2 + prior + shift, labels


@pytest.mark.parametrize("frequency", [0.1, 0.3])
def test_the_threshold_is_the_best_over_the_frequencies_that_may_be(frequency: float) -> None:
    """Brute force: draw frequencies, shift the probabilities until they agree, try every cut."""
    far = np.log(9)  # two standard deviations; beyond them no frequency is tried
    own, labels = domain(0, frequency=frequency, apart=2.0)
    other, _ = domain(1, frequency=frequency, apart=2.0, shift=-3.0)
    found = target_reading(probability(own), labels, labels >= 0, probability(other)).thresholds
    centre = np.log(frequency / (1 - frequency))
    cuts = np.unique(np.quantile(other, np.linspace(0, 0.99, 200)))
    detected = other >= cuts
    expected = np.zeros(len(cuts))
    drawn = np.random.default_rng(2).normal(centre, np.log(3), 600)
    frequencies = probability(drawn[abs(drawn - centre) < far])
    likelihood = frequency_likelihood(own[:, 0], labels[:, 0] > 0, other[:, 0], frequencies)
    weights = np.exp(likelihood - likelihood.max())
    shifts = np.linspace(-15, 15, 3001)
    means = np.interp(shifts, shifts[::30], [probability(other + s).mean() for s in shifts[::30]])
    for wanted, weight in zip(frequencies, weights / weights.sum(), strict=True):
        said = probability(other + np.interp(wanted, means, shifts))
        expected += weight * 2 * (said * detected).sum(0) / (detected.sum(0) + said.sum())
    there = np.interp(np.log(found / (1 - found)), cuts, expected)
    assert there == pytest.approx(expected.max(), abs=0.001)


@pytest.mark.parametrize("slope", [0.6, 3.0])
@pytest.mark.parametrize("frequency", [0.05, 0.3, 0.5])
@pytest.mark.parametrize("apart", [1.0, 2.0])
def test_it_does_not_matter_how_well_the_source_is_calibrated(
    slope: float, frequency: float, apart: float
) -> None:
    own, labels = domain(0, frequency=frequency, apart=apart)
    other, _ = domain(1, frequency=frequency, apart=apart)
    known = labels >= 0
    right = target_reading(probability(own), labels, known, probability(other)).thresholds
    # A slope below 1 is a detector that is too sure.
    off, there = own / slope + 1, other / slope + 1
    wrong = target_reading(probability(off), labels, known, probability(there)).thresholds
    decided = probability(there) >= wrong
    assert (decided != (probability(other) >= right)).mean() < 0.02


def test_the_calibration_is_the_minimum_of_its_loss() -> None:
    """Against a plain search of Platt's loss, in a case in which Newton's steps run in circles."""
    own, labels = domain(0, frequency=0.5, apart=3.0, count=640)
    scores, present = own[:, 0] / 0.3, labels[:, 0] > 0
    truth = np.where(present, (present.sum() + 1) / (present.sum() + 2), 1 / ((~present).sum() + 2))

    def loss(values: Floats) -> float:
        said = values[0] * scores + values[1]
        return float((np.logaddexp(0, said) - truth * said).sum())

    best = minimize(loss, (1.0, 0.0), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-9})
    np.testing.assert_allclose(platt(scores, present), best.x, atol=1e-4)


def test_scores_that_tell_nothing_and_scores_that_are_equal() -> None:
    labels = np.tile([[0.0], [1.0]], (50, 1))
    known = np.ones_like(labels, dtype=bool)
    blind = np.full_like(labels, 0.2)
    backwards = np.where(labels > 0, 0.2, 0.8)
    spread = np.linspace(0.01, 0.99, 99)[:, None]
    for own in (blind, backwards):  # then F1 is highest if all faces are detected
        cut = target_reading(own, labels, known, spread).thresholds
        assert 0 < cut < spread.min()
    good = np.where(labels > 0, 0.9, 0.1)
    steps = np.repeat([0.05, 0.5, 0.95], [60, 30, 10])[:, None]
    cut = float(target_reading(good, labels, known, steps).thresholds[0])
    assert min(abs(cut - level) for level in (0.05, 0.5, 0.95)) > 1e-3  # between, never among
    with pytest.raises(ValueError, match="finite"):
        target_reading(good, labels, known, np.full((3, 1), np.nan))
    with pytest.raises(ValueError, match="some of the target"):
        target_reading(good, labels, known, np.empty((0, 1)))


def test_a_shift_of_all_scores_does_not_matter() -> None:
    own, labels = domain(0, frequency=0.2, apart=1.5)
    other, _ = domain(1, frequency=0.2, apart=1.5)
    decided = [
        probability(other + shift)
        >= target_reading(
            probability(own), labels, labels >= 0, probability(other + shift)
        ).thresholds
        for shift in (0.0, -4.0, 2.5)
    ]
    assert 0.1 < decided[0].mean() < 0.6
    for shifted in decided[1:]:
        assert (shifted != decided[0]).mean() < 0.002


def test_a_detector_that_is_less_sure_of_the_target_detects_more_often() -> None:
    own, labels = domain(0, frequency=0.2, apart=2.5)
    shares = []
    for apart in (2.5, 1.2, 0.6):
        other, _ = domain(1, frequency=0.2, apart=apart)
        cut = target_reading(probability(own), labels, labels >= 0, probability(other)).thresholds
        shares.append((probability(other) >= cut).mean())
    assert shares[0] < shares[1] < shares[2]


def f1_at(
    log_odds: Floats, truth: Floats, cuts: Floats, known: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the F1 that the cuts reach, and the most that any reaches."""
    said = probability(log_odds)
    best = best_thresholds(said, truth, known)
    reached, most = (float(f1_scores(said >= c, truth, known)[0]) for c in (cuts, best))
    return reached, most


@pytest.mark.parametrize("there", [0.07, 0.2, 0.45])
def test_it_beats_the_threshold_of_the_source_where_the_target_differs(there: float) -> None:
    own, labels = domain(0, frequency=0.2, apart=2.0)
    other, truth = domain(1, frequency=there, apart=1.3, shift=-2.0)
    known = np.ones_like(truth, dtype=bool)
    cut = target_reading(probability(own), labels, known, probability(other)).thresholds
    tuned = best_thresholds(probability(own), labels, known)
    f1, most = f1_at(other, truth, cut, known)
    naive, _ = f1_at(other, truth, tuned, known)
    assert f1 > naive + 0.05
    if there == 0.2:  # as frequent as in the source
        assert f1 > most - 0.03


@pytest.mark.parametrize("there", [0.1, 0.3, 0.6])
def test_where_faces_are_told_apart_the_frequency_of_the_target_is_seen(there: float) -> None:
    own, labels = domain(0, frequency=0.3, apart=4.0)
    other, truth = domain(1, frequency=there, apart=3.5, shift=-2.0)
    known = np.ones_like(truth, dtype=bool)
    cut = target_reading(probability(own), labels, known, probability(other)).thresholds
    f1, most = f1_at(other, truth, cut, known)
    assert f1 > most - 0.02


@pytest.mark.parametrize("there", [0.08, 0.5])
def test_the_frequency_is_seen_through_the_differences_of_people(there: float) -> None:
    """Where faces of each person differ by the AU alone, people hide it, and centring shows it."""
    draw, each = np.random.default_rng(0), 8
    own, labels = domain(0, frequency=0.2, apart=4.0)
    other, truth = domain(1, frequency=there, apart=4.0, count=2000)
    people = np.arange(len(other)) // each
    other = other + 10 * draw.normal(size=(people.max() + 1, 1))[people]
    known, strangers = np.ones_like(labels, dtype=bool), [str(n) for n in range(len(own))]
    found = [
        target_reading(
            probability(own), labels, known, probability(other), subjects=subjects
        ).thresholds
        for subjects in (None, (strangers, [str(person) for person in people]))
    ]
    best = best_thresholds(probability(other), truth, np.ones_like(truth, dtype=bool))
    unseen, seen = (abs(np.log(cut / (1 - cut)) - np.log(best / (1 - best))) for cut in found)
    assert seen < unseen


def test_unannotated_faces_do_not_count_and_rare_action_units_stay_at_one_half() -> None:
    own, labels = domain(0, frequency=0.3, apart=2.0, count=300)
    other, _ = domain(1, frequency=0.3, apart=2.0, count=300)
    known = np.ones_like(labels, dtype=bool)
    more = np.vstack((own, np.full((50, 1), 9.0)))
    padded = target_reading(
        probability(more),
        np.vstack((labels, np.zeros((50, 1)))),
        np.vstack((known, np.zeros((50, 1), dtype=bool))),
        probability(other),
    ).thresholds
    plain = target_reading(probability(own), labels, known, probability(other)).thresholds
    np.testing.assert_array_equal(padded, plain)
    rare = np.zeros_like(labels)
    rare[:4] = 1
    for none in (rare, np.ones_like(labels)):
        assert target_reading(probability(own), none, known, probability(other)).thresholds == 0.5


def test_a_source_that_is_told_apart_without_fault_gives_a_finite_threshold() -> None:
    labels = np.repeat([[0.0], [1.0]], 50, axis=0)
    own = np.where(labels > 0, 12.0, -12.0)
    cut = target_reading(probability(own), labels, labels >= 0, probability(own)).thresholds
    assert 0 < cut < 1
    np.testing.assert_array_equal(probability(own) >= cut, labels > 0)
