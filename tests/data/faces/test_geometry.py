from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from cycada.data import phantom
from cycada.data.faces.geometry import (
    MARGIN,
    FacePlace,
    Square,
    crop_face,
    place_of_box,
    place_of_landmarks,
    square_of,
)

SQUARES = [
    Square(60.0, 50.0, 40.0),
    Square(60.25, 50.75, 37.3, 12.0),
    Square(3.0, 97.0, 55.0, -33.0),
    Square(118.0, 2.0, 80.0, 170.0),
]
# Where the features of an aligned portrait of 256 px are, on average, as read off their mean.
PORTRAIT = {
    "eye_right": (88.0, 94.0),
    "eye_left": (168.0, 94.0),
    "mouth_corner_right": (93.0, 174.0),
    "mouth_corner_left": (163.0, 174.0),
}


def spot(x: float, y: float, *, height: int = 100, width: int = 120) -> Tensor:
    """Return a black picture with a soft bright spot of 6 px around a point."""
    down, across = torch.meshgrid(
        torch.arange(height, dtype=torch.float64),
        torch.arange(width, dtype=torch.float64),
        indexing="ij",
    )
    return ((1 - ((across - x) ** 2 + (down - y) ** 2) / 36).clamp(min=0) ** 2).float()[None]


def middle(image: Tensor) -> list[float]:
    """Return the centre of mass, px."""
    weight = image[0].double()
    ticks = torch.arange(weight.shape[0], dtype=torch.float64)
    return [float((weight.sum(axis) * ticks).sum() / weight.sum()) for axis in (0, 1)]


@pytest.mark.parametrize("square", SQUARES)
def test_points_of_a_crop_come_back_from_the_frame(square: Square) -> None:
    points = torch.rand(50, 2, generator=torch.Generator().manual_seed(0)) * 90 - 10
    again = square.to_crop(square.to_frame(points, 64), 64)
    torch.testing.assert_close(again, points.double(), atol=1e-9, rtol=0)


def test_a_crop_turned_clockwise_begins_where_the_formula_says() -> None:
    """Side 40 turned by 90 degrees clockwise: the crop's top left corner is at the top right."""
    corner = Square(60.0, 50.0, 40.0, 90.0).to_frame(torch.tensor([-0.5, -0.5]), 10)
    torch.testing.assert_close(corner, torch.tensor([80.0, 30.0], dtype=torch.float64))


