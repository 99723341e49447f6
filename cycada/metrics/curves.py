"""The whole curves behind single figures: ROC, and how far probabilities mean what they say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cycada.metrics.bootstrap import Floats
from cycada.metrics.calibration import CALIBRATION_BINS, bin_of
from cycada.metrics.detection import cumulated


@dataclass(frozen=True, slots=True)
class Roc:
    """Which share of the present is found for which share of false alarms, at every threshold."""

    false_alarms: Floats  # (P,) FP / (FP + TN), ascending from 0 to 1
    found: Floats  # (P,) TP / (TP + FN), ascending from 0 to 1

    @property
    def area(self) -> float:
        """The area under the curve, by trapezia: ties are straight lines and count one half."""
        widths = np.diff(self.false_alarms)
        return float((widths * (self.found[1:] + self.found[:-1]) / 2).sum())

    def at(self, false_alarms: npt.ArrayLike) -> Floats:
        """Return the highest share found at the given shares of false alarms.

        Between two points of the curve both are reached by drawing lots (Fawcett, Pattern
        Recognition Letters 2006), so the curve is linear there.
        """
        asked = np.asarray(false_alarms, dtype=np.float64)
        after = np.searchsorted(self.false_alarms, asked, side="right")
        after = np.clip(after, 1, len(self.false_alarms) - 1)
        x0, x1 = self.false_alarms[after - 1], self.false_alarms[after]
        y0, y1 = self.found[after - 1], self.found[after]
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(x1 > x0, (asked - x0) / (x1 - x0), 1.0)
        return np.asarray(y0 + np.clip(share, 0, 1) * (y1 - y0))


def roc_curve(scores: npt.ArrayLike, present: npt.ArrayLike) -> Roc | None:
    """Return the ROC curve of one AU, exactly: a point for every distinct score, and (0, 0).

    Args:
        scores: ``(N,)`` of annotated frames, the higher, the surer.
        present: ``(N,)`` True where the AU is there.

    Returns:
        The curve; ``None`` where all frames show the AU, or none does.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(present, dtype=bool)
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return None
    _, true, decided = cumulated(values, truth)
    found = np.concatenate([[0.0], true / positives])
    return Roc(np.concatenate([[0.0], (decided - true) / negatives]), found)


class Bin(NamedTuple):
    """Faces whose probabilities lie together."""

    frames: int
    said: float  # mean probability
    happened: float  # share of them that show the AU


def reliability(probabilities: npt.ArrayLike, present: npt.ArrayLike) -> tuple[Bin, ...]:
    """Return what was said and what happened, in ten bins of equal width; empty ones are left out.

    The bins are those of :func:`cycada.metrics.calibration.calibration_error`, which is the mean
    distance of the two, weighted by frames.

    Args:
        probabilities: ``(N,)`` in [0, 1], of annotated frames.
        present: ``(N,)`` True where the AU is there.
    """
    said, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(present, dtype=np.float64)
    which = bin_of(said)
    frames = np.bincount(which, minlength=CALIBRATION_BINS)
    means, shares = (
        np.bincount(which, weights=values, minlength=CALIBRATION_BINS) for values in (said, truth)
    )
    return tuple(
        Bin(int(count), float(mean / count), float(share / count))
        for count, mean, share in zip(frames, means, shares, strict=True)
        if count
    )


def error_of(bins: tuple[Bin, ...]) -> float:
    """Return the expected calibration error of bins; NaN where there are none."""
    frames = sum(each.frames for each in bins)
    if not frames:
        return math.nan
    return sum(each.frames * abs(each.said - each.happened) for each in bins) / frames


class Outcomes(NamedTuple):
    """What became of the decisions on one AU: counts of annotated frames."""

    found: int  # present and detected: true positives
    false: int  # absent and detected: false positives
    missed: int  # present and not detected: false negatives
    absent: int  # absent and not detected: true negatives

    @property
    def recall(self) -> float:
        """Share of the present that is found; NaN where nothing is present."""
        return _share(self.found, self.found + self.missed)

    @property
    def specificity(self) -> float:
        """Share of the absent that is not detected; NaN where everything is present."""
        return _share(self.absent, self.absent + self.false)

    @property
    def precision(self) -> float:
        """Share of the detected that is present; NaN where nothing is detected."""
        return _share(self.found, self.found + self.false)


def outcomes(detected: npt.ArrayLike, present: npt.ArrayLike) -> Outcomes:
    """Return what became of ``(N,)`` decisions on annotated frames."""
    told, truth = np.asarray(detected, dtype=bool), np.asarray(present, dtype=bool)
    counts = np.bincount(2 * told + truth, minlength=4)
    return Outcomes(int(counts[3]), int(counts[2]), int(counts[1]), int(counts[0]))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
