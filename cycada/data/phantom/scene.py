"""How a frame was taken: head pose, light, background, breathing and camera noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from cycada.data.phantom.tensors import Rows

if TYPE_CHECKING:
    from torch import Generator, Tensor

BACKGROUND_CELLS = 7
_SEED_LIMIT = 2**31 - 1
_NETD = 0.05  # K, as data sheets of uncooled cameras have it


@dataclass(frozen=True, slots=True)
class Scene(Rows):
    """The circumstances of ``N`` frames, one row each."""

    yaw: Tensor  # (N,) degrees, positive towards the image's right
    pitch: Tensor  # (N,) degrees, positive looking up
    roll: Tensor  # (N,) degrees, positive clockwise in the image
    scale: Tensor  # (N,) size of the face; 1 fills the frame as a usual crop does
    shift: Tensor  # (N, 2) cm to the right and down
    gaze: Tensor  # (N, 2) cm by which the irises move right and down
    light: Tensor  # (N, 3) unit vector towards the light: right, down, to the viewer
    light_colour: Tensor  # (N, 3) including its intensity
    ambient_colour: Tensor  # (N, 3)
    exposure: Tensor  # (N,)
    background: Tensor  # (N, 3, cells, cells) linear light
    clothes: Tensor  # (N, 3) linear light
    breathing_phase: Tensor  # (N,) radians; its sine is the air flow, positive breathing out
    breathing_depth: Tensor  # (N,) K by which the air changes the nostrils
    mouth_depth: Tensor  # (N,) K by which the air changes an open mouth
    ambient: Tensor  # (N,) deg C of the room
    clutter: Tensor  # (N,) K by which the background varies
    focus: Tensor  # (N,) 0 sharp to 1 soft thermal lens
    noise: Tensor  # (N,) standard deviation of RGB noise, share of full scale
    netd: Tensor  # (N,) K, standard deviation of thermal noise (noise-equivalent difference)
    seed: Tensor  # (N,) int64, of this frame's camera noise
    camera: Tensor  # (N,) int64, of the fixed pattern of the thermal camera


def sample_scenes(count: int, *, generator: Generator) -> Scene:
    """Draw the circumstances of ``count`` unrelated frames."""

    def normal(deviation: float, limit: float) -> Tensor:
        return (deviation * torch.randn(count, generator=generator)).clamp(-limit, limit)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    def seeds() -> Tensor:
        return torch.randint(_SEED_LIMIT, (count,), generator=generator)

    tint = 1 + 0.07 * torch.randn(count, 3, generator=generator).clamp(-2, 2)
    power = uniform(0.65, 1.1)
    light = torch.stack([normal(0.55, 1.1), uniform(-0.9, 0.1), uniform(0.6, 1.2)], dim=1)
    return Scene(
        yaw=normal(9, 25),
        pitch=normal(5, 15),
        roll=normal(4, 12),
        scale=1 + normal(0.04, 0.1),
        shift=torch.stack([normal(0.3, 0.8), normal(0.3, 0.8)], dim=1),
        gaze=torch.stack([normal(0.12, 0.3), normal(0.05, 0.12)], dim=1),
        light=light / light.norm(dim=1, keepdim=True),
        light_colour=tint * power[:, None],
        ambient_colour=(2 - tint) * uniform(0.25, 0.5)[:, None],
        exposure=uniform(0.8, 1.2),
        background=_backgrounds(count, generator),
        clothes=torch.rand(count, 3, generator=generator) ** 2 * 0.7,
        breathing_phase=uniform(0, 2 * torch.pi),
        breathing_depth=(depth := uniform(0.3, 1.0)),
        mouth_depth=depth,
        ambient=uniform(19, 25),
        clutter=uniform(0.1, 0.9),
        focus=uniform(0.2, 1),
        noise=uniform(0.004, 0.02),
        netd=torch.full((count,), _NETD),
        seed=seeds(),
        camera=seeds(),
    )


def _backgrounds(count: int, generator: Generator) -> Tensor:
    """Draw walls (smooth) and rooms (blurred clutter) in muted colours."""
    cells = BACKGROUND_CELLS
    base = torch.rand(count, 1, 1, 1, generator=generator) ** 1.5 * 0.8 + 0.02
    tint = 1 + 0.2 * torch.randn(count, 3, 1, 1, generator=generator)
    clutter = torch.rand(count, 1, 1, 1, generator=generator) ** 2
    grey = torch.randn(count, 1, cells, cells, generator=generator)
    hue = torch.randn(count, 3, cells, cells, generator=generator)
    return (base * tint * (1 + clutter * (0.5 * grey + 0.3 * hue))).clamp(0.005, 1)
