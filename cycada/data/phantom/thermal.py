"""The temperature rendering: skin physiology, then an uncooled long-wave camera."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812

from cycada.data.phantom.tensors import bump, column, spot, step

if TYPE_CHECKING:
    from torch import Tensor

    from cycada.data.phantom.geometry import Face

_FOREHEAD = 33.4  # deg C, +- 0.8 between persons (anchors: forehead, cornea and canthi)
_FIXED_PATTERN = 0.03  # K
_VIGNETTE = 0.25  # K lost in the corners
_BLUR = 0.010  # share of the image's side, standard deviation of the lens blur


def temperatures(face: Face) -> Tensor:
    """Return ``(N, H, W)`` surface temperatures in deg C, before the camera."""
    out, identity, scene = face.outline, face.identity, face.scene
    room = column(scene.ambient)
    heat = room + column(scene.clutter) * _clutter(face)
    hair = _hair(face)
    warmth = column(identity.warmth)
    heat = torch.lerp(heat, hair - 1.0, out.hair_back)
    neck = 33.9 + warmth - 1.2 * (face.place.side / 4.5) ** 2
    cord = 0.5 * face.act[20] * bump(face.place.side - 2.6 - 0.2 * (face.place.v - 12), 0.5)
    heat = torch.lerp(heat, neck - cord, out.neck)
    clothes = 0.55 * room + 0.45 * 32.0 + 0.4 * out.strands
    heat = torch.lerp(heat, clothes, out.clothes)
    ear = column(identity.ear_temperature) + 1.2 * bump(face.place.v - 2.5, 1.2)
    heat = torch.lerp(heat, ear, out.ear)
    heat = torch.lerp(heat, _skin(face) + warmth, out.head)
    heat = torch.lerp(heat, hair, out.hair)
    glass = room + 2.2 + 0.8 * (face.place.v / 2.0).clamp(-1, 1)
    heat = torch.lerp(heat, glass, out.lens)
    return torch.lerp(heat, room + 4.0, out.frame)


def capture(heat: Tensor, face: Face) -> Tensor:
    """Return what the camera reports of ``heat``: lens blur, vignetting and noise, in deg C."""
    scene, size = face.scene, heat.shape[-1]
    kernel = _gauss(_BLUR * size)
    radius = kernel.numel() // 2
    soft = F.pad(heat[:, None], (radius, radius, radius, radius), mode="replicate")
    soft = F.conv2d(F.conv2d(soft, kernel[None, None, None, :]), kernel[None, None, :, None])[:, 0]
    seen = torch.lerp(heat, soft, column(scene.focus))
    ticks = torch.linspace(-1, 1, size)
    corner = (ticks[:, None] ** 2 + ticks[None, :] ** 2) / 2
    noise = column(scene.netd) * _grain(scene.seed, size, 1)
    noise = noise + _FIXED_PATTERN * _grain(scene.camera, size, 2)
    return (seen - _VIGNETTE * corner * corner + noise).float()


def _grain(seeds: Tensor, size: int, stream: int) -> Tensor:
    shape = (size, size)
    return torch.stack(
        [
            torch.randn(shape, generator=torch.Generator().manual_seed(seed * 4 + stream))
            for seed in seeds.tolist()
        ]
    )


@lru_cache(maxsize=8)
def _gauss(sigma: float) -> Tensor:
    radius = max(1, round(2.5 * sigma))
    ticks = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (ticks / sigma) ** 2)
    return kernel / kernel.sum()


def _clutter(face: Face) -> Tensor:
    size = face.place.u.shape[-1]
    cells = face.scene.background[:, 1:2]
    cells = (cells - cells.mean(dim=(2, 3), keepdim=True)) * 4
    cells = cells.clamp(-2, 2).roll((2, 3), dims=(2, 3))
    return F.interpolate(cells, size=(size, size), mode="bilinear", align_corners=False)[:, 0]


def _hair(face: Face) -> Tensor:
    """Return hair: between room and scalp, coldest where it is far from the skin."""
    room = column(face.scene.ambient)
    depth = (-face.outline.rim).clamp(-2.5, 1.5)
    share = 0.34 - 0.10 * depth
    return room + share * (33.0 - room) + 0.5 * face.outline.strands


def _skin(face: Face) -> Tensor:
    """Return the head's surface, for a person of mean warmth."""
    heat = _physiology(face)
    relief, eye, lips = face.relief, face.eyes, face.mouth
    # Furrows see warm skin instead of the room; bulges stand out into the air.
    heat = heat + 0.85 * relief.crease.clamp(max=1.6) + 0.35 * relief.fold - 0.40 * relief.bulge
    heat = heat + _muscles(face)
    heat = heat + 0.6 * lips.red - 0.30 * lips.line
    # Hair insulates: it takes the temperature of the air that it holds.
    beard = torch.maximum(face.outline.beard, face.outline.moustache) * (1 - lips.red)
    heat = heat - beard * (2.2 + 0.5 * face.blotches[:, 1])
    heat = heat - 1.7 * eye.brow
    heat = torch.lerp(heat, _eyes(face, heat), eye.opening)
    heat = heat - 0.9 * eye.lash
    heat = torch.lerp(heat, _mouth(face), lips.gap)
    flow = torch.sin(column(face.scene.breathing_phase)) * column(face.scene.breathing_depth)
    nostril = 33.2 + 0.9 * flow
    heat = torch.lerp(heat, nostril + 0 * heat, lips.nostril * 0.9)
    near = spot(face.place.side / 1.1, (face.place.v - face.anatomy.nose_base - 0.45) / 0.55)
    return heat + 0.45 * flow * near


