"""How well told breathing and alarms agree with what happened, with intervals over subjects.

Agreement after Bland and Altman (Lancet 1986): bias, and the limits within which 95 % of the
differences lie. Seconds of one patient are alike, so all intervals resample patients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cycada.metrics.bootstrap import (
    NO_INTERVAL,
    RESAMPLES,
    Floats,
    Interval,
    interval,
    subject_draws,
)
from cycada.metrics.detection import bootstrap_roc_auc, roc_auc

WRONG = 3.0
"""Breaths per minute: an estimate that is further off misleads."""

LIMITS = 1.96
"""Standard deviations on both sides of the bias, between which 95 % of the differences lie."""


EARLY = 5.0
"""Seconds by which something may be told before it happened: observers are late as well."""


class Figure(NamedTuple):
    """A figure and its 95 % interval; NaN where it cannot be had."""

    value: float
    interval: Interval = NO_INTERVAL


def scaled(figure: Figure, factor: float) -> Figure:
    """Return a figure in other units."""
    low, high = figure.interval
    return Figure(factor * figure.value, Interval(factor * low, factor * high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far told rates are from true ones, in breaths per minute."""

    pairs: int
    mae: Figure  # mean absolute difference
    rmse: Figure
    bias: Figure  # mean of told - true
    lower: Figure  # limit of agreement
    upper: Figure
    wrong: Figure  # share of the told rates that is off by more than WRONG, or of no breathing


