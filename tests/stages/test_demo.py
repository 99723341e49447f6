from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from cycada.errors import ConfigError, RunError
from cycada.locking import LOCK_NAME
from cycada.progress import Progress
from cycada.stages import demo_jobs
from cycada.stages.ablation import Term, run_ablations
from cycada.stages.demo import METHODS, run_demo
from cycada.training.checkpoint import write_checkpoint

TINY = demo_jobs.Plan(
    20,
    2,
    translator_steps=6,
    plain_steps=2,
    detector_steps=2,
    pixel_steps=2,
    feature_steps=2,
    alignment_steps=3,
    teaching_steps=2,
    ceiling_steps=9,
    wide=False,
)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(demo_jobs.PLANS, "quick", TINY)


def run(out: Path, progress: Progress, **changes: Any) -> dict[str, Any]:
    return run_demo(out, **{"size": 16, "seed": 0, "budget": "quick", **changes}, progress=progress)


def test_the_whole_way_is_walked_and_goes_on_where_it_was_interrupted(
    quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "demo"
    with monkeypatch.context() as patched:
        patched.setattr(demo_jobs, "run_translation", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(out, quiet)
    trained = out / "translator" / "000006" / "state.pt"
    before = trained.stat().st_mtime_ns
    # A worker that is killed when all is saved leaves its lock, and what is done is not done again.
    left = [out / name / LOCK_NAME for name in ("structure", "evaluation/structure")]
    for lock in left:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.write_text(json.dumps({"host": "elsewhere", "pid": 1, "parent": None}))
    summary = run(out, quiet)
    assert not any(lock.exists() for lock in left)
    assert trained.stat().st_mtime_ns == before
    assert json.loads((out / "summary.json").read_text()) == summary
    scores = summary["macro_f1"]
    assert tuple(scores) == METHODS
    assert tuple(summary["macro_f1_between"]) == ("structure", "regions", "aligned_regions")
    gap = scores["target_supervised"] - scores["source_only"]
    if gap > 0:
        expected = (scores["both"] - scores["source_only"]) / gap
        assert summary["gap_closed"] == pytest.approx(expected)
    else:
        assert summary["gap_closed"] is None
    assert (out / "target_supervised" / "000009").is_dir()
    # Three detectors teach one of them.
    settings = json.loads((out / "both" / "config.json").read_text())["settings"]
    teachers = ["aligned_regions", "feature", "pixel"]
    assert [Path(teacher).name for teacher in settings["teachers"]] == teachers
    assert Path(settings["initial"]).name == teachers[0]
    assert summary["seconds"] > 0
    assert "<html" in (out / "report.html").read_text(encoding="utf-8")
    with pytest.raises(RunError, match="other options"):
        run(out, quiet, seed=1)


def test_a_training_whose_weights_are_damaged_is_not_taken_for_finished(tmp_path: Path) -> None:
    make = demo_jobs.Maker(tmp_path, tmp_path, tmp_path / "faces", TINY, 16, 0)
    job = make.detector("structure", 2, source=[str(tmp_path / "faces")])
    assert not job.done()
    (tmp_path / "structure").mkdir()
    for step in (1, 2):
        network = torch.nn.Linear(2, 2)
        write_checkpoint(
            tmp_path / "structure", step, state={}, weights={"detector": network}, about={}
        )
    assert job.done()
    (tmp_path / "structure" / "000002" / "detector.safetensors").write_bytes(b"")
    assert not job.done()
    (tmp_path / "structure" / "000001" / "detector.safetensors").write_bytes(b"")
    assert not job.done()


def test_a_wide_pupil_begins_from_regions_as_wide_and_is_taught_by_what_was_aligned(
    quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(demo_jobs.PLANS, "full", replace(TINY, wide=True, pixel_teaches=False))
    run(tmp_path / "demo", quiet, budget="full")
    found = {
        name: json.loads((tmp_path / "demo" / name / "config.json").read_text())["settings"]
        for name in ("both", "aligned_regions", "regions_wide")
    }
    assert Path(found["both"]["initial"]).name == "regions_wide"
    assert found["both"]["width"] == found["regions_wide"]["width"]
    assert found["both"]["width"] > found["aligned_regions"]["width"]
    taught_by = [Path(teacher).name for teacher in found["both"]["teachers"]]
    assert taught_by == ["aligned_regions", "feature"]


@pytest.mark.parametrize("wrong", [{"size": 30}, {"seed": -1}])
def test_an_option_that_cannot_work_leaves_nothing_behind(
    wrong: dict[str, int], quiet: Progress, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError):
        run(tmp_path / "demo", quiet, **wrong)
    assert not (tmp_path / "demo").exists()


def test_an_ablation_leaves_out_one_term_and_shares_the_rest(
    quiet: Progress, tmp_path: Path
) -> None:
    whole = tmp_path / "all"
    run(whole, quiet)

    def settings(run_folder: Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((run_folder / "config.json").read_text())["settings"]
        return found

    scores = run_ablations(
        whole, tmp_path, without=get_args(Term), size=16, seed=0, budget="quick", progress=quiet
    )
    assert set(scores) == {"semantic", "cycle", "pixel"}
    for term, score in scores.items():
        out = tmp_path / f"no-{term}"
        assert set(score) == ({"both"} if term == "pixel" else {"both", "pixel"})
        assert all(0 <= value <= 1 for value in score.values())
        assert not (out / "faces").exists()
        assert not (out / "structure").exists()
        assert not (out / "feature").exists()
        names = ["both", *(["aligned_regions", "pixel"] if term != "pixel" else [])]
        for name in names:
            mine, its = settings(out / name), settings(whole / name)
            differ = {key for key in mine if mine[key] != its[key]} - {"source"}
            assert differ <= {"initial", "teachers"}, name  # other places only
        if term == "pixel":
            assert not (out / "translator").exists()
            assert {tuple(settings(out / name)["source"]) for name in names} == {
                (str(whole / "faces"),)
            }
            continue
        mine, its = settings(out / "translator"), settings(whole / "translator")
        assert {key for key in mine if mine[key] != its[key]} == {"weights"}
        assert mine["weights"] == {**its["weights"], term: 0.0}
        assert settings(out / "both")["source"] == [str(whole / "faces"), str(out / "translated")]