def _physiology(face: Face) -> Tensor:
    """Return skin at rest: warm where vessels are near, cool where the face stands out."""
    identity, place = face.identity, face.place
    side, v = place.side, place.v
    nose = column(identity.nose_temperature) - _FOREHEAD
    cooling = column(identity.cheek_cooling)
    inner = face.anatomy.eye - face.anatomy.eye_half
    canthus = spot((side - inner + 0.1) / 0.6, (v - 0.15) / 0.6)
    socket = spot((side - 2.9) / 1.9, v / 1.2)
    tip = spot(side / 1.35, (v - face.anatomy.nose_base + 0.7) / 1.0)
    bridge = bump(side, 0.85) * step(v + 0.2, 1.2) * step(face.anatomy.nose_base - 1.2 - v, 1.5)
    cheek = spot((side - 4.2) / 2.0, (v - 4.0) / 2.4)
    chin = spot(side / 2.2, (v - face.anatomy.chin + 1.3) / 1.4)
    temple = spot((side - 5.6) / 1.0, (v + 1.5) / 2.6)
    around = spot(side / 3.4, (v - 7.0) / 1.8)
    vein = bump(face.blotches[:, 0], 0.5)
    edge = 1 - face.normal[2]
    return (
        _FOREHEAD
        + 0.9 * canthus
        + 0.45 * socket
        + nose * (0.95 * tip + 0.45 * bridge)
        - cooling * cheek
        - 0.7 * chin
        + 0.4 * temple
        + 0.2 * around
        + column(identity.vessel_warmth) * (vein - 0.5)
        + 0.12 * face.blotches[:, 1]
        - 1.6 * edge * edge
        - 0.6 * step(0.35 - face.outline.rim, 1.2)
    )


def _muscles(face: Face) -> Tensor:
    """Return the warmth of working muscles, tenths of a kelvin."""
    act, place, features = face.act, face.place, face.anatomy
    side, v = place.side, place.v
    corrugator = spot((side - 1.7) / 1.1, (v + 2.3) / 0.9)
    frontalis = spot((side - 2.0) / 2.6, (v + 4.5) / 1.6)
    zygomatic = bump(side - 4.3 + 0.3 * (v - 4.5), 0.7) * bump(v - 4.8, 1.8)
    mentalis = spot(side / 1.3, (v - features.chin + 1.4) / 0.9)
    risorius = spot((side - features.corner_u - 1.2) / 1.1, (v - features.corner_v) / 0.6)
    depressor = spot((side - 2.6) / 0.7, (v - features.corner_v - 1.5) / 0.9)
    return (
        0.35 * act[4] * corrugator
        + 0.2 * (act[1] + act[2]) * frontalis
        + 0.3 * act[12] * zygomatic
        + 0.05 * act[17] * mentalis
        + 0.3 * act[20] * risorius
        + 0.1 * act[15] * depressor
    )


def _eyes(face: Face, skin: Tensor) -> Tensor:
    """Return the open eye: the tear film evaporates, so it is cooler than the lids."""
    centre = spot(face.eyes.along / 0.6, (face.place.v + 0.05) / 0.6)
    return skin - 0.75 - 0.45 * centre


def _mouth(face: Face) -> Tensor:
    """Return the open mouth: warm inside, teeth cooled by the breath."""
    flow = torch.sin(column(face.scene.breathing_phase)) * column(face.scene.mouth_depth)
    inside = 35.2 + 0.5 * flow - 0.6 * bump(face.mouth.along, 0.5)
    return inside - (3.4 - 0.4 * flow) * face.mouth.teeth
