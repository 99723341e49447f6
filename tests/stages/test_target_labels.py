from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cycada.config import AlignmentConfig, DetectorConfig
from cycada.data.index import Index, read_index
from cycada.errors import ConfigError
from cycada.progress import Progress
from cycada.stages import train_detector
from cycada.stages.detector_rows import few_subjects
from cycada.stages.train_detector import run_training

Detector = Callable[..., DetectorConfig]
DANN = AlignmentConfig(method="dann", hidden=8)


def thermal(faces: Path) -> Index:
    return read_index(faces).select(domain="thermal", split="train")


def given_faces(
    config: DetectorConfig, out: Path, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Return the faces that the training would be given, which does not begin."""
    seen: list[Any] = []

    def stand_in(*_: object, faces: Any, **__: object) -> None:
        seen.append(faces)

    monkeypatch.setattr(train_detector, "train_detector", stand_in)
    run_training(config, out, progress=progress)
    (given,) = seen
    return given


def test_more_subjects_are_those_of_fewer_and_others(faces: Path) -> None:
    chosen = [few_subjects([thermal(faces)], count, seed=3) for count in range(4)]
    assert [len(names) for names in chosen] == [0, 1, 2, 3]
    assert chosen[0] < chosen[1] < chosen[2] < chosen[3]
    assert {min(few_subjects([thermal(faces)], 1, seed=seed)) for seed in range(20)} == chosen[3]


def test_subjects_without_labels_do_not_count(faces: Path) -> None:
    index = thermal(faces)
    unlabelled = replace(
        index,
        faces=tuple(
            replace(face, action_units={}) if face.subject == "thermal0" else face
            for face in index.faces
        ),
    )
    assert few_subjects([unlabelled], 2, seed=0) == {"thermal1", "thermal2"}
    with pytest.raises(ConfigError, match=r"target_labels is 3, but .* labels of 2 subjects only"):
        few_subjects([unlabelled], 3, seed=0)


def test_only_the_labels_of_the_chosen_subjects_are_learned(
    faces: Path, tiny_detector: Detector, quiet: Progress, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config = tiny_detector(target=(str(faces),), target_labels=2, alignment=DANN)
    given = given_faces(config, tmp_path / "run", quiet, monkeypatch)
    assert given.extra.subjects() == few_subjects([thermal(faces)], 2, seed=config.seed)
    assert {part.domain for part in given.extra.parts} == {"thermal"}
    assert given.target.subjects() == thermal(faces).subjects()  # all are aligned to


def test_teachers_do_not_answer_for_faces_whose_labels_are_used(
    faces: Path, tiny_detector: Detector, quiet: Progress, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    teacher = tmp_path / "teacher"
    run_training(tiny_detector(), teacher, progress=quiet)
    config = tiny_detector(target=(str(faces),), target_labels=1, teachers=(str(teacher),))
    target = given_faces(config, tmp_path / "run", quiet, monkeypatch).target
    (chosen,) = few_subjects([thermal(faces)], 1, seed=config.seed)
    used = torch.tensor([subject == chosen for subject in target.subject_of()])
    truth, known = thermal(faces).labels(target.task)
    assert used.any()
    assert known[used].any()
    assert not known.all()  # an AU that nobody annotated is the teachers' to answer
    assert bool(target.known.all())
    told = used[:, None] & known
    assert torch.equal(target.labels[told], truth[told].to(target.labels.dtype))
    others = target.labels[~told]
    assert bool(((others > 0) & (others < 1)).all())  # probabilities


def test_a_few_labels_train_and_are_settings_of_the_run(
    faces: Path, tiny_detector: Detector, quiet: Progress, tmp_path: Path
) -> None:
    config = tiny_detector(target=(str(faces),), target_labels=1, steps=2)
    run_training(config, tmp_path / "run", progress=quiet)
    settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert settings["target_labels"] == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target_labels": 1}, "give --target INDEX"),
        ({"target_labels": 9, "target": None, "alignment": DANN}, "labels of 3 subjects only"),
        (
            {"target_labels": 1, "target": None, "initial": "run",
             "alignment": AlignmentConfig(method="adda", hidden=8)},
            "adda learns from no labels",
        ),
    ],
)  # fmt: skip
def test_labels_that_are_not_there_are_refused(
    changes: dict[str, Any], words: str, faces: Path, tiny_detector: Detector, quiet: Progress,
    tmp_path: Path,
) -> None:  # fmt: skip
    if "target" in changes:
        changes = {**changes, "target": (str(faces),)}
    with pytest.raises(ConfigError, match=words):
        run_training(tiny_detector(**changes), tmp_path / "run", progress=quiet)
    assert not (tmp_path / "run").exists()
