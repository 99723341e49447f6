"""What can be told of a detector where nothing is labelled."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import rel_entr, softmax
from scipy.stats import entropy

from cycada.metrics import validators
from cycada.metrics.validators import (
    batch_nuclear_norm,
    information_maximisation,
    neighbourhood_rows,
    prediction_entropy,
    prevalence_shift,
    soft_neighbourhood_density,
)
from cycada.task import TaskKind

Floats = npt.NDArray[np.float64]
Criterion = Callable[[npt.ArrayLike, TaskKind], float]

KINDS: list[TaskKind] = ["classes", "action_units"]


def density(probabilities: npt.ArrayLike, kind: TaskKind) -> float:
    return soft_neighbourhood_density(neighbourhood_rows(probabilities, kind))


def shift(probabilities: npt.ArrayLike, kind: TaskKind) -> float:
    """Return the shift from frequencies of which no two are alike."""
    expected = np.arange(1, np.shape(probabilities)[-1] + 1) / 10
    if kind == "classes":
        expected = expected / expected.sum()
    return prevalence_shift(probabilities, expected, kind)


CRITERIA = [density, information_maximisation, prediction_entropy, batch_nuclear_norm, shift]


def drawn(kind: TaskKind, *, faces: int = 30, answers: int = 4, seed: int = 0) -> Floats:
    """Return probabilities from nearly 0 to nearly 1."""
    scores = 3 * np.random.default_rng(seed).normal(size=(faces, answers))
    if kind == "classes":
        return np.asarray(softmax(scores, axis=1))
    return np.asarray(1 / (1 + np.exp(-scores)))


# Soft neighbourhood density


@pytest.mark.parametrize("temperature", [0.05, 0.3, 2.0])
def test_the_density_is_the_entropy_of_its_definition(temperature: float) -> None:
    features = np.random.default_rng(0).normal(size=(25, 6)) * 7
    each = []
    for i, own in enumerate(features):
        others = [features[j] for j in range(len(features)) if j != i]
        cosines = [own @ other / np.linalg.norm(own) / np.linalg.norm(other) for other in others]
        each.append(entropy(softmax(np.array(cosines) / temperature)))
    found = soft_neighbourhood_density(features, temperature=temperature)
    assert found == pytest.approx(np.mean(each), rel=1e-12)


def test_the_density_of_two_points_apart_is_that_of_their_sizes() -> None:
    """Within a heap all are alike, and e^-20 of a weight is beyond it."""
    rows = np.repeat(np.eye(2), [8, 4], axis=0)
    expected = (8 * np.log(7) + 4 * np.log(3)) / 12
    assert soft_neighbourhood_density(rows) == pytest.approx(expected, abs=1e-6)


def test_tight_heaps_are_denser_than_strewn_faces() -> None:
    draw = np.random.default_rng(0)
    strewn = draw.normal(size=(200, 16))
    heaps = np.repeat(draw.normal(size=(2, 16)), 100, axis=0) + 0.05 * strewn
    tight, loose = soft_neighbourhood_density(heaps), soft_neighbourhood_density(strewn)
    assert tight == pytest.approx(np.log(99), abs=0.01)
    assert loose < tight - 0.5


def test_equal_faces_are_the_densest() -> None:
    """The collapse that the module warns of."""
    assert soft_neighbourhood_density(np.ones((50, 3))) == pytest.approx(np.log(49))
    assert soft_neighbourhood_density(np.eye(2)) == 0  # each has but one neighbour


def test_lengths_do_not_matter_to_the_density() -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(40, 5))
    scaled = features * np.exp(5 * draw.normal(size=(40, 1)))
    before = scaled.copy()
    found = soft_neighbourhood_density(scaled)
    assert found == pytest.approx(soft_neighbourhood_density(features), rel=1e-12)
    np.testing.assert_array_equal(scaled, before)  # the caller's array is left alone


@pytest.mark.parametrize("at_once", [1, 100, 37 * 7, 37 * 36])
def test_parts_give_the_same_density_as_the_whole(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = np.random.default_rng(0).normal(size=(37, 5))
    whole = soft_neighbourhood_density(features)
    monkeypatch.setattr(validators, "_AT_ONCE", at_once)
    assert soft_neighbourhood_density(features) == pytest.approx(whole, rel=1e-13)


def test_ten_thousand_faces_need_little_memory() -> None:
    features = np.random.default_rng(0).normal(size=(10_000, 8))  # similarities: 800 MB
    tracemalloc.start()
    try:
        found = soft_neighbourhood_density(features)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.isfinite(found)
    assert most < 100e6


def test_a_tiny_temperature_leaves_the_density_finite() -> None:
    features = np.random.default_rng(0).normal(size=(20, 4))
    assert soft_neighbourhood_density(features, temperature=1e-9) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "features",
    [
        np.zeros((0, 3)),
        np.ones((1, 3)),
        np.ones((3, 0)),
        np.ones(3),
        np.ones((3, 2, 2)),
        [[1.0, np.nan], [1.0, 0.0]],
        [[1.0, np.inf], [1.0, 0.0]],
        [[1.0, 0.0], [0.0, 0.0]],
    ],
)
def test_features_without_neighbours_or_directions_are_refused(features: npt.ArrayLike) -> None:
    with pytest.raises(ValueError, match=r"expected|finite|direction"):
        soft_neighbourhood_density(features)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        soft_neighbourhood_density(np.eye(3), temperature=temperature)


def test_classes_are_compared_as_they_are() -> None:
    probabilities = drawn("classes")
    np.testing.assert_allclose(neighbourhood_rows(probabilities, "classes"), probabilities)


def test_action_units_are_compared_by_their_mean_overlap() -> None:
    """The Bhattacharyya coefficient of two coins, over AUs, from its definition."""
    probabilities = drawn("action_units", faces=6, answers=3)
    rows = neighbourhood_rows(probabilities, "action_units")
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), np.sqrt(3))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for i, j in itertools.product(range(6), repeat=2):
        p, q = probabilities[i], probabilities[j]
        overlap = (np.sqrt(p * q) + np.sqrt((1 - p) * (1 - q))).mean()
        assert unit[i] @ unit[j] == pytest.approx(overlap)


def test_faces_without_action_units_are_neighbours() -> None:
    """Noise around 0 points anywhere; it must not strew faces that show nothing."""
    nothing = np.random.default_rng(0).uniform(0, 1e-3, size=(100, 12))
    assert density(nothing, "action_units") == pytest.approx(np.log(99), abs=1e-3)
    assert soft_neighbourhood_density(nothing) < np.log(99) - 0.5  # what the form is for
    assert np.isfinite(density(np.zeros((5, 3)), "action_units"))


def test_it_does_not_matter_which_of_absent_and_present_is_which() -> None:
    probabilities = drawn("action_units")
    turned = np.where([True, False, True, False], 1 - probabilities, probabilities)
    for criterion in (density, information_maximisation, prediction_entropy, batch_nuclear_norm):
        found = criterion(turned, "action_units")
        assert found == pytest.approx(criterion(probabilities, "action_units"), rel=1e-9)


# Mutual information and entropy


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_sure_and_balanced_classes_tell_the_most(classes: int) -> None:
    sure = np.tile(np.eye(classes), (4, 1))
    assert information_maximisation(sure, "classes") == pytest.approx(np.log(classes))
    assert prediction_entropy(sure, "classes") == 0
    even = np.full((5, classes), 1 / classes)
    assert information_maximisation(even, "classes") == pytest.approx(0, abs=1e-12)
    assert prediction_entropy(even, "classes") == pytest.approx(np.log(classes))


def test_sure_and_balanced_action_units_tell_ln_2_each() -> None:
    half = np.array([[0.0, 1.0], [1.0, 1.0]])  # the first in half of the faces, the second in all
    assert information_maximisation(half[:, :1], "action_units") == pytest.approx(np.log(2))
    assert information_maximisation(half, "action_units") == pytest.approx(np.log(2) / 2)
    assert prediction_entropy(half, "action_units") == 0
    unsure = np.full((3, 2), 0.5)
    assert information_maximisation(unsure, "action_units") == pytest.approx(0, abs=1e-12)
    assert prediction_entropy(unsure, "action_units") == pytest.approx(np.log(2))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_answer_to_every_face_tells_nothing(kind: TaskKind) -> None:
    for row in drawn(kind, faces=5):
        said = information_maximisation(np.tile(row, (9, 1)), kind)
        assert 0 <= said == pytest.approx(0, abs=1e-12)


def test_information_and_entropy_are_those_of_scipy() -> None:
    said = drawn("classes")
    each = np.mean([entropy(row) for row in said])
    assert prediction_entropy(said, "classes") == pytest.approx(each)
    expected = entropy(said.mean(0)) - each
    assert information_maximisation(said, "classes") == pytest.approx(expected)

    units = drawn("action_units")
    coins = np.mean([[entropy([p, 1 - p]) for p in row] for row in units])
    assert prediction_entropy(units, "action_units") == pytest.approx(coins)
    whole = np.mean([entropy([p, 1 - p]) for p in units.mean(0)])
    assert information_maximisation(units, "action_units") == pytest.approx(whole - coins)


def test_information_is_the_divergence_of_faces_from_their_mean() -> None:
    """The other definition of mutual information."""
    said = drawn("classes")
    expected = rel_entr(said, said.mean(0)).sum(1).mean()
    assert information_maximisation(said, "classes") == pytest.approx(expected)


# Nuclear norm


def test_the_nuclear_norm_is_that_of_numpy_by_the_papers_bound() -> None:
    said = drawn("classes", faces=20, answers=4)  # 4 divides 20
    expected = np.linalg.svd(said)[1].sum() / np.sqrt(4 * 20)
    assert batch_nuclear_norm(said, "classes") == pytest.approx(expected)
    few = drawn("classes", faces=3, answers=5)
    expected = np.linalg.svd(few)[1].sum() / np.sqrt(3 * 3)
    assert batch_nuclear_norm(few, "classes") == pytest.approx(expected)

    units = drawn("action_units", faces=20, answers=3)
    norms = [np.linalg.svd(np.stack((1 - p, p), axis=1))[1].sum() for p in units.T]
    found = batch_nuclear_norm(units, "action_units")
    assert found == pytest.approx(np.mean(norms) / np.sqrt(2 * 20))


@pytest.mark.parametrize(("faces", "classes"), [(1, 3), (2, 3), (4, 3), (5, 3), (6, 2), (3, 1)])
def test_the_largest_nuclear_norm_is_1(faces: int, classes: int) -> None:
    """Over all sure answers, of which one is the maximum of a convex function."""
    answers = itertools.product(range(classes), repeat=faces)
    found = [batch_nuclear_norm(np.eye(classes)[list(each)], "classes") for each in answers]
    assert max(found) == pytest.approx(1)
    assert max(found) <= 1


def test_known_answers_have_known_nuclear_norms() -> None:
    same = np.tile([1.0, 0, 0, 0], (8, 1))
    assert batch_nuclear_norm(same, "classes") == pytest.approx(1 / 2)
    assert batch_nuclear_norm(np.full((8, 4), 1 / 4), "classes") == pytest.approx(1 / 4)
    rare = np.repeat([1.0, 0.0], [1, 9])[:, None]
    expected = (np.sqrt(0.1) + np.sqrt(0.9)) / np.sqrt(2)
    assert batch_nuclear_norm(rare, "action_units") == pytest.approx(expected)
    assert batch_nuclear_norm(np.full((8, 3), 0.5), "action_units") == pytest.approx(1 / 2)
    for sure in (np.zeros((8, 3)), np.ones((8, 3))):  # present is worth no more than absent
        assert batch_nuclear_norm(sure, "action_units") == pytest.approx(np.sqrt(1 / 2))


def test_action_units_that_go_together_are_no_fault() -> None:
    one = np.tile([0.0, 1.0], 10)
    together, apart = np.stack((one, one), 1), np.stack((one, np.repeat([0.0, 1.0], 10)), 1)
    for criterion in (information_maximisation, batch_nuclear_norm):
        found = criterion(together, "action_units")
        assert found == pytest.approx(criterion(apart, "action_units"))


# Prevalence


def test_the_shift_is_the_divergence_of_the_mean_answer() -> None:
    said, expected = drawn("classes"), np.array([0.1, 0.2, 0.3, 0.4])
    divergence = entropy(said.mean(0), expected)
    assert prevalence_shift(said, expected, "classes") == pytest.approx(divergence)

    units = drawn("action_units")
    pairs = zip(units.mean(0), expected, strict=True)
    divergence = np.mean([entropy([m, 1 - m], [e, 1 - e]) for m, e in pairs])
    assert prevalence_shift(units, expected, "action_units") == pytest.approx(divergence)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_expected_is_no_shift(kind: TaskKind) -> None:
    said = drawn(kind)
    found = prevalence_shift(said, said.mean(0), kind)
    assert 0 <= found == pytest.approx(0, abs=1e-12)


def test_a_collapse_shows_as_a_shift() -> None:
    expected = [0.5, 0.3, 0.2]
    collapsed = np.tile([0.0, 0, 1], (6, 1))
    assert prevalence_shift(collapsed, expected, "classes") == pytest.approx(-np.log(0.2))
    absent = prevalence_shift(np.zeros((6, 3)), expected, "action_units")
    assert absent == pytest.approx(-np.log([0.5, 0.7, 0.8]).mean())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "expected",
    [
        [0.5, 0.5],
        [[0.2, 0.3, 0.5]],
        0.5,
        [],
        [0.5, 0.5, 0.0],
        [0.2, np.nan, 0.5],
        [2.0, -0.5, -0.5],
    ],
)
def test_expectations_that_are_none_are_refused(kind: TaskKind, expected: npt.ArrayLike) -> None:
    with pytest.raises(ValueError, match=r"expected|numbers"):
        prevalence_shift(drawn(kind, answers=3), expected, kind)


def test_an_action_unit_that_is_always_expected_is_refused() -> None:
    with pytest.raises(ValueError, match="possible"):
        prevalence_shift([[0.5, 0.5]], [0.5, 1.0], "action_units")


# All of them


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_faces_does_not_matter(criterion: Criterion, kind: TaskKind) -> None:
    said = drawn(kind)
    mixed = said[np.random.default_rng(1).permutation(len(said))]
    assert criterion(mixed, kind) == pytest.approx(criterion(said, kind), rel=1e-9)


@pytest.mark.parametrize(
    "criterion", [density, information_maximisation, prediction_entropy, batch_nuclear_norm]
)
@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_answers_does_not_matter(criterion: Criterion, kind: TaskKind) -> None:
    said = drawn(kind)
    assert criterion(said[:, [2, 0, 3, 1]], kind) == pytest.approx(criterion(said, kind), rel=1e-9)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("kind", KINDS)
def test_answers_of_0_and_1_are_finite_and_the_limit(criterion: Criterion, kind: TaskKind) -> None:
    sure = np.eye(4)[[0, 1, 2, 3, 3, 1, 0, 0]]
    nearly = sure * (1 - 4e-12) + 1e-12
    found = criterion(sure, kind)
    assert np.isfinite(found)
    assert found == pytest.approx(criterion(nearly, kind), abs=1e-4)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_is_precise_enough(criterion: Criterion, kind: TaskKind) -> None:
    said = drawn(kind)
    found = criterion(said.astype(np.float32), kind)
    assert found == pytest.approx(criterion(said, kind), abs=1e-5)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "said",
    [
        [[0.5, np.nan], [0.5, 0.5]],
        [[0.5, np.inf], [0.5, 0.5]],
        [[1.001, 0.5], [0.5, 0.5]],
        [[0.5, 0.5], [0.5, -0.001]],
        np.zeros((0, 2)),
        np.zeros((2, 0)),
        [0.5, 0.5],
        np.full((2, 2, 2), 0.5),
    ],
)
def test_what_are_no_probabilities_is_refused(
    criterion: Criterion, kind: TaskKind, said: npt.ArrayLike
) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        criterion(said, kind)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_classes_must_add_up_to_1(criterion: Criterion) -> None:
    for off in (-2e-4, 2e-4):
        said = np.array([[0.5, 0.5], [0.5, 0.5 + off]])
        with pytest.raises(ValueError, match="add up to 1"):
            criterion(said, "classes")
        assert np.isfinite(criterion(said, "action_units"))
    nearly = np.array([[0.5, 0.5], [0.4, 0.6 + 5e-5]])
    assert np.isfinite(criterion(nearly, "classes"))


@pytest.mark.parametrize("criterion", CRITERIA)
def test_rounding_is_taken_out(criterion: Criterion) -> None:
    found = criterion([[1 + 5e-5, 0.3], [-5e-5, 0.6]], "action_units")
    assert found == pytest.approx(criterion([[1, 0.3], [0, 0.6]], "action_units"), rel=1e-12)
    exact = [[1 / 2.0001, 1.0001 / 2.0001], [0.3, 0.7]]
    found = criterion([[0.5, 0.50005], [0.3, 0.7]], "classes")
    assert found == pytest.approx(criterion(exact, "classes"), rel=1e-12)
