"""The Action Units of many faces in little memory."""

from __future__ import annotations

import math
from array import array
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from itertools import chain, compress

import numpy as np
from numpy.typing import NDArray

_TOGETHER = 65536  # faces whose values are gathered at a time
_REMEMBERED = 10_000  # texts of numbers


class Annotations(Mapping[int, float]):
    """What is annotated of one face: FACS number -> value, and equal to a dict of the same.

    Values lie side by side, and faces on which the same AUs are annotated share the numbers of
    these, so that 18 AUs take 0.3 kB; a dict of them takes 1.6 kB.
    """

    __slots__ = ("_numbers", "_values")

    def __init__(self, numbers: tuple[int, ...], values: Iterable[float]) -> None:
        """Join different FACS numbers and the value of each."""
        self._numbers, self._values = numbers, array("d", values)

    def __getitem__(self, number: int) -> float:
        if number in self._numbers:
            return self._values[self._numbers.index(number)]
        raise KeyError(number)

    def __contains__(self, number: object) -> bool:
        return number in self._numbers

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __repr__(self) -> str:
        return repr(dict(self.items()))

    def items(self) -> ItemsView[int, float]:
        """Return the pairs, without looking each number up as that of another mapping does."""
        return _Items(self)

    def values(self) -> ValuesView[float]:
        """Return the values likewise."""
        return _Values(self)


class _Items(ItemsView[int, float]):
    _mapping: Annotations

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return zip(self._mapping._numbers, self._mapping._values, strict=True)  # noqa: SLF001


class _Values(ValuesView[float]):
    _mapping: Annotations

    def __iter__(self) -> Iterator[float]:
        return iter(self._mapping._values)  # noqa: SLF001


class AnnotationReader:
    """Makes the annotations of the rows of one table."""

    def __init__(self, columns: Mapping[int, int], *, width: int) -> None:
        """Take where the column of each AU stands in rows of ``width`` cells, in that order."""
        self._columns = tuple(columns)
        self._is_unit = [at in columns.values() for at in range(width)]
        self._numbers = _Numbers()
        self._shared: dict[tuple[int, ...], tuple[int, ...]] = {}

    def __call__(self, row: Sequence[str]) -> Annotations:
        """Return what a row says; empty cells are not annotated.

        Raises:
            ValueError: one holds something else than a number.
        """
        cells = list(compress(row, self._is_unit))
        numbers = self._columns if all(cells) else tuple(compress(self._columns, cells))
        values = [self._numbers[cell] for cell in cells if cell]
        return Annotations(self._shared.setdefault(numbers, numbers), values)


class _Numbers(dict[str, float]):
    """The numbers that texts mean, most of which are there many times."""

    def __missing__(self, text: str) -> float:
        number = float(text)
        if len(self) < _REMEMBERED:
            self[text] = number
        return number


def is_number(text: str) -> bool:
    """Tell whether a text means a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def values_of(faces: Sequence[Mapping[int, float]], numbers: Sequence[int]) -> NDArray[np.float64]:
    """Return the ``(N, A)`` values of the AUs ``numbers``; NaN where not annotated."""
    values = np.full((len(faces), len(numbers)), math.nan)
    for start in range(0, len(faces) if numbers else 0, _TOGETHER):
        part = faces[start : start + _TOGETHER]
        counts = np.fromiter(map(len, part), np.int64, len(part))
        total = int(counts.sum())
        found = np.fromiter(chain.from_iterable(part), np.int64, total)
        held = np.fromiter(chain.from_iterable(units.values() for units in part), np.float64, total)
        rows = np.repeat(np.arange(start, start + len(part)), counts)
        for column, number in enumerate(numbers):
            wanted = found == number
            values[rows[wanted], column] = held[wanted]
    return values
