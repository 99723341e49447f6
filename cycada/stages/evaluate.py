"""Score a run on faces of subjects that it has never seen."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cycada.action_units import column, meaning
from cycada.data.dataset import FaceImages
from cycada.data.index import Domain, Face, Index, Split, read_index
from cycada.data.index_checks import check_links
from cycada.data.predictions import PREDICTIONS_NAME
from cycada.data.subjects import subject_digest
from cycada.errors import DataError, RunError
from cycada.metrics.scores import (
    DetectionScores,
    IntensityScores,
    score_detector,
    score_intensities,
)
from cycada.progress import Progress
from cycada.report.plots import Estimates, standalone, units_plot
from cycada.stages.evaluate_translator import evaluate_translator
from cycada.stages.scoring import (
    SCORES_NAME,
    batches,
    check_window,
    described,
    write_results,
)
from cycada.stages.scoring import EvaluateOptions as EvaluateOptions  # noqa: PLC0414 - for callers
from cycada.task import Task, decided
from cycada.training.loading import (
    LoadedDetector,
    check_reads_rgb,
    load_detector,
    load_translator,
)
from cycada.training.run_reading import run_kind

PLOT_NAME = "scores.svg"
_NAMED = 3  # subjects that an error lists


def evaluate(options: EvaluateOptions, *, progress: Progress) -> dict[str, Any]:
    """Score a detector or translator run, write the results to ``options.out``, return them.

    Raises:
        RunError: The run is unfinished, or has learned from a subject to be scored.
        DataError: No face to score, or no label to score against.
    """
    index = read_index(options.index, allow_outside=options.allow_outside)
    check_links(index)
    device = options.device
    if run_kind(options.run) == "detector":
        detector = load_detector(options.run, device)
        chosen = _chosen(index, options.split, options.domain)
        check_unseen(chosen.subjects(), detector.seen, options.run)
        weights = detector.fingerprint
        return evaluate_detector(detector, chosen, options, weights=weights, progress=progress)
    translator = load_translator(options.run, device)
    chosen = _chosen(index, options.split, None)
    check_unseen(chosen.subjects(), translator.seen, options.run)
    judge_path = options.detector or own_detector(options.run, translator.config.detector)
    judge = None if judge_path is None else load_detector(judge_path, device)
    if judge is not None and judge_path is not None:
        check_reads_rgb(judge, judge_path)
        check_unseen(chosen.subjects(), judge.seen, options.run)
    return evaluate_translator(
        translator, judge, chosen, options, weights=translator.fingerprint, progress=progress
    )


def check_unseen(subjects: Iterable[str], trained_on: Collection[str], run: Path) -> None:
    """Refuse to score subjects that the run, or a run before it, has learned from.

    Args:
        subjects: Names.
        trained_on: Digests of names.
        run: For the error.

    Raises:
        RunError: Naming the first of them.
    """
    seen = sorted(name for name in set(subjects) if subject_digest(name) in trained_on)
    if seen:
        named = ", ".join(seen[:_NAMED]) + (", ..." if len(seen) > _NAMED else "")
        raise RunError(
            f"{run}: has learned from {len(seen)} of the subjects to be scored ({named}), itself "
            "or through the translator that made its images; scores on them would be too good. "
            "Evaluate on a split that no stage has trained on, such as --split test."
        )


def evaluate_detector(
    detector: LoadedDetector, index: Index, options: EvaluateOptions, *, weights: str = "",
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    """Score ``detector`` on all faces of ``index``; write scores, predictions and plot.

    Args:
        detector: Is asked.
        index: Faces of one domain.
        options: Settings.
        weights: SHA-256 of the detector's weights; empty: of no run.
        progress: Shows the batches.

    Raises:
        DataError: The faces carry no label of an AU that the detector knows.
    """
    task = detector.task
    labels, known = index.labels(task)
    if not known.any():
        raise DataError(
            f"{index.root}: no label to score against; the detector knows "
            f"{', '.join(task.names)}, the chosen faces are annotated for {_annotated(index)}."
        )
    probabilities = predict_faces(
        detector, index, domain=options.domain, progress=progress
    ).double()
    calibrated = detector.calibrated(probabilities)
    annotated = known.any(dim=1)
    subjects = np.array([face.subject for face in index.faces])
    thresholds = detector.thresholds.double()
    scores = score_detector(
        probabilities[annotated],
        labels[annotated],
        known[annotated],
        subjects=subjects[annotated.numpy()],
        thresholds=thresholds,
        task=task,
        calibrated=None if detector.calibration is None else calibrated[annotated],
        resamples=options.resamples,
        seed=options.seed,
    )
    strengths, graded = detector.intensities(calibrated), index.intensities(task.action_units)
    notes = _notes(scores, index, task, int((~annotated).sum()))
    result = {
        **described(options, "detector", weights=weights),
        "domain": options.domain,
        "notes": notes,
        "scores": scores.to_json(),
    }
    columns = {
        "probability": _cells(probabilities, digits=6),
        "decision": _cells(decided(probabilities, thresholds, task.kind)),
        "label": _cells(labels.double().where(known, math.nan)),
    }
    if detector.calibration is not None and task.kind == "action_units":
        columns["calibrated"] = _cells(calibrated, digits=6)
    if strengths is not None:
        columns["intensity"] = _cells(strengths, digits=3)
        columns["graded"] = _cells(graded, digits=3)
    if strengths is not None and bool((strengths + graded).isfinite().any()):
        result["intensities"] = score_intensities(
            strengths, graded, subjects=subjects, task=task, resamples=options.resamples,
            seed=options.seed,
        ).to_json()  # fmt: skip
    table = predictions_table(index.faces, task, columns)
    write_results(
        options.out,
        {
            SCORES_NAME: json.dumps(result, indent=1, allow_nan=False) + "\n",
            PREDICTIONS_NAME: table,
            PLOT_NAME: standalone(scores_plot(scores)),
        },
    )
    return result


def predict_faces(
    detector: LoadedDetector, index: Index, *, domain: Domain, progress: Progress
) -> Tensor:
    """Return ``(N, A)`` probabilities for the faces of ``index``, which are of one domain.

    Raises:
        DataError: The detector learned from another temperature window.
    """
    faces = FaceImages([index], domain=domain, size=detector.size)
    if domain == "thermal" and detector.window is not None:
        check_window(faces.window, detector.window, root=index.root, network="detector")
    return torch.cat(
        [detector.predict(batch) for batch in batches(faces, progress=progress, desc="detecting")]
    )


def predictions_table(
    faces: Sequence[Face], task: Task, columns: Mapping[str, Sequence[Sequence[str]]]
) -> str:
    """Return one CSV row for each face, with some columns for every AU or class.

    Args:
        faces: In order.
        task: What is answered.
        columns: Kind, such as ``probability`` -> ``(N, A)`` cells.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    names = [f"{name}_{kind}" for name in task.names for kind in columns]
    writer.writerow(["path", "subject", *names])
    for face, *rows in zip(faces, *columns.values(), strict=True):
        cells = [cell for answer in zip(*rows, strict=True) for cell in answer]
        writer.writerow([face.path, face.subject, *cells])
    return table.getvalue()


