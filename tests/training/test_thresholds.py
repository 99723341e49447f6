"""Which thresholds a trained detector carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from cycada.config import AlignmentConfig, DetectorConfig
from cycada.data.dataset import FaceImages, signed
from cycada.data.index import Domain, Face, Split, read_index, write_index
from cycada.metrics.calibration import calibrated
from cycada.metrics.detection import FEWEST_POSITIVES, best_thresholds
from cycada.metrics.intensity import intensity_reading
from cycada.metrics.thresholds import target_reading
from cycada.progress import Progress
from cycada.stages import train_detector
from cycada.training.loading import load_detector


@pytest.fixture
def many_validated(own_faces: Path) -> Path:
    """Return the tiny faces, graded, of which enough for validation that thresholds are tuned.

    What is present is so by intensities from 2 on, what is absent may have a trace.
    """

    def moved(face: Face, number: int) -> Face:
        units = face.action_units
        if face.domain == "rgb" and face.subject != "rgb0":
            labels = (number % 2, number // 2 % 2, 1 - number % 2, number // 4 % 2)
            units = dict(zip((1, 12, 51, 52), map(float, labels), strict=True))
            face = replace(face, split="val")
        graded = {unit: float(2 * label + number % 3) / (2 - label)
                  for unit, label in units.items()}  # fmt: skip
        return replace(face, action_units=graded)

    index = read_index(own_faces)
    faces = tuple(moved(face, number) for number, face in enumerate(index.faces))
    write_index(replace(index, info=replace(index.info, kind="intensity"), faces=faces))
    return own_faces


@pytest.mark.parametrize("method", ["none", "dann", "adda"])
def test_thresholds_are_tuned_on_the_source_and_set_for_an_unlabelled_target(
    method: Literal["none", "dann", "adda"],
    tmp_path: Path,
    many_validated: Path,
    tiny_detector: Callable[..., DetectorConfig],
    quiet: Progress,
) -> None:
    root = str(many_validated)
    config = tiny_detector(source=(root,), steps=6, average_decay=0.0, double=True)
    reader = run = tmp_path / "run"
    if method != "none":
        alignment = AlignmentConfig(method=method, hidden=8, healthy_from=0.0)
        config = replace(config, target=(root,), alignment=alignment)
    if method == "adda":  # the source's encoder, not the target's, is what reads the source
        reader = tmp_path / "source"
        plain = replace(config, target=(), alignment=AlignmentConfig())
        train_detector.run_training(plain, reader, progress=quiet)
        config = replace(config, initial=str(reader))
    train_detector.run_training(config, run, progress=quiet)

    def found(path: Path, domain: Domain, split: Split) -> tuple[Tensor, Tensor, Tensor]:
        loaded = load_detector(path, torch.device("cpu"))
        index = read_index(root).select(domain=domain, split=split)
        pictures = FaceImages([index], domain=domain, size=config.size)
        said = loaded.predict(signed(pictures.batch(torch.arange(len(pictures)))))
        return said, *index.occurrences(loaded.task.action_units)

    def names(domain: Domain, split: Split) -> list[str]:
        return [face.subject for face in read_index(root).select(domain=domain, split=split).faces]

    own, labels, known = found(reader, "rgb", "val")
    assert (labels.sum(0) >= FEWEST_POSITIVES).all()
    there = found(run, "thermal", "train")[0]
    subjects = names("rgb", "val"), names("thermal", "train")
    tuned = best_thresholds(own, labels, known)
    reading = target_reading(own, labels, known, there, subjects=subjects)
    expected = reading.thresholds
    misread = target_reading(
        found(run, "rgb", "val")[0], labels, known, there, subjects=subjects
    ).thresholds
    for one, other in ((tuned, 0.5), (expected, 0.5), (tuned, expected)):
        assert np.abs(one - other).max() > 1e-3  # so that each is told from the others
    assert (np.abs(misread - expected).max() > 1e-3) == (method == "adda")
    stored = load_detector(run, torch.device("cpu")).thresholds
    wanted = tuned if method == "none" else expected
    np.testing.assert_allclose(stored, wanted, rtol=0, atol=1e-6)
    kept = load_detector(run, torch.device("cpu")).calibration
    assert kept is not None
    sure = calibrated(own, labels, known, fewest=5) if method == "none" else reading.calibration
    np.testing.assert_allclose(kept.slope, sure.slope, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(kept.offset, sure.offset, rtol=1e-4, atol=1e-4)
    assert np.abs(kept.slope - 1).max() > 1e-3
    graded = read_index(root).select(domain="rgb", split="val").intensities((1, 12, 51, 52))
    at_home = calibrated(own, labels, known, fewest=5)(own)
    strengths = intensity_reading(at_home, graded, fewest=FEWEST_POSITIVES)
    read = load_detector(run, torch.device("cpu"))
    assert strengths is not None
    # Of target faces, by way of the calibration that holds there.
    told = read.intensities(read.calibrated(there.double()))
    assert told is not None
    np.testing.assert_allclose(told, strengths(sure(there)), rtol=0, atol=2e-3)
    assert told.std(0).max() > 1e-3
