"""What is wrong with a translator's images at first sight, in sentences.

A translator can please every loss and be wrong: it may invert the grey of a photograph, or draw
one expression for another. The figures here are compared with those of true thermal images where
there are any, so that what is usual of real faces is not held against it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cycada.action_units import meaning
from cycada.metrics.face_regions import FACE_PARTS, PartValues, deviation_of, mean_of
from cycada.metrics.flips import FlipCounts
from cycada.metrics.translation import correlation
from cycada.report.methods import percent
from cycada.thermal import Window

_AGAINST = -0.05  # correlations below tell that warm and cold have changed places
_PHOTOGRAPH = 0.85  # correlations with luminance above are those of a grey photograph
_APART = 0.3  # of two correlations
_OFTEN = 0.3  # share of the faces with an AU on which it becomes another
_BEYOND = 0.25  # of that, more than what is expected
_ALIKE = 0.35  # of the spread of real faces
_SHIFTED = 0.5  # standard deviations of real values
_SURE_CELSIUS, _SURE_GREY = 0.3, 0.06  # differences of parts that are believed
_MOST_SWAPS = 5  # told in words

FEW = 5
"""Faces of which a share tells something."""

FAR_CELSIUS, FAR_GREY = 1.0, 0.2
"""Differences of a part of the face that are told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Flips:
    """What became of the AUs on the way to the translation, and what of the true images."""

    names: tuple[str, ...]
    made: FlipCounts
    true: FlipCounts | None  # the same faces' true thermal images: what the detectors differ by
    read_by: str  # who reads the faces, and who their translations: a sentence


