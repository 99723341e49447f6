"""Probabilities smoothed over time are those of a formula, and gaps stay gaps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cycada.vitals.smoothing import Smoother, SmoothingConfig


def test_the_mean_is_the_one_of_exponential_weights() -> None:
    draw = np.random.default_rng(1)
    times, values = np.sort(draw.uniform(0, 5, 40)), draw.uniform(0, 1, 40)
    smoother = Smoother(SmoothingConfig(seconds=0.7, longest_gap=10))
    for at, value in zip(times, values, strict=True):
        smoother.see(at, {4: value})
    weights = np.exp((times - times[-1]) / 0.7)
    assert smoother.tell(times[-1]) == {4: pytest.approx((weights @ values) / weights.sum())}


def test_the_same_course_gives_the_same_at_any_frame_rate() -> None:
    told = []
    for rate in (9, 30, 120):
        smoother = Smoother()
        for frame in range(6 * rate + 1):
            smoother.see(frame / rate, {12: float(frame >= 3 * rate)})
        told.append(smoother.tell(6.0)[12])
    # what has been there for 3 of 6 s: (1 - e^-3) / (1 - e^-6)
    assert told == pytest.approx([1 / (1 + math.exp(-3))] * 3, abs=0.006)


def test_a_single_frame_that_is_wrong_changes_little() -> None:
    smoother = Smoother()
    for frame in range(40):
        smoother.see(frame / 9, {1: 1.0 if frame == 30 else 0.1})
        assert smoother.tell(frame / 9)[1] < 0.22


def test_frames_without_a_face_are_gaps_and_no_zeros() -> None:
    smoother = Smoother()
    for frame in range(18):
        smoother.see(frame / 9, {1: 0.9, 4: 0.8})
    for frame in range(18, 27):
        smoother.see(frame / 9, {})
    assert smoother.tell(3.0) == {1: pytest.approx(0.9), 4: pytest.approx(0.8)}
    assert smoother.tell(5.0) == {}
    smoother.see(5.0, {1: 0.2})
    assert smoother.tell(5.0) == {1: 0.2}  # begun anew: what was 3 s ago counts no more


def test_an_au_that_cannot_be_assessed_is_unknown_while_others_are_told() -> None:
    smoother = Smoother()
    for frame in range(40):
        smoother.see(frame / 9, {1: 0.5, 25: 0.9 if frame < 9 else math.nan})
    assert smoother.tell(39 / 9) == {1: pytest.approx(0.5)}
