"""Logistic regression on few labelled examples of few people, judged on people it has not seen.

Newton's method on a penalised likelihood is all that this takes: the problem is strictly convex,
has a dozen unknowns and some hundred examples, and some steps end at the optimum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cycada.metrics.bootstrap import Floats
from cycada.metrics.calibration import platt, probability

Bools = npt.NDArray[np.bool_]

PENALTIES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3)
"""Of the squared weights of standardised features, strongest first."""

_STEPS = 100
_SMALL = 1e-9


@dataclass(frozen=True, slots=True)
class Line:
    """What a fit says: log-odds that are linear in the features."""

    weights: Floats  # (F,) log-odds per unit of each feature
    intercept: float  # log-odds where all features have their means
    means: Floats  # (F,)

    def __call__(self, features: Floats) -> Floats:
        """Return the ``(N,)`` log-odds of ``(N, F)`` features."""
        return np.asarray((features - self.means) @ self.weights + self.intercept)

    def calibrated(self, slope: float, offset: float) -> Line:
        """Return the line with Platt's scaling of its log-odds."""
        return Line(slope * self.weights, slope * self.intercept + offset, self.means)


def fit(features: Floats, present: Bools, *, penalty: float) -> Line:
    """Return the line of the highest likelihood, with a penalty on the squares of its weights.

    Features are standardised first, so the penalty means the same for rates and probabilities. One
    that never varies gets the weight 0.

    Args:
        features: ``(N, F)`` finite.
        present: ``(N,)`` with both kinds.
        penalty: Half of it times the squared standardised weights is added to the sum of losses.
    """
    means, scales = features.mean(0), features.std(0)
    varies = scales > _SMALL
    standard = np.where(varies, (features - means) / np.where(varies, scales, 1), 0)
    design = np.concatenate([standard, np.ones((len(standard), 1))], axis=1)
    curbed = np.append(np.full(features.shape[1], penalty), _SMALL)

    def loss(values: Floats) -> float:
        odds = design @ values
        return float((np.logaddexp(0, odds) - present * odds).sum() + curbed @ values**2 / 2)

    values = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        now = probability(design @ values)
        gradient = design.T @ (now - present) + curbed * values
        curvature = (design.T * (now * (1 - now))) @ design + np.diag(curbed)
        step = np.linalg.solve(curvature, gradient)
        before = loss(values)
        while loss(values - step) > before and np.abs(step).max() > _SMALL:
            step = step / 2
        values = values - step
        if np.abs(step).max() < _SMALL:
            break
    weights = np.where(varies, values[:-1] / np.where(varies, scales, 1), 0)
    return Line(weights, float(values[-1]), means)


def folds_of(
    subjects: Sequence[str], present: Bools, *, count: int, order: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Return the fold of each example: all of a subject in one, and both kinds spread evenly.

    Where two subjects or more show a kind, no fold has all of it.

    Args:
        subjects: ``(N,)`` of each example.
        present: ``(N,)``.
        count: How many folds, from 2.
        order: The subjects, each once, in the order in which they are dealt.
    """
    shown = set(zip(subjects, present.tolist(), strict=True))

    def kinds(subject: str) -> int:
        return ((subject, False) in shown) - ((subject, True) in shown)

    # The sign alone, both kinds, none of it: those who show a kind follow each other.
    dealt = sorted(order, key=kinds)  # stable
    fold: Mapping[str, int] = {subject: at % count for at, subject in enumerate(dealt)}
    return np.array([fold[subject] for subject in subjects])


def out_of_fold(
    features: Floats, present: Bools, folds: npt.NDArray[np.int64], *, penalty: float
) -> Floats:
    """Return the ``(N,)`` log-odds of each example, from a fit to the other folds.

    Where those show one kind alone, nothing can be fitted, and the log-odds are NaN.
    """
    odds = np.full(len(present), np.nan)
    for fold in np.unique(folds):
        rest, tested = folds != fold, folds == fold
        if present[rest].any() and not present[rest].all():
            odds[tested] = fit(features[rest], present[rest], penalty=penalty)(features[tested])
    return odds


def best_penalty(features: Floats, present: Bools, folds: npt.NDArray[np.int64]) -> float:
    """Return the penalty of the least loss out of fold; of equals the strongest."""
    losses = []
    for penalty in PENALTIES:
        odds = out_of_fold(features, present, folds, penalty=penalty)
        known = np.isfinite(odds)
        each = np.logaddexp(0, odds[known]) - present[known] * odds[known]
        losses.append(float(each.mean()) if known.any() else np.inf)
    return PENALTIES[int(np.argmin(losses))]


@dataclass(frozen=True, slots=True)
class Judged:
    """A fit to all examples, and how such fits do on subjects that they have not seen."""

    line: Line  # calibrated
    penalty: float
    odds: Floats  # (N,) log-odds out of fold, before calibration
    probabilities: Floats  # (N,) out of fold, calibrated on the other folds
    slope: float  # of Platt's scaling; 0: no better than chance


def judged_fit(features: Floats, present: Bools, folds: npt.NDArray[np.int64]) -> Judged:
    """Fit, calibrate and judge.

    The penalty is chosen anew within the other folds for each fold (nested), so no subject has a
    say in the fit that it is judged by. Platt's scaling is fitted to log-odds out of fold.

    Args:
        features: ``(N, F)`` finite.
        present: ``(N,)`` with both kinds in every fold's rest.
        folds: ``(N,)`` from :func:`folds_of`, at least 3 of them.
    """
    odds = np.full(len(present), np.nan)
    for fold in np.unique(folds):
        rest, tested = folds != fold, folds == fold
        penalty = best_penalty(features[rest], present[rest], folds[rest])
        line = fit(features[rest], present[rest], penalty=penalty)
        odds[tested] = line(features[tested])
    probabilities = np.empty(len(present))
    for fold in np.unique(folds):
        rest, tested = folds != fold, folds == fold
        slope, offset = platt(odds[rest], present[rest])
        probabilities[tested] = probability(slope * odds[tested] + offset)
    slope, offset = platt(odds, present)
    penalty = best_penalty(features, present, folds)
    line = fit(features, present, penalty=penalty).calibrated(slope, offset)
    return Judged(line, penalty, odds, probabilities, slope)
