"""Fit a dyspnea score to a group's own labels: logistic regression, judged on unseen subjects.

An example is a rated interval, with the mean of each feature over its seconds, so a long interval
counts as much as a short one. Log-odds are linear in the features: those of the mean are the mean
of the seconds', and what is fitted to intervals tells a score for every second.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cycada.action_units import column
from cycada.data.splits import in_hashed_order
from cycada.errors import CycadaError, DataError
from cycada.files import check_regular, replacing
from cycada.metrics.bootstrap import Interval, interval, subject_draws
from cycada.metrics.calibration import calibration_error
from cycada.metrics.detection import bootstrap_roc_auc, roc_auc
from cycada.metrics.logistic import Judged, folds_of, judged_fit
from cycada.progress import Progress
from cycada.settings import load_config, settings_text
from cycada.stages.dyspnea_labels import Rated, read_rated
from cycada.vitals.dyspnea_config import DyspneaConfig, FittedModel, check_feature

BREATHING = "respiration_rate"
DEFAULT_UNITS = (1, 2, 4, 5, 7, 12, 20, 25, 26, 38)
"""The AUs of the score's items, and a smile; those that the tables have are taken."""

FOLDS = 5
_FEWEST_SUBJECTS = 4
_FEWEST_EITHER = 2  # subjects with dyspnea, and without
_MOSTLY = 0.8  # share of intervals in which a feature must be known to be taken unasked
_CHANCE = 0.5  # area under the ROC curve
_FEW = 10  # examples of the rarer kind per feature, below which a word is said


@dataclass(frozen=True, kw_only=True, slots=True)
class FitOptions:
    """What to fit to, and with what."""

    labels: Path
    out: Path  # TOML for `cycada monitor --score`
    score: Path | None = None  # TOML whose other settings are kept; None: the defaults
    features: tuple[str, ...] = ()  # empty: the rate and the AUs of the score that are known
    threshold: float | None = None  # D-VAS from which an interval counts as dyspnea
    folds: int = FOLDS  # from 3; fewer subjects make fewer
    seed: int = 0  # deals subjects to folds, and of the bootstrap


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """One model, and how such fits do on subjects that they have not seen."""

    features: tuple[str, ...]
    intervals: int
    present: int  # of them, with dyspnea
    subjects: int
    auc: float
    auc_interval: Interval  # 95 %, over subjects
    calibration_error: float
    penalty: float
    model: FittedModel
    on: float  # calibrated probability at which sensitivity and specificity together are highest


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """What was written."""

    out: Path
    full: Fit
    face: Fit | None  # for moments without a respiration rate
    notes: tuple[str, ...]


def fit_dyspnea(options: FitOptions, *, progress: Progress) -> Fitted:
    """Fit, judge and write the score.

    Raises:
        ConfigError: A name is no feature, or ``score`` is no table of settings.
        DataError: Labels or tables cannot be used, or are too few.
        CycadaError: ``out`` is there already, or the fit tells no more than chance.
    """
    if options.out.exists():
        raise CycadaError(f"{options.out}: is there already; choose another --out, or remove it.")
    for name in options.features:
        check_feature(name)
    base = load_config(DyspneaConfig, options.score)
    rated = read_rated(options.labels, threshold=options.threshold, progress=progress)
    features, notes = _features(options.features, rated)
    full, note = _fit(features, rated, options)
    notes += note
    face = None
    others = tuple(name for name in features if name != BREATHING)
    if BREATHING in features and others:
        try:
            face, note = _fit(others, rated, options)
            notes += [f"without breathing: {each}" for each in note]
        except CycadaError as error:
            notes.append(f"there is no score without a respiration rate: {error}")
    config = dataclasses.replace(
        base,
        fitted=full.model,
        fitted_face=face.model if face else FittedModel(),
        alarm=dataclasses.replace(base.alarm, on=full.on, off=round(full.on * 2 / 3, 3)),
    )
    _write(options.out, config)
    return Fitted(out=options.out, full=full, face=face, notes=tuple(notes))


def summary_lines(fitted: Fitted) -> list[str]:
    """Return what to tell the user, one sentence each."""
    lines = []
    for title, each in (("with breathing", fitted.full), ("from the face alone", fitted.face)):
        if each is None:
            continue
        named = title if fitted.face else "the score"
        lines.append(f"{named}: {_told(each)}.")
    lines += fitted.notes
    lines.append(
        f"written to {fitted.out}; cycada monitor --score {fitted.out} uses it. Research use only: "
        "it is as good as its labels, and for patients like these."
    )
    return lines


def _features(wanted: tuple[str, ...], rated: Sequence[Rated]) -> tuple[tuple[str, ...], list[str]]:
    """Return the features to use, and what is to be said of those that are left out."""
    told = {name for each in rated for name in each.means}
    if wanted:
        for name in wanted:
            if name not in told:
                raise DataError(
                    f"{name} is known in no rated interval; leave out --feature {name}."
                )
        return tuple(dict.fromkeys(wanted)), []
    notes, chosen = [], []
    for name in (BREATHING, *map(column, DEFAULT_UNITS)):
        share = sum(name in each.means for each in rated) / len(rated)
        if share >= _MOSTLY:
            chosen.append(name)
        elif share:
            notes.append(
                f"{name} is left out, for it is known in {share:.0%} of the intervals; "
                f"--feature {name} takes it."
            )
    if not chosen:
        raise DataError(
            f"neither {BREATHING} nor an AU of the score is known in {_MOSTLY:.0%} of the rated "
            "intervals; name what to use with --feature."
        )
    return tuple(chosen), notes


