"""Probabilities that mean what they say: of the faces with 0.7, seven in ten show the AU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cycada.metrics.bootstrap import Floats

SUREST = float(np.log(1e9))
"""Log-odds beyond which probabilities are taken for equal."""

CALIBRATION_BINS = 10
"""Of equal width, as usual for the expected calibration error."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A line per answer, from the log-odds that a detector gives to calibrated ones.

    Platt's scaling (Advances in Large Margin Classifiers, 1999).
    """

    slope: Floats  # (A,), 0 or above
    offset: Floats  # (A,)

    def __call__(self, probabilities: npt.ArrayLike) -> Floats:
        """Return ``(N, A)`` calibrated probabilities in (0, 1) for raw ones in [0, 1]."""
        return probability(self.slope * log_odds(probabilities) + self.offset)

    def to_json(self) -> dict[str, list[float]]:
        """Return the lines for the facts beside a checkpoint."""
        return {"slope": self.slope.tolist(), "offset": self.offset.tolist()}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Calibration:
        """Read the lines from the facts beside a checkpoint."""
        return cls(np.array(facts["slope"]), np.array(facts["offset"]))

    @classmethod
    def none(cls, answers: int) -> Calibration:
        """Return the calibration that changes nothing."""
        return cls(np.ones(answers), np.zeros(answers))


def platt(scores: Floats, present: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and offset of a logistic regression on log-odds (Platt, 1999).

    Args:
        scores: ``(N,)`` log-odds of labelled faces.
        present: ``(N,)`` which of them show the AU.
    """
    slope, offsets = logistic(scores, present[:, None].astype(np.float64))
    return slope, float(offsets[0])


def logistic(scores: Floats, labels: Floats) -> tuple[float, Floats]:
    """Return one slope and G offsets of logistic regressions on the same scores.

    Labels are drawn in from 0 and 1 as Platt (1999) proposes, so that a perfect separation stays
    finite. Newton's steps are halved until the loss falls (Lin et al., Machine Learning 2007). A
    slope below zero, of a detector that is worse than chance, becomes 0: its scores tell nothing,
    and the offsets are those of the frequencies.

    Args:
        scores: ``(N,)`` log-odds of labelled faces.
        labels: ``(N, G)`` from 0 to 1, what to tell of each.
    """
    positives, count = labels.sum(0), len(scores)
    negatives = count - positives
    wanted = labels * (positives + 1) / (positives + 2) + (1 - labels) / (negatives + 2)

    def said(values: Floats) -> Floats:
        return np.asarray(values[0] * scores[:, None] + values[1:])

    def loss(values: Floats) -> float:
        odds = said(values)
        return float((np.logaddexp(0, odds) - wanted * odds).sum())

    values = np.array([0.0, *log_odds(wanted.mean(0))])
    start = values
    for _ in range(100):
        now = probability(said(values))
        off, weight = now - wanted, now * (1 - now)
        slope_by_offset = scores @ weight
        curvature = np.diag(np.array([float((scores**2 @ weight).sum()), *weight.sum(0)]))
        curvature[0, 1:] = curvature[1:, 0] = slope_by_offset
        gradient = np.array([float((scores @ off).sum()), *off.sum(0)])
        step = np.linalg.solve(curvature + 1e-6 * np.eye(len(values)), gradient)
        before = loss(values)
        while loss(values - step) > before and np.abs(step).max() > 1e-9:
            step = step / 2
        values = values - step
        if np.abs(step).max() < 1e-9:
            break
    if values[0] < 0:
        values = start
    return float(values[0]), values[1:]


def calibrated(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, known: npt.ArrayLike, *, fewest: int
) -> Calibration:
    """Return the calibration of each answer on labelled faces that were not trained on.

    Args:
        probabilities: ``(N, A)`` in [0, 1].
        labels: ``(N, A)`` 1 present, 0 absent, anything where unknown.
        known: ``(N, A)`` mask of the annotated labels.
        fewest: Faces with the AU, and without it, below which it stays as it is.
    """
    scores, truth = log_odds(probabilities), np.asarray(labels) > 0.5
    annotated = np.asarray(known, dtype=bool)
    result = Calibration.none(scores.shape[1])
    for unit in range(scores.shape[1]):
        present = truth[annotated[:, unit], unit]
        if fewest <= present.sum() <= len(present) - fewest:
            line = platt(scores[annotated[:, unit], unit], present)
            result.slope[unit], result.offset[unit] = line
    return result


def calibration_error(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, known: npt.ArrayLike
) -> Floats:
    """Return the expected calibration error of each answer (Naeini et al., AAAI 2015).

    Faces are sorted into ten bins of equal width by their probability; the error is the mean
    distance of a bin's frequency from its mean probability, weighted by its faces.

    Returns:
        ``(A,)`` in [0, 1]; NaN where nothing is annotated.
    """
    said, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    annotated = np.asarray(known, dtype=bool)
    errors = np.full(said.shape[1], np.nan)
    for unit in range(said.shape[1]):
        rows = annotated[:, unit]
        if rows.any():
            off = np.bincount(bin_of(said[rows, unit]), weights=(said - truth)[rows, unit])
            errors[unit] = np.abs(off).sum() / rows.sum()
    return errors


def bin_of(probabilities: Floats) -> npt.NDArray[np.int64]:
    """Return for each probability in [0, 1] the number of its bin, from 0; 1 is in the last."""
    return np.minimum((probabilities * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


def log_odds(probabilities: npt.ArrayLike) -> Floats:
    """Return the log-odds of probabilities, held within those of one to a thousand million."""
    values = np.asarray(probabilities, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(np.log(values) - np.log1p(-values), -SUREST, SUREST))


def probability(odds: npt.ArrayLike) -> Floats:
    """Return the probabilities of log-odds."""
    return np.asarray(0.5 * (1 + np.tanh(np.asarray(odds, dtype=np.float64) / 2)))
