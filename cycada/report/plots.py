"""Small plots as SVG text: curves, values with intervals, one row of dots for each AU.

Colours are CSS variables, so that a plot follows the light or dark page around it; ``standalone``
makes a file of it. Text stays text: it can be searched, copied and read aloud.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from cycada.report.drawing import Scale as _Scale
from cycada.report.drawing import line as _line
from cycada.report.drawing import path as _path
from cycada.report.drawing import svg as _svg
from cycada.report.drawing import text as _text

Tone = Literal["1", "2", "3", "4", "5", "6", "7", "8", "baseline", "ceiling"]

TONES: tuple[Tone, ...] = ("1", "2", "3", "4", "5", "6", "7", "8")

PLOT_STYLE = """
svg.plot{font:12px/1.2 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;
font-variant-numeric:tabular-nums}
svg.plot text{fill:var(--ink-2)}
svg.plot .name{fill:var(--ink)}
svg.plot .strong{fill:var(--ink);font-weight:650}
svg.plot .grid{stroke:var(--rule);stroke-width:1;shape-rendering:crispEdges}
svg.plot .zone{fill:var(--accent);opacity:.1}
svg.plot .band{fill:var(--ink);opacity:.035}
svg.plot .line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
svg.plot .chance{stroke:var(--ink-2);stroke-width:1.2;stroke-dasharray:2 4;opacity:.75}
svg.plot .faint{opacity:.22;stroke-width:1.2}
svg.plot .interval{stroke-width:2.4;opacity:.38;stroke-linecap:round}
.tone-1{--tone:var(--s1)}.tone-2{--tone:var(--s2)}.tone-3{--tone:var(--s3)}
.tone-4{--tone:var(--s4)}.tone-5{--tone:var(--s5)}.tone-6{--tone:var(--s6)}
.tone-7{--tone:var(--s7)}.tone-8{--tone:var(--s8)}
.tone-baseline{--tone:var(--s-baseline)}.tone-ceiling{--tone:var(--s-ceiling)}
svg.plot .line,svg.plot .interval{stroke:var(--tone)}
svg.plot .bar{fill:var(--tone);opacity:.3}
svg.plot .dot{fill:var(--tone);stroke:var(--paper);stroke-width:1}
svg.plot .small{font-size:10.5px}
svg.plot .lane{stroke:var(--rule);stroke-width:1}
svg.plot .alarm{fill:var(--accent);opacity:.12}
svg.plot .alarm-bar{fill:var(--accent)}
svg.plot .alarm-name{fill:var(--accent);font-weight:650}
svg.plot .spread{fill:var(--tone);opacity:.2}
svg.plot .area{fill:var(--tone);opacity:.3}
svg.plot .unknown{stroke:var(--ink-2);stroke-width:1;opacity:.32}
svg.plot .stopped{fill:var(--s6);opacity:.3}
svg.plot .shade{fill:var(--s3)}
"""

LIGHT = (
    "--paper:#fff;--ink:#1d1b19;--ink-2:#6b665f;--rule:#e6e2dc;--accent:#c2480c;--s1:#2f66cf;"
    "--s2:#d65a1e;--s3:#0c8a80;--s4:#8455cc;--s5:#b8860b;--s6:#c03a77;--s7:#6f8f1c;--s8:#7a5230;"
    "--s-baseline:#8f8a83;--s-ceiling:#1d1b19"
)
DARK = (
    "--paper:#191715;--ink:#eeeae4;--ink-2:#a39c92;--rule:#322e2a;--accent:#ff9147;--s1:#7aa5ff;"
    "--s2:#ff9147;--s3:#3fc7b8;--s4:#b794f6;--s5:#e8bd4a;--s6:#f178ab;--s7:#b4d65c;--s8:#c9a07a;"
    "--s-baseline:#8b857c;--s-ceiling:#eeeae4"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One line: ``y`` over ``x``."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    tone: Tone = "1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimates:
    """One method: a value for each row, with bounds; NaN where undefined."""

    name: str
    values: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    tone: Tone = "1"

    def bounds(self, row: int) -> tuple[float, float] | None:
        """Return the interval of a row, or None where there is none."""
        if row >= len(self.low) or row >= len(self.high):
            return None
        low, high = self.low[row], self.high[row]
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def curves_plot(curves: Sequence[Curve], *, title: str, width: int = 340, height: int = 190) -> str:
    """Return curves over training steps, each faint as logged and strong when smoothed.

    Several curves differ by tone; the page names them in one legend for all its plots.
    """
    points = [(x, y) for c in curves for x, y in zip(c.x, c.y, strict=True) if math.isfinite(y)]
    if not points:
        return _svg(width, height, title, [_text(width / 2, height / 2, "no values", "middle")])
    ticks = nice_ticks(min(y for _, y in points), max(y for _, y in points), 4)
    steps = nice_ticks(0, max(x for x, _ in points), 4)
    labels = [_short(tick, ticks) for tick in ticks]
    left, right, top, bottom = 14 + 6.6 * max(map(len, labels)), width - 18, 34, height - 24
    across = _Scale(0, max(steps[-1], 1e-9), left, right)
    up = _Scale(ticks[0], ticks[-1], bottom, top)
    parts = [_text(2, 16, title, "start", "strong")]
    for tick, label in zip(ticks, labels, strict=True):
        parts.append(_line(left, up(tick), right, up(tick), "grid"))
        parts.append(_text(left - 7, up(tick) + 4, label, "end"))
    for step in steps:
        parts.append(_text(across(step), height - 6, _steps(step), "middle"))
    for curve in curves:
        x, y = thinned(curve.x, curve.y)
        if len(x) == 1 and math.isfinite(y[0]):  # of a run that was looked at once
            parts.append(
                f'<circle class="dot tone-{curve.tone}" cx="{across(x[0]):.1f}" '
                f'cy="{up(y[0]):.1f}" r="3.4"/>'
            )
        if len(x) > 20:
            parts.append(_path(across, up, x, y, f"line faint tone-{curve.tone}"))
            y = smoothed(y)
        parts.append(_path(across, up, x, y, f"line tone-{curve.tone}"))
    return _svg(width, height, title, parts)


def units_plot(
    methods: Sequence[Estimates],
    names: Sequence[str],
    *,
    title: str,
    axis: str = "F1",
    width: int = 450,
) -> str:
    """Return one row for each AU, with a dot and an interval for each method, from 0 to 1.

    Args:
        methods: Values in the order of ``names``.
        names: Of the rows; the part after the first space is set in a lighter colour.
        title: Read aloud in place of the picture.
        axis: What the values are.
        width: Of the drawing; it is scaled to its place on the page.
    """
    each = 6.5
    row_height = 12 + each * len(methods)
    parts, used = _legend(methods, width) if len(methods) > 1 else ([], 0)
    left, right, top = 180, width - 14, 30 + used
    bottom = top + row_height * len(names)
    across = _Scale(0, 1, left, right)
    for row in range(0, len(names), 2):
        y = top + row * row_height
        parts.append(
            f'<rect class="band" x="0" y="{y:.1f}" width="{width}" height="{row_height:g}" rx="4"/>'
        )
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_line(across(tick), top, across(tick), bottom, "grid"))
        parts.append(_text(across(tick), bottom + 16, f"{tick:g}", "middle"))
        parts.append(_text(across(tick), top - 7, f"{tick:g}", "middle"))
    parts.append(_text(left - 12, top - 7, axis, "end"))
    for row, name in enumerate(names):
        middle = top + (row + 0.5) * row_height
        parts.append(_row_name(10, middle + 4, name))
        for place, method in enumerate(methods):
            y = middle + (place - (len(methods) - 1) / 2) * each
            parts += _estimate(method, row, across, y)
    return _svg(width, bottom + 24, title, parts)


def methods_plot(
    methods: Sequence[Estimates],
    *,
    title: str,
    zone: tuple[float, float] | None = None,
    axis: str = "macro F1",
    width: int = 450,
) -> str:
    """Return one row for each method: its first value, its interval, and the figure.

    Args:
        methods: With one value each.
        title: Read aloud in place of the picture.
        zone: Range to shade: from the baseline to the ceiling.
        axis: What the values are.
        width: Of the drawing.
    """
    row_height, top = 30, 26
    longest = max((len(method.name) for method in methods), default=0)
    left, right = min(24 + 6.8 * longest, width * 0.45), width - 60
    bottom = top + row_height * len(methods)
    across = _Scale(0, 1, left, right)
    parts = []
    if zone is not None and zone[1] > zone[0]:
        start, end = across(zone[0]), across(zone[1])
        parts.append(
            f'<rect class="zone" x="{start:.1f}" y="{top}" width="{end - start:.1f}" '
            f'height="{bottom - top}"/>'
        )
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_line(across(tick), top, across(tick), bottom, "grid"))
        parts.append(_text(across(tick), top - 8, f"{tick:g}", "middle"))
    parts.append(_text(2, top - 8, axis, "start"))
    for row, method in enumerate(methods):
        y = top + (row + 0.5) * row_height
        parts.append(_text(2, y + 4, method.name, "start", "name"))
        parts += _estimate(method, 0, across, y, radius=5.5)
        value = method.values[0]
        figure = f"{value:.3f}" if math.isfinite(value) else "\u2013"
        parts.append(_text(width - 2, y + 4, figure, "end", "strong"))
    return _svg(width, bottom + 8, title, parts)


def ranges_plot(
    rows: Sequence[tuple[str, Sequence[float], Tone]],
    *,
    title: str,
    unit: str,
    width: int = 450,
) -> str:
    """Return one row for each distribution: 1-99 % thin, 5-95 % thick, quartiles, median.

    Args:
        rows: Name, seven quantiles (1, 5, 25, 50, 75, 95 and 99 %), tone.
        title: Read aloud in place of the picture.
        unit: Of the values.
        width: Of the drawing.
    """
    row_height, top, left, right = 34, 26, 110, width - 16
    values = [value for _, quantiles, _ in rows for value in quantiles]
    ticks = nice_ticks(min(values), max(values), 6)
    across = _Scale(ticks[0], ticks[-1], left, right)
    bottom = top + row_height * len(rows)
    parts = [_text(2, top - 8, unit, "start")]
    for tick in ticks:
        parts.append(_line(across(tick), top, across(tick), bottom, "grid"))
        parts.append(_text(across(tick), top - 8, _short(tick, ticks), "middle"))
    for row, (name, at, tone) in enumerate(rows):
        y = top + (row + 0.5) * row_height
        parts.append(_text(2, y + 4, name, "start", "name"))
        for low, high, thick, opacity in ((0, 6, 2, 0.5), (1, 5, 7, 0.3), (2, 4, 13, 0.55)):
            parts.append(
                f'<line class="line tone-{tone}" style="stroke-width:{thick};opacity:{opacity};'
                f'stroke-linecap:butt" x1="{across(at[low]):.1f}" x2="{across(at[high]):.1f}" '
                f'y1="{y:.1f}" y2="{y:.1f}"/>'
            )
        parts.append(
            f'<circle class="dot tone-{tone}" cx="{across(at[3]):.1f}" cy="{y:.1f}" r="4.5"/>'
        )
    return _svg(width, bottom + 8, title, parts)


def standalone(svg: str) -> str:
    """Return the text of an SVG file: the plot with its own colours, light or dark."""
    style = (
        f"<style>:root{{{LIGHT}}}@media(prefers-color-scheme:dark){{:root{{{DARK}}}}}{PLOT_STYLE}"
        "svg.plot{background:var(--paper)}</style>"
    )
    head, rest = svg.split(">", 1)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}>{style}{rest}\n'


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Return about ``count`` round numbers that enclose ``low`` to ``high``."""
    if not high > low:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def smoothed(values: Sequence[float], *, share: float = 0.04) -> list[float]:
    """Return a centred moving mean over ``share`` of the curve, without shift at its ends."""
    half = max(1, round(len(values) * share / 2))
    result = []
    for place in range(len(values)):
        reach = min(half, place, len(values) - 1 - place)
        near = [v for v in values[place - reach : place + reach + 1] if math.isfinite(v)]
        result.append(sum(near) / len(near) if near else math.nan)
    return result


