"""How well Action Units are detected: F1, ROC-AUC and average precision, with intervals.

Conventions of the field (BP4D, DISFA): true and false positives are pooled over all frames, one
F1 per AU, and the headline is the plain mean over the AUs. Accuracy is left out on purpose: an
AU that is rare reaches 95 % by never being seen. Classes have the same figures, each class
against all others; there the headline is the accuracy, beside the confusion matrix.

Frames of one person are alike, so an interval that resamples frames is far too narrow; every
interval here resamples subjects.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cycada.metrics.bootstrap import (
    Floats,
    Integers,
)

Bools = npt.NDArray[np.bool_]

FEWEST_POSITIVES = 5
"""Below this many present frames a tuned threshold is noise, and 0.5 is kept."""

_AT_ONCE = 5_000_000  # resampled frames whose weights are held in memory


def f1_scores(predicted: npt.ArrayLike, labels: npt.ArrayLike, known: npt.ArrayLike) -> Floats:
    """Return the F1 of each AU, from counts pooled over the annotated frames.

    Args:
        predicted: ``(N, A)`` True where the AU was detected.
        labels: ``(N, A)`` 1 where the AU is present, 0 where absent, anything where unknown.
        known: ``(N, A)`` True where ``labels`` was annotated.

    Returns:
        ``(A,)`` values in [0, 1]; NaN for an AU that no annotated frame shows, because a
        detector cannot find what is not there. A mean over AUs leaves those out.
    """
    subjects = np.zeros(len(np.asarray(labels)), dtype=np.int64)
    return f1_of_counts(counts_by_subject(predicted, labels, known, subjects)[0])


def counts_by_subject(
    predicted: npt.ArrayLike, labels: npt.ArrayLike, known: npt.ArrayLike, subjects: npt.ArrayLike
) -> Integers:
    """Return true positives, false positives and misses of each subject and AU.

    Args:
        predicted: ``(N, A)`` decisions.
        labels: ``(N, A)`` truth.
        known: ``(N, A)`` mask of the annotated labels.
        subjects: ``(N,)`` subject of each frame: names or numbers.

    Returns:
        ``(S, 3, A)`` counts, subjects in ascending order. They add up, so that any
        resampling of subjects is a weighted sum.
    """
    scores, present, mask = checked(predicted, labels, known)
    decided = scores != 0
    names, which = np.unique(np.asarray(subjects), return_inverse=True)
    outcomes = np.stack(
        [decided & present & mask, decided & ~present & mask, ~decided & present & mask], axis=1
    )
    counts = np.zeros((len(names), 3, present.shape[1]), dtype=np.int64)
    np.add.at(counts, which, outcomes)
    return counts


def f1_of_counts(counts: npt.ArrayLike) -> Floats:
    """Return F1 = 2 TP / (2 TP + FP + FN) from ``(..., 3, A)`` counts; NaN without positives."""
    true, false, missed = np.moveaxis(np.asarray(counts, dtype=np.float64), -2, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        score = 2 * true / (2 * true + false + missed)
    return np.where(true + missed > 0, score, np.nan)


def roc_auc(scores: npt.ArrayLike, labels: npt.ArrayLike, known: npt.ArrayLike) -> Floats:
    """Return the area under the ROC curve of each AU.

    It is the probability that a frame with the AU scores higher than one without (Hanley &
    McNeil, 1982), with ties counted as one half; computed from ranks.

    Args:
        scores: ``(N, A)`` the higher, the surer; only the order matters.
        labels: ``(N, A)`` truth.
        known: ``(N, A)`` mask of the annotated labels.

    Returns:
        ``(A,)``; NaN where only one of the two classes was annotated.
    """
    values, present, mask = checked(scores, labels, known)
    result = np.full(present.shape[1], np.nan)
    for unit in range(present.shape[1]):
        truth = present[mask[:, unit], unit]
        positives, negatives = int(truth.sum()), int((~truth).sum())
        if positives and negatives:
            rank_sum = _middle_ranks(values[mask[:, unit], unit])[truth].sum()
            above = rank_sum - positives * (positives + 1) / 2
            result[unit] = above / (positives * negatives)
    return result


def average_precision(scores: npt.ArrayLike, labels: npt.ArrayLike, known: npt.ArrayLike) -> Floats:
    """Return the area under the precision-recall curve of each AU, without interpolation.

    Equal scores are one point of the curve. A guess reaches the prevalence, not one half, so
    read it beside :func:`prevalence`.

    Args:
        scores: ``(N, A)`` the higher, the surer.
        labels: ``(N, A)`` truth.
        known: ``(N, A)`` mask of the annotated labels.

    Returns:
        ``(A,)``; NaN where the AU was never present.
    """
    values, present, mask = checked(scores, labels, known)
    result = np.full(present.shape[1], np.nan)
    for unit in range(present.shape[1]):
        true, decided = cumulated(values[mask[:, unit], unit], present[mask[:, unit], unit])[1:]
        if len(true) and true[-1]:
            gained = np.diff(true, prepend=0) / true[-1]
            result[unit] = float((gained * true / decided).sum())
    return result


def prevalence(labels: npt.ArrayLike, known: npt.ArrayLike) -> Floats:
    """Return the share of the annotated frames that show each AU; NaN without annotation."""
    _, present, mask = checked(labels, labels, known)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((present & mask).sum(axis=0) / mask.sum(axis=0), dtype=np.float64)


def best_thresholds(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, known: npt.ArrayLike
) -> Floats:
    """Return for each AU the threshold with the highest F1; use validation data, never test data.

    An AU is detected where its probability is at or above the threshold. The threshold lies
    halfway between two neighbouring probabilities; of several equally good ones the nearest to
    0.5 is taken. With fewer than five present frames, or none absent, it stays at 0.5.

    Args:
        probabilities: ``(N, A)`` in [0, 1].
        labels: ``(N, A)`` truth.
        known: ``(N, A)`` mask of the annotated labels.

    Returns:
        ``(A,)`` thresholds in (0, 1).
    """
    values, present, mask = checked(probabilities, labels, known)
    result = np.full(present.shape[1], 0.5)
    for unit in range(present.shape[1]):
        truth = present[mask[:, unit], unit]
        if truth.sum() < FEWEST_POSITIVES or truth.all():
            continue
        levels, true, decided = cumulated(values[mask[:, unit], unit], truth)
        f1 = 2 * true / (decided + true[-1])
        cuts = (levels + np.append(levels[1:], 0.0)) / 2
        best = np.flatnonzero(f1 >= f1.max() - 1e-12)
        result[unit] = cuts[best[np.abs(cuts[best] - 0.5).argmin()]]
    return np.asarray(np.clip(result, 1e-6, 1 - 1e-6), dtype=np.float64)


def bootstrap_f1(counts: Integers, draws: Integers) -> Floats:
    """Return ``(R, A)`` F1 of the resampled subjects, from :func:`counts_by_subject`."""
    subjects, kinds, units = counts.shape
    totals = draws @ counts.reshape(subjects, kinds * units)
    return f1_of_counts(totals.reshape(len(draws), kinds, units))


def bootstrap_roc_auc(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    known: npt.ArrayLike,
    *,
    subjects: npt.ArrayLike,
    draws: Integers,
) -> Floats:
    """Return ``(R, A)`` ROC-AUC of the resampled subjects.

    A frame counts as often as its subject was drawn, so one order of the scores serves all
    resamples.
    """
    values, present, mask = checked(scores, labels, known)
    which = np.unique(np.asarray(subjects), return_inverse=True)[1]
    result = np.full((len(draws), present.shape[1]), np.nan)
    for unit in range(present.shape[1]):
        rows = np.flatnonzero(mask[:, unit])
        order = rows[np.argsort(values[rows, unit], kind="stable")]
        # Frames of one score are one step of the curve: none of them is above another.
        steps = np.flatnonzero(np.diff(values[order, unit], prepend=-np.inf))
        if not len(steps):
            continue
        truth = present[order, unit]
        for some in np.array_split(np.arange(len(draws)), -(-len(draws) * len(order) // _AT_ONCE)):
            weights = draws[some][:, which[order]].astype(np.float64)
            yes, no = (np.add.reduceat(weights * kind, steps, 1) for kind in (truth, ~truth))
            wins = (yes * (no.cumsum(1) - no / 2)).sum(1)
            with np.errstate(invalid="ignore", divide="ignore"):
                result[some, unit] = wins / (yes.sum(1) * no.sum(1))
    return result


def accuracy(probabilities: npt.ArrayLike, labels: npt.ArrayLike, known: npt.ArrayLike) -> float:
    """Return the share of the labelled faces whose most probable class is the right one.

    Args:
        probabilities: ``(N, C)``, the higher, the surer.
        labels: ``(N, C)`` one-hot.
        known: ``(N, C)`` True in the rows of labelled faces.
    """
    counts = confusion_matrix(probabilities, labels, known)
    return float(counts.trace() / counts.sum()) if counts.any() else math.nan


def confusion_matrix(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, known: npt.ArrayLike
) -> Integers:
    """Return ``(C, C)`` counts of the labelled faces: row the true class, column the told one.

    Args:
        probabilities: ``(N, C)``, the higher, the surer.
        labels: ``(N, C)`` one-hot.
        known: ``(N, C)`` True in the rows of labelled faces.
    """
    values, present, mask = checked(probabilities, labels, known)
    rows = mask.any(axis=1)
    counts = np.zeros((values.shape[1], values.shape[1]), dtype=np.int64)
    np.add.at(counts, (present[rows].argmax(1), values[rows].argmax(1)), 1)
    return counts


def gap_closed(source_only: float, adapted: float, target_supervised: float) -> float:
    """Return which share of the way from the baseline to the ceiling the adaptation went.

    NaN when the ceiling is not above the baseline: there is no gap to close.
    """
    gap = target_supervised - source_only
    return (adapted - source_only) / gap if gap > 0 else math.nan


def mean_over_units(scores: npt.ArrayLike) -> Floats:
    """Return the mean over the last axis of the scores that are defined; NaN if none is."""
    values = np.asarray(scores, dtype=np.float64)
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(defined, values, 0).sum(axis=-1) / defined.sum(axis=-1)
    return np.asarray(mean, dtype=np.float64)


def checked(
    scores: npt.ArrayLike, labels: npt.ArrayLike, known: npt.ArrayLike
) -> tuple[Floats, Bools, Bools]:
    """Return the three as arrays of one ``(N, A)`` shape; a broadcast would hide a mistake."""
    values = np.asarray(scores, dtype=np.float64)
    mask = np.asarray(known, dtype=bool)
    present = np.asarray(labels, dtype=np.float64) > 0.5
    if not values.shape == mask.shape == present.shape or values.ndim != 2:
        shapes = f"{values.shape}, {present.shape} and {mask.shape}"
        raise ValueError(f"scores, labels and known must share one (N, A) shape, not {shapes}")
    return values, present, mask


def _middle_ranks(values: Floats) -> Floats:
    """Return ranks from 1; equal values share the middle of their ranks."""
    _, which, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    return np.asarray((last - (sizes - 1) / 2)[which], dtype=np.float64)


def cumulated(values: Floats, truth: Bools) -> tuple[Floats, Floats, Floats]:
    """Return distinct scores in descending order, and what is true and decided at or above."""
    levels, which = np.unique(-values, return_inverse=True)
    decided = np.bincount(which, minlength=len(levels)).cumsum().astype(np.float64)
    true = np.bincount(which[truth], minlength=len(levels)).cumsum().astype(np.float64)
    return -levels, true, decided
