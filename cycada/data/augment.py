"""Random changes of training images, on the device, drawn per lane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import kornia
import torch
from torch import Tensor

from cycada.config import AugmentConfig


@dataclass(frozen=True, slots=True)
class Changes:
    """What is done to each image of a batch; every field has one row per image."""

    matrix: Tensor  # (B, 2, 3) affine map, in px
    flipped: Tensor  # (B,) bool
    brightness: Tensor  # (B,) added, in units of [-1, 1]
    contrast: Tensor  # (B,) factor about the mean
    inverted: Tensor  # (B,) bool: bright becomes dark
    blur: Tensor  # (B,) standard deviation in px
    noise: Tensor  # (B,) standard deviation in units of [-1, 1]
    erase: Tensor  # (B, 4) top, left, bottom, right in px; all 0 for none
    seeds: Tensor  # (B,) seeds of the noise

    def rows(self, first: int, last: int) -> Changes:
        """Return the changes of images ``first`` to ``last - 1``."""
        return Changes(*(getattr(self, name)[first:last] for name in self.__slots__))


def draw_changes(
    count: int, config: AugmentConfig, *, size: int, generator: torch.Generator
) -> Changes:
    """Draw the changes of ``count`` images of ``size`` px."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator) * (high - low) + low

    angle = torch.deg2rad(uniform(-config.rotate, config.rotate))
    scale = 1 + uniform(-config.scale, config.scale)
    shift = uniform(-config.shift, config.shift, 2) * size
    flipped = uniform(0, 1) < config.flip
    blank = (uniform(0, 1) < config.erase)[:, None]
    corner, extent = uniform(0, 0.7, 2) * size, uniform(0.1, 0.3, 2) * size
    return Changes(
        matrix=_affine(angle, scale, shift, flipped, size),
        flipped=flipped,
        brightness=uniform(-config.brightness, config.brightness),
        contrast=1 + uniform(-config.contrast, config.contrast),
        inverted=uniform(0, 1) < config.invert,
        blur=uniform(0, config.blur),
        noise=uniform(0, 2 * config.noise),
        erase=torch.where(blank, torch.cat((corner, corner + extent), 1), 0.0),
        seeds=torch.randint(2**62, (count,), generator=generator),
    )


def apply_changes(images: Tensor, changes: Changes) -> Tensor:
    """Change ``(B, C, H, W)`` images in [-1, 1]; what enters at the border repeats the edge."""
    size = images.shape[-1]
    change: dict[str, Tensor] = {
        name: getattr(changes, name).to(images.device, non_blocking=True)
        for name in changes.__slots__
    }
    warped = kornia.geometry.transform.warp_affine(
        images,
        change["matrix"].to(images.dtype),
        (size, size),
        padding_mode="border",
        align_corners=True,
    )
    if bool((changes.blur > 0).any()):
        deviation = change["blur"].clamp(min=0.05).to(images.dtype)[:, None].expand(-1, 2)
        warped = kornia.filters.gaussian_blur2d(warped, (5, 5), deviation)

    def column(name: str) -> Tensor:
        return change[name].to(images.dtype).view(-1, 1, 1, 1)

    mean = warped.mean((1, 2, 3), keepdim=True)
    warped = (warped - mean) * column("contrast") + mean + column("brightness")
    warped = torch.where(change["inverted"].view(-1, 1, 1, 1), -warped, warped)
    if bool((changes.noise > 0).any()):
        warped = warped + column("noise") * _noise(images, changes.seeds)
    return _erased(warped, changes.erase).clamp(-1, 1)


def move_points(points: Tensor, changes: Changes, mirror_order: Sequence[int]) -> Tensor:
    """Return ``(B, K, 2)`` points, px, where :func:`apply_changes` takes them.

    Args:
        points: x and y, the centre of the top left pixel being (0, 0).
        changes: What is done to the images.
        mirror_order: Which of its points is which in a mirrored face, where left is right.
    """
    matrix = changes.matrix.to(points, non_blocking=True)
    moved = torch.einsum("bij,bkj->bki", matrix[:, :, :2], points) + matrix[:, None, :, 2]
    mirrored = changes.flipped.to(points.device, non_blocking=True)[:, None, None]
    return torch.where(mirrored, moved[:, list(mirror_order)], moved)


def _affine(angle: Tensor, scale: Tensor, shift: Tensor, flipped: Tensor, size: int) -> Tensor:
    """Return ``(B, 2, 3)`` maps about the centre: mirror, turn, scale, then shift."""
    mirror = torch.where(flipped, -1.0, 1.0)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    turn = torch.stack((cosine * mirror, -sine, sine * mirror, cosine), 1).view(-1, 2, 2)
    centre = torch.full((2,), (size - 1) / 2)
    offset = centre + shift - turn @ centre
    return torch.cat((turn, offset[:, :, None]), 2)


def _noise(images: Tensor, seeds: Tensor) -> Tensor:
    """Return standard normal noise; row ``i`` depends on ``seeds[i]`` alone.

    The noise is drawn on the processor, which makes it the same on every device.
    """
    shape = images.shape[1:]
    rows = [
        torch.randn(shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds
    ]
    return torch.stack(rows).to(images.device, images.dtype, non_blocking=True)


def _erased(images: Tensor, boxes: Tensor) -> Tensor:
    if not bool(boxes.any()):
        return images
    rows = torch.arange(images.shape[-2]).view(1, -1, 1)
    columns = torch.arange(images.shape[-1]).view(1, 1, -1)
    top, left, bottom, right = (boxes[:, i].view(-1, 1, 1) for i in range(4))
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    return images.masked_fill(inside[:, None].to(images.device, non_blocking=True), 0.0)
