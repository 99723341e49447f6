"""The plot of Bland and Altman: how far apart two measurements are, over how large they are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from cycada.metrics.agreement import WRONG, Agreement
from cycada.report.drawing import Scale, line, svg, text
from cycada.report.plots import nice_ticks

_CELL = 4  # px: dots that lie nearer become a larger one
_ROOM = 1.0  # breaths per minute beyond what is off by more than WRONG


def bland_altman_plot(
    told: Sequence[float],
    true: Sequence[float],
    found: Agreement,
    *,
    title: str = "told - true, breaths per minute",
    width: int = 760,
    height: int = 340,
) -> str:
    """Return the differences over the means of both, with bias and limits of agreement.

    Dots grow with the number of seconds that they stand for. What is beyond the axis is drawn at
    its edge, and counted.

    Args:
        told: Rates.
        true: Of the same moments; pairs with a NaN are left out.
        found: Their agreement.
        title: Above the plot.
        width: Of the drawing.
        height: Of the drawing.
    """
    pairs = [
        ((one + other) / 2, one - other)
        for one, other in zip(told, true, strict=True)
        if math.isfinite(one) and math.isfinite(other)
    ]
    if not pairs:
        return svg(width, height, title, [text(width / 2, height / 2, "no rates", "middle")])
    limits = [abs(each.value) for each in (found.lower, found.upper) if math.isfinite(each.value)]
    reach = max([WRONG + _ROOM, *(1.2 * each for each in limits)])
    ticks = nice_ticks(-reach, reach, 6)
    means = nice_ticks(0, max(mean for mean, _ in pairs), 8)
    left, right, top, bottom = 44, width - 118, 34, height - 40
    across, up = Scale(0, means[-1], left, right), Scale(ticks[0], ticks[-1], bottom, top)
    parts = [text(2, 16, title, "start", "strong")]
    for tick in ticks:
        parts.append(line(left, up(tick), right, up(tick), "grid"))
        parts.append(text(left - 7, up(tick) + 4, f"{tick:g}", "end"))
    for mean in means:
        parts.append(text(across(mean), bottom + 16, f"{mean:g}", "middle"))
    parts.append(text(right, bottom + 32, "mean of both, breaths per minute", "end"))
    parts += _dots(pairs, across, up, (ticks[0], ticks[-1]))
    marks = (
        (found.upper.value, "upper limit"), (found.bias.value, "bias"),
        (found.lower.value, "lower limit"),
    )  # fmt: skip
    parts += _marks(marks, up, (left, right))
    return svg(width, height, _said(found), parts)


def _dots(
    pairs: Sequence[tuple[float, float]], across: Scale, up: Scale, span: tuple[float, float]
) -> list[str]:
    """Return a dot for each cell of the drawing that holds any pair."""
    cells = Counter(
        (
            round(across(mean) / _CELL),
            round(up(min(max(difference, span[0]), span[1])) / _CELL),
        )
        for mean, difference in pairs
    )
    most = max(cells.values())
    return [
        f'<circle class="dot tone-1" cx="{column * _CELL}" cy="{row * _CELL}" '
        f'r="{1.6 + 3.4 * math.sqrt(count / most):.1f}"><title>{count} s</title></circle>'
        for (column, row), count in sorted(cells.items())
    ]


def _marks(marks: Sequence[tuple[float, str]], up: Scale, ends: tuple[float, float]) -> list[str]:
    """Return the lines of bias and limits, with their names beside them, none over another."""
    parts, last = [], -math.inf
    for value, name in marks:  # from the top down
        if not math.isfinite(value):
            continue
        place = max(up(value) + 4, last + 14)
        last = place
        parts.append(line(*(ends[0], up(value)), *(ends[1], up(value)), "chance"))
        parts.append(text(ends[1] + 6, place, f"{value:+.2f} {name}", "start", "name"))
    return parts


def _said(found: Agreement) -> str:
    return (
        f"Differences of {found.pairs} told and true rates: bias {found.bias.value:+.2f}, limits "
        f"of agreement {found.lower.value:+.2f} to {found.upper.value:+.2f} breaths per minute"
    )
