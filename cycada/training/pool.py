"""The replay pool: made images of earlier steps, shown to the discriminators again."""

from __future__ import annotations

import torch
from torch import Tensor

from cycada.data.sampling import Share, generator


class ReplayPool:
    """A history of made images (Shrivastava et al., CVPR 2017; CycleGAN, section 4).

    Every lane of the global batch has its own slots, and what happens in a lane depends on
    (seed, step, lane) alone. So the pool behaves alike on one process and on many.
    """

    def __init__(self, slots: int, share: Share, *, seed: int, stream: str) -> None:
        """Hold about ``slots`` images over all lanes; ``stream`` tells two pools apart."""
        self.slots = -(-slots // share.lanes) if slots else 0  # per lane, rounded up
        self.share, self.seed, self.stream = share, seed, stream
        self.images: Tensor | None = None  # (lanes here, slots, C, H, W)

    def swap(self, made: Tensor, step: int) -> Tensor:
        """Return each made image or, every second time, an older one in whose slot it stays.

        Args:
            made: ``(lanes here, C, H, W)``, without gradient.
            step: Number of this step, from 0; the first ``slots`` steps only fill the pool.
        """
        if self.slots == 0:
            return made
        if self.images is None:
            self.images = made.new_zeros(len(made), self.slots, *made.shape[1:])
        if step < self.slots:
            self.images[:, step] = made
            return made
        draw = generator(self.seed, "pool", self.stream, step)
        old = self.share.of(torch.rand(self.share.lanes, generator=draw) < 0.5)
        slot = self.share.of(torch.randint(self.slots, (self.share.lanes,), generator=draw))
        lanes, slot = old.nonzero().squeeze(1).to(made.device), slot[old].to(made.device)
        shown = made.clone()
        shown[lanes] = self.images[lanes, slot]
        self.images[lanes, slot] = made[lanes]
        return shown
