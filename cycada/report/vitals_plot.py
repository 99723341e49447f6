"""The course of a patient as a drawing: breathing, score, Action Units, one below the other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from cycada.action_units import column, meaning
from cycada.report.drawing import Scale, line, path, svg, text
from cycada.report.plots import Tone, nice_ticks
from cycada.report.vitals_course import APNEA, EXPRESSIVITY, GIVEN, QUALITY, RATE, SCORE, Course
from cycada.report.vitals_course import Line as Figures
from cycada.vitals.alarms import Event

Array = NDArray[np.float64]

_LEVELS = 8  # of the shades of Action Units
_ROW = 15.0  # px, height of an Action Unit
_STEPS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600)  # s
_FASTEST_SHOWN = 30.0  # breaths per minute that the axis holds at least


@dataclass(frozen=True, slots=True)
class Levels:
    """Scores at which an alarm is raised, and ends."""

    on: float
    off: float


@dataclass(slots=True)
class _Sheet:
    """A drawing that grows downwards."""

    course: Course
    across: Scale  # seconds -> px
    narrow: bool
    parts: list[str]
    down: float = 0.0

    @property
    def left(self) -> float:
        return self.across.start

    @property
    def right(self) -> float:
        return self.across.end

    def heading(self, name: str, note: str) -> None:
        """Write the name of a lane above it, at the left edge."""
        tail = f'<tspan dx="7" style="font-weight:400;fill:var(--ink-2)">{escape(note)}</tspan>'
        self.parts.append(
            f'<text class="strong" x="2" y="{self.down + 14:.1f}">{escape(name)}{tail}</text>'
        )
        self.down += 24


def course_plot(
    course: Course, alarms: Sequence[Event], levels: Levels, *, width: int = 1100
) -> str:
    """Return the drawing.

    Args:
        course: What happened.
        alarms: Shaded over everything.
        levels: Of the score.
        width: Of the drawing; below 600 it is for a phone.
    """
    narrow = width < 600
    left = (44.0 if narrow else 62.0) if not course.units else (50.0 if narrow else 196.0)
    seconds = max(course.seconds, 1)
    sheet = _Sheet(course, Scale(0, seconds, left, width - 14), narrow, [], down=6)
    top = _alarm_names(sheet, alarms)
    _breathing(sheet)
    _score(sheet, levels)
    if course.units:
        _units(sheet)
        _expressivity(sheet)
    bottom = sheet.down
    _time_axis(sheet, bottom)
    shades = [
        f'<rect class="alarm" x="{start:.1f}" y="{top:.1f}" width="{max(end - start, 2):.1f}" '
        f'height="{bottom - top:.1f}"/>'
        for start, end in (_span(sheet, alarm) for alarm in alarms)
    ]
    title = "Breathing, score of dyspnea and Action Units over time"
    return svg(width, bottom + 26, title, [*shades, *sheet.parts])


def clock(seconds: float) -> str:
    """Return a time such as ``2:05`` or ``1:02:05``."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def _span(sheet: _Sheet, alarm: Event) -> tuple[float, float]:
    end = sheet.across.high if math.isnan(alarm.end) else alarm.end
    start, end = (min(max(each, 0.0), sheet.across.high) for each in (alarm.start, end))
    return sheet.across(start), sheet.across(end)


def _alarm_names(sheet: _Sheet, alarms: Sequence[Event]) -> float:
    """Draw a bar for each alarm, with its kind where there is room; return where they begin."""
    if not alarms:
        return sheet.down
    taken = -math.inf
    for alarm in alarms:
        start, end = _span(sheet, alarm)
        told = f"{alarm.kind}, {clock(alarm.start)}"
        told += " on" if math.isnan(alarm.end) else f" to {clock(alarm.end)}"
        room = 6.4 * len(alarm.kind)
        words = min(start, sheet.right - room)
        if words > taken:
            sheet.parts.append(text(words, sheet.down + 11, alarm.kind, "start", "alarm-name"))
            taken = words + room + 8
        sheet.parts.append(
            f'<rect class="alarm-bar" x="{start:.1f}" y="{sheet.down + 17:.1f}" '
            f'width="{max(end - start, 3):.1f}" height="4" rx="2"><title>{escape(told)}</title>'
            "</rect>"
        )
    sheet.down += 26
    return sheet.down - 9


