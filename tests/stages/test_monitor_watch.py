"""What a watched patient raises alarms by: what is known, and not what is lost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from cycada.stages.monitor_face import Seen
from cycada.stages.monitor_watch import Watch
from cycada.vitals.alarms import Event
from cycada.vitals.dyspnea import DyspneaConfig
from cycada.vitals.face_areas import PARTS
from cycada.vitals.record import Vitals

FPS = 9
UNITS = (1, 2, 4, 5, 7, 12, 20, 25, 26, 38)
UNEASY = dict.fromkeys((1, 2, 4, 5, 7, 20), 0.7) | {25: 0.3, 26: 0.3, 12: 0.1, 38: 0.1}


def watched(
    length: int,
    *,
    breathes: Callable[[float], bool],
    seen: Callable[[float], bool],
    breaths: float = 15,
    face: Callable[[float], Mapping[int, float]] = lambda _: UNEASY,
) -> tuple[list[Vitals], list[Event]]:
    """Return the rows and alarms of one who breathes so often a minute, or whose parts hide."""
    draw, watch = np.random.default_rng(0), Watch(DyspneaConfig(), UNITS)
    rows: list[Vitals] = []
    for frame in range(length * FPS + 1):
        now = frame / FPS
        air = 0.06 * math.sin(2 * math.pi * breaths / 60 * now) * breathes(now)
        parts = {
            name: 33 + draw.normal(0, 0.004) + air * (name == "nostrils") if seen(now) else math.nan
            for name in PARTS
        }
        rows += watch.see(now, Seen(parts, face=True, probabilities=face(now)))
    events = [event for event in watch.changed if event.lasts]
    watch.close()
    return rows, [*events, *(event for event in watch.changed if not event.lasts)]


def test_a_rate_that_is_lost_raises_no_alarm() -> None:
    rows, alarms = watched(75, breathes=lambda _: True, seen=lambda now: now < 50)
    with_rate, without = rows[48], rows[72]
    assert not math.isnan(with_rate.rate)
    assert math.isnan(without.rate)
    alarm = DyspneaConfig().alarm
    assert with_rate.score < alarm.off < alarm.on < without.score
    assert alarms == []


def test_an_alarm_of_apnea_holds_while_the_face_is_hidden() -> None:
    rows, alarms = watched(
        100, breathes=lambda now: now < 50 or now > 85, seen=lambda now: not 65 < now < 68
    )
    assert {row.apnea for row in rows[70:74]} == {None}
    assert [event.kind for event in alarms] == ["apnea", "apnea"]  # raised, and ended
    assert alarms[0].start == alarms[1].start
    assert abs(alarms[0].start - 50) < 2.5
    assert 85 < alarms[1].end < 95


def test_a_rate_that_is_lost_and_back_ends_no_alarm() -> None:
    rows, alarms = watched(
        130, breaths=34, breathes=lambda _: True, seen=lambda now: not 50 < now < 75,
        face=lambda _: UNEASY | dict.fromkeys((1, 2, 4, 5, 7, 20), 0.64),
    )  # fmt: skip
    known = [not math.isnan(row.rate) for row in rows]
    lost = range(known.index(False, 45), known.index(True, 75))
    assert len(lost) > 10  # and the face alone keeps no alarm
    assert (
        max(row.score for row in rows[lost.start : lost.stop]) * 4 / 6 < DyspneaConfig().alarm.off
    )
    raised, ended = alarms
    assert raised.kind == "dyspnea"
    assert raised.raised < lost.start < lost.stop < ended.end
    assert "the recording ended" in ended.reason


def test_an_alarm_that_only_a_lost_rate_could_keep_ends_after_a_minute_with_the_reason() -> None:
    _, (raised, ended) = watched(
        160, breaths=34, breathes=lambda _: True, seen=lambda now: now < 50,
        face=lambda _: UNEASY | dict.fromkeys((1, 2, 4, 5, 7, 20), 0.64),
    )  # fmt: skip
    assert raised.kind == "dyspnea"
    assert 50 < ended.end < 80
    assert "neither kept it nor ruled it out; missing: respiratory rate (" in ended.reason


def test_an_item_that_was_never_known_holds_no_alarm() -> None:
    fear = dict.fromkeys((1, 2, 4, 5, 7, 20), 0.9) | {25: 0.8, 26: 0.8}  # AU38 is not assessed
    _, (raised, ended) = watched(
        60, breathes=lambda _: False, seen=lambda _: False,
        face=lambda now: fear if now < 30 else dict.fromkeys(fear, 0.1) | {25: 0.5},
    )  # fmt: skip
    assert raised.raised < 10
    assert 29 < ended.end < 36
    assert "missing" not in ended.reason
