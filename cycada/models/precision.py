"""The precision in which a trained network's weights are held."""

from __future__ import annotations

import torch
from torch import nn

from cycada.models.generator import NarrowingConvolution


def hold_in_bf16(network: nn.Module) -> None:
    """Hold in bfloat16 what autocast would turn into it again in every pass.

    The answers under autocast stay the same to the last bit: normalisations, and a generator's last
    layer, which compute in float32, keep their weights in it.
    """
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.Linear) and not isinstance(part, NarrowingConvolution):
            part.to(torch.bfloat16)
