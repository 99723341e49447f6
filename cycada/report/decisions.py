"""What stands behind F1 and ROC-AUC: every decision, and the whole ROC curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cycada.action_units import meaning
from cycada.metrics.curves import Outcomes, Roc, outcomes, roc_curve
from cycada.report.calibration import calibration_section
from cycada.report.curve_plots import RocLine, roc_plot
from cycada.report.judged import Judged, all_names, figure_cell
from cycada.report.methods import (
    CEILING,
    MOST_BESIDE,
    Scored,
    figure_text,
    percent,
    shade,
    short_interval,
    shown_method,
    tones,
)
from cycada.report.page import Beside, Block, Cell, Fold, Legend, Plot, Plots, Section, Table, Text
from cycada.report.plots import Estimates, Tone, methods_plot

_GRID = np.linspace(0, 1, 101)  # shares of false alarms at which ROC curves are averaged


@dataclass(frozen=True, slots=True)
class _Unit:
    """What one method said about one AU or class, on the annotated frames."""

    method: Scored
    tone: Tone
    outcomes: Outcomes
    roc: Roc | None

    def line(self) -> RocLine | None:
        if self.roc is None:
            return None
        at = (1 - self.outcomes.specificity, self.outcomes.recall)
        return RocLine(name=self.method.title, roc=self.roc, tone=self.tone, at=at)


def decision_sections(judged: Sequence[Judged], *, lacking: Sequence[str] = ()) -> list[Section]:
    """Return sections of the decisions, the ROC curves and the calibration of methods.

    Args:
        judged: Methods that were scored on the same faces.
        lacking: Titles of those of which it is not known what they said; a sentence says so.
    """
    said: list[Block] = []
    if lacking:
        text = (
            f"Decisions, ROC curves and calibration are not shown of {', '.join(lacking)}: there "
            "is no predictions.csv beside the scores.json, where `cycada evaluate` writes it."
        )
        said.append(Text(text=text, warns=True))
    if not judged:
        return [Section(title="Decisions", blocks=tuple(said))] if said else []
    colours = tones([each.method.name for each in judged])
    shown = shown_method([each.method for each in judged])
    units = [_units(each, colours[each.method.name]) for each in judged]
    legend: list[Block] = []
    if len(judged) > 1:
        items = tuple((each.method.title, colours[each.method.name]) for each in judged)
        legend.append(Legend(items=items))
    sections = [
        _roc_section(judged, units, legend),
        calibration_section(judged, shown, colours, legend),
    ]
    if judged[0].method.scores.kind == "action_units":
        sections.insert(0, _outcomes_section(judged, units, shown, said))
    elif said:
        sections[0] = Section(
            title=sections[0].title,
            intro=sections[0].intro,
            blocks=(*said, *sections[0].blocks),
        )
    return sections


def mean_roc(curves: Sequence[Roc]) -> Roc:
    """Return the mean of ROC curves: at every share of false alarms the mean share found.

    Vertical averaging (Fawcett, Pattern Recognition Letters 2006), at 101 places.
    """
    found = np.mean([curve.at(_GRID) for curve in curves], axis=0)
    return Roc(np.concatenate([[0.0], _GRID]), np.concatenate([[0.0], found]))


def _units(judged: Judged, tone: Tone) -> list[_Unit]:
    said = judged.predictions
    result = []
    for column in range(len(judged.names)):
        rows = said.known[:, column]
        present = said.present[rows, column]
        result.append(
            _Unit(
                judged.method,
                tone,
                outcomes(said.detected[rows, column], present),
                roc_curve(said.probability[rows, column], present),
            )
        )
    return result


def _outcomes_section(
    judged: Sequence[Judged],
    units: Sequence[Sequence[_Unit]],
    shown: Scored,
    said: Sequence[Block],
) -> Section:
    blocks: list[Block] = [*said]
    tables = [
        (each.method, _outcomes_table(each, own)) for each, own in zip(judged, units, strict=True)
    ]
    blocks += [table for method, table in tables if method is shown]
    blocks += [
        Fold(title=f"Decisions of {method.title}", block=table)
        for method, table in tables
        if method is not shown
    ]
    return Section(
        title="Decisions",
        intro="Every annotated frame is one of four: the AU is there and found (TP) or missed "
        "(FN), or it is not there and was detected all the same (FP) or not (TN).",
        blocks=tuple(blocks),
    )


def _outcomes_table(judged: Judged, units: Sequence[_Unit]) -> Table:
    rows = []
    for score, unit in zip(judged.method.scores.units, units, strict=True):
        told = unit.outcomes
        present, absent = told.found + told.missed, told.false + told.absent
        cells = [
            Cell(text=f"{count:,}", shade=shade(count / of if of else math.nan))
            for count, of in (
                (told.found, present), (told.missed, present), (told.false, absent),
                (told.absent, absent),
            )
        ]  # fmt: skip
        shares = (told.recall, told.specificity, told.precision)
        cells += [Cell(text=percent(share, decimals=1)) for share in shares]
        cells += [
            figure_cell(score.f1, score.f1_interval),
            figure_cell(score.roc_auc, score.roc_auc_interval),
            Cell(text=f"{score.threshold:.3g}"),
        ]
        rows.append((Cell(text=score.name, note=meaning(score.name)), *cells))
    return Table(
        header=("Action Unit", "TP", "FN", "FP", "TN", "Recall", "Specificity", "Precision", "F1",
                "ROC-AUC", "Threshold"),
        rows=tuple(rows),
        caption=f"{judged.method.title}: frames. Shaded: their share of the present (TP, FN) or of "
        "the absent ones (FP, TN). Recall is TP / (TP + FN), specificity TN / (TN + FP), precision "
        "TP / (TP + FP). Below F1 and ROC-AUC their 95 % intervals over subjects. An AU is "
        "detected from its threshold on.",
    )  # fmt: skip


def _roc_section(
    judged: Sequence[Judged], units: Sequence[Sequence[_Unit]], legend: Sequence[Block]
) -> Section:
    means = []
    for own in units:
        curves = [unit.roc for unit in own if unit.roc is not None]
        if curves:
            roc = mean_roc(curves)
            means.append(RocLine(name=own[0].method.title, roc=roc, tone=own[0].tone))
    what = "class" if judged[0].method.scores.kind == "classes" else "AU"
    everything = "Mean over all classes" if what == "class" else "Mean over all AUs"
    overview = Plot(
        svg=roc_plot(means, title=everything, width=380),
        caption="At each share of false alarms the mean share found. Dotted: guessing.",
    )
    table = _areas_table([each.method for each in judged])
    blocks: list[Block] = [*legend]
    if len(judged) <= MOST_BESIDE:
        blocks.append(Beside(left=table, right=overview))
    else:
        areas_plot = Plot(
            svg=_areas_plot(units), caption="Area under the curve, with its interval."
        )
        blocks += [Beside(left=areas_plot, right=overview), table]
    plots = []
    for name in all_names(judged):
        lines, areas = [], []
        for each, own in zip(judged, units, strict=True):
            if name not in each.names:
                continue
            place = each.names.index(name)
            if drawn := own[place].line():
                lines.append(drawn)
                areas.append(f"{each.method.title} {each.method.scores.units[place].roc_auc:.3f}")
        if lines:
            plots.append(
                roc_plot(
                    lines, title=name, note=meaning(name),
                    said=f"ROC of {name}; area under the curve: {', '.join(areas)}",
                )
            )  # fmt: skip
    blocks.append(
        Plots(svgs=tuple(plots), caption="Dots: the thresholds in use. Dotted: guessing.")
    )
    return Section(
        title="ROC curves",
        intro=f"What share of the frames with {'an AU' if what == 'AU' else 'a class'} is found, "
        "and of the others falsely detected, as its threshold moves from strict to lenient.",
        blocks=tuple(blocks),
    )


def _areas_plot(units: Sequence[Sequence[_Unit]]) -> str:
    """Return the mean area under the ROC curves of each method, with its interval."""
    rows = []
    for method, tone in ((each[0].method, each[0].tone) for each in units):
        low, high = method.scores.macro_roc_auc_interval
        value = method.scores.macro_roc_auc
        rows.append(Estimates(name=method.title, values=[value], low=[low], high=[high], tone=tone))
    return methods_plot(rows, title="Mean ROC-AUC of each method", axis="mean ROC-AUC")


def _areas_table(methods: Sequence[Scored]) -> Table:
    scores = [{unit.name: unit for unit in method.scores.units} for method in methods]
    rows: list[tuple[Cell, ...]] = [
        (
            Cell(text="Mean"),
            *(
                Cell(
                    text=figure_text(method.scores.macro_roc_auc),
                    note=short_interval(method.scores.macro_roc_auc_interval),
                    shade=_above_chance(method.scores.macro_roc_auc),
                )
                for method in methods
            ),
        )
    ]
    for name in sorted({name for each in scores for name in each}):
        values = [each[name].roc_auc if name in each else math.nan for each in scores]
        judged = [v for m, v in zip(methods, values, strict=True) if m.name != CEILING]
        best = max((v for v in judged if math.isfinite(v)), default=math.nan)
        rows.append(
            (
                Cell(text=name, note=meaning(name)),
                *(
                    Cell(
                        text=figure_text(value),
                        shade=_above_chance(value),
                        strong=len(judged) > 1 and value == best and method.name != CEILING,
                    )
                    for method, value in zip(methods, values, strict=True)
                ),
            )
        )
    return Table(
        header=("ROC-AUC", *(method.title for method in methods)),
        rows=tuple(rows),
        total=1,
        caption="Area under the ROC curve: 0.5 is guessing, 1 is perfect.",
    )


def _above_chance(area: float) -> float | None:
    return shade(2 * area - 1)
