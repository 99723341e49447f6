"""Which weights to keep: a look at the labelled validation faces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from cycada import images
from cycada.metrics.detection import average_precision, best_thresholds
from cycada.metrics.thresholds import target_thresholds
from cycada.models.detector import Detector
from cycada.training.examples import Examples

BATCH = 128
TARGETS = 2000  # unlabelled faces that thresholds are set for


@dataclass(slots=True)
class Selection:
    """The best look so far."""

    score: float = -1.0
    step: int = 0


@torch.no_grad()
def probabilities(
    detector: Detector,
    examples: Examples,
    accelerator: Accelerator,
    rows: Tensor | None = None,
    *,
    mirrored: bool = False,
) -> Tensor:
    """Return ``(N, A)`` probabilities of all examples or some, computed by all processes.

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
            parts.append(torch.sigmoid(detector(pictures).logits.to(parameter.dtype)))
    gathered: Tensor = accelerator.gather(torch.cat(parts))
    return gathered[: len(chosen)].cpu()


def validate(
    detector: Detector,
    examples: Examples,
    accelerator: Accelerator,
    *,
    target: Examples | None = None,
    source_detector: Detector | None = None,
) -> tuple[float, Tensor]:
    """Return the mean average precision over the AUs, and the thresholds with the best F1.

    With unlabelled ``target`` faces the thresholds are those with the best F1 to be expected there
    (:func:`cycada.metrics.thresholds.target_thresholds`). Where the detector no longer has to read
    the source, as with ADDA, ``source_detector`` is what its source probabilities come from.

    Average precision needs no threshold, so weights and thresholds are chosen one after the
    other. AUs that are always or never present in ``examples`` do not count.
    """
    found = probabilities(detector, examples, accelerator)
    precision = torch.as_tensor(average_precision(found, examples.labels, examples.known))
    if target is None:
        thresholds = best_thresholds(found, examples.labels, examples.known)
    else:
        # Spread over all subjects, whose faces stand one after the other.
        some = torch.linspace(0, len(target) - 1, min(len(target), TARGETS)).long()
        there = probabilities(detector, target, accelerator, some)
        own = found
        if source_detector is not None:
            own = probabilities(source_detector, examples, accelerator)
        names = target.subject_of()
        thresholds = target_thresholds(
            own, examples.labels, examples.known, there,
            subjects=(examples.subject_of(), [names[row] for row in some.tolist()]),
        )  # fmt: skip
    return float(precision.nanmean()), torch.as_tensor(thresholds)
