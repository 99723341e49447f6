"""Plots of decisions as SVG text: ROC curves, reliability, and figures beside what they mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from cycada.metrics.curves import Bin, Roc
from cycada.report.drawing import Scale, line, path, svg, text
from cycada.report.plots import Curve, Tone, nice_ticks, smoothed, thinned

_TICKS = (0, 0.5, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class RocLine:
    """The ROC curve of one method, and where its decisions lie."""

    name: str
    roc: Roc
    tone: Tone = "1"
    at: tuple[float, float] | None = None  # shares of false alarms and of the found


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityLine:
    """What one method said and what happened."""

    name: str
    bins: Sequence[Bin]
    tone: Tone = "1"


def roc_plot(
    lines: Sequence[RocLine], *, title: str, note: str = "", said: str = "", width: int = 300
) -> str:
    """Return ROC curves in a square, a dot where the thresholds lie, dotted what guessing makes.

    Args:
        lines: One for each method.
        title: Above the plot.
        note: Beside the title, lighter.
        said: Read aloud in place of the picture; empty for the title.
        width: Of the drawing.
    """
    parts, across, up, height = _square(title, note, width, "false alarms", "found")
    parts.append(line(across(0), up(0), across(1), up(1), "chance"))
    for each in lines:
        corners = _on_pixels(each.roc, across, up)
        parts.append(path(across, up, *corners, f"line tone-{each.tone}"))
    for each in lines:
        if each.at is not None:
            x, y = each.at
            told = f"{each.name}: {y:.0%} found, {x:.0%} false alarms"
            parts.append(_dot(across(x), up(y), 4.2, each.tone, told))
    return svg(width, height, said or title, parts)


def reliability_plot(
    lines: Sequence[ReliabilityLine],
    *,
    title: str,
    note: str = "",
    said: str = "",
    bars: bool = False,
    width: int = 300,
) -> str:
    """Return what happened over what was said; on the dotted diagonal both agree.

    Args:
        lines: One for each method.
        title: Above the plot.
        note: Beside the title, lighter.
        said: Read aloud in place of the picture; empty for the title.
        bars: Show at the bottom how the frames of the first line spread over its bins.
        width: Of the drawing.
    """
    parts, across, up, height = _square(title, note, width, "probability", "share present")
    if bars and lines:
        most = max((one.frames for one in lines[0].bins), default=1)
        for one in lines[0].bins:
            left = across(min(math.floor(one.said * 10), 9) / 10)
            tall = (up(0) - up(0.24)) * one.frames / most
            parts.append(
                f'<rect class="bar tone-{lines[0].tone}" x="{left + 1:.1f}" '
                f'y="{up(0) - tall:.1f}" width="{across(0.1) - across(0) - 2:.1f}" '
                f'height="{tall:.1f}"><title>{one.frames:,} frames</title></rect>'
            )
    parts.append(line(across(0), up(0), across(1), up(1), "chance"))
    for each in lines:
        x, y = [one.said for one in each.bins], [one.happened for one in each.bins]
        parts.append(path(across, up, x, y, f"line tone-{each.tone}"))
    for each in lines:
        total = max(sum(one.frames for one in each.bins), 1)
        for one in each.bins:
            radius = 1.8 + 5 * math.sqrt(one.frames / total)
            told = (
                f"{each.name}: said {one.said:.0%}, present in {one.happened:.0%} "
                f"of {one.frames:,} frames"
            )
            parts.append(_dot(across(one.said), up(one.happened), radius, each.tone, told))
    return svg(width, height, said or title, parts)


def watched_plot(
    curve: Curve,
    marks: Sequence[tuple[float, str]],
    *,
    title: str,
    span: tuple[float, float] | None = None,
    width: int = 340,
    height: int = 190,
) -> str:
    """Return one curve over training steps, with dotted lines at values that mean something.

    Args:
        curve: Faint as logged, strong when smoothed.
        marks: Value, and what it means in a few words.
        title: Above the plot.
        span: Lowest and highest value of the axis; ``None`` chooses.
        width: Of the drawing.
        height: Of the drawing.
    """
    values = [y for y in (*curve.y, *(value for value, _ in marks)) if math.isfinite(y)]
    low, high = span or (min(values, default=0.0), max(values, default=1.0))
    ticks = nice_ticks(low, high, 4)
    steps = nice_ticks(0, max(curve.x, default=1), 4)
    left, right, top, bottom = 44, width - 14, 34, height - 24
    across = Scale(0, max(steps[-1], 1e-9), left, right)
    up = Scale(ticks[0], ticks[-1], bottom, top)
    parts = [text(2, 16, title, "start", "strong")]
    for tick in ticks:
        parts.append(line(left, up(tick), right, up(tick), "grid"))
        parts.append(text(left - 7, up(tick) + 4, f"{tick:g}", "end"))
    for step in steps:
        shown = f"{step / 1000:g}k" if step >= 1000 else f"{step:g}"
        parts.append(text(across(step), height - 6, shown, "middle"))
    for value, meaning in marks:
        parts.append(line(left, up(value), right, up(value), "chance"))
        parts.append(text(right - 2, up(value) - 4, meaning, "end"))
    x, y = thinned(curve.x, curve.y)
    if len(x) > 20:
        parts.append(path(across, up, x, y, f"line faint tone-{curve.tone}"))
        y = smoothed(y)
    parts.append(path(across, up, x, y, f"line tone-{curve.tone}"))
    return svg(width, height, title, parts)


def _square(
    title: str, note: str, width: int, below: str, beside: str
) -> tuple[list[str], Scale, Scale, float]:
    """Return the frame of a plot from 0 to 1 both ways, its scales, and its height."""
    left, right, top = 46, width - 10, 30
    bottom = top + right - left
    across, up = Scale(0, 1, left, right), Scale(0, 1, bottom, top)
    tail = f'<tspan dx="7" style="font-weight:400;fill:var(--ink-2)">{escape(note)}</tspan>'
    heading = f"{escape(title)}{tail if note else ''}"
    parts = [f'<text class="strong" x="2" y="16" text-anchor="start">{heading}</text>']
    for tick in _TICKS:
        parts.append(line(across(tick), top, across(tick), bottom, "grid"))
        parts.append(line(left, up(tick), right, up(tick), "grid"))
        parts.append(text(across(tick), bottom + 15, f"{tick:g}", "middle"))
        parts.append(text(left - 7, up(tick) + 4, f"{tick:g}", "end"))
    parts.append(text((left + right) / 2, bottom + 30, below, "middle"))
    middle = (top + bottom) / 2
    parts.append(
        f'<text x="11" y="{middle:.1f}" text-anchor="middle" '
        f'transform="rotate(-90 11 {middle:.1f})">{escape(beside)}</text>'
    )
    return parts, across, up, bottom + 36


def _on_pixels(roc: Roc, across: Scale, up: Scale) -> tuple[list[float], list[float]]:
    """Return the corners of a curve that can be told apart as drawn; the drawing is the same."""
    kept: list[tuple[float, float, int, int]] = []
    for x, y in zip(roc.false_alarms.tolist(), roc.found.tolist(), strict=True):
        place = (x, y, round(across(x) * 2), round(up(y) * 2))
        if kept and kept[-1][2:] == place[2:]:
            continue
        if len(kept) > 1 and _straight(kept[-2][2:], kept[-1][2:], place[2:]):
            kept.pop()
        kept.append(place)
    return [each[0] for each in kept], [each[1] for each in kept]


def _straight(first: Sequence[int], middle: Sequence[int], last: Sequence[int]) -> bool:
    one = (middle[0] - first[0]) * (last[1] - first[1])
    return one == (middle[1] - first[1]) * (last[0] - first[0])


def _dot(x: float, y: float, radius: float, tone: Tone, told: str) -> str:
    return (
        f'<circle class="dot tone-{tone}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
        f"<title>{escape(told)}</title></circle>"
    )
