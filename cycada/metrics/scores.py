"""What a detector reaches on labelled faces, as one record with intervals over subjects."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cycada.metrics.bootstrap import (
    LEVEL,
    NO_INTERVAL,
    RESAMPLES,
    Floats,
    Interval,
    bootstrap_mean,
    interval,
    plain,
    subject_draws,
)
from cycada.metrics.calibration import calibration_error
from cycada.metrics.detection import (
    accuracy,
    average_precision,
    bootstrap_f1,
    bootstrap_roc_auc,
    checked,
    confusion_matrix,
    counts_by_subject,
    f1_of_counts,
    mean_over_units,
    prevalence,
    roc_auc,
)
from cycada.metrics.intensity import icc_and_mae, intensity_sums
from cycada.task import Task, TaskKind, decided


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitScores:
    """The scores of one AU or class; a figure is NaN where the data cannot tell."""

    name: str  # such as AU01
    frames: int  # annotated
    present: int  # of those
    prevalence: float
    threshold: float
    f1: float
    f1_interval: Interval
    roc_auc: float
    roc_auc_interval: Interval
    average_precision: float
    calibration_error: float = math.nan  # of calibrated probabilities, as expected (ECE)


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionScores:
    """What a detector reaches on labelled faces; the means are over ``averaged`` answers."""

    kind: TaskKind
    frames: int
    subjects: int
    macro_f1: float
    macro_f1_interval: Interval
    macro_roc_auc: float
    macro_roc_auc_interval: Interval
    macro_average_precision: float
    averaged: tuple[str, ...]  # AUs or classes that some frame shows
    left_out: tuple[str, ...]  # those that no annotated frame shows
    units: tuple[UnitScores, ...]
    macro_calibration_error: float = math.nan  # NaN where nothing is calibrated, as the next
    macro_uncalibrated_error: float = math.nan  # the same of the probabilities of the network
    accuracy: float = math.nan  # of classes, as the next two
    accuracy_interval: Interval = NO_INTERVAL
    confusion: tuple[tuple[int, ...], ...] = ()  # rows: the true class; columns: the told one
    interval_level: float = LEVEL
    resamples: int = RESAMPLES
    seed: int = 0

    @property
    def headline(self) -> float:
        """The figure that methods are compared by: macro F1 of AUs, accuracy of classes."""
        return self.accuracy if self.kind == "classes" else self.macro_f1

    @property
    def headline_interval(self) -> Interval:
        """The interval of :attr:`headline`."""
        return self.accuracy_interval if self.kind == "classes" else self.macro_f1_interval

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``scores.json``: NaN becomes null, intervals become pairs."""
        return plain(asdict(self))  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> DetectionScores:
        """Read back what :meth:`to_json` wrote."""
        numbers = _numbers(data)
        units = tuple(UnitScores(**unit) for unit in numbers.pop("units"))
        for name in ("averaged", "left_out"):
            numbers[name] = tuple(numbers[name])
        numbers["confusion"] = tuple(map(tuple, numbers.get("confusion", ())))
        return cls(**numbers, units=units)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitIntensity:
    """How well the intensity of one AU is told; NaN where the data cannot tell."""

    name: str
    frames: int  # graded ones of which an intensity was told
    icc: float  # ICC(3,1), -1 to 1
    icc_interval: Interval
    mae: float  # mean absolute error, in grades
    mae_interval: Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class IntensityScores:
    """How well intensities are told: per AU, and the plain means over AUs."""

    macro_icc: float
    macro_icc_interval: Interval
    macro_mae: float
    macro_mae_interval: Interval
    units: tuple[UnitIntensity, ...]
    interval_level: float = LEVEL

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``scores.json``: NaN becomes null, intervals become pairs."""
        return plain(asdict(self))  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> IntensityScores:
        """Read back what :meth:`to_json` wrote."""
        numbers = _numbers(data)
        units = tuple(UnitIntensity(**unit) for unit in numbers.pop("units"))
        return cls(**numbers, units=units)


def score_detector(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    known: npt.ArrayLike,
    *,
    subjects: npt.ArrayLike,
    thresholds: npt.ArrayLike,
    task: Task,
    calibrated: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> DetectionScores:
    """Score what a detector says of labelled faces, with intervals over subjects.

    Args:
        probabilities: ``(N, A)`` in [0, 1].
        labels: ``(N, A)`` truth.
        known: ``(N, A)`` mask of the annotated labels.
        subjects: ``(N,)`` subject of each frame.
        thresholds: ``(A,)`` from which an AU counts as detected; from validation data. Classes
            have none: the most probable one is told.
        task: What the columns mean.
        calibrated: ``(N, A)`` the same probabilities calibrated, where they are.
        resamples: Number of bootstrap samples.
        seed: Of the bootstrap.

    Returns:
        The scores of each AU or class and their means over those that some frame shows.
    """
    values, present, mask = checked(probabilities, labels, known)
    cuts = np.asarray(thresholds, dtype=np.float64)
    told = decided(torch.from_numpy(values), torch.from_numpy(cuts), task.kind)
    counts = counts_by_subject(told, present, mask, subjects)
    f1, auc = f1_of_counts(counts.sum(axis=0)), roc_auc(values, present, mask)
    precision, share = average_precision(values, present, mask), prevalence(present, mask)
    errors = [math.nan] * len(cuts)
    overall: dict[str, Any] = {}
    if calibrated is not None:
        errors = calibration_error(calibrated, present, mask).tolist()
        before = calibration_error(values, present, mask)
        overall = {
            "macro_calibration_error": float(mean_over_units(errors)),
            "macro_uncalibrated_error": float(mean_over_units(before)),
        }
    nothing: Floats = np.full((1, len(cuts)), np.nan)
    f1_samples = auc_samples = nothing
    if len(counts) > 1:
        draws = subject_draws(len(counts), resamples=resamples, seed=seed)
        f1_samples = bootstrap_f1(counts, draws)
        auc_samples = bootstrap_roc_auc(values, present, mask, subjects=subjects, draws=draws)
    units = tuple(
        UnitScores(
            name=name,
            frames=int(mask[:, unit].sum()),
            present=int((present & mask)[:, unit].sum()),
            prevalence=float(share[unit]),
            threshold=float(cuts[unit]),
            f1=float(f1[unit]),
            f1_interval=interval(f1_samples[:, unit]),
            roc_auc=float(auc[unit]),
            roc_auc_interval=interval(auc_samples[:, unit]),
            average_precision=float(precision[unit]),
            calibration_error=errors[unit],
        )
        for unit, name in enumerate(task.names)
    )
    if task.kind == "classes":
        rows = mask.any(axis=1)
        right = np.asarray((told.numpy() & present)[rows].any(axis=1))
        whose = np.asarray(subjects)[rows]
        overall |= {
            "accuracy": accuracy(values, present, mask),
            "accuracy_interval": bootstrap_mean(right, whose, resamples=resamples, seed=seed),
            "confusion": tuple(map(tuple, confusion_matrix(values, present, mask).tolist())),
        }
    return DetectionScores(
        kind=task.kind,
        frames=len(values),
        subjects=len(counts),
        macro_f1=float(mean_over_units(f1)),
        macro_f1_interval=interval(mean_over_units(f1_samples)),
        macro_roc_auc=float(mean_over_units(auc)),
        macro_roc_auc_interval=interval(mean_over_units(auc_samples)),
        macro_average_precision=float(mean_over_units(precision)),
        averaged=tuple(unit.name for unit in units if unit.present),
        left_out=tuple(unit.name for unit in units if not unit.present),
        units=units,
        resamples=resamples,
        seed=seed,
        **overall,
    )


def score_intensities(
    told: npt.ArrayLike,
    intensities: npt.ArrayLike,
    *,
    subjects: npt.ArrayLike,
    task: Task,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> IntensityScores:
    """Score told intensities against graded ones, with intervals over subjects.

    Args:
        told: ``(N, A)`` from 0 to 5; NaN where nothing is told.
        intensities: ``(N, A)`` truth from 0 to 5; NaN where unknown.
        subjects: ``(N,)`` subject of each frame.
        task: What the columns mean.
        resamples: Number of bootstrap samples.
        seed: Of the bootstrap.
    """
    sums = intensity_sums(told, intensities, subjects)
    icc, mae = icc_and_mae(sums.sum(0))
    icc_samples = mae_samples = np.full((1, len(task)), np.nan)
    if len(sums) > 1:
        draws = subject_draws(len(sums), resamples=resamples, seed=seed)
        icc_samples, mae_samples = icc_and_mae(np.einsum("rs,ska->rka", draws, sums))
    return IntensityScores(
        macro_icc=float(mean_over_units(icc)),
        macro_icc_interval=interval(mean_over_units(icc_samples)),
        macro_mae=float(mean_over_units(mae)),
        macro_mae_interval=interval(mean_over_units(mae_samples)),
        units=tuple(
            UnitIntensity(
                name=name,
                frames=int(sums[:, 0, unit].sum()),
                icc=float(icc[unit]),
                icc_interval=interval(icc_samples[:, unit]),
                mae=float(mae[unit]),
                mae_interval=interval(mae_samples[:, unit]),
            )
            for unit, name in enumerate(task.names)
        ),
    )


def _numbers(data: dict[str, Any]) -> dict[str, Any]:
    """Turn null back into NaN and pairs back into intervals."""
    result: dict[str, Any] = {}
    for key, value in data.items():
        if key.endswith("interval"):
            result[key] = Interval(*(math.nan if bound is None else bound for bound in value))
        elif key == "units":
            result[key] = [_numbers(unit) for unit in value]
        else:
            result[key] = math.nan if value is None else value
    return result
