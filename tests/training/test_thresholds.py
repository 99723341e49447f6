"""Which thresholds a trained detector carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cycada.config import AlignmentConfig, DetectorConfig
from cycada.data.dataset import FaceImages, signed
from cycada.data.index import Domain, Face, Split, read_index, write_index
from cycada.metrics.detection import FEWEST_POSITIVES, best_thresholds
from cycada.metrics.thresholds import target_thresholds
from cycada.progress import Progress
from cycada.stages import train_detector
from cycada.training.loading import load_detector


@pytest.fixture
def many_validated(own_faces: Path) -> Path:
    """Return the tiny faces, of which enough are for validation that thresholds are tuned."""

    def moved(face: Face, number: int) -> Face:
        if face.domain == "thermal" or face.subject == "rgb0":
            return face
        labels = (number % 2, number // 2 % 2, 1 - number % 2, number // 4 % 2)
        units = dict(zip((1, 12, 51, 52), map(float, labels), strict=True))
        return replace(face, split="val", action_units=units)

    index = read_index(own_faces)
    faces = tuple(moved(face, number) for number, face in enumerate(index.faces))
    write_index(replace(index, faces=faces))
    return own_faces


@pytest.mark.parametrize("aligned", [True, False])
def test_thresholds_are_tuned_on_the_source_and_carried_to_an_unlabelled_target(
    aligned: bool,
    tmp_path: Path,
    many_validated: Path,
    tiny_detector: Callable[..., DetectorConfig],
    quiet: Progress,
) -> None:
    root = str(many_validated)
    changes = {"target": (root,), "alignment": AlignmentConfig(method="dann", hidden=8)}
    config = tiny_detector(
        source=(root,), steps=12, average_decay=0.0, **(changes if aligned else {})
    )
    train_detector.run_training(config, tmp_path / "run", progress=quiet)
    loaded = load_detector(tmp_path / "run", torch.device("cpu"))

    def found(domain: Domain, split: Split) -> tuple[Tensor, Tensor, Tensor]:
        index = read_index(root).select(domain=domain, split=split)
        pictures = FaceImages([index], domain=domain, size=config.size)
        said = loaded.predict(signed(pictures.batch(torch.arange(len(pictures)))))
        return said, *index.occurrences(loaded.action_units)

    own, labels, known = found("rgb", "val")
    assert (labels.sum(0) >= FEWEST_POSITIVES).all()
    tuned = best_thresholds(own, labels, known)
    carried = target_thresholds(own, labels, known, found("thermal", "train")[0])
    for one, other in ((tuned, 0.5), (carried, 0.5), (tuned, carried)):
        assert np.abs(one - other).max() > 1e-3  # so that each is told from the others
    expected = carried if aligned else tuned
    np.testing.assert_allclose(loaded.thresholds, expected, rtol=0, atol=1e-6)
