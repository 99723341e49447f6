"""What stands out in a translator's images: in words, in mean faces, in a table of swapped AUs.

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
from cycada.metrics.translation import correlation, wasserstein
from cycada.report.histograms import histogram_plot
from cycada.report.images import rgb_uri, thermal_uri
from cycada.report.methods import percent
from cycada.report.page import (
    Beside,
    Block,
    Cell,
    Facts,
    Legend,
    Plots,
    Scale,
    Section,
    Strip,
    StripRow,
    Table,
    Text,
    Tile,
)
from cycada.thermal import Window

_AGAINST = -0.05  # correlations below tell that warm and cold have changed places
_PHOTOGRAPH = 0.85  # correlations with luminance above are those of a grey photograph
_APART = 0.3  # of two correlations
_FEW = 5  # faces; a share of fewer tells nothing
_OFTEN = 0.3  # share of the faces with an AU on which it becomes another
_ALIKE = 0.35  # of the spread of real faces
_SHIFTED = 0.5  # standard deviations of real values
_SURE_CELSIUS, _SURE_GREY = 0.3, 0.06  # differences of parts that are believed
_FAR_CELSIUS, _FAR_GREY = 1.0, 0.2  # differences of a part that are told
_MOST_SWAPS = 5  # told in words


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


def glance_section(found: Translated, *, title: str) -> Section:
    """Return the findings, the figures that they rest on, and the table of flips."""
    told = findings(found)
    blocks: list[Block] = [Text(text=each.text, warns=each.severe) for each in told]
    if not told:
        blocks.append(
            Text(text="Nothing stands out: made temperatures run as real ones do, made faces "
                 "differ from each other, and no Action Unit regularly becomes another.")
        )  # fmt: skip
    parts = _parts_table(found)
    means = _means(found)
    blocks.append(means if parts is None else Beside(left=means, right=parts))
    blocks.append(Facts(pairs=tuple(_figures(found))))
    if found.flips is not None:
        blocks.append(flips_table(found.flips))
    elif found.flips_missing:
        blocks.append(Text(text=found.flips_missing))
    blocks += _histograms(found)
    return Section(
        title=title,
        intro=f"{found.faces:,} RGB faces and what the translator makes of them, taken together.",
        blocks=tuple(blocks),
    )


def flips_table(flips: Flips) -> Table:
    """Return which AU becomes which: a row for each that is seen in the faces, worst first."""
    shares, kept, counts = flips.made.becomes_share(), flips.made.kept_share(), flips.made
    told = {(row, column) for row, column, _ in _swapped(flips)}
    rows = [n for n in range(len(flips.names)) if counts.shown[n]]
    rows.sort(key=lambda n: (int(counts.shown[n]) < _FEW, -float(shares[n].max())))
    columns = [n for n in range(len(flips.names)) if counts.shown[n] or counts.shown_after[n]]
    true_kept = flips.true.kept_share() if flips.true is not None else None
    lines = []
    for row in rows:
        cells = [
            Cell(text=flips.names[row], note=meaning(flips.names[row])),
            Cell(text=f"{int(counts.shown[row]):,}"),
            Cell(text=percent(float(kept[row]))),
        ]
        if true_kept is not None:
            cells.append(Cell(text=percent(float(true_kept[row]))))
        for column in columns:
            share = float(shares[row, column])
            cells.append(
                Cell(text="\u00b7")
                if row == column
                else Cell(
                    text=f"{100 * share:.0f}" if share >= 0.005 else "",
                    shade=share if share >= 0.005 else None,
                    strong=(row, column) in told,
                )
            )
        lines.append(tuple(cells))
    also = () if true_kept is None else ("Kept, true",)
    return Table(
        header=("Faces show", "Faces", "Kept", *also, *(flips.names[n] for n in columns)),
        rows=tuple(lines),
        caption="What becomes of each Action Unit: the share of the faces that show it (row) whose "
        "translation still shows it (kept), and per cent that lose it and gain another (column) "
        "that was not there. A swap is two dark cells that mirror each other."
        + (" Kept, true: the same for the true thermal images of these faces, which is what the "
           "detectors themselves lose." if true_kept is not None else "")
        + f" {flips.read_by}",
    )  # fmt: skip


def _against(found: Translated) -> list[str]:
    follows = found.follows_truth
    if math.isfinite(follows) and follows < _AGAINST:
        return [
            (
                "Made temperatures run against the true ones of the same faces "
                f"(correlation {_signed(follows)}): what is warm is made cold."
            )
        ]
    if math.isfinite(alike := _alike(found)) and alike < _AGAINST:
        return [
            (
                "The mean made face runs against the mean real one (correlation "
                f"{_signed(alike)}): what is warm is made cold."
            )
        ]
    return []


def _shifted(found: Translated) -> list[str]:
    made, real = mean_of(found.made.whole), mean_of(found.real.whole)
    if not abs(made - real) > _SHIFTED * deviation_of(found.real.whole):
        return []
    return [
        (
            f"Made images are {_difference(abs(made - real), found.window)} "
            f"{'warmer' if made > real else 'colder'} on average than {found.real_is}."
        )
    ]


def _reversed_parts(found: Translated) -> list[str]:
    """Return the part whose order to another is turned around most, beyond doubt on both sides."""
    real, made = found.real.part_means(), found.made.part_means()
    sure = _SURE_GREY if found.window is None else 2 * _SURE_CELSIUS / _span(found.window)
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
                        f"{_difference(warmer, found.window)} warmer than the {second.name}; in "
                        f"{found.real_is} {'they are' if first.name.endswith('s') else 'it is'} "
                        f"{_difference(cooler, found.window)} colder."
                    ),
                )
    return [worst[1]] if worst else []


def _shifted_part(found: Translated) -> list[str]:
    """Return the part that is furthest too warm or too cold, seen from the whole image."""
    shift = mean_of(found.made.whole) - mean_of(found.real.whole)
    away = found.made.part_means() - found.real.part_means() - shift
    least = _FAR_GREY if found.window is None else 2 * _FAR_CELSIUS / _span(found.window)
    far = [n for n in range(len(FACE_PARTS)) if abs(away[n]) > least]
    if not far:
        return []
    part = max(far, key=lambda n: abs(away[n]))
    name = FACE_PARTS[part].name
    return [
        (
            f"In made faces the {name} {_is(name)} "
            f"{_difference(abs(away[part]), found.window)} too "
            f"{'warm' if away[part] > 0 else 'cold'}, beside {found.real_is}."
        )
    ]


def _photographs(found: Translated) -> list[str]:
    made, true = found.luminance_made, found.luminance_true
    if not abs(made) > _PHOTOGRAPH or abs(true - made) < _APART:
        return []
    beside = f"; of true thermal images it is {_signed(true)}" if math.isfinite(true) else ""
    return [
        (
            f"Made thermal images are little more than {'inverted ' if made < 0 else ''}grey "
            f"photographs: their correlation with the luminance of the source is {_signed(made)}"
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


def _swapped(flips: Flips) -> list[tuple[int, int, float]]:
    """Return which AU becomes which on many faces, beyond what chance and detectors explain."""
    shares, chance = flips.made.becomes_share(), flips.made.chance_share()
    usual = flips.true.becomes_share() if flips.true is not None else torch.zeros_like(shares)
    found = []
    for row in range(len(flips.names)):
        for column in range(len(flips.names)):
            if flips.made.became[row, column] < _FEW:
                continue
            share = float(shares[row, column])
            least = max(
                _OFTEN,
                2 * float(chance[row, column].nan_to_num()),
                2 * float(usual[row, column].nan_to_num()),
            )
            if row != column and share >= least:
                found.append((row, column, share))
    return sorted(found, key=lambda each: -each[2])


def _swaps(flips: Flips) -> list[str]:
    told = []
    swapped = _swapped(flips)
    both = {(row, column) for row, column, _ in swapped}
    seen: set[tuple[int, int]] = set()
    for row, column, share in swapped:
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
    told = {row for row, _, _ in _swapped(flips)}
    kept = flips.made.kept_share()
    usual = flips.true.kept_share() if flips.true is not None else torch.ones_like(kept)
    gone = [
        f"{name} ({percent(float(kept[n]))} kept)"
        for n, name in enumerate(flips.names)
        if n not in told and flips.made.shown[n] >= _FEW and float(kept[n]) < 0.5 * float(usual[n])
    ]
    return [f"Lost on most faces on which they were seen: {', '.join(gone)}."] if gone else []


def _means(found: Translated) -> Strip:
    tiles = [Tile(uri=rgb_uri(found.mean_source), alt="mean of the RGB faces")]
    columns = ["RGB", "made"]
    tiles.append(
        Tile(uri=thermal_uri(found.mean_made), alt="mean of the made thermal faces", thermal=True)
    )
    if found.mean_real is not None:
        columns.append("true" if found.paired else "real")
        tiles.append(
            Tile(uri=thermal_uri(found.mean_real), alt=f"mean of {found.real_is}", thermal=True)
        )
    window = found.window
    low, high = (
        ("cold", "warm") if window is None else (f"{t:g} °C" for t in (window.low, window.high))
    )
    return Strip(
        rows=(StripRow(label="Mean face", tiles=tuple(tiles)),),
        columns=tuple(columns),
        scale=Scale(low=low, high=high),
        caption="All faces of the set averaged: where the face is warm, where cold.",
    )


def _parts_table(found: Translated) -> Table | None:
    """Return how warm each part of the face is; None where no part is known."""
    real, made = found.real.part_means(), found.made.part_means()
    most = _FAR_GREY if found.window is None else 2 * _FAR_CELSIUS / _span(found.window)
    rows = [
        (
            Cell(text=part.name.capitalize()),
            Cell(text=_value(float(one), found.window)),
            Cell(text=_value(float(other), found.window)),
            Cell(
                text=_difference(float(other - one), found.window, plus=True),
                shade=min(abs(float(other - one)) / (2 * most), 1.0),
                strong=abs(float(other - one)) > most,
            ),
        )
        for part, one, other in zip(FACE_PARTS, real, made, strict=True)
        if math.isfinite(one) and math.isfinite(other)
    ]
    if not rows:
        return None
    return Table(
        header=("Part", "True" if found.paired else "Real", "Made", "Difference"),
        rows=tuple(rows),
        caption="Means over the pixels of each part of all faces.",
    )


def _figures(found: Translated) -> list[tuple[str, str]]:
    pairs = [("Correlation with luminance, made", _signed(found.luminance_made))]
    if math.isfinite(found.luminance_true):
        pairs.append(("The same, true thermal", _signed(found.luminance_true)))
    if math.isfinite(found.follows_truth):
        pairs.append(("Correlation of made with true", _signed(found.follows_truth)))
    elif math.isfinite(alike := _alike(found)):
        pairs.append(("Correlation of mean made with mean real", _signed(alike)))
    if found.real.images:
        shift = mean_of(found.made.whole) - mean_of(found.real.whole)
        distance = wasserstein(found.made.whole, found.real.whole)
        pairs.append(("Made are warmer by", _difference(shift, found.window)))
        pairs.append(("Wasserstein-1 distance of the values", _difference(distance, found.window)))
    if math.isfinite(found.spread):
        pairs.append(("Spread of made faces, of real ones", percent(found.spread)))
    return pairs


def _histograms(found: Translated) -> list[Block]:
    if not found.real.images:
        return []
    window = found.window
    low, high = (-1.0, 1.0) if window is None else (window.low, window.high)
    pairs = [("Whole image", found.real.whole, found.made.whole)]
    pairs += [
        (part.name.capitalize(), real, made)
        for part, real, made in zip(FACE_PARTS, found.real.parts, found.made.parts, strict=True)
        if real.any() and made.any()
    ]
    parts = (
        "Parts of the face lie where the landmarks of the indexes say."
        if len(pairs) > 1
        else "Parts of the face cannot be told apart: the indexes have no landmarks of both."
    )
    plots = tuple(
        histogram_plot(real, made, title=name, low=low, high=high,
                       unit="" if window is None else "°C")
        for name, real, made in pairs
    )  # fmt: skip
    return [
        Legend(items=((found.real_is.capitalize(), "1"), ("Made thermal", "2"))),
        Plots(svgs=plots, caption=f"How often each value occurs, over pixels. {parts}"),
    ]


def _alike(found: Translated) -> float:
    """Return the correlation of the mean made with the mean real image; NaN without one."""
    if found.mean_real is None:
        return math.nan
    return float(correlation(found.mean_made[None], found.mean_real[None]))


def _span(window: Window) -> float:
    return window.high - window.low


def _difference(signed: float, window: Window | None, *, plus: bool = False) -> str:
    """Return a difference of values in [-1, 1] in deg C, or of grey as a share of the range."""
    sign = "+" if plus else ""
    if window is None:
        return f"{50 * signed:{sign}.0f} % of the range".replace("-", "\u2212")
    return f"{signed / 2 * _span(window):{sign}.1f} °C".replace("-", "\u2212")


def _value(signed: float, window: Window | None) -> str:
    """Return a value in [-1, 1] in deg C, or of grey as a share of the range."""
    if window is None:
        return f"{50 * (signed + 1):.0f} %"
    return f"{window.low + (signed + 1) / 2 * _span(window):.1f} °C"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\u2212")


def _spoken(name: str) -> str:
    what = meaning(name)
    return f"{name} ({what})" if what else name


def _is(name: str) -> str:
    return "are" if name.endswith("s") else "is"
