"""What becomes of Action Units on the way of a translation: which are kept, lost, or swapped."""

from __future__ import annotations

import torch
from torch import Tensor


class FlipCounts:
    """Counts of decisions before and after, pair by pair of AUs; memory for the AUs alone.

    An AU *becomes* another where a face loses the one and gains the other: it was said to show the
    first and not the second, and is said to show the second and not the first.
    """

    def __init__(self, units: int) -> None:
        """Begin without faces.

        Args:
            units: Number of AUs.
        """
        self.faces = 0
        self.shown = torch.zeros(units, dtype=torch.long)  # faces that show each, before
        self.shown_after = torch.zeros(units, dtype=torch.long)
        self.kept = torch.zeros(units, dtype=torch.long)  # before and after
        self.became = torch.zeros(units, units, dtype=torch.long)  # row lost, column gained
        self._lost_without = torch.zeros(units, units, dtype=torch.long)  # row lost, no column yet

    def add(self, before: Tensor, after: Tensor) -> None:
        """Add the decisions on some faces, both ``(B, A)`` bool."""
        first, second = before.long(), after.long()
        lost, gained = first * (1 - second), (1 - first) * second
        self.faces += len(first)
        self.shown += first.sum(0)
        self.shown_after += second.sum(0)
        self.kept += (first * second).sum(0)
        self.became += lost.T @ gained
        self._lost_without += lost.T @ (1 - first)

    def gained(self) -> Tensor:
        """Return ``(A,)`` how many faces show each after that did not before."""
        return self.shown_after - self.kept

    def kept_share(self) -> Tensor:
        """Return ``(A,)`` the share of the faces that show an AU which still do; NaN: none did."""
        return self.kept.double() / self.shown

    def becomes_share(self) -> Tensor:
        """Return ``(A, A)`` the share of the faces with the row's AU on which it becomes another.

        NaN where no face showed it. The diagonal is 0.
        """
        return self.became.double() / self.shown[:, None]

    def chance_share(self) -> Tensor:
        """Return ``(A, A)`` how often the column's AU is gained where the row's is not lost.

        What :meth:`becomes_share` has to exceed to tell of a swap rather than of a detector that
        says the column's AU of any translation. NaN where there is no such face.
        """
        others = self.gained()[None] - self.became
        absent = (self.faces - self.shown)[None] - self._lost_without
        return others.double() / absent
