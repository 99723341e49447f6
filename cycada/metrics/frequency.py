"""How frequent something is among unlabelled faces, as far as a detector's scores tell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cycada.metrics.bootstrap import Floats

_WORTH = 200
"""Faces that the unlabelled scores count as, however many there are.

Scores are not quite normal, and beyond some hundred faces a likelihood tells more of that than of
the frequency (coarsened posterior: Miller & Dunson, JASA 2019).
"""

_WIDTHS_WORTH = 12  # faces that the widths seen among the labelled ones count as
_NARROWEST = 1e-3  # of the variance of all unlabelled scores; equal scores make no endless peak
_POINTS = 500  # quantiles that stand for the scores
_ROUNDS = 60  # of expectation maximisation


def frequency_likelihood(
    scores: npt.ArrayLike, present: npt.ArrayLike, unlabelled: npt.ArrayLike, frequencies: Floats
) -> Floats:
    """Return how well each frequency explains the scores of unlabelled faces.

    Where a detector tells something apart, its scores are a heap of absent and a heap of present
    faces, and the share of the second can be seen without labels. The heaps are taken to be
    normal. For each frequency they are moved and widened by expectation maximisation until they
    explain the scores best (a profile likelihood): freely in place and in common scale, for scores
    shift, shrink and draw closer in another domain; the widths, relative to each other, stay near
    those among labelled faces (inverse gamma prior).

    Args:
        scores: ``(N,)`` of labelled faces, unbounded (log-odds); some of each kind.
        present: ``(N,)`` which of them show it.
        unlabelled: ``(M,)`` scores of unlabelled faces, at least one.
        frequencies: ``(F,)`` to be compared, above 0 and below 1.

    Returns:
        ``(F,)`` logarithms, of which only the differences mean something. They are all equal if
        the labelled scores do not differ as they should, or the unlabelled ones not at all.
    """
    labelled, shown = np.asarray(scores, dtype=np.float64), np.asarray(present, dtype=bool)
    heaps = [labelled[~shown], labelled[shown]]
    usual = np.array([heap.var() for heap in heaps])
    apart = heaps[1].mean() - heaps[0].mean()
    places = (np.arange(_POINTS) + 0.5) / _POINTS
    points = np.quantile(np.asarray(unlabelled, dtype=np.float64), places)[:, None, None]
    spread = points.var()
    if not (usual > 0).all() or apart <= 0 or spread == 0:
        return np.zeros(len(frequencies))
    each = _WORTH / _POINTS

    shares = np.stack((1 - frequencies, frequencies), axis=1)  # (F, 2): absent, present
    within = (shares * usual).sum(1, keepdims=True)
    scale = spread / (within + apart**2 * shares.prod(1, keepdims=True))
    means = np.stack((-shares[:, 1], shares[:, 0]), axis=1) * apart * np.sqrt(scale)
    means, variances = means + points.mean(), usual * scale
    for _ in range(_ROUNDS):
        joint = _log_joint(points, shares, means, variances)
        weights = each * np.exp(joint - np.logaddexp(*np.moveaxis(joint, 2, 0))[..., None])
        counts = weights.sum(0)
        means = (weights * points).sum(0) / counts
        squares = (weights * (points - means) ** 2).sum(0)
        variances = (squares + _WIDTHS_WORTH * scale * usual) / (counts + _WIDTHS_WORTH)
        variances = np.maximum(variances, _NARROWEST * spread)
        scale = 1 / (usual / variances).mean(1, keepdims=True)
    joint = _log_joint(points, shares, means, variances)
    said = each * np.logaddexp(joint[..., 0], joint[..., 1]).sum(0)
    prior = -_WIDTHS_WORTH / 2 * np.log(variances / (scale * usual)).sum(1)
    return np.asarray(said + prior)


def _log_joint(points: Floats, shares: Floats, means: Floats, variances: Floats) -> Floats:
    """Return ``(points, F, 2)`` log densities of the two heaps, times their shares."""
    return np.asarray(
        np.log(shares) - (points - means) ** 2 / variances / 2 - np.log(variances) / 2
    )