def _breathing(sheet: _Sheet) -> None:
    course = sheet.course
    rate = course.line(RATE)
    fastest = float(np.nanmax(rate.high)) if np.isfinite(rate.high).any() else 0.0
    sheet.heading("Breathing", "breaths per minute")
    ticks = nice_ticks(0, max(_FASTEST_SHOWN, fastest), 3)
    up = _lane(sheet, ticks, 118)
    _hatched(sheet, course.line(GIVEN).mean == 0, up.start, up.end)
    for start, end in _runs(course.line(APNEA).mean > 0.5):
        x = [sheet.across(at * course.step) for at in (start, end)]
        sheet.parts.append(
            f'<rect class="stopped" x="{x[0]:.1f}" y="{up.end:.1f}" width="{x[1] - x[0]:.1f}" '
            f'height="{up.start - up.end:.1f}"><title>breathing has stopped</title></rect>'
        )
    _figures(sheet, rate, up, "1")
    quality = course.line(QUALITY)
    sheet.down += 8
    floor = Scale(0, 1, sheet.down + 20, sheet.down)
    sheet.parts.append(text(sheet.left - 8, sheet.down + 14, "quality", "end", "small"))
    _area(sheet, quality.mean, floor, "1")
    sheet.parts.append(line(sheet.left, floor.start, sheet.right, floor.start, "lane"))
    sheet.down += 34


def _score(sheet: _Sheet, levels: Levels) -> None:
    course = sheet.course
    sheet.heading("Dyspnea score", "0 to 1; a hypothesis, for research only")
    up = _lane(sheet, [0, 0.5, 1], 84)
    score = course.line(SCORE)
    _hatched(sheet, np.isnan(score.mean), up.start, up.end)
    for value, name, aside in ((levels.on, "alarm", -4), (levels.off, "end", 11)):
        y = up(value)
        sheet.parts.append(line(sheet.left, y, sheet.right, y, "chance"))
        sheet.parts.append(text(sheet.left + 4, y + aside, name, "start", "small"))
    _area(sheet, score.mean, up, "2")
    _figures(sheet, score, up, "2")
    sheet.down += 18


def _units(sheet: _Sheet) -> None:
    course = sheet.course
    sheet.heading("Action Units", "probability, smoothed; hatched: not seen")
    top = sheet.down
    shades: list[list[str]] = [[] for _ in range(_LEVELS + 1)]
    for row, number in enumerate(course.units):
        y = top + row * _ROW
        values = course.line(column(number)).mean
        _hatched(sheet, np.isnan(values), y + _ROW - 2, y + 1)
        grade = np.where(np.isnan(values), 0, np.ceil(values * _LEVELS - 0.5)).astype(int)
        for start, end in _equal(grade):
            if level := int(grade[start]):
                x = [sheet.across(at * course.step) for at in (start, end)]
                shades[level].append(
                    f"M{x[0]:.1f} {y + 1:.1f}H{x[1]:.1f}V{y + _ROW - 1:.1f}H{x[0]:.1f}Z"
                )
        name = column(number)
        words = name if sheet.narrow else f"{name} {meaning(name)}"
        sheet.parts.append(_unit_name(y + _ROW - 4, words))
        sheet.parts.append(line(sheet.left, y + _ROW, sheet.right, y + _ROW, "lane"))
    for level, pieces in enumerate(shades):
        if pieces:
            opacity = (level / _LEVELS) ** 1.3
            sheet.parts.append(
                f'<path class="shade" style="opacity:{opacity:.2f}" d="{"".join(pieces)}"/>'
            )
    sheet.down = top + _ROW * len(course.units) + 16


def _expressivity(sheet: _Sheet) -> None:
    course = sheet.course
    figures = course.line(EXPRESSIVITY)
    most = float(np.nanmax(figures.high)) if np.isfinite(figures.high).any() else 0.0
    sheet.heading("Expressivity", "Action Units that begin, per minute")
    up = _lane(sheet, nice_ticks(0, max(most, 10.0), 2), 54)
    _hatched(sheet, np.isnan(figures.mean), up.start, up.end)
    _figures(sheet, figures, up, "4")
    sheet.down += 8


