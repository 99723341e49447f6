"""What a detector is asked of a face: which Action Units occur, or which one class it shows.

Everywhere answers and labels have one row per face and one column per answer, ``(N, A)``, with a
mask ``(N, A)`` of what was annotated. Action Units occur independently of each other; of classes
exactly one is right, so a row of labels is one-hot, or the probabilities of a teacher. What depends
on that difference is in this module, in the losses, and in the headline of the metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from cycada.action_units import column, mirrored

TaskKind = Literal["action_units", "classes"]

_SUREST = 1e-6  # probabilities are kept this far from 0 and 1


@dataclass(frozen=True, slots=True)
class Task:
    """The answers of a detector, in the order of its outputs."""

    action_units: tuple[int, ...] = ()  # FACS numbers
    classes: tuple[str, ...] = ()  # the other kind: one of the two is empty

    @property
    def kind(self) -> TaskKind:
        """Whether the answers are Action Units or classes."""
        return "classes" if self.classes else "action_units"

    @property
    def names(self) -> tuple[str, ...]:
        """The answers by name: ``AU01`` or the class."""
        return self.classes or tuple(map(column, self.action_units))

    def __len__(self) -> int:
        """Return the number of answers."""
        return len(self.names)

    def partners(self) -> list[int]:
        """Return for each answer the place of what a mirrored face shows instead; -1: none."""
        if self.classes:
            return list(range(len(self.classes)))
        units = self.action_units
        return [units.index(other) if (other := mirrored(n)) in units else -1 for n in units]

    def places_in(self, other: Task) -> list[int]:
        """Return where the answers of this task stand among those of ``other``.

        Raises:
            KeyError: ``other`` lacks an answer; its argument is the name of the first.
        """
        for name in self.names:
            if self.kind != other.kind or name not in other.names:
                raise KeyError(name)
        return [other.names.index(name) for name in self.names]

    def to_json(self) -> dict[str, Any]:
        """Return the task for the facts beside a checkpoint."""
        if self.classes:
            return {"classes": list(self.classes)}
        return {"action_units": list(self.action_units)}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Task:
        """Read the task from the facts beside a checkpoint."""
        return cls(tuple(facts.get("action_units", ())), tuple(facts.get("classes", ())))


def probabilities_of(logits: Tensor, kind: TaskKind) -> Tensor:
    """Return ``(..., A)`` probabilities: each AU for itself, or classes that add up to 1."""
    return torch.softmax(logits, -1) if kind == "classes" else torch.sigmoid(logits)


def logits_of(probabilities: Tensor, kind: TaskKind) -> Tensor:
    """Return ``(..., A)`` log-odds of AUs, or logarithms of the probabilities of classes.

    What :func:`probabilities_of` undoes; probabilities of 0 and 1 count as a millionth more or
    less.
    """
    if kind == "classes":
        return probabilities.clamp(min=_SUREST).log()
    return torch.logit(probabilities, eps=_SUREST)


def decided(probabilities: Tensor, thresholds: Tensor, kind: TaskKind) -> Tensor:
    """Return ``(..., A)`` bool: AUs at or above their threshold, or the most probable class."""
    if kind == "classes":
        best = probabilities.argmax(-1, keepdim=True)
        return torch.zeros_like(probabilities, dtype=torch.bool).scatter(-1, best, value=True)
    return probabilities >= thresholds
