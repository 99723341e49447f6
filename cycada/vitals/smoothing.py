"""Probabilities of Action Units (AUs), smoothed while they come in; what is not seen is a gap."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cycada.settings import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class SmoothingConfig:
    """How AU probabilities are smoothed over time."""

    seconds: float = setting(
        1.0, "time in s after which a frame counts 37 % (exponential weights)", low=0.01
    )
    longest_gap: float = setting(
        2.0, "s after which an AU that is not seen any more is unknown, and begins anew", low=0
    )


class Smoother:
    """The exponentially weighted mean of each AU's probability, in constant memory.

    Weights depend on the frames' times, not on their number, so the same course gives the same
    means at 9 and at 30 frames per second. The first frames are not pulled towards 0: weights are
    divided by their sum.
    """

    def __init__(self, config: SmoothingConfig | None = None) -> None:
        """Begin with nothing seen; without a config with the defaults."""
        self._config = config or SmoothingConfig()
        self._means: dict[int, _Mean] = {}

    def see(self, seconds: float, probabilities: Mapping[int, float]) -> None:
        """Take in a frame.

        Args:
            seconds: Its time, not before that of the frame before.
            probabilities: FACS number of an AU -> probability in [0, 1]; AUs that cannot be
                assessed are left out or NaN; empty where there is no face.
        """
        for unit, value in probabilities.items():
            if math.isnan(value):
                continue
            mean = self._means.get(unit)
            if mean is None or seconds - mean.last > self._config.longest_gap:
                mean = _Mean(last=seconds)
                self._means[unit] = mean
            mean.add(seconds, value, self._config.seconds)

    def tell(self, seconds: float) -> dict[int, float]:
        """Return what is known at a time, no earlier than the last frame: AU -> probability.

        AUs that were not seen for longer than ``longest_gap`` are not among them.
        """
        known = {
            unit: mean.value
            for unit, mean in self._means.items()
            if seconds - mean.last <= self._config.longest_gap
        }
        return dict(sorted(known.items()))


@dataclass(slots=True)
class _Mean:
    last: float  # s, of the frame that was added last
    value: float = 0.0
    weight: float = 0.0

    def add(self, seconds: float, value: float, constant: float) -> None:
        kept = self.weight * math.exp((self.last - seconds) / constant)
        self.weight = kept + 1
        self.value += (value - self.value) / self.weight
        self.last = seconds
