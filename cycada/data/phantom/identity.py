"""Who the phantom is: head shape, skin, hair, glasses and thermal baseline, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from cycada.data.phantom.tensors import Rows

if TYPE_CHECKING:
    from torch import Generator, Tensor

NOISE_CELLS = 24
"""Side of the random grids from which skin, hair and vessel textures are interpolated."""


@dataclass(frozen=True, slots=True)
class Identity(Rows):
    """``N`` phantom persons, one row each; lengths are centimetres, colours are linear light.

    The face frame has its origin between the eyes, ``u`` to the image's right and ``v`` down.
    """

    half_width: Tensor  # (N,) of the head at the cheekbones
    chin: Tensor  # (N,) v of the chin's lowest point
    jaw_taper: Tensor  # (N,) how much narrower the jaw is than the cheekbones
    jaw_square: Tensor  # (N,) 0 pointed to 1 square
    chubby: Tensor  # (N,) 0 bony to 1 round cheeks
    age: Tensor  # (N,) 0 young to 1 old: resting wrinkles, grey hair
    eye_distance: Tensor  # (N,) from the midline to the pupil
    eye_width: Tensor  # (N,) half the palpebral fissure
    eye_open: Tensor  # (N,) resting opening above the canthal line
    eye_tilt: Tensor  # (N,) rise of the outer canthus
    lid_fold: Tensor  # (N,) strength of the upper lid's fold
    iris: Tensor  # (N, 3) colour
    brow_height: Tensor  # (N,) distance above the eyes
    brow_arch: Tensor  # (N,)
    brow_thickness: Tensor  # (N,) half thickness at the inner end
    brow_strength: Tensor  # (N,) opacity of the hairs
    nose_length: Tensor  # (N,) v of the nose's base
    nose_width: Tensor  # (N,) from the midline to the wing
    nose_depth: Tensor  # (N,) protrusion of the tip
    mouth: Tensor  # (N,) v of the line between the lips
    mouth_width: Tensor  # (N,) half
    mouth_curve: Tensor  # (N,) by which the corners lie higher than the middle
    lip_upper: Tensor  # (N,) height of the red part
    lip_lower: Tensor  # (N,)
    lip_red: Tensor  # (N,) 0 pale to 1 red
    asymmetry: Tensor  # (N, 2) small slants of the face: cm of v, and of u, per cm
    skin: Tensor  # (N, 3) colour
    melanin: Tensor  # (N,) 0 light to 1 dark
    freckles: Tensor  # (N,)
    skin_noise: Tensor  # (N, 2, cells, cells) blotches and vessels
    hair: Tensor  # (N, 3) colour
    hair_line: Tensor  # (N,) v of the hair line at the midline
    hair_recess: Tensor  # (N,) recession at the temples
    hair_volume: Tensor  # (N,) thickness of the hair over the skull; 0 is bald
    hair_length: Tensor  # (N,) v to which hair falls beside the face
    hair_side: Tensor  # (N,) asymmetry of the parting or fringe
    fringe: Tensor  # (N,) 0 none to 1 down to the brows
    hair_noise: Tensor  # (N, 2, cells, cells)
    beard: Tensor  # (N,) 0 none, 0.3 stubble, 1 full
    moustache: Tensor  # (N,)
    glasses: Tensor  # (N,) 1 where worn
    glasses_shape: Tensor  # (N, 3) half width, half height, frame thickness
    glasses_colour: Tensor  # (N, 3)
    warmth: Tensor  # (N,) offset of the whole skin, K
    nose_temperature: Tensor  # (N,) deg C of the tip
    cheek_cooling: Tensor  # (N,) K below the forehead
    ear_temperature: Tensor  # (N,) deg C
    vessel_warmth: Tensor  # (N,) K of superficial vessels


_SKIN = (
    (0.86, 0.63, 0.52),
    (0.73, 0.48, 0.36),
    (0.52, 0.31, 0.21),
    (0.27, 0.15, 0.10),
    (0.12, 0.065, 0.045),
)
_HAIR = (
    (0.012, 0.010, 0.009),
    (0.035, 0.020, 0.013),
    (0.09, 0.05, 0.028),
    (0.20, 0.12, 0.06),
    (0.50, 0.34, 0.16),
)
_RED_HAIR = (0.24, 0.07, 0.02)
_IRIS = (
    (0.06, 0.03, 0.015),
    (0.16, 0.09, 0.03),
    (0.13, 0.17, 0.07),
    (0.14, 0.26, 0.42),
    (0.25, 0.30, 0.33),
)
_GREY = (0.55, 0.55, 0.55)


def sample_identities(count: int, *, generator: Generator) -> Identity:
    """Draw ``count`` persons; the same generator state gives the same persons."""
    draw = _Draw(count, generator)
    melanin, age, feminine = draw.uniform(0, 1), draw.uniform(0, 1), draw.chance(0.5)
    chin = draw.normal(11.2, 0.35)
    shape = {
        "half_width": draw.normal(6.9, 0.28) - 0.15 * feminine,
        "chin": chin,
        "jaw_taper": draw.uniform(0.10, 0.26) + 0.04 * feminine,
        "jaw_square": draw.uniform(0.25, 0.75) - 0.2 * feminine,
        "chubby": draw.uniform(0, 1),
        "age": age,
        "eye_distance": draw.normal(3.2, 0.12),
        "eye_width": draw.normal(1.55, 0.08),
        "eye_open": draw.normal(0.58, 0.07).clamp(0.42, 0.75) + 0.04 * feminine,
        "eye_tilt": draw.normal(0.10, 0.08),
        "lid_fold": draw.uniform(0.1, 1.0),
        "nose_length": draw.normal(4.5, 0.22),
        "nose_width": draw.normal(1.65, 0.15) + 0.25 * melanin - 0.1 * feminine,
        "nose_depth": draw.normal(1.9, 0.2),
        "mouth": draw.normal(0.0, 0.15) + 6.75 + 0.25 * (chin - 11.2),
        "mouth_width": draw.normal(2.55, 0.16),
        "mouth_curve": draw.normal(0.1, 0.1),
        "asymmetry": torch.stack([draw.normal(0, 0.012), draw.normal(0, 0.012)], dim=1),
    }
    lips = {
        "lip_upper": draw.normal(0.62, 0.12).clamp(0.35, 1.0) + 0.15 * melanin + 0.08 * feminine,
        "lip_lower": draw.normal(0.85, 0.13).clamp(0.5, 1.2) + 0.12 * melanin + 0.08 * feminine,
        "lip_red": draw.uniform(0.2, 0.7) + 0.3 * feminine * draw.chance(0.5),
    }
    return Identity(
        **shape, **lips, **_colours(draw, melanin, age), **_hairs(draw, feminine), **_heat(draw)
    )


def _colours(draw: _Draw, melanin: Tensor, age: Tensor) -> dict[str, Tensor]:
    skin = _ramp(_SKIN, melanin) * (1 + 0.06 * draw.gauss(3))
    pigment = (0.75 * draw.uniform(0, 1) + 0.5 * (0.55 - melanin)).clamp(0, 1)
    red = (draw.chance(0.10) * (melanin < 0.35)).float()[:, None] * 0.85
    hair = _ramp(_HAIR, pigment) * (1 - red) + torch.tensor(_RED_HAIR) * red
    grey = ((age - 0.6) * 3 * draw.uniform(0, 1)).clamp(0, 1)[:, None]
    iris = (draw.uniform(0, 1) * (1.35 - 1.6 * melanin)).clamp(0, 1)
    return {
        "skin": skin.clamp(0.02, 0.95),
        "melanin": melanin,
        "freckles": draw.uniform(0, 1) * draw.chance(0.25) * (1 - melanin),
        "skin_noise": draw.grid(2),
        "hair": hair * (1 - grey) + torch.tensor(_GREY) * grey,
        "iris": _ramp(_IRIS, iris),
    }


def _hairs(draw: _Draw, feminine: Tensor) -> dict[str, Tensor]:
    masculine = 1 - feminine
    bald = masculine * draw.chance(0.18)
    long = feminine * draw.chance(0.6) + masculine * draw.chance(0.08) * (1 - bald)
    bearded, shadowed = masculine * draw.chance(0.3), masculine * draw.chance(0.35)
    beard = bearded * draw.uniform(0.65, 1) + (1 - bearded) * shadowed * draw.uniform(0.1, 0.35)
    moustache = torch.maximum(beard, masculine * draw.chance(0.1) * draw.uniform(0.7, 1))
    return {
        "brow_height": draw.normal(2.15, 0.15) + 0.12 * feminine,
        "brow_arch": draw.uniform(0.1, 0.4) + 0.12 * feminine,
        "brow_thickness": draw.uniform(0.22, 0.38) + 0.06 * masculine,
        "brow_strength": draw.uniform(0.6, 0.95),
        "hair_line": draw.normal(-6.3, 0.45),
        "hair_recess": draw.uniform(0, 0.5) + masculine * draw.uniform(0, 0.8),
        "hair_volume": (1 - bald) * (draw.uniform(0.4, 1.1) + 0.5 * feminine),
        "hair_length": torch.where(long > 0, draw.uniform(9, 18), draw.uniform(-0.5, 2.0)),
        "hair_side": draw.normal(0, 0.5),
        "fringe": (1 - bald) * draw.chance(0.22) * draw.uniform(0.4, 0.9),
        "hair_noise": draw.grid(2),
        "beard": beard,
        "moustache": moustache,
        "glasses": draw.chance(0.15),
        "glasses_shape": torch.stack(
            [draw.uniform(2.2, 2.65), draw.uniform(1.5, 2.0), draw.uniform(0.10, 0.24)], dim=1
        ),
        "glasses_colour": draw.colour() ** 2 * 0.35,
    }


def _heat(draw: _Draw) -> dict[str, Tensor]:
    return {
        "warmth": draw.normal(0, 0.6).clamp(-1.4, 1.4),
        "nose_temperature": 33.0 - 6.0 * draw.uniform(0, 1) ** 1.6,
        "cheek_cooling": draw.uniform(0.4, 1.6),
        "ear_temperature": draw.uniform(29.0, 33.0),
        "vessel_warmth": draw.uniform(0.1, 0.45),
    }


def _ramp(stops: tuple[tuple[float, ...], ...], position: Tensor) -> Tensor:
    """Interpolate colours linearly along ``stops``; ``position`` runs from 0 to 1."""
    table = torch.tensor(stops)
    place = position.clamp(0, 1) * (len(stops) - 1)
    low = place.floor().long().clamp(max=len(stops) - 2)
    part = (place - low)[:, None]
    return table[low] * (1 - part) + table[low + 1] * part


class _Draw:
    """Random columns of one length from one generator."""

    def __init__(self, count: int, generator: Generator) -> None:
        self._count, self._generator = count, generator

    def uniform(self, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(self._count, generator=self._generator)

    def normal(self, mean: float, deviation: float) -> Tensor:
        # Cut at 2.5 standard deviations: a monstrous head teaches a detector nothing.
        return mean + deviation * torch.randn(self._count, generator=self._generator).clamp(
            -2.5, 2.5
        )

    def chance(self, probability: float) -> Tensor:
        return (torch.rand(self._count, generator=self._generator) < probability).float()

    def gauss(self, columns: int) -> Tensor:
        return torch.randn(self._count, columns, generator=self._generator).clamp(-2, 2)

    def colour(self) -> Tensor:
        return torch.rand(self._count, 3, generator=self._generator)

    def grid(self, channels: int) -> Tensor:
        size = (self._count, channels, NOISE_CELLS, NOISE_CELLS)
        return torch.randn(size, generator=self._generator)
