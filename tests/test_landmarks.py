from __future__ import annotations

import pytest

from cycada.landmarks import EYE_CORNERS, mirror_order, with_partners


def test_a_mirrored_face_swaps_left_and_right_and_keeps_the_middle() -> None:
    names = ("eye_left", "chin", "eye_right", "left_ear", "right_ear")
    assert mirror_order(names) == [2, 1, 0, 4, 3]
    assert mirror_order(EYE_CORNERS) == [2, 3, 0, 1]


def test_a_point_without_its_partner_is_named() -> None:
    with pytest.raises(KeyError, match="brow_left"):
        mirror_order(("brow_left", "chin"))


def test_points_of_one_side_are_left_out_and_those_of_the_middle_stay() -> None:
    names = ("chin", "eye_left", "left_ear", "eye_right", "brow_inner_right")
    assert with_partners(names) == ("chin", "eye_left", "eye_right")
