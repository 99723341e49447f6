"""What trained detectors say of unlabelled faces, as labels for the next detector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import Tensor

from cycada.metrics.centring import centred
from cycada.progress import Progress
from cycada.training.examples import Examples
from cycada.training.loading import LoadedDetector
from cycada.training.selection import probabilities

_SUREST = 1e-6  # probabilities are kept this far from 0 and 1


def joint_answers(
    teachers: Sequence[LoadedDetector],
    examples: Examples,
    numbers: Sequence[int],
    *,
    centring: float,
    accelerator: Accelerator,
    progress: Progress,
) -> Tensor:
    """Return the probabilities that the teachers give together.

    Their log-odds, on every face and on its mirror image, are averaged: detectors that see
    different views of a face err on different faces. Then each subject is centred
    (:func:`cycada.metrics.centring.centred`).

    Args:
        teachers: Detectors of at least the AUs ``numbers``; their weights stay as they are.
        examples: Unlabelled faces; only the images and the subjects are used.
        numbers: AUs, in the order of the examples' labels.
        centring: See :func:`cycada.metrics.centring.centred`.
        accelerator: Shares the faces among processes.
        progress: Shows the teachers that have answered.

    Returns:
        ``(N, A)`` probabilities on the processor.
    """
    total = torch.zeros(len(examples), len(numbers), dtype=torch.float64)
    for teacher in progress(teachers, total=len(teachers), desc="asking teachers"):
        columns = [teacher.action_units.index(number) for number in numbers]
        here, there = (
            torch.logit(found[:, columns].double(), eps=_SUREST)
            for found in (
                probabilities(teacher.module, examples, accelerator),
                probabilities(teacher.module, examples, accelerator, mirrored=True),
            )
        )
        flipped = torch.ones(len(examples), dtype=torch.bool)
        there, told = examples.mirror(there, torch.ones_like(there, dtype=torch.bool), flipped)
        total += torch.where(told, (here + there) / 2, here)
    return torch.sigmoid(centred(total / len(teachers), examples.subject_of(), share=centring))
