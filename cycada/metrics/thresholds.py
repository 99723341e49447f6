"""Thresholds for faces of a domain in which nothing is labelled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from cycada.metrics.bootstrap import Floats
from cycada.metrics.calibration import SUREST, Calibration, log_odds, platt, probability
from cycada.metrics.centring import centred
from cycada.metrics.detection import FEWEST_POSITIVES
from cycada.metrics.frequency import frequency_likelihood

_SPREAD = math.log(3)
"""Standard deviation of the log-odds of an AU's frequency in the target around the source's."""

_STEPS = np.linspace(-2, 2, 15)  # standard deviations at which frequencies are tried


class Reading(NamedTuple):
    """How to read what a detector says of faces in a domain without labels."""

    thresholds: Floats  # (A,) probabilities, as the detector gives them, from which an AU counts
    calibration: Calibration  # to probabilities that hold there, as far as can be told
    at_home: Calibration  # to those that hold in the source


def target_reading(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    known: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    subjects: tuple[Sequence[str], Sequence[str]] | None = None,
) -> Reading:
    """Return for each AU the threshold with the best F1 to be expected in the target.

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
        Thresholds in (0, 1), and the calibrations; 0.5 and none where the source shows an AU
        fewer than five times, or always.

    Raises:
        ValueError: A probability is no number, or ``target`` is empty.
    """
    own, other = log_odds(probabilities), log_odds(target)
    if not (np.isfinite(own).all() and np.isfinite(other).all() and len(other)):
        raise ValueError("probabilities must be finite, and there must be some of the target")
    within, within_other = _centred(own, other, subjects)
    truth, annotated = np.asarray(labels) > 0.5, np.asarray(known, dtype=bool)
    result = np.full(own.shape[1], 0.5)
    calibration, at_home = Calibration.none(own.shape[1]), Calibration.none(own.shape[1])
    for unit in range(own.shape[1]):
        present = truth[annotated[:, unit], unit]
        if present.sum() < FEWEST_POSITIVES or present.all():
            continue
        scores = own[annotated[:, unit], unit]
        slope, offset = platt(scores, present)
        order = np.sort(other[:, unit])[::-1]
        ends = np.flatnonzero(np.append(order[1:] < order[:-1], True))  # no cut divides equals
        frequencies = log_odds(present.mean()) + _SPREAD * _STEPS
        likelihood = frequency_likelihood(
            within[annotated[:, unit], unit], present, within_other[:, unit],
            probability(frequencies),
        )  # fmt: skip
        belief = likelihood - _STEPS**2 / 2
        weights = np.exp(belief - belief.max())
        curve = sum(
            weight * _expected_f1(_shifted(slope * order + offset, frequency))
            for weight, frequency in zip(weights, frequencies, strict=True)
        )
        likely = float((weights * frequencies).sum() / weights.sum())
        at_home.slope[unit], at_home.offset[unit] = slope, offset
        calibration.slope[unit] = slope
        calibration.offset[unit] = offset + _shift(slope * order + offset, likely)
        last = ends[np.argmax(np.asarray(curve)[ends])]  # the least sure face to be detected
        beyond = order[last + 1] if last + 1 < len(order) else -SUREST
        result[unit] = probability((order[last] + beyond) / 2)
    thresholds = np.clip(result, *probability((-SUREST, SUREST)))
    return Reading(np.asarray(thresholds, dtype=np.float64), calibration, at_home)


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


def _shifted(scores: Floats, frequency: float) -> Floats:
    """Return probabilities, shifted in log-odds until their mean is the frequency's (log-odds)."""
    return probability(scores + _shift(scores, frequency))


def _shift(scores: Floats, frequency: float) -> float:
    """Return what log-odds lack until the mean of their probabilities is the frequency's."""
    wanted = probability(frequency)
    low, high = frequency - scores.max(), frequency - scores.min()
    for _ in range(50):
        middle = (low + high) / 2
        if probability(scores + middle).mean() < wanted:
            low = middle
        else:
            high = middle
    return float((low + high) / 2)
