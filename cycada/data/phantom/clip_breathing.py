"""Breath by breath: air flow, its rate, and how warm it leaves the nostrils."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy import signal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Generator

    from cycada.data.phantom.clip_spec import ClipSpec, Phase, Span

_FINE = 50.0  # Hz at which the air is followed
_LAG = 0.25  # s that skin takes to follow the air: fast breaths change it less
_LEAD_IN = 3.0  # s before the clip, so that the skin has taken its temperature
_INHALE_SHARE = 0.4  # of a breath; breathing out takes longer
_SPOKEN_SHARE = 0.2  # who speaks breathes in quickly and speaks on the way out
_SPOKEN = 0.2  # standard deviation of the length of breaths while speaking, share of it
_DEPTHS = 0.15  # standard deviation of the logarithm of a breath's depth
_SLOWEST = 3.0  # breaths per minute while breathing does not stop


class Air(NamedTuple):
    """What the air does at each of ``T`` times."""

    rate: NDArray[np.float64]  # (T,) breaths per minute, of the breath that is taken; 0 in apnea
    flow: NDArray[np.float64]  # (T,) about -1 in to 1 out
    warmth: NDArray[np.float64]  # (T,) of the skin that it passes, share of the depth


class _Breath(NamedTuple):
    start: float
    duration: float
    depth: float
    inhale: float  # share of the duration


def breathe(spec: ClipSpec, times: NDArray[np.float64], *, generator: Generator) -> Air:
    """Draw single breaths, and return what they do at ``(T,)`` times in s."""
    breaths = _breaths(spec, generator)
    first = -_LEAD_IN
    fine = first + np.arange(round((spec.seconds + _LEAD_IN) * _FINE) + 2) / _FINE
    _, flow = _at(breaths, fine)
    share = 1 - np.exp(-1 / (_FINE * _LAG))
    warmth = signal.lfilter([share], [1, share - 1], flow)
    rate, flow = _at(breaths, times)
    return Air(rate, flow, np.interp(times, fine, warmth))


def asked_rate(phases: Sequence[Phase], time: float, *, change: float) -> float:
    """Return the breaths per minute that are asked for at a time.

    From one rate to another it takes ``change`` seconds; it stops, and begins again, at once.
    """
    at = max(number for number, phase in enumerate(phases) if phase.start <= max(time, 0.0))
    rate = phases[at].rate
    before = phases[at - 1].rate if at else 0.0
    if not rate or not before or not change:
        return rate
    share = min((time - phases[at].start) / change, 1.0)
    return before + (rate - before) * share * share * (3 - 2 * share)


def _breaths(spec: ClipSpec, generator: Generator) -> list[_Breath]:
    def chance(mean: float, deviation: float) -> float:
        return mean + deviation * float(torch.randn((), generator=generator).clamp(-2.5, 2.5))

    found: list[_Breath] = []
    usual = max((phase.rate for phase in spec.breathing), default=0.0)
    time = -_LEAD_IN - float(torch.rand((), generator=generator)) * 60 / max(usual, _SLOWEST)
    while time < spec.seconds:
        rate = asked_rate(spec.breathing, time, change=spec.change)
        if not rate:
            time = min(
                (phase.start for phase in spec.breathing if phase.start > max(time, 0.0)),
                default=spec.seconds,
            )
            continue
        speaks = _within(spec.speech, time)
        jitter = chance(0.0, max(spec.irregularity, _SPOKEN if speaks else 0.0))
        duration = 60 / max(rate, _SLOWEST) * float(np.exp(jitter))
        inhale = chance(_SPOKEN_SHARE if speaks else _INHALE_SHARE, 0.02)
        found.append(_Breath(time, duration, float(np.exp(chance(0.0, _DEPTHS))), inhale))
        time += duration
    return found


def _at(
    breaths: Sequence[_Breath], times: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the rate and the flow at times."""
    if not breaths:
        return np.zeros(len(times)), np.zeros(len(times))
    start, duration, depth, inhale = np.array(breaths).T
    which = np.maximum(np.searchsorted(start, times, side="right") - 1, 0)
    part = (times - start[which]) / duration[which]
    taken = (part >= 0) & (part < 1)
    share = inhale[which]
    into = -np.sin(np.pi * part / share)
    out = np.sin(np.pi * (part - share) / (1 - share))
    flow = np.where(part < share, into, out) * depth[which]
    return np.where(taken, 60 / duration[which], 0.0), np.where(taken, flow, 0.0)


def _within(spans: Sequence[Span], time: float) -> bool:
    return any(span.start <= time < span.end for span in spans)
