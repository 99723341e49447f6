"""The frequency that scores of unlabelled faces speak for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from cycada.metrics.frequency import frequency_likelihood

Floats = npt.NDArray[np.float64]
FREQUENCIES = 1 / (1 + np.exp(-np.linspace(-4, 2, 25)))


def faces(
    seed: int, *, frequency: float, apart: float, width: float = 1.0, count: int = 4000
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return scores, normal around 0 (absent) and ``apart`` (present), and which are present."""
    draw = np.random.default_rng(seed)
    present = draw.random(count) < frequency
    return draw.normal(size=count) * width + apart * present, present


@pytest.mark.parametrize("there", [0.04, 0.1, 0.3, 0.6])
def test_the_frequency_is_found_where_faces_are_told_apart(there: float) -> None:
    scores, present = faces(0, frequency=0.25, apart=4.0)
    elsewhere, _ = faces(1, frequency=there, apart=3.2, width=1.1)
    found = frequency_likelihood(scores, present, elsewhere - 5, FREQUENCIES)
    best = FREQUENCIES[found.argmax()]
    assert np.log(best / (1 - best)) == pytest.approx(np.log(there / (1 - there)), abs=0.3)


def test_scores_that_hardly_differ_say_little() -> None:
    scores, present = faces(0, frequency=0.25, apart=0.5)
    elsewhere, _ = faces(1, frequency=0.05, apart=0.5)
    assert np.ptp(frequency_likelihood(scores, present, elsewhere, FREQUENCIES)) < 0.5
    scores, present = faces(0, frequency=0.25, apart=4.0)
    elsewhere, _ = faces(1, frequency=0.05, apart=4.0)
    assert np.ptp(frequency_likelihood(scores, present, elsewhere, FREQUENCIES)) > 15


@pytest.mark.parametrize(("shift", "scale"), [(3.0, 1.0), (0.0, 0.4), (-5.0, 3.0)])
def test_where_the_scores_lie_and_in_which_unit_does_not_matter(shift: float, scale: float) -> None:
    scores, present = faces(0, frequency=0.25, apart=2.5)
    elsewhere, _ = faces(1, frequency=0.1, apart=2.0)
    plain = frequency_likelihood(scores, present, elsewhere, FREQUENCIES)
    moved = frequency_likelihood(scores, present, scale * elsewhere + shift, FREQUENCIES)
    np.testing.assert_allclose(moved - moved.max(), plain - plain.max(), atol=1e-6)


@pytest.mark.parametrize("frequency", [0.05, 0.3])
def test_it_is_the_maximum_of_its_formula(frequency: float) -> None:
    """Against a plain search over both means and both widths, from the same start."""
    scores, present = faces(0, frequency=0.25, apart=3.0)
    elsewhere, _ = faces(1, frequency=0.1, apart=2.5)
    points = np.quantile(elsewhere, (np.arange(500) + 0.5) / 500)
    usual = np.array([scores[~present].var(), scores[present].var()])

    def loss(values: Floats) -> float:
        (low, high), variances = values[:2], np.exp(values[2:])
        density = (1 - frequency) * norm.pdf(points, low, np.sqrt(variances[0]))
        density += frequency * norm.pdf(points, high, np.sqrt(variances[1]))
        scale = 1 / (usual / variances).mean()
        prior = -12 / 2 * np.log(variances / (scale * usual)).sum()
        constant = 200 * np.log(2 * np.pi) / 2  # the densities of the code have none
        return -float(200 * np.log(density).mean() + prior + constant)

    start = [0.0, 2.5, *np.log(usual)]
    options = {"maxiter": 4000, "xatol": 1e-6, "fatol": 1e-9}
    best = minimize(loss, start, method="Nelder-Mead", options=options)
    found = frequency_likelihood(scores, present, elsewhere, np.array([frequency]))
    assert found[0] == pytest.approx(-best.fun, abs=0.02)


def test_more_faces_make_it_no_surer() -> None:
    scores, present = faces(0, frequency=0.25, apart=2.5)
    elsewhere, _ = faces(1, frequency=0.1, apart=2.0)
    plain = frequency_likelihood(scores, present, elsewhere, FREQUENCIES)
    more = frequency_likelihood(scores, present, np.repeat(elsewhere, 3), FREQUENCIES)
    np.testing.assert_allclose(more, plain, atol=0.3)


def test_scores_that_tell_nothing_favour_no_frequency() -> None:
    _, present = faces(0, frequency=0.25, apart=1.0)
    elsewhere, _ = faces(1, frequency=0.1, apart=2.0)
    for scores in (np.zeros(len(present)), np.where(present, -1.0, 1.0)):
        said = frequency_likelihood(scores, present, elsewhere, FREQUENCIES)
        np.testing.assert_array_equal(said, np.zeros(len(FREQUENCIES)))
    backwards = np.where(present, -1.0, 1.0) + np.random.default_rng(2).normal(size=len(present))
    assert not frequency_likelihood(backwards, present, elsewhere, FREQUENCIES).any()


def test_unlabelled_scores_that_are_equal_or_few_give_finite_numbers() -> None:
    scores, present = faces(0, frequency=0.25, apart=3.0)
    for alike in (np.array([1.5]), np.full(50, -20.0)):
        said = frequency_likelihood(scores, present, alike, FREQUENCIES)
        np.testing.assert_array_equal(said, np.zeros(len(FREQUENCIES)))
    for shares in ([80, 20], [60, 30, 10], [99, 1]):
        levels = np.repeat(np.linspace(-20.0, 20.0, len(shares)), shares)
        assert np.isfinite(frequency_likelihood(scores, present, levels, FREQUENCIES)).all()
    levels = np.repeat([-20.0, 20.0], [80, 20])  # two heaps, and nothing between them
    said = frequency_likelihood(scores, present, levels, FREQUENCIES)
    assert FREQUENCIES[said.argmax()] == pytest.approx(0.2, abs=0.05)
