"""Landmarks that programs number, under the names of this package.

Left and right are the person's own: the right eye is at the left of the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

Numbering = Mapping[str, tuple[int, ...]]
"""Name of a landmark -> numbers, from 0, of the points whose mean it is."""

_SIDES = (
    "brow_inner", "brow_middle", "brow_outer", "eye_inner", "eye_outer", "lid_upper", "lid_lower",
    "nose_wing", "mouth_corner",
)  # fmt: skip
_MIDDLE = (
    "nose_root", "nose_tip", "nose_base",
    "lip_upper_top", "lip_upper_bottom", "lip_lower_top", "lip_lower_bottom", "chin",
)  # fmt: skip


def _numbering(
    left: tuple[tuple[int, ...], ...], right: tuple[tuple[int, ...], ...], middle: tuple[int, ...]
) -> Numbering:
    named = {f"{name}_left": points for name, points in zip(_SIDES, left, strict=True)}
    named |= {f"{name}_right": points for name, points in zip(_SIDES, right, strict=True)}
    named |= {name: (point,) for name, point in zip(_MIDDLE, middle, strict=True)}
    return MappingProxyType(named)


NUMBERINGS: Mapping[int, Numbering] = MappingProxyType(
    {
        # iBUG 300-W, as OpenFace and py-feat count it from 0; a lid has two points.
        68: _numbering(
            left=((22,), (24,), (26,), (42,), (45,), (43, 44), (46, 47), (35,), (54,)),
            right=((21,), (19,), (17,), (39,), (36,), (37, 38), (40, 41), (31,), (48,)),
            middle=(27, 30, 33, 51, 62, 66, 57, 8),
        ),
        # The mesh of MediaPipe, which newer detectors of py-feat give; a brow has two rows.
        478: _numbering(
            left=((285, 336), (282, 334), (276, 300), (362,), (263,), (386,), (374,), (327,),
                  (291,)),
            right=((55, 107), (52, 105), (46, 70), (133,), (33,), (159,), (145,), (98,), (61,)),
            middle=(168, 1, 2, 0, 13, 14, 17, 152),
        ),
    }
)  # fmt: skip
"""By the number of points."""
