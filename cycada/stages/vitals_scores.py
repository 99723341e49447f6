"""How well a monitor tells breathing and dyspnea of patients of whom both is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cycada.metrics.agreement import (
    Detection,
    Figure,
    Span,
    agreement,
    area_under_roc,
    detect_spans,
    scaled,
    share,
    spans_of,
)
from cycada.metrics.bootstrap import RESAMPLES
from cycada.metrics.vitals import (
    APNEA,
    HIGH_QUALITY,
    BreathingScores,
    EventScores,
    VitalsScores,
)
from cycada.vitals.respiration import WINDOW
from cycada.vitals.truth import Truth, Windows, begun, true_windows, truth_at

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What a monitor told of a patient, and what was true.

    Attributes:
        subject: Who it is.
        truth: What happened.
        seconds: ``(N,)`` at which it told something.
        rate: ``(N,)`` breaths per minute; NaN where it gave none.
        quality: ``(N,)`` from 0 to 1.
        apnea: ``(N,)``, 1 where it said that breathing stood still, else 0; NaN where it could not
            tell.
        score: ``(N,)`` of dyspnea; NaN where unknown; empty where it told none at all.
        alarms: From their being raised to their end.
    """

    subject: str
    truth: Truth
    seconds: Array
    rate: Array
    quality: Array
    apnea: Array
    score: Array = field(default_factory=lambda: np.empty(0))
    alarms: Sequence[Span] | None = None  # None: it raises none

    @property
    def windows(self) -> Windows:
        """What is true of the windows that the rates are of."""
        return true_windows(self.truth, self.seconds, length=WINDOW)


def score_courses(
    courses: Sequence[Course], *, resamples: int = RESAMPLES, seed: int = 0
) -> VitalsScores:
    """Return how well courses agree with their truths.

    Args:
        courses: One of each clip; several may be of one subject.
        resamples: Of the bootstrap over subjects.
        seed: Of the bootstrap.
    """
    drawn = {"resamples": resamples, "seed": seed}
    subjects = np.concatenate([np.full(len(one.seconds), one.subject) for one in courses])
    standing = _joined(courses, _stands_still)
    breathing = _joined(courses, _breathes)
    flagged = _joined(courses, lambda one: one.apnea == 1)
    speaking = [one for one in courses if one.truth.dyspnea is not None and one.alarms is not None]
    return VitalsScores(
        clips=len(courses),
        subjects=len({one.subject for one in courses}),
        breathing=_breathing(courses, subjects, drawn),
        apnea=_apneas(courses, drawn),
        apnea_seconds=share(flagged[standing], subjects=subjects[standing], **drawn),
        apnea_false=share(flagged[breathing], subjects=subjects[breathing], **drawn),
        dyspnea=_dyspnea(speaking, drawn) if speaking else None,
        dyspnea_false=_false_alarm(speaking, drawn) if speaking else None,
        dyspnea_auc=_area(courses, drawn),
    )


def _breathing(
    courses: Sequence[Course], subjects: NDArray[Any], drawn: dict[str, int]
) -> BreathingScores:
    told, quality = (
        _joined(courses, lambda one: one.rate),
        _joined(courses, lambda one: one.quality),
    )
    windows = [one.windows for one in courses]
    true = np.concatenate([each.rate for each in windows])
    owed = np.concatenate([each.owed for each in windows])
    without = np.concatenate([each.without for each in windows])
    given, sure = np.isfinite(told), quality >= HIGH_QUALITY
    return BreathingScores(
        windows=int(owed.sum()),
        windows_without=int(without.sum()),
        all=agreement(told, true, subjects=subjects, without=without, **drawn),
        high_quality=agreement(
            told[sure], true[sure], subjects=subjects[sure], without=without[sure], **drawn
        ),
        coverage=share(given[owed], subjects=subjects[owed], **drawn),
        coverage_high_quality=share((given & sure)[owed], subjects=subjects[owed], **drawn),
        silent=share(~given[without], subjects=subjects[without], **drawn),
    )


def _apneas(courses: Sequence[Course], drawn: dict[str, int]) -> EventScores:
    found: list[Detection] = []
    for one in courses:
        spans, owed = spans_of(one.truth.apnea, one.truth.seconds), _owed_apneas(one.truth)
        others = [span for span in spans if span not in owed]
        told = spans_of(_alarmed(one.apnea), one.seconds)
        found.append(detect_spans(owed, told, forgiven=[*others, _unknown(one.truth)]))
    return _events(courses, found, drawn)


def _alarmed(apnea: Array) -> Bools:
    """Return in which seconds an alarm lasts; it holds while nobody can tell whether it is over."""
    known = np.isfinite(apnea)
    last = np.maximum.accumulate(np.where(known, np.arange(len(apnea)), 0))
    lasts: Bools = apnea[last] == 1
    return lasts