def thinned(
    x: Sequence[float], y: Sequence[float], *, most: int = 300
) -> tuple[list[float], list[float]]:
    """Return at most ``most`` points: means of neighbours, the last point kept as it is."""
    if len(x) <= most:
        return list(x), list(y)
    size = math.ceil(len(x) / most)
    across, up = [], []
    for start in range(0, len(x), size):
        part = [v for v in y[start : start + size] if math.isfinite(v)]
        across.append(sum(x[start : start + size]) / len(x[start : start + size]))
        up.append(sum(part) / len(part) if part else math.nan)
    return across, up


def _estimate(
    method: Estimates, row: int, across: _Scale, y: float, *, radius: float = 3.4
) -> list[str]:
    value = method.values[row]
    if not math.isfinite(value):
        return []
    parts, bounds = [], method.bounds(row)
    said = f"{method.name}: {value:.3f}"
    if bounds is not None:
        low, high = bounds
        parts.append(
            f'<line class="interval tone-{method.tone}" x1="{across(low):.1f}" '
            f'x2="{across(high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        said += f" ({low:.3f} to {high:.3f})"
    parts.append(
        f'<circle class="dot tone-{method.tone}" cx="{across(value):.1f}" cy="{y:.1f}" '
        f'r="{radius}"><title>{escape(said)}</title></circle>'
    )
    return parts


def _legend(methods: Sequence[Estimates], width: float) -> tuple[list[str], float]:
    """Return the names beside their dots, in as many lines as they need, and the height taken."""
    line, parts, place, y = 20, [], 10.0, 12
    for method in methods:
        length = 6.6 * len(method.name) + 26
        if place > 10 and place + length > width:
            place, y = 10.0, y + line
        parts.append(f'<circle class="dot tone-{method.tone}" cx="{place:.1f}" cy="{y}" r="4.5"/>')
        parts.append(_text(place + 9, y + 4, method.name, "start", "name"))
        place += length
    return parts, y - 12 + line


def _row_name(x: float, y: float, name: str) -> str:
    first, _, rest = name.partition(" ")
    tail = f'<tspan dx="6" style="fill:var(--ink-2)">{escape(rest)}</tspan>' if rest else ""
    return f'<text class="name" x="{x:g}" y="{y:.1f}">{escape(first)}{tail}</text>'


def _short(value: float, ticks: Sequence[float]) -> str:
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1
    if max(abs(ticks[0]), abs(ticks[-1])) >= 1e5 or step < 1e-4:
        return f"{value:.1e}"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if decimals < 6 and abs(round(step, decimals) - step) > 1e-9 * step:
        decimals += 1  # a step of 0.25
    return f"{value:.{decimals}f}"


def _steps(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
