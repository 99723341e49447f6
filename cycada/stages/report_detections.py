"""The gallery of an evaluated detector: what it said of each face, why, and what is true."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cycada import images
from cycada.action_units import meaning
from cycada.data.index import Domain, Face, Index, read_index
from cycada.data.index_checks import check_links
from cycada.data.predictions import PREDICTIONS_NAME, Floats, Predictions, read_predictions
from cycada.errors import CycadaError, DataError
from cycada.metrics.scores import DetectionScores
from cycada.report.gallery import SetWriter
from cycada.report.gallery_items import Item, UnitColumns, View
from cycada.report.methods import spoken
from cycada.report.page import Block, Gallery, Text
from cycada.stages.report_choice import GalleryOptions, ReadableFaces, chosen, near
from cycada.stages.report_columns import loss_figures
from cycada.stages.report_datasets import picture_file, shown_size, window_of
from cycada.training.loading import LoadedDetector, load_detector
from cycada.training.run_reading import CONFIG_NAME

_UNSURE = 1e-6  # probabilities are kept this far from 0 and 1
_SAME = 0.05  # difference of probabilities that precision and devices explain


def detection_gallery(
    folder: Path, result: Mapping[str, Any], options: GalleryOptions, *, allow_outside: bool
) -> list[Block]:
    """Write the set of an evaluation, and return what the page shows of it.

    Half of its images are those that the detector gets most wrong, the others are spread evenly.

    Args:
        folder: Of the evaluation.
        result: Its ``scores.json``.
        options: Of the page.
        allow_outside: Believe paths of an index from elsewhere that leave its folder.

    Raises:
        DataError: The faces that were scored cannot be found.
        CycadaError: The set cannot be written.
    """
    scores = DetectionScores.from_json(dict(result["scores"]))
    names = [unit.name for unit in scores.units]
    said = read_predictions(folder / PREDICTIONS_NAME, names)
    domain: Domain = result["domain"]
    index = read_index(near(str(result["index"]), folder), allow_outside=allow_outside)
    check_links(index)
    index = _of(index, said, domain, folder)
    rows = {path: row for row, path in enumerate(said.paths)}
    losses = log_losses(said, exclusive=scores.kind == "classes")
    some = _chosen(index, losses, rows, options.count)
    detector, missing = _detector(str(result["run"]), folder, names, options)
    size = detector.size if detector is not None else shown_size(some)
    window = window_of(index) if domain == "thermal" else None
    units = UnitColumns(
        names=tuple(names),
        meanings=tuple(map(meaning, names)),
        thresholds=tuple(unit.threshold for unit in scores.units),
        sides=("image",),
        exclusive=scores.kind == "classes",
    )
    answers = hashlib.sha256(said.probability.tobytes()).hexdigest()
    paths = [face.path for face in some.faces]
    key = [str(result["run"]), index.fingerprint(), answers, paths, size, detector is not None]
    identity = options.identity(folder.name, "detections", key)
    view = View(key="image", label="RGB" if domain == "rgb" else "Thermal", kind=domain)
    faces = ReadableFaces.of([some], domain, size)
    with SetWriter(
        options.folder / identity, identity=identity, title=f"Faces read by {spoken(folder.name)}",
        intro=_intro(len(some.faces), len(said.paths), missing), views=[view],
        figures=loss_figures(calibrated=said.calibrated is not None), units=units,
        window=None if window is None else (window.low, window.high),
        include_subjects=options.subjects,
    ) as writer:  # fmt: skip
        table = _Table(said, losses, names, options)
        written: list[Face] = []
        reader = None if detector is None else _Activations(detector, said, names)
        for numbers, pictures in faces.batches(
            progress=options.progress, desc=f"{folder.name}: {domain} faces"
        ):
            here = [rows[faces.images.faces[number].path] for number in numbers]
            maps = None if reader is None else reader.of(pictures, here)
            for place, (number, row) in enumerate(zip(numbers, here, strict=True)):
                face = faces.images.faces[number]
                written.append(face)
                seen = {} if maps is None else {"image": dict(zip(names, maps[place], strict=True))}
                writer.add(
                    replace(
                        table.item(row, pictures[place]), name=face.path, split=face.split,
                        domain=face.domain, activation=seen,
                    )
                )  # fmt: skip
        options.add_full_size(
            writer, lambda n: {"image": picture_file(index, index.file(written[n]), domain)},
            side=size, name=folder.name,
        )  # fmt: skip
        blocks: list[Block] = [Gallery(shown=writer.close())]
    if reader is not None and reader.differs:
        blocks.append(
            Text(text=f"{spoken(folder.name)}: the run has other weights by now than those that "
                 "were scored, so it is not shown what its answers rest on.", warns=True)
        )  # fmt: skip
    return [*blocks, *([Text(text=faces.rest())] if faces.rest() else [])]


def log_losses(said: Predictions, *, exclusive: bool) -> Floats:
    """Return the mean negative log-probability of what is true of each face, in nats.

    Args:
        said: Of N faces.
        exclusive: Whether one answer alone is true: then the others do not count.

    Returns:
        ``(N,)``; NaN where nothing is known.
    """
    told = said.meant.clip(_UNSURE, 1 - _UNSURE)
    each = -np.log(np.where(said.present, told, 1 - told))
    counts = said.known & said.present if exclusive else said.known
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(counts, each, 0).sum(1) / counts.sum(1), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Table:
    """What a row of the predictions says of a face."""

    said: Predictions
    losses: Floats
    names: Sequence[str]
    options: GalleryOptions

    def item(self, row: int, picture: Tensor) -> Item:
        """Return the item of a row, without what its index says."""
        known, present = self.said.known[row], self.said.present[row]
        wrong = known & (self.said.detected[row] != present)
        return Item(
            name="",
            subject=self.said.subjects[row] if self.options.subjects else "",
            pictures={"image": picture},
            figures={"log_loss": float(self.losses[row]), "wrong": float(wrong.sum())},
            true=[float(p) if k else None for p, k in zip(present, known, strict=True)],
            probability={"image": self.said.probability[row].tolist()},
        )


class _Activations:
    """What the answers of a run rest on, as long as it is the one that was scored."""

    def __init__(self, detector: LoadedDetector, said: Predictions, names: Sequence[str]) -> None:
        self.detector, self.said = detector, said
        self.places = [detector.task.names.index(name) for name in names]
        self.differs = False

    def of(self, pictures: Tensor, rows: Sequence[int]) -> Tensor | None:
        """Return ``(B, A, 16, 16)``; None where the run says something else by now."""
        if self.differs:
            return None
        ready = images.resize(pictures, self.detector.size)
        now = self.detector.predict(ready)[:, self.places].double()
        then = torch.from_numpy(self.said.probability[list(rows)])
        if bool((now - then).abs().max() > _SAME):
            self.differs = True
            return None
        return self.detector.activation(ready)[:, self.places]


def _of(index: Index, said: Predictions, domain: Domain, folder: Path) -> Index:
    """Return the faces that were scored.

    Raises:
        DataError: The index has none of them.
    """
    paths = set(said.paths)
    faces = tuple(face for face in index.select(domain=domain).faces if face.path in paths)
    if not faces:
        raise DataError(
            f"{index.root}: has none of the faces that {folder / PREDICTIONS_NAME} is about."
        )
    return replace(index, faces=faces)


def _chosen(index: Index, losses: Floats, rows: Mapping[str, int], count: int | None) -> Index:
    """Return the worst half of what is shown, and an even choice of the others."""
    if count is None or len(index.faces) <= count:
        return index
    order = sorted(index.faces, key=lambda face: -np.nan_to_num(losses[rows[face.path]], nan=-1.0))
    worst, others = order[: count // 2], set(map(id, order[count // 2 :]))
    rest = replace(index, faces=tuple(face for face in index.faces if id(face) in others))
    even = chosen([rest], index.faces[0].domain, count - len(worst))
    return replace(index, faces=(*worst, *(face for each in even for face in each.faces)))


def _detector(
    named: str, folder: Path, names: Sequence[str], options: GalleryOptions
) -> tuple[LoadedDetector | None, str]:
    """Return the run that was scored, or None and why its answers cannot be explained."""
    place = near(named, folder, CONFIG_NAME)
    try:
        detector = load_detector(place, options.device)
    except CycadaError:
        return None, "What its answers rest on cannot be shown: its run is not there."
    if not set(names) <= set(detector.task.names):
        return None, "What its answers rest on cannot be shown: its run answers other questions."
    return detector, ""


def _intro(shown: int, total: int, missing: str) -> str:
    told = (
        f"All {total:,} faces that were scored."
        if shown == total
        else f"{shown:,} of {total:,} faces that were scored: half of them those that it gets most "
        "wrong, the others spread evenly over splits and subjects; --count all shows every one."
    )
    why = missing or "Of a large face, each answer shows the places that speak for it (Grad-CAM)."
    return f"{told} {why}"
