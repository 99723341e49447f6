"""Agreement is what its formulas say, and events are found while they last."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cycada.metrics.agreement import (
    Span,
    agreement,
    area_under_roc,
    detect_spans,
    scaled,
    share,
    spans_of,
)


def drawn(seed: int = 0, count: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    true = draw.uniform(6, 45, count)
    return true + draw.normal(0.2, 1.5, count), true, draw.integers(0, 12, count)


def test_bland_and_altman_are_the_textbook_formulas() -> None:
    told, true, subjects = drawn()
    off = told - true
    found = agreement(told, true, subjects=subjects)
    assert found.pairs == 400
    assert found.mae.value == pytest.approx(np.abs(off).mean())
    assert found.rmse.value == pytest.approx(math.sqrt((off**2).mean()))
    assert found.bias.value == pytest.approx(off.mean())
    assert found.lower.value == pytest.approx(off.mean() - 1.96 * off.std(ddof=1))
    assert found.upper.value == pytest.approx(off.mean() + 1.96 * off.std(ddof=1))
    assert found.wrong.value == pytest.approx((np.abs(off) > 3).mean())


def test_intervals_are_those_of_resampled_subjects() -> None:
    told, true, subjects = drawn()
    found = agreement(told, true, subjects=subjects, resamples=4000, seed=3)
    draw, off = np.random.default_rng(8), told - true
    again = []
    for _ in range(4000):
        people = draw.integers(0, 12, 12)
        again.append(np.concatenate([off[subjects == who] for who in people]).mean())
    low, high = np.quantile(again, [0.025, 0.975])
    assert found.bias.interval == pytest.approx((low, high), abs=0.02)


def test_moments_without_a_rate_or_a_truth_do_not_count() -> None:
    told = np.array([10.0, np.nan, 12.0, 14.0])
    true = np.array([11.0, 5.0, np.nan, 14.0])
    found = agreement(told, true, subjects=np.array(["a", "a", "b", "b"]))
    assert found.pairs == 2
    assert found.mae.value == 0.5


def test_without_any_pair_nothing_is_known() -> None:
    found = agreement([np.nan], [3.0], subjects=["a"])
    assert found.pairs == 0
    assert math.isnan(found.mae.value)
    assert math.isnan(found.mae.interval.low)


def test_a_share_has_an_interval_only_where_there_are_several_subjects() -> None:
    hits = [True, True, False, True]
    assert share(hits, subjects=[1, 1, 2, 2]).value == 0.75
    assert not math.isnan(share(hits, subjects=[1, 1, 2, 2]).interval.low)
    assert math.isnan(share(hits, subjects=[1, 1, 1, 1]).interval.low)
    assert math.isnan(share([], subjects=[]).value)


def test_the_area_is_how_often_a_moment_of_dyspnea_scores_higher() -> None:
    draw = np.random.default_rng(1)
    present = draw.random(120) < 0.4
    scores = np.round(draw.normal(present, 1.0), 1)  # with ties
    scores[::17] = np.nan
    known = np.isfinite(scores)
    above, below = scores[known & present], scores[known & ~present]
    pairs = [(a > b) + 0.5 * (a == b) for a in above for b in below]
    found = area_under_roc(scores, present, subjects=np.arange(120) // 10)
    assert found.value == pytest.approx(np.mean(pairs))
    assert found.interval.low < found.value < found.interval.high
    assert math.isnan(area_under_roc(scores, np.zeros(120), subjects=np.arange(120)).value)


def test_an_event_is_found_where_something_is_told_while_it_lasts() -> None:
    happened = [Span(10, 30), Span(50, 70), Span(90, 95)]
    told = [Span(14, 40), Span(72, 75), Span(88, 99)]
    found = detect_spans(happened, told)
    assert found.found == (True, False, True)
    assert found.delays == (4, 0)  # who was told before it began was not late
    assert found.false == 1
    assert detect_spans(happened, told, forgiven=[Span(71, 73)]).false == 0


def test_an_alarm_that_never_stops_finds_nothing() -> None:
    happened = [Span(10, 30), Span(50, 70)]
    assert detect_spans(happened, [Span(0, 100)]) == ((False, False), (), 1)
    found = detect_spans(happened, [Span(14, 100)])
    assert (found.found, found.false) == ((True, False), 0)


def test_what_is_told_again_of_the_same_is_false() -> None:
    flags = [Span(77, 85), Span(70, 75), Span(88, 99)]
    found = detect_spans([Span(60, 100)], flags)
    assert found == ((True,), (10,), 2)
    assert detect_spans([Span(60, 100)], flags, forgiven=[Span(76, 90)]).false == 0


def test_what_is_told_again_is_right_of_the_next_that_it_begins_just_before() -> None:
    close = [Span(60, 80), Span(82, 110)]
    again = Span(78, 90)  # in the first, 4 s before the second
    assert detect_spans(close, [Span(65, 70), again]) == ((True, True), (5, 0), 0)
    assert detect_spans(close, [Span(65, 70), again, Span(95, 99)]).false == 1
    ended = Span(78, 81)  # before the second began
    assert detect_spans(close, [Span(65, 70), ended]) == ((True, False), (5,), 1)


def test_forgiven_spans_may_be_told_of_any_number_of_times() -> None:
    told = [Span(start, start + 1) for start in (10, 12, 14, 30)]
    assert detect_spans([], told, forgiven=[Span(9, 16)]) == ((), (), 1)


def test_spans_end_at_the_first_moment_without_and_may_last_to_the_end() -> None:
    flags, seconds = [1, 1, 0, 0, 1, 1], [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert spans_of(flags, seconds) == [Span(0.0, 1.0), Span(2.0, 3.0)]
    assert spans_of([], []) == []


def test_a_figure_in_other_units_takes_its_interval_with_it() -> None:
    one = share([True, False, True], subjects=[1, 2, 3])
    hundred = scaled(one, 100)
    assert hundred.value == pytest.approx(100 * one.value)
    assert hundred.interval == pytest.approx([100 * each for each in one.interval])
