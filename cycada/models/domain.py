"""The domain classifier and gradient reversal."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from cycada.task import TaskKind, probabilities_of


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float | Tensor) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(x: Tensor, strength: float | Tensor) -> Tensor:
    """Return ``x``; its gradient comes back times ``-strength`` (Ganin et al., JMLR 2016)."""
    out: Tensor = _Reverse.apply(x, strength)
    return out


Reads = Literal["features", "scores", "product"]

LARGEST_PRODUCT = 4096  # numbers in a full product; larger ones are projected (CDAN, section 3.2)
_PROJECTED = 1024


class DomainClassifier(nn.Module):
    """Two hidden layers that tell source from target by what the detector makes of a face.

    ``features`` are read by DANN and ADDA, ``scores`` by CyCADA's released code. ``product`` is
    the conditioning of CDAN (Long et al., NeurIPS 2018, equations 5 to 7): features times
    probabilities, so that only faces of like answers have to look alike. Of Action Units, which
    are not exclusive, every one that is present multiplies the features by its own probability.
    A product of more than 4,096 numbers is replaced by one of random projections, which has the
    same inner products on average.
    """

    left: Tensor
    right: Tensor

    def __init__(
        self, features: int, answers: int, *, hidden: int, reads: Reads, kind: TaskKind
    ) -> None:
        super().__init__()
        self.reads, self.kind = reads, kind
        product = features * answers
        self.projects = reads == "product" and product > LARGEST_PRODUCT
        if self.projects:
            self.register_buffer("left", torch.randn(features, _PROJECTED))
            self.register_buffer("right", torch.randn(answers, _PROJECTED) / _PROJECTED**0.5)
            product = _PROJECTED
        width = {"features": features, "scores": answers, "product": product}[reads]
        self.layers = nn.Sequential(
            nn.Linear(width, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        )

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """Map ``(B, F)`` features and ``(B, A)`` logits to ``(B,)``, high for the target domain.

        No gradient flows into the logits of a product, as in CDAN: answers condition, they are
        not aligned.
        """
        if self.reads == "features":
            read = features
        elif self.reads == "scores":
            read = logits
        else:
            said = probabilities_of(logits.detach(), self.kind).to(features.dtype)
            if self.projects:
                read = (features @ self.left) * (said @ self.right)
            else:
                read = (features[:, :, None] * said[:, None]).flatten(1)
        out: Tensor = self.layers(read).squeeze(1)
        return out
