"""The height of the skin: bulges, and creases that Action Units press into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from cycada.data.phantom.pose import head_depth
from cycada.data.phantom.tensors import bump, column, ridges, spot, step

if TYPE_CHECKING:
    from torch import Tensor

    from cycada.data.phantom.anatomy import Action, Anatomy
    from cycada.data.phantom.features import Eyes, Mouth
    from cycada.data.phantom.identity import Identity
    from cycada.data.phantom.outline import Place


@dataclass(frozen=True, slots=True)
class Relief:
    """The relief of the skin, ``(N, H, W)``."""

    height: Tensor  # cm
    crease: Tensor  # depth of the furrows, about 0 to 1.5
    bulge: Tensor  # bunched or stretched skin, about 0 to 1
    fold: Tensor  # signed, positive on the cheek's side of the nasolabial furrow


def relief(
    place: Place, identity: Identity, *, face: Anatomy, act: Action, eye: Eyes, lips: Mouth
) -> Relief:
    """Return the relief of faces under the actions ``act``."""
    crease = (
        _forehead(place, face, act, identity)
        + _nose(place, face, act)
        + _eye(place, face, act=act, eye=eye, identity=identity)
        + _mouth(place, face, act, lips)
    )
    furrow, cheek_side = _nasolabial(place, identity, face, act)
    crease = crease + furrow
    bulge = _bulges(place, face, act, lips)
    fold = 0.75 * eye.fold
    height = (
        _base(place, identity, face=face, act=act, lips=lips)
        + 0.34 * bulge
        + cheek_side
        - 0.16 * crease
        - 0.08 * fold
    )
    return Relief(height=height, crease=crease, bulge=bulge, fold=fold)


def _base(place: Place, identity: Identity, *, face: Anatomy, act: Action, lips: Mouth) -> Tensor:
    """Return head, sockets, nose, cheeks, lips and chin."""
    u, v, side = place.u, place.v, place.side
    nose_depth = column(identity.nose_depth)
    length = column(identity.nose_length)
    height = head_depth(u, v, nose_depth=nose_depth, nose_length=length)
    rim = side / column(identity.half_width)
    rim2 = rim * rim
    height = height - 1.3 * rim2 * rim2 * rim2
    tip = spot(side / 0.95, (v - face.nose_base + 0.75) / 0.75)
    wing = spot((side - face.wing + 0.45) / 0.5, (v - face.wing_v) / 0.55)
    ridge = bump(side, 0.55) * bump(v - 1.8, 1.9)
    socket = spot((side - 2.6) / 1.7, (v + 0.55) / 1.05)
    ball = spot((side - face.eye) / 1.45, v / 0.95)
    brow = spot((side - 3.0) / 2.6, (v - face.brow_base) / 0.9)
    cheek = spot((side - 4.3) / 2.0, (v - 3.4 + 0.5 * act[6]) / 2.1)
    chin = spot(side / 1.9, (v - face.chin + 1.7) / 1.3)
    sulcus = spot(side / 1.9, (lips.under - 0.55) / 0.5)
    philtrum = bump(side, 0.22) * step(lips.over, 0.5) * step(v - face.nose_base - 0.3, 0.6)
    red = bump(lips.upper - 0.28, 0.3) * 0.24 + bump(lips.lower - 0.42, 0.42) * 0.38
    red = red * step(1 - lips.along, 0.7)
    barrel = spot(side / 3.2, (v - 7.0) / 2.6)
    return (
        height
        + 0.55 * tip
        + 0.62 * wing
        + 0.25 * ridge
        - 0.75 * socket
        + 0.42 * ball
        + 0.28 * brow
        + (0.35 + 0.3 * column(identity.chubby)) * cheek
        + 0.55 * chin
        - 0.22 * sulcus
        - 0.08 * philtrum
        + red
        + 0.45 * barrel
        - 0.5 * lips.nostril
    )


def _forehead(place: Place, face: Anatomy, act: Action, identity: Identity) -> Tensor:
    u, v, side = place.u, place.v, place.side
    lift = 0.5 * act[1] + 0.4 * act[2]
    wave = 0.18 * torch.sin(u * 1.1 + 6 * column(identity.hair_side)) + 0.5 * act[1] * bump(side, 2)
    phase = (v + lift + wave + 0.035 * side * side) / 0.95
    band = step(face.brow_base - 1.25 - lift - v, 0.8) * step(v + 6.8, 1.5)
    central, lateral = bump(side, 2.3), bump(side - 4.0, 1.5)
    strength = (
        (1.0 * act[1] + 0.25 * act[2]) * central
        + (1.0 * act[2]) * lateral
        + 0.18 * column(identity.age) * bump(side, 4.5)
    )
    lines = ridges(phase) * band * strength
    drawn = act[4] + 0.35 * act[9]
    glabella = bump(side - 0.55 + 0.06 * (v + 2.2), 0.2) * bump(v + 2.0 - 0.3 * act[4], 1.05)
    # Oblique brows (AU 1+4) push the central forehead lines into an arch (the omega sign).
    return lines + 1.15 * drawn * glabella


def _nose(place: Place, face: Anatomy, act: Action) -> Tensor:
    v, side = place.v, place.side
    root = ridges((v + 0.12 * side * side + 0.25) / 0.62) * bump(side, 0.95) * bump(v + 0.1, 0.85)
    bunny = ridges((v - 0.9 * side - 0.1) / 0.6) * spot((side - 1.15) / 0.65, (v - 1.3) / 1.15)
    around = ((side - face.wing + 0.45) ** 2 + (v - face.wing_v) ** 2).sqrt()
    wing = bump(around - 0.68, 0.16) * step(face.wing_v + 0.5 - v, 0.6) * step(side - 0.9, 0.5)
    return (
        act[9] * (1.1 * root + 1.0 * bunny)
        + 0.3 * act[4] * root
        + wing * (0.35 + 0.5 * act[9] + 0.3 * act[10] + 0.4 * act[38])
    )


def _eye(place: Place, face: Anatomy, *, act: Action, eye: Eyes, identity: Identity) -> Tensor:
    v, side = place.v, place.side
    outer = face.eye + face.eye_half
    away = side - outer + 0.55
    slope = (v - 0.05) / away.clamp(min=0.3)
    feet = ridges(slope / 0.52 + 0.1) * step(away - 0.75, 0.35) * step(2.5 - away, 0.9)
    feet = feet * step(1.1 - slope.abs(), 0.4)
    arc = 1 - (eye.along / 1.35) ** 2
    under = v - 0.95 + 0.2 * act[6] - 0.55 * arc
    bag = bump(under, 0.17) * step(arc, 0.5)
    tight = bump(eye.below - 0.34, 0.13) * step(1 - eye.along.abs(), 0.4)
    lines = 0.95 * act[6] + 0.18 * act[12] + 0.12 * act[9] + 0.12 * column(identity.age)
    return (
        feet * lines
        + bag * (0.95 * act[6] + 0.3 * act[9] + 0.2 * column(identity.age) + 0.1)
        + tight * (0.75 * act[7] + 0.3 * act[6])
    )


def _nasolabial(
    place: Place, identity: Identity, face: Anatomy, act: Action
) -> tuple[Tensor, Tensor]:
    """Return the furrow from the nasal wing past the mouth corner, and the cheek beside it."""
    v, side = place.v, place.side
    top = face.wing_v - 0.25
    end = face.corner_v + 0.55
    along = (v - top) / (end - top)
    t = along.clamp(-0.3, 1.3)
    bow = 0.35 * act[12] + 0.55 * act[10] + 0.3 * act[9]
    curve = (
        face.wing
        + 0.15
        + (face.corner_u + 0.6 + 0.25 * act[12] - face.wing) * t
        + bow * t * (1 - t) * 2.2
    )
    across = (side - curve) * 0.8
    window = step(along + 0.05, 0.3) * step(1.05 - along, 0.5)
    high = step(0.75 - along, 0.6)
    depth = (
        0.22
        + 0.25 * column(identity.age)
        + 0.95 * act[12]
        + 0.25 * act[6]
        + (1.0 * act[10] + 0.75 * act[9]) * high
        + 0.2 * act[20]
        - 0.1 * act[26] * act[25]
    )
    furrow = bump(across, 0.2) * window * depth * 0.85
    cheek = bump(across - 0.75, 0.75) * window * depth * step(across, 0.4)
    return furrow, 0.32 * cheek


def _mouth(place: Place, face: Anatomy, act: Action, lips: Mouth) -> Tensor:
    u, v, side = place.u, place.v, place.side
    beyond = side - face.corner_u
    fall = v - face.corner_v
    dimple = bump(beyond - 0.32 + 0.12 * fall * fall, 0.17) * bump(fall, 0.9)
    marionette = bump(beyond - 0.12 - 0.25 * fall, 0.2) * bump(fall - 1.0, 0.85)
    tense = ridges(u / 0.55 + 0.5) * step(face.corner_u - side, 1.2)
    tense = tense * (bump(lips.over - 0.35, 0.35) + 0.7 * bump(lips.under - 0.3, 0.35))
    rim = bump(lips.over - 0.12, 0.14) + bump(lips.under - 0.12, 0.16)
    rim = rim * step(face.corner_u + 0.1 - side, 0.5)
    chin_v = v - face.chin + 1.9
    warp = torch.sin(u * 2.3 + 1.7 * chin_v) + torch.sin(3.1 * chin_v - 1.3 * u)
    pebbles = torch.sin(u * 6.3 + 1.3 * warp) * torch.sin(chin_v * 6.6 + warp)
    pebbles = pebbles.clamp(min=0) * spot(side / 1.8, chin_v / 1.15)
    arch = bump(lips.under - 0.5 + 0.12 * side * side, 0.2) * step(2.3 - side, 1.0)
    lateral = bump(beyond - 0.75 + 0.06 * fall * fall, 0.2) * bump(fall - 0.4, 1.5)
    return (
        dimple * (0.45 * act[12] + 0.4 * act[20] + 0.2 * act[24])
        + marionette * (1.0 * act[15] + 0.2 * act[17])
        + tense * (0.32 * act[23])
        + rim * (0.45 * act[24] + 0.2 * act[23])
        + pebbles * 1.0 * act[17]
        + arch * (0.95 * act[17] + 0.25 * act[15] + 0.12)
        + lateral * 0.8 * act[20]
    )


def _bulges(place: Place, face: Anatomy, act: Action, lips: Mouth) -> Tensor:
    v, side = place.v, place.side
    cheek = spot((side - 4.0) / 1.6, (v - 2.9 + 0.3 * act[12]) / 1.25)
    lid = spot((side - face.eye) / 1.6, (v - 0.85) / 0.4)
    glabella = spot(side / 0.45, (v + 2.0 - 0.4 * act[4]) / 0.8)
    brow = spot((side - 1.9) / 1.2, (v - face.brow_base - 0.6) / 0.5)
    wing = spot((side - face.wing + 0.4) / 0.5, (v - face.wing_v) / 0.5)
    triangle = spot((side - 2.2) / 0.8, (v - face.wing_v + 0.6) / 1.0)
    pressed = bump(lips.over - 0.45, 0.4) + bump(lips.under - 0.4, 0.42)
    pressed = pressed * step(face.corner_u + 0.2 - side, 1.2)
    boss = spot(side / 1.5, (v - face.chin + 2.0) / 1.0)
    corner = spot((side - face.corner_u - 0.45) / 0.5, (v - face.corner_v) / 0.7)
    jowl = spot((side - face.corner_u - 0.1) / 0.6, (v - face.corner_v - 0.9) / 0.6)
    return (
        cheek * (0.95 * act[6] + 0.75 * act[12] + 0.25 * act[9])
        + lid * (0.6 * act[6] + 0.45 * act[7])
        + glabella * (0.9 * act[4])
        + brow * (0.6 * act[4] + 0.3 * act[9])
        + wing * (0.7 * act[38] + 0.3 * act[9])
        + triangle * (0.85 * act[10] + 0.6 * act[9])
        + pressed * (1.0 * act[24] + 0.35 * act[23])
        + boss * 1.25 * act[17]
        + corner * (0.5 * act[12] + 0.4 * act[20])
        + jowl * 0.9 * act[15]
    )
