"""Measure how well breathing is told from rendered clips of phantom patients.

python tools/vitals_benchmark.py --clips 200 --seed 0 --json

Each clip lasts two minutes: rates of 6 to 45 breaths per minute, by nose or mouth, that stay,
drift or change; apnea, speech, expressions, a moving head, a camera of 9 or 30 frames per second
and 20 to 80 mK of noise whose shutter closes now and then. In one of five no breathing is to be
seen. The package is shown the frames alone: it finds the face, follows it, and tells the rate
every second. The truth of a window is the mean rate of the breaths in it.

The loop that shows the frames is this tool's own, beside that of `cycada monitor`: it asks the
finder of faces every two seconds, where the monitor's FaceReader asks three times a second. So it
measures how faces are followed and breathing is told, not the whole of the monitor.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing import get_context

import click
import numpy as np
import torch

from cycada.data import phantom
from cycada.data.faces.detectors import open_detector
from cycada.metrics.vitals import HIGH_QUALITY
from cycada.stages.phantom_clips import Patient, patient, truth_of
from cycada.stages.vitals_scores import Course, score_courses
from cycada.vitals.breathing import BreathingMonitor
from cycada.vitals.tracking import FaceTracker

_LOOK_EVERY = 2.0  # s between looks for the face; more often while it is lost
_SURE = 0.5  # confidence of a face that is followed


def watch(one: Patient) -> Course:
    """Return what the package tells of a patient, second by second."""
    find, tracker, monitor = open_detector("heads"), FaceTracker(), BreathingMonitor()
    rows: list[tuple[float, float, float, float]] = []
    due, look = 1.0, 0.0
    seconds = one.clip.truth.seconds
    for at, frame in zip(seconds, phantom.render_clip(one.identity, one.clip), strict=True):
        celsius, box = torch.from_numpy(frame), None
        if at >= look or (tracker.box is None and at >= look - _LOOK_EVERY + 0.3):
            look = at + _LOOK_EVERY
            found = [face for face in find(celsius[None]).places if face.confidence >= _SURE]
            if found:
                box = found[0].left, found[0].top, found[0].width, found[0].height
        monitor.see(float(at), tracker.see(celsius, box=box, seconds=float(at)))
        if at >= due - 1e-6:
            told = monitor.tell()
            rate = told.estimate.rate if told.estimate.given else math.nan
            apnea = math.nan if told.apnea is None else float(told.apnea)
            rows.append((due, rate, told.estimate.quality, apnea))
            due += 1.0
    told_at, rate, quality, apnea = np.array(rows).T
    return Course(
        subject=one.name, truth=truth_of(one.clip), seconds=told_at, rate=rate, quality=quality,
        apnea=apnea,
    )  # fmt: skip


def _watched(number: int, seed: int) -> tuple[phantom.ClipSpec, Course]:
    torch.set_num_threads(1)
    one = patient(seed, number)
    return one.clip.spec, watch(one)


def figures(courses: Sequence[Course]) -> dict[str, float | int | None]:
    """Return the figures that are published."""
    scores = score_courses(courses, resamples=2)
    told = scores.breathing
    values: dict[str, float] = {
        "mae": told.all.mae.value,
        "mae_high_quality": told.high_quality.mae.value,
        "coverage": told.coverage.value,
        "coverage_high_quality": told.coverage_high_quality.value,
        "wrong_by_3": told.all.wrong.value,
        "silent_without_breathing": told.silent.value,
        "apneas_found": scores.apnea.found.value,
        "apnea_false_per_hour": scores.apnea.false_per_hour.value,
        "apnea_false_seconds": scores.apnea_false.value,
    }
    rounded = {
        key: round(value, 4) if math.isfinite(value) else None for key, value in values.items()
    }
    return {**rounded, "clips": len(courses)}


_KINDS: Mapping[str, Callable[[phantom.ClipSpec], bool]] = {
    "all": lambda _: True,
    "rate stays": lambda spec: len(spec.breathing) == 1 and spec.breathes,
    "rate drifts or changes": lambda spec: len({phase.rate for phase in spec.breathing} - {0}) > 1,
    "apnea in the clip": lambda spec: 0 in [phase.rate for phase in spec.breathing[1:]],
    "below 12 per minute": lambda spec: spec.breathes and spec.breathing[0].rate < 12,
    "12 to 25 per minute": lambda spec: spec.breathes and 12 <= spec.breathing[0].rate < 25,
    "25 per minute and more": lambda spec: spec.breathes and spec.breathing[0].rate >= 25,
    "by the nose": lambda spec: spec.breathes and spec.route == "nose",
    "by the mouth": lambda spec: spec.breathes and spec.route == "mouth",
    "speech": lambda spec: spec.breathes and bool(spec.speech),
    "expressions": lambda spec: spec.breathes and bool(spec.expressions),
    "a restless head": lambda spec: spec.breathes and spec.motion > 1,
    "noise above 60 mK": lambda spec: spec.breathes and spec.netd > 0.06,
    "30 frames per second": lambda spec: spec.breathes and spec.frames_per_second > 20,
    "shutter closes": lambda spec: spec.breathes and bool(spec.freezes),
    "shallow (below 0.5 K)": lambda spec: spec.breathes and spec.depth < 0.5,
    "no breath at all": lambda spec: spec.depth > 0 and not spec.breathes,
    "intubated": lambda spec: spec.depth == 0,
}


def table(watched: Sequence[tuple[phantom.ClipSpec, Course]]) -> str:
    """Return the figures of each kind of clips as Markdown."""
    names = (
        "mae", "mae_high_quality", "coverage", "coverage_high_quality", "wrong_by_3",
        "silent_without_breathing",
    )  # fmt: skip
    lines = [f"| clips | n | {' | '.join(name.replace('_', ' ') for name in names)} |"]
    lines.append("|---" * (len(names) + 2) + "|")
    for kind, meant in _KINDS.items():
        courses = [course for spec, course in watched if meant(spec)]
        if courses:
            told = figures(courses)
            cells = ["" if told[name] is None else f"{told[name]:.3f}" for name in names]
            lines.append(f"| {kind} | {len(courses)} | {' | '.join(cells)} |")
    return "\n".join(lines)


@click.command()
@click.option("--clips", type=click.IntRange(min=2), default=200, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Tune on others than 0.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON, for programs.")
@click.option("--processes", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--each", is_flag=True, help="Tell of every clip as well.")
def main(*, clips: int, seed: int, as_json: bool, processes: int, each: bool) -> None:
    """Print the figures, and a table by kind of clip on standard error."""
    begun = time.perf_counter()
    watched: list[tuple[phantom.ClipSpec, Course]] = []
    with get_context("spawn").Pool(processes) as pool:
        for number, one in enumerate(pool.imap(partial(_watched, seed=seed), range(clips))):
            watched.append(one)
            if each:
                click.echo(_line(number, *one), err=True)
    click.echo(table(watched), err=True)
    click.echo(f"\n{time.perf_counter() - begun:.0f} s; high quality is {HIGH_QUALITY}", err=True)
    told = figures([course for _, course in watched])
    click.echo(json.dumps(told) if as_json else "\n".join(f"{k}: {v}" for k, v in told.items()))


def _line(number: int, spec: phantom.ClipSpec, course: Course) -> str:
    true, owed, without = course.windows
    off = np.abs(course.rate - true)
    off = off[np.isfinite(off)]
    rates = "/".join(f"{phase.rate:.0f}" for phase in spec.breathing)
    given = np.isfinite(course.rate)
    return (
        f"{number:04d} {rates} by {spec.route}, {spec.depth:.2f} K, motion {spec.motion:.1f}, "
        f"{1000 * spec.netd:.0f} mK, {spec.frames_per_second:g} fps, speech {len(spec.speech)}, "
        f"{', '.join(one.look for one in spec.expressions) or 'still'}: "
        f"given {given[owed].sum()} of {owed.sum()}, {given[without].sum()} of {without.sum()} "
        f"without; off {off.mean() if len(off) else math.nan:.2f}, "
        f"most {off.max(initial=0):.1f}, quality {course.quality.mean():.2f}"
    )


if __name__ == "__main__":
    main()
