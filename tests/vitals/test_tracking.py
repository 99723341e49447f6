"""Faces are found, followed and lost; what is read of them is what happens at nose and mouth."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch

from cycada.data.phantom.anatomy import LANDMARK_NAMES, landmarks
from cycada.data.phantom.expression import PHANTOM_ACTION_UNITS
from cycada.data.phantom.identity import sample_identities
from cycada.data.phantom.render import render_celsius
from cycada.data.phantom.scene import sample_scenes
from cycada.vitals.face_pattern import fitted
from cycada.vitals.registration import Pattern, Pose
from cycada.vitals.tracking import PARTS, FaceTracker, pose_of_landmarks

SIZE, FRAMES, FPS = 100, 90, 9.0


class Film(NamedTuple):
    celsius: torch.Tensor  # (T, H, W)
    landmarks: list[dict[str, tuple[float, float]]]
    flow: np.ndarray  # (T,)

    def box(self, at: int = 0) -> tuple[float, float, float, float]:
        """Return a box as finders give it: a little off."""
        points = self.landmarks[at]
        x, top = points["nose_root"]
        height = (points["chin"][1] - top) / 0.67
        return x - 0.4 * height + 2, top - 0.33 * height - 3, 0.8 * height, height


@cache
def film(seed: int = 3, *, glasses: bool = False, breathing: bool = True) -> Film:
    """Return ten seconds of a phantom whose head turns and goes to and fro."""
    draw = torch.Generator().manual_seed(seed)
    person = sample_identities(1, generator=draw)
    person = dataclasses.replace(person, glasses=torch.tensor([float(glasses)]))
    person = person.take([0] * FRAMES)
    times = torch.arange(FRAMES) / FPS
    scene = sample_scenes(1, generator=draw).take([0] * FRAMES)
    phase = 2 * torch.pi * times * 18 / 60
    scene = dataclasses.replace(
        scene,
        yaw=5 * torch.sin(2 * torch.pi * times / 7), roll=2 * torch.sin(2 * torch.pi * times / 9),
        pitch=torch.zeros(FRAMES), scale=torch.full((FRAMES,), 0.8),
        shift=torch.stack([torch.sin(2 * torch.pi * times / 6), 0.1 * times], dim=1),
        breathing_phase=phase, breathing_depth=torch.full((FRAMES,), 0.7 * breathing),
        seed=torch.arange(FRAMES),
    )  # fmt: skip
    still = torch.zeros(FRAMES, len(PHANTOM_ACTION_UNITS))
    points = landmarks(person, still, scene, size=SIZE)
    named = [
        {name: (float(x), float(y)) for name, (x, y) in zip(LANDMARK_NAMES, each, strict=True)}
        for each in points
    ]
    return Film(render_celsius(person, still, scene, size=SIZE), named, phase.sin().numpy())


def nose_of(tracker: FaceTracker, points: dict[str, tuple[float, float]]) -> tuple[float, float]:
    """Return where the nose's base is in the face that is followed, heights of the face."""
    assert tracker._face is not None
    return tracker._face.nose.to_face(*points["nose_base"])


@pytest.mark.parametrize("glasses", [False, True])
def test_the_nose_is_found_and_followed_through_turns(glasses: bool) -> None:
    shown = film(glasses=glasses)
    tracker, where = FaceTracker(), []
    for at, frame in enumerate(shown.celsius):
        tracker.see(frame, box=shown.box() if at == 0 else None)
        where.append(nose_of(tracker, shown.landmarks[at]))
    u, v = np.array(where).T
    assert np.abs(u).max() < 0.05
    assert np.abs(v - 0.27).max() < 0.06
    assert u[20:].std() < 0.01  # of a face whose nose moves by 0.2 of its height
    assert v[20:].std() < 0.01


def test_the_nostrils_follow_the_air_and_the_forehead_does_not() -> None:
    shown = film()
    tracker = FaceTracker()
    seen = [
        tracker.see(frame, box=shown.box() if at == 0 else None)
        for at, frame in enumerate(shown.celsius)
    ]
    nostrils, forehead = (
        np.array([each[name] for each in seen]) for name in ("nostrils", "face 2")
    )
    assert np.corrcoef(nostrils[15:], shown.flow[15:])[0, 1] > 0.9
    assert abs(np.corrcoef(forehead[15:], shown.flow[15:])[0, 1]) < 0.5
    assert 30 < nostrils.mean() < 36  # deg C


def test_landmarks_place_a_face_and_make_a_box_needless() -> None:
    shown = film()
    tracker = FaceTracker()
    tracker.see(shown.celsius[0], shown.landmarks[0])
    u, v = nose_of(tracker, shown.landmarks[0])
    assert (u, v) == pytest.approx((0, 0.27), abs=0.02)


