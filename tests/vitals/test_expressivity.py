"""How much a face moves is counted, and what was not seen is not taken for stillness."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest

from cycada.vitals.expressivity import (
    Expressivity,
    ExpressivityConfig,
    ExpressivityMonitor,
    TalkMonitor,
)

FPS = 9


def watched(
    face: Callable[[float], Mapping[int, float]], length: float, config: ExpressivityConfig
) -> Expressivity:
    monitor = ExpressivityMonitor(config)
    for frame in range(round(length * FPS) + 1):
        monitor.see(frame / FPS, face(frame / FPS))
    return monitor.tell(length)


def pulses(seconds: float, every: float) -> float:
    return 0.9 if seconds % every > every / 2 else 0.1


def test_onsets_are_counted_per_minute_of_the_window() -> None:
    told = watched(lambda at: {1: pulses(at, 5), 4: pulses(at, 10), 12: 0.1}, 120, CONFIG)
    assert told.rate == pytest.approx(12 + 6, abs=1)
    assert told.units == 3
    assert not told.reason


CONFIG = ExpressivityConfig()


def test_entropy_is_shannons_over_the_aus_that_begin() -> None:
    even = watched(lambda at: {1: pulses(at, 10), 4: pulses(at, 10)}, 100, CONFIG)
    assert even.entropy == pytest.approx(1)
    one = watched(lambda at: {1: pulses(at, 10), 4: 0.2}, 100, CONFIG)
    assert (one.entropy, one.rate) == (pytest.approx(0), pytest.approx(6, abs=1))
    still = watched(lambda _: {1: 0.9, 4: 0.2}, 100, CONFIG)
    assert (still.entropy, still.rate) == (0, 0)
    mixed = watched(lambda at: {1: pulses(at, 4), 4: pulses(at, 12), 6: 0.0}, 96, CONFIG)
    shares = [0.75, 0.25]
    expected = -sum(share * math.log(share, 3) for share in shares)
    assert mixed.entropy == pytest.approx(expected, abs=0.02)


def test_flicker_about_a_threshold_is_no_movement() -> None:
    told = watched(lambda at: {1: 0.55 + 0.1 * math.sin(20 * at)}, 100, CONFIG)
    assert told.rate <= 1


def test_a_face_that_is_away_is_not_still() -> None:
    def face(at: float) -> Mapping[int, float]:
        return {1: pulses(at, 5)} if at % 60 < 50 else {}

    told = watched(face, 120, CONFIG)
    assert told.seen == pytest.approx(50 / 60, abs=0.03)
    assert told.rate == pytest.approx(12, abs=1.5)
    away = watched(lambda at: {1: pulses(at, 5)} if at % 60 < 30 else {}, 120, CONFIG)
    assert math.isnan(away.rate)
    assert math.isnan(away.entropy)
    assert away.lost is None
    assert away.reason.startswith("the face was seen for 3")


def test_an_au_that_comes_into_sight_has_no_onset() -> None:
    told = watched(lambda at: {1: 0.9} if at % 5 < 4 else {4: 0.1}, 100, CONFIG)
    assert told.rate == 0


def test_a_patient_who_moves_far_less_than_before_has_lost_expressivity() -> None:
    def fading(at: float) -> Mapping[int, float]:
        return {1: pulses(at, 3) if at < 420 else 0.1, 4: pulses(at, 30)}

    before = watched(fading, 410, CONFIG)
    assert before.lost is False
    assert before.usual == pytest.approx(22, abs=1)
    assert watched(fading, 500, CONFIG).lost is True
    assert watched(fading, 200, CONFIG).lost is None  # too little was seen to know the usual
    assert watched(lambda _: {1: 0.1}, 500, CONFIG).lost is None  # never moved: nothing to lose


TEN = (1, 2, 4, 5, 7, 9, 12, 20, 25, 26)


def test_aus_under_a_mask_are_not_taken_for_still() -> None:
    def masked(at: float) -> Mapping[int, float]:
        seen = TEN if at < 500 else (1, 4)
        return {unit: pulses(at + unit, 20) for unit in seen}

    before, after = watched(masked, 490, CONFIG), watched(masked, 580, CONFIG)
    assert (before.lost, before.usual) == (False, pytest.approx(30, abs=1))
    assert after.rate == pytest.approx(6, abs=1)
    assert after.usual == pytest.approx(6, abs=0.5)  # of these two
    assert after.lost is None
    # What is seen now becomes what is usual.
    assert watched(masked, 1600, CONFIG).lost is False


@pytest.mark.parametrize(("every", "lost"), [(50, False), (100, True)])
def test_what_is_seen_of_a_face_is_compared_with_the_same_aus_before(
    every: float, lost: bool
) -> None:
    """Six of ten AUs, at 40 and at 20 % of what they did: 24 and 12 % of what all ten did."""

    def half_hidden(at: float) -> Mapping[int, float]:
        if at < 500:
            return {unit: pulses(at + unit, 20) for unit in TEN}
        return {unit: pulses(at + number * every / 6, every) for number, unit in enumerate(TEN[:6])}

    told = watched(half_hidden, 580, CONFIG)
    assert told.usual == pytest.approx(18, abs=1)
    assert told.lost is lost


def test_an_au_that_was_never_assessed_before_has_no_usual_rate() -> None:
    def unmasked(at: float) -> Mapping[int, float]:
        return {unit: pulses(at + unit, 20) for unit in ((1, 4) if at < 500 else TEN)}

    told = watched(unmasked, 580, CONFIG)
    assert (told.rate, told.usual) == (pytest.approx(30, abs=1), pytest.approx(6, abs=0.5))
    assert watched(unmasked, 900, CONFIG).usual == pytest.approx(30, abs=1)


@pytest.mark.parametrize("away", [300, 900])
def test_what_an_au_did_long_ago_is_forgotten(away: float) -> None:
    monitor = ExpressivityMonitor(ExpressivityConfig(usual=60))
    for second in range(round(500 + away + 80)):
        seen = 4 if 500 <= second < 500 + away else 1
        monitor.see(second, {seen: pulses(second, 6)})
    assert math.isnan(monitor.tell(500 + away + 80).usual) == (away > 600)


def test_memory_does_not_grow_with_the_recording() -> None:
    monitor = ExpressivityMonitor(CONFIG)
    for second in range(5000):
        monitor.see(second, {1: pulses(second, 6)})
        monitor.tell(second)
    assert len(monitor._seconds) <= 62


def talks(face: Callable[[float], float], length: float = 20) -> bool:
    monitor = TalkMonitor()
    for frame in range(round(length * FPS)):
        monitor.see(frame / FPS, {25: face(frame / FPS), 1: 0.9})
    return monitor.tell(length)


@pytest.mark.parametrize("syllables", [1.5, 2.5, 3.5])
def test_a_mouth_that_opens_with_every_syllable_talks(syllables: float) -> None:
    assert talks(lambda at: 0.5 + 0.4 * math.sin(2 * math.pi * syllables * at))


def test_a_mouth_that_is_open_or_gasps_at_forty_breaths_does_not_talk() -> None:
    assert not talks(lambda _: 0.9)
    assert not talks(lambda at: 0.5 + 0.4 * math.sin(2 * math.pi * 40 / 60 * at))
    assert not talks(lambda at: 0.5 + 0.09 * math.sin(2 * math.pi * 3 * at))  # flicker


def test_talk_is_over_soon_after_the_mouth_rests() -> None:
    assert not talks(lambda at: 0.5 + 0.4 * math.sin(2 * math.pi * 3 * at) if at < 10 else 0.1)
