"""What is no number is never saved, and a training finds its way back from it."""

from __future__ import annotations

import dataclasses
import itertools
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cycada.config import DetectorConfig, TranslatorConfig
from cycada.errors import RunError
from cycada.progress import Progress
from cycada.stages import train_detector, train_translator
from cycada.training import detector as detector_training
from cycada.training import loop
from cycada.training import translator as translator_training
from cycada.training.checkpoint import newest_checkpoint
from cycada.training.finite import NonFiniteError
from cycada.training.launch import make_accelerator
from cycada.training.run import Run
from cycada.training.run_reading import read_log
from cycada.training.translator import make_state
from cycada.training.translator_step import Judges, plain_halves, translator_step

Make = Callable[..., Any]


def test_a_loss_that_is_not_finite_changes_no_weight_and_no_average(
    tiny_translator: Callable[..., TranslatorConfig],
) -> None:
    config = tiny_translator(double=True)
    accelerator = make_accelerator("no", double=True)
    state = make_state(config, Judges(None, None), accelerator)
    halves = plain_halves(state, Judges(None, None), config, accelerator)
    networks = state.generators, state.discriminators, state.average
    before = [{n: v.clone() for n, v in network.state_dict().items()} for network in networks]
    rgb = torch.full((config.batch_size, 3, config.size, config.size), math.nan).double()
    thermal = torch.zeros(config.batch_size, 1, config.size, config.size).double()
    with pytest.raises(NonFiniteError, match="the loss is nan"):
        translator_step(
            state, rgb, thermal, step=0, halves=halves, config=config, accelerator=accelerator
        )
    for network, values in zip(networks, before, strict=True):
        assert all(torch.equal(v, values[n]) for n, v in network.state_dict().items())


@pytest.mark.parametrize("due", ["log", "save", "stop"])
def test_nothing_is_done_after_a_figure_that_is_not_finite(due: str) -> None:
    done: list[int] = []
    with pytest.raises(loop.Interrupted if due == "stop" else NonFiniteError):
        loop.run(
            iter(range(6)),
            lambda _batch, step: {"loss": torch.tensor(math.inf if step == 1 else 1.0)},
            done=0, total=6, log=lambda number, *_: done.append(number),
            log_every=3 if due == "log" else 6, since_log=[],
            processes=loop.Processes(lambda figures: figures, lambda _: due == "stop", 3),
            periodic=[loop.Periodic(3, done.append)] if due == "save" else [],
            on_stop=done.append,
        )  # fmt: skip
    assert done == []


def failing(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, fails: Callable[[int, int], bool]
) -> list[float]:
    """Let ``name`` of ``module`` give a loss that is no number; return the rates as they come.

    ``fails`` takes the number of the attempt, from 0, and of the step.
    """
    real, rates, steps = getattr(module, name), [], []

    def step(state: Any, *given: Any, step: int, **named: Any) -> dict[str, Tensor]:
        steps.append(step)
        figures = real(state, *given, step=step, **named)
        optimizer = getattr(state, "generator_optimizer", None) or state.optimizer
        rates.append(optimizer.param_groups[0]["lr"])
        attempt = sum(later <= earlier for earlier, later in itertools.pairwise(steps))
        if fails(attempt, step):
            first = next(iter(figures))
            figures[first] = figures[first] * math.nan
        return figures

    monkeypatch.setattr(module, name, step)
    return rates


