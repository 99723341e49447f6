"""Parts of a face lie where its landmarks say, turned and scaled with them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cycada.landmarks import EYE_CORNERS
from cycada.metrics.face_regions import FACE_PARTS, PartValues, deviation_of, mean_of, part_masks
from cycada.metrics.nearest import coarse, nearest

SIDE = 64
EYES = torch.tensor([[[36.0, 24.0], [44.0, 24.0], [28.0, 24.0], [20.0, 24.0]]])
PLACE = {part.name: number for number, part in enumerate(FACE_PARTS)}


def centre(mask: torch.Tensor) -> tuple[float, float]:
    y, x = torch.nonzero(mask, as_tuple=True)
    return float(x.double().mean()), float(y.double().mean())


def test_parts_lie_in_order_down_the_face() -> None:
    masks = part_masks(EYES, EYE_CORNERS, side=SIDE)[0]
    heights = [centre(masks[PLACE[name]])[1] for name in
               ("forehead", "brows", "eyes", "nose", "mouth")]  # fmt: skip
    assert heights == sorted(heights)
    assert heights[2] == pytest.approx(24, abs=0.5)
    assert all(centre(mask)[0] == pytest.approx(32, abs=0.5) for mask in masks)  # both sides


def test_a_landmark_of_a_part_moves_it() -> None:
    names = (*EYE_CORNERS, "nose_tip")
    points = torch.cat((EYES, torch.tensor([[[40.0, 40.0]]])), 1)
    moved = part_masks(points, names, side=SIDE)[0, PLACE["nose"]]
    assert centre(moved) == pytest.approx((40, 40), abs=0.5)
    points[0, 4] = math.nan
    assert centre(part_masks(points, names, side=SIDE)[0, PLACE["nose"]])[1] < 36


def test_parts_turn_with_the_face() -> None:
    quarter = torch.stack((63 - EYES[..., 1], EYES[..., 0]), -1)  # clockwise
    upright = part_masks(EYES, EYE_CORNERS, side=SIDE)[0]
    turned = part_masks(quarter, EYE_CORNERS, side=SIDE)[0]
    assert torch.equal(torch.rot90(upright, -1, (1, 2)), turned)


def test_a_face_without_known_eyes_has_no_parts() -> None:
    assert not part_masks(EYES * math.nan, EYE_CORNERS, side=SIDE).any()


def test_means_and_deviations_of_parts_are_those_of_their_pixels() -> None:
    images = torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    masks = part_masks(EYES.expand(3, -1, -1), EYE_CORNERS, side=SIDE)
    values = PartValues()
    for image, mask in zip(images, masks, strict=True):
        values.add(image[None], mask[None])
    for number in range(len(FACE_PARTS)):
        inside = images[:, 0][masks[:, number]]
        assert values.part_means()[number] == pytest.approx(float(inside.mean()), abs=1e-3)
    assert mean_of(values.whole) == pytest.approx(float(images.mean()), abs=1e-3)
    assert deviation_of(values.whole) == pytest.approx(float(images.std()), abs=1e-3)
    assert math.isnan(mean_of(np.zeros_like(values.whole)))


def test_the_nearest_face_is_the_one_that_a_search_finds() -> None:
    draw = torch.Generator().manual_seed(0)
    real = torch.rand(30, 1, SIDE, SIDE, generator=draw) * 2 - 1
    made = real[[4, 17]] + 0.02 * torch.randn(2, 1, SIDE, SIDE, generator=draw)
    distance, rows = nearest(coarse(made), coarse(real))
    assert rows.tolist() == [4, 17]
    blocks = [image[0].unfold(0, 4, 4).unfold(1, 4, 4) for image in (made[0], real[4])]
    assert distance[0] < 0.02
    plain = (blocks[0].mean((2, 3)) - blocks[1].mean((2, 3))).square().mean().sqrt()
    assert distance[0] == pytest.approx(float(plain), rel=0.5)  # antialiasing weighs a wider square
