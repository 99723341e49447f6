"""Whether the probabilities of detectors mean what they say: reliability and its error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from cycada.action_units import meaning
from cycada.metrics.curves import error_of, reliability
from cycada.report.curve_plots import ReliabilityLine, reliability_plot
from cycada.report.judged import Judged, all_names
from cycada.report.methods import MOST_BESIDE, Scored, figure_text, shade
from cycada.report.page import Beside, Block, Cell, Plot, Plots, Section, Table
from cycada.report.plots import Tone


def calibration_section(
    judged: Sequence[Judged],
    shown: Scored,
    colours: Mapping[str, Tone],
    legend: Sequence[Block],
) -> Section:
    """Return how far the probabilities of methods mean what they say, ``shown`` in detail."""
    pooled = []
    for each in judged:
        said = each.predictions
        bins = reliability(said.meant[said.known], said.present[said.known])
        tone = colours[each.method.name]
        pooled.append(ReliabilityLine(name=each.method.title, bins=bins, tone=tone))
    table = _errors_table(judged)
    drawing = Plot(
        svg=reliability_plot(pooled, title="All together", bars=len(pooled) == 1, width=380),
        caption="Present over said, in ten bins; dots are the larger, the more frames. Above the "
        "dotted diagonal less is said than happens, below it more.",
    )
    plots = []
    one = next(each for each in judged if each.method is shown)
    said = one.predictions
    for column, name in enumerate(one.names):
        rows = said.known[:, column]
        if not rows.any():
            continue
        bins = reliability(said.meant[rows, column], said.present[rows, column])
        error = error_of(bins)
        own = ReliabilityLine(name=one.method.title, bins=bins, tone=colours[one.method.name])
        plots.append(
            reliability_plot(
                [own], title=name, note=f"{meaning(name)} · {error:.3f}".removeprefix(" · "),
                bars=True,
                said=f"Reliability of {name}: expected calibration error {error:.3f}",
            )
        )  # fmt: skip
    blocks: list[Block] = [*legend]
    if len(judged) <= MOST_BESIDE:
        blocks.append(Beside(left=table, right=drawing))
    else:
        own = next(each for each in pooled if each.name == shown.title)
        alone = Plot(
            svg=reliability_plot([own], title=shown.title, bars=True, width=380),
            caption="Bars: how the frames spread over the bins.",
        )
        blocks += [Beside(left=drawing, right=alone), table]
    blocks.append(
        Plots(
            svgs=tuple(plots),
            caption=f"{one.method.title}, with the expected calibration error. Bars: how the "
            "frames spread over the bins.",
        )
    )
    classes = one.method.scores.kind == "classes"
    return Section(
        title="Calibration",
        intro="Whether probabilities mean what they say: of the frames with 0.7, seven in ten "
        "should show the "
        + ("class. The probabilities are those of the network." if classes else "AU.")
        + " The expected calibration error is the mean distance of the two, weighted by frames.",
        blocks=tuple(blocks),
    )


def _errors_table(judged: Sequence[Judged]) -> Table:
    columns = []
    for each in judged:
        said = each.predictions
        errors: dict[str, float] = {}
        raw: list[float] = []
        for column, name in enumerate(each.names):
            if not said.known[:, column].any():
                continue
            known = said.known[:, column]
            present = said.present[known, column]
            errors[name] = error_of(reliability(said.meant[known, column], present))
            raw.append(error_of(reliability(said.probability[known, column], present)))
        columns.append((errors, raw, said.calibrated is not None))
    rows: list[tuple[Cell, ...]] = [
        (
            Cell(text="Mean"),
            *(Cell(text=figure_text(_mean(list(errors.values())))) for errors, _, _ in columns),
        )
    ]
    if any(is_calibrated for _, _, is_calibrated in columns):
        rows.append(
            (
                Cell(text="Mean, uncalibrated", note="the network's own"),
                *(Cell(text=figure_text(_mean(raw))) for _, raw, _ in columns),
            )
        )
    total = len(rows)
    for name in all_names(judged):
        rows.append(
            (
                Cell(text=name, note=meaning(name)),
                *(
                    Cell(
                        text=figure_text(errors.get(name, math.nan)),
                        shade=shade(min(3 * errors.get(name, math.nan), 1.0)),
                    )
                    for errors, _, _ in columns
                ),
            )
        )
    return Table(
        header=("Calibration error", *(each.method.title for each in judged)),
        rows=tuple(rows),
        total=total,
        caption="Expected calibration error: 0 is perfect; shaded where it is large.",
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
