from __future__ import annotations

import numpy as np
import pytest
import torch

from cycada.losses.consistency import image_distance


def random(seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, 9, 8, generator=draw, dtype=torch.float64) * 2 - 1


def detail(plane: np.ndarray) -> np.ndarray:
    """Return 4 times the difference of each pixel from the mean of the 5 x 5 px around it."""
    result = np.empty_like(plane)
    for y, x in np.ndindex(*plane.shape):
        around = plane[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
        result[y, x] = 4 * (plane[y, x] - around.mean())
    return result


def test_it_is_the_mean_distance_of_the_pixels_plus_that_of_their_detail() -> None:
    made, real = random(0), random(1)
    planes = list(zip(made.flatten(0, 1).numpy(), real.flatten(0, 1).numpy(), strict=True))
    pixels = np.mean([np.abs(one - two).mean() for one, two in planes])
    details = np.mean([np.abs(detail(one) - detail(two)).mean() for one, two in planes])
    assert float(image_distance(made, real)) == pytest.approx(pixels + details, abs=1e-12)


def test_equal_images_have_no_distance_and_a_change_of_level_has_no_detail() -> None:
    real = random(0)
    assert float(image_distance(real, real)) == 0
    assert float(image_distance(real + 0.25, real)) == pytest.approx(0.25, abs=1e-12)


def test_gradients_agree_with_differences() -> None:
    made, real = random(0)[:1, :1].requires_grad_(), random(1)[:1, :1]
    assert torch.autograd.gradcheck(lambda image: image_distance(image, real), (made,))
