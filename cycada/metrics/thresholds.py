"""Thresholds for faces of a domain in which nothing is labelled."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cycada.metrics.bootstrap import Floats
from cycada.metrics.detection import FEWEST_POSITIVES

_SPREAD = math.log(3)
"""Standard deviation of the log-odds of an AU's frequency in the target around the source's."""

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(5)


def target_thresholds(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    known: npt.ArrayLike,
    target: npt.ArrayLike,
) -> Floats:
    """Return for each AU the threshold from which the best F1 is to be expected in the target.

    A threshold tuned on the source fails in the target: the probabilities shift as a whole, the
    AU is told less surely, and it may be more or less frequent. So the probabilities are
    calibrated on the source (Platt, 1999), shifted in log-odds so that they say as many of the
    target's faces as an assumed frequency (Saerens et al., Neural Computation 2002), and searched
    for the threshold of the highest expected F1 (Lipton et al., ECML PKDD 2014), which is the
    lower, the less sure the probabilities are. The frequency is unknown; the expectation is over
    frequencies whose odds are spread around the source's by a factor of three.

    Args:
        probabilities: ``(N, A)`` in [0, 1] of labelled source faces that were not trained on.
        labels: ``(N, A)`` their labels: 1 present, 0 absent, anything where unknown.
        known: ``(N, A)`` mask of the annotated labels.
        target: ``(M, A)`` probabilities of unlabelled target faces.

    Returns:
        ``(A,)`` thresholds in (0, 1); 0.5 where the source shows an AU fewer than five times, or
        always.
    """
    own, other = (_log_odds(np.asarray(p, dtype=np.float64)) for p in (probabilities, target))
    truth, annotated = np.asarray(labels) > 0.5, np.asarray(known, dtype=bool)
    result = np.full(own.shape[1], 0.5)
    for unit in range(own.shape[1]):
        present = truth[annotated[:, unit], unit]
        if present.sum() < FEWEST_POSITIVES or present.all():
            continue
        slope, offset = _platt(own[annotated[:, unit], unit], present)
        order = np.sort(other[:, unit])[::-1]
        frequency = float(_log_odds(present.mean()))
        curve = sum(
            weight * _expected_f1(_shifted(slope * order + offset, frequency + _SPREAD * node))
            for node, weight in zip(_NODES, _WEIGHTS, strict=True)
        )
        last = int(np.argmax(curve))  # the least sure face that counts as detected
        result[unit] = _probability((order[last] + order[min(last + 1, len(order) - 1)]) / 2)
    return np.asarray(np.clip(result, 1e-6, 1 - 1e-6), dtype=np.float64)


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
    A slope below zero, of a detector that is worse than chance, is not followed.
    """
    positives = int(present.sum())
    negatives = len(present) - positives
    labels = np.where(present, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    columns = np.stack((log_odds, np.ones_like(log_odds)), axis=1)
    values = np.array([1.0, 0.0])
    for _ in range(30):  # Newton, damped by a weak pull towards what was there
        said = _probability(columns @ values)
        gradient = columns.T @ (said - labels) + 0.1 * (values - (1.0, 0.0))
        weight = (said * (1 - said))[:, None]
        step = np.linalg.solve(columns.T @ (weight * columns) + 0.1 * np.eye(2), gradient)
        values = values - step * min(1.0, 2 / max(float(np.abs(step).max()), 1e-9))
    return max(float(values[0]), 0.0), float(values[1])


def _log_odds(probability: npt.ArrayLike) -> Floats:
    inside = np.clip(np.asarray(probability, dtype=np.float64), 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside / (1 - inside)))


def _probability(log_odds: npt.ArrayLike) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(np.asarray(log_odds, dtype=np.float64) / 2)))
