"""Radiometry: camera counts <-> degrees Celsius <-> [-1, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cycada.errors import DataError

Unit = Literal["grey", "centikelvin", "decikelvin", "kelvin64", "kelvin16", "kelvin", "celsius"]
"""What a thermal pixel counts; ``grey`` has no temperature scale, ``kelvin64`` is 1/64 K."""

FREEZING_POINT = 273.15  # K at 0 deg C

_COUNTS_PER_KELVIN = MappingProxyType(
    {"centikelvin": 100.0, "decikelvin": 10.0, "kelvin64": 64.0, "kelvin16": 16.0, "kelvin": 1.0}
)
_LARGEST_COUNT = 65535  # of 16 bits
_SPAN = 100.0  # K

INTEGER_UNITS: frozenset[Unit] = frozenset({"centikelvin", "decikelvin", "kelvin64", "kelvin16"})
"""Units that a 16-bit file holds with a step of 0.1 K or finer; the others need floats."""

# Medians of a frame of faces: where 10 to 47 deg C fall in each unit, without overlap.
_MEDIANS: tuple[tuple[Unit, float, float], ...] = (
    ("celsius", 15, 45),
    ("kelvin", 285, 320),
    ("decikelvin", 2850, 3200),
    ("kelvin16", 4560, 5120),
    ("kelvin64", 18200, 20400),
    ("centikelvin", 28500, 32000),
)


@dataclass(frozen=True, slots=True)
class Window:
    """The temperatures that [-1, 1] spans, in deg C; one window for a whole dataset."""

    low: float = 20.0
    high: float = 40.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise DataError(
                f"a temperature window needs two finite numbers in deg C, "
                f"not {self.low:g} to {self.high:g}."
            )
        if self.low >= self.high:
            raise DataError(
                f"the temperature window {self.low:g} to {self.high:g} deg C is upside down: "
                f"give the lower temperature first."
            )


def celsius_from_counts(counts: Tensor, unit: Unit) -> Tensor:
    """Return the temperatures in deg C of pixels that count in ``unit``.

    Args:
        counts: any shape and number type.
        unit: what the pixels count.

    Returns:
        float32, the same shape; right to about 0.00002 K.

    Raises:
        DataError: ``unit`` is ``"grey"``, which has no temperature.
    """
    counts = counts.to(torch.float32)
    if unit == "celsius":
        return counts
    scale = _scale(unit)
    # Subtracting first is exact in float32 for centikelvin; dividing first would round twice.
    return (counts - FREEZING_POINT * scale) / scale


def counts_from_celsius(celsius: Tensor, unit: Unit) -> Tensor:
    """Return temperatures in deg C as pixels that count in ``unit``.

    Returns:
        uint16, rounded and held within 16 bits, for the integer units; float32 for kelvin and
        celsius.

    Raises:
        DataError: ``unit`` is ``"grey"``, which has no temperature.
    """
    celsius = celsius.to(torch.float32)
    if unit == "celsius":
        return celsius
    scale = _scale(unit)
    counts = celsius * scale + FREEZING_POINT * scale
    if unit not in INTEGER_UNITS:
        return counts
    return counts.round().clamp(0, _LARGEST_COUNT).to(torch.int32).to(torch.uint16)


def to_signed(celsius: Tensor, window: Window) -> Tensor:
    """Map the window to [-1, 1]; temperatures outside it become -1 or 1."""
    share = (celsius.to(torch.float32) - window.low) / (window.high - window.low)
    return (2 * share - 1).clamp(-1, 1)


def from_signed(signed: Tensor, window: Window) -> Tensor:
    """Return the temperatures in deg C that ``to_signed`` maps to ``signed``."""
    share = (signed.to(torch.float32) + 1) / 2
    return share * (window.high - window.low) + window.low


def guess_unit(median: float, *, integer: bool) -> Unit | None:
    """Propose the unit of a thermal face image from its median pixel; ``None`` if it fits none.

    Raw counts of uncalibrated cameras can fall into the same ranges, so this is a proposal to
    show to the user, never the truth.

    Args:
        median: median pixel of a frame that a face at room temperature fills.
        integer: True for 16-bit files, which hold no whole kelvin or degrees.
    """
    for unit, low, high in _MEDIANS:
        if low <= median <= high and (not integer or unit in INTEGER_UNITS):
            return unit
    return None


def is_plausible(celsius: NDArray[np.float32]) -> bool:
    """Tell whether a guessed unit gives temperatures that one scene can have, in deg C.

    The coldest and the warmest 1% of the pixels lie within 100 K.
    """
    low, high = np.percentile(celsius, (1, 99))
    return bool(high - low <= _SPAN)


def _scale(unit: Unit) -> float:
    if unit == "grey":
        raise DataError("grey images have no temperature scale; state the unit of the pixels.")
    return _COUNTS_PER_KELVIN[unit]
