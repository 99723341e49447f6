"""Detectors of aligned eyes, nose and mouth, which learn from landmarks where these are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from cycada import image_reading, image_writing
from cycada.config import AlignmentConfig, AugmentConfig, DetectorConfig, TranslatorConfig
from cycada.data.index import read_index, write_index
from cycada.data.landmarks import read_landmarks, write_landmarks
from cycada.errors import ConfigError, DataError, RunError
from cycada.landmarks import EYE_CORNERS
from cycada.models.regions import RegionBackbone
from cycada.progress import Progress
from cycada.stages.train_detector import run_training
from cycada.stages.train_translator import run_training as train_translator
from cycada.stages.translate import run_translation
from cycada.training.checkpoint import newest_checkpoint
from cycada.training.judging import Readers, make_learner
from cycada.training.loading import load_detector
from cycada.training.run_reading import read_log

NAMES = (*EYE_CORNERS, "chin")
CORNERS = [9.0, 7.0, 11.0, 7.0, 6.0, 7.0, 4.0, 7.0, 7.5, 14.0]
MakeDetector = Callable[..., DetectorConfig]


@pytest.fixture
def regions(
    tiny_detector: MakeDetector, own_faces: Path, mark_eyes: Callable[..., Path]
) -> MakeDetector:
    """Return a maker of settings for faces with landmarks."""
    source = (str(mark_eyes(own_faces)),)

    def make(**changes: Any) -> DetectorConfig:
        return tiny_detector(**{"source": source, "backbone": "regions", "width": 6, **changes})

    return make


def finder_of(run: Path) -> dict[str, torch.Tensor]:
    backbone = load_detector(run).module.backbone
    assert isinstance(backbone, RegionBackbone)
    return {name: value.clone() for name, value in backbone.finder.state_dict().items()}


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


def test_without_landmarks_a_fresh_one_is_refused(
    tiny_detector: MakeDetector, quiet: Progress, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"landmarks\.csv, which is missing in .*initial=RUN"):
        run_training(tiny_detector(backbone="regions"), tmp_path / "run", progress=quiet)
    assert not (tmp_path / "run").exists()


def test_landmarks_of_other_files_are_told(
    regions: MakeDetector, own_faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    write_landmarks(own_faces, NAMES, [("elsewhere.png", CORNERS)])
    with pytest.raises(DataError, match="are known of no training face of the source"):
        run_training(regions(), tmp_path / "run", progress=quiet)
    assert not (tmp_path / "run").exists()


def test_other_landmarks_are_no_way_to_go_on(
    regions: MakeDetector, own_faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    run_training(regions(steps=2), tmp_path / "run", progress=quiet)
    write_landmarks(own_faces, NAMES, [("rgb/0/0.png", CORNERS)])
    with pytest.raises(RunError, match="landmarks"):
        run_training(regions(steps=4), tmp_path / "run", progress=quiet)


@pytest.mark.parametrize("method", ["dann", "adda"])
def test_adaptation_begins_from_it_and_needs_no_landmarks(
    method: str, regions: MakeDetector, faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    """The finder's weights and statistics stay, also where there are landmarks."""
    run_training(regions(steps=2), tmp_path / "first", progress=quiet)
    alignment = AlignmentConfig(method=method, hidden=8, healthy_from=0.0)  # type: ignore[arg-type]
    config = regions(
        initial=str(tmp_path / "first"), target=(str(faces),), alignment=alignment, steps=3
    )
    run_training(config, tmp_path / "second", progress=quiet)
    before, after = finder_of(tmp_path / "first"), finder_of(tmp_path / "second")
    assert all(torch.equal(before[name], after[name]) for name in before)
    figures = json.loads((tmp_path / "second" / "metrics.jsonl").read_text().splitlines()[0])
    assert "landmarks" not in figures


def test_translations_keep_the_landmarks_of_their_originals(
    own_faces: Path, translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    index = read_index(own_faces)
    jpeg = index.faces[0].path.replace(".png", ".jpg")  # whose translation is a PNG
    picture = image_reading.read_image(own_faces / index.faces[0].path)
    image_writing.write_image(own_faces / jpeg, picture)
    faces = (replace(index.faces[0], path=jpeg), *index.faces[1:])
    write_index(replace(index, faces=faces))
    values = {face.path: [v + n for v in CORNERS] for n, face in enumerate(faces)}
    write_landmarks(own_faces, NAMES, values.items())
    made = run_translation(
        translator_run, own_faces, tmp_path / "made", depth="auto", progress=quiet
    )
    found = read_landmarks(tmp_path / "made")
    assert found is not None
    rgb = [face.path for face in faces if face.domain == "rgb"]
    assert [list(found.places[face.path]) for face in made.faces] == [values[p] for p in rgb]
    assert len(found.places) == len(rgb)
    assert made.faces[0].path.endswith(".png")


def test_a_faulty_table_stops_a_translation_before_any_work(
    own_faces: Path, translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    (own_faces / "landmarks.csv").write_text("path,nose_x\n", encoding="utf-8")
    with pytest.raises(DataError, match="nose_y"):
        run_translation(translator_run, own_faces, tmp_path / "a", depth="auto", progress=quiet)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("judge", ["following", "joint"])
def test_it_judges_translations_with_the_eyes_that_it_has_learned_to_find(
    judge: Any, regions: MakeDetector, tiny_translator: Callable[..., TranslatorConfig],
    quiet: Progress, tmp_path: Path,
) -> None:  # fmt: skip
    run_training(regions(steps=2), tmp_path / "judge", progress=quiet)
    loaded = load_detector(tmp_path / "judge").module
    readers = Readers(loaded, None, None)
    made = make_learner(readers, tiny_translator(semantic_judge=judge), Accelerator(cpu=True))
    assert made is not None
    learner, optimizer = made
    learned = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for name, value in learner.named_parameters():
        finds = name.startswith("backbone.finder")
        assert (id(value) in learned) == value.requires_grad == (not finds)
        if finds:
            assert torch.equal(value, dict(loaded.named_parameters())[name])
    config = tiny_translator(detector=str(tmp_path / "judge"), semantic_judge=judge, steps=1)
    train_translator(config, tmp_path / "run", progress=quiet)


def test_landmarks_of_labelled_thermal_faces_are_not_learned(
    regions: MakeDetector, own_faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    """The few labelled faces of a hospital have none; where they have, a figure is as honest."""
    weights = []
    for domains in (("rgb",), ("rgb", "thermal")):
        index = read_index(own_faces)
        rows = [face.path for face in index.faces if face.domain in domains]
        write_landmarks(own_faces, NAMES, [(path, CORNERS) for path in rows])
        out = tmp_path / "-".join(domains)
        run_training(regions(labelled_target=(str(own_faces),), steps=3), out, progress=quiet)
        weights.append(finder_of(out))
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
