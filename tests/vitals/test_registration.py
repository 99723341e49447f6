"""What has moved, grown or turned is found where it went, to a fraction of a pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cycada.vitals.registration import Array, Pattern, Pose, Region, correlation

TICKS = np.linspace(-0.4, 0.4, 25)
FACE = Pose(60.0, 50.0, 60.0)


def region(*, rigid: bool = True) -> Region:
    return Region(TICKS, TICKS, np.ones((25, 25)), rigid=rigid)


def picture(pose: Pose) -> Array:
    """Return a frame of blobs that lie at fixed places of a face; a formula, not resampled."""
    y, x = np.mgrid[0:100, 0:120].astype(np.float64)
    frame = np.full(x.shape, 20.0)
    for u, v, wide, heat in ((-0.2, -0.1, 0.1, 3), (0.2, -0.1, 0.1, 3), (0.0, 0.2, 0.15, -2)):
        cosine, sine = math.cos(pose.angle), math.sin(pose.angle)
        at_x = pose.x + pose.height * (cosine * u - sine * v)
        at_y = pose.y + pose.height * (sine * u + cosine * v)
        spread = (wide * pose.height) ** 2
        frame += heat * np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / spread)
    return frame


@pytest.mark.parametrize(
    "there",
    [
        FACE._replace(x=60.37, y=49.22),
        FACE._replace(x=65.5, y=46.1),
        FACE._replace(height=64.0),
        FACE._replace(angle=0.1),
        Pose(62.3, 52.9, 57.0, -0.06),
    ],
)
def test_a_pattern_is_found_where_it_went(there: Pose) -> None:
    found = Pattern(region(), picture(FACE), pose=FACE).align(picture(there), FACE)
    assert found.likeness > 0.99
    assert (found.pose.x, found.pose.y) == pytest.approx((there.x, there.y), abs=0.1)
    assert found.pose.height == pytest.approx(there.height, rel=0.005)
    assert found.pose.angle == pytest.approx(there.angle, abs=0.005)


def test_another_level_or_contrast_of_the_camera_is_no_movement() -> None:
    pattern = Pattern(region(), picture(FACE), pose=FACE)
    found = pattern.align(1.3 * picture(FACE) + 4.0, FACE)
    assert (found.pose.x, found.pose.y) == pytest.approx((FACE.x, FACE.y), abs=0.02)
    assert found.pose.height == pytest.approx(FACE.height, rel=1e-3)


def test_what_is_not_rigid_is_shifted_alone() -> None:
    pattern = Pattern(region(rigid=False), picture(FACE), pose=FACE)
    found = pattern.align(picture(FACE._replace(x=61.0, height=62.0)), FACE)
    assert found.pose.height == FACE.height
    assert found.pose.x == pytest.approx(61.0, abs=0.1)


def test_a_patch_without_a_pattern_stays_where_it_is() -> None:
    even = np.full((100, 120), 33.0)
    noise = np.random.default_rng(0).normal(0, 0.05, even.shape)
    found = Pattern(region(), even, pose=FACE).align(even + noise, FACE)
    assert (found.pose.x, found.pose.y) == pytest.approx((FACE.x, FACE.y), abs=0.5)
    assert found.likeness == pytest.approx(0, abs=1e-6)


def test_a_far_move_is_found_by_searching() -> None:
    there = FACE._replace(x=80.0, y=40.0)
    pattern = Pattern(region(), picture(FACE), pose=FACE)
    start = pattern.searched(picture(there), FACE)
    found = pattern.align(picture(there), start)
    assert (found.pose.x, found.pose.y) == pytest.approx((80.0, 40.0), abs=0.1)


def test_a_pattern_becomes_what_it_is_shown() -> None:
    pattern = Pattern(region(), picture(FACE), pose=FACE)
    other = -picture(FACE)
    assert pattern.align(other, FACE).likeness < 0
    for _ in range(200):
        pattern.learn(other, FACE, share=0.05)
    assert pattern.align(other, FACE).likeness > 0.99


def test_points_of_a_face_and_of_the_frame_are_each_others() -> None:
    pose = Pose(41.0, 33.0, 47.0, 0.3)
    x, y = pose.to_frame(np.array(0.13), np.array(-0.21))
    assert pose.to_face(float(x), float(y)) == pytest.approx((0.13, -0.21))


def test_correlation_is_that_of_numpy() -> None:
    draw = np.random.default_rng(1)
    one, other = draw.normal(size=50), draw.normal(size=50)
    assert correlation(one, other, np.ones(50)) == pytest.approx(np.corrcoef(one, other)[0, 1])
