"""Rates of breathing that are known are found, and where there is none, none is given."""

from __future__ import annotations

import numpy as np
import pytest

from cycada.vitals.respiration import Array, Estimate, estimate, estimate_best, steadied

FPS = 9.0


def seconds(length: float = 40.0, fps: float = FPS) -> Array:
    return np.arange(round(length * fps)) / fps


def breathing(times: Array, rate: float, *, depth: float = 0.4) -> Array:
    """Return deg C of nostrils: quick in, slow out, which has a strong second harmonic."""
    part = (times * rate / 60) % 1
    flow = np.where(part < 0.4, -np.sin(np.pi * part / 0.4), np.sin(np.pi * (part - 0.4) / 0.6))
    return 34 + depth * np.asarray(flow)


def noise(times: Array, deviation: float, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, deviation, len(times))


@pytest.mark.parametrize("fps", [5.0, 9.0, 30.0])
@pytest.mark.parametrize("rate", [6.5, 8.3, 12.0, 15.7, 21.4, 30.0, 38.6, 45.0, 50.0])
def test_the_rate_of_steady_breathing_is_told_between_the_bins(rate: float, fps: float) -> None:
    times = seconds(fps=fps)
    found = estimate(times, breathing(times, rate) + noise(times, 0.01))
    assert found.given
    assert found.rate == pytest.approx(rate, abs=0.25)
    assert found.quality > 0.8


def test_a_second_breath_within_a_breath_does_not_double_the_rate() -> None:
    times = seconds()
    twice = 34 + 0.3 * np.sin(2 * np.pi * 0.2 * times) + 0.25 * np.sin(4 * np.pi * 0.2 * times + 1)
    assert estimate(times, twice).rate == pytest.approx(12, abs=0.3)


def test_what_a_face_does_without_breathing_gives_no_rate() -> None:
    times = seconds()
    drift = 34 + 0.2 * times / 40
    told = [
        estimate(times, drift + noise(times, 0.02, seed)).given
        or estimate(times, drift + np.cumsum(noise(times, 0.01, seed))).given
        for seed in range(60)
    ]
    assert np.mean(told) <= 0.1
    assert (
        estimate(times, np.full(len(times), 34.0)).reason == "not seen"
    )  # the camera stands still
    assert estimate(times, drift + noise(times, 0.02)).reason == "no rhythm"


def test_only_the_last_thirty_seconds_count() -> None:
    times = seconds(120.0)
    before = times < 85
    values = np.where(before, breathing(times, 40), breathing(times, 14))
    assert estimate(times, values).rate == pytest.approx(14, abs=0.3)


def test_a_part_that_is_not_seen_for_long_gives_no_rate() -> None:
    times = seconds()
    values = breathing(times, 15) + noise(times, 0.01)
    short, long = values.copy(), values.copy()
    short[200:209] = np.nan  # 1 s is bridged
    long[200:290] = np.nan
    assert estimate(times, short).rate == pytest.approx(15, abs=0.2)
    assert estimate(times, long) == Estimate(pytest.approx(np.nan, nan_ok=True), 0.0, "not seen")
    assert estimate(times[:200], values[:200]).reason == "not seen"  # 22 s
    assert estimate(times, np.full(len(times), np.nan)).reason == "not seen"


def test_frames_at_odd_times_are_taken_at_their_times() -> None:
    draw = np.random.default_rng(4)
    times = np.sort(draw.choice(seconds(40.0, 30.0), size=360, replace=False))
    assert estimate(times, breathing(times, 17.0)).rate == pytest.approx(17, abs=0.2)


def test_a_shutter_that_closes_and_shifts_the_level_does_not_matter() -> None:
    times = seconds()
    values = breathing(times, 18) + noise(times, 0.01)
    for start, shift in ((120, 0.8), (230, -1.5), (300, 0.5)):
        values[start : start + 6] = values[start]
        values[start + 6 :] += shift
    found = estimate(times, values)
    assert found.rate == pytest.approx(18, abs=0.3)


def test_freezes_and_jumps_are_taken_out_and_nothing_else() -> None:
    values = np.array([0.0, 1, 2, 3, 3, 3, 3, 54, 55, 56, 57, 58, 59, 60, 61, 62])
    steady = steadied(values)
    assert np.isnan(steady[4:7]).all()
    kept = np.delete(steady, [4, 5, 6])
    assert kept == pytest.approx(np.arange(13))
    slow = breathing(seconds(), 12)
    assert steadied(slow) == pytest.approx(slow)


def test_deep_breaths_after_a_long_pause_are_no_jumps_and_a_jump_among_them_is_one() -> None:
    times = seconds()
    breath = breathing(times, 30, depth=0.6) * (times >= 34)
    values = np.where(breath, breath, 34) + noise(times, 0.004)
    last = times >= 35  # of the first breath a part may be lost
    assert steadied(values)[last].std() == pytest.approx(values[last].std(), rel=0.02)
    jumped = values + 3.0 * (times > 37)
    assert steadied(jumped)[last].std() == pytest.approx(values[last].std(), rel=0.2)


def test_the_first_part_that_tells_a_rate_is_taken() -> None:
    times = seconds()
    still = 34 + noise(times, 0.02)
    mouth, nose = breathing(times, 22), breathing(times, 21)
    assert estimate_best(times, {"nostrils": nose, "mouth": mouth}).part == "nostrils"
    found = estimate_best(times, {"nostrils": still, "mouth": mouth})
    assert found.part == "mouth"
    assert found.rate == pytest.approx(22, abs=0.2)
    nothing = estimate_best(times, {"nostrils": np.full(len(times), np.nan), "mouth": still})
    assert not nothing.given
    assert np.isnan(nothing.rate)
