"""Losses on Action Units and on classes, against their definitions in float64."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from cycada.losses.labels import answer_weights, label_loss, semantic_loss


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
    found = label_loss(
        logits, labels.nan_to_num(7.0), known, kind="action_units",
        weight=torch.tensor(weight, dtype=torch.float64),
    )  # fmt: skip
    assert float(found) == pytest.approx(by_definition(logits, labels, known, weight), rel=1e-12)


def test_unknown_units_get_no_gradient() -> None:
    logits, labels, known = case()
    logits.requires_grad_()
    loss = label_loss(logits, labels, known, kind="action_units")
    (gradient,) = torch.autograd.grad(loss, logits)
    assert bool((gradient[~known] == 0).all())
    assert bool((gradient[known] != 0).all())


def test_a_batch_without_annotations_gives_zero_and_no_gradient() -> None:
    logits, labels, known = case()
    logits.requires_grad_()
    for total in (None, torch.tensor(0.0, dtype=torch.float64)):
        loss = label_loss(logits, labels, torch.zeros_like(known), kind="action_units", total=total)
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
    whole = label_loss(logits, labels, known, kind="action_units")
    each = known.sum().double() / 2
    shares = [
        label_loss(logits[rows], labels[rows], known[rows], kind="action_units", total=each)
        for rows in (slice(0, 3), slice(3, 6))
    ]
    torch.testing.assert_close((shares[0] + shares[1]) / 2, whole, rtol=1e-12, atol=0)


def test_unchanged_answers_cost_nothing_and_changed_ones_their_divergence() -> None:
    before, _, _ = case()
    after = case(seed=1)[0]
    unchanged = semantic_loss(before, before, kind="action_units", keep="soft")
    assert float(unchanged) == pytest.approx(0, abs=1e-12)
    p, q = torch.sigmoid(before), torch.sigmoid(after)
    divergence = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    found = semantic_loss(after, before, kind="action_units", keep="soft")
    torch.testing.assert_close(found, divergence.mean())


@pytest.mark.parametrize("keep", ["soft", "hard"])
def test_the_gradient_is_that_of_the_cross_entropy_with_pseudo_labels(
    keep: Literal["soft", "hard"],
) -> None:
    before, after = case()[0].requires_grad_(), case(seed=1)[0].requires_grad_()
    loss = semantic_loss(after, before, kind="action_units", keep=keep)
    (found,) = torch.autograd.grad(loss, after)
    pseudo = torch.sigmoid(before) if keep == "soft" else (before > 0).double()
    # d/dz of -y log s(z) - (1-y) log(1 - s(z)) is s(z) - y.
    expected = (torch.sigmoid(after) - pseudo) / after.numel()
    torch.testing.assert_close(found, expected.detach())


def test_the_originals_get_no_gradient() -> None:
    before, after = case()[0].requires_grad_(), case(seed=1)[0].requires_grad_()
    loss = semantic_loss(after, before, kind="action_units", keep="soft")
    (gradient,) = torch.autograd.grad(loss, before, allow_unused=True)
    assert gradient is None


def test_rare_units_weigh_more_by_hand() -> None:
    labels = torch.tensor([[1, 1, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 1.0]])
    known = torch.ones(5, 4, dtype=torch.bool)
    known[4, 3] = False  # present, but not annotated
    full = answer_weights(labels, known, 1.0, kind="action_units")
    # AU 0: 4 absent to 1 present; AU 1: 1 to 4; AU 2: never present; AU 3: 3 to 1.
    torch.testing.assert_close(full, torch.tensor([4.0, 0.25, 1.0, 3.0]))
    torch.testing.assert_close(
        answer_weights(labels, known, 0.5, kind="action_units"),
        torch.tensor([2.0, 0.5, 1.0, 3**0.5]),
    )
    torch.testing.assert_close(
        answer_weights(labels, known, 0.0, kind="action_units"), torch.ones(4)
    )


def test_the_weight_of_a_very_rare_unit_is_bounded() -> None:
    labels = torch.zeros(1000, 1)
    labels[0] = 1
    known = torch.ones(1000, 1, dtype=torch.bool)
    assert float(answer_weights(labels, known, 1.0, kind="action_units")) == 20


def class_case(
    rows: int = 7, columns: int = 4, seed: int = 2
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return logits, the class of each face, and which faces are labelled."""
    draw = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, columns, generator=draw, dtype=torch.float64)
    classes = torch.randint(columns, (rows,), generator=draw)
    labelled = torch.tensor([True, False, True, True, False, True, True])
    return logits, classes, labelled


