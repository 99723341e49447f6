"""The view that RGB and thermal faces share, against a plain reference and hand-made edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cycada.models.detector import Detector
from cycada.models.structure import local_structure


def random(channels: int = 1, *, seed: int = 0, size: int = 14) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(2, channels, size, size, generator=draw, dtype=torch.float64) * 2 - 1


def mean_around(plane: np.ndarray, reach: int) -> np.ndarray:
    result = np.empty_like(plane)
    for y, x in np.ndindex(*plane.shape):
        rows, columns = slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), None)
        result[y, x] = plane[rows, columns][:, : x + reach + 1 - max(0, x - reach)].mean()
    return result


def reference(plane: np.ndarray) -> np.ndarray:
    """Return the three channels by angles and magnitudes, pixel by pixel."""
    wide = np.pad(plane, 1, mode="edge")
    across, down = wide[1:-1, 2:] - wide[1:-1, :-2], wide[2:, 1:-1] - wide[:-2, 1:-1]
    angle, size = np.arctan2(down, across), np.hypot(across, down)
    relative = size / np.sqrt(mean_around(size**2, 4) + 1e-3)
    crease = plane - mean_around(plane, 2)
    ratio = np.abs(crease) / np.sqrt(mean_around(crease**2, 4) + 2e-4)
    return np.stack((relative * np.cos(2 * angle), relative * np.sin(2 * angle), ratio))


def test_it_is_the_doubled_angle_times_the_relative_magnitude() -> None:
    picture = random()
    for found, plane in zip(local_structure(picture).numpy(), picture[:, 0].numpy(), strict=True):
        np.testing.assert_allclose(found, reference(plane), atol=2e-3)


def test_dark_on_bright_is_bright_on_dark() -> None:
    picture = random()
    torch.testing.assert_close(local_structure(-picture), local_structure(picture))


def test_a_tenth_of_a_strong_contrast_looks_nearly_the_same_and_a_level_does_not_count() -> None:
    picture = random() * 0.5
    before = local_structure(picture)
    torch.testing.assert_close(local_structure(picture + 0.3), before)
    weak = local_structure(picture / 10)
    assert float(torch.corrcoef(torch.stack((weak.flatten(), before.flatten())))[0, 1]) > 0.95
    assert float(weak.abs().mean()) > 0.7 * float(before.abs().mean())


def test_edges_of_four_directions() -> None:
    y, x = torch.meshgrid(torch.arange(15.0), torch.arange(15.0), indexing="ij")
    for ramp, expected in ((x, (1, 0)), (y, (-1, 0)), (x + y, (0, 1)), (x - y, (0, -1))):
        centre = local_structure((ramp / 15)[None, None])[0, :2, 7, 7]
        assert centre.tolist() == pytest.approx(expected, abs=0.05)


def test_rgb_counts_by_its_luminance() -> None:
    picture = random(3)
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    grey = (picture * weights[:, None, None]).sum(1, keepdim=True)
    torch.testing.assert_close(local_structure(picture), local_structure(grey))


def test_flat_skin_has_no_structure_and_a_finite_gradient() -> None:
    flat = torch.zeros(1, 1, 10, 10, requires_grad=True)
    seen = local_structure(flat)
    assert not seen.any()
    seen.sum().backward()
    assert flat.grad is not None
    assert flat.grad.isfinite().all()


def test_gradients_agree_with_differences() -> None:
    picture = random(size=5)[:1].requires_grad_()
    assert torch.autograd.gradcheck(local_structure, (picture,))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_detector_of_structure_cannot_tell_a_negative(channels: int) -> None:
    detector = Detector(
        "small", channels=channels, outputs=2, width=4, pretrained="none", view="structure"
    ).eval()
    picture = random(channels, size=32).float()
    torch.testing.assert_close(detector(-picture).logits, detector(picture).logits)
