"""Clips on disk are what was drawn, with what is true of them, and are finished once begun."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cycada.cli import VERBS, main
from cycada.cli.phantom import SCENARIOS
from cycada.data import phantom
from cycada.errors import DataError
from cycada.footage import open_footage
from cycada.progress import Progress
from cycada.stages import phantom_clips
from cycada.stages.phantom import ClipOptions
from cycada.stages.phantom_clips import make_clips, patient, truth_of
from cycada.vitals.truth import read_truth


def options(out: Path, **changes: object) -> ClipOptions:
    base = ClipOptions(out=out, clips=2, scenario="fear", seconds=12.0, seed=4)
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(quiet: Progress, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clips") / "clips"
    assert len(make_clips(options(out), progress=quiet)) == 2
    return out


def contents(root: Path) -> dict[str, bytes]:
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def test_a_video_is_read_with_its_times_and_temperatures(made: Path) -> None:
    footage = open_footage(made / "videos" / "0001.npz")
    frames = list(footage.frames())
    assert footage.unit == "centikelvin"
    assert footage.frame_rate == pytest.approx(9.0)
    assert [frame.seconds for frame in frames] == pytest.approx(np.arange(108) / 9)
    one = patient(4, 1, scenario="fear", seconds=12.0)
    for frame, drawn in zip(frames, phantom.render_clip(one.identity, one.clip), strict=True):
        celsius = frame.image[0].to(torch.float64) / 100 - 273.15
        assert celsius.numpy() == pytest.approx(drawn, abs=0.0051)


def test_the_truth_is_that_of_the_clip(made: Path) -> None:
    told = read_truth(made / "truth" / "0000.csv")
    true = truth_of(patient(4, 0, scenario="fear", seconds=12.0).clip)
    assert told.seconds == pytest.approx(true.seconds, abs=1e-4)
    assert told.rate == pytest.approx(true.rate, abs=1e-3)
    assert (told.apnea == true.apnea).all()
    assert told.dyspnea is not None
    assert true.dyspnea is not None
    assert (told.dyspnea == true.dyspnea).all()
    assert 0.2 < told.dyspnea.mean() < 0.5
    assert told.seen
    with (made / "truth" / "0000.csv").open(encoding="utf-8", newline="") as stream:
        first = next(csv.DictReader(stream))
    assert {f"AU{number:02d}" for number in phantom.PHANTOM_ACTION_UNITS} < set(first)


def test_who_has_a_tube_has_no_route_of_the_air(quiet: Progress, tmp_path: Path) -> None:
    out = tmp_path / "clips"
    make_clips(options(out, clips=1, scenario="intubated", seconds=3.0), progress=quiet)
    assert not read_truth(out / "truth" / "0000.csv").seen


def test_clips_that_were_begun_are_finished_by_the_same_command_and_no_other(
    quiet: Progress, tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "clips"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(phantom_clips, "write_table", killed)
        with pytest.raises(KeyboardInterrupt):
            make_clips(options(out), progress=quiet)
    with pytest.raises(DataError, match="begun with other options"):
        make_clips(options(out, seed=5), progress=quiet)
    make_clips(options(out), progress=quiet)
    assert contents(out) == contents(made)
    with pytest.raises(DataError, match="holds clips already"):
        make_clips(options(out), progress=quiet)


def test_a_clip_that_is_there_is_not_drawn_again(
    quiet: Progress, tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "clips"
    real = phantom_clips.write_table

    def killed_at_the_end(file: Path, *rest: object) -> None:
        if file.name == phantom_clips.CLIPS_NAME:
            raise KeyboardInterrupt
        real(file, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(phantom_clips, "write_table", killed_at_the_end)
        with pytest.raises(KeyboardInterrupt):
            make_clips(options(out), progress=quiet)
    with monkeypatch.context() as patch:
        patch.setattr(phantom, "render_clip", None)
        make_clips(options(out), progress=quiet)
    assert contents(out) == contents(made)


def test_the_command_line_knows_the_scenarios_that_there_are() -> None:
    assert SCENARIOS == phantom.SCENARIOS
    assert "phantom" in VERBS


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--scenario", "fear"], "give their number with --clips"),
        (["--clips", "2", "--seconds", "30"], "--seconds is of a --scenario"),
        (["--clips", "2", "--video"], "--video is of an index"),
        (["--clips", "2", "--frames-per-subject", "9"], "--frames-per-subject is of an index"),
    ],
)
def test_options_that_say_nothing_are_refused(tmp_path: Path, given: list[str], told: str) -> None:
    result = CliRunner().invoke(main, ["phantom", "--out", str(tmp_path / "out"), *given])
    assert result.exit_code == 2
    assert told in result.output
    assert not (tmp_path / "out").exists()
