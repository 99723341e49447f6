"""What is told of breathing while it goes on, changes, stops, or cannot be seen."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from cycada.vitals.breathing import Breathing, BreathingMonitor
from cycada.vitals.face_areas import PARTS
from cycada.vitals.respiration import Array

FPS = 9.0


def seconds(length: float) -> Array:
    return np.arange(round(length * FPS)) / FPS


def breathing(rates: Array, *, depth: float = 0.06) -> Array:
    """Return K by which the air of breaths of ``rates`` per minute at each moment changes skin."""
    return depth * np.sin(2 * np.pi * np.cumsum(rates / 60) / FPS) * (rates > 0)


def face(
    length: int, breath: Mapping[str, Array] | None = None, *, seed: int = 0
) -> dict[str, Array]:
    """Return a face of which some parts breathe, under noise of each and moves of all of it."""
    draw = np.random.default_rng(seed)
    move = np.cumsum(draw.normal(0, 0.002, length))
    parts = {name: 33 + move + draw.normal(0, 0.004, length) for name in PARTS}
    for name, values in (breath or {}).items():
        parts[name] = parts[name] + values
    return parts


def told(times: Array, parts: Mapping[str, Array], *, first: int = 0) -> dict[int, Breathing]:
    """Return what is told at each full second from the first on."""
    monitor, found = BreathingMonitor(), {}
    for at, now in enumerate(times):
        monitor.see(float(now), {name: float(values[at]) for name, values in parts.items()})
        if at % round(FPS) == 0 and now >= first:
            found[round(now)] = monitor.tell()
    return found


@pytest.mark.parametrize("rate", [7.0, 15.0, 31.0, 44.0])
@pytest.mark.parametrize("part", ["nostrils", "mouth"])
def test_the_rate_and_the_part_that_breathes_are_told(rate: float, part: str) -> None:
    times = seconds(45)
    found = told(times, face(len(times), {part: breathing(np.full(len(times), rate))}), first=43)
    assert found[44].estimate.rate == pytest.approx(rate, abs=0.4)
    assert found[44].estimate.part == part
    assert not found[44].apnea
    assert not found[44].not_applicable


def test_within_the_first_seconds_it_is_too_early_to_tell() -> None:
    times = seconds(25)
    found = told(times, face(len(times), {"nostrils": breathing(np.full(len(times), 15.0))}))
    assert {found[second].estimate.reason for second in range(20)} == {"not seen"}


def test_a_part_beside_the_nose_tells_where_nose_and_mouth_do_not() -> None:
    times = seconds(45)
    found = told(
        times, face(len(times), {"face 11": breathing(np.full(len(times), 18.0))}), first=43
    )
    assert found[44].estimate.part == "face 11"
    assert found[44].estimate.rate == pytest.approx(18, abs=0.3)


def test_what_the_whole_face_does_is_no_breathing() -> None:
    times = seconds(60)
    swing = breathing(np.full(len(times), 18.0))
    found = told(times, face(len(times), dict.fromkeys(PARTS, swing)))
    assert not any(each.estimate.given for each in found.values())


def test_the_forehead_does_not_breathe() -> None:
    times = seconds(45)
    found = told(
        times, face(len(times), {"face 2": breathing(np.full(len(times), 18.0))}), first=43
    )
    assert not found[44].estimate.given


def test_of_a_face_that_never_breathes_no_rate_is_told_and_then_that_none_will_be() -> None:
    times, given = seconds(101), []
    for seed in range(3):
        found = told(times, face(len(times), seed=seed), first=29)
        given += [each.estimate.given for second, each in found.items() if second >= 30]
        assert not any(found[second].not_applicable for second in range(30, 90))
        for second in range(90, 100):
            assert found[second].not_applicable == "no breathing could be told for 90 s"
        assert not any(each.apnea for each in found.values())
    assert np.mean(given) <= 0.02


def test_an_apnea_is_told_within_fifteen_seconds_and_its_end_within_ten() -> None:
    times = seconds(130)
    rates = np.where((times > 60) & (times < 85), 0.0, 16.0)
    found = told(times, face(len(times), {"nostrils": breathing(rates)}))
    assert not any(found[second].apnea for second in range(62))
    assert all(found[second].apnea for second in range(75, 85))
    assert found[80].apnea_since == pytest.approx(60, abs=2.5)
    assert math.isnan(found[80].estimate.rate)
    assert found[80].estimate.reason == "breathing stopped"
    assert not any(found[second].apnea for second in range(95, 130))
    assert found[125].estimate.rate == pytest.approx(16, abs=0.3)


def test_breathing_by_the_mouth_instead_of_the_nose_is_no_apnea() -> None:
    times = seconds(140)
    rates = np.full(len(times), 15.0)
    nose, mouth = (times < 60), (times >= 60)
    found = told(
        times, face(len(times), {"nostrils": breathing(rates) * (nose + 0.25 * mouth),
                           "mouth": breathing(rates) * (mouth + 0.25 * nose)}),
    )  # fmt: skip
    assert not any(each.apnea for each in found.values())
    assert found[130].estimate.part == "mouth"


def test_breathing_that_stays_shallow_is_no_apnea_for_long() -> None:
    times = seconds(140)
    rates = np.full(len(times), 16.0)
    shallow = breathing(rates) * np.where(times < 60, 1, 0.3)
    found = told(times, face(len(times), {"nostrils": shallow}))
    assert not found[139].apnea
    assert found[139].estimate.rate == pytest.approx(16, abs=0.3)


def test_a_face_that_turns_away_is_no_apnea() -> None:
    times = seconds(110)
    parts = face(len(times), {"nostrils": breathing(np.full(len(times), 16.0))})
    parts = {name: np.where((times > 60) & (times < 90), np.nan, v) for name, v in parts.items()}
    found = told(times, parts)
    assert not any(each.apnea for each in found.values())
    assert found[85].estimate.reason == "not seen"


def test_an_apnea_is_not_over_because_the_face_is_hidden() -> None:
    times = seconds(120)
    rates = np.where((times > 60) & (times < 105), 0.0, 16.0)
    parts = face(len(times), {"nostrils": breathing(rates)})
    parts = {name: np.where((times > 80) & (times < 83), np.nan, v) for name, v in parts.items()}
    found = told(times, parts)
    assert found[79].apnea
    assert found[83].apnea is None
    assert all(found[second].apnea is not False for second in range(75, 105))
    assert all(found[second].apnea for second in range(94, 105))
    assert found[100].apnea_since == pytest.approx(60, abs=2.5)
    assert found[118].apnea is False


def test_of_who_was_never_seen_breathing_no_apnea_can_be_told() -> None:
    times = seconds(70)
    found = told(times, face(len(times)), first=40)
    assert {each.apnea for each in found.values()} == {None}


def test_a_rate_that_changes_is_told_as_the_mean_of_its_window() -> None:
    times = seconds(120)
    rates = np.interp(times, [50, 60], [14, 21])
    found = told(times, face(len(times), {"nostrils": breathing(rates)}))
    for second in range(50, 100, 5):
        window = (times > second - 30) & (times <= second)
        if found[second].estimate.given:
            assert found[second].estimate.rate == pytest.approx(rates[window].mean(), abs=1.5)
    given = [found[second].estimate.given for second in range(30, 119)]
    assert np.mean(given) > 0.9


@pytest.mark.parametrize("rate", [15.0, 44.0])
def test_of_less_than_two_frames_a_second_no_rate_is_told(rate: float) -> None:
    for fps, reason in ((1.5, "too few frames"), (4.0, "")):
        monitor, draw = BreathingMonitor(), np.random.default_rng(0)
        for at in range(round(60 * fps)):
            air = 0.06 * np.sin(2 * np.pi * rate / 60 * at / fps)
            monitor.see(at / fps, {
                name: 33 + draw.normal(0, 0.004) + air * (name == "nostrils") for name in PARTS
            })  # fmt: skip
        found = monitor.tell().estimate
        assert found.reason == reason
        assert found.given == (not reason)


def test_no_more_is_kept_than_a_window_needs() -> None:
    monitor = BreathingMonitor()
    nothing = dict.fromkeys(PARTS, 33.0)
    for at in range(3000):
        monitor.see(at / 30, nothing)
    assert len(monitor._seconds) == len(monitor._values) <= 33 * 30


def test_a_frame_that_is_not_later_than_the_last_is_a_mistake() -> None:
    monitor = BreathingMonitor()
    assert monitor.tell().estimate.reason == "not seen"
    monitor.see(1.0, dict.fromkeys(PARTS, 33.0))
    with pytest.raises(ValueError, match=r"1\.0 s comes after 1\.0 s"):
        monitor.see(1.0, dict.fromkeys(PARTS, 33.0))
