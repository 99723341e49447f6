"""Runs side by side in one table, with the interval of each difference."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cycada.metrics.bootstrap import NO_INTERVAL, Floats, Interval, interval, subject_draws
from cycada.metrics.detection import bootstrap_f1, counts_by_subject, gap_closed, mean_over_units
from cycada.report.judged import Judged, figure_cell
from cycada.report.methods import (
    BASELINE,
    CEILING,
    Scored,
    figure_text,
    percent,
    shade,
    short_interval,
)
from cycada.report.page import Cell, Section, Table


def comparison_section(
    methods: Sequence[Scored],
    judged: Sequence[Judged | None],
    *,
    learned: Sequence[str],
) -> Section | None:
    """Return one table of all methods that were scored on the same faces; of one there is none.

    Args:
        methods: In the order of the page.
        judged: Each with what it said, where that is known: for intervals of differences.
        learned: From what each did, in a few words; empty where that is not known.
    """
    if len(methods) < 2:
        return None
    place = next((n for n, method in enumerate(methods) if method.name == BASELINE), 0)
    first = methods[place]
    named = {method.name: method.scores.headline for method in methods}
    both_ends = BASELINE in named and CEILING in named
    taught = any(learned)
    calibrated = any(math.isfinite(method.scores.macro_calibration_error) for method in methods)
    classes = methods[0].scores.kind == "classes"
    best = max((v for n, v in named.items() if n != CEILING and math.isfinite(v)), default=math.nan)
    rows = []
    for method, said, taught_by in zip(methods, judged, learned, strict=True):
        scores = method.scores
        cells = [Cell(text=method.title)]
        if taught:
            cells.append(Cell(text=taught_by, prose=True))
        cells.append(
            Cell(
                text=percent(scores.headline, decimals=2)
                if classes
                else figure_text(scores.headline),
                note=short_interval(scores.headline_interval),
                shade=shade(scores.headline),
                strong=scores.headline == best and method.name != CEILING,
            )
        )
        cells.append(_difference(method, first, (said, judged[place])))
        if both_ends:
            ends = method.name in (BASELINE, CEILING)
            share = gap_closed(named[BASELINE], scores.headline, named[CEILING])
            cells.append(Cell(text="" if ends else percent(share)))
        if classes:
            cells.append(figure_cell(scores.macro_f1, scores.macro_f1_interval))
        cells.append(figure_cell(scores.macro_roc_auc, scores.macro_roc_auc_interval))
        cells.append(Cell(text=figure_text(scores.macro_average_precision)))
        if calibrated:
            cells.append(Cell(text=figure_text(scores.macro_calibration_error)))
        rows.append(tuple(cells))
    header = [
        "Run",
        *(["Learned from"] if taught else []),
        "Accuracy" if classes else "Mean F1",
        f"Against {first.title.lower()}",
        *(["Gap closed"] if both_ends else []),
        *(["Mean F1"] if classes else []),
        "Mean ROC-AUC",
        "Mean average precision",
        *(["Calibration error"] if calibrated else []),
    ]
    table = Table(
        header=tuple(header),
        rows=tuple(rows),
        names=2 if taught else 1,
        caption="Below a figure its 95 % interval, by resampling subjects. A difference is taken "
        "in each resample anew, so that its interval is that of the difference, and it is bold "
        "where the interval leaves out 0. Best run below the ceiling: bold.",
    )
    return Section(
        title="Runs compared",
        intro="The same faces, scored by each run.",
        blocks=(table,),
    )


def paired_difference(one: Judged, other: Judged) -> Interval:
    """Return the interval of how much ``one`` has more than ``other``, on the same resamples.

    Of AUs it is the mean F1, of classes the accuracy. NaN where the two did not say something of
    the same faces, or of fewer than two subjects.
    """
    mine, theirs = one.predictions, other.predictions
    if mine.paths != theirs.paths or one.names != other.names:
        return NO_INTERVAL
    rows = mine.known.any(axis=1)
    subjects = np.asarray(mine.subjects)[rows]
    scores = one.method.scores
    count = len(set(subjects.tolist()))
    if count < 2:
        return NO_INTERVAL
    draws = subject_draws(count, resamples=scores.resamples, seed=scores.seed)
    samples: list[Floats] = []
    for said in (mine, theirs):
        counts = counts_by_subject(
            said.detected[rows], said.present[rows], said.known[rows], subjects
        )
        if scores.kind == "classes":
            _, which = np.unique(subjects, return_inverse=True)
            right = counts[:, 0].sum(axis=1)
            samples.append((draws @ right) / (draws @ np.bincount(which)))
        else:
            samples.append(mean_over_units(bootstrap_f1(counts, draws)))
    return interval(samples[0] - samples[1], level=scores.interval_level)


def _difference(method: Scored, first: Scored, said: tuple[Judged | None, Judged | None]) -> Cell:
    if method is first:
        return Cell(text="")
    off = method.scores.headline - first.scores.headline
    if not math.isfinite(off):
        return Cell(text="\u2013")
    mine, theirs = said
    low, high = paired_difference(mine, theirs) if mine and theirs else NO_INTERVAL
    sure = math.isfinite(low) and (low > 0 or high < 0)
    note = f"{_signed(low)} to {_signed(high)}" if math.isfinite(low) else ""
    return Cell(text=_signed(off), note=note, strong=sure)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\u2212")
