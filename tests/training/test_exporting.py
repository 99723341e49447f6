from __future__ import annotations

import pytest
import torch
from torch import nn

from cycada.training.exporting import FixedMaxPool, with_fixed_pooling


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 7, 8, 9, 14, 17])
def test_pooling_of_known_windows_is_adaptive_pooling_bit_for_bit(side: int) -> None:
    x = torch.randn(3, 5, side, side + 2, generator=torch.Generator().manual_seed(side))
    assert torch.equal(FixedMaxPool(4)(x), nn.AdaptiveMaxPool2d(4)(x))


def test_every_adaptive_pooling_is_replaced_in_a_copy() -> None:
    network = nn.Sequential(nn.AdaptiveMaxPool2d(4), nn.Sequential(nn.AdaptiveMaxPool2d(2)))
    changed = with_fixed_pooling(network)
    assert sum(isinstance(part, nn.AdaptiveMaxPool2d) for part in changed.modules()) == 0
    assert sum(isinstance(part, nn.AdaptiveMaxPool2d) for part in network.modules()) == 2
    x = torch.randn(1, 2, 9, 9)
    assert torch.equal(changed(x), network(x))
