"""Pseudo-labels by the nearest centroid of a detector's features, as in SHOT."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cycada.task import TaskKind


def centroid_labels(features: Tensor, probabilities: Tensor, kind: TaskKind) -> Tensor:
    """Return which answer the features of each face are nearest to.

    SHOT (Liang et al., ICML 2020, equations 4 and 5): the centroids are means of the features,
    weighted by the probabilities; faces go to the nearest by cosine; then once more with these
    labels as weights. A bias of the head, which is what most shifts between domains, does not
    enter. Action Units are each a question of its own with two centroids, present and absent. A
    class or AU that no face is nearest to keeps its first centroid.

    Args:
        features: ``(N, F)``.
        probabilities: ``(N, A)``.
        kind: Action Units or classes.

    Returns:
        ``(N, A)`` 0 or 1; of classes one-hot.
    """
    rows = F.normalize(features.double(), dim=1)
    said = probabilities.double()
    if kind == "classes":
        return F.one_hot(_nearest(rows, said), said.shape[1]).to(probabilities.dtype)
    columns = [_nearest(rows, torch.stack((1 - column, column), 1)) for column in said.unbind(1)]
    return torch.stack(columns, 1).to(probabilities.dtype)


def _nearest(rows: Tensor, weights: Tensor) -> Tensor:
    """Return ``(N,)`` the column of ``(N, K)`` weights whose centroid is nearest, two rounds."""
    centroids = _centroids(rows, weights)
    nearest = (rows @ centroids.T).argmax(1)
    again = F.one_hot(nearest, weights.shape[1]).to(rows)
    kept = again.sum(0) > 0
    centroids = torch.where(kept[:, None], _centroids(rows, again), centroids)
    return (rows @ centroids.T).argmax(1)


def _centroids(rows: Tensor, weights: Tensor) -> Tensor:
    return F.normalize(weights.T @ rows / weights.sum(0).clamp(min=1e-8)[:, None], dim=1)
