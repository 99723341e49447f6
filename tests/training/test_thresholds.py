"""Which thresholds a trained detector carries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cycada.config import AlignmentConfig, DetectorConfig
from cycada.data.dataset import FaceImages, signed
from cycada.data.index import Domain, Split, read_index
from cycada.metrics.detection import best_thresholds
from cycada.progress import Progress
from cycada.stages import train_detector
from cycada.training.loading import load_detector


@pytest.mark.parametrize("aligned", [True, False])
def test_thresholds_are_tuned_on_the_source_and_carried_to_an_unlabelled_target(
    aligned: bool, tmp_path: Path, faces: Path, tiny_detector: Callable[..., DetectorConfig]
) -> None:
    changes = {"target": (str(faces),), "alignment": AlignmentConfig(method="dann", hidden=8)}
    config = tiny_detector(steps=2, **(changes if aligned else {}))
    train_detector.run_training(config, tmp_path / "run", progress=Progress(shown=False))
    loaded = load_detector(tmp_path / "run", torch.device("cpu"))

    def found(domain: Domain, split: Split) -> tuple[Tensor, Tensor, Tensor]:
        index = read_index(faces).select(domain=domain, split=split)
        pictures = FaceImages([index], domain=domain, size=config.size)
        said = loaded.predict(signed(pictures.batch(torch.arange(len(pictures)))))
        return said, *index.occurrences(loaded.action_units)

    own, labels, known = found("rgb", "val")
    tuned = best_thresholds(own, labels, known)
    if not aligned:
        np.testing.assert_allclose(loaded.thresholds, tuned, atol=1e-6)
        return
    there = found("thermal", "train")[0]
    shares = (own.numpy() >= tuned).mean(axis=0)
    detected = (there.numpy() >= np.asarray(loaded.thresholds)).mean(axis=0)
    assert np.abs(detected - shares).max() <= 1 / len(there) + 1e-9
    assert not np.allclose(loaded.thresholds, tuned, atol=1e-4)  # they had to move
