"""Losses on answers without labels, against their definitions in float64."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from cycada.losses.adversarial import certainty_weights, domain_loss
from cycada.losses.self_training import entropy, frequency_distance, information_loss, sure
from cycada.task import TaskKind

KINDS = get_args(TaskKind)
FACES, ANSWERS = 9, 4


def random(*shape: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(*shape, generator=draw, dtype=torch.float64)


def softmax(row: list[float]) -> list[float]:
    highest = max(row)
    total = math.fsum(math.exp(value - highest) for value in row)
    return [math.exp(value - highest) / total for value in row]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def spread(chances: list[float]) -> float:
    """Return the entropy in nats of chances that add up to 1; 0 ln 0 is 0."""
    return -math.fsum(p * math.log(p) for p in chances if p > 0)


def binary(p: float) -> float:
    return spread([p, 1 - p])


def entropies(logits: Tensor, kind: TaskKind) -> list[float]:
    if kind == "classes":
        return [spread(softmax(row)) for row in logits.tolist()]
    return [
        math.fsum(binary(sigmoid(value)) for value in row) / len(row) for row in logits.tolist()
    ]


def chances_of(logits: Tensor, kind: TaskKind) -> list[list[float]]:
    rows = logits.tolist()
    if kind == "classes":
        return [softmax(row) for row in rows]
    return [[sigmoid(value) for value in row] for row in rows]


def means(rows: list[list[float]]) -> list[float]:
    return [math.fsum(column) / len(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_entropy_is_its_definition_in_nats(kind: TaskKind) -> None:
    logits = random(FACES, ANSWERS)
    assert entropy(logits, kind).tolist() == pytest.approx(entropies(logits, kind), rel=1e-12)


def test_entropies_by_hand() -> None:
    undecided = torch.zeros(1, 4, dtype=torch.float64)
    assert float(entropy(undecided, "classes")) == pytest.approx(math.log(4))
    assert float(entropy(undecided, "action_units")) == pytest.approx(math.log(2))
    # Odds of 3 to 1, and an AU of which nothing is known.
    odds = torch.tensor([[math.log(3), 0.0]], dtype=torch.float64)
    quarter = math.log(4) - 3 / 4 * math.log(3)
    assert float(entropy(odds, "classes")) == pytest.approx(quarter)
    assert float(entropy(odds, "action_units")) == pytest.approx((quarter + math.log(2)) / 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sure_answers_have_no_entropy_and_a_finite_gradient(
    kind: TaskKind, dtype: torch.dtype
) -> None:
    logits = torch.tensor(
        [[50.0, -50.0, -50.0], [-50.0, 50.0, -50.0], [1000.0, -1000.0, 0.0]], dtype=dtype
    ).requires_grad_()
    found = entropy(logits, kind)
    assert found[:2].tolist() == pytest.approx([0, 0], abs=1e-9)
    assert float(found[2].detach()) == pytest.approx(
        0 if kind == "classes" else math.log(2) / 3, abs=1e-6
    )
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert bool(gradient.isfinite().all())
    expected = torch.full((3,), 0.4, dtype=dtype)
    loss = information_loss(logits, expected, kind=kind)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert math.isfinite(float(loss.detach()))
    assert bool(gradient.isfinite().all())


def test_of_classes_alike_the_information_loss_is_that_of_shot_up_to_a_constant() -> None:
    logits = random(FACES, ANSWERS)
    uniform = torch.full((ANSWERS,), 1 / ANSWERS, dtype=torch.float64)
    found = information_loss(logits, uniform, kind="classes")
    chances = chances_of(logits, "classes")
    mean_entropy = math.fsum(spread(row) for row in chances) / len(chances)
    expected = mean_entropy - spread(means(chances)) + math.log(ANSWERS)
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_of_action_units_it_adds_the_divergence_of_each_frequency() -> None:
    logits = random(FACES, ANSWERS)
    wanted = [0.5, 0.02, 0.3, 0.9]
    found = information_loss(logits, torch.tensor(wanted, dtype=torch.float64), kind="action_units")
    each = [
        q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))
        for q, p in zip(means(chances_of(logits, "action_units")), wanted, strict=True)
    ]
    unsure = entropies(logits, "action_units")
    expected = math.fsum(unsure) / FACES + math.fsum(each) / ANSWERS
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_divergences_by_hand() -> None:
    half, rare = torch.tensor([0.5], dtype=torch.float64), torch.tensor([0.1], dtype=torch.float64)
    found = frequency_distance(half, rare, "action_units")
    assert float(found) == pytest.approx(0.5 * math.log(5) + 0.5 * math.log(5 / 9))
    other = frequency_distance(rare, half, "action_units")  # not the same the other way round
    assert float(other) == pytest.approx(0.1 * math.log(0.2) + 0.9 * math.log(1.8))
    one = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    uniform = torch.full((4,), 0.25, dtype=torch.float64)
    found = frequency_distance(one, uniform, "classes")
    assert float(found) == pytest.approx(math.log(4), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_expected_frequencies_are_at_no_distance(kind: TaskKind) -> None:
    logits = random(FACES, ANSWERS)
    found = torch.tensor(means(chances_of(logits, kind)), dtype=torch.float64)
    assert float(frequency_distance(found, found, kind)) == 0
    loss = information_loss(logits, found, kind=kind)
    assert float(loss) == pytest.approx(math.fsum(entropies(logits, kind)) / FACES, abs=1e-12)
    for seed in range(1, 5):
        other = means(chances_of(random(FACES, ANSWERS, seed=seed), kind))
        assert float(frequency_distance(found, torch.tensor(other), kind)) > 1e-4


def test_frequencies_never_and_always_found_are_at_a_finite_distance() -> None:
    for found, expected in (([0.0, 1.0], [0.5, 0.5]), ([0.5, 0.5], [0.0, 1.0])):
        for kind in KINDS:
            frequencies = torch.tensor(found).requires_grad_()
            distance = frequency_distance(frequencies, torch.tensor(expected), kind)
            (gradient,) = torch.autograd.grad(distance, frequencies)
            assert 0.5 < float(distance.detach()) < 20
            assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("kind", KINDS)
def test_frequencies_over_all_processes_take_the_place_of_those_of_the_batch(
    kind: TaskKind,
) -> None:
    logits, everywhere = random(FACES, ANSWERS), random(3 * FACES, ANSWERS, seed=1)
    expected = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    over_all = torch.tensor(means(chances_of(everywhere, kind)), dtype=torch.float64)
    found = information_loss(logits, expected, kind=kind, frequencies=over_all)
    unsure = math.fsum(entropies(logits, kind)) / FACES
    distance = frequency_distance(over_all, expected, kind)
    assert float(found) == pytest.approx(unsure + float(distance), rel=1e-12)
    assert float(found) != pytest.approx(float(information_loss(logits, expected, kind=kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_a_collapse_points_back(kind: TaskKind) -> None:
    """All faces get the first answer, half sure: one step down makes it rarer."""
    logits = torch.zeros(FACES, ANSWERS, dtype=torch.float64)
    logits[:, 0] = 1.5
    logits.requires_grad_()
    expected = torch.full((ANSWERS,), 1 / ANSWERS, dtype=torch.float64)

    def distance(answers: Tensor) -> Tensor:
        chances = torch.softmax(answers, 1) if kind == "classes" else torch.sigmoid(answers)
        return frequency_distance(chances.mean(0), expected, kind)

    (gradient,) = torch.autograd.grad(distance(logits), logits)
    assert bool((gradient[:, 0] > 0).all())
    if kind == "classes":
        assert bool((gradient[:, 1:] < 0).all())
    # Surer answers alone would go on with the collapse; the whole loss does not.
    (alone,) = torch.autograd.grad(entropy(logits, kind).mean(), logits)
    assert bool((alone[:, 0] < 0).all())
    (whole,) = torch.autograd.grad(information_loss(logits, expected, kind=kind), logits)
    torch.testing.assert_close(whole, alone + gradient)
    assert float(distance(logits.detach() - gradient)) < float(distance(logits).detach())


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_finite_differences(kind: TaskKind) -> None:
    logits = random(4, 3).requires_grad_()
    expected = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda answers: information_loss(answers, expected, kind=kind), (logits,)
    )


def test_a_class_is_sure_where_the_most_probable_one_is() -> None:
    said = torch.tensor([[0.9, 0.05, 0.05], [0.89, 0.06, 0.05], [0.0, 0.0, 1.0], [0.3, 0.3, 0.4]])
    found = sure(said, "classes", confidence=0.9)
    assert found.tolist() == [[True] * 3, [False] * 3, [True] * 3, [False] * 3]


def test_an_action_unit_is_sure_where_its_presence_or_absence_is() -> None:
    said = torch.tensor([[0.75, 0.74, 0.25], [0.26, 0.5, 1.0], [0.0, 0.9, 0.6]])
    found = sure(said, "action_units", confidence=0.75)
    assert found.tolist() == [[True, False, True], [False, False, True], [True, True, False]]


@pytest.mark.parametrize("kind", KINDS)
def test_with_a_confidence_of_a_half_all_action_units_teach(kind: TaskKind) -> None:
    logits = random(FACES, ANSWERS)
    said = torch.tensor(chances_of(logits, kind), dtype=torch.float64)
    found = sure(said, kind, confidence=0.5)
    assert bool(found.all()) == (kind == "action_units")
    assert bool(found.any())


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_of_certainty_are_those_of_cdan_with_a_mean_of_one(kind: TaskKind) -> None:
    logits = random(FACES, ANSWERS).requires_grad_()
    found = certainty_weights(logits, kind)
    raw = [1 + math.exp(-value) for value in entropies(logits, kind)]
    mean = math.fsum(raw) / FACES
    assert found.tolist() == pytest.approx([value / mean for value in raw], rel=1e-12)
    assert float(found.mean()) == pytest.approx(1, rel=1e-12)
    assert not found.requires_grad


def test_faces_of_equal_certainty_weigh_one_and_surer_ones_more() -> None:
    alike = torch.tensor([[3.0, -3.0], [-3.0, 3.0]], dtype=torch.float64)
    assert certainty_weights(alike, "action_units").tolist() == pytest.approx([1, 1])
    sure_and_not = torch.tensor([[60.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    # 2 for what is sure, 1 + 1/2 for two classes alike.
    expected = [2 / 1.75, 1.5 / 1.75]
    assert certainty_weights(sure_and_not, "classes").tolist() == pytest.approx(expected)


def test_weights_of_one_leave_the_domain_loss_as_it_is() -> None:
    source, target = random(5, seed=3), random(3, seed=4)
    plain = domain_loss(source, target)
    ones = torch.ones_like(source), torch.ones_like(target)
    torch.testing.assert_close(domain_loss(source, target, weights=ones), plain, rtol=0, atol=0)


def test_weights_weigh_the_faces_of_each_domain_by_hand() -> None:
    source, target = random(5, seed=3), random(3, seed=4)
    here, there = torch.tensor([0.5, 2.0, 1.5, 0.25, 0.75]), torch.tensor([0.1, 2.0, 0.9])
    weights = here.double(), there.double()
    missed = [
        -weight * math.log(1 - sigmoid(score))
        for weight, score in zip(here.tolist(), source.tolist(), strict=True)
    ]
    passed = [
        -weight * math.log(sigmoid(score))
        for weight, score in zip(there.tolist(), target.tolist(), strict=True)
    ]
    expected = (math.fsum(missed) / 5 + math.fsum(passed) / 3) / 2
    found = domain_loss(source, target, weights=weights)
    assert float(found) == pytest.approx(expected, rel=1e-6)
