"""Outlines of head, ears, neck, clothes, hair and glasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812

from cycada.data.phantom.tensors import bump, column, cover, step

if TYPE_CHECKING:
    from torch import Tensor

    from cycada.data.phantom.anatomy import Anatomy
    from cycada.data.phantom.identity import Identity

_CROWN = 10.6  # cm from the eyes to the top of the skull
_BELT = 0.6  # v of the widest part of the head


@dataclass(frozen=True, slots=True)
class Place:
    """Where every pixel looks: ``(N, H, W)`` face coordinates in cm."""

    u: Tensor
    v: Tensor
    side: Tensor  # |u|: the features of both halves are evaluated once
    pixel: Tensor  # (N, 1, 1) cm per pixel


@dataclass(frozen=True, slots=True)
class Outline:
    """Shares of each pixel, 0 to 1, ``(N, H, W)``; painted in this order."""

    hair_back: Tensor
    neck: Tensor
    clothes: Tensor
    ear: Tensor
    head: Tensor
    rim: Tensor  # cm inside the head's outline
    beard: Tensor
    moustache: Tensor
    hair: Tensor
    strands: Tensor  # texture of hair, about 0 +- 1
    lens: Tensor
    frame: Tensor


def outline(place: Place, identity: Identity, *, face: Anatomy) -> Outline:
    """Return the outlines of the faces of ``identity``."""
    v, side, pixel = place.v, place.side, place.pixel
    rim = _head_rim(place, identity, face)
    head = cover(rim, pixel)
    strands = _strands(place, identity)
    neck_side = 4.5 + 0.25 * bump(v - 13.5, 1.5) * 4
    neck = cover(torch.minimum(neck_side - side, v - 5), pixel * 2)
    collar = 13.1 + 0.05 * (side - 4) * side
    clothes = cover(v - torch.minimum(collar, 15.5 - 0.45 * side), pixel * 3)
    ear_u = column(identity.half_width) + 0.05
    ear = cover(0.9 * (1 - (((side - ear_u) / 0.85) ** 2 + ((v - 1.9) / 2.9) ** 2)), pixel)
    hair_back, hair = _hair(place, identity, rim, strands)
    beard, moustache = _beard(place, identity, face, rim)
    lens, frame = _glasses(place, identity)
    return Outline(
        hair_back=hair_back,
        neck=neck,
        clothes=clothes,
        ear=ear,
        head=head,
        rim=rim,
        beard=beard,
        moustache=moustache,
        hair=hair,
        strands=strands,
        lens=lens,
        frame=frame,
    )


def _head_rim(place: Place, identity: Identity, face: Anatomy) -> Tensor:
    """Return the approximate distance inside the head's outline, a tapered superellipse."""
    square = column(identity.jaw_square)
    low = place.v - _BELT
    below = low > 0
    height = torch.where(below, face.chin - _BELT, torch.full_like(face.chin, _CROWN + _BELT))
    q2 = (low / height) ** 2
    taper = column(identity.jaw_taper) * q2 * below
    width = column(identity.half_width) * (1 - taper) + 0.25 * column(identity.chubby) * bump(
        place.v - 5.5, 3.0
    )
    x2 = (place.side / width) ** 2
    bend = 0.25 + 0.45 * square
    value = x2 * (0.75 + 0.25 * x2) + q2 * (1 - bend + bend * q2) - 1
    across = place.side / (width * width) * (1.5 + x2)
    along = low / (height * height) * (2 * (1 - bend) + 4 * bend * q2)
    return -value / (across * across + along * along + 1e-3).sqrt()


def _strands(place: Place, identity: Identity) -> Tensor:
    """Return hair texture that runs along the flow of the hair."""
    radius = (place.side * place.side + (place.v - 2) ** 2).sqrt()
    angle = place.u / (radius + 1)
    grid = torch.stack([angle * 1.6, radius / 22 - 0.6], dim=-1)
    noise = F.grid_sample(identity.hair_noise, grid, padding_mode="reflection", align_corners=False)
    fine = torch.sin(angle * 45 + 2 * noise[:, 1])
    return 0.7 * noise[:, 0] + 0.5 * fine


