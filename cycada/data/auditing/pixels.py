"""What the networks are going to see, looked over before anything is trained.

An adversary learns without complaint from images of which one domain spans the whole range and the
other a hundredth of it: the commonest way to lose accuracy by adaptation (pytorch-adda had digits
from 0 to 1 on one side and from 0 to 255 on the other). Figures of the pixels give that away.

A dark or bright background proves nothing: four fifths of MNIST are black, and so is half of a
thermal face against a cold room. Judged is therefore the middle of the images, which is what they
are of, and how values come to lie at an end of the range. A picture drawn on black has few shades
just above black; one that was cut off there has many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cycada.data.auditing.finding import Finding, Severity

AT_END = 0.02
"""Distance from -1 or 1 within which a pixel lies at the end: levels 0 to 2 of 255, for the black
of a JPEG is not quite black."""

BESIDE_END = 0.4
"""Distance, a fifth of the range, within which the remaining pixels lie beside the end."""

BLANK = 0.04
"""From the 1 % to the 99 % quantile, an error below: 2 % of the range, 5 of 256 levels. Values 0 to
255 in 16 bits span 0.4 %, a face that is indexed without its unit 1 to 5 %."""

FAINT = 0.2
"""The same, with a warning: 10 % of the range. A window from 0 to 100 deg C leaves a face 15 %."""

HIDDEN = 0.9
"""Share of the middle at one end, an error above: no face is left. Digits have 0.3 to 0.6 there,
0.8 in a frame of twice their size; faces of 0 to 255 taken for deg C 0.99 (but 0.75 of all pixels,
so that only the middle tells). Of all pixels where the end did cut, an error above too."""

CUT_OFF = 0.4
"""Share of the middle at one end, with a warning where the end did cut: faces whose skin is inside
the window have less than 0.2, and up to 0.25 where their background was made black."""

CUT = 0.55
"""Of the middle's other pixels, share beside the end from which the end did cut. Faces in too low
or too high a window have 0.58 to 1; digits, also enlarged or in poor JPEG, 0.14 to 0.52."""

MOSTLY = 0.5
"""Share of images that show one value alone, an error above."""

CONTRAST = 4.0
"""Ratio of standard deviations, with a warning above. Sound sets of RGB and thermal faces differ by
up to 1.9. From MNIST to USPS darkened 1, 2, 4, 8 and 20 times (LeNet, dann) the accuracy was 0.84,
0.80, 0.74, 0.43 and 0.17, without adaptation 0.79, 0.71, 0.38, 0.13 and 0.12."""

NO_CONTRAST = 20.0
"""The same, an error above: one of the two is as good as blank to the other's network."""

LEVEL = 1.2
"""Difference of means, of at most 2, with a warning above. RGB and thermal faces differ by up to
0.7, RGB faces and digits by 0.75 and in a frame of twice their size by 0.95."""

BACKGROUND = 0.4
"""Share of all pixels at one end from which this is the background: black on white against white
on black is told by it. Where neither is, nothing can tell: creases that are dark in RGB and bright
in thermal images are no fault."""

_SAME = 2 / 255  # an image whose pixels differ by no more shows nothing: one level of 8 bits
_LARGEST_BYTE_OF_16_BITS = 2 * 255 / 65535 - 1


@dataclass(frozen=True, slots=True)
class End:
    """How the pixels of a set crowd at one end of the range."""

    share: float  # of all pixels that lie at the end
    middle: float  # the same of the middle of the images, half their height and width
    beside: float  # of the middle's other pixels, share that lies beside the end


@dataclass(frozen=True, slots=True)
class Spread:
    """How the pixels of a set are spread over [-1, 1]."""

    mean: float
    deviation: float  # over all pixels
    low: float  # 1 % quantile
    high: float  # 99 % quantile
    black: End  # at -1
    white: End  # at 1
    constant: float  # share of the images that show one value alone


def spread_of(images: Tensor) -> Spread:
    """Measure how pixels are spread.

    Args:
        images: ``(N, C, H, W)`` as the networks see them, in [-1, 1]; some hundred suffice.
    """
    each = images.flatten(1)
    pixels = each.flatten()
    variance, mean = torch.var_mean(pixels, correction=0)
    return Spread(
        mean=float(mean),
        deviation=math.sqrt(float(variance)),
        low=_quantile(pixels, 0.01),
        high=_quantile(pixels, 0.99),
        black=_end(1 + images),
        white=_end(1 - images),
        constant=float((each.amax(1) - each.amin(1) <= _SAME).double().mean()),
    )


def audit_set(spread: Spread, *, name: str, sixteen_bit: bool) -> list[Finding]:
    """Return what is wrong with the images of one set, and may be.

    Args:
        spread: Of the images, as the networks see them.
        name: The set and its folder, for the sentences.
        sixteen_bit: Whether the files hold more than 8 bits: counts or temperatures.
    """
    span = spread.high - spread.low
    if span < BLANK:
        return [
            Finding(
                severity="error",
                check="range",
                text=f"{name}: the images are blank: their pixels take up {span / 2:.2%} of the "
                f"range, from {spread.low:.4f} to {spread.high:.4f} of -1 to 1; "
                f"{_cause(spread, sixteen_bit=sixteen_bit)}.",
            )
        ]
    found = []
    if span < FAINT:
        found.append(
            Finding(
                severity="warning",
                check="range",
                text=f"{name}: the images are faint: their pixels take up {span / 2:.1%} of the "
                f"range, from {spread.low:.3f} to {spread.high:.3f} of -1 to 1; "
                f"{_cause(spread, sixteen_bit=sixteen_bit)}.",
            )
        )
    cut_off = _cut_off(spread, name, sixteen_bit=sixteen_bit)
    found += cut_off
    if spread.constant and not cut_off:
        found.append(
            Finding(
                severity=_severity(spread.constant > MOSTLY),
                check="blank",
                text=f"{name}: {spread.constant:.1%} of the images show one value alone; look for "
                "broken files and leave them out of the index.",
            )
        )
    return found


