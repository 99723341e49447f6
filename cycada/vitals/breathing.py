"""Breathing told frame by frame: the rate where it can be told, and whether it has stopped.

What the air does is seen at the nostrils, at the mouth and next to them, and nowhere else. What
all of a face does at once is the camera, or the head that moves. So a part counts by how much
more it swings in the band of breathing than the face does as a rule.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cycada.vitals.apnea import SHORTEST, ApneaWatch
from cycada.vitals.face_areas import PARTS
from cycada.vitals.respiration import (
    LOWEST_QUALITY,
    WINDOW,
    Estimate,
    Reason,
    band_passed,
    estimate_window,
    evened,
    too_slow,
)

Array = NDArray[Any]

_KEPT = WINDOW + 2.0  # s
_MOST_PARTS = 6  # that swing most, of which rates are estimated
_BAR = {"nostrils": LOWEST_QUALITY, "mouth": LOWEST_QUALITY + 0.02, "other": LOWEST_QUALITY + 0.08}
_NEVER = frozenset(PARTS[2:8])  # forehead and eyes
_SLOW, _OF_SLOW = 12.0, 0.2  # breaths per minute below which a head may sway; quality for it
_FEWEST_AROUND = 6  # parts that make out what a face does as a rule
_KEEP = 0.05  # quality by which others must be better than the part of before
_LONGEST_GAP = 2.0  # s in which a breath may have been missed
_SILENT_FOR = 90.0  # s of a well seen face without any breathing: there is none to be seen


@dataclass(frozen=True, slots=True)
class Breathing:
    """What is known of the breathing at one moment.

    Attributes:
        estimate: The rate over the last 30 s and from which part of the face, or why there is
            none.
        apnea: Whether breathing was there and has stopped for 10 s or more; ``None`` where that
            cannot be told: no breathing was known yet, or what told of it is not seen.
        apnea_since: Time in seconds at which it stopped; NaN where it goes on. Where ``apnea`` is
            ``None``, what was told last.
        not_applicable: That breathing could not be told from this face for a minute and a half:
            an intubated patient has no flow at nose and mouth, others move or speak; empty where
            it could, or where that is not known yet.
    """

    estimate: Estimate
    apnea: bool | None = None
    apnea_since: float = math.nan
    not_applicable: str = ""


class BreathingMonitor:
    """Tells the breathing from the temperatures of parts of a face, in constant memory."""

    def __init__(self) -> None:
        """Begin without having seen anything."""
        self._seconds: deque[float] = deque()
        self._values: deque[tuple[float, ...]] = deque()
        self._part = ""
        self._apnea = ApneaWatch()
        self._breathless_since = self._first = math.nan

    def see(self, seconds: float, parts: Mapping[str, float]) -> None:
        """Take in a frame.

        Args:
            seconds: When it was taken; later than the one before.
            parts: What :meth:`FaceTracker.see` returned of it.

        Raises:
            ValueError: It is not later than the one before.
        """
        if self._seconds and seconds <= self._seconds[-1]:
            raise ValueError(f"{seconds} s comes after {self._seconds[-1]} s")
        if not self._seconds:
            self._first = seconds
        self._seconds.append(seconds)
        self._values.append(tuple(parts[name] for name in PARTS))
        while self._seconds[0] < seconds - _KEPT:
            self._seconds.popleft()
            self._values.popleft()

    def tell(self) -> Breathing:
        """Return what is known after the last frame; meant to be asked once a second or so."""
        if not self._seconds:
            return Breathing(Estimate(math.nan, 0.0, "not seen"))
        now = self._seconds[-1]
        times, values = np.array(self._seconds), np.array(self._values)
        found = {
            name: level
            for name, column in zip(PARTS, values.T, strict=True)
            if (level := evened(times, column)) is not None
        }
        if not found:
            self._breathless_since = math.nan
            self._apnea.see_nothing()
            why: Reason = "too few frames" if too_slow(times) else "not seen"
            return Breathing(Estimate(math.nan, 0.0, why), apnea_since=self._apnea.since)
        breaths = dict(zip(found, band_passed(np.stack(list(found.values()))), strict=True))
        told = self._told(found, breaths)
        best = max(told, key=self._worth)
        self._part = best.part if best.given else self._part
        watched = {
            name: breath
            for name, breath in breaths.items()
            if _longest_gap(times, values[:, PARTS.index(name)], SHORTEST) < _LONGEST_GAP
        }
        self._apnea.see(now, watched, told=[each.part for each in told if each.given])
        stopped = None
        if self._apnea.knows:
            stopped = not math.isnan(self._apnea.since)
        if best.given or self._apnea.known:
            self._breathless_since = math.nan
        elif math.isnan(self._breathless_since):
            self._breathless_since = max(now - WINDOW, self._first)
        if stopped:
            best = replace(best, rate=math.nan, reason="breathing stopped")
        silent = now - self._breathless_since >= _SILENT_FOR
        return Breathing(
            best, apnea=stopped, apnea_since=self._apnea.since,
            not_applicable=f"no breathing could be told for {_SILENT_FOR:g} s" if silent else "",
        )  # fmt: skip

    def _told(
        self, levels: Mapping[str, Array], breaths: Mapping[str, Array]
    ) -> Sequence[Estimate]:
        """Return what the parts tell that may breathe."""
        # As a standard deviation that single moves do not change.
        deep = 1.4826 * np.median(np.abs(np.stack(list(breaths.values()))), axis=1)
        swings = dict(zip(breaths, deep.tolist(), strict=True))
        usual = float(np.median(list(swings.values())))
        may = sorted(swings.keys() - _NEVER, key=lambda name: -swings[name])
        told = []
        for name in dict.fromkeys((*may[:_MOST_PARTS], *(name for name in _BAR if name in swings))):
            estimate = replace(estimate_window(levels[name], breaths[name]), part=name)
            share = 1.0
            if len(swings) >= _FEWEST_AROUND:
                share = swings[name] ** 2 / (swings[name] ** 2 + usual**2 + 1e-12)
            told.append(_judged(estimate, estimate.quality * share))
        return told or [Estimate(math.nan, 0.0, "not seen")]

    def _worth(self, estimate: Estimate) -> tuple[bool, float]:
        liked = _BAR["other"] - _bar(estimate.part) + _KEEP * (estimate.part == self._part)
        return estimate.given, estimate.quality + liked


def _judged(estimate: Estimate, quality: float) -> Estimate:
    """Return an estimate of another quality: without a rate if that is too low for it."""
    slow = max(0.0, 1 - estimate.rate / _SLOW) if estimate.given else 0.0
    if estimate.given and quality < _bar(estimate.part) + _OF_SLOW * slow:
        return replace(estimate, rate=math.nan, quality=quality, reason="no rhythm")
    return replace(estimate, quality=quality)


def _bar(part: str) -> float:
    """Return the least quality of a rate from a part."""
    return _BAR.get(part, _BAR["other"])


def _longest_gap(times: Array, values: Array, seconds: float) -> float:
    """Return the longest time in the last seconds in which nothing was seen."""
    start = times[-1] - seconds
    seen = times[np.isfinite(values) & (times > start)]
    return float(np.diff(np.concatenate([[start], seen, times[-1:]])).max())
