"""Where the phantom's landmarks lie, and how Action Units and pose move them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cycada.data import phantom

_UNITS = phantom.PHANTOM_ACTION_UNITS
_COUNT, _SIZE = 6, 100


def _person() -> tuple[phantom.Identity, phantom.Scene]:
    generator = torch.Generator().manual_seed(1)
    identity = phantom.sample_identities(_COUNT, generator=generator)
    scene = phantom.sample_scenes(_COUNT, generator=generator)
    zero, still = torch.zeros(_COUNT), torch.zeros(_COUNT, 2)
    identity = replace(identity, asymmetry=still)
    return identity, replace(scene, yaw=zero, pitch=zero, roll=zero, scale=zero + 1, shift=still)


def _points(number: int = 0, **pose: float) -> dict[str, Tensor]:
    identity, scene = _person()
    intensities = torch.zeros(_COUNT, len(_UNITS))
    if number:
        intensities[:, _UNITS.index(number)] = 5
    scene = replace(scene, **{name: torch.full((_COUNT,), at) for name, at in pose.items()})
    found = phantom.landmarks(identity, intensities, scene, size=_SIZE)
    return dict(zip(phantom.LANDMARK_NAMES, found.unbind(1), strict=True))


def _move(number: int, name: str) -> tuple[float, float]:
    """Return how far AU ``number`` moves a landmark right and down, in pixels, on average."""
    right, down = (_points(number)[name] - _points()[name]).mean(0).tolist()
    return right, down


def test_a_frontal_symmetric_face_has_mirrored_landmarks() -> None:
    points = _points()
    for name, left in points.items():
        if name.endswith("_left"):
            right = points[name.removesuffix("left") + "right"]
            assert torch.allclose(left[:, 0] - 49.5, 49.5 - right[:, 0], atol=1e-3)
            assert torch.allclose(left[:, 1], right[:, 1], atol=1e-3)


def test_the_left_eye_of_the_phantom_is_on_the_right_of_the_image() -> None:
    points = _points()
    assert (points["eye_outer_left"][:, 0] > points["eye_outer_right"][:, 0]).all()


def test_inner_and_outer_brow_raisers_lift_their_own_end() -> None:
    assert _move(1, "brow_inner_left")[1] < 2 * _move(1, "brow_outer_left")[1] - 1
    assert _move(2, "brow_outer_left")[1] < 2 * _move(2, "brow_inner_left")[1] - 1


def test_the_brow_lowerer_pulls_brows_down_and_together() -> None:
    right, down = _move(4, "brow_inner_left")
    assert right < -0.5
    assert down > 1


def test_the_lip_corner_puller_and_depressor_move_corners_apart_in_height() -> None:
    assert _move(12, "mouth_corner_left")[1] < -2
    assert _move(12, "mouth_corner_left")[0] > 1
    assert _move(15, "mouth_corner_left")[1] > 2


def test_the_lip_stretcher_widens_and_the_tightener_narrows_the_mouth() -> None:
    assert _move(20, "mouth_corner_left")[0] > 2
    assert _move(23, "mouth_corner_left")[0] < -1


def test_the_jaw_drop_lowers_the_chin_and_the_chin_raiser_lifts_it() -> None:
    assert _move(26, "chin")[1] > 3
    assert _move(17, "chin")[1] < -0.5


def test_lids_close_on_each_other() -> None:
    shut, wide = _points(43), _points(5)
    rest = _points()["lid_lower_left"] - _points()["lid_upper_left"]
    assert torch.allclose(shut["lid_upper_left"], shut["lid_lower_left"], atol=1e-3)
    assert ((wide["lid_lower_left"] - wide["lid_upper_left"])[:, 1] > rest[:, 1] + 1).all()


def test_a_turned_head_shows_its_nose_on_the_side_to_which_it_turns() -> None:
    ahead, turned = _points(), _points(yaw=20.0)
    nose = turned["nose_tip"][:, 0] - ahead["nose_tip"][:, 0]
    eyes = turned["nose_root"][:, 0] - ahead["nose_root"][:, 0]
    assert (nose > eyes + 1).all()
    up = _points(pitch=10.0)
    assert (up["nose_tip"][:, 1] < ahead["nose_tip"][:, 1]).all()


def test_roll_turns_the_line_of_the_eyes_by_its_angle() -> None:
    points = _points(roll=10.0)
    across = points["eye_outer_left"] - points["eye_outer_right"]
    angle = torch.rad2deg(torch.atan2(across[:, 1], across[:, 0]))
    assert angle.mean().item() == pytest.approx(10, abs=0.01)


def test_landmarks_scale_with_the_picture() -> None:
    identity, scene = _person()
    rest = torch.zeros(_COUNT, len(_UNITS))
    small = phantom.landmarks(identity, rest, scene, size=64)
    large = phantom.landmarks(identity, rest, scene, size=128)
    assert torch.allclose((small + 0.5) * 2, large + 0.5, atol=1e-3)


def test_pixels_look_where_landmarks_say_under_pose() -> None:
    # The nostrils are the darkest place of a face that has neither beard nor open mouth.
    identity, scene = _person()
    pose = torch.tensor([-20.0, -10, 0, 10, 15, 20])
    scene = replace(scene, yaw=pose, roll=pose / 2, pitch=pose / 3)
    zero = torch.zeros(_COUNT)
    identity = replace(identity, glasses=zero, fringe=zero)
    shut = torch.zeros(_COUNT, len(_UNITS))
    opened = shut.clone()
    opened[:, _UNITS.index(25)] = 5
    opened[:, _UNITS.index(26)] = 5
    change = (
        (
            phantom.render_rgb(identity, opened, scene, size=_SIZE).float()
            - phantom.render_rgb(identity, shut, scene, size=_SIZE).float()
        )
        .abs()
        .mean(1)
    )
    points = phantom.landmarks(identity, opened, scene, size=_SIZE)
    names = phantom.LANDMARK_NAMES
    middle = (
        points[:, names.index("lip_upper_bottom")] + points[:, names.index("lip_lower_top")]
    ) / 2
    for at in range(_COUNT):
        column, row = middle[at].round().long().tolist()
        near = change[at, row - 3 : row + 4, column - 3 : column + 4].mean()
        assert near > 4 * change[at].mean()
