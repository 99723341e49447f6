"""The page of ``cycada monitor``: the course of a patient, alarms, and what they rest on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cycada
from cycada.errors import CycadaError
from cycada.files import replacing
from cycada.report.page import (
    Block,
    Cell,
    Facts,
    Figure,
    Fold,
    Page,
    Plot,
    Section,
    Table,
    Text,
    write_page,
)
from cycada.report.plots import standalone
from cycada.report.vitals_course import FACE, Course
from cycada.report.vitals_plot import Levels, clock, course_plot
from cycada.vitals.alarms import Event

_WIDE, _NARROW = 1116, 400  # px

PAGE_NAME, PLOT_NAME = "monitor.html", "vitals.svg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What is told of a patient."""

    course: Course
    alarms: Sequence[Event]
    levels: Levels
    items: Sequence[tuple[str, str, bool]]  # of the score: name, source, whether a hypothesis
    fitted: bool = False  # whether the score is a model fitted to labels
    facts: Sequence[tuple[str, str]] = ()  # of camera and detector
    ended: str = ""  # where it did not end as the recording does


def write_vitals(out: Path, watched: Watched) -> None:
    """Write ``monitor.html`` and ``vitals.svg``, each whole or not at all.

    Raises:
        CycadaError: A file cannot be written.
    """
    file = out / PLOT_NAME
    drawing = course_plot(watched.course, watched.alarms, watched.levels, width=_WIDE)
    try:
        with replacing(file) as temporary:
            temporary.write_text(standalone(drawing), encoding="utf-8")
    except OSError as error:
        raise CycadaError(f"{file}: cannot be written ({error.strerror}).") from error
    write_page(out / PAGE_NAME, vitals_page(watched))


def vitals_page(watched: Watched) -> Page:
    """Return the page; it names nobody and no file."""
    sections = [_course(watched)]
    if watched.alarms:
        sections.append(_alarms(watched.alarms))
    sections += [_rests_on(watched), _limits()]
    return Page(
        title="A patient, second by second",
        subtitle="Breathing and facial Action Units before a thermal camera. Research use only: "
        "this is not a medical device, and nobody's care may depend on it.",
        figures=_figures(watched),
        sections=tuple(sections),
        provenance=(*watched.facts, ("Written by", f"cycada {cycada.__version__}")),
    )


def _figures(watched: Watched) -> tuple[Figure, ...]:
    course = watched.course
    low, middle, high = (course.rate_at(share) for share in (0.05, 0.5, 0.95))
    given = course.given / max(course.rows, 1)
    rate = "\u2013" if math.isnan(middle) else f"{middle:.1f}"
    spread = "no rate was given" if math.isnan(low) else (
        f"breaths per minute, median; {low:.0f} to {high:.0f} in 9 of 10 seconds"
    )  # fmt: skip
    kinds = [alarm.kind for alarm in watched.alarms]
    told = ", ".join(f"{kinds.count(kind)} of {kind}" for kind in dict.fromkeys(kinds))
    found = [
        Figure(label="Watched", value=clock(course.rows), note=watched.ended or "to the end"),
        Figure(label="Breathing", value=rate, note=spread),
        Figure(label="Rate given", value=f"{given:.0%}", note="of the time"),
    ]
    if course.units:
        score = course.scored / max(course.rows, 1)
        found.append(Figure(label="Score given", value=f"{score:.0%}", note="of the time"))
    found.append(Figure(
        label="Alarms", value=str(len(kinds)), note=told or "none", accent=bool(kinds)
    ))  # fmt: skip
    return tuple(found)


def _course(watched: Watched) -> Section:
    course = watched.course
    drawings = [
        course_plot(course, watched.alarms, watched.levels, width=width)
        for width in (_WIDE, _NARROW)
    ]
    caption = "Hatched: not known. A rate looks back up to 30 seconds, so it comes late by half of "
    caption += "that, and there is none in the first seconds."
    if course.step > 1:
        caption += f" Lines are means over {course.step} seconds, with the lowest and highest."
    return Section(
        title="Over time",
        blocks=(Plot(svg=drawings[0], narrow=drawings[1], caption=caption),),
    )


