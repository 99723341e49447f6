"""Eyes, brows, nostrils and mouth as shares of each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from cycada.data.phantom.tensors import bump, column, cover, spot, step

if TYPE_CHECKING:
    from torch import Tensor

    from cycada.data.phantom.anatomy import Action, Anatomy
    from cycada.data.phantom.identity import Identity
    from cycada.data.phantom.outline import Place
    from cycada.data.phantom.scene import Scene

_IRIS = 0.62  # cm, radius


@dataclass(frozen=True, slots=True)
class Eyes:
    """Shares of each pixel, 0 to 1, ``(N, H, W)``."""

    brow: Tensor
    opening: Tensor
    iris: Tensor
    pupil: Tensor
    glint: Tensor
    lash: Tensor
    shade: Tensor  # shadow of the upper lid on the eyeball
    tear: Tensor  # pink corner near the nose
    fold: Tensor  # crease of the upper lid
    above: Tensor  # cm above the upper lid's edge
    below: Tensor  # cm below the lower lid's edge
    along: Tensor  # place across the eye, -1 inner corner to 1 outer corner


@dataclass(frozen=True, slots=True)
class Mouth:
    """Shares of each pixel, 0 to 1, ``(N, H, W)``."""

    red: Tensor
    gap: Tensor
    teeth: Tensor
    tongue: Tensor
    line: Tensor  # dark line where closed lips meet
    nostril: Tensor
    upper: Tensor  # cm inside the upper lip's red part
    lower: Tensor  # cm inside the lower lip's red part
    under: Tensor  # cm below the lower lip
    over: Tensor  # cm above the upper lip
    along: Tensor  # |u| in units of the corner's


def eyes(place: Place, identity: Identity, *, face: Anatomy, act: Action, scene: Scene) -> Eyes:
    """Return eyes and brows."""
    side, v, pixel = place.side, place.v, place.pixel
    along = (side - face.eye) / face.eye_half
    arc = (1 - along * along).clamp(min=0)
    round_arc = arc * (1.3 - 0.3 * arc)
    axis = -column(identity.eye_tilt) * along
    # Lowered lids are flat, raised ones are round; a tightened lower lid is straight.
    upper = axis - face.lid_upper * (0.6 * round_arc + 0.4 * arc)
    lower = axis + face.lid_lower * (arc + 0.3 * act[7] * (1 - arc) * (along.abs() < 1))
    above, below = upper - v, v - lower
    inner = torch.minimum(-above, -below)
    within = cover((1 - along.abs()) * face.eye_half, pixel)
    opening = cover(inner - 0.3 * pixel, pixel) * within

    gaze_u = column(scene.gaze[:, 0]) * torch.sign(place.u)
    radius = ((side - face.eye - gaze_u) ** 2 + (v + 0.1 - column(scene.gaze[:, 1])) ** 2).sqrt()
    iris = cover(_IRIS - radius, pixel)
    pupil = cover(0.25 - radius, pixel)
    glint = spot((place.u - torch.sign(place.u) * face.eye + 0.2) / 0.15, (v + 0.32) / 0.15)

    edge = cover((1.08 - along.abs()) * face.eye_half, pixel * 2)
    lash = bump(above + 0.03, 0.07 + 0.5 * pixel) * edge * (0.16 / (0.16 + 0.5 * pixel)).sqrt()
    lash = lash * (0.55 + 0.45 * step(along + 0.2, 1.5))
    low_lash = bump(below, 0.06 + 0.4 * pixel) * edge * 0.25
    fold_v = axis - (face.lid_rest + 0.3) * arc.sqrt() - 0.12 + 0.25 * act[4] * (1 - along) * 0.3
    seen = step(above + 0.05, 0.3) * (1 - 0.6 * act[43]) * (1 - 0.6 * act[5])
    fold = bump(v - fold_v, 0.09 + 0.3 * pixel) * edge * seen * column(identity.lid_fold)
    shade = step(0.28 + above, 0.5)
    tear = spot((along + 0.95) / 0.16, (v - axis - 0.05) / 0.2)
    brow = _brow(place, identity, face, act)
    return Eyes(
        brow=brow,
        opening=opening,
        iris=iris,
        pupil=pupil,
        glint=glint,
        lash=torch.maximum(lash, low_lash),
        shade=shade,
        tear=tear,
        fold=fold,
        above=above,
        below=below,
        along=along,
    )


def _brow(place: Place, identity: Identity, face: Anatomy, act: Action) -> Tensor:
    line, along = face.brow_line(place.side, identity, act=act)
    inside = along.clamp(0, 1)
    half = column(identity.brow_thickness) * (1 - 0.65 * inside * inside)
    body = step(half - (place.v - line).abs(), 0.22 + place.pixel)
    ends = step(along + 0.02, 0.10) * step(1.02 - along, 0.14)
    return body * ends * column(identity.brow_strength)


def mouth(place: Place, face: Anatomy, *, act: Action) -> Mouth:
    """Return lips, teeth, the mouth's inside and the nostrils."""
    side, v, pixel = place.side, place.v, place.pixel
    along = side / face.corner_u
    s2 = (along * along).clamp(max=1)
    arc = 1 - s2
    full = arc * (1.35 - 0.35 * arc)
    wide = (face.part / 1.6).clamp(max=1)  # a wide mouth is an oval, a narrow one a slit
    bend = s2 * (0.55 - 0.5 * wide + (0.45 + 0.5 * wide) * s2)
    line = face.mouth_v + (face.corner_v - face.mouth_v) * bend + face.hook * s2 * s2 * s2
    bow = 1 - 0.22 * bump(along, 0.14) - 0.12 * along.clamp(max=1)
    top = line - face.red_upper * full * bow
    inner_low = line + face.part * arc * (1 + (0.1 + 0.6 * wide) * s2)
    bottom = inner_low + face.red_lower * full

    over, under = top - v, v - bottom
    upper = torch.minimum(-over, line - v)
    lower = torch.minimum(v - inner_low, -under)
    inside = torch.minimum(v - line, inner_low - v)
    width = cover(face.corner_u - side, pixel)
    gap = cover(inside - 0.5 * pixel, pixel) * width
    red = (cover(upper, pixel) + cover(lower, pixel)).clamp(max=1) * width * (1 - gap)
    upper_teeth = step(face.teeth_v - v - 0.10 * s2, 0.12)
    lower_teeth = step(v - (face.teeth_v + 0.25 + 1.05 * face.jaw), 0.15) * 0.8
    near = step(1.02 - along, 0.35)
    teeth = torch.maximum(upper_teeth, lower_teeth) * near * gap
    tongue = spot(side / 1.7, (v - inner_low + 0.1) / 0.75) * gap * (1 - teeth)
    dark = bump(v - line, 0.07 + 0.35 * pixel) * cover(face.corner_u + 0.12 - side, pixel * 2)
    dark = dark * (0.1 / (0.1 + 0.25 * pixel)).sqrt() * (1 - gap)

    nose = v - face.nose_base
    hole_u = (side - 0.42 * face.wing) / (0.36 * face.nostril)
    hole_v = (nose + 0.10 + 0.16 * act[38]) / (0.16 * face.nostril**0.8)
    slant = hole_v + 0.35 * hole_u
    nostril = step(1 - (hole_u * hole_u + slant * slant), 1.2)
    return Mouth(
        red=red,
        gap=gap,
        teeth=teeth,
        tongue=tongue,
        line=dark,
        nostril=nostril,
        upper=upper,
        lower=lower,
        under=under,
        over=over,
        along=along,
    )
