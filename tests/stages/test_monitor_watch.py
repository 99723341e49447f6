"""What a watched patient raises alarms by: what is known, and not what is lost."""

from __future__ import annotations

import math
from collections.abc import Callable

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
    length: int, *, breathes: Callable[[float], bool], seen: Callable[[float], bool]
) -> tuple[list[Vitals], list[Event]]:
    """Return the rows and alarms of one who breathes 15 times a minute, or whose parts hide."""
    draw, watch = np.random.default_rng(0), Watch(DyspneaConfig(), UNITS)
    rows: list[Vitals] = []
    for frame in range(length * FPS + 1):
        now = frame / FPS
        air = 0.06 * math.sin(2 * math.pi * 0.25 * now) * breathes(now)
        parts = {
            name: 33 + draw.normal(0, 0.004) + air * (name == "nostrils") if seen(now) else math.nan
            for name in PARTS
        }
        rows += watch.see(now, Seen(parts, face=True, probabilities=UNEASY))
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
