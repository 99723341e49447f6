from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cycada.report.page import render_page
from cycada.report.vitals import Watched, vitals_page, write_vitals
from cycada.report.vitals_course import Course
from cycada.report.vitals_plot import Levels, clock, course_plot
from cycada.vitals.alarms import Event
from cycada.vitals.record import Vitals

LEVELS = Levels(on=0.45, off=0.3)
ALARM = Event(kind="dyspnea", start=20, raised=24, end=50, peak=0.8, reason="<b>fear</b> & more")


def course(seconds: int, *, units: tuple[int, ...] = (1, 4)) -> Course:
    """Return a patient of whom every fifth second nothing is known."""
    made = Course(units)
    for row in rows(seconds, units):
        made.add(row)
    return made


def rows(seconds: int, units: tuple[int, ...] = (1, 4)) -> list[Vitals]:
    draw = np.random.default_rng(seconds)
    return [
        Vitals(
            seconds=second, frames=9, face=1.0, quality=0.9, part="nostrils",
            rate=math.nan if second % 5 == 0 else float(draw.uniform(10, 20)),
            reason="no rhythm" if second % 5 == 0 else "", apnea=second in range(30, 41),
            score=float(draw.uniform()), units={n: float(draw.uniform()) for n in units},
            missing="nasal flaring (AU38 is not assessed)",
        )
        for second in range(1, seconds + 1)
    ]  # fmt: skip


@pytest.mark.parametrize("seconds", [1, 90, 720, 721, 5000])
def test_steps_hold_the_means_and_bounds_of_their_seconds(seconds: int) -> None:
    made = course(seconds)
    told = rows(seconds)
    line = made.line("rate")
    assert len(line.mean) <= 720
    for at in range(seconds // made.step):
        part = [row.rate for row in told[at * made.step : (at + 1) * made.step]]
        known = [rate for rate in part if not math.isnan(rate)]
        wanted = (np.mean(known), min(known), max(known)) if known else (math.nan,) * 3
        found = (line.mean[at], line.low[at], line.high[at])
        assert found == pytest.approx(wanted, nan_ok=True)


def test_hours_take_no_more_memory_than_minutes() -> None:
    reasons, parts = ("not seen", "no rhythm", "estimators disagree"), ("nostrils", "mouth")
    sizes = []
    for count in (60, 6000):
        made = Course((1, 4))
        for row in rows(count):
            at = int(row.seconds)
            made.add(replace(
                row, reason=reasons[at % 3] if row.reason else "", part=parts[at % 2],
                missing=f"nasal flaring (AU38 {at}); mouth breathing ({at} lips)",
            ))  # fmt: skip
        sizes.append({
            name: each.nbytes if isinstance(each, np.ndarray) else len(each)
            for name, each in vars(made).items() if hasattr(each, "__len__")
        })  # fmt: skip
        assert set(made.missing) == {"nasal flaring", "mouth breathing"}
        assert made.missing["nasal flaring"] == (count, f"AU38 {count}")
    assert sizes[0] == sizes[1]
    assert {"_sum", "_rates", "reasons", "parts", "missing"} <= set(sizes[0])


def test_shares_and_rates_are_those_of_all_seconds() -> None:
    made, told = course(5000), rows(5000)
    rates = [row.rate for row in told if not math.isnan(row.rate)]
    assert made.rate_at(0.5) == pytest.approx(np.median(rates), abs=0.1)
    assert (made.given, made.rows) == (len(rates), 5000)
    assert made.share("face") == 1
    assert made.missing == {"nasal flaring": (5000, "AU38 is not assessed")}


def test_a_drawing_is_well_formed_whatever_is_known() -> None:
    nothing = Course(())
    unseen = Course((1,))
    unseen.add(Vitals(seconds=1, units={1: math.nan}))
    for made in (nothing, unseen, course(1), course(90), course(5000)):
        for width in (1116, 400):
            drawing = ET.fromstring(course_plot(made, [ALARM], LEVELS, width=width))
            assert "nan" not in ET.tostring(drawing, encoding="unicode")


def test_nothing_is_drawn_outside_the_drawing() -> None:
    for width in (1116, 400):
        drawing = course_plot(course(90), [ALARM], LEVELS, width=width)
        height = float(re.findall(r'viewBox="0 0 \S+ (\S+)"', drawing)[0])
        for shape in re.findall(r' d="([^"]+)"', drawing):
            numbers = [float(n) for n in re.findall(r"-?\d+\.\d", shape)]
            assert max(numbers) <= max(width, height)
            assert min(numbers) >= 0
        for x, y in re.findall(r'<text[^>]* x="([\d.]+)" y="([\d.]+)"', drawing):
            assert 0 <= float(x) <= width
            assert 0 <= float(y) <= height


def test_an_alarm_is_shaded_where_it_lasted() -> None:
    drawing = course_plot(course(100), [ALARM], LEVELS, width=1116)
    left, wide = re.findall(r'class="alarm" x="([\d.]+)" y="\S+" width="([\d.]+)"', drawing)[0]
    start, per_second = 196.0, (1116 - 14 - 196) / 100
    assert float(left) == pytest.approx(start + 20 * per_second, abs=0.1)
    assert float(wide) == pytest.approx(30 * per_second, abs=0.1)


def test_the_page_tells_alarms_and_what_was_missing_and_escapes_them() -> None:
    page = render_page(vitals_page(Watched(
        course=course(90), alarms=[ALARM], levels=LEVELS,
        items=[("nasal flaring", "an item of RDOS", True)],
    )))  # fmt: skip
    assert "&lt;b&gt;fear&lt;/b&gt; &amp; more" in page
    assert "AU38 is not assessed" in page
    assert ">hypothesis<" in page
    assert '<td class="">0:24</td>' in page
    assert "not a medical device" in page


@pytest.mark.parametrize("fitted", [False, True])
def test_the_page_says_whether_the_score_was_fitted(fitted: bool) -> None:
    page = render_page(vitals_page(Watched(
        course=course(9), alarms=[], levels=LEVELS, items=[("AU04", "40 intervals", True)],
        fitted=fitted,
    )))  # fmt: skip
    assert ("a logistic regression that was fitted" in page) is fitted
    assert ("observation scales RDOS" in page) is not fitted


def test_without_a_detector_there_is_no_score_on_the_page() -> None:
    page = render_page(vitals_page(Watched(course=course(9, units=()), alarms=[], levels=LEVELS,
                                           items=())))  # fmt: skip
    assert "Score given" not in page
    assert "breathing alone" in page


def test_page_and_plot_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_vitals(tmp_path / name, Watched(course=course(90), alarms=[ALARM], levels=LEVELS,
                                              items=()))  # fmt: skip
    for file in ("monitor.html", "vitals.svg"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0:00"), (65.4, "1:05"), (3600, "1:00:00"), (36061, "10:01:01")]
)
def test_times_are_told_as_clocks_do(seconds: float, told: str) -> None:
    assert clock(seconds) == told
