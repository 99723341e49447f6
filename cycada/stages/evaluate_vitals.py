"""Compare what ``cycada monitor`` told with what is known of the same patients."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import cycada
from cycada.errors import DataError, UsageError
from cycada.metrics.agreement import Span
from cycada.metrics.bootstrap import RESAMPLES
from cycada.metrics.vitals import VitalsScores
from cycada.report.agreement_plot import bland_altman_plot
from cycada.report.page import render_page
from cycada.report.plots import standalone
from cycada.report.vitals_scores import ClipRow, scores_page, sentences
from cycada.stages.scoring import SCORES_NAME, write_results
from cycada.stages.vitals_scores import Course, score_courses
from cycada.vitals.record import EVENTS_NAME, VITALS_NAME, read_events, read_vitals
from cycada.vitals.truth import read_truth

PAGE_NAME, PLOT_NAME = "scores.html", "agreement.svg"

_ALARM = "dyspnea"  # kind of the events that are alarms of dyspnea
_LATE = 1.0  # s by which a course may outlast its truth


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateVitalsOptions:
    """What to compare."""

    vitals: tuple[Path, ...]  # tables, folders of `cycada monitor`, or folders of these
    truths: tuple[Path, ...]  # tables in the same order; or one folder of tables named alike
    out: Path
    resamples: int = RESAMPLES
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What came of it."""

    scores: VitalsScores
    notes: tuple[str, ...]


def evaluate_vitals(options: EvaluateVitalsOptions) -> Evaluated:
    """Score courses against their truths; write figures, plot and page to ``options.out``.

    Raises:
        UsageError: Vitals and truths cannot be paired.
        DataError: A table cannot be read, or is of another clip.
    """
    courses, notes, named = [], [], []
    for number, (vitals, truth) in enumerate(_pairs(options), start=1):
        course, told = _course(vitals, truth)
        courses.append(course)
        notes += [f"Clip {number}: {each}" for each in told]  # results may be shown: no names
        named += [f"{vitals}: {each}" for each in told]
    scores = score_courses(courses, resamples=options.resamples, seed=options.seed)
    true = np.concatenate([one.windows.rate for one in courses]).tolist()
    told_rates = np.concatenate([one.rate for one in courses]).tolist()
    page = scores_page(
        scores, [_row(one) for one in courses], pairs=(told_rates, true), notes=notes
    )
    figures = {
        "kind": "vitals", "version": cycada.__version__, "notes": notes, **scores.to_json()
    }  # fmt: skip
    write_results(options.out, {
        SCORES_NAME: json.dumps(figures, indent=1) + "\n",
        PLOT_NAME: standalone(bland_altman_plot(told_rates, true, scores.breathing.all)),
        PAGE_NAME: render_page(page),
    })  # fmt: skip
    return Evaluated(scores, tuple(named))


def summary_lines(evaluated: Evaluated, out: Path) -> list[str]:
    """Return a sentence for each figure, the notes, and where the page is."""
    said = [sentence for part in sentences(evaluated.scores).values() for sentence in part]
    return [*said, *evaluated.notes, f"{out / PAGE_NAME}"]


def _pairs(options: EvaluateVitalsOptions) -> Iterator[tuple[Path, Path]]:
    """Yield each table of vitals with its truth."""
    tables = [table for path in options.vitals for table in _tables(path)]
    truths = options.truths
    if len(truths) == 1 and truths[0].is_dir():
        truths = tuple(truths[0] / f"{_name(table)}.csv" for table in tables)
        missing = [truth for truth in truths if not truth.exists()]
        if missing:
            raise DataError(
                f"{missing[0]}: there is no such file. Truths in a folder are named as the folders "
                f"that `cycada monitor` wrote to, with .csv."
            )
    if len(tables) != len(truths):
        raise UsageError(
            f"--truth: given {len(truths)} times for {len(tables)} tables of vitals; give one for "
            "each, in the same order, or a folder of truths that are named alike."
        )
    yield from zip(tables, truths, strict=True)


def _tables(path: Path) -> list[Path]:
    """Return a table, that of a folder, or those of the folders in it.

    Raises:
        DataError: There is none.
    """
    if not path.is_dir():
        return [path]
    if (path / VITALS_NAME).exists():
        return [path / VITALS_NAME]
    found = sorted(path.glob(f"*/{VITALS_NAME}"))
    if not found:
        raise DataError(f"{path}: holds no {VITALS_NAME} of `cycada monitor`, nor do its folders.")
    return found


def _name(table: Path) -> str:
    """Return what a table of vitals is of: its folder's name, or its own."""
    return table.resolve().parent.name if table.name == VITALS_NAME else table.stem


def _course(file: Path, truth_file: Path) -> tuple[Course, list[str]]:
    truth = read_truth(truth_file)
    first, last = float(truth.seconds[0]), float(truth.seconds[-1]) + _LATE
    rows = list(read_vitals(file))
    kept = [row for row in rows if row.seconds <= last]
    early = sum(row.seconds < first for row in kept)
    if len(kept) == early:
        raise DataError(
            f"{file}: tells nothing of the time from {first:.0f} to {last:.0f} s, of which "
            f"{truth_file} knows."
        )
    notes = []
    if early:
        notes.append(f"{early} seconds before the beginning of its truth are not judged.")
    if len(kept) < len(rows):
        notes.append(f"{len(rows) - len(kept)} seconds after the end of its truth are left out.")
    alarms = _alarms(file.with_name(EVENTS_NAME), end=min(rows[-1].seconds, last))
    if alarms is None:
        notes.append(f"has no {EVENTS_NAME} beside it, so its alarms are not counted.")
    return Course(
        subject=truth.subject or str(file.resolve()),
        truth=truth,
        seconds=np.array([row.seconds for row in kept]),
        rate=np.array([row.rate for row in kept]),
        quality=np.array([row.quality for row in kept]),
        apnea=np.array([np.nan if row.apnea is None else row.apnea for row in kept], dtype=float),
        score=np.array([row.score for row in kept]),
        alarms=alarms,
    ), notes


def _alarms(file: Path, *, end: float) -> Sequence[Span] | None:
    """Return the alarms of dyspnea up to ``end``, at which those that last are cut."""
    if not file.exists():
        return None
    return [
        Span(event.raised, end if event.lasts else min(event.end, end))
        for event in read_events(file)
        if event.kind == _ALARM and event.raised <= end
    ]


def _row(course: Course) -> ClipRow:
    windows, given = course.windows, np.isfinite(course.rate)
    off = np.abs(course.rate - windows.rate)
    off = off[np.isfinite(off)]
    return ClipRow(
        windows=int(windows.owed.sum()),
        given=int((given & windows.owed).sum()),
        windows_without=int(windows.without.sum()),
        made_up=int((given & windows.without).sum()),
        mae=float(off.mean()) if len(off) else np.nan,
        most=float(off.max()) if len(off) else np.nan,
    )
