"""Losses on Action Units, against their definitions in float64."""

from __future__ import annotations

import math

import pytest
import torch

from cycada.losses.action_units import action_unit_loss, positive_weights, semantic_loss


def case(rows: int = 6, columns: int = 3, seed: int = 0) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, columns, generator=draw, dtype=torch.float64)
    labels = torch.rand(rows, columns, generator=draw) < 0.4
    known = torch.rand(rows, columns, generator=draw) < 0.6
    return logits, labels.float(), known


def by_definition(
    logits: torch.Tensor, labels: torch.Tensor, known: torch.Tensor, weight: list[float]
) -> float:
    terms = []
    for row in range(len(logits)):
        for column in range(logits.shape[1]):
            if known[row, column]:
                p = 1 / (1 + math.exp(-float(logits[row, column])))
                present = bool(labels[row, column])
                terms.append(-weight[column] * math.log(p) if present else -math.log(1 - p))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("weight", [[1.0, 1.0, 1.0], [0.5, 4.0, 1.5]])
def test_the_loss_is_the_mean_over_the_annotated_units(weight: list[float]) -> None:
    logits, labels, known = case()
    labels[~known] = torch.nan  # what is unknown may be anything
    found = action_unit_loss(
        logits, labels.nan_to_num(7.0), known,
        positive_weight=torch.tensor(weight, dtype=torch.float64),
    )  # fmt: skip
    assert float(found) == pytest.approx(by_definition(logits, labels, known, weight), rel=1e-12)


def test_unknown_units_get_no_gradient() -> None:
    logits, labels, known = case()
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(action_unit_loss(logits, labels, known), logits)
    assert bool((gradient[~known] == 0).all())
    assert bool((gradient[known] != 0).all())


def test_a_batch_without_annotations_gives_zero_and_no_gradient() -> None:
    logits, labels, known = case()
    logits.requires_grad_()
    for total in (None, torch.tensor(0.0, dtype=torch.float64)):
        loss = action_unit_loss(logits, labels, torch.zeros_like(known), total=total)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert float(loss.detach()) == 0
        assert not gradient.any()


@pytest.mark.parametrize("annotations", ["many", "one"])
def test_the_mean_over_two_shares_is_the_loss_of_the_batch(annotations: str) -> None:
    logits, labels, known = case()
    if annotations == "one":
        known = torch.zeros_like(known)
        known[1, 1] = True
    assert int(known[:3].sum()) != int(known[3:].sum())
    whole = action_unit_loss(logits, labels, known)
    each = known.sum().double() / 2
    shares = [
        action_unit_loss(logits[rows], labels[rows], known[rows], total=each)
        for rows in (slice(0, 3), slice(3, 6))
    ]
    torch.testing.assert_close((shares[0] + shares[1]) / 2, whole, rtol=1e-12, atol=0)


def test_unchanged_answers_cost_nothing_and_changed_ones_their_divergence() -> None:
    before, _, _ = case()
    after = case(seed=1)[0]
    assert float(semantic_loss(before, before, "soft")) == pytest.approx(0, abs=1e-12)
    p, q = torch.sigmoid(before), torch.sigmoid(after)
    divergence = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    torch.testing.assert_close(semantic_loss(after, before, "soft"), divergence.mean())


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_the_gradient_is_that_of_the_cross_entropy_with_pseudo_labels(kind: str) -> None:
    before, after = case()[0].requires_grad_(), case(seed=1)[0].requires_grad_()
    (found,) = torch.autograd.grad(semantic_loss(after, before, kind), after)  # type: ignore[arg-type]
    pseudo = torch.sigmoid(before) if kind == "soft" else (before > 0).double()
    # d/dz of -y log s(z) - (1-y) log(1 - s(z)) is s(z) - y.
    expected = (torch.sigmoid(after) - pseudo) / after.numel()
    torch.testing.assert_close(found, expected.detach())


def test_the_originals_get_no_gradient() -> None:
    before, after = case()[0].requires_grad_(), case(seed=1)[0].requires_grad_()
    loss = semantic_loss(after, before, "soft")
    (gradient,) = torch.autograd.grad(loss, before, allow_unused=True)
    assert gradient is None


def test_rare_units_weigh_more_by_hand() -> None:
    labels = torch.tensor([[1, 1, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 1.0]])
    known = torch.ones(5, 4, dtype=torch.bool)
    known[4, 3] = False  # present, but not annotated
    full = positive_weights(labels, known, 1.0)
    # AU 0: 4 absent to 1 present; AU 1: 1 to 4; AU 2: never present; AU 3: 3 to 1.
    torch.testing.assert_close(full, torch.tensor([4.0, 0.25, 1.0, 3.0]))
    torch.testing.assert_close(
        positive_weights(labels, known, 0.5), torch.tensor([2.0, 0.5, 1.0, 3**0.5])
    )
    torch.testing.assert_close(positive_weights(labels, known, 0.0), torch.ones(4))


def test_the_weight_of_a_very_rare_unit_is_bounded() -> None:
    labels = torch.zeros(1000, 1)
    labels[0] = 1
    assert float(positive_weights(labels, torch.ones(1000, 1, dtype=torch.bool), 1.0)) == 20
