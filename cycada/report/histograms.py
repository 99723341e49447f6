"""How often real and made thermal images show each temperature, as SVG."""

from __future__ import annotations

import numpy as np

from cycada.metrics.bootstrap import Floats, Integers
from cycada.metrics.translation import BINS
from cycada.report.drawing import Scale, line, path, svg, text
from cycada.report.plots import nice_ticks

_COLUMNS = 48
_TAILS = 0.002  # share of the pixels at each end that the axis leaves out


def histogram_plot(
    real: Integers,
    made: Integers,
    *,
    title: str,
    low: float,
    high: float,
    unit: str,
    width: int = 340,
    height: int = 170,
) -> str:
    """Return the distribution of real values, filled, under that of made ones, as a line.

    Args:
        real: ``(BINS,)`` counts from -1 to 1 (:func:`cycada.metrics.translation.histogram`).
        made: The same.
        title: Above the drawing.
        low: What -1 is, in ``unit``.
        high: What 1 is.
        unit: Of the values.
        width: Of the drawing.
        height: Of the drawing.
    """
    first, last = _range(real, made)
    edges = np.linspace(first, last, _COLUMNS + 1).round().astype(int)
    values = low + (high - low) * edges / BINS
    shares = [_densities(counts, edges) for counts in (real, made)]
    ticks = nice_ticks(values[0], values[-1], 5)
    shown = [tick for tick in ticks if values[0] <= tick <= values[-1]]
    across = Scale(values[0], values[-1], 8, width - 12)
    # Cameras and windows clip: the columns at the ends of the range may tower above all others.
    inner = [share for each in shares for share in _inner(each, edges)]
    most = max([*inner, 1e-12])
    shares = [share.clip(0, 1.04 * most) for share in shares]
    up = Scale(0, 1.04 * most, height - 24, 32)
    parts = [text(2, 16, title, "start", "strong")]
    for tick in shown:
        parts.append(line(across(tick), 26, across(tick), height - 24, "grid"))
        parts.append(text(across(tick), height - 8, f"{tick:g}", "middle"))
    parts.append(text(width - 2, 16, unit, "end"))
    outline = [_steps(values, share) for share in shares]
    area = path(across, up, *outline[0], "bar tone-1")
    parts += [area, path(across, up, *outline[0], "line tone-1")]
    parts.append(path(across, up, *outline[1], "line tone-2"))
    return svg(width, height, title, parts)


def _range(real: Integers, made: Integers) -> tuple[int, int]:
    """Return the first and last edge in bins of what nearly all values of both lie between."""
    ends = []
    for counts in (real, made):
        share = counts.cumsum() / counts.sum()
        ends.append(np.searchsorted(share, (_TAILS, 1 - _TAILS)))
    first, last = int(min(e[0] for e in ends)), int(max(e[1] for e in ends)) + 1
    missing = max(_COLUMNS - (last - first), 0)  # at least a bin for each column
    first = max(min(first - missing // 2, BINS - _COLUMNS), 0)
    return first, max(last, first + _COLUMNS)


def _densities(counts: Integers, edges: Integers) -> Floats:
    """Return the share of all values in each column, by its width in bins."""
    cumulated = np.concatenate([[0], counts.cumsum()])
    inside = cumulated[edges[1:]] - cumulated[edges[:-1]]
    return np.asarray(inside / counts.sum() / np.diff(edges), dtype=np.float64)


def _inner(shares: Floats, edges: Integers) -> list[float]:
    """Return the columns without those that hold the ends of the range; all where no other is."""
    first, last = int(edges[0] == 0), int(edges[-1] >= BINS)
    kept = shares[first : len(shares) - last]
    return list(map(float, kept if kept.any() else shares))


def _steps(values: Floats, shares: Floats) -> tuple[list[float], list[float]]:
    """Return the outline of columns, from the ground to the ground."""
    x = np.repeat(values, 2)
    y = np.concatenate([[0.0], np.repeat(shares, 2), [0.0]])
    return x.tolist(), y.tolist()
