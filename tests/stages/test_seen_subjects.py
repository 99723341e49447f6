"""Whom a run has learned from, itself or through the runs before it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cycada.config import DetectorConfig, TranslatorConfig
from cycada.data.index import read_index, write_index
from cycada.data.subjects import digests_of, subject_digest
from cycada.errors import ConfigError, RunError
from cycada.progress import Progress
from cycada.stages.evaluate import evaluate
from cycada.stages.scoring import EvaluateOptions
from cycada.stages.train_detector import run_training as train_detector
from cycada.stages.train_translator import run_training as train_translator
from cycada.stages.translate import run_translation
from cycada.training.loading import load_detector, load_translator
from cycada.training.run_reading import finished_checkpoint


def test_a_subject_seen_anywhere_on_the_way_is_seen_at_its_end(
    faces: Path,
    detector_run: Path,
    tiny_translator: Callable[..., TranslatorConfig],
    tiny_detector: Callable[..., DetectorConfig],
    quiet: Progress,
    tmp_path: Path,
) -> None:
    translator, made, pixel = (tmp_path / name for name in ("translator", "made", "pixel"))
    train_translator(
        tiny_translator(detector=str(detector_run), steps=1), translator, progress=quiet
    )
    judge = load_detector(detector_run).seen
    index = read_index(faces)
    own = digests_of(face.subject for face in index.select(split="train").faces)
    assert judge - own  # the detector's validation subjects
    assert load_translator(translator).seen == own | judge

    run_translation(translator, faces, made, depth="auto", progress=quiet)
    assert set(read_index(made).info.seen_digests) == own | judge
    train_detector(tiny_detector(source=(str(made),), steps=1), pixel, progress=quiet)
    assert load_detector(pixel).seen >= own | judge

    for run in (detector_run, translator, pixel):
        domain = "rgb" if run == detector_run else "thermal"
        options = EvaluateOptions(
            run=run, index=faces, out=tmp_path / "scores" / run.name, domain=domain, resamples=20
        )
        assert evaluate(options, progress=quiet)["scores"]  # test subjects, seen by nobody
    options = EvaluateOptions(run=translator, index=faces, out=tmp_path / "val", split="val")
    with pytest.raises(RunError, match="learned from 1 of the subjects"):
        evaluate(options, progress=quiet)
    assert not (tmp_path / "val").exists()


def test_whom_an_earlier_judge_has_seen_is_not_forgotten_when_the_judge_is_made_anew(
    own_faces: Path,
    tiny_translator: Callable[..., TranslatorConfig],
    tiny_detector: Callable[..., DetectorConfig],
    quiet: Progress,
    tmp_path: Path,
) -> None:
    index = read_index(own_faces)
    other, judge, run = tmp_path / "other", tmp_path / "judge", tmp_path / "run"
    shutil.copytree(own_faces, other)
    renamed = tuple(replace(face, subject=f"other {face.subject}") for face in index.faces)
    write_index(replace(index, root=other, faces=renamed))
    config = tiny_translator(data=(str(own_faces),), detector=str(judge), steps=2, save_every=1)
    train_detector(tiny_detector(source=(str(other),), steps=1), judge, progress=quiet)
    train_translator(config, run, progress=quiet)
    before = load_translator(run).seen
    assert subject_digest("other rgb0") in before
    shutil.rmtree(judge)
    shutil.rmtree(run / "000002")
    train_detector(tiny_detector(source=(str(own_faces),), steps=1), judge, progress=quiet)
    train_translator(config, run, progress=quiet)
    assert load_translator(run).seen >= before


def test_whom_a_teacher_has_seen_its_pupil_has_seen(
    faces: Path,
    own_faces: Path,
    detector_run: Path,
    tiny_detector: Callable[..., DetectorConfig],
    quiet: Progress,
    tmp_path: Path,
) -> None:
    index = read_index(own_faces)
    renamed = tuple(replace(face, subject=f"other {face.subject}") for face in index.faces)
    write_index(replace(index, faces=renamed))
    teacher, run = tmp_path / "teacher", tmp_path / "run"
    train_detector(tiny_detector(source=(str(own_faces),), steps=1), teacher, progress=quiet)
    config = tiny_detector(
        target=(str(faces),), teachers=(str(detector_run), str(teacher)), steps=1
    )
    train_detector(config, run, progress=quiet)
    known = load_detector(teacher).seen
    assert known == digests_of(
        f"other rgb{number}" for number in range(4)
    )  # all but the test subject
    own = {f"rgb{number}" for number in range(4)} | {f"thermal{number}" for number in range(3)}
    assert load_detector(run).seen == known | digests_of(own)


def test_a_judge_of_thermal_faces_scores_no_translator(
    faces: Path,
    translator_run: Path,
    tiny_detector: Callable[..., DetectorConfig],
    quiet: Progress,
    tmp_path: Path,
) -> None:
    judge, out = tmp_path / "judge", tmp_path / "scores"
    train_detector(tiny_detector(source_domain="thermal", steps=1), judge, progress=quiet)
    options = EvaluateOptions(run=translator_run, index=faces, out=out, detector=judge)
    with pytest.raises(ConfigError, match="judge was trained on thermal faces alone"):
        evaluate(options, progress=quiet)
    assert not out.exists()


def test_a_source_in_rgb_and_a_thermal_one_are_learned_from_by_default(
    faces: Path,
    own_faces: Path,
    tiny_detector: Callable[..., DetectorConfig],
    quiet: Progress,
    tmp_path: Path,
) -> None:
    second = tmp_path / "second"
    shutil.copytree(faces / "thermal", second / "thermal")
    thermal = read_index(faces).select(domain="thermal")
    renamed = tuple(replace(f, subject=f.subject + " of the second") for f in thermal.faces)
    write_index(replace(thermal, root=second, faces=renamed))
    shutil.rmtree(own_faces / "thermal")  # whose rows stay: to learn from them would fail

    config = tiny_detector(source=(str(own_faces), str(second)), steps=1)
    train_detector(config, tmp_path / "run", progress=quiet)
    about = finished_checkpoint(tmp_path / "run").about()
    first = read_index(own_faces).select(domain="rgb")
    used = [i.select(split=s) for i in (first, read_index(second)) for s in ("train", "val")]
    assert set(about["seen_digests"]) == digests_of(name for i in used for name in i.subjects())
    assert about["faces"]["source"] == len(used[0].faces) + len(used[2].faces)
    assert about["source_domains"] == ["rgb", "thermal"]
    assert about["channels"] == 3


def _files_with(names: set[str], folder: Path) -> list[Path]:
    texts = [name.encode() for name in names]
    return [
        file for file in folder.rglob("*")
        if file.is_file() and any(text in file.read_bytes() for text in texts)
    ]  # fmt: skip


def test_what_is_handed_on_of_a_run_names_nobody(
    own_faces: Path,
    tiny_translator: Callable[..., TranslatorConfig],
    tiny_detector: Callable[..., DetectorConfig],
    quiet: Progress,
    tmp_path: Path,
) -> None:
    index = read_index(own_faces)
    write_index(
        replace(
            index, faces=tuple(replace(f, subject=f"Jane Doe {f.subject}") for f in index.faces)
        )
    )
    detector, translator, made = (tmp_path / name for name in ("detector", "translator", "made"))
    train_detector(tiny_detector(source=(str(own_faces),), steps=2), detector, progress=quiet)
    config = tiny_translator(data=(str(own_faces),), detector=str(detector), steps=2)
    train_translator(config, translator, progress=quiet)
    run_translation(translator, own_faces, made, depth="auto", progress=quiet)
    assert _files_with({"Jane Doe"}, own_faces)  # the search finds them where they are
    for run in (detector, translator):
        assert (finished_checkpoint(run).folder / "state.pt").exists()
        assert _files_with({"Jane Doe"}, run) == []
        for weights in finished_checkpoint(run).folder.iterdir():  # nor where the images lie
            assert str(tmp_path).encode() not in weights.read_bytes()
    assert "Jane Doe" not in (made / "index.toml").read_text()


def _with_names(run: Path, subjects: set[str]) -> None:
    """Make of a run's checkpoint one of an earlier version, which listed names."""
    file = finished_checkpoint(run).folder / "about.json"
    about: dict[str, Any] = json.loads(file.read_text())
    assert set(about.pop("seen_digests")) == digests_of(subjects)
    file.write_text(json.dumps({**about, "seen_subjects": sorted(subjects)}))
    file.with_name("SHA256SUMS").unlink()


