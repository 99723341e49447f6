"""Which clips there are: named scenarios, and any mixture of all that disturbs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal, get_args

import torch

from cycada.data.phantom.clip_spec import ClipSpec, Expression, Freeze, Look, Phase, Route, Span

if TYPE_CHECKING:
    from torch import Generator

Scenario = Literal["calm", "fear", "smile", "talk", "pain", "mouth", "apnea", "intubated"]

SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)

RATES = (6.0, 45.0)
"""Breaths per minute of the clips that :func:`sample_spec` draws."""

SECONDS = 120.0
"""Their length."""

_LOOKS: tuple[Look, ...] = get_args(Look)
_CALM = (11.0, 17.0)  # breaths per minute
_SHORT_OF_BREATH = (29.0, 38.0)
_BREATHLESS = 0.2  # share of clips in which no breathing can be seen


def scenario(
    name: Scenario,
    *,
    generator: Generator,
    seconds: float = SECONDS,
    frames_per_second: float = 9.0,
) -> ClipSpec:
    """Return a clip that tells one story, before a usual camera.

    Args:
        name: ``fear``: calm, then for the middle third a fearful face and fast breathing
            (dyspnea), then calm again; ``smile``, ``talk``, ``pain``: calm breathing and such a
            face in the middle third; ``calm``: neither; ``mouth``: calm breathing by the mouth;
            ``apnea``: breathing stops for a sixth of the clip in its middle; ``intubated``: no
            air passes nose or mouth.
        generator: Source of randomness, for the rates and the camera.
        seconds: Length.
        frames_per_second: Of the camera.
    """
    draw = _Draw(generator)
    calm, fast = draw.within(*_CALM), draw.within(*_SHORT_OF_BREATH)
    start, end = seconds / 3, 2 * seconds / 3
    spec = ClipSpec(
        seconds=seconds,
        frames_per_second=frames_per_second,
        breathing=(Phase(0.0, calm),),
        freezes=_freezes(draw, seconds),
    )
    if name == "fear":
        return dataclasses.replace(
            spec,
            breathing=(Phase(0.0, calm), Phase(start, fast), Phase(end, calm)),
            expressions=(Expression(start, end, "fear"),),
            dyspnea=(Span(start, end),),
        )
    if name in ("smile", "pain"):
        return dataclasses.replace(spec, expressions=(Expression(start, end, name),))
    if name == "talk":
        return dataclasses.replace(spec, speech=(Span(start, end),))
    if name == "mouth":
        return dataclasses.replace(spec, route="mouth")
    if name == "apnea":
        stop = 5 * seconds / 12
        phases = (Phase(0.0, calm), Phase(stop, 0.0), Phase(stop + seconds / 6, calm))
        return dataclasses.replace(spec, breathing=phases)
    return dataclasses.replace(spec, depth=0.0) if name == "intubated" else spec


def sample_spec(generator: Generator) -> ClipSpec:
    """Draw a clip of two minutes, with rates from 6 to 45 per minute and all that disturbs.

    One in five has no breathing to be seen: apnea throughout, or an intubated patient.
    """
    draw = _Draw(generator)
    route: Route = "mouth" if draw.chance(0.25) else "nose"
    spec = ClipSpec(
        seconds=SECONDS,
        frames_per_second=30.0 if draw.chance(0.1) else 9.0,
        scale=draw.within(0.65, 0.95),
        depth=draw.within(0.4, 1.4) if route == "mouth" else draw.within(0.3, 1.0),
        route=route,
        irregularity=draw.within(0.02, 0.08),
        speech=_speech(draw) if draw.chance(0.2) else (),
        expressions=_expressions(draw) if draw.chance(0.4) else (),
        motion=0.3 * 7 ** draw.within(0, 1),
        netd=draw.within(0.02, 0.08),
        drift=draw.within(-0.4, 0.4),
        freezes=_freezes(draw, SECONDS) if draw.chance(0.8) else (),
    )
    if draw.chance(_BREATHLESS):
        if draw.chance(0.5):
            return dataclasses.replace(spec, breathing=(Phase(0.0, 0.0),))
        return dataclasses.replace(spec, depth=0.0, breathing=(Phase(0.0, draw.within(10, 25)),))
    phases, change = _phases(draw)
    return dataclasses.replace(spec, breathing=phases, change=change)


def _phases(draw: _Draw) -> tuple[tuple[Phase, ...], float]:
    """Return rates that stay, drift or change, in one of five clips with an apnea."""
    rate = draw.within(*RATES)
    kind = draw.within(0, 1)
    if kind < 0.25:
        other, start, change = rate * draw.within(0.8, 1.2), 10.0, SECONDS - 20
    elif kind < 0.4:
        by = draw.within(4, 12) * (1 if draw.chance(0.5) else -1)
        other, start, change = rate + by, draw.within(40, 80), draw.within(4, 15)
    else:
        other, start, change = rate, 10.0, 0.0
    other = min(max(other, RATES[0]), RATES[1])
    phases = [Phase(0.0, rate)] + ([Phase(start, other)] if other != rate else [])
    if len(phases) < 2 and draw.chance(0.35):
        stop = draw.within(40, 85)
        phases += [Phase(stop, 0.0), Phase(stop + draw.within(12, 25), rate)]
    return tuple(phases), change


def _speech(draw: _Draw) -> tuple[Span, ...]:
    starts = [draw.within(5 + 35 * part, 30 + 35 * part) for part in range(3)]
    spans = [Span(start, start + draw.within(4, 10)) for start in starts]
    return tuple(spans[: 1 + int(draw.within(0, 3))])


def _expressions(draw: _Draw) -> tuple[Expression, ...]:
    start = draw.within(5, 60)
    look = _LOOKS[int(draw.within(0, len(_LOOKS)))]
    return (Expression(start, start + draw.within(15, 50), look),)


def _freezes(draw: _Draw, seconds: float) -> tuple[Freeze, ...]:
    """Return a shutter that closes every so often, as cameras without a cooler do."""
    found: list[Freeze] = []
    every = draw.within(20, 60)
    start = draw.within(5, every)
    while start < seconds - 1:
        found.append(Freeze(start, draw.within(0.3, 1.0), 0.25 * draw.gauss()))
        start += every * draw.within(0.9, 1.1)
    return tuple(found)


class _Draw:
    """Single numbers from a generator."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    def within(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self._generator))

    def chance(self, probability: float) -> bool:
        return self.within(0, 1) < probability

    def gauss(self) -> float:
        return float(torch.randn((), generator=self._generator).clamp(-2.5, 2.5))
