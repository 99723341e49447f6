"""The course of a patient in a drawing's worth of numbers, however long it was."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cycada.action_units import column
from cycada.vitals.record import Vitals

Array = NDArray[np.float64]

_MOST = 720  # steps: each is a pixel or two of a drawing
_FINE = 10  # counts per breath per minute
_FASTEST = 80  # breaths per minute

RATE, QUALITY, SCORE, EXPRESSIVITY, APNEA, FACE, GIVEN = (
    "rate", "quality", "score", "expressivity", "apnea", "face", "given",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One figure over time, ``(N,)`` each; NaN where it is not known."""

    mean: Array
    low: Array
    high: Array


class Course:
    """Takes in what is known second by second; keeps means, lowest and highest, and counts.

    Seconds share a step when there are too many of them for a drawing, so that memory does not
    grow with time.
    """

    def __init__(self, units: Sequence[int]) -> None:
        """Begin with nothing.

        Args:
            units: FACS numbers of the Action Units that are told.
        """
        self.units = tuple(units)
        self._names = (
            RATE, QUALITY, SCORE, EXPRESSIVITY, APNEA, FACE, GIVEN, *map(column, self.units)
        )  # fmt: skip
        shape = (len(self._names), _MOST)
        self._sum, self._count = np.zeros(shape), np.zeros(shape)
        self._low, self._high = np.full(shape, np.inf), np.full(shape, -np.inf)
        self._rates = np.zeros(_FASTEST * _FINE + 1, dtype=np.int64)
        self.step = 1
        """Seconds of a step."""
        self.rows = 0
        self.given = 0  # rows with a rate
        self.scored = 0  # rows with a score
        self.reasons: Counter[str] = Counter()
        """Why there was no rate -> seconds."""
        self.parts: Counter[str] = Counter()
        """Of the face, that told the rate -> seconds."""
        self.missing: dict[str, tuple[int, str]] = {}
        """Item of the score -> seconds that it was missing, and why at last."""

    def add(self, vitals: Vitals) -> None:
        """Take in a second."""
        place = round(vitals.seconds) - 1
        while place >= self.step * _MOST:
            self._merge()
        at = place // self.step
        values = np.array([
            vitals.rate, vitals.quality, vitals.score, vitals.expressivity_rate,
            math.nan if vitals.apnea is None else float(vitals.apnea), vitals.face,
            float(not math.isnan(vitals.rate)),
            *(vitals.units.get(number, math.nan) for number in self.units),
        ])  # fmt: skip
        known = np.isfinite(values)
        self._sum[known, at] += values[known]
        self._count[known, at] += 1
        self._low[known, at] = np.minimum(self._low[known, at], values[known])
        self._high[known, at] = np.maximum(self._high[known, at], values[known])
        self._tally(vitals)

    def _tally(self, vitals: Vitals) -> None:
        self.rows += 1
        self.scored += not math.isnan(vitals.score)
        if math.isnan(vitals.rate):
            self.reasons[vitals.reason] += 1
        else:
            self.given += 1
            self.parts[vitals.part] += 1
            self._rates[min(round(vitals.rate * _FINE), len(self._rates) - 1)] += 1
        for item in filter(None, vitals.missing.split("; ")):
            name, _, why = item.partition(" (")
            seconds = self.missing.get(name, (0, ""))[0]
            self.missing[name] = seconds + 1, why.removesuffix(")")

    @property
    def seconds(self) -> int:
        """How long it is, in whole seconds."""
        known = np.flatnonzero(self._count[self._names.index(FACE)])
        return 0 if not len(known) else int(known[-1] + 1) * self.step

    @property
    def times(self) -> Array:
        """The middle of each step, in seconds."""
        count = self.seconds // self.step
        middles: Array = (np.arange(count, dtype=np.float64) + 0.5) * self.step
        return middles

    def line(self, name: str) -> Line:
        """Return a figure over time; ``AU01`` and its like are those of the Action Units."""
        count = self.seconds // self.step
        at = self._names.index(name)
        seen = self._count[at, :count]
        known = seen > 0
        mean = np.where(known, self._sum[at, :count] / np.maximum(seen, 1), np.nan)
        low = np.where(known, self._low[at, :count], np.nan)
        return Line(mean, low, np.where(known, self._high[at, :count], np.nan))

    def rate_at(self, share: float) -> float:
        """Return the rate below which this share of the given rates lie; NaN without any."""
        if not self.given:
            return math.nan
        return int(np.searchsorted(np.cumsum(self._rates), share * self.given)) / _FINE

    def share(self, name: str) -> float:
        """Return the mean of a figure over all seconds that it was known in; NaN without any."""
        at = self._names.index(name)
        count = self._count[at].sum()
        return float(self._sum[at].sum() / count) if count else math.nan

    def _merge(self) -> None:
        """Let two steps become one."""
        pairs = (len(self._names), _MOST // 2, 2)
        half = slice(0, _MOST // 2)
        for values, join, empty in (
            (self._sum, np.add, 0.0), (self._count, np.add, 0.0),
            (self._low, np.minimum, np.inf), (self._high, np.maximum, -np.inf),
        ):  # fmt: skip
            values[:, half] = join.reduce(values.reshape(pairs), axis=2)
            values[:, _MOST // 2 :] = empty
        self.step *= 2
