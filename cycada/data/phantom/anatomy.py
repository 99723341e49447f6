"""Where the features of a face lie, and how Action Units move them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from cycada.action_units import INTENSITY_MAX
from cycada.data.phantom.expression import PHANTOM_ACTION_UNITS
from cycada.data.phantom.pose import to_image
from cycada.data.phantom.tensors import bump, column, step

if TYPE_CHECKING:
    from torch import Tensor

    from cycada.data.phantom.identity import Identity
    from cycada.data.phantom.scene import Scene


class Action:
    """Response of the face to each AU: 0 at rest, 1 at intensity 5; ``(N, 1, 1)`` each."""

    def __init__(self, intensities: Tensor) -> None:
        """Take ``(N, 18)`` intensities from 0 to 5."""
        # Slightly concave: FACS grade B is already plain to see.
        response = (intensities.float() / INTENSITY_MAX).clamp(0, 1) ** 0.8
        self._columns = dict(zip(PHANTOM_ACTION_UNITS, response.unbind(1), strict=True))

    def __getitem__(self, number: int) -> Tensor:
        """Return the response of AU ``number``."""
        return column(self._columns[number])


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Positions and sizes of the moved features in the face frame, cm, ``(N, 1, 1)`` each."""

    brow_inner: Tensor  # u of the inner end
    brow_outer: Tensor
    brow_base: Tensor  # v at rest
    eye: Tensor  # u of the pupil's rest position
    eye_half: Tensor
    lid_upper: Tensor  # opening above the canthal line
    lid_lower: Tensor  # opening below it
    lid_rest: Tensor  # upper opening at rest, to which the lid fold belongs
    nose_base: Tensor  # v of the nostrils
    wing: Tensor  # u of the nasal wing's outer edge
    wing_v: Tensor
    nostril: Tensor  # size factor
    corner_u: Tensor  # mouth corner
    corner_v: Tensor
    corner_rest: Tensor  # u of the corner at rest
    mouth_v: Tensor  # v of the upper lip's lower edge at the midline
    teeth_v: Tensor  # v of the edge of the upper teeth, fixed to the skull
    part: Tensor  # opening between the lips at the midline
    red_upper: Tensor
    red_lower: Tensor
    jaw: Tensor  # drop of the jaw
    chin: Tensor
    hook: Tensor  # downward bend of the line between the lips near its ends

    def brow_line(self, u: Tensor, identity: Identity, *, act: Action) -> tuple[Tensor, Tensor]:
        """Return v of the brow's centre line at ``|u|``, and the place along it, 0 to 1."""
        along = (u - self.brow_inner) / (self.brow_outer - self.brow_inner)
        inner = bump(along + 0.05, 0.48)
        outer = step(along - 0.58, 0.62)
        arch = column(identity.brow_arch) * (1 - ((along - 0.62) / 0.62) ** 2)
        return (
            self.brow_base
            - arch
            + 0.12 * step(along - 0.8, 0.3)
            - (1.05 * act[1] - 0.72 * act[9]) * inner
            - 1.0 * act[2] * outer
            + act[4] * (0.72 - 0.25 * along)
            + 0.2 * act[6] * outer
            + 0.1 * act[9]
            - 0.15 * act[5]
        ), along


