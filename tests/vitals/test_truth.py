"""What is true of a window is what a count of its breaths says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cycada.errors import DataError
from cycada.vitals.truth import Truth, begun, read_truth, true_windows, truth_at


def truth_of_breaths(lengths: list[float], pause: tuple[float, float] | None = None) -> Truth:
    """Return breaths of these lengths, one after the other, with a pause at some time."""
    seconds = np.arange(60 * 20) / 20
    rate = np.zeros(len(seconds))
    at = 0.0
    for length in lengths:
        if pause and at >= pause[0]:
            at, pause = pause[1], None
        rate[(seconds >= at - 1e-9) & (seconds < at + length - 1e-9)] = 60 / length
        at += length
    return Truth(seconds, rate, rate == 0)


def test_the_rate_of_a_window_is_its_breaths_over_their_time() -> None:
    truth = truth_of_breaths([2.0] * 15 + [3.0] * 10)  # 15 in the first half minute, then 10
    ends = np.array([29.99, 59.95])
    found = true_windows(truth, ends, length=29.99)
    assert found.rate == pytest.approx([30.0, 20.0], rel=0.003)
    middle = true_windows(truth, np.array([45.0]), length=30.0)
    assert middle.rate == pytest.approx([25.0], rel=0.005)  # 7.5 and 5 breaths in 30 s
    assert middle.owed.all()


def test_a_pause_is_no_slow_breathing_and_nothing_is_owed_for_it() -> None:
    truth = truth_of_breaths([2.0] * 30, pause=(32.0, 47.0))
    found = true_windows(truth, np.array([31.0, 40.0, 59.0]), length=30.0)
    assert found.rate == pytest.approx([30.0, 30.0, 30.0], rel=0.01)
    assert found.owed.tolist() == [True, False, False]
    assert not found.without.any()


def test_a_window_without_a_breath_is_without_and_one_at_the_start_is_neither() -> None:
    seconds = np.arange(600) / 10
    still = Truth(seconds, np.zeros(600), np.ones(600, dtype=bool))
    intubated = Truth(seconds, np.full(600, 15.0), np.zeros(600, dtype=bool), seen=False)
    for truth in (still, intubated):
        found = true_windows(truth, np.array([20.0, 40.0]), length=30.0)
        assert found.without.tolist() == [False, True]
        assert not found.owed.any()
        assert np.isnan(found.rate).all()


def test_what_nobody_measured_is_neither_owed_nor_without() -> None:
    seconds = np.arange(60.0)
    rate = np.where((seconds > 20) & (seconds < 25), np.nan, 12.0)
    found = true_windows(Truth(seconds, rate, rate == 0), np.array([35.0, 59.0]), length=30.0)
    assert found.owed.tolist() == [False, True]
    assert not found.without.any()
    assert np.isnan(found.rate[0])
    unknown = Truth(seconds, np.full(60, np.nan), np.zeros(60, dtype=bool))
    assert not true_windows(unknown, np.array([35.0]), length=30.0).without.any()


def test_a_rate_that_is_known_now_and_then_is_true_of_no_window() -> None:
    seconds = np.arange(601.0)
    rate = np.where(seconds % 60 == 0, 20.0, np.nan)
    found = true_windows(Truth(seconds, rate, rate == 0), np.arange(1.0, 601), length=30.0)
    assert np.isnan(found.rate).all()
    assert not found.owed.any()


def test_the_rate_of_who_does_not_breathe_need_not_be_told() -> None:
    seconds = np.arange(91.0)
    still = (seconds >= 20) & (seconds < 60)
    truth = Truth(seconds, np.where(still, np.nan, 15.0), still)
    found = true_windows(truth, np.array([30.0, 55.0, 70.0]), length=30.0)
    assert found.rate == pytest.approx([15.0, np.nan, 15.0], nan_ok=True)
    assert found.without.tolist() == [False, True, False]


@pytest.mark.parametrize("step", [0.1, 1.0])
def test_a_window_counts_only_if_the_truth_covers_it(step: float) -> None:
    seconds = np.arange(300.0, 600.01, step)
    for rate in (15.0, 0.0):
        truth = Truth(seconds, np.full(len(seconds), rate), np.full(len(seconds), rate == 0))
        ends = np.array([10.0, 300, 328, 330, 600, 603])
        found = true_windows(truth, ends, length=30.0)
        covered = [False, False, False, True, True, False]
        assert found.owed.tolist() == [each and rate > 0 for each in covered]
        assert found.without.tolist() == [each and rate == 0 for each in covered]
        assert np.isfinite(found.rate).tolist() == found.owed.tolist()


def test_windows_of_a_truth_from_the_start_count_as_a_plain_loop_says() -> None:
    draw = np.random.default_rng(4)
    seconds = np.arange(1080) / 9
    rate = np.repeat(np.where(draw.random(18) < 0.3, 0.0, draw.uniform(6, 45, 18)), 60)
    ends = np.arange(1.0, 120)
    found = true_windows(Truth(seconds, rate, rate == 0), ends, length=30.0)
    for number, end in enumerate(ends):
        inside = rate[(seconds > end - 30) & (seconds <= end)]
        breaths = inside[inside > 0]
        true = breaths.mean() if len(breaths) else np.nan
        assert found.rate[number] == pytest.approx(true, nan_ok=True)
        assert found.owed[number] == (end >= 30 and len(breaths) == len(inside))
        assert found.without[number] == (end >= 30 and not len(breaths))


def test_before_its_first_row_a_truth_says_nothing() -> None:
    truth = Truth(np.array([5.0, 6.0]), np.zeros(2), np.ones(2, dtype=bool))
    times = np.array([1.0, 4.9, 5.0, 5.5])
    assert begun(truth, times).tolist() == [False, False, True, True]
    assert truth_at(truth, truth.apnea, times).tolist() == [False, False, True, True]


def test_flags_are_those_of_the_row_before() -> None:
    truth = Truth(np.array([0.0, 1.0, 2.0]), np.ones(3), np.array([False, True, False]))
    said = truth_at(truth, truth.apnea, np.array([0.0, 0.9, 1.0, 1.5, 2.0, 7.0]))
    assert said.tolist() == [False, False, True, True, False, False]


def write(folder: Path, text: str) -> Path:
    file = folder / "truth.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_table_of_a_belt_is_read(tmp_path: Path) -> None:
    found = read_truth(write(tmp_path, "seconds,respiration_rate,subject\n0,12.5,p\n1,,p\n2,0,p\n"))
    assert found.seconds.tolist() == [0, 1, 2]
    assert found.rate[0] == 12.5
    assert np.isnan(found.rate[1])
    assert found.apnea.tolist() == [False, False, True]
    assert found.dyspnea is None
    assert found.seen
    assert found.subject == "p"


def test_the_route_none_says_that_nothing_is_to_be_seen(tmp_path: Path) -> None:
    text = "seconds,respiration_rate,apnea,dyspnea,route\n0,12,0,1,none\n1,12,0,0,none\n"
    found = read_truth(write(tmp_path, text))
    assert not found.seen
    assert not found.apnea.any()
    assert found.dyspnea is not None
    assert found.dyspnea.tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seconds,rate\n0,1\n", "has no column 'respiration_rate'"),
        ("seconds,respiration_rate\n", "has no rows"),
        ("seconds,respiration_rate\n0,12\n1\n", "row 3: has not as many cells"),
        ("seconds,respiration_rate\n0,12,7\n", "row 2: has not as many cells"),
        ("seconds,respiration_rate\n0,fast\n", "row 2, column respiration_rate"),
        ("seconds,respiration_rate\n0,-3\n", "row 2, column respiration_rate"),
        ("seconds,respiration_rate\n0,inf\n", "row 2, column respiration_rate"),
        ("seconds,respiration_rate\n1,12\n0,12\n", "times that rise"),
        ("seconds,respiration_rate\n0,12\n5,12\n", "by 1 s at most"),
        ("seconds,respiration_rate\n,12\n1,12\n", "times that rise"),
        ("seconds,respiration_rate,apnea\n0,12,0.5\n", "expected 1 or 0"),
        ("seconds,respiration_rate,dyspnea\n0,12,\n", "expected 1 or 0"),
    ],
)
def test_a_table_that_is_wrong_is_told_of_in_a_sentence(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(DataError, match=told):
        read_truth(write(tmp_path, text))
    with pytest.raises(DataError, match="cannot be read"):
        read_truth(tmp_path / "missing.csv")
