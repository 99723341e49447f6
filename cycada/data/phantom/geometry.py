"""A face laid out on the pixels of its image: what every rendering starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812

from cycada.data.phantom.anatomy import Action, Anatomy, anatomy
from cycada.data.phantom.features import Eyes, Mouth, eyes, mouth
from cycada.data.phantom.outline import Outline, Place, outline
from cycada.data.phantom.pose import Rotation, to_face
from cycada.data.phantom.relief import Relief, relief

if TYPE_CHECKING:
    from torch import Tensor

    from cycada.data.phantom.identity import Identity
    from cycada.data.phantom.scene import Scene


@dataclass(frozen=True, slots=True)
class Face:
    """All that both renderings need to know about ``N`` faces."""

    identity: Identity
    scene: Scene
    act: Action
    anatomy: Anatomy
    place: Place
    outline: Outline
    eyes: Eyes
    mouth: Mouth
    relief: Relief
    normal: tuple[Tensor, Tensor, Tensor]  # right, down, to the viewer
    blotches: Tensor  # (N, 2, H, W) skin texture, about 0 +- 1


def lay_out(identity: Identity, intensities: Tensor, scene: Scene, *, size: int) -> Face:
    """Return the geometry of ``N`` faces on a grid of ``size`` x ``size`` pixels."""
    act = Action(intensities)
    features = anatomy(identity, act)
    u, v, pixel = to_face(identity, scene, size=size)
    place = Place(u=u, v=v, side=u.abs(), pixel=pixel)
    eye = eyes(place, identity, face=features, act=act, scene=scene)
    lips = mouth(place, features, act=act)
    surface = relief(place, identity, face=features, act=act, eye=eye, lips=lips)
    near = Rotation.of(scene).nearness(u, v, surface.height)
    grid = torch.stack([u / 9, (v - 2) / 11], dim=-1)
    return Face(
        identity=identity,
        scene=scene,
        act=act,
        anatomy=features,
        place=place,
        outline=outline(place, identity, face=features),
        eyes=eye,
        mouth=lips,
        relief=surface,
        normal=_normals(near, pixel),
        blotches=F.grid_sample(
            identity.skin_noise, grid, padding_mode="reflection", align_corners=False
        ),
    )


def _normals(near: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return unit normals of a surface by central differences."""
    padded = F.pad(near[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    scale = 0.5 / pixel
    across = (padded[:, 1:-1, :-2] - padded[:, 1:-1, 2:]) * scale
    down = (padded[:, :-2, 1:-1] - padded[:, 2:, 1:-1]) * scale
    inverse = torch.rsqrt(across * across + down * down + 1)
    return across * inverse, down * inverse, inverse