def anatomy(identity: Identity, act: Action) -> Anatomy:
    """Return the features of ``identity`` under the actions ``act``."""
    width = column(identity.mouth_width)
    jaw_free = act[25] / (act[25] + 0.12)  # closed lips hold the jaw
    jaw = 1.9 * act[26] * (0.5 + 0.5 * jaw_free)
    drop = jaw * jaw_free
    closing = act[43]
    upper = column(identity.eye_open) * (1 - 0.22 * act[7] - 0.2 * act[6] - 0.18 * act[9])
    upper = upper + 0.42 * act[5] - 0.12 * act[4]
    lower = 0.52 - 0.36 * act[7] - 0.26 * act[6] - 0.12 * act[9] - 0.1 * act[12]
    lower = lower.clamp(min=0.02)
    thin = (1 - 0.66 * act[23]) * (1 - 0.82 * act[24])
    stretch = 1 - 0.3 * act[20] - 0.28 * act[12]
    corner_u = width + 0.85 * act[12] + 0.95 * act[20] - 0.6 * act[23] - 0.2 * act[24]
    corner_u = corner_u + 0.15 * act[15] - 0.28 * drop
    lift = 0.55 * act[10] + 0.25 * act[9] + 0.12 * act[12]
    part = 0.6 * act[25] + drop * 0.85
    mouth_v = column(identity.mouth) - lift - 0.4 * act[17] + 0.12 * act[24] + 0.1 * drop
    mouth_v = mouth_v + 0.3 * jaw * (1 - jaw_free) - 0.2 * act[25] * (0.4 + act[12])
    rest = column(identity.mouth)
    return Anatomy(
        brow_inner=1.15 - 0.45 * act[4] - 0.15 * act[9],
        brow_outer=5.5 - 0.1 * act[4],
        brow_base=-column(identity.brow_height),
        eye=column(identity.eye_distance),
        eye_half=column(identity.eye_width),
        lid_upper=upper * (1 - closing) - lower * closing,
        lid_lower=lower,
        lid_rest=column(identity.eye_open),
        nose_base=column(identity.nose_length) - 0.28 * act[9] - 0.12 * act[10],
        wing=column(identity.nose_width) + 0.38 * act[38] + 0.12 * act[9] + 0.12 * act[12],
        wing_v=column(identity.nose_length) - 0.45 - 0.42 * act[9] - 0.2 * act[10] - 0.1 * act[38],
        nostril=1 + 0.7 * act[38] + 0.2 * act[9],
        corner_u=corner_u,
        corner_v=rest
        - column(identity.mouth_curve)
        - 1.0 * act[12]
        + 0.55 * act[15]
        + 0.22 * act[20]
        + 0.25 * act[17]
        + 0.45 * drop
        + 0.3 * jaw * (1 - jaw_free),
        corner_rest=width,
        mouth_v=mouth_v,
        teeth_v=rest + 0.34,
        part=part,
        red_upper=column(identity.lip_upper) * thin * stretch,
        red_lower=column(identity.lip_lower) * thin * stretch * (1 + 0.15 * act[17]),
        jaw=jaw,
        chin=column(identity.chin) + jaw - 0.3 * act[17],
        hook=0.65 * act[15] + 0.25 * act[17] - 0.1 * act[12],
    )


LANDMARK_NAMES: tuple[str, ...] = (
    "brow_inner_left", "brow_middle_left", "brow_outer_left",
    "eye_inner_left", "eye_outer_left", "lid_upper_left", "lid_lower_left",
    "nose_wing_left", "mouth_corner_left",
    "brow_inner_right", "brow_middle_right", "brow_outer_right",
    "eye_inner_right", "eye_outer_right", "lid_upper_right", "lid_lower_right",
    "nose_wing_right", "mouth_corner_right",
    "nose_root", "nose_tip", "nose_base",
    "lip_upper_top", "lip_upper_bottom", "lip_lower_top", "lip_lower_bottom", "chin",
)  # fmt: skip
"""Names of the points of :func:`landmarks`; left and right are the phantom's own."""

_PAIRED = 9


def landmarks(identity: Identity, intensities: Tensor, scene: Scene, *, size: int) -> Tensor:
    """Return where the named points of each face lie in its image.

    Args:
        identity: ``N`` persons.
        intensities: ``(N, 18)`` AU intensities.
        scene: ``N`` frames.
        size: Side of the image in pixels.

    Returns:
        ``(N, K, 2)`` x and y in pixels, the centre of the top left pixel being (0, 0), in the
        order of :data:`LANDMARK_NAMES`.
    """
    act = Action(intensities)
    face = anatomy(identity, act)
    brows = []
    for part in (0.0, 0.5, 1.0):
        place = face.brow_inner + part * (face.brow_outer - face.brow_inner)
        brows.append((place, face.brow_line(place, identity, act=act)[0]))
    tilt = column(identity.eye_tilt)
    paired = [
        *brows,
        (face.eye - face.eye_half, tilt),
        (face.eye + face.eye_half, -tilt),
        (face.eye, -face.lid_upper),
        (face.eye, face.lid_lower),
        (face.wing, face.wing_v),
        (face.corner_u, face.corner_v + face.hook),
    ]
    zero = torch.zeros_like(face.eye)
    opened = face.mouth_v + face.part
    middle = [
        (zero, zero - 0.2),
        (zero, face.nose_base - 0.6),
        (zero, face.nose_base),
        (zero, face.mouth_v - face.red_upper),
        (zero, face.mouth_v),
        (zero, opened),
        (zero, opened + face.red_lower),
        (zero, face.chin),
    ]
    points = [*paired, *((-u, v) for u, v in paired), *middle]
    u = torch.cat([point[0].flatten(1) for point in points], dim=1)
    v = torch.cat([point[1].flatten(1) for point in points], dim=1)
    return torch.stack(to_image(u, v, identity, scene, size=size), dim=2)
