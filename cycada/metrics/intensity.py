"""How strong an Action Unit is: from 0, absent, to 5, the grades A to E of FACS.

A detector learns which AUs occur; the log-odds that it gives rise with their intensity. So the
intensities of labelled faces that were not trained on say how to read it: for each grade g, the
probability that the AU is at least as strong is logistic in the log-odds, with one slope for all
grades and an offset for each (the proportional odds of McCullagh, J. R. Stat. Soc. B 1980), and
these probabilities add up to the intensity to be expected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cycada.action_units import INTENSITY_MAX
from cycada.metrics.bootstrap import Floats, plain
from cycada.metrics.calibration import log_odds, logistic, probability

GRADES = int(INTENSITY_MAX)


@dataclass(frozen=True, slots=True)
class IntensityReading:
    """From calibrated probabilities of occurrence to intensities."""

    slope: Floats  # (A,), 0 or above; NaN where an AU was graded too seldom
    offset: Floats  # (5, A), falling: of the grades A to E

    def __call__(self, probabilities: npt.ArrayLike) -> Floats:
        """Return ``(N, A)`` intensities from 0 to 5 for calibrated probabilities in [0, 1]."""
        odds = self.slope * log_odds(probabilities)
        return np.asarray(probability(odds[:, None] + self.offset).sum(1))

    def to_json(self) -> dict[str, Any]:
        """Return the reading for the facts beside a checkpoint: NaN becomes null."""
        return {"slope": plain(self.slope.tolist()), "offset": plain(self.offset.tolist())}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> IntensityReading:
        """Read the reading from the facts beside a checkpoint."""
        return cls(np.array(facts["slope"], dtype=float), np.array(facts["offset"], dtype=float))


def intensity_reading(
    probabilities: npt.ArrayLike, intensities: npt.ArrayLike, *, fewest: int
) -> IntensityReading | None:
    """Return how to read intensities from what a detector says of labelled faces.

    An intensity between two grades, such as 2.3, counts 0.3 towards the higher one.

    Args:
        probabilities: ``(N, A)`` calibrated, of faces that were not trained on.
        intensities: ``(N, A)`` from 0 to 5; NaN where unknown.
        fewest: Faces that show an AU at grade A at least, below which none is read.

    Returns:
        The reading, or ``None`` if no AU was graded often enough.
    """
    scores, graded = log_odds(probabilities), np.asarray(intensities, dtype=np.float64)
    slope = np.full(scores.shape[1], np.nan)
    offset = np.full((GRADES, scores.shape[1]), np.nan)
    for unit in range(scores.shape[1]):
        rows = np.isfinite(graded[:, unit])
        strength = graded[rows, unit]
        if (strength >= 1).sum() >= fewest:
            reached = np.clip(strength[:, None] - np.arange(GRADES), 0, 1)
            slope[unit], offset[:, unit] = logistic(scores[rows, unit], reached)
    return IntensityReading(slope, offset) if np.isfinite(slope).any() else None


def intensity_sums(
    told: npt.ArrayLike, intensities: npt.ArrayLike, subjects: npt.ArrayLike
) -> Floats:
    """Return ``(S, 6, A)`` sums over each subject's frames, from which a resample can be scored.

    Args:
        told: ``(N, A)``; NaN where nothing is told.
        intensities: ``(N, A)`` truth; NaN where unknown.
        subjects: ``(N,)`` subject of each frame.

    Returns:
        Of the frames where both are known: their number, the sums of what is told, of the truth,
        of their product, of the squares of both, and of their distance.
    """
    x, y = np.asarray(told, dtype=np.float64), np.asarray(intensities, dtype=np.float64)
    both = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(both, x, 0), np.where(both, y, 0)
    what = np.stack((both, x, y, x * y, x**2 + y**2, np.abs(x - y)), axis=1)
    names, which = np.unique(np.asarray(subjects), return_inverse=True)
    sums = np.zeros((len(names), *what.shape[1:]))
    np.add.at(sums, which, what)
    return sums


def icc_and_mae(sums: Floats) -> tuple[Floats, Floats]:
    """Return ``(..., A)`` ICC(3,1) and mean absolute errors from ``(..., 6, A)`` sums.

    ICC(3,1) is the consistency of two judges (Shrout & Fleiss, Psychological Bulletin 1979), here
    of a detector and a coder; with two it is twice their covariance by the sum of their variances.
    A constant error does not lower it. NaN where neither varies.
    """
    count, x, y, product, squares, error = np.moveaxis(sums, -2, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = squares - (x**2 + y**2) / count
        icc = np.where(spread > 1e-9, 2 * (product - x * y / count) / spread, np.nan)
        return icc, error / count