def test_a_run_and_an_index_that_list_names_keep_people_apart_as_before(
    faces: Path, detector_run: Path, tiny_detector: Callable[..., DetectorConfig],
    quiet: Progress, tmp_path: Path,
) -> None:  # fmt: skip
    run = shutil.copytree(detector_run, tmp_path / "run")
    subjects = {f"rgb{number}" for number in range(4)}
    _with_names(run, subjects)
    assert load_detector(run).seen == digests_of(subjects)
    options = EvaluateOptions(run=run, index=faces, out=tmp_path / "scores", split="val",
                              domain="rgb")  # fmt: skip
    with pytest.raises(RunError, match=r"learned from 1 of the subjects.*rgb3"):
        evaluate(options, progress=quiet)
    train_detector(tiny_detector(initial=str(run), steps=1), tmp_path / "next", progress=quiet)
    assert load_detector(tmp_path / "next").seen == digests_of(subjects)
    train_detector(tiny_detector(steps=3), run, progress=quiet)  # goes on
    assert load_detector(run).seen == digests_of(subjects)
    assert "seen_subjects" not in finished_checkpoint(run).about()

    index = read_index(faces)
    older = replace(index, root=tmp_path / "older", info=replace(index.info, seen_subjects=("A",)))
    write_index(older)
    assert read_index(older.root).info.seen == digests_of(["A"])
    assert read_index(older.root).fingerprint() == older.fingerprint()
