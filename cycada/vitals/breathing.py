"""Breathing told frame by frame: the rate where it can be told, and whether it has stopped."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cycada.vitals.respiration import WINDOW, Estimate, estimate_best
from cycada.vitals.tracking import PARTS

_KEPT = WINDOW + 2.0  # s


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
        times, values = np.array(self._seconds), np.array(self._values)
        return Breathing(estimate_best(times, dict(zip(PARTS, values.T, strict=True))))
