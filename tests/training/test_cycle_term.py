"""What the cycle term of the translator compares, and how each half is weighed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cycada.config import TranslatorConfig, TranslatorWeights
from cycada.losses.consistency import colour_distance
from cycada.training.launch import make_accelerator
from cycada.training.translator import make_state
from cycada.training.translator_step import Judges, _generator_terms


def random(*shape: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=draw, dtype=torch.float64) * 2 - 1


def amplified(image: Tensor) -> Tensor:
    """Return the fine detail by brute force: 4 x (pixel - mean of the 5 x 5 pixels around)."""
    detail = torch.empty_like(image)
    for y in range(image.shape[-2]):
        for x in range(image.shape[-1]):
            around = image[..., max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            detail[..., y, x] = 4 * (image[..., y, x] - around.mean(dim=(-2, -1)))
    return detail


def colours(image: Tensor, block: int) -> Tensor:
    """Return the mean colours of squares by brute force; those at the far edges may be smaller."""
    rows = [
        [part.mean(dim=(-2, -1)) for part in row.split(block, dim=-1)]
        for row in image.split(block, dim=-2)
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


@pytest.mark.parametrize("block", [1, 3, 4])
def test_colours_of_blocks_that_do_not_fit_the_side(block: int) -> None:
    made, real = random(2, 3, 10, 8, seed=2), random(2, 3, 10, 8, seed=3)
    expected = (colours(made, block) - colours(real, block)).abs().mean()
    torch.testing.assert_close(colour_distance(made, real, block=block), expected)


@pytest.mark.parametrize(("factor", "block"), [(1.0, 1), (0.25, 1), (0.5, 4)])
def test_rgb_counts_by_its_colours_and_less_than_thermal_with_its_fine_detail(
    factor: float, block: int, tiny_translator: Callable[..., TranslatorConfig]
) -> None:
    config = tiny_translator(
        double=True, rgb_cycle_block=block,
        weights=TranslatorWeights(rgb_cycle=factor, semantic=0.0),
    )  # fmt: skip
    accelerator = make_accelerator("no", double=True)
    state = make_state(config, Judges(None, None), accelerator)
    rgb, thermal = random(2, 3, 16, 16, seed=0), random(2, 1, 16, 16, seed=1)
    made = state.generators(rgb, thermal, None, None)
    terms = _generator_terms(
        state, made, rgb, thermal, None, Judges(None, None), config, accelerator
    )  # fmt: skip
    there = (colours(made.rgb_again, block) - colours(rgb, block)).abs().mean()
    back = (made.thermal_again - thermal).abs().mean()
    detail = (amplified(made.thermal_again) - amplified(thermal)).abs().mean()
    torch.testing.assert_close(terms["cycle"], factor * there + back + detail)
