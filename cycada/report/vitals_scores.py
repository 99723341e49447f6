"""The page of ``cycada evaluate-vitals``: how well a monitor tells breathing and dyspnea."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cycada
from cycada.metrics.agreement import LIMITS, WRONG, Figure, scaled
from cycada.metrics.vitals import APNEA, HIGH_QUALITY, VitalsScores
from cycada.report.agreement_plot import bland_altman_plot
from cycada.report.page import Block, Cell, Page, Plot, Section, Table, Text
from cycada.report.page import Figure as Large

_WIDE, _NARROW = 1000, 380  # px
_DASH = "\u2013"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRow:
    """One clip, without a name: the page may be shown."""

    windows: int  # in which a rate was owed
    given: int  # of those
    windows_without: int
    made_up: int  # of those: rates where no breathing was
    mae: float
    most: float  # largest difference


def sentences(scores: VitalsScores) -> dict[str, list[str]]:
    """Return what the figures mean, in sentences: of breathing, apnea and dyspnea."""
    told, apnea = scores.breathing, scores.apnea
    breathing = [
        (
            f"Mean absolute error {_figure(told.all.mae)} breaths per minute, root mean square "
            f"error {_figure(told.all.rmse)}, over {told.all.pairs:,} seconds with a rate."
        ),
        (
            f"Bias {_figure(told.all.bias, '+.2f')}, limits of agreement "
            f"{_figure(told.all.lower, '+.2f')} to {_figure(told.all.upper, '+.2f')} (Bland and "
            f"Altman 1986: bias and {LIMITS:g} standard deviations)."
        ),
        (
            f"{_share(told.all.wrong)} of the rates are wrong: off by more than {WRONG:g}, or "
            "given where there is no breathing."
        ),
        (
            f"A rate was given for {_share(told.coverage)} of {told.windows:,} seconds in whose "
            "window the patient breathes throughout (coverage)."
        ),
        (
            f"With rates of a quality of {HIGH_QUALITY:g} or more alone, the mean absolute error "
            f"is {_figure(told.high_quality.mae)} at a coverage of "
            f"{_share(told.coverage_high_quality)}."
        ),
    ]
    if told.windows_without:
        breathing.append(
            f"Of {told.windows_without:,} seconds in whose window no breathing is to be seen, "
            f"{_share(told.silent)} have no rate."
        )
    stopped = []
    if apnea.events:
        stopped = [
            (
                f"{_share(apnea.found)} of {_count(apnea.events, 'apnea')} of {APNEA:g} s or more "
                f"were flagged while they lasted, {_seconds(apnea.delay.value)} after their start "
                f"in the median, {_seconds(apnea.delay_longest)} at the latest."
            ),
            (
                f"{_share(scores.apnea_seconds)} of their seconds after the first {APNEA:g} were "
                "flagged."
            ),
        ]
    stopped.append(
        f"{_share(scores.apnea_false)} of the seconds of breathing were flagged by mistake, "
        f"{_figure(apnea.false_per_hour, '.1f')} flags per hour without an apnea, or again in one."
    )
    return {
        "Breathing": breathing,
        "Apnea": stopped,
        "Dyspnea": _dyspnea(scores),
    }


def scores_page(
    scores: VitalsScores,
    clips: Sequence[ClipRow],
    *,
    pairs: tuple[Sequence[float], Sequence[float]],
    notes: Sequence[str],
) -> Page:
    """Return the page; it names nobody and no file.

    Args:
        scores: All figures.
        clips: A row for each, in the order in which they were given.
        pairs: Told and true rates, of the same seconds.
        notes: What was understood or left out.
    """
    said = sentences(scores)
    plot = Plot(
        svg=bland_altman_plot(*pairs, scores.breathing.all, width=_WIDE),
        narrow=bland_altman_plot(*pairs, scores.breathing.all, width=_NARROW),
        caption="Each dot is a second, larger ones are many. What is further off than the axis "
        "reaches lies on its edge.",
    )
    sections = [
        Section(title="Breathing", blocks=(*_texts(said["Breathing"]), plot, _table(clips))),
        Section(title="Apnea", blocks=_texts(said["Apnea"])),
        Section(title="Dyspnea", blocks=_texts(said["Dyspnea"])),
        Section(
            title="How to read this",
            blocks=(
                Text(
                    text="Intervals of 95 % are in brackets; they resample subjects, since the "
                    "seconds of one are alike. The truth of a window is the mean rate of the "
                    "breaths in it, over the time in which there is breathing."
                ),
                *(Text(text=note, warns=True) for note in notes),
            ),
        ),
    ]
    return Page(
        title="How well breathing and dyspnea are told",
        subtitle=f"{_count(scores.clips, 'clip')} of {_count(scores.subjects, 'subject')}. "
        "Research use only: this is not a medical device.",
        figures=_large(scores),
        sections=tuple(sections),
        provenance=(("Written by", f"cycada {cycada.__version__}"),),
    )


def _large(scores: VitalsScores) -> tuple[Large, ...]:
    told = scores.breathing
    figures = [
        Large(value=_plain(told.all.mae.value), label="Error", note="breaths per minute, mean"),
        Large(value=_percent(told.coverage.value), label="Coverage", note="of the breathing"),
        Large(
            value=_percent(told.all.wrong.value),
            label="Misleading",
            note=f"off by > {WRONG:g}, or of no breath",
        ),
    ]
    if scores.apnea.events:
        found = _percent(scores.apnea.found.value)
        figures.append(Large(value=found, label="Apneas", note=f"of {scores.apnea.events}"))
    if scores.dyspnea_auc is not None:
        area = _plain(scores.dyspnea_auc.value)
        figures.append(Large(value=area, label="Dyspnea", note="area under the ROC curve"))
    return tuple(figures)


def _dyspnea(scores: VitalsScores) -> list[str]:
    events, area = scores.dyspnea, scores.dyspnea_auc
    if events is None and area is None:
        return ["Nothing is known of dyspnea: the truths or the monitor do not speak of it."]
    said = []
    if area is not None:
        said.append(
            f"The score tells seconds of dyspnea from others with an area under the ROC curve of "
            f"{_figure(area, '.3f')}."
            if math.isfinite(area.value)
            else "There is no area under the ROC curve: all seconds with a score are of one kind."
        )
    if events is not None and events.events:
        said.append(
            f"{_share(events.found)} of {_count(events.events, 'span')} of dyspnea raised an "
            f"alarm while they lasted, {_seconds(events.delay.value)} after their start in the "
            f"median, {_seconds(events.delay_longest)} at the latest."
        )
    if events is not None:
        said.append(
            f"{_figure(events.false_per_hour, '.1f')} false alarms per hour, in "
            f"{events.hours:.1f} hours."
        )
    if scores.dyspnea_false is not None and math.isfinite(scores.dyspnea_false.value):
        said.append(
            f"{_share(scores.dyspnea_false)} of the seconds without dyspnea were under an alarm."
        )
    return said


def _table(clips: Sequence[ClipRow]) -> Block:
    header = (
        "clip", "seconds owed", "given", "seconds without breathing", "rates there", "mean error",
        "largest",
    )  # fmt: skip
    rows = tuple(
        (
            Cell(text=str(number)), Cell(text=str(one.windows)),
            Cell(text=_percent(one.given / one.windows if one.windows else math.nan)),
            Cell(text=str(one.windows_without)), Cell(text=str(one.made_up)),
            Cell(text=_plain(one.mae)), Cell(text=_plain(one.most), strong=one.most > WRONG),
        )
        for number, one in enumerate(clips, start=1)
    )  # fmt: skip
    return Table(
        header=header, rows=rows, caption="Clips in the order in which they were given; errors in "
        "breaths per minute."
    )  # fmt: skip


def _texts(said: Sequence[str]) -> tuple[Text, ...]:
    return tuple(Text(text=sentence) for sentence in said)


def _figure(figure: Figure, style: str = ".2f") -> str:
    """Return a figure with its interval, if it has one."""
    if not math.isfinite(figure.value):
        return _DASH
    told = format(figure.value, style)
    low, high = figure.interval
    if not math.isfinite(low):
        return told
    return f"{told} [{format(low, style)}, {format(high, style)}]"


def _share(figure: Figure) -> str:
    return _figure(scaled(figure, 100), ".1f") + " %"


def _plain(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else _DASH


def _percent(value: float) -> str:
    return f"{value:.1%}" if math.isfinite(value) else _DASH


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if math.isfinite(value) else _DASH


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