@pytest.mark.parametrize("square", SQUARES[:3])
@pytest.mark.parametrize("size", [None, 20, 64, 150])
@pytest.mark.parametrize("at", [(0.0, 0.0), (9.0, -7.5)])
def test_a_marked_point_lies_in_the_crop_where_its_place_is_mapped(
    square: Square, size: int | None, at: tuple[float, float]
) -> None:
    x, y = max(square.x + at[0], 9.0), min(square.y + at[1], 90.0)  # the whole spot is in the frame
    crop = crop_face(spot(x, y), square, size=size)
    expected = square.to_crop(torch.tensor([x, y], dtype=torch.float64), crop.shape[-1])
    assert middle(crop) == pytest.approx(expected.tolist(), abs=0.02 * crop.shape[-1] / 40)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_a_square_on_whole_px_is_copied_exactly(dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(1)
    high = 255 if dtype == torch.uint8 else 65535
    image = torch.randint(0, high, (3, 40, 50), generator=draw).to(dtype)
    crop = crop_face(image, Square(20.5, 15.5, 12.0))
    assert crop.dtype == dtype
    assert torch.equal(crop, image[:, 10:22, 15:27])


@pytest.mark.parametrize("size", [17, 40, 90])
def test_sixteen_bits_are_interpolated_to_within_rounding(size: int) -> None:
    """A slanted plane is reproduced by every mean of bilinear samples, so its values are known."""
    down, across = torch.meshgrid(torch.arange(100.0), torch.arange(120.0), indexing="ij")
    plane = (20000 + 230 * across + 190 * down).to(torch.int32).to(torch.uint16)[None]
    square = Square(60.25, 50.5, 40.0, 21.0)
    crop = crop_face(plane, square, size=size).to(torch.float64)[0]
    ticks = torch.arange(size, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1)
    place = square.to_frame(points, size)
    expected = 20000 + 230 * place[..., 0] + 190 * place[..., 1]
    assert float((crop - expected).abs().max()) <= 0.5 + 1e-6


def test_the_largest_value_of_sixteen_bits_survives_a_turn() -> None:
    image = torch.full((1, 30, 30), 65535, dtype=torch.int32).to(torch.uint16)
    crop = crop_face(image, Square(5.0, 5.0, 20.3, 30.0), size=11)
    assert torch.equal(crop.to(torch.int32), torch.full((1, 11, 11), 65535, dtype=torch.int32))


def test_fine_stripes_do_not_alias_when_a_crop_shrinks() -> None:
    stripes = torch.zeros(1, 120, 120)
    stripes[..., ::2] = 1
    crop = crop_face(stripes, Square(59.5, 59.5, 100.0, 7.0), size=20)
    assert float((crop - 0.5).abs().max()) < 0.1


def test_beyond_the_frame_its_edge_is_repeated() -> None:
    image = torch.arange(30, dtype=torch.float32)[None, :, None].expand(1, 30, 30).contiguous()
    crop = crop_face(image, Square(-10.5, 14.5, 10.0))
    torch.testing.assert_close(crop, image[:, 10:20, :1].expand(1, 10, 10))


@pytest.mark.parametrize("square", [*SQUARES, Square(-200.0, 0.0, 10.0), Square(60, 50, 300, 45)])
def test_the_share_outside_is_what_counting_points_finds(square: Square) -> None:
    ticks = torch.arange(400, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1)
    x, y = square.to_frame(points, 400).unbind(-1)
    within = (x > -0.5) & (x < 119.5) & (y > -0.5) & (y < 99.5)
    assert square.outside(100, 120) == pytest.approx(1 - float(within.double().mean()), abs=0.01)


def test_the_landmarks_of_an_aligned_portrait_give_the_whole_portrait() -> None:
    place = place_of_landmarks(PORTRAIT, confidence=0.7)
    assert place is not None
    square = square_of(place)
    assert (square.x, square.y) == pytest.approx((127.5, 127.5), abs=4)
    assert square.side == pytest.approx(256, abs=4)
    assert square.angle == 0
    assert place.confidence == 0.7


@pytest.mark.parametrize("angle", [-40.0, 15.0, 100.0])
def test_a_turned_face_is_cut_out_upright(angle: float) -> None:
    turn = Square(127.5, 127.5, 1.0, angle)
    points = torch.tensor(list(PORTRAIT.values()), dtype=torch.float64) - 128
    moved = dict(zip(PORTRAIT, map(tuple, turn.to_frame(points, 1).tolist()), strict=True))
    upright, turned = place_of_landmarks(PORTRAIT), place_of_landmarks(moved)
    assert upright is not None
    assert turned is not None
    assert turned.angle == pytest.approx(angle)
    assert turned.height == pytest.approx(upright.height)
    eyes = torch.tensor([moved["eye_right"], moved["eye_left"]], dtype=torch.float64)
    right, left = square_of(turned).to_crop(eyes, 100).tolist()
    assert right[1] == pytest.approx(left[1])
    assert right[0] < left[0]


def test_a_head_turned_aside_or_bowed_keeps_its_size() -> None:
    aside = {name: (127.5 + 0.7 * (x - 127.5), y) for name, (x, y) in PORTRAIT.items()}
    bowed = {name: (x, 94 + 0.7 * (y - 94)) for name, (x, y) in PORTRAIT.items()}
    whole = place_of_landmarks(PORTRAIT)
    assert whole is not None
    for points in (aside, bowed):
        place = place_of_landmarks(points)
        assert place is not None
        assert place.height == pytest.approx(whole.height, rel=1e-6)


def test_without_both_eyes_there_is_no_place() -> None:
    assert place_of_landmarks({"eye_left": (3.0, 4.0), "chin": (3.0, 9.0)}) is None
    assert place_of_landmarks({"eye_left": (3.0, 4.0), "eye_right": (3.0, 4.0)}) is None


def test_a_box_of_any_width_keeps_its_height_and_middle() -> None:
    place = place_of_box(10, 20, 30, 60)
    assert (place.height, place.centre) == (60, (25, 50))
    assert square_of(place).side == pytest.approx(60 * (1 + 2 * MARGIN))
    assert square_of(FacePlace(0, 0, 8, 10, angle=5), margin=0.5).side == 20


def test_crops_of_phantoms_show_them_from_brows_to_chin() -> None:
    draw = torch.Generator().manual_seed(5)
    count = 20
    identity = phantom.sample_identities(count, generator=draw)
    scene = phantom.sample_scenes(count, generator=draw)
    found = phantom.landmarks(identity, torch.zeros(count, 18), scene, size=200)
    for points in found:
        named = dict(zip(phantom.LANDMARK_NAMES, map(tuple, points.tolist()), strict=True))
        place = place_of_landmarks(named)
        assert place is not None
        seen = square_of(place).to_crop(points, 100)
        assert 8 < float(seen[:, 1].min()) < 45
        assert 75 < float(seen[:, 1].max()) < 98
        assert float(seen[:, 0].min()) > 8
        assert float(seen[:, 0].max()) < 92


def test_half_a_million_px_need_no_more_memory_than_rows_of_samples() -> None:
    """A crop of 1/8 is the mean of 64 samples for each px, as if the frame had been averaged."""
    image = torch.rand(1, 640, 640, generator=torch.Generator().manual_seed(0))
    crop = crop_face(image, Square(319.5, 319.5, 640.0), size=80)
    blocks = torch.nn.functional.avg_pool2d(image, 8)
    torch.testing.assert_close(crop, blocks, atol=1e-6, rtol=0)


def test_the_formula_of_the_turn_is_the_rotation_matrix() -> None:
    square = Square(7.0, -2.0, 30.0, 25.0)
    radians = math.radians(25)
    matrix = np.array(
        [[math.cos(radians), -math.sin(radians)], [math.sin(radians), math.cos(radians)]]
    )
    point = np.array([4.0, 11.0])
    expected = matrix @ (30 * ((point + 0.5) / 16 - 0.5)) + [7, -2]
    assert square.to_frame(torch.from_numpy(point), 16).tolist() == pytest.approx(expected.tolist())
