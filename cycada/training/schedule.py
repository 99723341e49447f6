"""Learning rates and strengths as functions of the step, so that nothing has to be saved."""

from __future__ import annotations

import math


def linear_decay(step: int, *, total: int, start: float) -> float:
    """Return 1 up to the share ``start`` of the steps, then fall linearly to 0 at ``total``.

    CycleGAN (section 4) with ``start = 0.5``. ``step`` counts from 0.
    """
    first = start * total
    return 1.0 if step < first else (total - step) / max(total - first, 1)


def cosine(step: int, *, total: int, warm_up: float = 0.05) -> float:
    """Return a linear rise over the share ``warm_up`` of the steps, then half a cosine to 0."""
    rise = max(1, round(warm_up * total))
    if step < rise:
        return (step + 1) / rise
    return (1 + math.cos(math.pi * (step - rise) / max(total - rise, 1))) / 2


def dann_strength(step: int, *, total: int, warm_up: float) -> float:
    """Return DANN's weight, which rises as ``2 / (1 + exp(-10 p)) - 1`` (Ganin et al., sec. 5.2).

    ``p`` is the share of the first ``warm_up * total`` steps that are done.
    """
    progress = min(1.0, step / max(warm_up * total, 1))
    return 2 / (1 + math.exp(-10 * progress)) - 1