def _cells(values: Tensor, *, digits: int = 0) -> list[list[str]]:
    """Return numbers as text, NaN as empty text."""
    rows: list[list[float]] = values.double().tolist()
    return [["" if math.isnan(v) else f"{v:.{digits}f}" for v in row] for row in rows]


def scores_plot(scores: DetectionScores) -> str:
    """Return the F1 of every AU or class with its interval, and their mean, as SVG."""
    rows = [unit for unit in scores.units if unit.present]
    everything = Estimates(
        name="F1",
        values=[scores.macro_f1, *(unit.f1 for unit in rows)],
        low=[scores.macro_f1_interval.low, *(unit.f1_interval.low for unit in rows)],
        high=[scores.macro_f1_interval.high, *(unit.f1_interval.high for unit in rows)],
        tone="2",
    )
    what = "Action Unit" if scores.kind == "action_units" else "class"
    names = ["Mean", *(f"{unit.name} {meaning(unit.name)}".strip() for unit in rows)]
    return units_plot([everything], names, title=f"F1 of each {what}")


def summary_lines(result: dict[str, Any], out: Path) -> list[str]:
    """Return what the command line says of a result."""
    scores = result["scores"]
    lines = []
    if result["kind"] == "detector":
        read = DetectionScores.from_json(scores)
        if read.kind == "classes":
            lines.append(f"accuracy {read.accuracy:.4f}{_spoken(read.accuracy_interval)}")
        for name, value, bounds in (
            ("macro F1", read.macro_f1, read.macro_f1_interval),
            ("macro ROC-AUC", read.macro_roc_auc, read.macro_roc_auc_interval),
        ):
            lines.append(f"{name} {value:.3f}{_spoken(bounds)}")
        what = "AUs" if read.kind == "action_units" else "classes"
        counted = f"{len(read.averaged)} {what}, {read.frames} frames of {read.subjects} subjects"
        lines.append(counted)
        if math.isfinite(read.macro_calibration_error):
            lines.append(
                f"expected calibration error {read.macro_calibration_error:.3f} (of the network's "
                f"own probabilities {read.macro_uncalibrated_error:.3f})"
            )
        if "intensities" in result:
            strengths = IntensityScores.from_json(result["intensities"])
            lines.append(
                f"intensities: mean ICC(3,1) {strengths.macro_icc:.3f}"
                f"{_spoken(strengths.macro_icc_interval)}, mean absolute error "
                f"{strengths.macro_mae:.3f}{_spoken(strengths.macro_mae_interval)}"
            )
    else:
        for name, figure in scores["figures"].items():
            lines.append(f"{name.replace('_', ' ')} {figure['mean']:.4f}")
        for name, value in scores["distances"].items():
            lines.append(f"{name} {value:.4f}")
        for name, reason in scores["not_available"].items():
            lines.append(f"{name.replace('_', ' ')}: not available: {reason}")
    lines += [f"note: {note}" for note in result.get("notes", ())]
    lines.append(f"written to {out}")
    return lines


