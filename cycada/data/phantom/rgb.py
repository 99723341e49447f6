"""The colour rendering: albedo painted in layers, lit by one lamp and the room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812

from cycada.data.phantom.tensors import bump, column, spot, step

if TYPE_CHECKING:
    from torch import Tensor

    from cycada.data.phantom.geometry import Face

_LIP = (0.42, 0.10, 0.09)
_TONGUE = (0.34, 0.08, 0.08)
_CAVITY = (0.035, 0.010, 0.010)
_TEETH = (0.72, 0.68, 0.58)
_SCLERA = (0.70, 0.66, 0.62)


def paint(face: Face) -> Tensor:
    """Return ``(N, 3, H, W)`` linear light, before the camera."""
    size = face.place.u.shape[-1]
    colour = F.interpolate(
        face.scene.background, size=(size, size), mode="bilinear", align_corners=False
    )
    out, light = face.outline, _light(face)
    hair = _hair(face)
    colour = _over(colour, hair * 0.55 * _flat(face), out.hair_back)
    colour = _over(colour, _neck(face), out.neck)
    colour = _over(colour, face.scene.clothes[:, :, None, None] * _flat(face), out.clothes)
    ear_shade = (0.55 + 0.25 * bump(face.place.v - 1.2, 1.6))[:, None]
    colour = _over(colour, face.identity.skin[:, :, None, None] * _flat(face) * ear_shade, out.ear)
    colour = _over(colour, _skin(face) * light, out.head)
    colour = _eyes(face, colour)
    colour = _over(colour, hair * (0.5 * light + 0.5 * _flat(face)), out.hair)
    return _glasses(face, colour)


def develop(colour: Tensor, face: Face) -> Tensor:
    """Return the camera's ``(N, 3, H, W)`` uint8 picture of linear light."""
    scene = face.scene
    exposed = colour * scene.exposure[:, None, None, None]
    # A soft shoulder: highlights on fair skin bleach gradually, not at an edge.
    toned = exposed.clamp(min=0) * 1.35 / (1 + 0.35 * exposed)
    grain = torch.stack(
        [
            torch.randn(colour.shape[1:], generator=torch.Generator().manual_seed(seed))
            for seed in scene.seed.tolist()
        ]
    )
    encoded = toned.clamp(max=1).sqrt() + grain * scene.noise[:, None, None, None]
    return encoded.mul(255).add(0.5).clamp(0, 255).to(torch.uint8)


def _over(below: Tensor, above: Tensor, share: Tensor) -> Tensor:
    return torch.lerp(below, above, share[:, None])


def _tone(values: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device)[None, :, None, None]


def _flat(face: Face) -> Tensor:
    """Return the mean light on things whose relief is not modelled."""
    scene = face.scene
    mean = scene.ambient_colour + 0.55 * scene.light_colour
    return mean[:, :, None, None]


def _light(face: Face) -> Tensor:
    """Return the light that reaches the skin: lamp, room and shadowed hollows."""
    scene = face.scene
    nx, ny, nz = face.normal
    lx, ly, lz = (column(part) for part in scene.light.unbind(1))
    lambert = nx * lx + ny * ly + nz * lz
    # Wrapped a little beyond the terminator: light scatters in skin.
    lambert = ((lambert + 0.15) / 1.15).clamp(min=0)
    gloss = (nx * lx + ny * ly + nz * (1 + lz)) * torch.rsqrt(2 + 2 * lz)
    gloss = gloss.clamp(0, 1) ** 24
    place, features = face.place, face.anatomy
    hollow = 0.45 * face.relief.crease + 0.30 * face.relief.fold
    hollow = hollow + 0.28 * spot((place.side - 2.3) / 1.2, (place.v + 0.6) / 0.9)
    hollow = hollow + 0.22 * spot(place.side / 1.5, (place.v - features.nose_base - 0.3) / 0.45)
    hollow = hollow + 0.20 * spot(place.side / 1.5, (face.mouth.under - 0.4) / 0.4)
    hollow = hollow + 0.35 * step(0.6 - face.outline.rim, 1.6)
    shade = 1 / (1 + hollow)
    sky = 0.75 - 0.35 * ny
    lamp = lambert * (0.45 + 0.55 * shade)
    lit = scene.light_colour[:, :, None, None] * (lamp + 0.10 * gloss * shade)[:, None]
    return lit + scene.ambient_colour[:, :, None, None] * (sky * shade)[:, None]


