"""What a network keeps of the Action Units in int8, asked of the data that its run learned from.

Activations are calibrated on subjects of the training split. Labelled faces of the validation
split, on which a training chooses thresholds and checkpoints, tell what is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cycada import images
from cycada.data.dataset import FaceImages
from cycada.data.index import CSV_NAME, Domain, Index, Split, read_index
from cycada.data.index_checks import check_links
from cycada.errors import DataError, UsageError
from cycada.metrics.detection import f1_scores, mean_over_units
from cycada.metrics.translation import label_flip_rate
from cycada.progress import Progress
from cycada.rejecting import REJECTED_NAME, as_listed, read_rejected
from cycada.stages.detector_rows import source_domains, source_rows
from cycada.stages.evaluate import own_detector
from cycada.stages.scoring import BATCH
from cycada.task import Task
from cycada.training.checkpoint import read_json
from cycada.training.examples import Examples
from cycada.training.exported import Direction
from cycada.training.loading import LoadedDetector, LoadedTranslator, load_detector
from cycada.training.run_reading import CONFIG_NAME

CALIBRATED, ASKED = 64, 256
"""Faces at most on which int8 is calibrated, and of which is asked what it keeps."""

LOSS = 0.01
"""Of macro F1, the most that int8 may lose."""

Network = Callable[[Tensor], Tensor]


class Kept(NamedTuple):
    """What an exported network keeps in int8."""

    faces: int  # labelled ones that were asked of
    exact: float  # macro F1 in float32
    macro_f1: float  # in int8
    turned: float  # share of the decisions that int8 turns around

    @property
    def enough(self) -> bool:
        """Whether no more macro F1 is lost than allowed."""
        return self.exact - self.macro_f1 <= LOSS  # and both are numbers


@dataclass(frozen=True, slots=True)
class Trial:
    """What one network is calibrated on and asked."""

    calibrating: tuple[Tensor, ...]  # batches as it sees them
    asked: tuple[Tensor, ...]  # batches as ``answer`` takes them
    labels: Tensor  # (N, A) of these
    known: Tensor  # (N, A) bool
    answer: Callable[[Network, Tensor], Tensor]  # (B, A) probabilities that a network leads to
    decide: Network  # (N, A) bool of these

    @torch.no_grad()
    def kept(self, exact: Network, network: Network, *, progress: Progress, name: str) -> Kept:
        """Compare what a network and the exact one lead to; ``name`` is for the progress."""
        pairs = [
            (self.answer(exact, faces), self.answer(network, faces))
            for faces in progress(self.asked, total=len(self.asked), desc=f"{name} in int8")
        ]
        first, second = (self.decide(torch.cat(answers)) for answers in zip(*pairs, strict=True))

        def macro_f1(decided: Tensor) -> float:
            return float(mean_over_units(f1_scores(decided, self.labels, self.known)))

        return Kept(
            faces=len(first),
            exact=macro_f1(first),
            macro_f1=macro_f1(second),
            turned=float(label_flip_rate(first, second).mean()),
        )


def translator_trials(
    run: Path, translator: LoadedTranslator, *, allow_outside: bool
) -> dict[str, Trial]:
    """Return the trial of each direction: the judge reads RGB faces that went there and back.

    Args:
        run: Of the translator.
        translator: Takes the way that is not tried.
        allow_outside: Believe paths of an index from elsewhere that leave its folder.

    Raises:
        UsageError: The translator has no judge, or no way back.
        DataError: The data are not there, have changed, or lack labels that the judge knows.
    """
    config = translator.config
    judge_run = own_detector(run, config.detector)
    if judge_run is None or not translator.goes_back:
        raise UsageError(
            f"{run}: --int8 asks the RGB detector that a translator was trained with (its setting "
            "detector) of faces there and back, and there is no such detector or way back; leave "
            "out --int8."
        )
    judge = load_detector(judge_run, translator.device)
    indexes = _indexes(run, config.data, allow_outside=allow_outside)

    def examples(domain: Domain, split: Split) -> Examples:
        return _examples(
            run, indexes, (domain,), split, task=judge.task, channels=3 if domain == "rgb" else 1,
            size=translator.size,
        )  # fmt: skip

    asked = examples("rgb", "val")
    numbers = _labelled(run, asked)

    def read(again: Tensor) -> Tensor:
        return judge.predict(images.resize(again, judge.size))

    def trial(domain: Domain, answer: Callable[[Network, Tensor], Tensor]) -> Trial:
        learned = examples(domain, "train")
        return Trial(
            calibrating=_batches(learned, _some(torch.arange(len(learned)), CALIBRATED)),
            asked=_batches(asked, numbers),
            labels=asked.labels[numbers],
            known=asked.known[numbers],
            answer=answer,
            decide=judge.decide,
        )

    to_thermal: Direction = "to_thermal"
    to_rgb: Direction = "to_rgb"
    return {
        to_thermal: trial("rgb", lambda network, rgb: read(translator.to_rgb(network(rgb)))),
        to_rgb: trial("thermal", lambda network, rgb: read(network(translator.to_thermal(rgb)))),
    }


def detector_trial(run: Path, detector: LoadedDetector, *, allow_outside: bool) -> Trial:
    """Return the trial of a detector: on validation faces of its source, as its thresholds.

    It is calibrated on training faces of the source and of the target, if it has one.

    Args:
        run: Of the detector.
        detector: Is tried.
        allow_outside: Believe paths of an index from elsewhere that leave its folder.

    Raises:
        DataError: The data are not there, have changed, or lack labels that it knows.
    """
    config = detector.config
    sources = [
        source_rows(index, config)
        for index in _indexes(run, config.source, allow_outside=allow_outside)
    ]
    targets = [
        index.select(domain="thermal")
        for index in _indexes(run, config.target, allow_outside=allow_outside)
    ]

    domains = source_domains(sources, config)

    def examples(indexes: Sequence[Index], domains: Sequence[Domain], split: Split) -> Examples:
        return _examples(
            run, indexes, domains, split, task=detector.task, channels=detector.channels,
            size=detector.size,
        )  # fmt: skip

    learned = [examples(sources, domains, "train")]
    learned += [examples(targets, ("thermal",), "train")] if targets else []
    share = CALIBRATED // len(learned)
    asked = examples(sources, domains, "val")
    numbers = _labelled(run, asked)
    return Trial(
        calibrating=tuple(
            batch
            for each in learned
            for batch in _batches(each, _some(torch.arange(len(each)), share))
        ),
        asked=_batches(asked, numbers),
        labels=asked.labels[numbers],
        known=asked.known[numbers],
        answer=lambda network, faces: network(faces),
        decide=detector.decide,
    )


def _indexes(run: Path, named: Sequence[str], *, allow_outside: bool) -> list[Index]:
    """Return the indexes that a run has learned from, as named or beside the run.

    Raises:
        DataError: One is not there, or not as it was.
    """
    inputs: Mapping[str, str] = read_json(run / CONFIG_NAME).get("inputs", {})
    found = []
    for name in named:
        folder = Path(name).parent if Path(name).name == CSV_NAME else Path(name)
        places = (folder, run.parent / folder.name)
        place = next((each for each in places if (each / CSV_NAME).is_file()), None)
        if place is None:
            raise DataError(
                f"{run}: --int8 needs the faces that the run was trained with, and {name} is not "
                f"there; bring it there or to {places[1]}, or leave out --int8."
            )
        index = read_index(place, allow_outside=allow_outside)
        check_links(index)
        if index.fingerprint() != inputs.get(name):
            raise DataError(
                f"{place}: has changed since {run} was trained with it, so that --int8 cannot tell "
                "whom it has learned from; leave out --int8."
            )
        left_out = {row.path for row in read_rejected(run / REJECTED_NAME)}
        faces = [face for face in index.faces if as_listed(str(folder / face.path)) not in left_out]
        found.append(replace(index, faces=tuple(faces)))
    return found


def _examples(
    run: Path, indexes: Sequence[Index], domains: Sequence[Domain], split: Split, *, task: Task,
    channels: int, size: int,
) -> Examples:  # fmt: skip
    parts, labels, known = [], [], []
    for domain in domains:
        chosen = [index.select(domain=domain, split=split) for index in indexes]
        if any(index.faces for index in chosen):
            parts.append(FaceImages(chosen, domain=domain, size=size))
            for index in chosen:
                occurs, annotated = index.labels(task)
                labels.append(occurs)
                known.append(annotated)
    if not parts:
        raise DataError(
            f"{run}: --int8 needs {' or '.join(domains)} faces in the split {split!r} of the data "
            "that the run was trained with, and there are none; leave out --int8."
        )
    return Examples(
        parts, labels=torch.cat(labels), known=torch.cat(known), task=task, channels=channels
    )


def _labelled(run: Path, examples: Examples) -> Tensor:
    """Return the numbers of faces to ask of."""
    numbers = examples.known.any(1).nonzero().squeeze(1)
    if not len(numbers):
        raise DataError(
            f"{run}: --int8 is tried on labelled validation faces, and none is annotated for "
            f"{', '.join(examples.task.names)}; leave out --int8."
        )
    return _some(numbers, ASKED)


def _some(numbers: Tensor, count: int) -> Tensor:
    """Return ``count`` of the numbers at most, always the same, in order."""
    order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(0))
    return numbers[order[:count].sort().values]


def _batches(examples: Examples, numbers: Tensor) -> tuple[Tensor, ...]:
    return tuple(examples.batch(part).images for part in torch.split(numbers, BATCH))
