"""Detectors compared: figures, table and plots of the same faces scored by several methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cycada.action_units import meaning
from cycada.metrics.bootstrap import NO_INTERVAL, Interval
from cycada.metrics.detection import gap_closed
from cycada.metrics.scores import DetectionScores, IntensityScores
from cycada.report.page import Beside, Block, Cell, Facts, Figure, Plot, Section, Table, Text
from cycada.report.plots import TONES, Estimates, Tone, methods_plot, units_plot
from cycada.task import TaskKind

BASELINE, CEILING = "source_only", "target_supervised"

_HEADLINES: Mapping[TaskKind, str] = MappingProxyType(
    {"action_units": "Macro F1", "classes": "Accuracy"}
)
_ANSWERS: Mapping[TaskKind, str] = MappingProxyType(
    {"action_units": "Action Unit", "classes": "Class"}
)
_MEANINGS: Mapping[TaskKind, str] = MappingProxyType(
    {"action_units": "Mean F1 over the AUs", "classes": "Share of faces whose class is told"}
)

MOST_BESIDE = 4  # methods; the table of more needs the whole width of the page

_KNOWN: Mapping[str, tuple[str, Tone]] = MappingProxyType(
    {
        BASELINE: ("Source only", "baseline"),
        "structure": ("Structure view only", "4"),
        "regions": ("Aligned regions only", "5"),
        "pixel": ("Pixel", "1"),
        "feature": ("Feature", "3"),
        "aligned_regions": ("Pixel + feature, before teaching", "6"),
        "both": ("Pixel + feature", "2"),
        CEILING: ("Supervised on target", "ceiling"),
    }
)
"""The methods of CyCADA's table, in its order, as `cycada demo` names their folders."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """The scores of one method, by the name of its folder."""

    name: str
    scores: DetectionScores
    head: Mapping[str, Any]  # run, index, split, domain, notes
    intensities: IntensityScores | None = None  # of detectors that tell them, on graded faces
    folder: Path | None = None  # of the evaluation

    @property
    def title(self) -> str:
        """The name to show."""
        return spoken(self.name)


def spoken(name: str) -> str:
    """Return the name of a folder as the page shows it."""
    return _KNOWN[name][0] if name in _KNOWN else name.replace("_", " ")


def in_order(names: Sequence[str]) -> list[str]:
    """Return the names in the order of CyCADA's table; unknown ones between its ends."""
    order = list(_KNOWN)
    places = {name: order.index(name) for name in names if name in order}
    return sorted(names, key=lambda name: places.get(name, order.index(CEILING) - 0.5))


def tones(names: Sequence[str]) -> dict[str, Tone]:
    """Return a colour for each name: the same one on the whole page."""
    taken = {_KNOWN[name][1] for name in names if name in _KNOWN}
    free = [tone for tone in TONES if tone not in taken] or TONES
    result: dict[str, Tone] = {}
    for name in names:
        if name in _KNOWN:
            result[name] = _KNOWN[name][1]
        else:
            result[name] = free[len(set(names[: names.index(name)]) - set(_KNOWN)) % len(free)]
    return result


def detection_figures(methods: Sequence[Scored]) -> tuple[Figure, ...]:
    """Return the numbers for the head of the page: best method, ends, gap closed."""
    named = {method.name: method.scores for method in methods}
    middle = [method for method in methods if method.name not in (BASELINE, CEILING)]
    if not methods:
        return ()
    shown = shown_method(methods)
    figures = [
        Figure(
            label=f"{_HEADLINES[shown.scores.kind]}, {shown.title}",
            value=figure_text(shown.scores.headline),
            note=_interval_text(shown.scores.headline_interval),
            accent=True,
        )
    ]
    for end in (BASELINE, CEILING):
        if end in named and shown.name != end:
            figures.append(Figure(label=spoken(end), value=figure_text(named[end].headline)))
    if BASELINE in named and CEILING in named and middle:
        share = gap_closed(named[BASELINE].headline, shown.scores.headline, named[CEILING].headline)
        if math.isfinite(share):
            figures.append(
                Figure(label="Gap closed", value=percent(share), note="of baseline to ceiling")
            )
    return tuple(figures)


def shown_method(methods: Sequence[Scored]) -> Scored:
    """Return the method that the page is about: pixel + feature, else the best adapted one."""
    middle = [method for method in methods if method.name not in (BASELINE, CEILING)]
    both = next((method for method in methods if method.name == "both"), None)
    return both or max(middle or methods, key=lambda method: _rank(method.scores.headline))


