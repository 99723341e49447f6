"""Which weights to keep: a look at the labelled validation faces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from cycada import images
from cycada.metrics.calibration import Calibration, calibrated
from cycada.metrics.detection import (
    FEWEST_POSITIVES,
    accuracy,
    average_precision,
    best_thresholds,
)
from cycada.metrics.intensity import IntensityReading, intensity_reading
from cycada.metrics.thresholds import target_reading
from cycada.metrics.validators import (
    batch_nuclear_norm,
    information_maximisation,
    neighbourhood_rows,
    prediction_entropy,
    prevalence_shift,
    soft_neighbourhood_density,
)
from cycada.models.detector import Detection, Detector
from cycada.task import probabilities_of
from cycada.training.examples import Examples

BATCH = 128
TARGETS = 2000  # unlabelled faces that thresholds are set for and detectors judged on
_RAREST = 1e-3  # frequency below which an AU is not expected to be missed


CRITERIA: Mapping[str, str] = MappingProxyType(
    {
        "information": "information that the answers carry",
        "net_information": "information that the answers carry, less their shift",
        "density": "soft neighbourhood density",
        "nuclear_norm": "nuclear norm of the answers",
    }
)
"""Figures of :func:`judged_on_target` that choose weights, the higher the better."""


@dataclass(slots=True)
class Selection:
    """The best look so far."""

    score: float = -1.0
    step: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """A detector before and after its adaptation, by what needs no label of the target.

    The one that tells more counts as better: an answer says something of a face where it is sure
    and not the same for all (information maximisation; :mod:`cycada.metrics.validators`), and what
    is told by answers that have run away from the source's frequencies is told by mistake. A
    collapse, the failure of adversaries, leaves little to be told; a detector that is merely sure
    of too many Action Units, as one that was never aligned may be, is caught by the shift.
    """

    before: Mapping[str, float]  # figures of judged_on_target
    after: Mapping[str, float]

    @property
    def adapted_is_better(self) -> bool:
        """Whether the adapted detector is the one to keep."""
        return self.after["net_information"] >= self.before["net_information"]

    def to_json(self) -> dict[str, Any]:
        """Return facts for users of the weights."""
        kept = "adapted" if self.adapted_is_better else "initial"
        return {"kept": kept, "judged": {"initial": dict(self.before), "adapted": dict(self.after)}}

    def told(self, run: Path, initial: str) -> str:
        """Return what the user should know, in a sentence."""
        figures = (
            f"{self.after['net_information']:.3f} nats per answer against "
            f"{self.before['net_information']:.3f}"
        )
        if self.adapted_is_better:
            return f"{run}: on unlabelled target faces it tells more than {initial} ({figures})."
        return (
            f"{run}: after adaptation it tells less of the unlabelled target faces than {initial} "
            f"({figures}), so that one's weights are kept; weaken the adaptation, such as with a "
            "lower alignment.weight or learning_rate, and look at the curves of the report."
        )


class Validation(NamedTuple):
    """How well labelled faces are told, and how to read the answers."""

    score: float  # mean average precision of AUs, accuracy of classes
    thresholds: Tensor  # (A,) probabilities with the best F1; 0.5 for classes, which need none
    calibration: Calibration  # of the probabilities; that of classes changes nothing
    intensity: IntensityReading | None = None  # of calibrated probabilities, where AUs were graded


def probabilities(
    detector: Detector, examples: Examples, accelerator: Accelerator, rows: Tensor | None = None
) -> Tensor:
    """Return ``(N, A)`` probabilities of all examples or some, computed by all processes."""
    return features_and_probabilities(detector, examples, accelerator, rows)[1]


@torch.no_grad()
def features_and_probabilities(
    detector: Detector,
    examples: Examples,
    accelerator: Accelerator,
    rows: Tensor | None = None,
    *,
    mirrored: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return ``(N, F)`` features and ``(N, A)`` probabilities, computed by all processes.

    ``mirrored`` shows each face mirrored; the columns stay those of the AUs that are seen then.
    """
    detector.eval()
    parameter = next(detector.parameters())
    processes, rank = accelerator.num_processes, accelerator.process_index
    chosen = torch.arange(len(examples)) if rows is None else rows
    each = -(-len(chosen) // processes)
    places = torch.arange(rank * each, (rank + 1) * each).clamp(max=len(chosen) - 1)
    numbers = chosen[places]
    parts = []
    for some in torch.split(numbers, BATCH):
        pictures = images.with_channels(examples.batch(some).images, detector.channels)
        pictures = (pictures.flip(-1) if mirrored else pictures).to(parameter)
        with accelerator.autocast():
            said: Detection = detector(pictures)
        features, logits = (each.to(parameter.dtype) for each in said[:2])
        parts.append((features, probabilities_of(logits, detector.kind)))
    both = (accelerator.gather(torch.cat(column)) for column in zip(*parts, strict=True))
    features, found = (column[: len(chosen)].cpu() for column in both)
    return features, found


def judged_on_target(
    detector: Detector, target: Examples, accelerator: Accelerator, *, expected: Tensor
) -> dict[str, float]:
    """Return figures on the target's faces that need no label (:mod:`cycada.metrics.validators`).

    Args:
        detector: To be judged.
        target: Unlabelled faces, of which up to 2,000 are asked about.
        accelerator: Shares the faces among processes.
        expected: ``(A,)`` frequencies of the answers.

    Returns:
        The figures of :data:`CRITERIA`, the ``entropy`` of the answers, and their ``shift`` from
        the expected frequencies.
    """
    kind = target.task.kind
    found = probabilities(detector, target, accelerator, some_of(target)).double().numpy()
    frequencies = expected.double().cpu().clamp(_RAREST, 1 - _RAREST)
    if kind == "classes":
        found, frequencies = found / found.sum(1, keepdims=True), frequencies / frequencies.sum()
    information = information_maximisation(found, kind)
    shift = prevalence_shift(found, frequencies.numpy(), kind)
    return {
        "information": information,
        "net_information": information - shift,
        "density": soft_neighbourhood_density(neighbourhood_rows(found, kind)),
        "nuclear_norm": batch_nuclear_norm(found, kind),
        "entropy": prediction_entropy(found, kind),
        "shift": shift,
    }


def some_of(target: Examples) -> Tensor:
    """Return up to 2,000 row numbers, spread over all subjects, whose faces stand together."""
    return torch.linspace(0, len(target) - 1, min(len(target), TARGETS)).long()


def validate(
    detector: Detector,
    examples: Examples,
    accelerator: Accelerator,
    *,
    target: Examples | None = None,
    source_detector: Detector | None = None,
) -> Validation:
    """Return how well labelled faces are told, and how to read the answers.

    With unlabelled ``target`` faces the thresholds are those with the best F1 to be expected there
    (:func:`cycada.metrics.thresholds.target_reading`). Where the detector no longer has to read
    the source, as with ADDA, ``source_detector`` is what its source probabilities come from.

    Average precision needs no threshold, so weights and thresholds are chosen one after the
    other. AUs that are always or never present in ``examples`` do not count.
    """
    found = probabilities(detector, examples, accelerator)
    if examples.task.kind == "classes":
        share = accuracy(found, examples.labels, examples.known)
        halves = torch.full((len(examples.task),), 0.5, dtype=torch.float64)
        return Validation(share, halves, Calibration.none(len(examples.task)))
    precision = torch.as_tensor(average_precision(found, examples.labels, examples.known))
    own = found
    if target is None:
        thresholds = best_thresholds(found, examples.labels, examples.known)
        calibration = calibrated(found, examples.labels, examples.known, fewest=FEWEST_POSITIVES)
        at_home = calibration
    else:
        some = some_of(target)
        there = probabilities(detector, target, accelerator, some)
        if source_detector is not None:
            own = probabilities(source_detector, examples, accelerator)
        names = target.subject_of()
        thresholds, calibration, at_home = target_reading(
            own, examples.labels, examples.known, there,
            subjects=(examples.subject_of(), [names[row] for row in some.tolist()]),
        )  # fmt: skip
    graded = examples.intensities
    intensity = None
    if graded is not None:
        intensity = intensity_reading(at_home(own), graded, fewest=FEWEST_POSITIVES)
    return Validation(
        float(precision.nanmean()), torch.as_tensor(thresholds), calibration, intensity
    )