def test_a_face_by_landmarks_has_its_eyes_nose_and_angle() -> None:
    points = {"eye_right": (40.0, 50.0), "eye_left": (60.0, 50.0), "nose_base": (50.0, 66.2)}
    pose = pose_of_landmarks(points)
    assert pose == pytest.approx((50, 50, 60, 0))
    turned = pose_of_landmarks({"eye_right": (50.0, 40.0), "eye_left": (50.0, 60.0)})
    assert turned is not None
    assert turned.angle == pytest.approx(math.pi / 2)
    assert turned.height == pytest.approx(50)
    assert pose_of_landmarks({"eye_right": (40.0, 50.0)}) is None
    assert pose_of_landmarks({"eye_right": (40.0, 50.0), "eye_left": (40.0, 50.0)}) is None


def test_nothing_is_read_before_a_face_is_found() -> None:
    tracker = FaceTracker()
    seen = tracker.see(film().celsius[0])
    assert tuple(seen) == PARTS
    assert all(math.isnan(value) for value in seen.values())
    assert tracker.box is None
    assert tracker.lost == "no face yet"


def test_a_repeated_frame_is_not_seen_and_loses_nothing() -> None:
    shown = film()
    tracker = FaceTracker()
    tracker.see(shown.celsius[0], box=shown.box())
    assert tracker.lost == ""
    seen = tracker.see(shown.celsius[0].clone())
    assert all(math.isnan(value) for value in seen.values())
    assert tracker.lost == "the camera repeats a frame"
    assert not math.isnan(tracker.see(shown.celsius[1])["nostrils"])
    assert tracker.lost == ""


def test_a_shutter_that_shifts_the_level_moves_nothing() -> None:
    shown = film()
    plain, shifted = FaceTracker(), FaceTracker()
    for at in range(30):
        frame, box = shown.celsius[at], shown.box() if at == 0 else None
        one = plain.see(frame, box=box)
        other = shifted.see(frame + (0.8 if at > 10 else 0.0), box=box)
    assert plain.box is not None
    assert shifted.box == pytest.approx(plain.box, abs=0.05)
    assert other["nostrils"] == pytest.approx(one["nostrils"] + 0.8, abs=0.02)


