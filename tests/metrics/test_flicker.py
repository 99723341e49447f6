from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cycada.metrics.flicker import Motion, MotionEstimator, flicker, warping_error

SIDE = 96


def texture(seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, SIDE // 6, SIDE // 6, generator=draw) * 2 - 1
    return F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic").clamp(-1, 1)[0]


def moving(by: tuple[int, int], frames: int = 5) -> list[Tensor]:
    down, right = by
    still = texture()
    return [still.roll((down * n, right * n), dims=(1, 2)) for n in range(frames)]


def known_motion(by: tuple[int, int]) -> Motion:
    down, right = by
    flow = torch.tensor([right, down], dtype=torch.float32)[:, None, None].expand(2, SIDE, SIDE)
    return Motion(flow, -flow)


def scored(source: list[Tensor], made: list[Tensor]) -> float:
    estimate = MotionEstimator()
    return flicker(
        warping_error(one, two, estimate(a, b))
        for a, b, one, two in zip(source, source[1:], made, made[1:], strict=False)
    )


def test_a_jitter_of_brightness_over_a_static_source_scores_what_it_is() -> None:
    jitter = [0.0, 0.1, -0.05, 0.2]
    source = [texture()] * 4
    made = [0.5 * texture(1) + shift for shift in jitter]
    steps = [two - one for one, two in itertools.pairwise(jitter)]
    by_hand = math.sqrt(sum(step**2 for step in steps) / 3)
    assert scored(source, made) == pytest.approx(by_hand, rel=1e-5)


def test_a_translation_that_follows_its_source_scores_0_whatever_it_makes_of_it() -> None:
    made = [-(picture**3) for picture in moving((1, 2))]
    errors = [
        warping_error(one, two, known_motion((1, 2))) for one, two in itertools.pairwise(made)
    ]
    assert flicker(errors) < 1e-6
    assert scored([texture()] * 3, [texture(1)] * 3) == 0.0


def test_motion_that_is_looked_for_in_the_source_is_found_in_it() -> None:
    source = moving((1, 2))
    found = MotionEstimator()(source[0], source[1])
    assert found.forward[0].median() == pytest.approx(2, abs=0.05)
    assert found.forward[1].median() == pytest.approx(1, abs=0.05)
    assert found.backward[0].median() == pytest.approx(-2, abs=0.05)


def test_a_moving_source_neither_adds_to_the_flicker_nor_hides_it() -> None:
    source = moving((1, 2))
    made = [-(picture**3) / 2 for picture in source]
    naive = float((made[0] - made[1]).square().mean().sqrt())
    assert scored(source, made) < 0.03 * naive
    jitter = [0.0, 0.1, -0.05, 0.2, 0.1]
    steps = [two - one for one, two in itertools.pairwise(jitter)]
    by_hand = math.sqrt(sum(step**2 for step in steps) / 4)
    shaken = [picture + shift for picture, shift in zip(made, jitter, strict=True)]
    assert scored(source, shaken) == pytest.approx(by_hand, rel=0.01)


def test_a_translation_of_another_size_is_scored_along_the_same_motion() -> None:
    source = moving((2, 4))
    half = [F.avg_pool2d(picture, 2) for picture in source]
    errors = [
        warping_error(one, two, known_motion((2, 4))) for one, two in itertools.pairwise(half)
    ]
    assert flicker(errors) < 1e-6
    moved = known_motion((2, 4)).at((SIDE // 2, SIDE // 2))
    assert moved.forward[0].unique().tolist() == [2.0]


def test_what_is_covered_or_leaves_the_picture_does_not_count() -> None:
    source = [torch.full((1, SIDE, SIDE), -0.5) + 0.2 * texture() for _ in range(2)]
    patch = texture(1)[:, :24, :24]
    source[0][:, 30:54, 20:44] = patch
    source[1][:, 30:54, 32:56] = patch  # moved by 12 px over what was seen beside it
    motion = MotionEstimator()(*source)
    seen = motion.seen()
    covered = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    covered[32:52, 46:54] = True  # behind the patch in the second frame
    assert seen[covered].float().mean() < 0.35
    assert seen[:20].float().mean() > 0.9
    gone = known_motion((0, 10)).seen()
    assert not gone[:, -10:].any()
    assert gone[:, :-11].all()


def test_a_single_frame_has_no_flicker() -> None:
    assert math.isnan(flicker([]))
    assert math.isnan(flicker([math.nan]))
