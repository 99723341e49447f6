"""Names of facial landmarks."""

from __future__ import annotations

from collections.abc import Sequence

EYE_CORNERS = ("eye_inner_left", "eye_outer_left", "eye_inner_right", "eye_outer_right")
"""The points that faces are aligned by; left and right are the person's own."""

_OTHER = {"left": "right", "right": "left"}


def mirror_order(names: Sequence[str]) -> list[int]:
    """Return the order in which a mirrored face has its points: left and right change places.

    Args:
        names: Of the points; ``left`` and ``right`` are words between underscores.

    Raises:
        KeyError: With the name of a point that has no partner.
    """
    order = []
    for name in names:
        swapped = _mirrored(name)
        if swapped not in names:
            raise KeyError(name)
        order.append(names.index(swapped))
    return order


def with_partners(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names but for those of one side whose partner on the other is missing."""
    return tuple(name for name in names if _mirrored(name) in names)


def _mirrored(name: str) -> str:
    return "_".join(_OTHER.get(part, part) for part in name.split("_"))
