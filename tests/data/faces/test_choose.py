from __future__ import annotations

import pytest

from cycada.data.faces.choose import Rule, choose_faces
from cycada.data.faces.geometry import FacePlace, Found

SHAPE = (100, 200)
NEAR = FacePlace(20, 20, 40, 50, confidence=0.8)
FAR = FacePlace(120, 20, 24, 30, confidence=0.9)
TINY = FacePlace(150, 70, 8, 10, confidence=0.9)
VAGUE = FacePlace(90, 20, 40, 60, confidence=0.3)
CUT = FacePlace(180, 20, 40, 60, confidence=0.9)  # to 220, and the frame ends at 199.5


def reasons(*places: FacePlace, **rule: object) -> list[tuple[int, str]]:
    chosen = choose_faces(Found(places), SHAPE, rule=Rule(**rule))  # type: ignore[arg-type]
    return [(choice.face_id, choice.reason) for choice in chosen]


def test_the_largest_face_is_used_and_the_others_keep_a_row() -> None:
    chosen = choose_faces(Found((FAR, NEAR)), SHAPE)
    assert [choice.place for choice in chosen] == [NEAR, FAR]
    assert [choice.face_id for choice in chosen] == [0, 1]
    assert [choice.reason for choice in chosen] == ["", "another face is larger"]


def test_all_faces_are_used_or_none_if_so_wanted() -> None:
    assert reasons(FAR, NEAR, several="all") == [(0, ""), (1, "")]
    assert reasons(FAR, NEAR, several="refuse") == [(0, "2 faces"), (1, "2 faces")]
    assert reasons(FAR, TINY, several="refuse")[0] == (0, "")


def test_unusable_faces_come_last_with_their_reason() -> None:
    assert reasons(CUT, TINY, NEAR, several="all") == [
        (0, ""),
        (1, "cut off by the edge (51% of the face outside)"),
        (2, "smaller than 24 px (10 px high)"),
    ]


def test_what_is_uncertain_has_a_row_only_where_nothing_is_certain() -> None:
    assert reasons(VAGUE, NEAR) == [(0, "")]
    assert reasons(VAGUE, VAGUE) == [(0, "no face found (confidence 0.30 at best)")]
    assert reasons(VAGUE, confidence=0.2) == [(0, "")]


@pytest.mark.parametrize(("told", "reason"), [("no warm region",) * 2, ("", "no face found")])
def test_a_frame_without_a_face_has_one_row(told: str, reason: str) -> None:
    (choice,) = choose_faces(Found((), told), SHAPE)
    assert (choice.face_id, choice.place, choice.square, choice.reason) == (0, None, None, reason)


def test_the_margin_may_leave_the_frame_and_its_share_is_told() -> None:
    edge = FacePlace(-0.5, 20, 40, 50)
    (choice,) = choose_faces(Found((edge,)), SHAPE, rule=Rule(margin=0.5))
    assert choice.reason == ""
    assert choice.square is not None
    assert choice.square.side == 100
    # Around (19.5, 45) it reaches from -30.5 to 69.5, and from -5 to 95.
    assert choice.outside == pytest.approx(1 - 0.7 * 95.5 / 100)