def _skin(face: Face) -> Tensor:
    """Return the albedo of skin, lips, beard, brows and the mouth's inside."""
    identity, place, lips = face.identity, face.place, face.mouth
    skin = identity.skin[:, :, None, None]
    blood = 0.07 * face.blotches[:, 0] + 0.25 * (
        spot((place.side - 4.0) / 1.8, (place.v - 3.6) / 1.6)
        + spot(place.side / 1.1, (place.v - 3.6) / 0.9)
    )
    blood = blood * (1 - 0.6 * column(identity.melanin))
    freckle = (face.blotches[:, 1] - 0.6).clamp(min=0) * column(identity.freckles)
    freckle = freckle * step(5.5 - (place.v - 2.5).abs(), 3)
    redden = _tone((0.10, -0.22, -0.25), skin)
    albedo = skin * (1 + blood[:, None] * redden) * (1 - 0.30 * freckle[:, None])
    # Deep lines hold shadow whatever the light, and blood gathers in them.
    crease = face.relief.crease.clamp(max=1.25)[:, None]
    albedo = albedo * (1 - crease * _tone((0.24, 0.30, 0.32), skin))
    around = spot((place.side - face.anatomy.eye) / 1.7, (place.v - 0.35) / 1.0)[:, None]
    albedo = albedo * (1 - 0.16 * around)

    red = 0.35 + 0.65 * identity.lip_red[:, None, None, None]
    lip = skin * (1 - red) * 0.8 + red * _tone(_LIP, skin) * (0.35 + 0.75 * skin[:, :1])
    albedo = _over(albedo, lip, lips.red * 0.9)
    hair = identity.hair[:, :, None, None] * (1 + 0.25 * face.outline.strands[:, None])
    bristle = (0.8 + 0.25 * face.blotches[:, 1]).clamp(0, 1)
    albedo = _over(
        albedo, hair * 1.1, (face.outline.beard * bristle * (1 - lips.red)).clamp(0, 0.95)
    )
    albedo = _over(albedo, hair * 1.1, (face.outline.moustache * (1 - lips.red)).clamp(0, 0.95))
    albedo = albedo * (1 - 0.75 * (lips.line * (1 - lips.gap))[:, None])
    cavity = _tone(_CAVITY, skin).expand_as(albedo)
    albedo = _over(albedo, cavity, lips.gap)
    albedo = _over(albedo, _tone(_TONGUE, skin).expand_as(albedo), lips.tongue * 0.8)
    albedo = _over(albedo, _tone(_TEETH, skin).expand_as(albedo), lips.teeth)
    albedo = _over(albedo, cavity, lips.nostril * 0.75)
    brow = identity.hair[:, :, None, None] * 0.6 * (1 + 0.2 * face.outline.strands[:, None])
    return _over(albedo, brow, face.eyes.brow)


def _eyes(face: Face, colour: Tensor) -> Tensor:
    """Paint eyeballs and lashes over the lit skin."""
    eye, identity = face.eyes, face.identity
    white = _tone(_SCLERA, colour).expand_as(colour)
    ball = _over(white, _tone((0.55, 0.28, 0.24), colour).expand_as(colour), eye.tear * 0.8)
    ring = identity.iris[:, :, None, None]
    ball = _over(ball, ring.expand_as(colour), eye.iris)
    ball = _over(ball, _tone((0.008, 0.008, 0.008), colour).expand_as(colour), eye.pupil)
    bright = (1 - 0.45 * eye.shade - 0.25 * eye.along.abs().clamp(max=1))[:, None]
    ball = ball * bright * _flat(face) * 1.15 + 0.8 * (eye.glint * eye.iris)[:, None]
    colour = _over(colour, ball, eye.opening * face.outline.head)
    return colour * (1 - 0.85 * (eye.lash * face.outline.head)[:, None])


def _hair(face: Face) -> Tensor:
    hair = face.identity.hair[:, :, None, None]
    sheen = bump(face.place.v + 7.0, 1.6) * 0.35
    return hair * (1 + 0.4 * face.outline.strands + sheen)[:, None].clamp(min=0.2)


def _neck(face: Face) -> Tensor:
    place = face.place
    under_chin = step(place.v - face.anatomy.chin - 1.3 + 0.10 * place.side**2, 3.0)
    round_ = (1 - (place.side / 6.5) ** 2).clamp(min=0.1)
    shade = round_ * (0.35 + 0.45 * under_chin)
    cord = 0.5 * face.act[20] * bump(place.side - 2.6 - 0.2 * (place.v - 12), 0.5)
    return face.identity.skin[:, :, None, None] * _flat(face) * (shade * (1 - 0.5 * cord))[:, None]


def _glasses(face: Face, colour: Tensor) -> Tensor:
    out, place = face.outline, face.place
    glare = bump(place.u + place.v * 0.8 - 2.0 - 4.5 * torch.sign(place.u), 0.7) * 0.18
    colour = (
        colour * (1 - 0.08 * out.lens[:, None]) + (glare * out.lens)[:, None] * _flat(face) * 0.5
    )
    frame = face.identity.glasses_colour[:, :, None, None] * _flat(face)
    return _over(colour, frame.expand_as(colour), out.frame * 0.95)
