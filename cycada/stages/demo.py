"""The whole way on phantom faces: draw, train, translate, adapt, evaluate, and show."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from cycada.config import DetectorConfig, TranslatorConfig
from cycada.errors import RunError
from cycada.files import replacing
from cycada.metrics.detection import gap_closed
from cycada.metrics.scores import DetectionScores
from cycada.models.build import check_size
from cycada.progress import Progress
from cycada.settings import load_config
from cycada.stages import train_detector, train_translator
from cycada.stages.evaluate import evaluate
from cycada.stages.phantom import PhantomOptions, make_phantom
from cycada.stages.report import report
from cycada.stages.scoring import SCORES_NAME, EvaluateOptions
from cycada.stages.side_by_side import Job, start_workers
from cycada.stages.translate import run_translation

Budget = Literal["quick", "full"]
Term = Literal["semantic", "cycle", "pixel"]

_SIDE_BY_SIDE = 2  # jobs at a time

METHODS = ("source_only", "pixel", "feature", "both", "target_supervised")
VIEW_ONLY = "structure"
REGIONS = "regions"
ALIGNED = "aligned_regions"
BETWEEN = (VIEW_ONLY, REGIONS, ALIGNED)  # shown beside the methods: what they begin from
SUMMARY_NAME, STATE_NAME = "summary.json", "demo.json"


@dataclass(frozen=True, slots=True)
class _Plan:
    """How much is drawn and how long is trained."""

    subjects: int  # in each domain
    frames: int  # of each subject
    translator_steps: int
    plain_steps: int  # of the detector of images, which learns more slowly
    detector_steps: int  # of detectors of local structure, from random weights
    pixel_steps: int  # from trained weights, on translations
    feature_steps: int  # aligned without translations
    alignment_steps: int  # of the aligned detector that is taught afterwards
    teaching_steps: int
    ceiling_steps: int  # on labelled thermal faces


PLANS: dict[Budget, _Plan] = {
    "quick": _Plan(
        400,
        8,
        translator_steps=1200,
        plain_steps=1300,
        detector_steps=600,
        pixel_steps=200,
        feature_steps=600,
        alignment_steps=600,
        teaching_steps=600,
        ceiling_steps=4000,
    ),
    # The same faces and the same ends of the scale, so that the shares compare. Longer are the
    # trainings that gain by it: what learns from RGB faces alone becomes worse to begin from.
    "full": _Plan(
        400,
        8,
        translator_steps=4000,
        plain_steps=1300,
        detector_steps=600,
        pixel_steps=600,
        feature_steps=3000,
        alignment_steps=2400,
        teaching_steps=2500,
        ceiling_steps=4000,
    ),
}

# Phantom heads already turn and shift from frame to frame, so little is added to that.
_AUGMENT = {
    "augment.rotate": 4.0, "augment.scale": 0.05, "augment.shift": 0.04,
    "augment.brightness": 0.1, "augment.contrast": 0.1, "augment.blur": 0.0,
    "augment.noise": 0.01,
}  # fmt: skip
# A detector that is adapted has to see what one of the other domain has alike, and to learn more
# from its teachers than their mistakes: there, what disturbs them helps (Noisy Student, Xie et al.,
# CVPR 2020).
_AUGMENT_ADAPTED = {
    "augment.rotate": 8.0, "augment.scale": 0.08, "augment.shift": 0.06,
    "augment.contrast": 0.2, "augment.blur": 0.5, "augment.noise": 0.02, "augment.erase": 0.3,
}  # fmt: skip


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
      faces by itself, ``pixel`` and ``feature`` together;
    - ``target_supervised``: seeing the structure of whole faces, trained on as many labelled
      thermal faces, the ceiling.

    Returns:
        What ``summary.json`` holds.

    Raises:
        ConfigError: The networks cannot work at ``size``, or ``seed`` is negative.
        RunError: ``out`` holds a demo with other options.
    """
    clock = _Clock(out, {"size": size, "seed": seed, "budget": budget})
    # Made before anything is written, so that an option that cannot work leaves nothing behind.
    jobs = _jobs(out, PLANS[budget], size=size, seed=seed)
    begun = sum(job.done() for job in jobs)

    def begin(job: Job) -> None:
        nonlocal begun
        begun += 1
        progress.say(f"[{begun}/{len(jobs)}] {job.title}")

    with clock, start_workers(_SIDE_BY_SIDE, progress) as workers:
        workers.run(jobs, begun=begin, ended=clock.tick)
    scores = {name: _macro_f1(out / "evaluation" / name) for name in METHODS}
    between = {name: _macro_f1(out / "evaluation" / name) for name in BETWEEN}
    share = gap_closed(scores["source_only"], scores["both"], scores["target_supervised"])
    summary = {
        "macro_f1": scores,
        "macro_f1_between": between,
        "gap_closed": share if math.isfinite(share) else None,  # JSON knows no NaN
        "seconds": round(clock.seconds, 1),
        "seed": seed,
        "size": size,
        "budget": budget,
    }
    with replacing(out / SUMMARY_NAME) as temporary:
        temporary.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    report([out], out / "report.html", title="RGB faces into infrared, and what it gains")
    return summary


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes jobs of one seed; runs that do not depend on ``without`` are in ``shared``."""

    out: Path
    shared: Path
    faces: Path
    plan: _Plan
    size: int
    seed: int

    def detector(
        self, name: str, steps: int, *after: str, alone: bool = False, **values: Any
    ) -> Job:
        """Return the job that trains the detector ``name``."""
        # Adapted detectors keep their last weights, so one look at the end is enough.
        looks = 1 if "target" in values else 5
        settings = {
            "backbone": "small", "pretrained": "none", "size": self.size, "seed": self.seed,
            "steps": steps, "learning_rate": 3e-3, "view": "structure",
            "validate_every": max(steps // looks, 1), "save_every": 250, **_AUGMENT, **values,
        }  # fmt: skip
        config = load_config(DetectorConfig, None, (), settings)
        run = self.out / name
        return Job(
            name,
            f"detector: {name.replace('_', ' ')}",
            partial(train_detector.run_training, config, run),
            done=lambda: _finished(run, steps),
            after=("phantom", *after),
            alone=alone,
        )

    def score(self, name: str) -> Job:
        """Return the job that evaluates the run ``name``."""
        folder = self.out / "evaluation" / name
        options = EvaluateOptions(run=self.out / name, index=self.faces, out=folder)
        return Job(
            f"evaluation/{name}",
            f"evaluation: {name.replace('_', ' ')}",
            partial(evaluate, options),
            done=(folder / SCORES_NAME).exists,
            after=(name,),
        )

    def translation(self, **values: Any) -> tuple[Job, Job]:
        """Return the jobs that train the translator and translate the RGB faces."""
        steps, run, made = self.plan.translator_steps, self.out / "translator", self._translated
        config = load_config(
            TranslatorConfig, None, (),
            {
                "data": [str(self.faces)], "detector": str(self.shared / VIEW_ONLY),
                "size": self.size, "seed": self.seed, "steps": steps, "learning_rate": 5e-4,
                "generator.width": 24, "generator.blocks": 3,
                "discriminator.width": 32, "discriminator.layers": 2,
                "weights.cycle": 3.0, "weights.rgb_cycle": 0.33, "rgb_cycle_block": 4,
                "weights.identity": 0.0, "weights.semantic": 1.0,
                "sample_every": steps // 6, "save_every": 200, **values,
            },
        )  # fmt: skip
        check_size(config)
        return (
            Job(
                "translator",
                "translator",
                partial(train_translator.run_training, config, run),
                done=lambda: _finished(run, steps),
                after=(VIEW_ONLY,),
            ),
            Job(
                "translated",
                "translation of the RGB faces",
                partial(run_translation, run, self.faces, made, depth="auto"),
                done=(made / "index.csv").exists,
                after=("translator",),
            ),
        )

    @property
    def _translated(self) -> Path:
        return self.out / "translated"

    def source(self, *indexes: Path) -> dict[str, Any]:
        """Return the setting of the labelled faces to learn from."""
        return {"source": [str(index) for index in indexes]}

    def aligned(self) -> dict[str, Any]:
        """Return the settings that align ``regions`` to the thermal faces."""
        return {
            "target": [str(self.faces)], "alignment.method": "dann", "alignment.weight": 0.08,
            **self.adapted(self.shared / REGIONS),
        }  # fmt: skip

    def adapted(self, begin: Path) -> dict[str, Any]:
        """Return the settings of a detector that begins from another one of regions."""
        return {
            "initial": str(begin), "channels": 3, "backbone": "regions",
            "learning_rate": 2e-3, **_AUGMENT_ADAPTED,
        }  # fmt: skip

    def feature(self) -> Job:
        """Return the job that aligns a detector without translations."""
        return self.detector(
            "feature", self.plan.feature_steps, REGIONS, **self.source(self.faces),
            **self.aligned(),
        )  # fmt: skip

    def pixel(self) -> Job:
        """Return the job that trains a detector on translations."""
        return self.detector(
            "pixel", self.plan.pixel_steps, "translated", REGIONS,
            **self.source(self._translated), **self.adapted(self.shared / REGIONS),
        )  # fmt: skip

    def aligned_regions(self) -> Job:
        """Return the job that aligns a detector with translations."""
        return self.detector(
            ALIGNED, self.plan.alignment_steps, "translated", REGIONS,
            **self.source(self.faces, self._translated), **self.aligned(),
        )  # fmt: skip

    def both(self, *, translated: bool) -> Job:
        """Return the job that teaches the unlabelled faces; without translations by ``feature``."""
        feature = self.shared / "feature"
        teachers = (
            [self.out / ALIGNED, feature, self.out / "pixel"] if translated else [feature]
        )  # fmt: skip
        made = [self._translated] if translated else []
        return self.detector(
            "both", self.plan.teaching_steps, *(run.name for run in teachers), alone=True,
            **self.source(self.faces, *made), target=[str(self.faces)],
            teachers=[str(run) for run in teachers], **self.adapted(teachers[0]),
        )  # fmt: skip


def _jobs(out: Path, plan: _Plan, *, size: int, seed: int) -> Sequence[Job]:
    """Return what is to be done; what the most others wait for comes first."""
    faces = out / "faces"
    make = _Maker(out, out, faces, plan, size, seed)
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
        make.detector("target_supervised", plan.ceiling_steps, **rgb, source_domain="thermal"),
        make.both(translated=True),  # nothing is left to be done beside it
        make.score("translator"),
        *(make.score(name) for name in (*METHODS, *BETWEEN)),
    )  # fmt: skip


def run_ablations(
    whole: Path, out: Path, *, without: Sequence[Term], size: int, seed: int, budget: Budget,
    progress: Progress,
) -> dict[Term, dict[str, float]]:  # fmt: skip
    """Repeat a demo's adaptation without one term of the method, for several terms side by side.

    What does not depend on the term is taken from the demo: the faces, and the detectors that
    learned from no translation. Stopped, it goes on.

    Args:
        whole: Folder of a finished demo of the same size, seed and budget.
        out: Where the runs go, in a folder ``no-TERM`` each.
        without: ``semantic`` or ``cycle``: a term of the translator; ``pixel``: no translation,
            the detectors learn from RGB faces.
        size: Side of the faces in px.
        seed: Of everything.
        budget: How long is trained.
        progress: Shows the stages.

    Returns:
        Without each of them the macro F1, on the thermal test faces, of ``both`` and, where there
        are translations, of ``pixel``.
    """
    folders: dict[Term, Path] = {term: out / f"no-{term}" for term in without}
    chains = []
    for term, folder in folders.items():
        make = _Maker(folder, whole, whole / "faces", PLANS[budget], size, seed)
        chains.append(_named(_ablation(make, term), term))
    # By turns, so that translators are side by side: they take longest, and the rest needs them.
    jobs = [job for row in zip_longest(*chains) for job in row if job is not None]
    with start_workers(_SIDE_BY_SIDE, progress) as workers:
        workers.run(jobs, begun=lambda job: progress.say(job.title), ended=lambda: None)
    return {
        term: {
            name: _macro_f1(folder / "evaluation" / name)
            for name in ("pixel", "both")
            if (folder / "evaluation" / name).exists()
        }
        for term, folder in folders.items()
    }


def _ablation(make: _Maker, term: Term) -> Sequence[Job]:
    if term == "pixel":
        return make.both(translated=False), make.score("both")
    made = make.translation(**{f"weights.{term}": 0.0})
    return (
        *made, make.aligned_regions(), make.pixel(), make.score("pixel"),
        make.both(translated=True), make.score("both"),
    )  # fmt: skip


def _named(jobs: Sequence[Job], term: Term) -> Sequence[Job]:
    """Return the jobs of one ablation among those of others; what the demo did is there."""
    here = {job.name for job in jobs}
    return [
        replace(
            job,
            name=f"{term}/{job.name}",
            title=f"[without {term}] {job.title}",
            after=tuple(f"{term}/{name}" for name in job.after if name in here),
            alone=False,  # there are others to be done beside it
        )
        for job in jobs
    ]


def _finished(run: Path, steps: int) -> bool:
    return (run / f"{steps:06d}").is_dir()


def _macro_f1(folder: Path) -> float:
    found = json.loads((folder / SCORES_NAME).read_text(encoding="utf-8"))
    return round(DetectionScores.from_json(found["scores"]).macro_f1, 4)


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
        elif out.exists() and any(out.iterdir()):
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
