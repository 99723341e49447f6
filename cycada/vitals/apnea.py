"""Whether breathing has stopped: it was there, and what is left of it is far below its usual."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cycada.vitals.respiration import GRID, WINDOW

Array = NDArray[Any]

SHORTEST = 10.0
"""Seconds without a breath that make an apnea, as in sleep medicine."""

_BEGINS, _ENDS = 0.35, 0.5  # share of the usual depth
_BACK = 5.0  # s by whose depth it is told that breathing is back
_CLEAR = 0.25  # of the part that swings most: one by itself tells that breathing is back
_EDGE = 1.0  # s at the end of a window that its filter knows badly
_SHARE = 75  # per cent of the time in which breaths are not as deep: short moves are left out
_KNOWN = 20.0  # s in which a rate was told before breathing counts as known
_FORGIVEN = 5.0  # s without one among them
_DEEPER, _SHALLOWER = 0.2, 0.03  # of a depth that is learned; an apnea must not become usual


class ApneaWatch:
    """Follows how deep the breathing is, in each part of the face that has told of it.

    Attributes:
        since: Time in s at which breathing stopped; NaN where it goes on. Where nobody knows, that
            of before.
        knows: Whether that is of the last window: breathing is known, and a part of the face that
            has told of it was seen.
    """

    def __init__(self) -> None:
        """Begin without knowing the breathing."""
        self.since = math.nan
        self.knows = False
        self._quiet = math.nan  # the same, while it is too short for an apnea as well
        self._away = False  # whether the face is hidden
        self._returned = math.nan  # time since which it has been seen again
        self._breathed = math.nan  # time at which a part of the face was last seen to breathe
        self._usual: dict[str, float] = {}
        self._first = self._last = math.nan  # time at which a rate was told
        self._known = False

    @property
    def known(self) -> bool:
        """Whether breathing has been seen long enough to be missed."""
        return self._known

    def see_nothing(self) -> None:
        """Take in a window in which nothing was seen."""
        self.knows = False
        self._away = True

    def see(self, now: float, breaths: Mapping[str, Array], *, told: Sequence[str]) -> None:
        """Take in a window.

        Args:
            now: s, its end.
            breaths: Part of the face -> ``(T,)`` band-passed values on the even grid; parts that
                were not seen throughout the last :data:`SHORTEST` s are missing.
            told: Parts by which a rate can be told.
        """
        if told:
            if not now - self._last <= _FORGIVEN:
                self._first = now
            self._last = now
            self._known |= now - self._first >= _KNOWN
            if now - self._quiet > WINDOW and self._breathes(now, told):
                self._usual.clear()  # a rate was told of nothing but shallow breaths
                self._quiet = math.nan
            if math.isnan(self._quiet):
                self._learn(breaths, told)
        deep = {name: np.abs(breaths[name]) for name in self._usual if name in breaths}
        self.knows = self._known and bool(deep)
        if self._usual and not deep:  # a face that hides breathes no more and no less than before
            self._away = True
            return
        if self._away:
            self._away, self._returned = False, now - SHORTEST
        # All parts together tell that it stops, one by itself that it does not, or goes on again.
        breathes = any(self._depth(each, _BACK) > _ENDS for each in self._each(deep, told))
        if breathes:
            self._breathed = now
        if breathes or not self._known or not deep:
            self._quiet = math.nan
        elif math.isnan(self._quiet) and self._depth(deep, SHORTEST) < _BEGINS:
            last = self._breathed - (_BACK - _EDGE)  # breath of a part, at the earliest
            begun = np.fmax(now - self._still(deep), last)
            self._quiet = float(np.fmax(begun, self._returned))  # before, nobody knows
        # A pause that is shorter is none; a short move in a longer one does not end it.
        if not now - self._quiet < SHORTEST:
            self.since = self._quiet

    def _breathes(self, now: float, told: Sequence[str]) -> bool:
        """Tell whether a rate was told for so long that it is no noise in an apnea."""
        known = not self._usual.keys().isdisjoint(told)
        return now - self._first >= (SHORTEST if known else _KNOWN)

    def _learn(self, breaths: Mapping[str, Array], told: Sequence[str]) -> None:
        for name in set(told) & set(breaths):
            depth = float(np.percentile(np.abs(breaths[name]), _SHARE))
            usual = self._usual.setdefault(name, depth)
            self._usual[name] += (_DEEPER if depth > usual else _SHALLOWER) * (depth - usual)

    def _depth(self, deep: Mapping[str, Array], seconds: float) -> float:
        """Return how deep breaths are lately, as a share of the usual."""
        lately = slice(-round(seconds * GRID), -round(_EDGE * GRID))
        return float(np.percentile(self._swing(deep)[lately], _SHARE))

    def _still(self, deep: Mapping[str, Array]) -> float:
        """Return for how many seconds there has been no usual breath."""
        swing = self._swing(deep)
        last = int(np.max(np.flatnonzero(swing > _ENDS), initial=0))
        return (len(swing) - last) / GRID

    def _each(
        self, deep: Mapping[str, Array], told: Sequence[str]
    ) -> Sequence[Mapping[str, Array]]:
        """Return the parts one by one that swing with the breath by more than noise.

        They do if they tell a rate, or are as a rule among those that swing most.
        """
        least = _CLEAR * max((self._usual[name] for name in deep), default=0.0)
        return [
            {name: values}
            for name, values in deep.items()
            if self._usual[name] >= least or (name in told and self._usual[name] > 0)
        ]

    def _swing(self, deep: Mapping[str, Array]) -> Array:
        """Return how far all parts together swing, as a share of the usual.

        A part that hardly swings with the breath is mostly noise, which goes on in an apnea, so
        each counts as much as it swings as a rule. Who goes on by the mouth swings there more.
        """
        swing: Array = np.sum(list(deep.values()), axis=0)
        return swing / sum(self._usual[name] for name in deep)