def _lane(sheet: _Sheet, ticks: Sequence[float], height: float) -> Scale:
    """Draw the grid of a lane; return its scale."""
    up = Scale(ticks[0], ticks[-1], sheet.down + height, sheet.down)
    for tick in ticks:
        sheet.parts.append(line(sheet.left, up(tick), sheet.right, up(tick), "grid"))
        sheet.parts.append(text(sheet.left - 8, up(tick) + 4, f"{tick:g}", "end"))
    sheet.down += height
    return up


def _figures(sheet: _Sheet, figures: Figures, up: Scale, tone: Tone) -> None:
    """Draw a line, and around it what it leaves out where several seconds share a step."""
    times = sheet.course.times
    if sheet.course.step > 1:
        for start, end in _runs(np.isfinite(figures.mean)):
            there = [
                f"{sheet.across(times[at]):.1f} {up(figures.high[at]):.1f}"
                for at in range(start, end)
            ]
            back = [
                f"{sheet.across(times[at]):.1f} {up(figures.low[at]):.1f}"
                for at in reversed(range(start, end))
            ]
            sheet.parts.append(
                f'<path class="spread tone-{tone}" d="M{"L".join([*there, *back])}Z"/>'
            )
    sheet.parts.append(
        path(sheet.across, up, times.tolist(), figures.mean.tolist(), f"line tone-{tone}")
    )


def _area(sheet: _Sheet, values: Array, up: Scale, tone: Tone) -> None:
    """Fill what is below a line."""
    times = sheet.course.times
    for start, end in _runs(np.isfinite(values)):
        places = [f"{sheet.across(times[at]):.1f} {up(values[at]):.1f}" for at in range(start, end)]
        first, last = (sheet.across(times[at]) for at in (start, end - 1))
        sheet.parts.append(
            f'<path class="area tone-{tone}" d="M{first:.1f} {up(0):.1f}L{"L".join(places)}'
            f'L{last:.1f} {up(0):.1f}Z"/>'
        )


def _hatched(sheet: _Sheet, unknown: NDArray[np.bool_], bottom: float, top: float) -> None:
    """Hatch the times at which a figure is not known."""
    pieces = []
    height = bottom - top
    for start, end in _runs(unknown):
        x = [sheet.across(at * sheet.course.step) for at in (start, end)]
        at = x[0] - height + 7 - (x[0] - height) % 7
        while at < x[1]:
            # From (at, bottom) to (at + height, top), cut off at both sides.
            low, high = max(at, x[0]), min(at + height, x[1])
            if high > low:
                pieces.append(
                    f"M{low:.1f} {bottom - (low - at):.1f}L{high:.1f} {bottom - (high - at):.1f}"
                )
            at += 7
    if pieces:
        sheet.parts.append(f'<path class="unknown" d="{"".join(pieces)}"/>')


def _time_axis(sheet: _Sheet, bottom: float) -> None:
    seconds = sheet.across.high
    wanted = seconds / (4 if sheet.narrow else 10)
    step = next((each for each in _STEPS if each >= wanted), _STEPS[-1])
    for at in range(0, int(seconds) + 1, step):
        x = sheet.across(at)
        sheet.parts.append(line(x, bottom, x, bottom + 5, "lane"))
        anchor = "middle" if x < sheet.right - 16 else "end"
        sheet.parts.append(text(min(x, sheet.right), bottom + 19, clock(at), anchor))
    sheet.parts.append(line(sheet.left, bottom, sheet.right, bottom, "lane"))


def _unit_name(y: float, words: str) -> str:
    first, _, rest = words.partition(" ")
    tail = f'<tspan dx="6" style="fill:var(--ink-2)">{escape(rest)}</tspan>' if rest else ""
    return f'<text class="name small" x="2" y="{y:.1f}">{escape(first)}{tail}</text>'


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return where True begins and ends."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _equal(values: NDArray[np.int_]) -> list[tuple[int, int]]:
    """Return where equal values begin and end."""
    edges = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1, [len(values)]])
    return [(int(a), int(b)) for a, b in itertools.pairwise(edges) if b > a]
