"""Which Action Units come together, and how strongly, in each domain."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import torch

from cycada.action_units import INTENSITY_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Generator, Tensor

Domain = Literal["rgb", "thermal"]

PHANTOM_ACTION_UNITS: tuple[int, ...] = (
    1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 20, 23, 24, 25, 26, 38, 43,
)  # fmt: skip
"""The AUs that phantom faces show, in the order of the columns of every intensity tensor."""

_COLUMN = MappingProxyType({number: at for at, number in enumerate(PHANTOM_ACTION_UNITS)})

# How often each AU belongs to an expression (EMFACS prototypes; pain after the PSPI of Prkachin
# and Solomon 2008; distress after the dyspnea scales: fearful face, nasal flaring, open mouth).
_PROTOTYPES: Mapping[str, Mapping[int, float]] = MappingProxyType({
    "neutral": {},
    "smile": {12: 1.0, 6: 0.75, 25: 0.6, 7: 0.15, 26: 0.1},
    "surprise": {1: 0.95, 2: 0.95, 5: 0.8, 25: 0.85, 26: 0.85, 38: 0.1},
    "fear": {1: 0.9, 2: 0.7, 4: 0.65, 5: 0.8, 7: 0.5, 20: 0.8, 25: 0.8, 26: 0.45, 38: 0.3},
    "disgust": {9: 0.8, 10: 0.75, 4: 0.3, 7: 0.4, 17: 0.6, 15: 0.2, 25: 0.2, 6: 0.2},
    "anger": {4: 0.95, 5: 0.35, 7: 0.7, 23: 0.75, 24: 0.6, 17: 0.3, 38: 0.35, 10: 0.2},
    "sadness": {1: 0.85, 4: 0.7, 15: 0.85, 17: 0.65, 6: 0.1, 43: 0.15, 24: 0.25},
    "pain": {4: 0.95, 6: 0.65, 7: 0.8, 9: 0.55, 10: 0.65, 43: 0.5, 25: 0.55, 20: 0.25, 12: 0.15},
    "distress": {1: 0.7, 4: 0.6, 7: 0.5, 20: 0.5, 25: 0.85, 26: 0.65, 38: 0.8, 43: 0.2},
    "fatigue": {43: 0.9, 15: 0.5, 25: 0.4, 26: 0.35, 17: 0.1, 23: 0.15, 24: 0.15},
    "single": {},
})  # fmt: skip

# Posed portraits for RGB; patients at the bedside for thermal.
_WEIGHTS: Mapping[Domain, Mapping[str, float]] = MappingProxyType({
    "rgb": {
        "neutral": 0.08, "smile": 0.24, "surprise": 0.12, "fear": 0.07, "disgust": 0.10,
        "anger": 0.11, "sadness": 0.09, "pain": 0.03, "distress": 0.02, "fatigue": 0.04,
        "single": 0.10,
    },
    "thermal": {
        "neutral": 0.08, "smile": 0.05, "surprise": 0.05, "fear": 0.10, "disgust": 0.06,
        "anger": 0.07, "sadness": 0.07, "pain": 0.17, "distress": 0.18, "fatigue": 0.09,
        "single": 0.08,
    },
})  # fmt: skip

# Added to every face, whatever its expression: AUs also come alone and in unexpected company.
_STRAY = 0.045
_TRACE = 0.06  # chance of a stray trace below the threshold of occurrence

# (one, other, chance that the weaker of the two is dropped): antagonists or the same muscle.
_EXCLUSIONS = (
    (43, 5, 1.0),
    (24, 25, 1.0),
    (24, 26, 0.8),
    (24, 12, 0.5),
    (12, 15, 0.9),
    (12, 20, 0.6),
    (23, 20, 0.8),
    (23, 12, 0.6),
)


def sample_intensities(count: int, *, domain: Domain, generator: Generator) -> Tensor:
    """Draw AU intensities of ``count`` unrelated faces.

    Args:
        count: Number of faces.
        domain: Whose prior: ``"rgb"`` poses emotions, ``"thermal"`` shows patients.
        generator: Source of randomness.

    Returns:
        ``(count, 18)`` intensities from 0 to 5, exactly 0 where an AU is absent, in the order
        of :data:`PHANTOM_ACTION_UNITS`.
    """
    units = len(PHANTOM_ACTION_UNITS)
    names = tuple(_PROTOTYPES)
    table = torch.zeros(len(names), units)
    for row, name in enumerate(names):
        for number, chance in _PROTOTYPES[name].items():
            table[row, _COLUMN[number]] = chance
    weights = torch.tensor([_WEIGHTS[domain][name] for name in names])
    kind = torch.multinomial(weights, count, replacement=True, generator=generator)

    chosen = torch.rand(count, units, generator=generator) < table[kind]
    alone = torch.randint(units, (count,), generator=generator)
    chosen[torch.arange(count), alone] |= kind == names.index("single")
    stray = torch.rand(count, units, generator=generator) < _STRAY
    trace = torch.rand(count, units, generator=generator) < _TRACE

    # One strength for the whole expression, and a part of its own for each AU.
    whole = torch.randn(count, 1, generator=generator)
    own = torch.randn(count, units, generator=generator)
    level = 3.3 + 0.75 * whole + 0.75 * own
    weak = 0.4 + 1.5 * torch.rand(count, units, generator=generator)
    made = torch.where(chosen | stray, level.clamp(0.5, INTENSITY_MAX), trace * weak)
    return _exclude(made, generator)


def _exclude(intensities: Tensor, generator: Generator) -> Tensor:
    """Drop the weaker of two AUs that seldom or never come together."""
    kept = intensities.clone()
    for one, other, chance in _EXCLUSIONS:
        first, second = kept[:, _COLUMN[one]], kept[:, _COLUMN[other]]
        clash = (first > 0) & (second > 0)
        clash &= torch.rand(len(kept), generator=generator) < chance
        keep_first = first >= second
        kept[:, _COLUMN[one]] = torch.where(clash & ~keep_first, 0.0, first)
        kept[:, _COLUMN[other]] = torch.where(clash & keep_first, 0.0, second)
    return kept
