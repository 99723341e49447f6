"""Whether breathing has stopped: it was there, and what is left of it is far below its usual."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cycada.vitals.respiration import GRID

Array = NDArray[Any]

SHORTEST = 10.0
"""Seconds without a breath that make an apnea, as in sleep medicine."""

_BEGINS, _ENDS = 0.35, 0.5  # share of the usual depth
_BACK = 5.0  # s by whose depth it is told that breathing is back
_EDGE = 1.0  # s at the end of a window that its filter knows badly
_LEARNED = 0.2  # of a window's depth in the usual one
_KNOWN = 3  # times that a rate was given before breathing counts as known


class Watched(NamedTuple):
    """What is known of the breathing."""

    known: bool  # whether it has been seen
    since: float = math.nan  # s, when it stopped; NaN where it goes on

    @property
    def stopped(self) -> bool:
        """Whether it has stopped."""
        return not math.isnan(self.since)


class ApneaWatch:
    """Follows how deep the breathing is."""

    def __init__(self) -> None:
        """Begin without knowing the breathing."""
        self._usual = math.nan  # K, or grey levels, of the part that is watched
        self._given = 0
        self._since = math.nan

    def see(self, now: float, breath: Array | None, *, given: bool) -> Watched:
        """Take in what the watched part does.

        Args:
            now: s, the end of the window.
            breath: ``(T,)`` band-passed values of the window on the even grid; ``None`` where the
                part was not seen.
            given: Whether a rate was given.
        """
        if breath is None:
            self._since = math.nan  # nobody knows
            return Watched(self._known)
        deep = np.abs(breath[: -round(_EDGE * GRID)])
        if given and math.isnan(self._since):
            self._given += 1
            depth = float(np.median(deep))
            share = _LEARNED if self._given > 1 else 1.0
            self._usual = depth if share == 1.0 else self._usual + share * (depth - self._usual)
        if not self._known:
            return Watched(self._known)
        lately = float(np.median(deep[-round((SHORTEST - _EDGE) * GRID) :]))
        if math.isnan(self._since) and lately < _BEGINS * self._usual:
            self._since = now - self._still(deep)
        elif not math.isnan(self._since):
            back = float(np.median(deep[-round(_BACK * GRID) :]))
            if back > _ENDS * self._usual:
                self._since = math.nan
        return Watched(self._known, self._since)

    @property
    def _known(self) -> bool:
        return self._given >= _KNOWN

    def _still(self, deep: Array) -> float:
        """Return for how many seconds there has been no usual breath; ten at least."""
        breaths = np.flatnonzero(deep > self._usual)
        last = int(breaths[-1]) if len(breaths) else 0
        return max(SHORTEST, (len(deep) - last) / GRID + _EDGE)