def one_hot(classes: torch.Tensor, labelled: torch.Tensor, columns: int = 4) -> torch.Tensor:
    labels = F.one_hot(classes, columns).float()
    labels[~labelled] = 7.0  # what is unknown may be anything
    return labels


def whole_rows(labelled: torch.Tensor, columns: int = 4) -> torch.Tensor:
    return labelled[:, None].expand(-1, columns)


def test_the_loss_of_classes_is_the_cross_entropy_of_the_labelled_faces() -> None:
    logits, classes, labelled = class_case()
    found = label_loss(logits, one_hot(classes, labelled), whole_rows(labelled), kind="classes")
    expected = F.cross_entropy(logits[labelled], classes[labelled])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_weights_of_classes_weigh_their_faces_by_definition() -> None:
    logits, classes, labelled = class_case()
    weight = torch.tensor([0.5, 4.0, 1.5, 2.0], dtype=torch.float64)
    found = label_loss(
        logits, one_hot(classes, labelled), whole_rows(labelled), kind="classes", weight=weight
    )
    terms = []
    for row, place in zip(logits[labelled].tolist(), classes[labelled].tolist(), strict=True):
        total = math.fsum(math.exp(value) for value in row)
        terms.append(float(weight[place]) * -math.log(math.exp(row[place]) / total))
    assert len(set(classes[labelled].tolist())) > 1
    assert float(found) == pytest.approx(math.fsum(terms) / len(terms), rel=1e-12)
    # PyTorch divides by the sum of the weights instead.
    torch_mean = F.cross_entropy(logits[labelled], classes[labelled], weight=weight)
    drawn = weight[classes[labelled]].mean()
    torch.testing.assert_close(found, torch_mean * drawn, rtol=1e-12, atol=0)


def test_faces_without_a_class_get_no_gradient() -> None:
    logits, classes, labelled = class_case()
    logits.requires_grad_()
    loss = label_loss(logits, one_hot(classes, labelled), whole_rows(labelled), kind="classes")
    (gradient,) = torch.autograd.grad(loss, logits)
    assert bool((gradient[~labelled] == 0).all())
    assert bool((gradient[labelled] != 0).all())
    # d/dz of -log softmax(z)[y] is softmax(z) - y.
    expected = torch.softmax(logits, 1) - F.one_hot(classes, 4)
    torch.testing.assert_close(gradient[labelled], (expected / labelled.sum())[labelled].detach())


def test_a_batch_without_classes_gives_zero_and_no_gradient() -> None:
    logits, classes, labelled = class_case()
    logits.requires_grad_()
    nobody = torch.zeros_like(labelled)
    loss = label_loss(logits, one_hot(classes, nobody), whole_rows(nobody), kind="classes")
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(loss.detach()) == 0
    assert not gradient.any()


