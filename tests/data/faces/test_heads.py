"""Heads on temperature maps that are drawn here, so that their places are known."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from cycada.data import phantom
from cycada.data.faces.choose import choose_faces
from cycada.data.faces.geometry import FacePlace, Found
from cycada.data.faces.heads import find_heads

Map = NDArray[np.float32]
SIZES = [(160, 120), (120, 160), (240, 320), (480, 640), (206, 331)]
SURE = 0.5


class Room:
    """A map of deg C to draw people and things into."""

    def __init__(self, height: int, width: int, *, seed: int = 0) -> None:
        self.draw = np.random.default_rng(seed)
        self.y, self.x = np.mgrid[:height, :width].astype(np.float64)
        self.heat = 22 + 1.5 * self.x / width + 0.5 * self.y / height

    def ellipse(self, x: float, y: float, half: float, tall: float, heat: float) -> None:
        self.heat[((self.x - x) / half) ** 2 + ((self.y - y) / tall) ** 2 < 1] = heat

    def box(self, x: float, y: float, wide: float, tall: float, heat: float) -> None:
        self.heat[(abs(self.x - x) < wide / 2) & (abs(self.y - y) < tall / 2)] = heat

    def person(self, x: float, y: float, half: float, *, glasses: bool = False) -> None:
        """Draw a head of half width ``half`` around a point, with neck, shoulders and clothes."""
        self.box(x, y + 2.0 * half, 1.1 * half, 1.6 * half, 33.5)
        self.ellipse(x, y + 5.2 * half, 2.6 * half, 2.9 * half, 28.0)
        self.ellipse(x, y, half, 1.3 * half, 33.5)
        inside = ((self.x - x) / half) ** 2 + ((self.y - y) / (1.3 * half)) ** 2 < 0.9
        blotches = ndimage.gaussian_filter(self.draw.standard_normal(self.x.shape), half / 5)
        self.heat[inside] += 0.7 * (blotches / blotches.std())[inside]
        self.ellipse(x, y + 0.3 * half, 0.2 * half, 0.3 * half, 31.0)  # nose
        for side in (-0.4, 0.4):
            if glasses:
                self.ellipse(x + side * half, y - 0.1 * half, 0.38 * half, 0.22 * half, 24.0)
            else:
                self.ellipse(x + side * half, y - 0.1 * half, 0.12 * half, 0.1 * half, 34.8)

    def reference(self, x: float, y: float, radius: float) -> None:
        """Draw a round reference body, warmer than skin, in its housing."""
        self.box(x, y - radius, 5 * radius, 7 * radius, 25.0)
        self.ellipse(x, y, radius, radius, 38.0)

    def seen(self) -> Map:
        """Return what a camera reports: blurred, with noise."""
        soft = ndimage.gaussian_filter(self.heat, 0.8)
        return (soft + 0.06 * self.draw.standard_normal(soft.shape)).astype(np.float32)


def sure(found: Found) -> list[FacePlace]:
    return [place for place in found.places if place.confidence >= SURE]


def check_face(place: FacePlace, x: float, y: float, half: float) -> None:
    """The face is as high as the drawn head, or less by its hair: about 2.6 half widths."""
    assert place.centre[0] == pytest.approx(x, abs=0.25 * half)
    assert place.centre[1] == pytest.approx(y, abs=0.6 * half)
    assert 2.0 * half < place.height < 3.4 * half


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("share", [0.1, 0.16])
def test_a_head_is_found_in_frames_of_many_sizes(shape: tuple[int, int], share: float) -> None:
    room, side = Room(*shape), min(shape)
    half = share * side
    x, y = 0.4 * shape[1], 0.35 * shape[0]
    room.person(x, y, half)
    room.reference(0.85 * shape[1], 0.6 * shape[0], 0.05 * side)
    (place,) = sure(find_heads(room.seen(), radiometric=True))
    check_face(place, x, y, half)
    assert place.angle == 0


@pytest.mark.parametrize("seed", range(6))
def test_glasses_and_place_do_not_matter(seed: int) -> None:
    draw = np.random.default_rng(seed)
    room = Room(160, 120, seed=seed)
    half, x, y = draw.uniform(11, 18), draw.uniform(35, 80), draw.uniform(40, 75)
    room.reference(10, 140, 6)
    room.person(x, y, half, glasses=seed % 2 == 0)
    (place,) = sure(find_heads(room.seen(), radiometric=True))
    check_face(place, x, y, half)


def test_two_heads_are_two_faces_the_larger_of_which_is_chosen() -> None:
    room = Room(160, 200)
    room.person(50, 50, 12)
    room.person(145, 60, 17)
    found = find_heads(room.seen(), radiometric=True)
    assert len(sure(found)) == 2
    first, second = choose_faces(found, (160, 200))[:2]
    assert first.place is not None
    check_face(first.place, 145, 60, 17)
    assert (first.reason, second.reason) == ("", "another face is larger")


def test_a_warm_forehead_is_no_head_of_its_own() -> None:
    room = Room(160, 120)
    room.person(50, 80, 30)
    room.ellipse(50, 57.5, 12.6, 11.4, 36.0)
    (place,) = sure(find_heads(room.seen(), radiometric=True))
    check_face(place, 50, 80, 30)


@pytest.mark.parametrize(("half", "heat", "wide"), [(9, 32.0, 3.0), (10, 31.0, 3.4)])
def test_a_large_chest_is_no_head(half: int, heat: float, wide: float) -> None:
    room = Room(160, 120)
    room.box(45, 60 + 2 * half, 1.1 * half, 1.6 * half, 33.0)
    room.ellipse(45, 60 + (1.2 + 1.3 * wide) * half, wide * half, 1.3 * wide * half, heat)
    folds = ndimage.gaussian_filter(room.draw.standard_normal(room.x.shape), 3)
    room.heat += np.where(room.heat > 30.5, 0.6 * folds / folds.std(), 0)
    room.ellipse(45, 60, half, 1.3 * half, 34.0)
    (place,) = sure(find_heads(room.seen(), radiometric=True))
    check_face(place, 45, 60, half)


def test_a_room_with_a_reference_body_and_a_lamp_shows_nobody() -> None:
    room = Room(160, 120)
    room.reference(90, 100, 7)
    room.box(30, 10, 40, 5, 29.0)
    found = find_heads(room.seen(), radiometric=True)
    assert not sure(found)
    (row,) = choose_faces(found, (160, 120))
    assert row.reason.startswith("no")


def test_an_even_wall_has_no_warm_region() -> None:
    assert find_heads(Room(120, 160).seen(), radiometric=True) == Found((), "no warm region")
    assert find_heads(np.full((50, 60), 7.0), radiometric=False) == Found((), "no warm region")


def test_what_is_as_hot_as_an_oven_is_no_head() -> None:
    room = Room(160, 120)
    room.person(60, 50, 15)
    hot = room.seen() + 40
    assert sure(find_heads(hot - 40, radiometric=True))
    assert not sure(find_heads(hot, radiometric=True))


def test_a_head_that_the_edge_cuts_is_told_so() -> None:
    room = Room(160, 120)
    room.person(2, 60, 16)
    (row,) = choose_faces(find_heads(room.seen(), radiometric=True), (160, 120))
    assert row.reason
    whole = Room(160, 120)
    whole.person(60, 60, 16)
    assert not choose_faces(find_heads(whole.seen(), radiometric=True), (160, 120))[0].reason


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_images_need_no_temperatures(dtype: type[np.generic]) -> None:
    room = Room(240, 206)
    room.person(100, 90, 30)
    heat = room.seen()
    high = 0.8 * np.iinfo(dtype).max
    grey = (high * (heat - heat.min()) / np.ptp(heat)).astype(dtype)
    (place,) = sure(find_heads(grey, radiometric=False))
    check_face(place, 100, 90, 30)


def test_a_face_on_a_cut_out_ground_of_black_is_found() -> None:
    room = Room(240, 206)
    room.person(100, 110, 45)
    head = ((room.x - 100) / 45) ** 2 + ((room.y - 110) / 58) ** 2 < 1
    grey = np.where(head, 20 * (room.seen() - 27) + 50, 0).clip(0, 255).astype(np.uint8)
    (place,) = sure(find_heads(grey, radiometric=False))
    check_face(place, 100, 110, 45)


@pytest.mark.parametrize("scale", [0.4, 0.6, 0.8])
def test_the_box_covers_the_face_of_a_phantom(scale: float) -> None:
    """Brows, eyes, nose and lips lie within it, the chin near its lower edge."""
    draw = torch.Generator().manual_seed(7)
    count = 24
    identity = phantom.sample_identities(count, generator=draw)
    scene = phantom.sample_scenes(count, generator=draw)
    scene = replace(scene, scale=scene.scale * scale)
    still = torch.zeros(count, 18)
    heats = phantom.render_celsius(identity, still, scene, size=160)
    places = phantom.landmarks(identity, still, scene, size=160)
    chin = phantom.LANDMARK_NAMES.index("chin")
    covered = 0
    for heat, points in zip(heats.numpy(), places.numpy(), strict=True):
        found = sure(find_heads(heat, radiometric=True))
        if not found:
            continue
        face = max(found, key=lambda place: place.height)
        across = (points[:, 0] - face.left) / face.width
        down = (points[:, 1] - face.top) / face.height
        inner = np.delete(down, chin)
        covered += bool(
            (across > -0.1).all() and (across < 1.1).all() and inner.min() > -0.05
            and inner.max() < 1 and 0.65 < down[chin] < 1.25
        )  # fmt: skip
    assert covered >= 0.85 * count  # large cold glasses part the face


def test_places_do_not_depend_on_the_size_of_the_frame() -> None:
    room = Room(480, 640)
    room.person(300, 200, 60)
    large = room.seen()
    small = large.reshape(120, 4, 160, 4).mean(axis=(1, 3))
    (one,), (two,) = (sure(find_heads(heat, radiometric=True)) for heat in (large, small))
    assert [(value + 0.5) / 4 - 0.5 for value in one.centre] == pytest.approx(two.centre, abs=1)
    assert one.height / 4 == pytest.approx(two.height, rel=0.07)


def test_a_small_face_of_a_large_frame_is_found_at_the_second_look() -> None:
    room = Room(480, 640)
    room.person(300, 200, 17)
    (place,) = sure(find_heads(room.seen(), radiometric=True))
    check_face(place, 300, 200, 17)


def test_a_frame_of_a_lepton_takes_a_few_hundredths_of_a_second() -> None:
    """13 to 17 ms of a core at best; the bound leaves room for busy and older ones."""
    room = Room(120, 160)
    room.person(60, 40, 14)
    heat = room.seen()
    find_heads(heat, radiometric=True)  # the filters are made once
    times = []
    for _ in range(8):
        started = time.process_time()
        find_heads(heat, radiometric=True)
        times.append(time.process_time() - started)
    assert min(times) < 0.06
