"""The domain classifier and gradient reversal."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """Return ``x``; its gradient comes back times ``-strength`` (Ganin et al., JMLR 2016)."""
    out: Tensor = _Reverse.apply(x, strength)
    return out


class DomainClassifier(nn.Module):
    """Two hidden layers that tell source features from target features."""

    def __init__(self, features: int, *, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(B, F)`` features to ``(B,)`` scores, high for the target domain."""
        out: Tensor = self.layers(features).squeeze(1)
        return out
