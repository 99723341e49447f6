"""Breathing told frame by frame: the rate where it can be told, and whether it has stopped.

What the air does is seen at the nostrils, at the mouth and next to them, and nowhere else. What
all of a face does at once is the camera, or the head that moves. So a part counts by how much
more it swings in the band of breathing than the face does as a rule.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cycada.vitals.apnea import ApneaWatch
from cycada.vitals.face_areas import PARTS
from cycada.vitals.respiration import (
    LOWEST_QUALITY,
    WINDOW,
    Estimate,
    band_passed,
    estimate_window,
    evened,
)

Array = NDArray[Any]

_KEPT = WINDOW + 2.0  # s
_MOST_PARTS = 6  # that swing most, of which rates are estimated
_CERTAIN = 1.0  # times the swing of a face as a rule: a part that swings so much counts half
_FEWEST_AROUND = 6  # parts that make out what a face does as a rule
_PREFERRED = {"nostrils": 0.06, "mouth": 0.04}  # quality by which others must be better
_KEEP = 0.05  # the same, for the part that was told of before
_SILENT_FOR = 60.0  # s of a well seen face without any breathing: there is none to be seen


@dataclass(frozen=True, slots=True)
class Breathing:
    """What is known of the breathing at one moment.

    Attributes:
        estimate: The rate over the last 30 s and from which part of the face, or why there is
            none.
        apnea: Whether breathing was there and has stopped for 10 s or more.
        apnea_since: Time in seconds at which it stopped; NaN where it goes on.
        not_applicable: Why breathing cannot be told from this face at all (an intubated patient
            has no flow at nose and mouth); empty where it can, or where that is not known yet.
    """

    estimate: Estimate
    apnea: bool = False
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
        self._breathless_since = math.nan

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
            return Breathing(Estimate(math.nan, 0.0, "not seen"))
        breaths = dict(zip(found, band_passed(np.stack(list(found.values()))), strict=True))
        best = self._best(found, breaths)
        # Whether it goes on is told by the part that has told the rate.
        watched = self._apnea.see(now, breaths.get(self._part), given=best.given)
        if best.given or watched.known:
            self._breathless_since = math.nan
        elif math.isnan(self._breathless_since):
            self._breathless_since = now - WINDOW
        if watched.stopped:
            best = replace(best, rate=math.nan, reason="breathing stopped")
        silent = now - self._breathless_since >= _SILENT_FOR
        return Breathing(
            best, apnea=watched.stopped, apnea_since=watched.since,
            not_applicable="nothing breathes at nose or mouth" if silent else "",
        )  # fmt: skip

    def _best(self, levels: Mapping[str, Array], breaths: Mapping[str, Array]) -> Estimate:
        """Return the estimate from the part that tells the rate best."""
        swings = {name: _swing(breath) for name, breath in breaths.items()}
        usual = float(np.median(list(swings.values())))
        order = sorted(swings, key=lambda name: -swings[name])[:_MOST_PARTS]
        told: list[Estimate] = []
        for name in {*order, *(_PREFERRED.keys() & swings.keys())}:
            estimate = replace(estimate_window(levels[name], breaths[name]), part=name)
            if len(swings) >= _FEWEST_AROUND:
                ratio = swings[name] / usual if usual else 0.0
                estimate = _weighed(estimate, ratio**2 / (ratio**2 + _CERTAIN**2))
            told.append(estimate)
        best = max(told, key=self._worth)
        if best.given:
            self._part = best.part
        return best

    def _worth(self, estimate: Estimate) -> tuple[bool, float, str]:
        liked = _PREFERRED.get(estimate.part, 0.0) + _KEEP * (estimate.part == self._part)
        return estimate.given, estimate.quality + liked, estimate.part


def _weighed(estimate: Estimate, share: float) -> Estimate:
    """Return an estimate of which only a share of the quality is left."""
    quality = estimate.quality * share
    if estimate.given and quality < LOWEST_QUALITY:
        return replace(estimate, rate=math.nan, quality=quality, reason="no rhythm")
    return replace(estimate, quality=quality)


def _swing(breath: Array) -> float:
    """Return how far values swing, as a standard deviation that single moves do not change."""
    return float(1.4826 * np.median(np.abs(breath)))
