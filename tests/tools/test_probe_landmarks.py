from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from cycada.config import DetectorConfig
from cycada.data.index import read_index
from cycada.data.landmarks import write_landmarks
from cycada.errors import DataError
from cycada.landmarks import EYE_CORNERS
from cycada.models.regions import RegionBackbone
from cycada.progress import Progress
from cycada.stages.train_detector import run_training
from cycada.training.loading import load_detector

CORNERS = [9.0, 7.0, 11.0, 7.0, 6.0, 7.0, 4.0, 7.0]  # 5 px apart


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    import probe_landmarks

    return probe_landmarks


def test_errors_of_the_middle_count_in_eye_distances(
    tool: ModuleType, tiny_detector: Callable[..., DetectorConfig], own_faces: Path,
    quiet: Progress, tmp_path: Path,
) -> None:  # fmt: skip
    """Images of 16 x 20 px lose two rows above and below, so the eyes lie 2 px higher."""
    faces = read_index(own_faces).faces
    write_landmarks(own_faces, EYE_CORNERS, [(face.path, CORNERS) for face in faces])
    config = tiny_detector(source=(str(own_faces),), backbone="regions", width=6, steps=1)
    run_training(config, tmp_path / "run", progress=quiet)
    detector = load_detector(tmp_path / "run", torch.device("cpu"))
    backbone = detector.module.backbone
    assert isinstance(backbone, RegionBackbone)
    torch.nn.init.zeros_(backbone.finder.head.weight)
    torch.nn.init.zeros_(backbone.finder.head.bias)
    seen = torch.tensor(CORNERS).view(-1, 2) - torch.tensor([0.0, 2.0])
    for shift, expected in (((0.0, 0.0), 0.0), ((3.0, 4.0), 1.0)):
        backbone.finder.mean.copy_((seen + torch.tensor(shift) + 0.5) / 16)
        for domain in ("rgb", "thermal"):
            assert tool.error(detector, own_faces, domain) == pytest.approx(expected, abs=1e-4)
    (own_faces / "landmarks.csv").unlink()
    with pytest.raises(DataError, match="there is no landmarks"):
        tool.error(detector, own_faces, "rgb")
