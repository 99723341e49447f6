"""What is known and what is said of the faces of a set, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from cycada.data.index import Index
from cycada.data.landmarks import Landmarks, read_landmarks
from cycada.errors import DataError
from cycada.metrics.face_regions import FACE_PARTS, part_masks
from cycada.stages.report_readers import Readers
from cycada.task import Task

_MAPPED = ("source", "made")  # views of which activations are shown


class KnownLabels:
    """What is true of the faces of some indexes."""

    def __init__(self, some: Sequence[Index], task: Task | None) -> None:
        """Look the answers of a task up; of no task, nothing is known."""
        found = [index.labels(task) for index in some] if task is not None else []
        self._labels = torch.cat([labels for labels, _ in found]) if found else None
        self._known = torch.cat([known for _, known in found]) if found else None

    def of(self, number: int) -> tuple[float | None, ...]:
        """Return 1, 0 or None (unknown) for each answer."""
        if self._labels is None or self._known is None:
            return ()
        pairs = zip(self._labels[number].tolist(), self._known[number].tolist(), strict=True)
        return tuple(label if known else None for label, known in pairs)


class FacePlaces:
    """Where the parts of the faces of some indexes are, by their landmarks."""

    def __init__(self, some: Sequence[Index], size: int) -> None:
        """Read the tables; one that cannot be read leaves the parts of its faces unknown."""
        self._some, self._size = some, size
        self._tables = [_table(index) for index in some]
        self._places = [(i, row) for i, index in enumerate(some) for row in range(len(index.faces))]

    def masks(self, numbers: Sequence[int]) -> Tensor | None:
        """Return ``(B, P, S, S)`` of :func:`part_masks`; None where no index has landmarks."""
        if not any(self._tables):
            return None
        size = self._size
        masks = torch.zeros(len(numbers), len(FACE_PARTS), size, size, dtype=torch.bool)
        for number, (index, table) in enumerate(zip(self._some, self._tables, strict=True)):
            places = [place for place, n in enumerate(numbers) if self._places[n][0] == number]
            if table is None or not places:
                continue
            faces = tuple(index.faces[self._places[numbers[place]][1]] for place in places)
            points = table.of(replace(index, faces=faces), table.names, size=size)
            masks[places] = part_masks(points, table.names, side=size)
        return masks


class Reading:
    """What readers say of the pictures of a batch, by their views."""

    def __init__(self, readers: Readers | None, pictures: Mapping[str, Tensor]) -> None:
        """Read them.

        Args:
            readers: If there are any.
            pictures: View -> ``(B, C, S, S)``; NaN where a face has no such picture.
        """
        self.said: dict[str, Tensor] = {}  # (B, A) probabilities; NaN where nothing was said
        self.decided: dict[str, Tensor] = {}  # (B, A) bool
        self._maps: dict[str, Tensor] = {}
        self._names = readers.task.names if readers is not None else ()
        if readers is None:
            return
        for key, batch in pictures.items():
            reader = readers.rgb if batch.shape[1] > 1 else readers.thermal
            if reader is None:
                continue
            there = ~batch.isnan().flatten(1).any(1)
            said = torch.full((len(batch), len(readers.task)), math.nan)
            said[there] = reader.read(batch[there])
            self.said[key] = said
            self.decided[key] = reader.decide(said)
            if key in _MAPPED:
                self._maps[key] = reader.activation(batch)

    def change(self, one: str, other: str) -> dict[str, Tensor]:
        """Return figures of how answers differ between two views, and there and back."""
        values = {}
        for key, first, second in (("change", one, other), ("change_again", one, "again")):
            if first in self.said and second in self.said:
                values[key] = (self.said[first] - self.said[second]).abs().mean(1)
        if one in self.said and other in self.said:
            values["flips"] = (self.decided[one] != self.decided[other]).float().sum(1)
        return values

    def probability(self, place: int) -> dict[str, list[float | None]]:
        """Return what was said of one face, by view."""
        return {
            key: [None if math.isnan(value) else value for value in said[place].tolist()]
            for key, said in self.said.items()
            if key != "truth"
        }

    def activation(self, place: int) -> dict[str, dict[str, Tensor]]:
        """Return the places of one face that speak for each answer, by view."""
        return {
            key: dict(zip(self._names, maps[place], strict=True))
            for key, maps in self._maps.items()
        }


def _table(index: Index) -> Landmarks | None:
    try:
        return read_landmarks(index.root)
    except DataError:
        return None
