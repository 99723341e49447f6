"""Identity, expression and scene to pictures, in chunks that stay in the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812

from cycada.data.phantom import rgb, thermal
from cycada.data.phantom.geometry import lay_out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from cycada.data.phantom.geometry import Face
    from cycada.data.phantom.identity import Identity
    from cycada.data.phantom.scene import Scene

_FINE_BELOW = 100  # pixels; smaller pictures are drawn at twice the size, so lids stay thin
_CHUNK_PIXELS = 2**17  # drawn at once, one array of which takes 512 KiB


class Pair(NamedTuple):
    """The same faces seen by a colour camera and by a thermal camera."""

    rgb: Tensor  # (N, 3, size, size) uint8
    celsius: Tensor  # (N, size, size) float32, deg C


def render_rgb(identity: Identity, intensities: Tensor, scene: Scene, *, size: int) -> Tensor:
    """Return ``(N, 3, size, size)`` uint8 colour pictures of ``N`` faces."""
    chunks = [
        rgb.develop(_shrink(rgb.paint(face), size), face)
        for face in _faces(identity, intensities, scene, size=size)
    ]
    return torch.cat(chunks) if chunks else torch.empty(0, 3, size, size, dtype=torch.uint8)


def render_celsius(identity: Identity, intensities: Tensor, scene: Scene, *, size: int) -> Tensor:
    """Return ``(N, size, size)`` float32 temperatures in deg C as a camera reports them."""
    chunks = [
        thermal.capture(_shrink(thermal.temperatures(face)[:, None], size)[:, 0], face)
        for face in _faces(identity, intensities, scene, size=size)
    ]
    return torch.cat(chunks) if chunks else torch.empty(0, size, size)


def render_pair(identity: Identity, intensities: Tensor, scene: Scene, *, size: int) -> Pair:
    """Return both pictures of ``N`` faces; cheaper than one rendering after the other.

    The pictures are the same, bit for bit, as those of :func:`render_rgb` and
    :func:`render_celsius`.
    """
    colours, heats = (
        [torch.empty(0, 3, size, size, dtype=torch.uint8)],
        [torch.empty(0, size, size)],
    )
    for face in _faces(identity, intensities, scene, size=size):
        colours.append(rgb.develop(_shrink(rgb.paint(face), size), face))
        heat = _shrink(thermal.temperatures(face)[:, None], size)[:, 0]
        heats.append(thermal.capture(heat, face))
    return Pair(torch.cat(colours), torch.cat(heats))


def _faces(identity: Identity, intensities: Tensor, scene: Scene, *, size: int) -> Iterator[Face]:
    """Lay out the faces, a chunk at a time."""
    fine = size * 2 if size < _FINE_BELOW else size
    step = max(1, _CHUNK_PIXELS // fine**2)
    for start in range(0, len(intensities), step):
        stop = min(start + step, len(intensities))
        yield lay_out(
            identity.slice(start, stop),
            intensities[start:stop],
            scene.slice(start, stop),
            size=fine,
        )


def _shrink(image: Tensor, size: int) -> Tensor:
    return image if image.shape[-1] == size else F.avg_pool2d(image, image.shape[-1] // size)
