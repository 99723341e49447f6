"""Breath by breath: how long each lasts, and whether they follow each other as breaths do.

Noise and movements that pass through the band of breathing have tops and bottoms as well, but one
interval is half as long as the next, and one top twice as high. Breaths are much more alike, even
while their rate changes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import signal

Array = NDArray[Any]

_PROMINENCE = 0.7  # standard deviations by which a top stands out
_FEWEST = 3  # intervals by which they are told to be alike
_MISSED = 1.6  # times the usual interval: a breath was not seen
_LEAST_COVERED = 0.75  # share of the window
_UNLIKE_INTERVALS, _UNLIKE_TOPS = 0.45, 0.5  # at which the likeness has fallen to 0.6


class Breaths(NamedTuple):
    """What the breaths of a window tell."""

    rate: float  # Hz, over all of the breaths; NaN if there are too few
    likeness: float  # 0 to 1: how alike they are in length and depth


NONE = Breaths(np.nan, 0.0)


def breaths(breath: Array, *, fastest: float, grid: float) -> Breaths:
    """Return the mean rate of the breaths in a window, and how alike they are.

    Args:
        breath: ``(T,)`` band-passed values.
        fastest: Hz; tops that follow each other faster belong to one breath.
        grid: Samples per second.
    """
    sides = [_side(side, fastest=fastest, grid=grid) for side in (breath, -breath)]
    if any(np.isnan(side.rate) for side in sides):
        return NONE
    # Tops and bottoms belong to the same breaths: their counts have to agree.
    apart = abs(np.log(sides[0].rate / sides[1].rate))
    agreement = float(np.exp(-0.5 * (apart / 0.1) ** 2))
    return Breaths(
        float(np.sqrt(sides[0].rate * sides[1].rate)),
        float(np.sqrt(sides[0].likeness * sides[1].likeness)) * agreement,
    )


def _side(breath: Array, *, fastest: float, grid: float) -> Breaths:
    """Return the same by the tops alone."""
    apart = max(1, int(0.8 * grid / fastest))
    tops = signal.find_peaks(breath, prominence=_PROMINENCE * breath.std(), distance=apart)[0]
    if len(tops) <= _FEWEST:
        return NONE
    places = tops + between(breath, tops)
    intervals = np.diff(places) / grid
    usual = _around(intervals)
    whole = intervals < _MISSED * usual
    seen = intervals[whole]
    if len(seen) < _FEWEST or len(breath) / grid * _LEAST_COVERED > seen.sum() + usual.mean():
        return NONE
    changes = np.abs(np.diff(np.log(intervals)))[whole[1:] & whole[:-1]]
    if not len(changes):
        return NONE
    unlike = float(np.sort(changes)[-2:].mean())
    depths = float(breath[tops].std() / breath[tops].mean())
    likeness = np.exp(-0.5 * (unlike / _UNLIKE_INTERVALS) ** 2 - 0.5 * (depths / _UNLIKE_TOPS) ** 2)
    return Breaths(float(len(seen) / seen.sum()), float(likeness))


def _around(intervals: Array) -> Array:
    """Return the median of each interval and of its two neighbours on both sides."""
    padded = np.pad(intervals, 2, mode="reflect" if len(intervals) > 2 else "edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1))


def between(values: Array, tops: Array) -> Array:
    """Return where the parabolas through tops and their neighbours are highest, -0.5 to 0.5."""
    inner = np.clip(tops, 1, len(values) - 2)
    before, at, after = values[inner - 1], values[inner], values[inner + 1]
    bend = before - 2 * at + after
    peak = np.divide(0.5 * (before - after), bend, out=np.zeros(len(tops)), where=bend < 0)
    return np.asarray(np.where(inner == tops, np.clip(peak, -0.5, 0.5), 0.0))
