"""Random changes of images: drawn per lane, and geometrically what they say."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from cycada.config import AugmentConfig
from cycada.data.augment import Changes, apply_changes, draw_changes, move_points
from cycada.data.sampling import generator
from cycada.task import Task
from cycada.training.examples import Examples

NOTHING = AugmentConfig(
    flip=0, rotate=0, scale=0, shift=0, brightness=0, contrast=0, blur=0, noise=0, erase=0
)
SIZE = 33


def drawn(config: AugmentConfig, count: int = 6, size: int = SIZE) -> Changes:
    return draw_changes(count, config, size=size, generator=generator(0, "test"))


def pictures(count: int = 6, channels: int = 3) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    shape = (count, channels, SIZE, SIZE)
    return torch.rand(shape, generator=draw, dtype=torch.float64) * 1.8 - 0.9


def dot(x: int, y: int) -> torch.Tensor:
    image = torch.full((1, 1, SIZE, SIZE), -1.0, dtype=torch.float64)
    image[..., y, x] = 1
    return image


def brightest(image: torch.Tensor) -> tuple[float, float]:
    """Return the centre of mass of what is brighter than the background, as (x, y)."""
    weight = (image[0, 0] + 1) / (image + 1).sum()
    places = torch.arange(SIZE, dtype=image.dtype)
    return float((weight.sum(0) * places).sum()), float((weight.sum(1) * places).sum())


def test_no_change_leaves_images_as_they_are() -> None:
    torch.testing.assert_close(
        apply_changes(pictures(), drawn(NOTHING)), pictures(), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("erase", [0.0, 0.5])
def test_rows_do_not_depend_on_how_the_batch_is_shared(erase: float) -> None:
    config = AugmentConfig(erase=erase)
    changes = drawn(config)
    whole = apply_changes(pictures(), changes)
    shares = [
        apply_changes(pictures()[first:last], changes.rows(first, last))
        for first, last in ((0, 2), (2, 5), (5, 6))
    ]
    assert torch.equal(torch.cat(shares), whole)
    assert not torch.equal(whole, pictures())


def test_what_is_drawn_depends_on_the_generator_alone() -> None:
    one, two = drawn(AugmentConfig()), drawn(AugmentConfig())
    for name in Changes.__slots__:
        assert torch.equal(getattr(one, name), getattr(two, name)), name


def test_changes_stay_within_their_limits() -> None:
    config = AugmentConfig(rotate=7, scale=0.2, shift=0.1, flip=0.5)
    changes = drawn(config, count=500)
    turn = changes.matrix[:, :, :2]
    determinants = torch.linalg.det(turn.double())
    assert bool(((determinants < 0) == changes.flipped).all())
    scale = determinants.abs().sqrt()
    assert float(scale.min()) >= 0.8 - 1e-6
    assert float(scale.max()) <= 1.2 + 1e-6
    angle = torch.rad2deg(torch.atan2(-turn[:, 0, 1], turn[:, 1, 1])).abs()
    assert 6 < float(angle.max()) <= 7 + 1e-4
    centre = torch.tensor([(SIZE - 1) / 2] * 2)
    moved = turn @ centre + changes.matrix[:, :, 2] - centre
    assert 0.09 * SIZE < float(moved.abs().max()) <= 0.1 * SIZE + 1e-4
    assert 0.4 < float(changes.flipped.float().mean()) < 0.6
    assert float(changes.brightness.abs().max()) <= config.brightness
    assert float((changes.contrast - 1).abs().max()) <= config.contrast + 1e-6


def test_a_mirror_puts_left_to_right() -> None:
    changes = drawn(replace(NOTHING, flip=1))
    torch.testing.assert_close(apply_changes(pictures(), changes), pictures().flip(-1))


@pytest.mark.parametrize(
    ("degrees", "scale", "shift", "flip"),
    [(0, 1.0, (4, -3), False), (90, 1.0, (0, 0), False), (30, 1.2, (2, 1), False),
     (30, 1.0, (0, 0), True)],
)  # fmt: skip
def test_a_dot_moves_where_the_formula_says(
    degrees: float, scale: float, shift: tuple[int, int], flip: bool
) -> None:
    from cycada.data.augment import _affine

    matrix = _affine(
        torch.deg2rad(torch.tensor([float(degrees)])), torch.tensor([scale]),
        torch.tensor([[float(s) for s in shift]]), torch.tensor([flip]), SIZE,
    )  # fmt: skip
    changes = replace(drawn(NOTHING, count=1), matrix=matrix, flipped=torch.tensor([flip]))
    x, y, centre = 22, 14, (SIZE - 1) / 2
    a = math.radians(degrees)
    dx, dy = (-1 if flip else 1) * (x - centre), y - centre
    expected = (
        centre + scale * (math.cos(a) * dx - math.sin(a) * dy) + shift[0],
        centre + scale * (math.sin(a) * dx + math.cos(a) * dy) + shift[1],
    )
    assert brightest(apply_changes(dot(x, y), changes)) == pytest.approx(expected, abs=0.25)


def test_brightness_and_contrast_do_what_their_numbers_say() -> None:
    changes = replace(
        drawn(NOTHING), brightness=torch.full((6,), 0.1), contrast=torch.full((6,), 0.5)
    )
    image = pictures()
    mean = image.mean((1, 2, 3), keepdim=True)
    expected = ((image - mean) * 0.5 + mean + 0.1).clamp(-1, 1)
    torch.testing.assert_close(apply_changes(image, changes), expected, rtol=0, atol=1e-7)


def test_inversion_turns_bright_into_dark_before_the_noise() -> None:
    chosen = torch.tensor([True, False, True, False, False, True])
    changes = replace(drawn(NOTHING), inverted=chosen, brightness=torch.full((6,), 0.05))
    image = pictures() * 0.9
    expected = torch.where(chosen.view(-1, 1, 1, 1), -(image + 0.05), image + 0.05)
    torch.testing.assert_close(apply_changes(image, changes), expected, rtol=0, atol=1e-7)
    blank = replace(changes, erase=torch.tensor([[0.0, 0.0, SIZE, SIZE]] * 6))
    assert not apply_changes(image, blank).any()  # what is erased is blank, inverted or not


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_faces_are_inverted_as_often_as_they_should_be(share: float) -> None:
    changes = drawn(replace(NOTHING, invert=share), count=2000)
    assert float(changes.inverted.float().mean()) == pytest.approx(share, abs=0.04)


def test_noise_has_the_stated_deviation() -> None:
    grey = torch.zeros(4, 1, 64, 64, dtype=torch.float64)
    changes = replace(drawn(NOTHING, count=4, size=64), noise=torch.tensor([0.0, 0.1, 0.1, 0.2]))
    found = apply_changes(grey, changes)
    deviations = found.std((1, 2, 3))
    torch.testing.assert_close(
        deviations, torch.tensor([0, 0.1, 0.1, 0.2], dtype=torch.float64), rtol=0.05, atol=0
    )
    assert not torch.equal(found[1], found[2])


def test_an_erased_rectangle_is_blank_and_the_rest_untouched() -> None:
    changes = replace(drawn(NOTHING), erase=torch.tensor([[2.0, 3.0, 9.0, 8.0]] + [[0.0] * 4] * 5))
    found = apply_changes(pictures(), changes)
    expected = pictures()
    expected[0, :, 2:9, 3:8] = 0
    torch.testing.assert_close(found, expected)


def test_a_mirror_swaps_left_and_right_units() -> None:
    task = Task((1, 51, 52))
    examples = Examples(
        [], labels=torch.zeros(0, 3), known=torch.zeros(0, 3).bool(), task=task, channels=3
    )
    labels = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    known = torch.tensor([[True, True, False], [True, True, False]])
    swapped, still_known = examples.mirror(labels, known, torch.tensor([True, False]))
    assert swapped.tolist() == [[1, 0, 1], [1, 1, 0]]
    assert still_known.tolist() == [[True, False, True], [True, True, False]]


def test_a_mirrored_unit_without_its_partner_becomes_unknown() -> None:
    examples = Examples(
        [], labels=torch.zeros(0, 2), known=torch.zeros(0, 2).bool(), task=Task((1, 51)), channels=3
    )
    labels, known = torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bool)
    _, still_known = examples.mirror(labels, known, torch.tensor([True, False]))
    assert still_known.tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_points_go_where_their_pixels_go(flip: float) -> None:
    """Left and right change names in a mirrored face, and what is in the middle keeps its own."""
    config = replace(NOTHING, flip=flip, rotate=20, scale=0.2, shift=0.1)
    changes = drawn(config, count=1)
    left, right = (12.0, 14.0), (21.0, 18.0)
    points = torch.tensor([[left, right]], dtype=torch.float64)
    moved = move_points(points, changes, [1, 0])[0]
    for place, (x, y) in enumerate((left, right)):
        seen = brightest(apply_changes(dot(int(x), int(y)), changes))
        assert moved[1 - place if flip else place].tolist() == pytest.approx(seen, abs=0.1)