def _spoken(bounds: tuple[float, float]) -> str:
    low, high = bounds
    return f" (95 % interval {low:.3f} to {high:.3f})" if math.isfinite(low) else ""


def _chosen(index: Index, split: Split | None, domain: Domain | None) -> Index:
    chosen = index.select(domain=domain, split=split)
    if not chosen.faces:
        wanted = " ".join(word for word in (domain, split) if word)
        raise DataError(
            f"{index.root}: has no {wanted} face to score; it holds "
            f"{', '.join(sorted({f'{face.domain} {face.split}' for face in index.faces}))}."
        )
    return chosen


def own_detector(run: Path, named: str) -> Path | None:
    """Return the detector that a translator was trained with, as named or beside the run."""
    if not named:
        return None
    places: tuple[Path, ...] = (Path(named), run.parent / Path(named).name)
    return next((place for place in places if place.is_dir()), None)


def _annotated(index: Index) -> str:
    units = ", ".join(map(column, index.action_units()))
    classes = ", ".join(index.classes())
    told = (units, f"the classes {classes}" if classes else "")
    return " and ".join(filter(None, told)) or "no AU and no class at all"


def _notes(scores: DetectionScores, index: Index, task: Task, unlabelled: int) -> list[str]:
    notes = []
    if scores.left_out:
        listed = ", ".join(scores.left_out)
        notes.append(f"no annotated frame shows {listed}: left out of the means.")
    there: Sequence[str] = (
        index.classes() if task.kind == "classes" else tuple(map(column, index.action_units()))
    )
    if unheard := [name for name in there if name not in task.names]:
        notes.append(f"annotated but not detected: {', '.join(unheard)}.")
    if unlabelled:
        notes.append(f"{unlabelled} frames without any label were not scored.")
    if scores.subjects == 1:
        notes.append("one subject only, so there are no intervals.")
    return notes
