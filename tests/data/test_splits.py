from __future__ import annotations

from collections import Counter

import pytest

from cycada.data.splits import split_subjects
from cycada.errors import DataError


def names(count: int) -> list[str]:
    return [f"S{number:03d}" for number in range(count)]


def test_subjects_are_dealt_in_the_shares_asked_for() -> None:
    counts = Counter(split_subjects(names(100), seed=0).values())
    assert counts == {"train": 70, "val": 10, "test": 20}


@pytest.mark.parametrize("count", range(3, 40))
def test_no_split_is_empty_and_no_subject_is_lost(count: int) -> None:
    splits = split_subjects(names(count), fractions=(0.9, 0.05, 0.05), seed=1)
    assert list(splits) == names(count)
    assert set(splits.values()) == {"train", "val", "test"}


def test_the_order_in_which_subjects_come_does_not_matter() -> None:
    forward = split_subjects(names(20), seed=3)
    assert split_subjects([*reversed(names(20)), *names(20)], seed=3) == forward
    assert split_subjects(names(20), seed=4) != forward


def test_a_new_subject_moves_few_others() -> None:
    before, after = split_subjects(names(100), seed=0), split_subjects(names(101), seed=0)
    assert sum(before[name] != after[name] for name in before) <= 2


def test_a_share_of_zero_leaves_a_split_empty() -> None:
    assert split_subjects(["a"], fractions=(1, 0, 0), seed=0) == {"a": "train"}
    assert set(split_subjects(names(9), fractions=(0.5, 0, 0.5), seed=0).values()) == {
        "train",
        "test",
    }


def test_too_few_subjects_are_refused() -> None:
    with pytest.raises(DataError, match=r"2 subject\(s\) \(a, b\) cannot fill 3 splits"):
        split_subjects(["b", "a", "a"], seed=0)


@pytest.mark.parametrize("fractions", [(0.7, 0.7, 0.2), (1.2, -0.1, -0.1), (0, 0, 0)])
def test_shares_that_are_no_shares_are_refused(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(DataError, match="must add up to 1"):
        split_subjects(names(9), fractions=fractions, seed=0)
