"""What trained detectors say of unlabelled faces, as labels for the next detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor

from cycada.metrics.centring import centred
from cycada.metrics.centroids import centroid_labels
from cycada.progress import Progress
from cycada.task import logits_of, probabilities_of
from cycada.training.examples import Examples
from cycada.training.loading import LoadedDetector
from cycada.training.selection import features_and_probabilities

Answers = Literal["probabilities", "centroids"]


def joint_answers(
    teachers: Sequence[LoadedDetector],
    examples: Examples,
    *,
    answers: Answers = "probabilities",
    centring: float,
    mirrored: bool,
    accelerator: Accelerator,
    progress: Progress,
) -> Tensor:
    """Return the probabilities that the teachers give together.

    Their log-odds (of classes: log-probabilities), on every face and on its mirror image, are
    averaged: detectors that see different views of a face err on different faces. Then each
    subject is centred (:func:`cycada.metrics.centring.centred`).

    Args:
        teachers: Detectors of at least the answers of the examples' task; their weights stay as
            they are.
        examples: Unlabelled faces; only the images and the subjects are used.
        answers: ``centroids`` takes the nearest centroid of each teacher's features for its answer
            (:func:`cycada.metrics.centroids.centroid_labels`), without centring.
        centring: See :func:`cycada.metrics.centring.centred`.
        mirrored: Whether a mirrored image shows the same, so that it is asked about too.
        accelerator: Shares the faces among processes.
        progress: Shows the teachers that have answered.

    Returns:
        ``(N, A)`` probabilities on the processor.
    """
    task = examples.task
    total = torch.zeros(len(examples), len(task), dtype=torch.float64)
    for teacher in progress(teachers, total=len(teachers), desc="asking teachers"):
        here = _answers(teacher, examples, accelerator, answers, mirrored=False)
        if mirrored:
            there, told = examples.mirror(
                _answers(teacher, examples, accelerator, answers, mirrored=True),
                torch.ones_like(here, dtype=torch.bool),
                torch.ones(len(examples), dtype=torch.bool),
            )
            here = torch.where(told, (here + there) / 2, here)
        total += here
    joint = total / len(teachers)
    if answers == "probabilities":
        joint = centred(joint, examples.subject_of(), share=centring)
    return probabilities_of(joint, task.kind)


def _answers(
    teacher: LoadedDetector,
    examples: Examples,
    accelerator: Accelerator,
    answers: Answers,
    *,
    mirrored: bool,
) -> Tensor:
    """Return ``(N, A)`` log-odds or log-probabilities in the order of the examples' task."""
    features, found = features_and_probabilities(
        teacher.module, examples, accelerator, mirrored=mirrored
    )
    found = found.double()
    if answers == "centroids":
        found = centroid_labels(features, found, teacher.task.kind)
    columns = examples.task.places_in(teacher.task)
    return logits_of(found[:, columns], examples.task.kind)