def _alarms(alarms: Sequence[Event]) -> Section:
    rows = []
    for alarm in alarms:
        lasted = "" if alarm.lasts else f"{alarm.end - alarm.start:.0f} s"
        rows.append((
            Cell(text=alarm.kind.capitalize(), strong=True),
            Cell(text=clock(alarm.start)),
            Cell(text=clock(alarm.raised)),
            Cell(text="goes on" if alarm.lasts else clock(alarm.end)),
            Cell(text=lasted),
            Cell(text=f"{alarm.peak:.2f}" if alarm.kind == "dyspnea" else "\u2013"),
            Cell(text=_sentence(alarm.reason), prose=True),
        ))  # fmt: skip
    header = ("Alarm", "Began", "Raised", "Ended", "Lasted", "Peak", "What was seen")
    return Section(
        title="Alarms",
        intro="An alarm begins when the score rises, is raised when it has stayed up for some "
        "seconds, and ends when it has stayed down for some.",
        blocks=(Table(header=header, rows=tuple(rows), names=len(header)),),
    )


def _rests_on(watched: Watched) -> Section:
    course = watched.course
    blocks: list[Block] = []
    if watched.items:
        blocks += _items(watched)
    face = course.share(FACE)
    pairs = [("Face seen", "\u2013" if math.isnan(face) else f"{face:.0%} of the time")]
    for part, seconds in course.parts.most_common(3):
        pairs.append((f"Rate from the {part}", _share(seconds, course.rows)))
    for why, seconds in course.reasons.most_common(5):
        pairs.append((f"No rate: {why or 'not told'}", _share(seconds, course.rows)))
    blocks.append(Facts(pairs=tuple(pairs)))
    return Section(
        title="What it rests on",
        intro=_what_the_score_is(watched),
        blocks=tuple(blocks),
    )


def _what_the_score_is(watched: Watched) -> str:
    if not watched.items:
        return "Without a detector of Action Units there is breathing alone, and no score."
    if watched.fitted:
        return (
            "The score is the probability of a logistic regression that was fitted to a group's "
            "own labels. It holds for patients, camera and detector like theirs, if at all."
        )
    return (
        "The score adds up what a camera can see of the observation scales RDOS and MV-RDOS. No "
        "study has tested it on patients."
    )


def _items(watched: Watched) -> list[Block]:
    course = watched.course
    rows = []
    for name, _, hypothesis in watched.items:
        seconds, why = course.missing.get(name, (0, ""))
        rows.append((
            Cell(text=_sentence(name), note="hypothesis" if hypothesis else ""),
            Cell(text=_share(course.rows - seconds, course.rows)),
            Cell(text=_sentence(why) if seconds else "", prose=True),
        ))  # fmt: skip
    header = ("Item", "Known", "Why not, at last")
    sources = tuple((Cell(text=_sentence(n)), Cell(text=_sentence(s), prose=True))
                    for n, s, _ in watched.items)  # fmt: skip
    return [
        Table(
            header=header, rows=tuple(rows), names=len(header),
            caption="What is missing is left out of the score, never made up.",
        ),
        Fold(
            title="Where the points come from",
            block=Table(header=("Item", "Source"), rows=sources, names=2),
        ),
    ]  # fmt: skip


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _limits() -> Section:
    return Section(
        title="What this is not",
        blocks=(
            Text(
                text="Research use only. This is not a medical device. No figure here replaces "
                "looking at the patient; an alarm that is not raised means nothing.", warns=True,
            ),
            Text(
                text="Breathing is seen where air warms and cools the skin: not in a patient "
                "whose air goes through a tube, hardly under a mask, and not from more than about "
                "a metre away. The methods were tuned on drawn phantom patients, whose breathing "
                "is known. How far off they are on real ones has not been measured."
            ),
        ),
    )  # fmt: skip


def _share(seconds: int, rows: int) -> str:
    return f"{seconds / max(rows, 1):.0%} of the time"
