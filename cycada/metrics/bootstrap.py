"""Intervals by resampling subjects: frames of one person are alike and do not count apart."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

RESAMPLES = 1000
LEVEL = 0.95


class Interval(NamedTuple):
    """Bounds of a percentile bootstrap interval; NaN where it cannot be had."""

    low: float
    high: float


NO_INTERVAL = Interval(math.nan, math.nan)


def subject_draws(subjects: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Integers:
    """Return ``(resamples, subjects)``: how often each bootstrap sample holds each subject."""
    even = np.full(subjects, 1 / subjects)
    return np.random.default_rng(seed).multinomial(subjects, even, size=resamples)


def interval(samples: npt.ArrayLike, *, level: float = LEVEL) -> Interval:
    """Return the percentile interval of ``(R,)`` bootstrap samples; undefined ones are left out."""
    values = np.asarray(samples, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return NO_INTERVAL
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def bootstrap_mean(
    values: npt.ArrayLike, subjects: npt.ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Return the 95 % interval of the mean of ``(N,)`` values, by resampling their subjects.

    Args:
        values: One figure per frame.
        subjects: ``(N,)`` subject of each frame.
        resamples: Number of bootstrap samples.
        seed: Of the draws.

    Returns:
        Bounds; NaN with fewer than two subjects.
    """
    names, which = np.unique(np.asarray(subjects), return_inverse=True)
    if len(names) < 2:
        return NO_INTERVAL
    sums = np.bincount(which, weights=np.asarray(values, dtype=np.float64))
    draws = subject_draws(len(names), resamples=resamples, seed=seed)
    return interval((draws @ sums) / (draws @ np.bincount(which)))


def plain(value: Any) -> Any:
    """Return plain data for JSON: NaN, which JSON lacks, becomes null, and tuples lists."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
