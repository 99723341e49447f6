from __future__ import annotations

import numpy as np
import pytest
import torch

from cycada.metrics.centroids import centroid_labels


def by_definition(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Two rounds of SHOT's equations 4 and 5, face by face."""
    rows = [f / np.linalg.norm(f) for f in features]
    answers = weights.shape[1]

    def centres(share: np.ndarray) -> list[np.ndarray]:
        sums = [
            sum(w * row for w, row in zip(share[:, k], rows, strict=True)) for k in range(answers)
        ]
        return [s / np.linalg.norm(s) if np.linalg.norm(s) > 0 else s for s in sums]

    first = centres(weights)
    nearest = [max(range(answers), key=lambda k: row @ first[k]) for row in rows]
    hard = np.eye(answers)[nearest]
    second = [b if n else a for a, b, n in zip(first, centres(hard), hard.sum(0), strict=True)]
    return np.array([max(range(answers), key=lambda k: row @ second[k]) for row in rows])


def faces(seed: int, answers: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return (
        torch.randn(30, 5, generator=draw, dtype=torch.float64),
        torch.softmax(2 * torch.randn(30, answers, generator=draw, dtype=torch.float64), 1),
    )


@pytest.mark.parametrize("seed", range(5))
def test_classes_go_to_the_nearest_centroid_in_two_rounds(seed: int) -> None:
    features, said = faces(seed, 4)
    found = centroid_labels(features, said, "classes")
    expected = by_definition(features.numpy(), said.numpy())
    assert found.argmax(1).tolist() == expected.tolist()
    assert torch.equal(found.sum(1), torch.ones(30, dtype=torch.float64))


@pytest.mark.parametrize("seed", range(5))
def test_each_unit_is_a_question_of_its_own(seed: int) -> None:
    features, said = faces(seed, 3)
    found = centroid_labels(features, said, "action_units")
    for unit in range(3):
        present = said[:, unit].numpy()
        expected = by_definition(features.numpy(), np.stack((1 - present, present), 1))
        assert found[:, unit].tolist() == expected.tolist()


def test_a_shifted_bias_does_not_change_the_labels() -> None:
    """Two heaps that a detector tells apart, but calls both present, are told apart again."""
    features = torch.cat((torch.randn(40, 6) * 0.1 + 1, torch.randn(40, 6) * 0.1 - 1))
    said = torch.cat((torch.full((40, 1), 0.9), torch.full((40, 1), 0.6)))
    found = centroid_labels(features, said, "action_units")
    assert found.squeeze(1).tolist() == [1.0] * 40 + [0.0] * 40


def test_a_class_that_no_face_is_nearest_to_keeps_its_first_centroid() -> None:
    features = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    said = torch.tensor([[0.6, 0.1, 0.3], [0.6, 0.1, 0.3], [0.1, 0.1, 0.8]])
    found = centroid_labels(features, said, "classes")
    assert torch.isfinite(found).all()
    assert found.argmax(1).tolist() == [0, 0, 2]
