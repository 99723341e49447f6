from __future__ import annotations

import math

import pytest
import torch

from cycada.losses.landmarks import landmark_loss

EYES = [0, 1, 2, 3]  # outer and inner corners: the eyes are 20 px apart
FACE = torch.tensor([[[38.0, 30], [42, 30], [18, 30], [22, 30], [30, 50]]])


def test_errors_count_in_eye_distances_and_small_ones_by_their_square() -> None:
    found = FACE.clone()
    found[0, 4, 0] += 2.0  # 0.1 eye distances: 0.1 - 0.03 / 2 in the linear part
    found[0, 4, 1] += 0.2  # 0.01: 0.01^2 / (2 * 0.03)
    expected = (0.1 - 0.015 + 0.01**2 / 0.06) / 10
    assert float(landmark_loss(found, FACE, eyes=EYES)) == pytest.approx(expected, rel=1e-4)


def test_a_larger_face_counts_no_more_than_a_small_one() -> None:
    found = FACE + 1
    small, large = (landmark_loss(k * found, k * FACE, eyes=EYES) for k in (1, 3))
    assert float(small) == pytest.approx(float(large), rel=1e-5)


def test_unknown_points_and_faces_without_eyes_teach_nothing() -> None:
    true = torch.cat((FACE, FACE))
    true[0, 4] = math.nan
    true[1, 0] = math.nan
    found = (true.nan_to_num(0.0) + 5).requires_grad_()
    loss = landmark_loss(found, true, eyes=EYES)
    loss.backward()
    assert found.grad is not None
    assert torch.isfinite(found.grad).all()
    assert (found.grad[0, :4] > 0).all()
    assert not found.grad[0, 4].any()
    assert not found.grad[1].any()
    nothing = landmark_loss(found, torch.full_like(true, math.nan), eyes=EYES)
    assert float(nothing.detach()) == 0
    nothing.backward()
