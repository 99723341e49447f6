from __future__ import annotations

import pytest
import torch

from cycada.data import phantom
from cycada.data.faces.geometry import Square, crop_face, place_of_landmarks, square_of
from cycada.data.visibility import assessable, hidden_regions


def crops(*, glasses: int) -> torch.Tensor:
    """Return thermal crops of phantom faces that wear glasses, or none that does."""
    draw = torch.Generator().manual_seed(11)
    identity = phantom.sample_identities(60, generator=draw)
    rows = [n for n, worn in enumerate(identity.glasses.tolist()) if int(worn) == glasses][:8]
    what = (
        identity.take(rows),
        phantom.sample_intensities(len(rows), domain="thermal", generator=draw),
        phantom.sample_scenes(len(rows), generator=draw),
    )
    celsius = phantom.render_celsius(*what, size=96)
    points = phantom.landmarks(*what, size=96)
    made = []
    for heat, own in zip(celsius, points, strict=True):
        place = place_of_landmarks(
            {name: tuple(own[n].tolist()) for n, name in enumerate(phantom.LANDMARK_NAMES)}  # type: ignore[misc]
        )
        assert place is not None
        made.append(crop_face(heat[None], square_of(place), size=48))
    return torch.stack(made)


@pytest.mark.parametrize("scale", [1.0, 0.02])
def test_glasses_hide_the_eyes_and_nothing_else(scale: float) -> None:
    """Whatever the numbers are that warmth is told in, so long as warm is bright."""
    for crop in crops(glasses=1):
        hidden = hidden_regions(crop * scale - 3, None, None)
        assert "eye" in hidden
        assert hidden <= {"eye", "gaze"}
    for crop in crops(glasses=0):
        assert hidden_regions(crop * scale - 3, None, None) == frozenset()


def test_only_the_action_units_of_what_is_hidden_cannot_be_assessed() -> None:
    units = (1, 5, 6, 12, 43, 61)
    assert assessable(units, frozenset({"eye", "gaze"})) == [True, False, True, True, False, False]
    assert assessable(units, frozenset()) == [True] * 6


def test_what_lies_beyond_the_edge_of_the_frame_is_hidden() -> None:
    frame = torch.rand(3, 100, 100)
    cut = Square(x=50, y=90, side=64)  # the mouth is 20 px below its centre
    hidden = hidden_regions(crop_face(frame, cut, size=32), cut, (100, 100))
    assert {"mouth", "chin", "jaw"} <= hidden
    assert not {"brow", "eye", "nose"} & hidden
    inside = Square(x=50, y=50, side=64)
    assert not hidden_regions(crop_face(frame, inside, size=32), inside, (100, 100))


def test_a_turned_square_is_asked_where_its_points_really_are() -> None:
    frame = torch.rand(3, 100, 100)
    upside_down = Square(x=50, y=90, side=64, angle=180.0)  # its mouth is towards the top
    hidden = hidden_regions(crop_face(frame, upside_down, size=32), upside_down, (100, 100))
    assert "brow" in hidden
    assert not {"mouth", "chin"} & hidden