def detection_section(methods: Sequence[Scored]) -> Section:
    """Return the comparison of detectors that were scored on the same faces."""
    colours = tones([method.name for method in methods])
    named = {method.name: method.scores for method in methods}
    head, first = methods[0].head, methods[0].scores
    zone = None
    if BASELINE in named and CEILING in named:
        zone = (named[BASELINE].headline, named[CEILING].headline)
    totals = [_total(method, colours[method.name]) for method in methods]
    facts = (
        ("Faces", f"{head.get('domain', '')} {head.get('split', '')}".strip()),
        ("Frames", f"{first.frames:,}"),
        ("Subjects", f"{first.subjects:,}"),
        ("AUs averaged" if first.kind == "action_units" else "Classes", f"{len(first.averaged)}"),
        ("Intervals", f"{percent(first.interval_level)}, {first.resamples:,} draws of subjects"),
    )
    headline = _HEADLINES[first.kind]
    shaded = " The shaded range is the gap between baseline and ceiling." if zone else ""
    blocks: list[Block] = [
        Beside(
            left=Plot(
                svg=methods_plot(
                    totals,
                    title=f"{headline} of each method",
                    zone=zone,
                    axis=headline[:1].lower() + headline[1:],
                ),
                caption=f"{_MEANINGS[first.kind]}, with its interval.{shaded}",
            ),
            right=Facts(pairs=facts),
        ),
    ]
    table, drawing = _units_table(methods), _units_drawing(methods, colours)
    if len(methods) <= MOST_BESIDE:
        blocks.append(Beside(left=table, right=drawing))
    else:
        blocks += [table, drawing]
    told = {note: None for method in methods for note in method.head.get("notes", ())}
    blocks += [Text(text=sentence(note), warns=True) for note in told]
    if first.kind == "classes":
        blocks += [_confusion_table(method) for method in methods]
        return Section(
            title="Classes",
            intro="Accuracy, and F1 of each class against all others; intervals by resampling "
            "subjects.",
            blocks=tuple(blocks),
        )
    return Section(
        title="Action Units",
        intro="F1 of each Action Unit: true and false positives pooled over frames, thresholds "
        "from validation subjects and, for adapted detectors, unlabelled target faces, intervals "
        "by resampling subjects.",
        blocks=tuple(blocks),
    )


def figure_text(value: float) -> str:
    """Return a score with three decimals, or a dash where it is undefined."""
    return f"{value:.3f}" if math.isfinite(value) else "\u2013"


def percent(share: float, *, decimals: int = 0) -> str:
    """Return a share in per cent, or a dash where it is undefined."""
    if not math.isfinite(share):
        return "\u2013"
    return f"{100 * share:.{decimals}f} %".replace("-", "\u2212")


def shade(value: float) -> float | None:
    """Return how strongly a score colours its cell; None where it is undefined."""
    return max(value, 0.0) if math.isfinite(value) else None


