"""The whole way on phantom faces: draw, train, translate, adapt, evaluate, and show."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cycada.errors import RunError
from cycada.files import replacing
from cycada.locking import LOCK_NAME, holds_anything, sole_writer
from cycada.metrics.detection import gap_closed
from cycada.progress import Progress
from cycada.stages.demo_jobs import (
    ALIGNED,
    PLANS,
    REGIONS,
    VIEW_ONLY,
    Budget,
    Maker,
    Plan,
    jobs_at_a_time,
    macro_f1,
)
from cycada.stages.phantom import PhantomOptions, make_phantom
from cycada.stages.report import report
from cycada.stages.side_by_side import Job, start_workers

METHODS = ("source_only", "pixel", "feature", "both", "target_supervised")
BETWEEN = (VIEW_ONLY, REGIONS, ALIGNED)  # shown beside the methods: what they begin from
_SHOWN = 96  # faces of each gallery, a minute's work; `cycada report` shows more
SUMMARY_NAME, STATE_NAME = "summary.json", "demo.json"


def run_demo(
    out: Path, *, size: int, seed: int, budget: Budget, progress: Progress
) -> dict[str, Any]:
    """Walk the whole way in ``out``, and go on where an earlier walk was interrupted.

    The detectors, all judged on thermal faces of subjects that no stage has seen:

    - ``source_only``: trained on labelled RGB faces, the plain way;
    - ``structure``: the same, seeing only what RGB and thermal faces share (``view``), which
      needs no target faces at all; it judges the translations;
    - ``regions``: sees that of aligned eyes, nose and mouth, which it finds as it learned from the
      landmarks of the RGB faces (``backbone``); no target faces either. The following, but for the
      ceiling, are such detectors and begin from it;
    - ``pixel``: trained on RGB faces translated to thermal, with their labels;
    - ``feature``: trained on RGB faces, its features aligned to unlabelled thermal faces;
    - ``both``: trained on both kinds and aligned (``aligned_regions``), then taught the unlabelled
      faces by itself, ``pixel`` and ``feature`` together; with ``budget="full"`` the first and the
      last of these teach a wider detector that begins from RGB faces (``regions_wide``);
    - ``target_supervised``: seeing the structure of whole faces, trained on as many labelled
      thermal faces, the ceiling.

    Returns:
        What ``summary.json`` holds.

    Raises:
        ConfigError: The networks cannot work at ``size``, or ``seed`` is negative.
        RunError: ``out`` holds a demo with other options, or another process works there.
    """
    # Made before anything is written, so that an option that cannot work leaves nothing behind.
    jobs = _jobs(out, PLANS[budget], size=size, seed=seed)
    with sole_writer(out):
        return _run(out, jobs, {"size": size, "seed": seed, "budget": budget}, progress)


def _run(
    out: Path, jobs: Sequence[Job], options: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    clock = _Clock(out, options)
    _take_over(out)
    begun = sum(job.done() for job in jobs)

    def begin(job: Job) -> None:
        nonlocal begun
        begun += 1
        progress.say(f"[{begun}/{len(jobs)}] {job.title}")

    with clock, start_workers(jobs_at_a_time(), progress) as workers:
        workers.run(jobs, begun=begin, ended=clock.tick)
    scores = {name: macro_f1(out / "evaluation" / name) for name in METHODS}
    between = {name: macro_f1(out / "evaluation" / name) for name in BETWEEN}
    share = gap_closed(scores["source_only"], scores["both"], scores["target_supervised"])
    summary = {
        "macro_f1": scores,
        "macro_f1_between": between,
        "gap_closed": share if math.isfinite(share) else None,  # JSON knows no NaN
        "seconds": round(clock.seconds, 1),
        **{name: options[name] for name in ("seed", "size", "budget")},
    }
    with replacing(out / SUMMARY_NAME) as temporary:
        temporary.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    report(
        [out], out / "report.html", title="RGB faces into infrared, and what it gains",
        count=_SHOWN, progress=progress,
    )  # fmt: skip
    return summary


def _take_over(out: Path) -> None:
    """Remove what workers have left that were killed when they had done all but let go.

    Nobody else would: what is done is not done again.
    """
    for pattern in ("*", "evaluation/*"):
        for lock in sorted(out.glob(f"{pattern}/{LOCK_NAME}")):
            with sole_writer(lock.parent):
                pass


def _jobs(out: Path, plan: Plan, *, size: int, seed: int) -> Sequence[Job]:
    """Return what is to be done; what the most others wait for comes first."""
    faces = out / "faces"
    make = Maker(out, out, faces, plan, size, seed)
    rgb = make.source(faces)
    return (
        Job(
            "phantom",
            "phantom faces",
            partial(
                make_phantom,
                PhantomOptions(
                    out=faces, rgb_subjects=plan.subjects, thermal_subjects=plan.subjects,
                    frames=plan.frames, size=size, seed=seed, paired=("val", "test"),
                ),
            ),
            done=(faces / "index.csv").exists,
            alone=True,
        ),
        make.detector(VIEW_ONLY, plan.detector_steps, **rgb),
        make.detector(REGIONS, plan.detector_steps, **rgb, backbone="regions"),
        *make.translation(),
        make.detector("source_only", plan.plain_steps, **rgb, view="image"),
        make.feature(),
        make.aligned_regions(),
        make.pixel(),
        *([make.wide_regions()] if plan.wide else []),
        make.detector("target_supervised", plan.ceiling_steps, **rgb, source_domain="thermal"),
        make.both(translated=True),  # nothing is left to be done beside it
        make.score("translator"),
        *(make.score(name) for name in (*METHODS, *BETWEEN)),
    )  # fmt: skip


class _Clock:
    """Adds up the seconds of all sittings, and keeps the options, in ``demo.json``."""

    def __init__(self, out: Path, options: dict[str, Any]) -> None:
        self.file, self.options, self.seconds = out / STATE_NAME, options, 0.0
        if self.file.exists():
            found = json.loads(self.file.read_text(encoding="utf-8"))
            if found["options"] != options:
                raise RunError(
                    f"{out}: holds a demo with other options ({found['options']}); choose another "
                    "--out, or delete it."
                )
            self.seconds = float(found["seconds"])
        elif out.exists() and holds_anything(out):
            raise RunError(f"{out}: is not empty and holds no demo; choose another --out.")
        self.started = time.monotonic()

    def __enter__(self) -> None:
        self.tick()

    def __exit__(self, *_: object) -> None:
        self.tick()

    def tick(self) -> None:
        """Add the time since the last tick, and write it down."""
        now = time.monotonic()
        self.seconds, self.started = self.seconds + now - self.started, now
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.file) as temporary:
            content = {"options": self.options, "seconds": round(self.seconds, 3)}
            temporary.write_text(json.dumps(content), encoding="utf-8")