def _fit(
    features: tuple[str, ...], rated: Sequence[Rated], options: FitOptions
) -> tuple[Fit, list[str]]:
    """Return the fit to the intervals in which all features are known, and what is to be said.

    Raises:
        CycadaError: They are too few, or tell nothing.
    """
    known = [each for each in rated if all(name in each.means for name in features)]
    notes = []
    if len(known) < len(rated):
        notes.append(
            f"{len(rated) - len(known)} of {len(rated)} intervals are left out, for a feature is "
            "unknown in most of them."
        )
    subjects = [each.subject for each in known]
    present = np.array([each.dyspnea for each in known], dtype=bool)
    _check_enough(known, options)
    values = np.array([[each.means[name] for name in features] for each in known])
    order = in_hashed_order(set(subjects), options.seed)
    count = min(options.folds, len(order))
    folds = folds_of(subjects, present, count=count, order=order)
    rarer = min(int(present.sum()), int((~present).sum()))
    if rarer < _FEW * len(features):
        notes.append(
            f"{rarer} intervals of the rarer kind are few for {len(features)} features; mistrust "
            "single weights."
        )
    judged = judged_fit(values, present, folds)
    fit = _described(features, subjects, present, judged, options)
    low, high = fit.auc_interval
    if not judged.slope or low <= _CHANCE:
        between = "" if math.isnan(low) else f", 95 % {low:.2f} to {high:.2f}"
        raise CycadaError(
            f"on subjects that it had not seen the fit tells no more than chance (AUC "
            f"{fit.auc:.2f}{between}); nothing is written. More labels, or other "
            "--feature, may help."
        )
    return fit, notes


def _check_enough(known: Sequence[Rated], options: FitOptions) -> None:
    everybody = {each.subject for each in known}
    if len(everybody) < _FEWEST_SUBJECTS:
        raise DataError(
            f"{options.labels}: {len(everybody)} subjects can be used; a fit that is judged on "
            f"unseen ones needs at least {_FEWEST_SUBJECTS}."
        )
    for sign, there in (("with", True), ("without", False)):
        count = len({each.subject for each in known if each.dyspnea == there})
        if count < _FEWEST_EITHER:
            raise DataError(
                f"{options.labels}: intervals {sign} dyspnea are of {count} subjects; at least "
                f"{_FEWEST_EITHER} are needed."
            )


def _described(
    features: tuple[str, ...], subjects: Sequence[str], present: npt.NDArray[np.bool_],
    judged: Judged, options: FitOptions,
) -> Fit:  # fmt: skip
    labels, everywhere = present[:, None], np.ones((len(present), 1), dtype=bool)
    names = sorted(set(subjects))
    draws = subject_draws(len(names), seed=options.seed)
    samples = bootstrap_roc_auc(
        judged.probabilities[:, None], labels, everywhere, subjects=subjects, draws=draws
    )
    auc = float(roc_auc(judged.probabilities[:, None], labels, everywhere)[0])
    error = float(calibration_error(judged.probabilities[:, None], labels, everywhere)[0])
    fit = Fit(
        features=features, intervals=len(present), present=int(present.sum()), subjects=len(names),
        auc=auc, auc_interval=interval(samples), calibration_error=error,
        penalty=judged.penalty, on=_best_cut(judged.probabilities, present), model=FittedModel(),
    )  # fmt: skip
    line = judged.line
    model = FittedModel(
        features=features, weights=tuple(line.weights.tolist()), means=tuple(line.means.tolist()),
        intercept=line.intercept, hypothesis=True, source=f"cycada fit-dyspnea: {_told(fit)}",
    )  # fmt: skip
    return dataclasses.replace(fit, model=model)


def _told(fit: Fit) -> str:
    """Return the figures in words; no subject is named."""
    low, high = fit.auc_interval
    between = "" if math.isnan(low) else f" (95 % {low:.2f} to {high:.2f} over subjects)"
    return (
        f"{fit.intervals} intervals of {fit.subjects} subjects, {fit.present} with dyspnea; on "
        f"subjects not seen AUC {fit.auc:.2f}{between}, expected calibration error "
        f"{fit.calibration_error:.2f}"
    )


def _best_cut(probabilities: npt.NDArray[np.float64], present: npt.NDArray[np.bool_]) -> float:
    """Return the cut of the highest sensitivity plus specificity (Youden, Cancer 1950).

    It lies midway between two probabilities, and leaves room for the hysteresis below it.
    """
    levels = np.unique(probabilities)
    cuts = (levels[1:] + levels[:-1]) / 2 if len(levels) > 1 else levels
    found = [
        (probabilities[present] >= cut).mean() - (probabilities[~present] >= cut).mean()
        for cut in cuts
    ]
    return round(float(np.clip(cuts[int(np.argmax(found))], 0.05, 0.95)), 3)


def _write(out: Path, config: DyspneaConfig) -> None:
    check_regular(out)
    head = (
        "# A dyspnea score fitted by cycada fit-dyspnea, for cycada monitor --score.\n"
        "# Research use only: it is not a medical device.\n"
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out, lone=True) as temporary:
            temporary.write_text(head + settings_text(config), encoding="utf-8", newline="")
    except OSError as error:
        raise CycadaError(f"{out}: cannot be written ({error.strerror}).") from error
