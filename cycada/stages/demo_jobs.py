"""What the demo does, as jobs that build on each other, and how long each takes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from cycada.config import DetectorConfig, TranslatorConfig
from cycada.errors import RunError
from cycada.metrics.scores import DetectionScores
from cycada.models.build import check_size
from cycada.settings import load_config
from cycada.stages import train_detector, train_translator
from cycada.stages.evaluate import evaluate
from cycada.stages.scoring import SCORES_NAME, EvaluateOptions
from cycada.stages.side_by_side import Job
from cycada.stages.translate import run_translation
from cycada.training.checkpoint import newest_checkpoint

Budget = Literal["quick", "full"]

VIEW_ONLY = "structure"
REGIONS = "regions"
WIDE = "regions_wide"
ALIGNED = "aligned_regions"


@dataclass(frozen=True, slots=True)
class Plan:
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
    wide: bool  # whether the taught detector has wider networks than its teachers
    pixel_teaches: bool = True  # or only those that were aligned


PLANS: dict[Budget, Plan] = {
    "quick": Plan(
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
        wide=False,
    ),
    # The same faces and the same ends of the scale, so that the shares compare. Longer are the
    # trainings that gain by it: what learns from RGB faces alone becomes worse to begin from, a
    # translator of 4,000 steps teaches no better, and pupils have learned all after 2,500. Then a
    # pupil that can hold more learns more, as in Noisy Student; and what was aligned for long
    # teaches better without what learned from translations alone.
    "full": Plan(
        400,
        8,
        translator_steps=1200,
        plain_steps=1300,
        detector_steps=600,
        pixel_steps=200,
        feature_steps=6000,
        alignment_steps=6000,
        teaching_steps=2500,
        ceiling_steps=4000,
        wide=True,
        pixel_teaches=False,
    ),
}

_WIDTH = 36  # channels of a wide taught detector, the setting's default being 24

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


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes jobs of one seed; runs that do not depend on ``without`` are in ``shared``."""

    out: Path
    shared: Path
    faces: Path
    plan: Plan
    size: int
    seed: int

    def detector(
        self, name: str, steps: int, *after: str, alone: bool = False, **values: Any
    ) -> Job:
        """Return the job that trains the detector ``name``."""
        # Adapted detectors keep their last weights, so one look at the end is enough.
        looks = 1 if "target" in values else 5
        # A save costs seconds, most of them for thresholds; minutes at most are done again.
        save_every = min(max(steps // 2, 300), 1000)
        settings = {
            "backbone": "small", "pretrained": "none", "size": self.size, "seed": self.seed,
            "steps": steps, "learning_rate": 3e-3, "view": "structure",
            "validate_every": max(steps // looks, 1), "save_every": save_every,
            **_AUGMENT, **values,
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

    def wide_regions(self) -> Job:
        """Return the job that trains what a wide taught detector begins from."""
        return self.detector(
            WIDE, self.plan.detector_steps, **self.source(self.faces), backbone="regions",
            width=_WIDTH,
        )  # fmt: skip

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
        """Return the job that teaches the unlabelled faces; without translations by ``feature``.

        It begins from its first teacher, or from regions as wide as it is.
        """
        feature = self.shared / "feature"
        teachers = [self.out / ALIGNED, feature] if translated else [feature]
        if translated and self.plan.pixel_teaches:
            teachers.append(self.out / "pixel")
        made = [self._translated] if translated else []
        needed = [run.name for run in teachers]
        begin = self.adapted(teachers[0])
        if self.plan.wide:
            needed.append(WIDE)
            begin = {**self.adapted(self.shared / WIDE), "width": _WIDTH}
        return self.detector(
            "both", self.plan.teaching_steps, *needed, alone=True,
            **self.source(self.faces, *made), target=[str(self.faces)],
            teachers=[str(run) for run in teachers], **begin,
        )  # fmt: skip


def jobs_at_a_time() -> int:
    """Return how many jobs to do side by side here: a GPU has room for more than two cores."""
    return 4 if torch.cuda.is_available() else 2


def _finished(run: Path, steps: int) -> bool:
    """Tell whether a training is at its end, with weights that are whole."""
    if not (run / f"{steps:06d}").is_dir():
        return False
    try:
        newest = newest_checkpoint(run, with_state=False, told=False)
    except RunError:  # all are damaged; the training itself says so
        return False
    return newest is not None and newest.step == steps


def macro_f1(folder: Path) -> float:
    """Return the macro F1 that an evaluation has left in its folder."""
    found = json.loads((folder / SCORES_NAME).read_text(encoding="utf-8"))
    return round(DetectionScores.from_json(found["scores"]).macro_f1, 4)
