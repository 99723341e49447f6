"""What a detector is asked of a face, against the definitions by hand."""

from __future__ import annotations

import json
import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from cycada.task import Task, TaskKind, decided, logits_of, probabilities_of

KINDS = get_args(TaskKind)
UNITS = Task((1, 12, 51, 52, 53))
CLASSES = Task(classes=("sad", "happy", "AU12"))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def test_a_task_tells_its_kind_its_names_and_their_number() -> None:
    assert (UNITS.kind, CLASSES.kind) == ("action_units", "classes")
    assert UNITS.names == ("AU01", "AU12", "AU51", "AU52", "AU53")
    assert CLASSES.names == ("sad", "happy", "AU12")
    assert (len(UNITS), len(CLASSES)) == (5, 3)


def test_action_units_are_probable_each_for_itself() -> None:
    logits = drawn(4, 3)
    found = probabilities_of(logits, "action_units")
    for row, values in zip(found.tolist(), logits.tolist(), strict=True):
        assert row == pytest.approx([1 / (1 + math.exp(-value)) for value in values], rel=1e-12)


def test_classes_share_one_probability() -> None:
    logits = drawn(2, 4, 3)  # whatever stands before the answers
    found = probabilities_of(logits, "classes")
    for row, values in zip(found.reshape(-1, 3).tolist(), logits.reshape(-1, 3), strict=True):
        total = math.fsum(math.exp(value) for value in values.tolist())
        assert row == pytest.approx([math.exp(value) / total for value in values], rel=1e-12)
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 4, dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_undo_logits(kind: TaskKind) -> None:
    probabilities = probabilities_of(drawn(6, 4), kind)
    logits = logits_of(probabilities, kind)
    torch.testing.assert_close(probabilities_of(logits, kind), probabilities)
    for p, value in zip(probabilities.flatten().tolist(), logits.flatten().tolist(), strict=True):
        expected = math.log(p / (1 - p)) if kind == "action_units" else math.log(p)
        assert value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_that_are_quite_sure_keep_finite_logits(kind: TaskKind) -> None:
    sure = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    logits = logits_of(sure, kind)
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(probabilities_of(logits, kind), sure, rtol=0, atol=3e-6)
    assert float(logits[0, 1]) == pytest.approx(math.log(1e-6), rel=1e-4)


def test_action_units_are_decided_by_their_thresholds_and_classes_by_the_largest() -> None:
    said = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.3, 0.6], [0.2, 0.4, 0.4]])
    thresholds = torch.tensor([0.5, 0.1, 0.9])
    assert decided(said, thresholds, "action_units").tolist() == [
        [True, True, False], [False, True, False], [False, True, False],
    ]  # fmt: skip
    told = decided(said, thresholds, "classes")
    assert told.dtype == torch.bool
    assert told.tolist()[:2] == [[True, False, False], [False, False, True]]
    assert told.sum(-1).tolist() == [1, 1, 1]  # one alone, also of two that are as probable
    assert not told[2, 0]
    assert torch.equal(decided(said[None], thresholds, "classes")[0], told)


def test_a_mirror_swaps_left_and_right_action_units_and_no_classes() -> None:
    # 51 and 52 are head turn left and right; 53, head up, is the same in a mirror.
    assert UNITS.partners() == [0, 1, 3, 2, 4]
    assert Task((1, 51)).partners() == [0, -1]  # nobody asked for what 51 becomes
    assert Task((52, 12, 51)).partners() == [2, 1, 0]
    assert Task(classes=("left", "AU51", "AU52")).partners() == [0, 1, 2]


@pytest.mark.parametrize(
    ("some", "other", "places"),
    [
        (Task((51, 1)), UNITS, [2, 0]),
        (UNITS, UNITS, [0, 1, 2, 3, 4]),
        (Task(classes=("AU12", "sad")), CLASSES, [2, 0]),
    ],
)
def test_answers_are_found_in_another_task_by_name(
    some: Task, other: Task, places: list[int]
) -> None:
    assert some.places_in(other) == places


@pytest.mark.parametrize(
    ("some", "other", "first"),
    [
        (Task((1, 4, 2)), UNITS, "AU04"),
        (Task(classes=("happy", "angry", "afraid")), CLASSES, "angry"),
        (Task((12,)), CLASSES, "AU12"),  # the class of that name is none
        (Task(classes=("AU12", "AU01")), UNITS, "AU12"),
    ],
)
def test_the_first_answer_that_another_task_lacks_is_named(
    some: Task, other: Task, first: str
) -> None:
    with pytest.raises(KeyError) as caught:
        some.places_in(other)
    assert caught.value.args == (first,)


@pytest.mark.parametrize("task", [UNITS, CLASSES, Task((52, 1))])
def test_a_task_survives_the_way_to_json_and_back(task: Task) -> None:
    facts = json.loads(json.dumps({"window": None, **task.to_json()}))
    assert Task.from_json(facts) == task
    assert ("classes" in facts) == (task.kind == "classes")


def test_facts_of_earlier_versions_name_action_units() -> None:
    facts = {"action_units": [1, 12], "channels": 3, "thresholds": [0.5, 0.5]}
    assert Task.from_json(facts) == Task((1, 12))
