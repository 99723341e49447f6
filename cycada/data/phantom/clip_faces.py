"""What the face of a phantom patient does in a clip: looks, speech, and the way it breathes."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from cycada.action_units import INTENSITY_MAX
from cycada.data.phantom.expression import PHANTOM_ACTION_UNITS
from cycada.data.phantom.video import expression_courses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Generator, Tensor

    from cycada.data.phantom.clip_spec import ClipSpec, Expression, Look, Span

_COLUMN = MappingProxyType({number: at for at, number in enumerate(PHANTOM_ACTION_UNITS)})

# Mean intensities at the height of a look: EMFACS fear with the flaring nostrils of RDOS, a felt
# smile, and pain after Prkachin and Solomon (2008).
_LOOKS: Mapping[Look, Mapping[int, float]] = MappingProxyType({
    "fear": {1: 3.6, 2: 3.0, 4: 3.0, 5: 3.2, 7: 2.6, 20: 3.2, 25: 3.4, 26: 2.8, 38: 3.6},
    "smile": {6: 3.0, 12: 3.8, 25: 2.4},
    "pain": {4: 3.8, 6: 3.0, 7: 3.2, 9: 2.6, 10: 2.8, 43: 2.4},
    "random": {},
})  # fmt: skip
_CLOSING = (17, 23, 24)  # AUs that close lips through which the air goes
_TRACE = 0.6  # highest intensity that a face at rest shows here and there


def face_courses(spec: ClipSpec, times: Tensor, *, generator: Generator) -> Tensor:
    """Return ``(T, 18)`` AU intensities at ``(T,)`` times in s."""
    units = len(PHANTOM_ACTION_UNITS)
    still = (torch.rand(units, generator=generator) < 0.15) * _TRACE
    courses = [(still * torch.rand(units, generator=generator)).expand(len(times), units)]
    for expression in spec.expressions:
        if expression.look == "random":
            courses.append(_random(expression, times, generator))
        else:
            courses.append(_held(expression, times, generator))
    courses += [_speech(span, times, generator) for span in spec.speech]
    if spec.route == "mouth":
        courses.append(_parted(times, generator))
    made = torch.stack(courses).amax(dim=0)
    if spec.route == "mouth":
        made[:, [_COLUMN[number] for number in _CLOSING]] = 0
    wide = made[:, _COLUMN[5]] > 1
    made[:, _COLUMN[43]] = torch.where(wide, 0.0, made[:, _COLUMN[43]])
    return made.clamp(0, INTENSITY_MAX)


def _held(expression: Expression, times: Tensor, generator: Generator) -> Tensor:
    """Return a look that comes within a second, stays, and goes within two."""
    whole = 0.3 * float(torch.randn((), generator=generator).clamp(-2, 2))
    made = torch.zeros(len(times), len(PHANTOM_ACTION_UNITS))
    envelope = _envelope(expression.start, expression.end, times)
    for number, mean in _LOOKS[expression.look].items():
        own = 0.3 * float(torch.randn((), generator=generator).clamp(-2, 2))
        wander = 1 + 0.1 * wandering(times, generator)
        made[:, _COLUMN[number]] = (mean + whole + own) * wander * envelope
    return made


def _random(expression: Expression, times: Tensor, generator: Generator) -> Tensor:
    """Return looks of any kind that follow each other."""
    courses = expression_courses(times, domain="thermal", generator=generator, per_minute=12.0)
    return courses * _envelope(expression.start, expression.end, times)[:, None]


def _speech(span: Span, times: Tensor, generator: Generator) -> Tensor:
    """Return a mouth that opens with every syllable, three to five in a second."""
    start = torch.rand(3, generator=generator)
    syllables = torch.sin(2 * torch.pi * (3.2 * times + start[0]))
    syllables = syllables + torch.sin(2 * torch.pi * (4.7 * times + start[1]))
    phrase = (torch.sin(2 * torch.pi * (times / 2.9 + start[2])) > -0.7).float()
    part = (0.5 + 0.35 * syllables).clamp(0, 1) * phrase * _envelope(span.start, span.end, times)
    made = torch.zeros(len(times), len(PHANTOM_ACTION_UNITS))
    made[:, _COLUMN[25]] = 3.5 * part
    made[:, _COLUMN[26]] = 2.5 * part
    made[:, _COLUMN[12]] = 0.8 * _envelope(span.start, span.end, times)
    return made


def _parted(times: Tensor, generator: Generator) -> Tensor:
    """Return the lips and the jaw of one who breathes by the mouth."""
    lips, jaw = 2.6 + 1.4 * torch.rand(2, generator=generator)
    made = torch.zeros(len(times), len(PHANTOM_ACTION_UNITS))
    made[:, _COLUMN[25]] = lips * (1 + 0.06 * wandering(times, generator))
    made[:, _COLUMN[26]] = jaw * (1 + 0.06 * wandering(times, generator))
    return made


def _envelope(start: float, end: float, times: Tensor) -> Tensor:
    rise = (times - start).clamp(0, 1)
    fall = ((end + 1 - times) / 2).clamp(0, 1)
    return rise * rise * (3 - 2 * rise) * fall * fall * (3 - 2 * fall)


def wandering(times: Tensor, generator: Generator) -> Tensor:
    """Return ``(T,)`` slow, restless movement of standard deviation about 1.

    Twelve sines of frequencies from 0.02 to 0.5 Hz, the slower, the larger: it has no rhythm that
    could be taken for breathing.
    """
    frequencies = 0.02 * 25 ** torch.rand(12, generator=generator)
    starts = torch.rand(12, generator=generator)
    sizes = frequencies**-0.5
    sizes = sizes / (sizes.square().sum() / 2).sqrt()
    waves = torch.sin(2 * torch.pi * (frequencies * times[:, None].double() + starts))
    return (sizes * waves).sum(dim=1).float()
