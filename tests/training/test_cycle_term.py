"""What the cycle term of the translator compares, and how each half is weighed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cycada.config import TranslatorConfig, TranslatorWeights
from cycada.training.launch import make_accelerator
from cycada.training.translator import Judges, _generator_terms, make_state


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


@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_rgb_counts_without_its_fine_detail_and_less_than_thermal_with_it(
    factor: float, tiny_translator: Callable[..., TranslatorConfig]
) -> None:
    config = tiny_translator(double=True, weights=TranslatorWeights(rgb_cycle=factor, semantic=0.0))
    accelerator = make_accelerator("no", double=True)
    state = make_state(config, Judges(None, None), accelerator)
    rgb, thermal = random(2, 3, 16, 16, seed=0), random(2, 1, 16, 16, seed=1)
    made = state.generators(rgb, thermal, None, None)
    terms = _generator_terms(
        state, made, rgb, thermal, Judges(None, None), config, accelerator
    )  # fmt: skip
    there = F.l1_loss(made.rgb_again, rgb)
    back = (made.thermal_again - thermal).abs().mean()
    detail = (amplified(made.thermal_again) - amplified(thermal)).abs().mean()
    torch.testing.assert_close(terms["cycle"], factor * there + back + detail)
