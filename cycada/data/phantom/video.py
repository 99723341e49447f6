"""Videos of phantom faces: expressions that come and go, swaying heads and breathing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from cycada.data.phantom.expression import PHANTOM_ACTION_UNITS, Domain, sample_intensities
from cycada.data.phantom.scene import Scene, sample_scenes

if TYPE_CHECKING:
    from torch import Generator, Tensor

_INHALE_SHARE = 0.4  # of a breath; breathing out takes longer


class SequenceTruth(NamedTuple):
    """What is known exactly about a made video."""

    breaths_per_minute: Tensor  # (T,) rate at every frame
    air_flow: Tensor  # (T,) -1 breathing in to 1 breathing out
    seconds: Tensor  # (T,) time of every frame


class Sequence(NamedTuple):
    """A made video of one person: what :func:`render_celsius` needs for each of ``T`` frames."""

    intensities: Tensor  # (T, 18)
    scene: Scene  # T rows
    truth: SequenceTruth


def sample_sequence(
    frames: int,
    *,
    domain: Domain,
    generator: Generator,
    frames_per_second: float = 10.0,
    breaths_per_minute: float = 15.0,
    events_per_minute: float = 12.0,
) -> Sequence:
    """Draw a video of one face.

    Args:
        frames: Number of frames ``T``.
        domain: Whose expressions come, as in :func:`sample_intensities`.
        generator: Source of randomness.
        frames_per_second: Frame rate.
        breaths_per_minute: Mean respiration rate; single breaths vary by a few per cent.
        events_per_minute: How often a new expression begins.

    Returns:
        Intensities, scene and truth of every frame. Render them with
        ``identity.take([person] * frames)``.
    """
    seconds = torch.arange(frames) / frames_per_second
    intensities = expression_courses(
        seconds, domain=domain, generator=generator, per_minute=events_per_minute
    )
    phase, rate = _breathing(seconds, breaths_per_minute, generator)
    scene = _move(sample_scenes(1, generator=generator), seconds, phase, generator)
    return Sequence(intensities, scene, SequenceTruth(rate, phase.sin(), seconds))


def expression_courses(
    seconds: Tensor, *, domain: Domain, generator: Generator, per_minute: float
) -> Tensor:
    """Return the largest of overlapping events, each with onset, apex and offset."""
    last = float(seconds[-1]) if len(seconds) else 0.0
    events = max(1, round(last / 60 * per_minute))
    peak = sample_intensities(events, domain=domain, generator=generator)
    share = torch.rand(events, generator=generator)
    begin = (torch.arange(events) + 0.8 * share) * (last / events)
    onset, apex, offset = (
        low + (high - low) * torch.rand(events, generator=generator)
        for low, high in ((0.25, 0.8), (0.5, 2.5), (0.5, 1.5))
    )
    time = seconds[:, None] - begin
    rise = (time / onset).clamp(0, 1)
    fall = ((onset + apex + offset - time) / offset).clamp(0, 1)
    envelope = _ease(rise) * _ease(fall)
    if not events:
        return torch.zeros(len(seconds), len(PHANTOM_ACTION_UNITS))
    return (envelope[:, :, None] * peak).amax(dim=1)


def _ease(part: Tensor) -> Tensor:
    return part * part * (3 - 2 * part)


def _breathing(seconds: Tensor, mean_rate: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return the phase of breathing, whose sine is the air flow, and the rate."""
    start = torch.rand(2, generator=generator)
    wander = 0.03 * (
        torch.sin(2 * torch.pi * (seconds / 17 + start[0]))
        + torch.sin(2 * torch.pi * (seconds / 29 + start[1]))
    )
    rate = mean_rate * (1 + wander)
    gaps = torch.diff(seconds, prepend=seconds[:1])
    cycles = torch.rand(1, generator=generator) + (rate / 60 * gaps).cumsum(0)
    part = cycles % 1
    breathing_in = torch.pi * part / _INHALE_SHARE
    breathing_out = torch.pi * (part - _INHALE_SHARE) / (1 - _INHALE_SHARE)
    phase = torch.where(part < _INHALE_SHARE, torch.pi + breathing_in, breathing_out)
    return phase, rate


def _move(still: Scene, seconds: Tensor, phase: Tensor, generator: Generator) -> Scene:
    """Return ``still`` for every frame, with head sway, breathing and fresh noise."""
    count = len(seconds)
    every = still.take([0] * count)

    def sway(amount: float) -> Tensor:
        start = torch.rand(2, generator=generator)
        slow = torch.sin(2 * torch.pi * (seconds / 7.3 + start[0]))
        quick = torch.sin(2 * torch.pi * (seconds / 3.1 + start[1]))
        return amount * (0.7 * slow + 0.3 * quick)

    shift = torch.stack([sway(0.15), sway(0.08) + 0.05 * phase.sin()], dim=1)
    parts = {name: getattr(every, name) for name in Scene.__slots__}
    parts |= {
        "yaw": every.yaw + sway(2.0),
        "pitch": every.pitch + sway(1.5),
        "roll": every.roll + sway(1.0),
        "shift": every.shift + shift,
        "breathing_phase": phase,
        "seed": torch.randint(2**31 - 1, (count,), generator=generator),
    }
    return Scene(**parts)