def audit_pair(source: Spread, target: Spread, *, names: tuple[str, str]) -> list[Finding]:
    """Return what keeps two sets from being aligned, or may.

    Args:
        source: Spread of the labelled images.
        target: Spread of the images that their features are to be aligned to.
        names: The two sets and their folders, for the sentences.
    """
    (one, other), found = names, []
    weak, strong = sorted((source.deviation, target.deviation))
    hopeless = weak * NO_CONTRAST < strong
    if weak * CONTRAST < strong:
        found.append(
            Finding(
                severity=_severity(hopeless),
                check="range",
                text=f"the contrast differs: the standard deviation of the pixels is "
                f"{source.deviation:.3g} in {one} and {target.deviation:.3g} in {other}; bring "
                "both to one scale (8 bits from 0 to 255, or a window of temperatures that the "
                "faces fill) and index them anew.",
            )
        )
    if _inverted(source, target) or _inverted(target, source):
        dark = _inverted(source, target)
        found.append(
            Finding(
                severity="warning",
                check="range",
                text=f"the contrast is inverted: the background is {'black' if dark else 'white'} "
                f"in {one} and {'white' if dark else 'black'} in {other}; invert one of them, or "
                "set augment.invert=0.5.",
            )
        )
    elif abs(source.mean - target.mean) > LEVEL and not hopeless:
        found.append(
            Finding(
                severity="warning",
                check="range",
                text=f"the brightness differs: the mean of the pixels is {source.mean:.2f} in "
                f"{one} and {target.mean:.2f} in {other}, of -1 to 1; look whether one of them is "
                "badly exposed, or its window of temperatures does not fit.",
            )
        )
    return found


def _quantile(pixels: Tensor, share: float) -> float:
    """Return the pixel that is larger than ``share`` of the others."""
    return float(pixels.kthvalue(1 + round(share * (len(pixels) - 1))).values)


def _end(distance: Tensor) -> End:
    """Return how pixels crowd at an end, given their ``(N, C, H, W)`` distances from it."""
    height, width = distance.shape[-2:]
    middle = distance[
        ..., height // 4 : height - height // 4, width // 4 : width - width // 4
    ].flatten()
    rest = middle[middle > AT_END]
    return End(
        share=float((distance <= AT_END).double().mean()),
        middle=1 - len(rest) / len(middle),
        beside=int((rest <= BESIDE_END).sum()) / max(len(rest), 1),
    )


def _cause(spread: Spread, *, sixteen_bit: bool) -> str:
    """Return why images are blank or faint, as far as the place of their values tells."""
    if not sixteen_bit:
        if spread.high <= 2 / 255 - 1:
            return "values 0 to 1 saved in 8 bits look like this: multiply them by 255"
        return "look at the files, and save them with their contrast"
    if spread.high <= _LARGEST_BYTE_OF_16_BITS:
        return (
            "values 0 to 255 in files of 16 bits look like this: save them as 8 bits, or index "
            "them with their unit; with a unit, all are below the window of temperatures: give "
            "the right unit and a window around the faces"
        )
    if spread.low >= 1 - AT_END:
        return (
            "all are above the window of temperatures: give the right unit and a window around "
            "the faces"
        )
    return (
        "counts of a camera without their unit look like this: index them with their unit; with "
        "a unit, the window of temperatures is too wide: give one that the faces fill"
    )


def _cut_off(spread: Spread, name: str, *, sixteen_bit: bool) -> list[Finding]:
    """Return whether faces are lost at the ends of the range."""
    black, white = spread.black, spread.white
    advice = (
        "give the right unit and a window of temperatures around the faces, and index them anew"
        if sixteen_bit
        else "look at the exposure of the files, and at the range that they were saved with"
    )
    # No sensor leaves nothing in between; 8 bits may hold drawings in black and white.
    both = black.middle + white.middle
    if sixteen_bit and both > HIDDEN and max(black.middle, white.middle) <= HIDDEN:
        return [
            Finding(
                severity="error",
                check="range",
                text=f"{name}: {both:.0%} of the middle of the images is either black or white, "
                f"at an end of the range; {advice}.",
            )
        ]
    found = []
    for end, shade in ((black, "black"), (white, "white")):
        hidden = end.middle > HIDDEN
        if hidden or (end.middle > CUT_OFF and end.beside > CUT):
            # Drawings of 8 bits in a large frame are nearly all background.
            lost = spread.constant > MOSTLY or (sixteen_bit and end.share > HIDDEN)
            found.append(
                Finding(
                    severity=_severity(hidden or lost),
                    check="range",
                    text=f"{name}: {end.middle:.0%} of the middle of the images, where the face "
                    f"is, is {shade}, cut off at an end of the range; {advice}.",
                )
            )
    return found


def _severity(fatal: bool) -> Severity:  # noqa: FBT001  # the one thing that it is about
    return "error" if fatal else "warning"


def _inverted(one: Spread, other: Spread) -> bool:
    """Tell whether the background is black in ``one`` and white in ``other``."""
    return one.black.share > BACKGROUND and other.white.share > BACKGROUND
