"""Detectors of aligned eyes, nose and mouth, which learn from landmarks where these are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cycada.config import AlignmentConfig, AugmentConfig, DetectorConfig
from cycada.data.index import read_index
from cycada.data.landmarks import LANDMARKS_NAME, landmark_names, write_landmarks
from cycada.errors import ConfigError, DataError, RunError
from cycada.landmarks import EYE_CORNERS
from cycada.models.regions import RegionBackbone
from cycada.progress import Progress
from cycada.stages.train_detector import run_training
from cycada.stages.translate import run_translation
from cycada.training.loading import load_detector
from cycada.training.run import newest_checkpoint, read_log

NAMES = (*EYE_CORNERS, "chin")
CORNERS = [9.0, 7.0, 11.0, 7.0, 6.0, 7.0, 4.0, 7.0, 7.5, 14.0]
MakeDetector = Callable[..., DetectorConfig]


def mark(root: Path, domain: str = "rgb") -> Path:
    """Write landmarks of the faces of one domain, a px apart from face to face."""
    faces = read_index(root).select(domain=domain).faces  # type: ignore[arg-type]
    places = [(face.path, [v + n % 3 for v in CORNERS]) for n, face in enumerate(faces)]
    write_landmarks(root / LANDMARKS_NAME, NAMES, places)
    return root


@pytest.fixture
def regions(tiny_detector: MakeDetector, own_faces: Path) -> MakeDetector:
    """Return a maker of settings for faces with landmarks."""
    source = (str(mark(own_faces)),)

    def make(**changes: Any) -> DetectorConfig:
        return tiny_detector(**{"source": source, "backbone": "regions", "width": 6, **changes})

    return make


def finder_of(run: Path) -> dict[str, torch.Tensor]:
    backbone = load_detector(run).module.backbone
    assert isinstance(backbone, RegionBackbone)
    return {name: value.clone() for name, value in backbone.finder.named_parameters()}


def test_the_finder_learns_from_the_sources_landmarks(
    regions: MakeDetector, quiet: Progress, tmp_path: Path
) -> None:
    """Faces that stay where they are can be known by heart."""
    still = AugmentConfig(flip=0, rotate=0, scale=0, shift=0, blur=0, noise=0)
    config = regions(steps=60, learning_rate=3e-3, augment=still)
    run_training(config, tmp_path / "run", progress=quiet)
    errors = [row["landmarks"] for row in read_log(tmp_path / "run") if "landmarks" in row]
    assert sum(errors[-5:]) < 0.5 * sum(errors[:5])
    about = newest_checkpoint(tmp_path / "run").about()
    assert about["landmarks"] == list(NAMES)
    loaded = load_detector(tmp_path / "run")
    assert loaded.module.landmarks == NAMES
    assert loaded.predict(torch.zeros(2, 1, 16, 16)).shape == (2, 4)


def test_a_stopped_training_goes_on_exactly(
    regions: MakeDetector, quiet: Progress, tmp_path: Path
) -> None:
    run_training(regions(steps=4), tmp_path / "whole", progress=quiet)
    run_training(regions(steps=4), tmp_path / "parts", progress=quiet)
    (tmp_path / "parts" / "metrics.jsonl").write_text("")
    last = tmp_path / "parts" / "000004"
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    run_training(regions(steps=4), tmp_path / "parts", progress=quiet)
    for name, value in finder_of(tmp_path / "whole").items():
        assert torch.equal(value, finder_of(tmp_path / "parts")[name])


def test_without_landmarks_a_fresh_one_is_refused(
    tiny_detector: MakeDetector, quiet: Progress, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"landmarks\.csv, which is missing in .*initial=RUN"):
        run_training(tiny_detector(backbone="regions"), tmp_path / "run", progress=quiet)
    assert not (tmp_path / "run").exists()


def test_landmarks_of_other_files_are_told(
    regions: MakeDetector, own_faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    write_landmarks(own_faces / LANDMARKS_NAME, NAMES, [("elsewhere.png", CORNERS)])
    with pytest.raises(DataError, match="names no training face of the source"):
        run_training(regions(), tmp_path / "run", progress=quiet)
    assert not (tmp_path / "run").exists()


def test_other_landmarks_are_no_way_to_go_on(
    regions: MakeDetector, own_faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    run_training(regions(steps=2), tmp_path / "run", progress=quiet)
    write_landmarks(own_faces / LANDMARKS_NAME, NAMES, [("rgb/0/0.png", CORNERS)])
    with pytest.raises(RunError, match="landmarks"):
        run_training(regions(steps=4), tmp_path / "run", progress=quiet)


@pytest.mark.parametrize("method", ["dann", "adda"])
def test_adaptation_begins_from_it_and_needs_no_landmarks(
    method: str, regions: MakeDetector, tiny_detector: MakeDetector, faces: Path, quiet: Progress,
    tmp_path: Path,
) -> None:  # fmt: skip
    """The finder's weights stay; its statistics become the target's."""
    run_training(regions(steps=2), tmp_path / "first", progress=quiet)
    alignment = AlignmentConfig(method=method, hidden=8, healthy_from=0.0)  # type: ignore[arg-type]
    config = tiny_detector(
        backbone="regions", width=6, initial=str(tmp_path / "first"), target=(str(faces),),
        alignment=alignment, steps=3,
    )  # fmt: skip
    run_training(config, tmp_path / "second", progress=quiet)
    before, after = finder_of(tmp_path / "first"), finder_of(tmp_path / "second")
    assert all(torch.equal(before[name], after[name]) for name in before)
    figures = json.loads((tmp_path / "second" / "metrics.jsonl").read_text().splitlines()[0])
    assert "landmarks" not in figures


def test_translations_keep_the_landmarks_of_their_originals(
    regions: MakeDetector, own_faces: Path, translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    run_translation(translator_run, own_faces, made, depth="auto", progress=quiet)
    assert landmark_names(read_index(made)) == NAMES
    config = regions(source=(str(own_faces), str(made)), steps=2)
    run_training(config, tmp_path / "run", progress=quiet)
    assert any("landmarks" in row for row in read_log(tmp_path / "run"))


def test_landmarks_of_labelled_thermal_faces_are_not_learned(
    regions: MakeDetector, own_faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    """The few labelled faces of a hospital have none; where they have, a figure is as honest."""
    weights = []
    for domains in (("rgb",), ("rgb", "thermal")):
        index = read_index(own_faces)
        rows = [face.path for face in index.faces if face.domain in domains]
        write_landmarks(own_faces / LANDMARKS_NAME, NAMES, [(path, CORNERS) for path in rows])
        out = tmp_path / "-".join(domains)
        run_training(regions(labelled_target=(str(own_faces),), steps=3), out, progress=quiet)
        weights.append(finder_of(out))
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
