"""One optimizer step of the detector's players."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cycada.config import DetectorConfig
from cycada.training.finite import backward


def update(
    optimizer: Any, module: nn.Module, loss: Tensor, config: DetectorConfig,
    accelerator: Accelerator,
) -> None:  # fmt: skip
    """Make one step down the gradient of ``loss``, which is clipped to ``clip_norm``."""
    optimizer.zero_grad()
    backward(loss, accelerator)
    if config.clip_norm:
        accelerator.clip_grad_norm_(module.parameters(), config.clip_norm)
    optimizer.step()


def adam(config: DetectorConfig, *players: tuple[nn.Module, float]) -> torch.optim.AdamW:
    """Return AdamW over the players, each with its own ``base`` learning rate."""
    groups = [
        {"params": list(module.parameters()), "lr": rate, "base": rate} for module, rate in players
    ]
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)
