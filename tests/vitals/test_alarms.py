"""An alarm is raised once, in time, and by nothing that passes."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest

from cycada.errors import ConfigError
from cycada.settings import load_config
from cycada.vitals.alarms import Alarm, AlarmConfig, Event

CONFIG = AlarmConfig(on=0.5, off=0.3, raise_after=4, end_after=5, longest_gap=5)


def told(scores: Iterable[float | None], config: AlarmConfig = CONFIG) -> list[tuple[int, Event]]:
    """Return what an alarm tells of a score each second, and when."""
    alarm = Alarm(config)
    found = []
    for second, score in enumerate(scores):
        event = alarm.see(second, score, f"score {score}")
        if event is not None:
            found.append((second, event))
    return found


def times(events: list[tuple[int, Event]]) -> list[str]:
    return [f"{at}: {event.start:g} to {event.end:g}" for at, event in events]


def test_a_high_score_that_stays_raises_one_alarm_and_ends_it_where_it_fell() -> None:
    (raised_at, raised), (ended_at, ended) = told([0.1] * 10 + [0.8] * 20 + [0.1] * 20)
    assert (raised_at, raised.start, raised.raised, raised.lasts) == (14, 10, 14, True)
    assert raised.reason == "score 0.8"
    assert (ended_at, ended.start, ended.end, ended.lasts) == (35, 10, 30, False)
    assert ended.reason == raised.reason


def test_what_is_over_before_the_least_duration_raises_nothing() -> None:
    assert not told([0.1] * 10 + [0.9] * 4 + [0.1] * 10 + [0.9] * 3 + [0.29] + [0.9] * 4)


def test_between_the_thresholds_an_alarm_stays_as_it_is() -> None:
    assert not told([0.4] * 60)  # never reached `on`
    assert [at for at, _ in told([0.6] + [0.4] * 60)] == [4]  # pending, and raised, and no end
    flicker = [0.9] * 10 + [0.2, 0.2, 0.2, 0.4] * 20
    assert len(told(flicker)) == 1  # never below for 5 s


def test_short_gaps_neither_drop_a_pending_alarm_nor_count_for_it() -> None:
    scores = [0.8, 0.8, None, math.nan, None, 0.8, 0.8, 0.8, 0.8]
    # 1 s before the gap; after it 1, 2 and 3 s more
    ((at, event),) = told(scores)
    assert (at, event.start) == (8, 0)


def test_seconds_without_a_score_do_not_end_an_alarm_either() -> None:
    scores = [0.8] * 6 + [0.1, 0.1, None, None, 0.1, 0.1, 0.1] + [0.1] * 9
    (_, _), (at, event) = told(scores)
    assert event.end == 6
    assert at == 14  # 1 s, a gap, and 4 s


def test_a_long_gap_drops_what_is_pending_and_ends_what_was_raised() -> None:
    assert not told([0.8] * 4 + [None] * 7 + [0.8] * 4)
    (_, _), (at, ended) = told([0.8] * 6 + [None] * 7 + [0.8] * 4)
    assert (at, ended.end) == (11, 5)
    assert "for want of a score for 5 s" in ended.reason
    alarm = Alarm(CONFIG)  # nothing said at all, instead of None
    for second in (0, 1, 2, 3, 4):
        alarm.see(second, 0.8)
    ended_event = alarm.see(30, 0.8)
    assert ended_event is not None
    assert ended_event.end == 4
    assert alarm.event is None


@pytest.mark.parametrize("rate", [1, 2, 9])
def test_five_seconds_without_a_score_change_nothing_and_more_end_an_alarm(rate: int) -> None:
    def through(gap: int) -> list[str]:
        scores = [0.8] * 20 * rate + [None] * gap + [0.8] * 20 * rate
        alarm = Alarm(CONFIG)
        found = (alarm.see(at / rate, score) for at, score in enumerate(scores))
        return [event.reason for event in found if event is not None]

    assert through(5 * rate) == [""]
    assert through(5 * rate + 1) == ["", "ended for want of a score for 5 s", ""]


def doubted(bounds: Iterable[tuple[float | None, float]]) -> list[tuple[int, Event]]:
    """Return what an alarm tells of the lowest and highest that a score can be."""
    alarm = Alarm(CONFIG)
    found = (
        (at, alarm.see(at, low, highest=high, missing="rate (no rhythm)"))
        for at, (low, high) in enumerate(bounds)
    )
    return [(at, event) for at, event in found if event is not None]


KNOWN, LOST, CALM = (0.6, 0.6), (0.2, 0.6), (0.1, 0.1)


def test_an_alarm_is_held_while_what_is_known_cannot_rule_it_out() -> None:
    assert times(doubted([*[KNOWN] * 10, *[LOST] * 60] * 4)) == ["4: 0 to nan"]
    assert not doubted([LOST] * 200)  # and none is raised so


def test_an_alarm_in_doubt_for_longer_ends_where_it_began_and_says_why() -> None:
    (_, raised), (at, ended) = doubted([*[KNOWN] * 10, *[LOST] * 100])
    assert (raised.reason, at, ended.end) == ("", 70, 9)
    assert ended.reason == (
        "ended, for in 60 s what is known neither kept it nor ruled it out; "
        "missing: rate (no rhythm)"
    )


def test_seconds_in_doubt_do_not_count_for_its_end_and_do_not_undo_it() -> None:
    (_, _), (at, ended) = doubted([*[KNOWN] * 10, *[CALM] * 3, *[LOST] * 20, *[CALM] * 9])
    assert (at, ended.end) == (36, 10)  # 2 s, the doubt, and 3 s
    # Seconds without a score end it as ever, in doubt or not.
    (_, _), (at, ended) = doubted([*[KNOWN] * 10, *[LOST] * 3, *[(None, math.nan)] * 9])
    assert (at, ended.end) == (18, 12)


def test_without_a_least_duration_an_alarm_is_raised_and_ended_at_once() -> None:
    at_once = AlarmConfig(on=0.5, off=0.4, raise_after=0, end_after=0)
    assert times(told([0, 1, 1, 0, 0, 1], at_once)) == ["1: 1 to nan", "3: 1 to 3", "5: 5 to nan"]
    alarm = Alarm(at_once)
    assert [alarm.see(at, 1.0) is not None for at in (0, 30, 31)] == [True, True, True]


def test_an_alarm_that_lasts_at_the_end_is_ended_there_with_a_word() -> None:
    alarm = Alarm(CONFIG, kind="apnea")
    for second in range(8):
        alarm.see(second, 0.7)
    assert alarm.event is not None
    assert alarm.event.lasts
    event = alarm.close(8.0)
    assert event is not None
    assert (event.kind, event.end, event.peak) == ("apnea", 8, 0.7)
    assert "the recording ended" in event.reason
    assert alarm.close(8.0) is None
    assert Alarm(CONFIG).close(3.0) is None


def test_the_highest_score_of_all_of_it_is_the_peak() -> None:
    events = told([0.6, 0.95, 0.6, 0.6, 0.6, 0.7, 0.1, 0.2, 0.2, 0.2, 0.2, 0.2])
    assert [event.peak for _, event in events] == [0.95, 0.95]


def test_the_frame_rate_does_not_matter() -> None:
    found = []
    for rate in (1, 9, 30):
        alarm = Alarm(CONFIG)
        for frame in range(60 * rate):
            second = frame / rate
            event = alarm.see(second, 0.8 if 20 <= second < 40 else 0.1)
            if event is not None:
                found.append((event.start, event.raised, event.end))
    assert np.allclose(found[0::2], [(20, 24, math.nan)] * 3, equal_nan=True)
    assert np.allclose(found[1::2], [(20, 24, 40)] * 3)


def test_random_scores_raise_alarms_as_the_definition_says() -> None:
    """Against a reading of the rule that looks back over all scores at every second."""
    draw = np.random.default_rng(0)
    for _ in range(200):
        scores = np.clip(np.cumsum(draw.normal(0, 0.15, 120)) + 0.3, 0, 1)
        assert times(told(scores)) == list(_by_definition(list(scores)))


def _by_definition(scores: list[float]) -> Iterable[str]:
    begin, raised = -1, False
    for now, score in enumerate(scores):
        if not raised:
            if score < CONFIG.off:
                begin = -1
            elif begin < 0 and score >= CONFIG.on:
                begin = now
            if begin >= 0 and now - begin >= CONFIG.raise_after:
                raised = True
                yield f"{now}: {begin} to nan"
        elif all(each < CONFIG.off for each in scores[now - 5 : now + 1]):
            start = now - 5
            while scores[start - 1] < CONFIG.off:
                start -= 1
            yield f"{now}: {begin} to {start}"
            begin, raised = -1, False


def test_thresholds_without_hysteresis_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"alarm\.off must be below alarm\.on, found 0\.5 and 0"):
        load_config(AlarmConfig, None, ["on=0.5", "off=0.5"])
