"""Grids of sample translations."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from cycada import image_writing, images
from cycada.models.cycle import Generators


@torch.no_grad()
def write_samples(path: Path, generators: Generators, rgb: Tensor, thermal: Tensor) -> None:
    """Write one PNG: a row per image kind, a column per face.

    The rows are RGB, its thermal version, its way back; thermal, its RGB version, its way back.

    Args:
        path: PNG to write.
        generators: Both directions.
        rgb: ``(N, 3, S, S)`` in [-1, 1].
        thermal: ``(N, 1, S, S)`` in [-1, 1].
    """
    parameter = next(generators.parameters())
    rgb, thermal = rgb.to(parameter), thermal.to(parameter)
    made = generators(rgb, thermal, None, None)
    rows = (rgb, made.thermal, made.rgb_again, thermal, made.rgb, made.thermal_again)
    grid = torch.cat(
        [torch.cat(list(images.with_channels(row, 3)), dim=-1) for row in rows], dim=-2
    )
    image_writing.write_image(path, images.from_signed(grid, dtype=torch.uint8))
