"""ROC curves and reliability, against counting at every threshold and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cycada.metrics.calibration import calibration_error
from cycada.metrics.curves import Outcomes, Roc, error_of, outcomes, reliability, roc_curve
from cycada.metrics.detection import roc_auc


def by_counting(scores: np.ndarray, present: np.ndarray) -> set[tuple[float, float]]:
    """Return the points of every threshold there can be, each counted for itself."""
    points = set()
    for threshold in (math.inf, *scores):
        detected = [score >= threshold for score in scores]
        false = sum(d and not p for d, p in zip(detected, present, strict=True))
        true = sum(d and p for d, p in zip(detected, present, strict=True))
        points.add((false / sum(~present), true / sum(present)))
    return points


@pytest.mark.parametrize("levels", [3, 7, 1000])  # many ties, some, none
@pytest.mark.parametrize("seed", range(4))
def test_a_roc_curve_has_the_point_of_every_threshold_and_no_other(levels: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    present = draw.random(60) < 0.3
    scores = np.floor((draw.random(60) + 0.3 * present) * levels) / levels
    roc = roc_curve(scores, present)
    assert roc is not None
    found = list(zip(roc.false_alarms.tolist(), roc.found.tolist(), strict=True))
    assert set(found) == by_counting(scores, present)
    assert found == sorted(found)
    assert len(found) == len(set(scores.tolist())) + 1


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_the_area_is_the_share_of_pairs_in_the_right_order_and_ties_are_half(levels: int) -> None:
    draw = np.random.default_rng(levels)
    present = draw.random(50) < 0.4
    scores = np.floor(draw.random(50) * levels)
    roc = roc_curve(scores, present)
    pairs = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p in scores[present]
        for n in scores[~present]
    ]  # fmt: skip
    assert roc is not None
    assert roc.area == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    column = roc_auc(scores[:, None], present[:, None], np.ones((50, 1), dtype=bool))
    assert roc.area == pytest.approx(column[0], abs=1e-12)


def test_a_curve_by_hand() -> None:
    # 0.9 yes | 0.8 no | 0.7 yes, no | 0.1 no
    roc = roc_curve([0.7, 0.9, 0.8, 0.7, 0.1], [True, True, False, False, False])
    assert roc is not None
    assert roc.false_alarms.tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3, 1])
    assert roc.found.tolist() == pytest.approx([0, 0.5, 0.5, 1, 1])
    # on the slope that the tie makes, on a plateau, at a step (its upper end), at both ends
    assert roc.at([0.5, 0.1, 0.0, 1.0, 1 / 3]).tolist() == pytest.approx([0.75, 0.5, 0.5, 1, 0.5])


def test_a_perfect_detector_finds_all_without_a_false_alarm() -> None:
    roc = roc_curve([0.9, 0.8, 0.2], [True, True, False])
    assert roc is not None
    assert roc.area == 1
    assert roc.at([0.0, 0.5]).tolist() == [1, 1]


@pytest.mark.parametrize("present", [[True, True], [False, False], []])
def test_where_only_one_kind_is_there_there_is_no_curve(present: list[bool]) -> None:
    assert roc_curve(np.linspace(0, 1, len(present)), present) is None


def test_reliability_by_hand() -> None:
    bins = reliability([0.05, 0.07, 0.35, 1.0, 0.95, 0.9], [0, 1, 0, 1, 1, 0])
    assert [each.frames for each in bins] == [2, 1, 3]
    assert [each.said for each in bins] == pytest.approx([0.06, 0.35, 0.95])
    assert [each.happened for each in bins] == pytest.approx([0.5, 0, 2 / 3])
    by_hand = (2 * 0.44 + 1 * 0.35 + 3 * (0.95 - 2 / 3)) / 6
    assert error_of(bins) == pytest.approx(by_hand)


@pytest.mark.parametrize("seed", range(5))
def test_the_error_of_the_bins_is_the_expected_calibration_error(seed: int) -> None:
    draw = np.random.default_rng(seed)
    said, truth = np.round(draw.random(300), 1 + seed), draw.random(300) < 0.4
    every = np.ones((300, 1), dtype=bool)
    expected = calibration_error(said[:, None], truth[:, None], every)[0]
    assert error_of(reliability(said, truth)) == pytest.approx(expected, abs=1e-12)
    naive = 0.0
    for number in range(10):
        inside = [min(int(p * 10), 9) == number for p in said]
        if any(inside):
            naive += sum(inside) / 300 * abs(said[inside].mean() - truth[inside].mean())
    assert expected == pytest.approx(naive, abs=1e-12)


def test_decisions_are_counted_and_shares_of_nothing_are_undefined() -> None:
    told = outcomes([1, 1, 1, 0, 0, 0], [True, True, False, True, False, False])
    assert told == Outcomes(found=2, false=1, missed=1, absent=2)
    assert (told.recall, told.specificity, told.precision) == pytest.approx((2 / 3,) * 3)
    nothing = outcomes([False], [False])
    assert math.isnan(nothing.recall)
    assert math.isnan(nothing.precision)
    assert nothing.specificity == 1


def test_the_mean_curve_of_one_is_itself() -> None:
    from cycada.report.decisions import mean_roc

    draw = np.random.default_rng(0)
    present = draw.random(101 + 20) < 0.2
    present[:20], present[20:] = True, False  # 101 absent ones: false alarms in hundredths
    roc = roc_curve(draw.random(121) + 0.5 * present, present)
    assert roc is not None
    mean = mean_roc([roc, roc])
    assert isinstance(mean, Roc)
    assert mean.found[1:].tolist() == pytest.approx(roc.at(np.linspace(0, 1, 101)).tolist())
    assert mean.area == pytest.approx(roc.area, abs=0.01)