def agreement(
    told: npt.ArrayLike,
    true: npt.ArrayLike,
    *,
    subjects: npt.ArrayLike,
    without: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Agreement:
    """Return how ``(N,)`` told rates agree with true ones; pairs with a NaN are left out.

    A rate that is told where there is no breathing is off by nothing, for there is no true one, but
    misleads as much: it counts as wrong.

    Args:
        told: Breaths per minute; NaN where none was given.
        true: Breaths per minute; NaN where unknown.
        subjects: ``(N,)`` whose they are.
        without: ``(N,)`` whether it is known that there is no breathing; nowhere if left out.
        resamples: Number of bootstrap samples.
        seed: Of the bootstrap.
    """
    difference = np.asarray(told, dtype=np.float64) - np.asarray(true, dtype=np.float64)
    both, everybody = np.isfinite(difference), np.asarray(subjects)
    made_up = np.zeros_like(both) if without is None else np.asarray(without, dtype=bool)
    made_up = made_up & np.isfinite(np.asarray(told, dtype=np.float64))
    judged = both | made_up
    misleads = made_up | (np.abs(np.nan_to_num(difference)) > WRONG)
    wrong = share(misleads[judged], subjects=everybody[judged], resamples=resamples, seed=seed)
    difference, which = difference[both], everybody[both]
    terms = np.stack(
        [np.ones_like(difference), np.abs(difference), difference, difference**2], axis=-1
    )
    values, draws = _totals(terms, which, resamples=resamples, seed=seed)
    figures = [
        Figure(float(value), interval(some))
        for value, some in zip(_figures(values), _figures(draws), strict=True)
    ]
    mae, rmse, bias, lower, upper = figures
    return Agreement(
        pairs=len(difference), mae=mae, rmse=rmse, bias=bias, lower=lower, upper=upper, wrong=wrong
    )


def share(
    hits: npt.ArrayLike, *, subjects: npt.ArrayLike, resamples: int = RESAMPLES, seed: int = 0
) -> Figure:
    """Return the share of ``(N,)`` booleans that are true; NaN where there are none."""
    truth = np.asarray(hits, dtype=np.float64)
    terms = np.stack([np.ones_like(truth), truth], axis=-1)
    values, draws = _totals(terms, np.asarray(subjects), resamples=resamples, seed=seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Figure(float(values[1] / values[0]), interval(draws[..., 1] / draws[..., 0]))


def area_under_roc(
    scores: npt.ArrayLike,
    present: npt.ArrayLike,
    *,
    subjects: npt.ArrayLike,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Figure:
    """Return the area under the ROC curve of ``(N,)`` scores; unknown (NaN) ones are left out.

    NaN where all that is left is present, or all absent.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(present, dtype=bool)
    known = np.isfinite(values)
    values, truth, which = values[known], truth[known], np.asarray(subjects)[known]
    if truth.all() or not truth.any():
        return Figure(math.nan)
    columns = values[:, None], truth[:, None], np.ones((len(truth), 1), dtype=bool)
    people = len(np.unique(which))
    if people < 2:
        return Figure(float(roc_auc(*columns)[0]))
    draws = subject_draws(people, resamples=resamples, seed=seed)
    drawn = bootstrap_roc_auc(*columns, subjects=which, draws=draws)[:, 0]
    return Figure(float(roc_auc(*columns)[0]), interval(drawn))


class Span(NamedTuple):
    """A while, s."""

    start: float
    end: float


class Detection(NamedTuple):
    """What became of what happened, and of what was told."""

    found: tuple[bool, ...]  # one for each that happened
    delays: tuple[float, ...]  # s from the start of each that was found until it was told
    false: int  # told while nothing happened, or had begun to, or again of the same


def detect_spans(
    happened: Sequence[Span], told: Sequence[Span], *, forgiven: Sequence[Span] = ()
) -> Detection:
    """Return which of ``happened`` were told of while they lasted, how late, and false alarms.

    What began to be told more than :data:`EARLY` before is not told of it: an alarm that never
    stops would find everything.

    Only the first that is told of a span is right. What is told of it again is false: who looks
    after the patient is called once more for nothing new. It is right if it is also the first of
    another span, which it may begin :data:`EARLY` before, or if it begins in a forgiven one. How
    long something is told after its span has ended does not count here.

    Args:
        happened: What should be told of.
        told: When something was told, from its being raised to its end.
        forgiven: What need not be told of, but may be, any number of times; none of ``happened``.
    """
    found, delays, right = [], [], set()
    for span in happened:
        meeting = [
            (each.start, number) for number, each in enumerate(told) if _begins_in(span, each)
        ]
        found.append(bool(meeting))
        if meeting:
            start, first = min(meeting)
            delays.append(max(start - span.start, 0.0))
            right.add(first)
    right |= {
        number
        for number, each in enumerate(told)
        if any(_begins_in(span, each) for span in forgiven)
    }
    return Detection(tuple(found), tuple(delays), len(told) - len(right))


def spans_of(flags: npt.ArrayLike, seconds: npt.ArrayLike) -> list[Span]:
    """Return the spans in which ``(T,)`` flags are set, each up to the first time without."""
    truth, times = np.asarray(flags, dtype=bool), np.asarray(seconds, dtype=np.float64)
    if not len(times):
        return []
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    edges = np.diff(np.concatenate([[False], truth, [False]]).astype(int))
    ends = np.append(times, times[-1] + step)
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [
        Span(float(times[start]), float(ends[stop]))
        for start, stop in zip(starts, stops, strict=True)
    ]


def _begins_in(span: Span, told: Span) -> bool:
    """Tell whether it was told while the span lasted, or just before and still then."""
    return span.start - EARLY <= told.start < span.end and span.start < told.end


def _totals(
    terms: Floats, subjects: npt.NDArray[np.generic], *, resamples: int, seed: int
) -> tuple[Floats, Floats]:
    """Return the sums of ``(N, K)`` terms: ``(K,)`` of all, ``(R, K)`` of bootstrap samples."""
    names, which = np.unique(subjects, return_inverse=True)
    sums = np.zeros((len(names), terms.shape[1]))
    np.add.at(sums, which, terms)
    if len(names) < 2:
        return sums.sum(axis=0), np.empty((0, terms.shape[1]))
    return sums.sum(axis=0), subject_draws(len(names), resamples=resamples, seed=seed) @ sums


def _figures(totals: Floats) -> tuple[Floats, ...]:
    """Return mae, rmse, bias, both limits, from sums ``(..., 4)``."""
    count, absolute, plain, squared = np.moveaxis(totals, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        bias = plain / count
        spread = np.sqrt(np.maximum(squared - count * bias**2, 0) / (count - 1))
        return (
            absolute / count,
            np.sqrt(squared / count),
            bias,
            bias - LIMITS * spread,
            bias + LIMITS * spread,
        )
