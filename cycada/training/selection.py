"""Which weights to keep: a look at the labelled validation faces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from cycada.metrics.detection import average_precision, best_thresholds
from cycada.models.detector import Detector
from cycada.training.examples import Examples

BATCH = 128


@dataclass(slots=True)
class Selection:
    """The best look so far."""

    score: float = -1.0
    step: int = 0


@torch.no_grad()
def probabilities(detector: Detector, examples: Examples, accelerator: Accelerator) -> Tensor:
    """Return ``(N, A)`` probabilities of all examples, computed by all processes together."""
    detector.eval()
    parameter = next(detector.parameters())
    processes, rank = accelerator.num_processes, accelerator.process_index
    each = -(-len(examples) // processes)
    numbers = torch.arange(rank * each, (rank + 1) * each).clamp(max=len(examples) - 1)
    parts = []
    for some in torch.split(numbers, BATCH):
        pictures = examples.batch(some).images.to(parameter)
        with accelerator.autocast():
            parts.append(torch.sigmoid(detector(pictures).logits.to(parameter.dtype)))
    gathered: Tensor = accelerator.gather(torch.cat(parts))
    return gathered[: len(examples)].cpu()


def validate(
    detector: Detector, examples: Examples, accelerator: Accelerator
) -> tuple[float, Tensor]:
    """Return the mean average precision over the AUs, and the thresholds with the best F1.

    Average precision needs no threshold, so weights and thresholds are chosen one after the
    other. AUs that are always or never present in ``examples`` do not count.
    """
    found = probabilities(detector, examples, accelerator)
    precision = torch.as_tensor(average_precision(found, examples.labels, examples.known))
    thresholds = torch.as_tensor(best_thresholds(found, examples.labels, examples.known))
    return float(precision.nanmean()), thresholds
