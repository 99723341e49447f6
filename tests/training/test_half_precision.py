"""Gradients that overflow half precision (loss scaling: Micikevicius et al., ICLR 2018)."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from cycada.progress import Progress
from cycada.stages import train_detector, train_translator
from cycada.training.checkpoint import Checkpoint, newest_checkpoint
from cycada.training.launch import make_accelerator
from cycada.training.run import Run

Make = Callable[..., Any]

LARGEST = 2.0**127  # a gradient of 2 or more overflows float32, as one of 65520 does fp16


@pytest.fixture
def scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainings on a processor scale losses as Accelerate does on a GPU with fp16."""

    def make(*given: Any, **named: Any) -> Accelerator:
        accelerator = make_accelerator(*given, **named)
        accelerator.native_amp = True
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=LARGEST)
        return accelerator

    monkeypatch.setattr(Accelerator, "mixed_precision", property(lambda _: "fp16"))
    for stage in (train_translator, train_detector):
        monkeypatch.setattr(stage, "make_accelerator", make)


@pytest.fixture(params=["translator", "detector"])
def kind(
    request: pytest.FixtureRequest, tiny_translator: Make, tiny_detector: Make, faces: Path,
) -> tuple[Any, Any]:  # fmt: skip
    """Return settings and the stage that trains with them; both clip."""
    if request.param == "translator":
        return tiny_translator(clip_norm=1.0, save_every=1, keep=99), train_translator
    config = tiny_detector(target=(str(faces),), clip_norm=1.0, save_every=1, keep=99)
    aligned = replace(config.alignment, method="dann", weight=300.0)  # a large gradient
    return replace(config, alignment=aligned), train_detector


def weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    state = checkpoint.state()
    learned = state["generators"] if "generators" in state else state["model"]
    return {
        name: value
        for name, value in learned.items()
        if value.is_floating_point() and "running" not in name
    }


def scale(checkpoint: Checkpoint) -> float:
    return float(checkpoint.state()["loss_scale"]["scale"])


@pytest.mark.usefixtures("scaled")
def test_gradients_that_overflow_change_no_weight_and_lower_the_scale_until_they_fit(
    kind: tuple[Any, Any], quiet: Progress, tmp_path: Path
) -> None:
    config, stage = kind
    run = tmp_path / "run"
    stage.run_training(replace(config, steps=10), run, progress=quiet)
    saved = [Checkpoint(step, run / f"{step:06d}") for step in range(1, 11)]
    scales = [scale(each) for each in saved]
    unchanged = []
    for number, (before, after) in enumerate(itertools.pairwise(saved), start=1):
        assert all(torch.isfinite(value).all() for value in weights(after).values())
        pairs = zip(weights(before).values(), weights(after).values(), strict=True)
        if all(torch.equal(one, other) for one, other in pairs):
            unchanged.append(number)
            assert scales[number] < scales[number - 1], f"step {after.step} learned nothing"
    assert unchanged
    assert unchanged[-1] < len(saved) - 3  # it fits, and all is learned from
    assert Run(run, writes=False).steps_back() == 0


@pytest.mark.usefixtures("scaled")
def test_a_training_that_goes_on_begins_at_the_scale_where_it_was(
    kind: tuple[Any, Any], quiet: Progress, tmp_path: Path
) -> None:
    config, stage = kind
    whole, run = tmp_path / "whole", tmp_path / "run"
    stage.run_training(config, whole, progress=quiet)
    shutil.copytree(whole, run)
    for step in (3, 4):
        shutil.rmtree(run / f"{step:06d}")
    stage.run_training(config, run, progress=quiet)
    one, two = newest_checkpoint(whole), newest_checkpoint(run)
    assert one is not None
    assert two is not None
    assert scale(one) == scale(two) < LARGEST
    assert (one.folder / "state.pt").read_bytes() == (two.folder / "state.pt").read_bytes()
