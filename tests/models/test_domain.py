"""What the domain classifier reads, and which way gradients go."""

from __future__ import annotations

import math
from typing import Literal, get_args

import pytest
import torch
from torch import Tensor

from cycada.models.domain import DomainClassifier, Reads
from cycada.task import TaskKind

KINDS = get_args(TaskKind)
ALL = get_args(Reads)
FEATURES, ANSWERS, FACES = 6, 3, 5


def random(*shape: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(*shape, generator=draw, dtype=torch.float64)


@pytest.fixture
def features() -> Tensor:
    return random(FACES, FEATURES, seed=0)


@pytest.fixture
def logits() -> Tensor:
    return random(FACES, ANSWERS, seed=1)


def classifier(
    reads: Reads, kind: TaskKind, *, features: int = FEATURES, answers: int = ANSWERS, seed: int = 0
) -> DomainClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DomainClassifier(features, answers, hidden=7, reads=reads, kind=kind).double()


def by_hand(logits: Tensor, kind: TaskKind) -> list[list[float]]:
    """Return the probabilities by their definitions."""
    rows = []
    for row in logits.tolist():
        if kind == "classes":
            total = math.fsum(math.exp(value) for value in row)
            rows.append([math.exp(value) / total for value in row])
        else:
            rows.append([1 / (1 + math.exp(-value)) for value in row])
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_features_and_scores_are_read_as_they_are(
    kind: TaskKind, features: Tensor, logits: Tensor
) -> None:
    reads: Literal["features", "scores"]
    for reads, read in (("features", features), ("scores", logits)):
        domain = classifier(reads, kind)
        found = domain(features, logits)
        assert found.shape == (FACES,)
        assert torch.equal(found, domain.layers(read).squeeze(1))


@pytest.mark.parametrize("reads", ["features", "scores"])
def test_what_is_not_read_changes_nothing(reads: Reads, features: Tensor, logits: Tensor) -> None:
    domain = classifier(reads, "action_units")
    before = domain(features, logits)
    if reads == "features":
        changed = domain(features, random(FACES, ANSWERS, seed=5))
    else:
        changed = domain(random(FACES, FEATURES, seed=5), logits)
    assert torch.equal(before, changed)


@pytest.mark.parametrize("kind", KINDS)
def test_a_product_is_every_feature_times_every_probability(
    kind: TaskKind, features: Tensor, logits: Tensor
) -> None:
    domain = classifier("product", kind)
    assert not domain.projects
    read = torch.tensor(
        [
            [feature * chance for feature in row for chance in chances]
            for row, chances in zip(features.tolist(), by_hand(logits, kind), strict=True)
        ],
        dtype=torch.float64,
    )
    assert read.shape == (FACES, FEATURES * ANSWERS)
    torch.testing.assert_close(
        domain(features, logits), domain.layers(read).squeeze(1), rtol=1e-12, atol=1e-12
    )


def test_answers_of_classes_add_up_to_one_and_those_of_action_units_do_not(
    features: Tensor, logits: Tensor
) -> None:
    classes = classifier("product", "classes")(features, logits)
    units = classifier("product", "action_units")(features, logits)
    assert not torch.allclose(classes, units)
    # A number added to all logits changes no class, but every AU.
    torch.testing.assert_close(classifier("product", "classes")(features, logits + 2), classes)
    assert not torch.allclose(classifier("product", "action_units")(features, logits + 2), units)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("projects", [False, True])
def test_gradient_of_a_product_reaches_features_and_not_answers(
    kind: TaskKind, projects: bool
) -> None:
    count = 2000 if projects else FEATURES
    features = random(FACES, count, seed=0).requires_grad_()
    logits = random(FACES, ANSWERS, seed=1).requires_grad_()
    domain = classifier("product", kind, features=count)
    assert domain.projects == projects
    into_features, into_logits = torch.autograd.grad(
        domain(features, logits).sum(), (features, logits), allow_unused=True
    )
    assert into_logits is None
    assert bool((into_features != 0).any(1).all())


@pytest.mark.parametrize("reads", ["features", "scores"])
def test_gradient_reaches_what_is_read(reads: Reads, features: Tensor, logits: Tensor) -> None:
    inputs = (features.requires_grad_(), logits.requires_grad_())
    found = torch.autograd.grad(
        classifier(reads, "classes")(*inputs).sum(), inputs, allow_unused=True
    )
    read = ("features", "scores").index(reads)
    assert bool((found[read] != 0).any(1).all())
    assert found[1 - read] is None


@pytest.mark.parametrize(("features", "projects"), [(1024, False), (1025, True)])
def test_products_of_more_than_4096_numbers_are_projected(features: int, projects: bool) -> None:
    domain = classifier("product", "classes", features=features, answers=4)
    assert domain.projects == projects
    assert domain.layers[0].in_features == (1024 if projects else 4096)
    assert {"left", "right"} <= domain.state_dict().keys() or not projects
    for reads in ("features", "scores"):
        assert not classifier(reads, "classes", features=features, answers=4).projects


def test_inner_products_of_projections_are_those_of_the_products_on_average() -> None:
    """CDAN, theorem 1: <T(f, g), T(f', g')> is <f, f'> <g, g'> on average, over draws."""
    features, logits = random(8, 500, seed=0), random(8, 10, seed=1)
    chances = torch.tensor(by_hand(logits, "classes"), dtype=torch.float64)
    exact = (features @ features.T) * (chances @ chances.T)
    found = []
    for seed in range(60):
        domain = classifier("product", "classes", features=500, answers=10, seed=seed)
        assert domain.projects
        seen: list[Tensor] = []
        domain.layers.register_forward_pre_hook(lambda _, read, seen=seen: seen.append(*read))
        domain(features, logits)
        found.append(seen[0] @ seen[0].T)
    draws = torch.stack(found)
    error = draws.std(0) / math.sqrt(len(draws))
    assert bool(((draws.mean(0) - exact).abs() < 5 * error).all())
    # And not by being vague: on the diagonal an error of a few per cent remains.
    assert bool((error.diagonal() < 0.03 * exact.diagonal()).all())


@pytest.mark.parametrize("kind", KINDS)
def test_the_projections_are_drawn_once_and_saved_with_the_weights(kind: TaskKind) -> None:
    features, logits = random(FACES, 2000, seed=0), random(FACES, ANSWERS, seed=1)
    one, two = (classifier("product", kind, features=2000, seed=seed) for seed in (0, 1))
    assert torch.equal(one(features, logits), one(features, logits))
    assert not torch.allclose(one(features, logits), two(features, logits))
    assert not any(name in ("left", "right") for name, _ in one.named_parameters())
    two.load_state_dict(one.state_dict())
    assert torch.equal(one(features, logits), two(features, logits))


@pytest.mark.parametrize("reads", ALL)
def test_probabilities_are_taken_in_the_precision_of_the_features(
    reads: Reads, features: Tensor, logits: Tensor
) -> None:
    domain = classifier(reads, "action_units")
    if reads != "scores":
        found = domain(features, logits.to(torch.float32))
        assert found.dtype == features.dtype
        torch.testing.assert_close(found, domain(features, logits), rtol=1e-5, atol=1e-6)