@pytest.mark.parametrize("only", [None, 3])
def test_the_mean_over_two_shares_is_the_loss_of_the_classes_of_the_batch(only: int | None) -> None:
    logits, classes, labelled = class_case()
    if only is not None:
        labelled = torch.arange(len(labelled)) == only
    labels, known = one_hot(classes, labelled), whole_rows(labelled)
    weight = torch.tensor([0.5, 4.0, 1.5, 2.0], dtype=torch.float64)
    whole = label_loss(logits, labels, known, kind="classes", weight=weight)
    assert int(known[:2].sum()) != int(known[2:].sum())
    each = known.sum().double() / 2
    shares = [
        label_loss(
            logits[rows], labels[rows], known[rows], kind="classes", weight=weight, total=each
        )
        for rows in (slice(0, 2), slice(2, 7))
    ]
    torch.testing.assert_close((shares[0] + shares[1]) / 2, whole, rtol=1e-12, atol=0)


def test_probabilities_of_classes_are_labels_as_well() -> None:
    logits, _, labelled = class_case()
    labels = torch.softmax(class_case(seed=3)[0], 1)
    found = label_loss(logits, labels, whole_rows(labelled), kind="classes")
    terms = []
    for row, wanted in zip(logits[labelled].tolist(), labels[labelled].tolist(), strict=True):
        total = math.fsum(math.exp(value) for value in row)
        terms.append(
            math.fsum(
                -p * math.log(math.exp(value) / total) for p, value in zip(wanted, row, strict=True)
            )
        )
    assert float(found) == pytest.approx(math.fsum(terms) / len(terms), rel=1e-12)


def test_soft_pseudo_labels_of_classes_cost_their_divergence() -> None:
    before, after = class_case()[0], class_case(seed=3)[0]
    unchanged = semantic_loss(before, before + 5, kind="classes", keep="soft")
    assert float(unchanged) == pytest.approx(0, abs=1e-12)  # adding to all changes no probability
    found = semantic_loss(after, before, kind="classes", keep="soft")
    p, q = torch.softmax(before, 1), torch.softmax(after, 1)
    divergence = (p * (p / q).log()).sum(1)
    assert float(divergence.min()) > 0.01
    torch.testing.assert_close(found, divergence.mean(), rtol=1e-12, atol=0)


def test_hard_pseudo_labels_of_classes_are_the_most_probable_ones() -> None:
    before, after = class_case()[0], class_case(seed=3)[0]
    found = semantic_loss(after, before, kind="classes", keep="hard")
    expected = F.cross_entropy(after, before.argmax(1))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("keep", ["soft", "hard"])
def test_the_originals_get_no_gradient_from_classes(keep: Literal["soft", "hard"]) -> None:
    before, after = class_case()[0].requires_grad_(), class_case(seed=3)[0].requires_grad_()
    loss = semantic_loss(after, before, kind="classes", keep=keep)
    gradient, theirs = torch.autograd.grad(loss, (after, before), allow_unused=True)
    assert theirs is None
    pseudo = torch.softmax(before, 1) if keep == "soft" else F.one_hot(before.argmax(1), 4)
    torch.testing.assert_close(gradient, ((torch.softmax(after, 1) - pseudo) / 7).detach())


def test_rare_classes_weigh_more_by_hand() -> None:
    classes = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2])
    labels = F.one_hot(classes, 4)
    known = whole_rows(torch.arange(11) < 10)  # the last face of class 2 is not labelled
    # 6, 2, 2 and 0 labelled faces: 2.5 in the mean; class 3 is never shown.
    full = torch.tensor([2.5 / 6, 2.5 / 2, 2.5 / 2, 1.0])
    torch.testing.assert_close(answer_weights(labels, known, 1.0, kind="classes"), full)
    torch.testing.assert_close(answer_weights(labels, known, 0.5, kind="classes"), full.sqrt())
    none = answer_weights(labels, known, 0.0, kind="classes")
    torch.testing.assert_close(none, torch.ones(4))


def test_the_weight_of_a_very_rare_class_is_bounded() -> None:
    labels = F.one_hot(torch.tensor([0] * 999 + [1]), 2)
    known = torch.ones(1000, 2, dtype=torch.bool)
    found = answer_weights(labels, known, 1.0, kind="classes")
    torch.testing.assert_close(found, torch.tensor([500 / 999, 20.0]))