@dataclass(frozen=True, kw_only=True, slots=True)
class Translated:
    """What was measured of a translator's thermal images; NaN and None where it could not be."""

    faces: int
    window: Window | None
    luminance_made: float  # mean correlation of each made image with its source's luminance
    luminance_true: float  # the same of the true images
    follows_truth: float  # mean correlation of each made image with its true one
    mean_source: Tensor  # (3, S, S)
    mean_made: Tensor  # (1, S, S)
    mean_real: Tensor | None  # (1, S, S)
    made: PartValues
    real: PartValues
    real_is: str  # what the real images are
    paired: bool  # whether these are the true images of the same faces
    spread: float  # how much made faces differ from each other, as a share of real ones
    flips: Flips | None
    flips_missing: str = ""  # why there are none


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, in a sentence."""

    text: str
    severe: bool = True  # the translator is of no use, rather than of less


def findings(found: Translated) -> list[Finding]:
    """Return what is wrong at first sight, worst first; empty where nothing is."""
    swaps = _swaps(found.flips) if found.flips is not None else []
    lost = _lost(found.flips) if found.flips is not None else []
    reversed_ = _reversed_parts(found)
    severe = [*_against(found), *_photographs(found), *swaps, *reversed_, *_alike_faces(found)]
    mild = [*_shifted(found), *([] if reversed_ else _shifted_part(found)), *lost]
    return [*map(Finding, severe), *(Finding(each, severe=False) for each in mild)]


def _against(found: Translated) -> list[str]:
    follows = found.follows_truth
    if math.isfinite(follows) and follows < _AGAINST:
        return [
            (
                "Made temperatures run against the true ones of the same faces "
                f"(correlation {with_sign(follows)}): what is warm is made cold."
            )
        ]
    if math.isfinite(alike := likeness_of_means(found)) and alike < _AGAINST:
        return [
            (
                "The mean made face runs against the mean real one (correlation "
                f"{with_sign(alike)}): what is warm is made cold."
            )
        ]
    return []


def _shifted(found: Translated) -> list[str]:
    made, real = mean_of(found.made.whole), mean_of(found.real.whole)
    if not abs(made - real) > _SHIFTED * deviation_of(found.real.whole):
        return []
    return [
        (
            f"Made images are {difference(abs(made - real), found.window)} "
            f"{'warmer' if made > real else 'colder'} on average than {found.real_is}."
        )
    ]


def _reversed_parts(found: Translated) -> list[str]:
    """Return the part whose order to another is turned around most, beyond doubt on both sides."""
    real, made = found.real.part_means(), found.made.part_means()
    sure = _SURE_GREY if found.window is None else 2 * _SURE_CELSIUS / span_of(found.window)
    worst: tuple[float, str] | None = None
    for one, first in enumerate(FACE_PARTS):
        for other, second in enumerate(FACE_PARTS):
            cooler, warmer = real[other] - real[one], made[one] - made[other]
            if not (cooler > sure and warmer > sure):
                continue
            size = min(cooler, warmer)
            if worst is None or size > worst[0]:
                worst = (
                    size,
                    (
                        f"In made faces the {first.name} {_is(first.name)} "
                        f"{difference(warmer, found.window)} warmer than the {second.name}; in "
                        f"{found.real_is} {'they are' if first.name.endswith('s') else 'it is'} "
                        f"{difference(cooler, found.window)} colder."
                    ),
                )
    return [worst[1]] if worst else []


def _shifted_part(found: Translated) -> list[str]:
    """Return the part that is furthest too warm or too cold, seen from the whole image."""
    shift = mean_of(found.made.whole) - mean_of(found.real.whole)
    away = found.made.part_means() - found.real.part_means() - shift
    least = FAR_GREY if found.window is None else 2 * FAR_CELSIUS / span_of(found.window)
    far = [n for n in range(len(FACE_PARTS)) if abs(away[n]) > least]
    if not far:
        return []
    part = max(far, key=lambda n: abs(away[n]))
    name = FACE_PARTS[part].name
    return [
        (
            f"In made faces the {name} {_is(name)} "
            f"{difference(abs(away[part]), found.window)} too "
            f"{'warm' if away[part] > 0 else 'cold'}, beside {found.real_is}."
        )
    ]


def _photographs(found: Translated) -> list[str]:
    made, true = found.luminance_made, found.luminance_true
    if not abs(made) > _PHOTOGRAPH or abs(true - made) < _APART:
        return []
    beside = f"; of true thermal images it is {with_sign(true)}" if math.isfinite(true) else ""
    return [
        (
            f"Made thermal images are little more than {'inverted ' if made < 0 else ''}grey "
            f"photographs: their correlation with the luminance of the source is {with_sign(made)}"
            f"{beside}."
        )
    ]


def _alike_faces(found: Translated) -> list[str]:
    if not found.spread < _ALIKE:
        return []
    return [
        (
            "Made faces are nearly all alike: they differ from each other by "
            f"{percent(found.spread)} of what real ones do."
        )
    ]


def swapped(flips: Flips) -> list[tuple[int, int, float]]:
    """Return which AU becomes which on many faces, beyond what chance and detectors explain.

    Of each AU the one that it most becomes: looks of a face that come with it come along.
    """
    shares, chance = flips.made.becomes_share(), flips.made.chance_share()
    usual = flips.true.becomes_share() if flips.true is not None else torch.zeros_like(shares)
    expected = torch.maximum(chance.nan_to_num(), usual.nan_to_num())
    least = torch.maximum(2 * expected, expected + _BEYOND).clamp(min=_OFTEN)
    told = (shares >= least) & (flips.made.became >= FEW)
    found = []
    for row in range(len(flips.names)):
        if told[row].any():
            column = int(shares[row].where(told[row], torch.zeros(())).argmax())
            found.append((row, column, float(shares[row, column])))
    return sorted(found, key=lambda each: -each[2])


def _swaps(flips: Flips) -> list[str]:
    told = []
    pairs = swapped(flips)
    both = {(row, column) for row, column, _ in pairs}
    seen: set[tuple[int, int]] = set()
    for row, column, share in pairs:
        if (row, column) in seen:
            continue
        one, other = _spoken(flips.names[row]), _spoken(flips.names[column])
        faces = f"{percent(share)} of the {int(flips.made.shown[row]):,} faces with the first"
        if (column, row) in both:
            seen.add((column, row))
            back = percent(float(flips.made.becomes_share()[column, row]))
            told.append(
                f"{one} and {other} are swapped: on {faces} the translation shows the second "
                f"instead, and on {back} of the {int(flips.made.shown[column]):,} with the second "
                "the first."
            )
        else:
            told.append(f"{one} becomes {other}: on {faces} the translation shows the second.")
    return told[:_MOST_SWAPS]


def _lost(flips: Flips) -> list[str]:
    """Return a sentence about AUs that translations no longer show, though true images do."""
    told = {row for row, _, _ in swapped(flips)}
    kept = flips.made.kept_share()
    usual = flips.true.kept_share() if flips.true is not None else torch.ones_like(kept)
    gone = [
        f"{name} ({percent(float(kept[n]))} kept)"
        for n, name in enumerate(flips.names)
        if n not in told and flips.made.shown[n] >= FEW and float(kept[n]) < 0.5 * float(usual[n])
    ]
    return [f"Lost on most faces on which they were seen: {', '.join(gone)}."] if gone else []


def likeness_of_means(found: Translated) -> float:
    """Return the correlation of the mean made with the mean real image; NaN without one."""
    if found.mean_real is None:
        return math.nan
    return float(correlation(found.mean_made[None], found.mean_real[None]))


def span_of(window: Window) -> float:
    """Return the deg C from one end of a window to the other."""
    return window.high - window.low


def difference(signed: float, window: Window | None, *, plus: bool = False) -> str:
    """Return a difference of values in [-1, 1] in deg C, or of grey as a share of the range."""
    share = 50 * signed if window is None else signed / 2 * span_of(window)
    rounded = round(share, 0 if window is None else 1) or 0.0  # no negative zero
    sign = "+" if plus and rounded else ""
    if window is None:
        return f"{rounded:{sign}.0f} % of the range".replace("-", "\u2212")
    return f"{rounded:{sign}.1f} °C".replace("-", "\u2212")


def with_sign(value: float) -> str:
    """Return a correlation with its sign."""
    return f"{value:+.2f}".replace("-", "\u2212")


def _spoken(name: str) -> str:
    what = meaning(name)
    return f"{name} ({what})" if what else name


def _is(name: str) -> str:
    return "are" if name.endswith("s") else "is"