def _owed_apneas(truth: Truth) -> list[Span]:
    """Return the apneas that should be told of: of one who could be seen to breathe before."""
    if not truth.seen:
        return []
    return [
        span
        for span in spans_of(truth.apnea, truth.seconds)
        if span.end - span.start >= APNEA and span.start > truth.seconds[0]
    ]


def _unknown(truth: Truth) -> Span:
    """Return the time before a truth: what is told there is neither right nor false."""
    return Span(-math.inf, float(truth.seconds[0]))


def _dyspnea(courses: Sequence[Course], drawn: dict[str, int]) -> EventScores:
    found = [
        detect_spans(
            spans_of(one.truth.dyspnea, one.truth.seconds), one.alarms or (),
            forgiven=[_unknown(one.truth)],
        )
        for one in courses
        if one.truth.dyspnea is not None
    ]  # fmt: skip
    return _events(courses, found, drawn)


def _false_alarm(courses: Sequence[Course], drawn: dict[str, int]) -> Figure:
    """Return the share of the seconds without dyspnea in which an alarm of it lasted."""
    lasted, whose = [], []
    for one in courses:
        if one.truth.dyspnea is None:
            continue
        short = truth_at(one.truth, one.truth.dyspnea, one.seconds)
        calm = one.seconds[begun(one.truth, one.seconds) & ~short]
        on = np.zeros(len(calm), dtype=bool)
        for span in one.alarms or ():
            on |= (calm >= span.start) & (calm < span.end)
        lasted.append(on)
        whose.append(np.full(len(calm), one.subject))
    return share(np.concatenate(lasted), subjects=np.concatenate(whose), **drawn)


def _events(
    courses: Sequence[Course], found: Sequence[Detection], drawn: dict[str, int]
) -> EventScores:
    whose = [one.subject for one in courses]
    hits = [hit for each in found for hit in each.found]
    subjects = [name for name, each in zip(whose, found, strict=True) for _ in each.found]
    delays = [delay for each in found for delay in each.delays]
    hours = np.array([_hours(one) for one in courses])
    # False alarms of an hour are their share of the seconds that were watched, times 3600.
    watched = np.repeat(whose, np.maximum((hours * 3600).round().astype(int), 1))
    raised = np.zeros(len(watched))
    ends = np.cumsum([np.maximum(round(hour * 3600), 1) for hour in hours])
    for end, each in zip(ends, found, strict=True):
        raised[end - 1] = each.false
    rate = share(raised, subjects=watched, **drawn)
    return EventScores(
        events=len(hits),
        found=share(hits, subjects=subjects, **drawn),
        delay=Figure(float(np.median(delays)) if delays else math.nan),
        delay_longest=max(delays, default=math.nan),
        false_per_hour=scaled(rate, 3600),
        hours=float(hours.sum()),
    )


def _area(courses: Iterable[Course], drawn: dict[str, int]) -> Figure | None:
    """Return the area under the ROC curve of the score, second by second."""
    known = [one for one in courses if one.truth.dyspnea is not None and len(one.score)]
    if not known:
        return None
    present = np.concatenate(
        [
            truth_at(one.truth, one.truth.dyspnea, one.seconds)
            for one in known
            if one.truth.dyspnea is not None
        ]
    )
    judged = np.concatenate([begun(one.truth, one.seconds) for one in known])
    subjects = np.concatenate([np.full(len(one.seconds), one.subject) for one in known])
    scores = np.concatenate([one.score for one in known])
    return area_under_roc(scores[judged], present[judged], subjects=subjects[judged], **drawn)


def _stands_still(course: Course) -> Bools:
    """Return the seconds in which breathing that could be seen stands still for ten or more."""
    still = np.zeros(len(course.seconds), dtype=bool)
    for span in _owed_apneas(course.truth):
        still |= (course.seconds >= span.start + APNEA) & (course.seconds < span.end)
    return still


def _breathes(course: Course) -> Bools:
    """Return the seconds in which the patient breathes, and it can be seen."""
    if not course.truth.seen:
        return np.zeros(len(course.seconds), dtype=bool)
    still = truth_at(course.truth, course.truth.apnea, course.seconds)
    return begun(course.truth, course.seconds) & ~still


def _hours(course: Course) -> float:
    """Return for how long a patient was watched of whom something is known."""
    if not len(course.seconds):
        return 0.0
    return float(max(course.seconds[-1] - course.truth.seconds[0], 0.0) / 3600)


def _joined(courses: Sequence[Course], what: Callable[[Course], NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([what(one) for one in courses])
