"""From the faces found in a frame to the crops made of it, each with a reason if there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cycada.data.faces.geometry import MARGIN, FacePlace, Found, Square, square_of

Several = Literal["largest", "all", "refuse"]
"""What becomes of a frame with several usable faces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which of the found faces are used."""

    smallest: float = 24.0  # px of the height of a face: less shows no Action Unit
    confidence: float = 0.5  # least, 0 to 1
    outside: float = 0.1  # largest share of the face beyond the edge of the frame
    margin: float = MARGIN  # around the face in its crop, in its heights
    several: Several = "largest"


@dataclass(frozen=True, slots=True)
class Choice:
    """One face of a frame and what becomes of it, or a frame without a face."""

    face_id: int  # 0 is the largest usable face
    place: FacePlace | None  # None: no face was found
    square: Square | None  # around the face, whether it is cropped or not
    outside: float  # share of the square beyond the edge of the frame, where its edge is repeated
    reason: str  # why there is no crop; empty if there is to be one


def choose_faces(found: Found, shape: tuple[int, int], *, rule: Rule | None = None) -> list[Choice]:
    """Return what becomes of each face of a frame; at least one row, also without any face.

    What is too uncertain has no row, unless nothing is certain: then the best has one. Usable
    faces come first, the larger before the smaller, then the others in the same order: the
    largest is the nearest, who as a rule is the one recorded.

    Args:
        found: The faces, and the reason if there are none.
        shape: Height and width of the frame in px.
        rule: Which faces are used.
    """
    rule = rule or Rule()
    sure = [place for place in found.places if place.confidence >= rule.confidence]
    if not sure:
        return [_none(found, shape, rule)]
    judged = [(_fault(place, shape, rule), place) for place in sure]
    judged.sort(key=lambda pair: (bool(pair[0]), -pair[1].height, -pair[1].confidence))
    usable = sum(not fault for fault, _ in judged)
    choices = []
    for face_id, (fault, place) in enumerate(judged):
        reason = fault
        if not fault and usable > 1 and rule.several == "refuse":
            reason = f"{usable} faces"
        elif not fault and face_id and rule.several == "largest":
            reason = "another face is larger"
        square = square_of(place, margin=rule.margin)
        choices.append(Choice(face_id, place, square, square.outside(*shape), reason))
    return choices


def _none(found: Found, shape: tuple[int, int], rule: Rule) -> Choice:
    """Return the row of a frame in which nothing is surely a face."""
    if not found.places:
        return Choice(0, None, None, 0.0, found.reason or "no face found")
    best = max(found.places, key=lambda place: place.confidence)
    square = square_of(best, margin=rule.margin)
    reason = f"no face found (confidence {best.confidence:.2f} at best)"
    return Choice(0, best, square, square.outside(*shape), reason)


def _fault(place: FacePlace, shape: tuple[int, int], rule: Rule) -> str:
    """Return why a face cannot be used, empty if it can."""
    if place.height < rule.smallest:
        return f"smaller than {rule.smallest:g} px ({place.height:.0f} px high)"
    beyond = place.outside(*shape)
    if beyond > rule.outside:
        return f"cut off by the edge ({beyond:.0%} of the face outside)"
    return ""