def sentence(text: str) -> str:
    """Return the text with a capital letter and a full stop."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else text + "."


def _confusion_table(method: Scored) -> Table:
    """Return how often each class is taken for which; the diagonal is right."""
    names = [unit.name for unit in method.scores.units]
    rows = []
    for name, counts in zip(names, method.scores.confusion, strict=True):
        shares = [count / max(sum(counts), 1) for count in counts]
        rows.append(
            (
                Cell(text=name),
                Cell(text=f"{sum(counts):,}"),
                *(
                    Cell(text=f"{count:,}" if count else "", shade=shade(part))
                    for count, part in zip(counts, shares, strict=True)
                ),
            )
        )
    return Table(
        header=("True class", "Faces", *names),
        rows=tuple(rows),
        caption=f"{method.title}: faces of each true class (row) by the class that was told "
        "(column).",
    )


def _units_table(methods: Sequence[Scored]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            Cell(text="Mean F1"),
            Cell(text=""),
            *(
                Cell(
                    text=figure_text(method.scores.macro_f1),
                    note=short_interval(method.scores.macro_f1_interval),
                    shade=shade(method.scores.macro_f1),
                )
                for method in methods
            ),
        ),
        (
            Cell(text="Mean ROC-AUC"),
            Cell(text=""),
            *(
                Cell(
                    text=figure_text(method.scores.macro_roc_auc),
                    note=short_interval(method.scores.macro_roc_auc_interval),
                )
                for method in methods
            ),
        ),
    ]
    if methods[0].scores.kind == "classes":
        rows.insert(
            0,
            (
                Cell(text="Accuracy"),
                Cell(text=""),
                *(
                    Cell(
                        text=percent(method.scores.accuracy, decimals=2),
                        note=short_interval(method.scores.accuracy_interval),
                        shade=shade(method.scores.accuracy),
                    )
                    for method in methods
                ),
            ),
        )
    rows += _further_means(methods)
    totals = len(rows)
    scores = {m.name: {u.name: u for u in m.scores.units} for m in methods}
    for name in sorted({name for units in scores.values() for name in units}):
        found = [scores[method.name].get(name) for method in methods]
        values = [math.nan if unit is None else unit.f1 for unit in found]
        judged = [v for m, v in zip(methods, values, strict=True) if m.name != CEILING]
        best = max((v for v in judged if math.isfinite(v)), default=math.nan)
        share = next((unit.prevalence for unit in found if unit is not None), math.nan)
        rows.append(
            (
                Cell(text=name, note=meaning(name)),
                Cell(text=percent(share)),
                *(
                    Cell(
                        text=figure_text(value),
                        shade=shade(value),
                        strong=len(judged) > 1 and value == best > 0 and method.name != CEILING,
                    )
                    for method, value in zip(methods, values, strict=True)
                ),
            )
        )
    return Table(
        header=(_ANSWERS[methods[0].scores.kind], "Present", *(method.title for method in methods)),
        rows=tuple(rows),
        total=totals,
        caption="F1, but where another figure is named. Present: share of annotated frames. "
        "Bold: the best below the ceiling.",
    )


def _further_means(methods: Sequence[Scored]) -> list[tuple[Cell, ...]]:
    """Return the rows of what some of the methods have: calibration and intensities."""
    errors = [method.scores.macro_calibration_error for method in methods]
    rows: list[tuple[Cell, ...]] = []
    if any(map(math.isfinite, errors)):
        rows.append(
            (
                Cell(text="Calibration error", note="expected"),
                Cell(text=""),
                *(Cell(text=figure_text(error)) for error in errors),
            )
        )
    graded = [method.intensities for method in methods]
    if any(graded):
        found = [
            (math.nan, NO_INTERVAL) if each is None else (each.macro_icc, each.macro_icc_interval)
            for each in graded
        ]
        rows.append(
            (
                Cell(text="Mean ICC(3,1)", note="intensities"),
                Cell(text=""),
                *(Cell(text=figure_text(icc), note=short_interval(at)) for icc, at in found),
            )
        )
        off = [math.nan if each is None else each.macro_mae for each in graded]
        rows.append(
            (
                Cell(text="Mean absolute error", note="grades"),
                Cell(text=""),
                *(Cell(text=figure_text(error)) for error in off),
            )
        )
    return rows


def _units_drawing(methods: Sequence[Scored], colours: Mapping[str, Tone]) -> Plot:
    answers = [u.name for u in methods[0].scores.units if u.present]
    estimates = []
    for method in methods:
        units = {unit.name: unit for unit in method.scores.units}
        rows = [units.get(name) for name in answers]
        estimates.append(
            Estimates(
                name=method.title,
                values=[math.nan if unit is None else unit.f1 for unit in rows],
                low=[math.nan if unit is None else unit.f1_interval.low for unit in rows],
                high=[math.nan if unit is None else unit.f1_interval.high for unit in rows],
                tone=colours[method.name],
            )
        )
    names = [f"{name} {meaning(name)}".strip() for name in answers]
    what = _ANSWERS[methods[0].scores.kind]
    return Plot(
        svg=units_plot(estimates, names, title=f"F1 of each {what} and method"),
        caption="Dots: F1. Lines: intervals over subjects.",
    )


def _total(method: Scored, tone: Tone) -> Estimates:
    low, high = method.scores.headline_interval
    return Estimates(
        name=method.title, values=[method.scores.headline], low=[low], high=[high], tone=tone
    )


def _rank(value: float) -> float:
    return value if math.isfinite(value) else -1.0


def _interval_text(bounds: Interval) -> str:
    low, high = bounds
    return f"95 % interval {low:.2f} to {high:.2f}" if math.isfinite(low) else ""


def short_interval(bounds: Interval) -> str:
    """Return an interval as it stands below its figure; nothing where there is none."""
    return f"{bounds.low:.2f}\u2013{bounds.high:.2f}" if math.isfinite(bounds.low) else ""