@pytest.mark.parametrize("which", ["translator", "detector"])
def test_a_training_goes_back_to_its_last_checkpoint_with_half_the_rate_and_remembers_it(
    which: str, tiny_translator: Make, tiny_detector: Make, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run, shown = tmp_path / "run", Progress(shown=True)
    config: TranslatorConfig | DetectorConfig
    if which == "translator":
        config, module, stage = tiny_translator(), translator_training, train_translator
    else:
        config, module, stage = tiny_detector(save_every=2), detector_training, train_detector
    rates = failing(
        monkeypatch, module, f"{which}_step", lambda attempt, step: attempt == 0 and step == 2
    )
    stage.run_training(config, run, progress=shown)
    told = capsys.readouterr().err
    assert "going back to the last checkpoint" in told
    assert "(1 of at most 3 times)" in told
    # Steps 0, 1, 2, then back to the checkpoint of step 2, and 2 and 3 at half the rate.
    assert len(rates) == 5
    assert rates[3] == pytest.approx(rates[2] / 2)
    assert Run(run, writes=False).steps_back() == 1
    assert [line["step"] for line in read_log(run) if "validation" not in line] == [1, 2, 3, 4]
    # A run that is continued goes on at that rate.
    rates.clear()
    stage.run_training(dataclasses.replace(config, steps=6), run, progress=shown)
    planned = config.learning_rate
    assert all(rate <= planned / 2 for rate in rates)
    checkpoint = newest_checkpoint(run)
    assert checkpoint is not None
    name = "generator_optimizer" if which == "translator" else "optimizer"
    for group in checkpoint.state()[name]["param_groups"]:
        assert group["base"] == group["planned"] / 2


def test_a_training_that_fails_again_and_again_ends_with_its_last_checkpoint(
    tiny_translator: Make, quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    failing(monkeypatch, translator_training, "translator_step", lambda _, step: step == 3)
    for _ in range(2):  # the same command does not begin to count anew
        with pytest.raises(RunError, match="adversarial is nan before step 4; the last checkpoint"):
            train_translator.run_training(tiny_translator(steps_back=2), run, progress=quiet)
        assert Run(run, writes=False).steps_back() == 2
    checkpoint = newest_checkpoint(run)
    assert checkpoint is not None
    assert checkpoint.step == 2


def test_weights_that_are_no_numbers_are_not_saved_though_the_loss_was_one(
    tiny_translator: Make, quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = translator_training.translator_step

    def step(state: Any, *given: Any, step: int, **named: Any) -> dict[str, Tensor]:
        figures = real(state, *given, step=step, **named)
        if step == 3:
            next(state.discriminators.parameters()).data.view(-1)[0] = math.inf
        return figures

    monkeypatch.setattr(translator_training, "translator_step", step)
    with pytest.raises(NonFiniteError, match="a weight is not finite after step 4"):
        train_translator.run_training(
            tiny_translator(steps_back=0), tmp_path / "run", progress=quiet
        )
    checkpoint = newest_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    assert checkpoint.step == 2


@pytest.mark.parametrize("asked", [True, False])
def test_who_asks_for_an_end_gets_it_though_the_loss_is_not_finite(asked: bool) -> None:
    def step(_batch: int, step: int) -> dict[str, Tensor]:
        if step == 1 and asked:
            signal.raise_signal(signal.SIGTERM)
        return {"loss": torch.tensor(math.nan if step == 1 else 1.0)}

    with pytest.raises(loop.Interrupted if asked else NonFiniteError):
        loop.run(
            iter(range(6)), step, done=0, total=6, log=lambda *_: None, log_every=3,
            since_log=[], processes=loop.Processes(lambda figures: figures, bool, 1), periodic=[],
            on_stop=pytest.fail,
        )  # fmt: skip


def test_a_judge_that_learns_along_is_looked_at_and_slowed_as_well(
    tiny_translator: Make, detector_run: Path, quiet: Progress, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run, real, rates = tmp_path / "run", translator_training.translator_step, []

    def step(state: Any, *given: Any, step: int, **named: Any) -> dict[str, Tensor]:
        figures = real(state, *given, step=step, **named)
        rates.append(state.learner_optimizer.param_groups[0]["lr"])
        if len(rates) == 4:  # its gradient was not finite, the losses were
            next(state.learner.parameters()).data.fill_(math.nan)
        return figures

    monkeypatch.setattr(translator_training, "translator_step", step)
    config = tiny_translator(detector=str(detector_run), follower_learning_rate=1e-3)
    train_translator.run_training(config, run, progress=quiet)
    assert rates == [1e-3] * 4 + [5e-4] * 2
    checkpoint = newest_checkpoint(run)
    assert checkpoint is not None
    assert all(torch.isfinite(value).all() for value in checkpoint.state()["learner"].values())