def test_a_face_that_leaves_is_lost_and_found_again_by_the_next_box() -> None:
    shown = film()
    tracker = FaceTracker()
    tracker.see(shown.celsius[0], box=shown.box())
    room = 21 + 0.05 * torch.randn(30, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    for frame in room:
        seen = tracker.see(frame)
        assert all(math.isnan(value) for value in seen.values())
    assert tracker.box is None
    assert tracker.lost == "the face left, turned away or is hidden"
    seen = tracker.see(shown.celsius[40], box=shown.box(40))
    assert not math.isnan(seen["nostrils"])


def test_a_face_that_leaves_slowly_does_not_become_what_is_behind_it() -> None:
    shown = film()
    tracker = FaceTracker()
    tracker.see(shown.celsius[0], box=shown.box())
    still = shown.celsius[1]
    draw = torch.Generator().manual_seed(2)
    wall = 21 + 0.2 * torch.sin(torch.arange(SIZE) / 9) * torch.sin(torch.arange(SIZE) / 7)[:, None]
    for at in range(80):  # it pales before a wall, like a face that goes out of focus
        frame = torch.lerp(still, wall, min(at / 60, 1.0))
        tracker.see(frame + 0.01 * torch.randn(SIZE, SIZE, generator=draw))
    assert tracker.box is None


def test_a_face_that_jumps_is_found_where_it_went() -> None:
    shown = film()
    tracker = FaceTracker()
    for at in range(5):
        tracker.see(shown.celsius[at], box=shown.box() if at == 0 else None)
    before = tracker.box
    # 18 px at once; what comes in at the edge is room.
    tracker.see(torch.roll(shown.celsius[5], 18, dims=1))
    after = tracker.box
    assert before is not None
    assert after is not None
    assert after.left - before.left == pytest.approx(18, abs=1)


def test_one_box_elsewhere_is_not_believed_and_two_are() -> None:
    shown = film()
    tracker = FaceTracker()
    tracker.see(shown.celsius[0], box=shown.box())
    left, top, width, height = shown.box()
    elsewhere = (left + 0.6 * height, top, width, height)
    tracker.see(shown.celsius[1], box=elsewhere)
    assert tracker.box is not None
    assert tracker.box.left == pytest.approx(left, abs=0.15 * height)
    tracker.see(shown.celsius[2], box=elsewhere)
    assert tracker.box is not None
    assert tracker.box.left > left + 0.2 * height


@pytest.mark.parametrize("fps", [4, 9, 30])
@pytest.mark.parametrize(("hides", "followed"), [(0.8, True), (1.4, False)])
def test_for_how_long_a_face_may_hide_does_not_depend_on_the_frame_rate(
    fps: int, hides: float, followed: bool
) -> None:
    shown, tracker = film(), FaceTracker()
    draw = torch.Generator().manual_seed(1)
    for at in range(round(3.5 * fps)):
        seconds = at / fps
        frame = (
            torch.full_like(shown.celsius[0], 24)
            if 1 <= seconds < 1 + hides
            else (shown.celsius[0])
        )
        tracker.see(
            frame + 0.03 * torch.randn(frame.shape, generator=draw),
            box=shown.box() if at == 0 else None, seconds=seconds,
        )  # fmt: skip
    assert (tracker.box is not None) == followed


def test_a_shutter_that_closes_for_long_does_not_count_as_hiding() -> None:
    shown, tracker = film(), FaceTracker()
    tracker.see(shown.celsius[0], box=shown.box(), seconds=0.0)
    hidden = torch.full_like(shown.celsius[0], 24)
    tracker.see(hidden, seconds=0.1)
    tracker.see(hidden.clone(), seconds=3.0)
    tracker.see(hidden + 0.01, seconds=3.1)
    assert tracker.box is not None
    assert not math.isnan(tracker.see(shown.celsius[1], seconds=3.2)["nostrils"])


@pytest.mark.parametrize("fps", [9, 30])
def test_a_face_learns_as_often_a_second_at_every_frame_rate(
    fps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, tracker, learned = film(), FaceTracker(), []
    learn = Pattern.learn

    def counted(self: Pattern, *given: object, share: float) -> None:
        learned.append(share)
        learn(self, *given, share=share)  # type: ignore[arg-type]

    monkeypatch.setattr(Pattern, "learn", counted)
    draw = torch.Generator().manual_seed(1)
    for at in range(4 * fps + 1):
        frame = shown.celsius[0] + 0.03 * torch.randn(SIZE, SIZE, generator=draw)
        tracker.see(frame, shown.landmarks[0] if at == 0 else None, seconds=at / fps)
    assert len(learned) == 2 * 3 * 4  # the face and its nose


def two() -> tuple[torch.Tensor, tuple[float, ...], tuple[float, float, float, float]]:
    """Return a frame with two people side by side, and their boxes."""
    one, other = film(), film(5)
    left, *rest = other.box()
    frame = torch.cat([one.celsius[0], other.celsius[0]], dim=1)
    return frame, one.box(), (left + SIZE, *rest)  # type: ignore[return-value]


@pytest.mark.parametrize(("boxes", "moves"), [(0, False), (1, False), (2, True)])
def test_while_the_face_hides_one_box_elsewhere_is_not_believed_and_two_are(
    boxes: int, moves: bool
) -> None:
    both, box, elsewhere = two()
    hidden = both.clone()
    hidden[:, :SIZE] = 24.0
    draw, tracker = torch.Generator().manual_seed(4), FaceTracker()
    for at in range(20):
        frame = hidden if at in (10, 11, 12) else both
        said = box if at == 0 else elsewhere if at in (10, 12)[:boxes] else None
        tracker.see(frame + 0.03 * torch.randn(frame.shape, generator=draw), box=said)
    assert tracker.lost == ""
    assert tracker.box is not None
    assert (tracker.box.left > SIZE) == moves


def test_a_face_that_looks_otherwise_is_followed_from_the_next_box_at_its_place() -> None:
    shown = film()
    tracker = FaceTracker()
    tracker.see(shown.celsius[0], box=shown.box())
    tracker.see(60 - shown.celsius[1])
    assert tracker.lost
    tracker.see(60 - shown.celsius[2], box=shown.box())
    assert not tracker.lost


def test_a_part_beyond_the_edge_of_the_frame_is_not_seen() -> None:
    shown = film()
    tracker = FaceTracker()
    left, top, width, height = shown.box()
    cut = int(top + 0.8 * height)  # above the chin
    seen = tracker.see(shown.celsius[0][:cut], box=(left, top, width, height))
    assert math.isnan(seen["face 17"])
    assert not math.isnan(seen["nostrils"])


def test_a_large_frame_around_the_face_changes_nothing() -> None:
    shown = film()
    left, top, width, height = shown.box()
    frame = torch.full((300, 400), 21.0)
    frame[150:250, 200:300] = shown.celsius[0]
    small = FaceTracker().see(shown.celsius[0], box=shown.box())
    large = FaceTracker().see(frame, box=(left + 200, top + 150, width, height))
    assert large["nostrils"] == pytest.approx(small["nostrils"], abs=0.02)


def test_the_pattern_of_a_face_is_most_like_a_face_at_its_place() -> None:
    shown = film()
    points = shown.landmarks[0]
    x, y = points["nose_root"]
    height = (points["chin"][1] - y) / 0.67
    found = fitted(shown.celsius[0].numpy(), Pose(x + 0.05 * height, y - 0.08 * height, height))
    assert found.pose.to_face(*points["nose_base"]) == pytest.approx((0, 0.27), abs=0.07)
    assert found.likeness > 0.25
