"""From the face frame to the image and back: smooth head depth and rotation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from cycada.data.phantom.tensors import bump, column, step

if TYPE_CHECKING:
    from torch import Tensor

    from cycada.data.phantom.identity import Identity
    from cycada.data.phantom.scene import Scene

FRAME_HEIGHT = 20.5
"""Centimetres from the top to the bottom of an image at scale 1."""

_CENTRE = 2.5  # v that comes to the middle of the image
_PIVOT = 3.0  # cm from the axis of rotation to the bridge of the nose
_ITERATIONS = 3


@dataclass(frozen=True, slots=True)
class Rotation:
    """Sines and cosines of a pose, ``(N, 1, 1)``."""

    yaw_sin: Tensor
    yaw_cos: Tensor
    pitch_sin: Tensor
    pitch_cos: Tensor
    roll_sin: Tensor
    roll_cos: Tensor

    @classmethod
    def of(cls, scene: Scene) -> Rotation:
        """Return the rotation of the heads of ``scene``."""
        yaw, pitch, roll = (
            column(torch.deg2rad(angle)) for angle in (scene.yaw, scene.pitch, scene.roll)
        )
        return cls(yaw.sin(), yaw.cos(), pitch.sin(), pitch.cos(), roll.sin(), roll.cos())

    def to_viewer(self, u: Tensor, v: Tensor, depth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotate points of the face frame; returns right, down and towards the viewer, in cm."""
        right = u * self.yaw_cos + depth * self.yaw_sin
        inward = depth * self.yaw_cos - u * self.yaw_sin
        down = v * self.pitch_cos - inward * self.pitch_sin
        near = v * self.pitch_sin + inward * self.pitch_cos
        return (
            right * self.roll_cos - down * self.roll_sin,
            right * self.roll_sin + down * self.roll_cos,
            near,
        )

    def nearness(self, u: Tensor, v: Tensor, depth: Tensor) -> Tensor:
        """Return only how near to the viewer points of the face frame lie, in cm."""
        return v * self.pitch_sin + (depth * self.yaw_cos - u * self.yaw_sin) * self.pitch_cos


def head_depth(u: Tensor, v: Tensor, *, nose_depth: Tensor, nose_length: Tensor) -> Tensor:
    """Return the smooth relief of head and nose, cm in front of the axis of rotation."""
    skull = _PIVOT - 0.075 * u * u - 0.010 * (v - 1.0) ** 2
    along = ((v + 0.6) / (nose_length + 0.1)).clamp(0, 1)
    profile = along * step(nose_length + 0.15 - v, 1.1)
    return skull + nose_depth * profile * bump(u, 0.75 + 0.55 * along)


def to_image(
    u: Tensor, v: Tensor, identity: Identity, scene: Scene, *, size: int
) -> tuple[Tensor, Tensor]:
    """Return the pixel positions x, y of ``(N, K)`` points of the face frame."""
    u, v = _slant(u[:, None], v[:, None], identity, back=False)
    depth = head_depth(
        u, v, nose_depth=column(identity.nose_depth), nose_length=column(identity.nose_length)
    )
    right, down, _ = Rotation.of(scene).to_viewer(u, v - _CENTRE, depth)
    pixels = column(scene.scale) * size / FRAME_HEIGHT
    x = (right + column(scene.shift[:, 0])) * pixels + size / 2 - 0.5
    y = (down + column(scene.shift[:, 1])) * pixels + size / 2 - 0.5
    return x[:, 0], y[:, 0]


def to_face(identity: Identity, scene: Scene, *, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the face coordinates u, v seen by every pixel, and the size of a pixel in cm."""
    rotation = Rotation.of(scene)
    pixel = FRAME_HEIGHT / size / column(scene.scale)
    ticks = torch.arange(size, device=scene.yaw.device) - (size - 1) / 2
    x = ticks[None, None, :] * pixel - column(scene.shift[:, 0])
    y = ticks[None, :, None] * pixel - column(scene.shift[:, 1])
    right = x * rotation.roll_cos + y * rotation.roll_sin
    down = y * rotation.roll_cos - x * rotation.roll_sin
    nose_depth, nose_length = column(identity.nose_depth), column(identity.nose_length)
    # Fixed point: each round asks the relief at the place found by the round before.
    depth: Tensor = torch.full_like(pixel, _PIVOT - 0.5)
    for _ in range(_ITERATIONS):
        u = (right - depth * rotation.yaw_sin) / rotation.yaw_cos
        inward = depth * rotation.yaw_cos - u * rotation.yaw_sin
        v = (down + inward * rotation.pitch_sin) / rotation.pitch_cos + _CENTRE
        depth = head_depth(u, v, nose_depth=nose_depth, nose_length=nose_length).clamp(min=-6)
    u, v = _slant(u, v, identity, back=True)
    return u, v, pixel


def _slant(u: Tensor, v: Tensor, identity: Identity, *, back: bool) -> tuple[Tensor, Tensor]:
    """Apply (or take back) the small asymmetry of a real face."""
    sign = -1.0 if back else 1.0
    down, right = column(identity.asymmetry[:, 0]), column(identity.asymmetry[:, 1])
    return u + sign * right * (v - _CENTRE), v + sign * down * u
