"""What a translator's images are like, taken together: in words, mean faces, and swapped AUs."""

from __future__ import annotations

import math

from cycada.action_units import meaning
from cycada.metrics.face_regions import FACE_PARTS, mean_of
from cycada.metrics.translation import wasserstein
from cycada.report.findings import (
    FAR_CELSIUS,
    FAR_GREY,
    FEW,
    Flips,
    Translated,
    difference,
    findings,
    likeness_of_means,
    span_of,
    swapped,
    with_sign,
)
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
    told = {(row, column) for row, column, _ in swapped(flips)}
    rows = [n for n in range(len(flips.names)) if counts.shown[n]]
    rows.sort(key=lambda n: (int(counts.shown[n]) < FEW, -float(shares[n].max())))
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
    most = FAR_GREY if found.window is None else 2 * FAR_CELSIUS / span_of(found.window)
    rows = [
        (
            Cell(text=part.name.capitalize()),
            Cell(text=_value(float(one), found.window)),
            Cell(text=_value(float(other), found.window)),
            Cell(
                text=difference(float(other - one), found.window, plus=True),
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
    luminance = f"made {with_sign(found.luminance_made)}"
    if math.isfinite(found.luminance_true):
        luminance += f", true {with_sign(found.luminance_true)}"
    pairs = [("Correlation with luminance", luminance)]
    if math.isfinite(found.follows_truth):
        pairs.append(("Correlation with the truth", with_sign(found.follows_truth)))
    elif math.isfinite(alike := likeness_of_means(found)):
        pairs.append(("Correlation of the means", with_sign(alike)))
    if found.real.images:
        shift = mean_of(found.made.whole) - mean_of(found.real.whole)
        distance = wasserstein(found.made.whole, found.real.whole)
        pairs.append(("Made are warmer by", difference(shift, found.window)))
        pairs.append(("Wasserstein-1 distance", difference(distance, found.window)))
    if math.isfinite(found.spread):
        pairs.append(("Spread, of real faces", percent(found.spread)))
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


def _value(signed: float, window: Window | None) -> str:
    """Return a value in [-1, 1] in deg C, or of grey as a share of the range."""
    if window is None:
        return f"{50 * (signed + 1):.0f} %"
    return f"{window.low + (signed + 1) / 2 * span_of(window):.1f} °C"