def _hair(place: Place, identity: Identity, rim: Tensor, strands: Tensor) -> tuple[Tensor, Tensor]:
    """Return hair behind the head and hair in front of it."""
    u, v, side, pixel = place.u, place.v, place.side, place.pixel
    volume = column(identity.hair_volume)
    length = column(identity.hair_length)
    some = (volume > 0).float()
    fringe = column(identity.fringe)
    side_shift = column(identity.hair_side)
    temple = ((side - 3.2).clamp(min=0) / 3.0) ** 2
    recess = column(identity.hair_recess) * bump(side - 3.8, 1.3)
    line = column(identity.hair_line) + 0.05 * side * side - 1.0 * recess
    line = line + 3.4 * temple + 0.25 * side_shift * u * 0.5
    low = -3.1 + 0.5 * side_shift * torch.sin(u * 0.5 + side_shift) + 0.04 * side * side
    line = line + (torch.maximum(low, line) - line) * (fringe > 0).float()
    line = line + 0.22 * strands
    # Sideburns end where short hair does; long hair goes on beside the cheeks.
    over = torch.minimum(line - v, rim + 0.8 * volume + 0.15 * strands)
    burn = 1.35 - 0.22 * (v + 2).clamp(min=0) + 0.2 * strands
    strip = torch.minimum(burn - rim, length.clamp(max=2.0) + 0.4 * strands - v)
    strip = torch.minimum(strip, rim + 0.8 * volume)
    front = torch.maximum(over, torch.minimum(strip, v + 7))
    long = (length > 5).float()
    half = column(identity.half_width)
    inner_edge = half - 0.35 - 0.35 * volume - 0.06 * (v - 2).clamp(min=0)
    tips = length - v + 0.8 * strands + 0.35 * (side - half)
    curtain = torch.minimum(side - inner_edge + 0.2 * strands, tips)
    width = half + 0.9 * volume + 0.10 * (v.clamp(min=0))
    curtain = torch.minimum(curtain, width - side + 0.3 * strands)
    front = torch.maximum(front, torch.where(long > 0, curtain, -9.0 + 0 * v))
    back = torch.minimum(width - side + 0.3 * strands, tips)
    back = torch.where(v < -2, torch.minimum(back, rim + 0.8 * volume), back)
    back = torch.where(long > 0, back, rim + 0.7 * volume - (v > 1.5).float() * 9)
    soft = pixel + 0.15
    return cover(back, soft) * some, cover(front, soft) * some


def _beard(place: Place, identity: Identity, face: Anatomy, rim: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cover of beard and moustache."""
    v, side = place.v, place.side
    edge = face.corner_rest + 2.2
    upper = face.mouth_v + 0.6 - 0.3 * (side - edge).clamp(min=0) ** 2
    cheek = face.corner_v - 1.0
    jawline = step(v - torch.where(side > face.corner_rest + 1.0, cheek, upper), 2.2)
    jawline = torch.maximum(jawline, step(1.5 - rim, 1.2) * step(v - 2.0, 2.0))
    beard = jawline * step(v - 1.5, 2)
    lip = face.mouth_v - face.red_upper
    droop = lip + 0.2 + 0.10 * side * side
    band = step(droop - v, 0.5) * step(v - face.nose_base - 0.2 - 0.13 * side * side, 0.7)
    band = band * step(face.corner_u + 0.4 - side, 1.2) * step(side + 0.25, 0.8)
    return beard * column(identity.beard), band * column(identity.moustache)


def _glasses(place: Place, identity: Identity) -> tuple[Tensor, Tensor]:
    """Return lenses and frame."""
    worn = column(identity.glasses)
    half, tall, thick = (column(part) for part in identity.glasses_shape.unbind(1))
    x = ((place.side - column(identity.eye_distance) - 0.15) / half) ** 2
    y = ((place.v - 0.25) / tall) ** 2
    inside = 0.9 * (1 - (x * x + y * y + x * y * 0.4)) / (1 + 1.5 * (x + y).sqrt())
    inside = inside * tall
    lens = cover(inside, place.pixel)
    ring = cover(inside + thick, place.pixel) - lens
    bridge = cover(0.55 * thick + 0.1 - (place.v + 0.35).abs(), place.pixel)
    gap = column(identity.eye_distance) + 0.15 - half
    bridge = bridge * (place.side < gap).float()
    arm = cover(0.12 + 0.4 * thick - (place.v + 0.5).abs(), place.pixel)
    arm = arm * (place.side > column(identity.eye_distance) + half).float()
    arm = arm * (place.side < column(identity.half_width) + 0.2).float()
    frame = torch.maximum(ring, torch.maximum(bridge, arm))
    return lens * worn, frame * worn
