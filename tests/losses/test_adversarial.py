from __future__ import annotations

import math

import pytest
import torch

from cycada.losses.adversarial import (
    confusion_loss,
    discriminator_loss,
    domain_accuracy,
    domain_loss,
    generator_loss,
)

REAL = torch.tensor([[2.0, 0.5], [-1.0, 1.0]], dtype=torch.float64)
MADE = torch.tensor([[-2.0, 0.5], [1.0, 0.0]], dtype=torch.float64)


def test_least_squares_pulls_real_to_one_and_made_to_zero() -> None:
    real = (1.0 + 0.25 + 4.0 + 0.0) / 4
    made = (4.0 + 0.25 + 1.0 + 0.0) / 4
    found = discriminator_loss(REAL, MADE, "least_squares")
    assert float(found) == pytest.approx((real + made) / 2)
    assert float(generator_loss(MADE, "least_squares")) == pytest.approx(
        (9.0 + 0.25 + 0.0 + 1.0) / 4
    )


def test_hinge_asks_for_margins_of_one() -> None:
    real = (0.0 + 0.5 + 2.0 + 0.0) / 4
    made = (0.0 + 1.5 + 2.0 + 1.0) / 4
    assert float(discriminator_loss(REAL, MADE, "hinge")) == pytest.approx((real + made) / 2)
    assert float(generator_loss(MADE, "hinge")) == pytest.approx(-(-2.0 + 0.5 + 1.0 + 0.0) / 4)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_the_domain_loss_is_the_cross_entropy_with_both_domains_counting_alike() -> None:
    source, target = [0.3, -2.0, 1.0], [0.5]
    expected = (
        sum(-math.log(1 - sigmoid(x)) for x in source) / 3 - math.log(sigmoid(target[0]))
    ) / 2
    found = domain_loss(torch.tensor(source), torch.tensor(target))
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_the_encoder_is_rewarded_for_target_features_that_pass_for_source() -> None:
    target = torch.tensor([0.3, -2.0])
    expected = sum(-math.log(1 - sigmoid(x)) for x in target.tolist()) / 2
    assert float(confusion_loss(target)) == pytest.approx(expected, rel=1e-6)


def test_the_domain_accuracy_counts_both_domains_alike() -> None:
    source, target = torch.tensor([-1.0, -1.0, 1.0, -1.0]), torch.tensor([1.0, -1.0])
    assert float(domain_accuracy(source, target)) == pytest.approx((3 / 4 + 1 / 2) / 2)
