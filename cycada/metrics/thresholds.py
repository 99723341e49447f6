"""Thresholds for faces of a domain in which nothing is labelled."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from cycada.metrics.bootstrap import Floats
from cycada.metrics.centring import centred
from cycada.metrics.detection import FEWEST_POSITIVES
from cycada.metrics.frequency import frequency_likelihood

_SPREAD = math.log(3)
"""Standard deviation of the log-odds of an AU's frequency in the target around the source's."""

_SUREST = math.log(1e9)  # log-odds beyond which probabilities are taken for equal

_STEPS = np.linspace(-2, 2, 15)  # standard deviations at which frequencies are tried


def target_thresholds(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    known: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    subjects: tuple[Sequence[str], Sequence[str]] | None = None,
) -> Floats:
    """Return for each AU the threshold from which the best F1 is to be expected in the target.

    A threshold tuned on the source fails in the target: the probabilities shift as a whole, the
    AU is told less surely, and it may be more or less frequent. So the probabilities are
    calibrated on the source (Platt, 1999), shifted in log-odds so that they say as many of the
    target's faces as an assumed frequency (Saerens et al., Neural Computation 2002), and searched
    for the threshold of the highest expected F1 (Lipton et al., ECML PKDD 2014), which is the
    lower, the less sure the probabilities are. The frequency is unknown; the expectation is over
    frequencies whose odds are spread around the source's by a factor of three, each weighted by
    how well it explains the target's probabilities (:mod:`cycada.metrics.frequency`). For that,
    subjects are centred where they are known: people differ by their folds and brows, in either
    domain in a way of its own, and that hides how faces with and without the AU differ.

    Args:
        probabilities: ``(N, A)`` in [0, 1] of labelled source faces that were not trained on.
        labels: ``(N, A)`` their labels: 1 present, 0 absent, anything where unknown.
        known: ``(N, A)`` mask of the annotated labels.
        target: ``(M, A)`` probabilities of unlabelled target faces.
        subjects: The subject of each of the N faces, and of each of the M.

    Returns:
        ``(A,)`` thresholds in (0, 1); 0.5 where the source shows an AU fewer than five times, or
        always.

    Raises:
        ValueError: A probability is no number, or ``target`` is empty.
    """
    own, other = _log_odds(probabilities), _log_odds(target)
    if not (np.isfinite(own).all() and np.isfinite(other).all() and len(other)):
        raise ValueError("probabilities must be finite, and there must be some of the target")
    within, within_other = _centred(own, other, subjects)
    truth, annotated = np.asarray(labels) > 0.5, np.asarray(known, dtype=bool)
    result = np.full(own.shape[1], 0.5)
    for unit in range(own.shape[1]):
        present = truth[annotated[:, unit], unit]
        if present.sum() < FEWEST_POSITIVES or present.all():
            continue
        scores = own[annotated[:, unit], unit]
        slope, offset = _platt(scores, present)
        order = np.sort(other[:, unit])[::-1]
        ends = np.flatnonzero(np.append(order[1:] < order[:-1], True))  # no cut divides equals
        frequencies = _log_odds(present.mean()) + _SPREAD * _STEPS
        likelihood = frequency_likelihood(
            within[annotated[:, unit], unit], present, within_other[:, unit],
            _probability(frequencies),
        )  # fmt: skip
        belief = likelihood - _STEPS**2 / 2
        curve = sum(
            weight * _expected_f1(_shifted(slope * order + offset, frequency))
            for weight, frequency in zip(np.exp(belief - belief.max()), frequencies, strict=True)
        )
        last = ends[np.argmax(np.asarray(curve)[ends])]  # the least sure face to be detected
        beyond = order[last + 1] if last + 1 < len(order) else -_SUREST
        result[unit] = _probability((order[last] + beyond) / 2)
    return np.asarray(np.clip(result, *_probability((-_SUREST, _SUREST))), dtype=np.float64)


def _centred(
    own: Floats, other: Floats, subjects: tuple[Sequence[str], Sequence[str]] | None
) -> tuple[Floats, Floats]:
    """Return the log-odds of both domains without what a subject's faces have alike."""
    if subjects is None:
        return own, other
    here, there = (
        centred(torch.from_numpy(values), names, share=1).numpy()
        for values, names in zip((own, other), subjects, strict=True)
    )
    return here, there


def _expected_f1(probabilities: Floats) -> Floats:
    """Return 2 E[TP] / E[detected + present] if the first 1, 2, … of the sorted are detected."""
    detected = np.arange(1, len(probabilities) + 1)
    return np.asarray(2 * probabilities.cumsum() / (detected + probabilities.sum()))


def _shifted(log_odds: Floats, frequency: float) -> Floats:
    """Return probabilities, shifted in log-odds until their mean is the frequency's (log-odds)."""
    wanted = _probability(frequency)
    low, high = frequency - log_odds.max(), frequency - log_odds.min()
    for _ in range(50):
        middle = (low + high) / 2
        if _probability(log_odds + middle).mean() < wanted:
            low = middle
        else:
            high = middle
    return np.asarray(_probability(log_odds + (low + high) / 2))


def _platt(log_odds: Floats, present: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and offset of a logistic regression on the log-odds (Platt, 1999).

    Labels are drawn in from 0 and 1 as he proposes, so that a perfect separation stays finite.
    Newton's steps are halved until the loss falls (Lin et al., Machine Learning 2007). A slope
    below zero, of a detector that is worse than chance, becomes 0: it tells nothing.
    """
    positives = int(present.sum())
    negatives = len(present) - positives
    labels = np.where(present, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    columns = np.stack((log_odds, np.ones_like(log_odds)), axis=1)

    def loss(values: Floats) -> float:
        said = columns @ values
        return float((np.logaddexp(0, said) - labels * said).sum())

    values = np.array([0.0, float(_log_odds(present.mean()))])
    for _ in range(100):
        said = _probability(columns @ values)
        curvature = columns.T @ ((said * (1 - said))[:, None] * columns) + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, columns.T @ (said - labels))
        before = loss(values)
        while loss(values - step) > before and np.abs(step).max() > 1e-9:
            step = step / 2
        values = values - step
        if np.abs(step).max() < 1e-9:
            break
    return max(float(values[0]), 0.0), float(values[1])


def _log_odds(probability: npt.ArrayLike) -> Floats:
    values = np.asarray(probability, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(np.log(values) - np.log1p(-values), -_SUREST, _SUREST))


def _probability(log_odds: npt.ArrayLike) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(np.asarray(log_odds, dtype=np.float64) / 2)))
