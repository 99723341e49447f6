"""What the phantom's two renderings promise: exact repetition, physics, visible AUs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cycada.data import phantom

_UNITS = phantom.PHANTOM_ACTION_UNITS


def _faces(count: int, seed: int = 0) -> tuple[phantom.Identity, Tensor, phantom.Scene]:
    generator = torch.Generator().manual_seed(seed)
    return (
        phantom.sample_identities(count, generator=generator),
        phantom.sample_intensities(count, domain="rgb", generator=generator),
        phantom.sample_scenes(count, generator=generator),
    )


def _frontal(scene: phantom.Scene) -> phantom.Scene:
    zero = torch.zeros(len(scene))
    still = torch.zeros(len(scene), 2)
    return replace(scene, yaw=zero, pitch=zero, roll=zero, scale=zero + 1, shift=still, focus=zero)


def _bare(count: int, seed: int = 0) -> tuple[phantom.Identity, phantom.Scene]:
    """Return faces that nothing hides, seen from the front."""
    identity, _, scene = _faces(count, seed)
    zero = torch.zeros(count)
    bare = replace(identity, glasses=zero, beard=zero, moustache=zero, fringe=zero)
    return bare, _frontal(scene)


def _showing(count: int, **levels: float) -> Tensor:
    intensities = torch.zeros(count, len(_UNITS))
    for name, level in levels.items():
        intensities[:, _UNITS.index(int(name.removeprefix("au")))] = level
    return intensities


def _read(image: Tensor, points: Tensor, *names: str) -> Tensor:
    """Return what ``(N, H, W)`` images show at the mean of the named landmarks."""
    at = torch.stack([points[:, phantom.LANDMARK_NAMES.index(name)] for name in names]).mean(0)
    column, row = at.round().long().clamp(0, image.shape[-1] - 1).unbind(1)
    return image[torch.arange(len(image)), row, column]


def test_the_same_generator_state_gives_the_same_bits() -> None:
    first, second = (phantom.render_pair(*_faces(3, seed=7), size=32) for _ in range(2))
    assert torch.equal(first.rgb, second.rgb)
    assert torch.equal(first.celsius, second.celsius)


def test_a_pair_equals_the_two_single_renderings() -> None:
    faces = _faces(3)
    pair = phantom.render_pair(*faces, size=48)
    assert torch.equal(pair.rgb, phantom.render_rgb(*faces, size=48))
    assert torch.equal(pair.celsius, phantom.render_celsius(*faces, size=48))


def test_a_face_looks_the_same_whatever_else_is_in_its_batch() -> None:
    identity, intensities, scene = _faces(11)
    whole = phantom.render_pair(identity, intensities, scene, size=64)
    alone = phantom.render_pair(identity.take([9]), intensities[9:10], scene.take([9]), size=64)
    torch.testing.assert_close(whole.celsius[9:10], alone.celsius, atol=1e-4, rtol=0)
    assert (whole.rgb[9:10].int() - alone.rgb.int()).abs().max() <= 1


@pytest.mark.parametrize("size", [32, 64, 128])
def test_pictures_have_the_promised_shape_type_and_range(size: int) -> None:
    pair = phantom.render_pair(*_faces(2), size=size)
    assert pair.rgb.shape == (2, 3, size, size)
    assert pair.rgb.dtype == torch.uint8
    assert pair.celsius.shape == (2, size, size)
    assert pair.celsius.dtype == torch.float32
    assert pair.celsius.isfinite().all()
    assert pair.celsius.min() > 15
    assert pair.celsius.max() < 38


def test_no_faces_give_empty_pictures() -> None:
    pair = phantom.render_pair(*_none(), size=16)
    assert pair.rgb.shape == (0, 3, 16, 16)
    assert pair.celsius.shape == (0, 16, 16)


def _none() -> tuple[phantom.Identity, Tensor, phantom.Scene]:
    identity, intensities, scene = _faces(1)
    return identity.take([]), intensities[:0], scene.take([])


def test_a_large_picture_is_the_small_one_seen_closer() -> None:
    identity, intensities, scene = _faces(4)
    scene = replace(scene, noise=torch.zeros(4))
    large = phantom.render_rgb(identity, intensities, scene, size=128).float()
    small = phantom.render_rgb(identity, intensities, scene, size=64).float()
    shrunk = torch.nn.functional.avg_pool2d(large, 2)
    assert (shrunk - small).abs().mean() < 3


def test_skin_temperatures_are_those_of_the_literature() -> None:
    identity, scene = _bare(40)
    intensities = _showing(40)
    celsius = phantom.render_celsius(identity, intensities, scene, size=128)
    points = phantom.landmarks(identity, intensities, scene, size=128)
    brow = _read(celsius, points, "brow_inner_left", "brow_inner_right")
    canthus = _read(celsius, points, "eye_inner_left")
    nose = _read(celsius, points, "nose_tip")
    forehead = celsius[:, 20, 64]
    assert forehead[identity.hair_line < -6].mean() == pytest.approx(33.4, abs=0.5)
    assert canthus.mean() == pytest.approx(34.3, abs=0.5)
    assert (nose < canthus).all()
    assert (brow < canthus).all()
    assert celsius[:, :3, :3].mean() < 27


def test_glasses_are_cold_and_hide_the_eyes_only_in_thermal() -> None:
    identity, scene = _bare(6)
    worn = replace(identity, glasses=torch.ones(6))
    opened, closed = _showing(6), _showing(6, au43=5)
    points = phantom.landmarks(worn, opened, scene, size=96)
    pair = [phantom.render_pair(worn, eyes, scene, size=96) for eyes in (opened, closed)]
    lids = ("lid_upper_left", "lid_lower_left")
    assert (_read(pair[0].celsius, points, *lids) < 29).all()
    change = _read(pair[0].celsius, points, *lids) - _read(pair[1].celsius, points, *lids)
    assert change.abs().max() < 0.05
    seen = [_read(each.rgb.float().mean(1), points, *lids) for each in pair]
    assert (seen[0] - seen[1]).abs().mean() > 20


def test_breathing_out_warms_the_nostrils_and_nothing_else() -> None:
    identity, scene = _bare(8)
    still = _showing(8)
    out, inward = (
        phantom.render_celsius(
            identity, still, replace(scene, breathing_phase=torch.full((8,), phase)), size=64
        )
        for phase in (torch.pi / 2, -torch.pi / 2)
    )
    points = phantom.landmarks(identity, still, scene, size=64)
    swing = out - inward
    at_nose = _read(swing, points, "nose_base")
    assert (at_nose > 0.1).all()
    assert (at_nose < 2.5).all()
    assert _read(swing, points, "brow_inner_left").abs().max() < 1e-4


def test_the_open_mouth_is_dark_in_rgb_and_warm_in_thermal() -> None:
    identity, scene = _bare(12, seed=3)
    wide = _showing(12, au25=5, au26=5)
    points = phantom.landmarks(identity, wide, scene, size=96)
    pair = phantom.render_pair(identity, wide, scene, size=96)
    lips = ("lip_lower_top", "lip_upper_bottom")
    inside = _read(pair.celsius, points, *lips)
    cheek = _read(pair.celsius, points, "nose_wing_left", "mouth_corner_left")
    assert inside.mean() == pytest.approx(35, abs=0.6)
    assert (inside > cheek).all()


@pytest.mark.parametrize("number", _UNITS)
def test_every_action_unit_is_seen_in_both_renderings_and_grows_with_intensity(number: int) -> None:
    identity, scene = _bare(4, seed=number)
    scene = replace(scene, noise=torch.zeros(4))
    levels = []
    for level in (0.0, 1.0, 2.0, 5.0):
        intensities = _showing(4, **{f"au{number}": level})
        levels.append(phantom.render_pair(identity, intensities, scene, size=64))
    rest = levels[0]
    rgb = [(each.rgb.float() - rest.rgb.float()).abs().mean() for each in levels[1:]]
    heat = [(each.celsius - rest.celsius).abs().mean() for each in levels[1:]]
    assert 0.05 < rgb[0] < rgb[1] < rgb[2]
    assert 0.0008 < heat[0] < heat[1] < heat[2]
    assert (levels[-1].celsius - rest.celsius).abs().amax(dim=(1, 2)).min() > 0.2


def test_action_units_stay_in_their_half_of_the_face() -> None:
    identity, scene = _bare(4)
    rest = phantom.render_celsius(identity, _showing(4), scene, size=64)
    brow = phantom.render_celsius(identity, _showing(4, au1=5, au2=5), scene, size=64)
    mouth = phantom.render_celsius(identity, _showing(4, au24=5), scene, size=64)
    assert (brow - rest)[:, 40:].abs().max() < 1e-3
    assert (mouth - rest)[:, :28].abs().max() < 1e-3
