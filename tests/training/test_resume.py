"""Training that is stopped and continued ends where uninterrupted training ends, bit for bit."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import safetensors.torch
import torch
from torch import nn

from cycada.config import AlignmentConfig, DetectorConfig, GeneratorConfig, TranslatorConfig
from cycada.errors import RunError
from cycada.models.build import build_detector
from cycada.models.detector import Detector
from cycada.models.normalisation import has_channels_last
from cycada.progress import Progress
from cycada.stages import train_detector, train_translator
from cycada.task import Task
from cycada.training import detector as detector_training
from cycada.training import translator as translator_training
from cycada.training.checkpoint import newest_checkpoint
from cycada.training.launch import make_accelerator
from cycada.training.loop import Interrupted
from cycada.training.run import Run
from cycada.training.run_reading import TIMES, read_log
from cycada.training.selection import Comparison, Validation, validate

ALIGNMENT = AlignmentConfig(hidden=8, weight=1.0, warm_up=0.5, healthy_from=0.0)


@dataclass(frozen=True)
class Training:
    """One kind of training and an uninterrupted run of 4 steps, saved at 2 and at 4."""

    config: Any
    whole: Path
    module: Any
    step_name: str

    def train(self, out: Path, **changes: Any) -> None:
        stage = train_translator if isinstance(self.config, TranslatorConfig) else train_detector
        stage.run_training(replace(self.config, **changes), out, progress=Progress(shown=False))

    def stopped_at_two(self, out: Path) -> Path:
        """Return a copy of the run as it was after step 2, but with the log of step 4."""
        shutil.copytree(self.whole, out)
        shutil.rmtree(out / "000004")
        return out


@pytest.fixture(
    scope="module", params=["translator", "frozen", "none", "dann", "adda", "taught", "regions"]
)
def training(
    request: pytest.FixtureRequest,
    faces: Path,
    tiny_translator: Callable[..., TranslatorConfig],
    tiny_detector: Callable[..., DetectorConfig],
    detector_run: Path,
    mark_eyes: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Training:
    out = tmp_path_factory.mktemp("whole") / "run"
    config: Any
    if request.param in ("translator", "frozen"):
        judge = "following" if request.param == "translator" else "frozen"
        config = tiny_translator(detector=str(detector_run), semantic_judge=judge)
        made = Training(config, out, translator_training, "translator_step")
    elif request.param == "regions":
        source = mark_eyes(shutil.copytree(faces, out.parent / "faces"))
        config = tiny_detector(source=(str(source),), backbone="regions", width=6)
        made = Training(config, out, detector_training, "detector_step")
    else:
        taught = request.param == "taught"
        config = tiny_detector(
            target=(str(faces),) if request.param != "none" else (),
            teachers=(str(detector_run),) if taught else (),
            labelled_target=(str(faces),) if request.param == "dann" else (),
            initial=str(detector_run) if request.param == "adda" else "",
            alignment=replace(ALIGNMENT, method="none" if taught else request.param),
        )
        step_name = "adda_step" if request.param == "adda" else "detector_step"
        made = Training(config, out, detector_training, step_name)
    made.train(out)
    return made


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{name}/{key}")
    elif isinstance(tree, list):
        for key, value in enumerate(tree):
            yield from leaves(value, f"{name}/{key}")
    else:
        yield name, tree


def assert_same_end(one: Path, two: Path) -> None:
    first, second = newest_checkpoint(one), newest_checkpoint(two)
    assert first is not None
    assert second is not None
    assert first.step == second.step
    left, right = dict(leaves(first.state())), dict(leaves(second.state()))
    assert left.keys() == right.keys()
    for name, value in left.items():
        same = torch.equal(value, right[name]) if torch.is_tensor(value) else value == right[name]
        assert same, f"{name} differs"
    weights = sorted(file.name for file in first.folder.glob("*.safetensors"))
    assert weights
    for name in (*weights, "state.pt"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()
    assert first.about() == second.about()


def figures(run: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if k not in TIMES} for line in read_log(run)]


def test_two_and_two_steps_equal_four(training: Training, tmp_path: Path) -> None:
    run = training.stopped_at_two(tmp_path / "run")
    training.train(run)
    assert_same_end(training.whole, run)


def test_a_training_with_channels_last_goes_on_as_if_it_had_not_stopped(
    tiny_translator: Callable[..., TranslatorConfig], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """As with images of 128 px and more in bfloat16 on processors; here smaller ones do."""
    layouts: list[bool] = []
    usual = translator_training.make_state

    def make_state(*given: Any) -> Any:
        state = usual(*given)
        weight = next(part for part in state.generators.parameters() if part.dim() == 4)
        layouts.append(has_channels_last(weight))
        return state

    monkeypatch.setattr(translator_training, "make_state", make_state)
    monkeypatch.setattr(translator_training, "_WELL_COPIED", 16)
    config = tiny_translator(mixed_precision="bf16", steps=4, save_every=2)
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    train_translator.run_training(config, whole, progress=Progress(shown=False))
    shutil.copytree(whole, parted)
    shutil.rmtree(parted / "000004")
    train_translator.run_training(config, parted, progress=Progress(shown=False))
    assert layouts == [True, True]
    assert_same_end(whole, parted)


def test_a_run_whose_network_was_spelled_out_goes_on_when_it_is_the_default_now(
    tiny_translator: Callable[..., TranslatorConfig], tmp_path: Path
) -> None:
    """What counts is the network, not which of its settings were left to be chosen."""
    stated = GeneratorConfig(width=64, blocks=0, skips=False)
    config = tiny_translator(steps=1, generator=stated)
    train_translator.run_training(config, tmp_path / "run", progress=Progress(shown=False))
    left = replace(config, generator=replace(stated, width=0, blocks=6), steps=2)
    train_translator.run_training(left, tmp_path / "run", progress=Progress(shown=False))
    found = newest_checkpoint(tmp_path / "run")
    assert found is not None
    assert found.step == 2
    with pytest.raises(RunError, match=r"generator\.skips False -> True"):
        train_translator.run_training(
            replace(left, generator=GeneratorConfig()), tmp_path / "run",
            progress=Progress(shown=False),
        )  # fmt: skip


def test_the_state_holds_all_that_changes(training: Training) -> None:
    early, late = (
        dict(leaves(torch.load(training.whole / step / "state.pt", weights_only=True)))
        for step in ("000002", "000004")
    )
    parts = {name.split("/")[1] for name in late}
    if training.step_name == "translator_step":
        expected = {
            "generators", "discriminators", "average", "generator_optimizer",
            "discriminator_optimizer", "rgb_pool", "thermal_pool",
        }  # fmt: skip
        if training.config.semantic_judge == "following":
            expected |= {"learner", "learner_optimizer"}
    else:
        expected = {"model", "optimizer", "average", "best", "selection"}
        if training.step_name == "adda_step":
            expected |= {"teacher", "domain", "domain_optimizer"}
    assert parts == expected
    moving = {
        name.split("/")[1]
        for name, value in late.items()
        if not (torch.equal(value, early[name]) if torch.is_tensor(value) else value == early[name])
    }
    # ADDA's teacher never changes; which weights did best, and when, need not change.
    assert moving | {"teacher", "best", "selection"} >= expected


def test_a_continued_run_logs_every_step_once(training: Training, tmp_path: Path) -> None:
    run = training.stopped_at_two(tmp_path / "run")
    assert figures(run)[-1]["step"] == 4  # lines that the continued run will write again
    training.train(run)
    assert figures(run) == figures(training.whole)
    trained = [line["step"] for line in figures(run) if "validation" not in line]
    assert trained == [1, 2, 3, 4]


@pytest.mark.parametrize("training", ["translator", "none", "adda"], indirect=True)
def test_a_line_over_steps_before_and_after_a_stop_is_that_of_an_uninterrupted_run(
    training: Training, tmp_path: Path
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    training.train(whole, log_every=3)
    assert [line["step"] for line in figures(whole) if "validation" not in line] == [3, 4]
    shutil.copytree(whole, run)
    shutil.rmtree(run / "000004")
    training.train(run, log_every=3)
    assert figures(run) == figures(whole)
    assert_same_end(whole, run)


def test_a_line_of_the_log_that_a_kill_cut_off_does_not_count(
    training: Training, tmp_path: Path
) -> None:
    run = training.stopped_at_two(tmp_path / "run")
    log = run / "metrics.jsonl"
    log.write_text(log.read_text() + '{"step": 4, "seco')
    training.train(run)
    assert figures(run) == figures(training.whole)


def test_a_damaged_state_is_named(training: Training, tmp_path: Path) -> None:
    run = training.stopped_at_two(tmp_path / "run")
    state = run / "000002" / "state.pt"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(RunError, match=re.escape(str(state))):
        training.train(run)


def test_ctrl_c_within_a_step_saves_and_the_same_command_goes_on(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(training.module, training.step_name)

    def interrupted(*args: Any, step: int, **named: Any) -> Any:
        if step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*args, step=step, **named)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        patched.setattr(training.module, training.step_name, interrupted)
        with pytest.raises(Interrupted):
            training.train(tmp_path / "run", save_every=100)
    assert signal.getsignal(signal.SIGINT) is before
    checkpoint = newest_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    assert checkpoint.step == 2
    training.train(tmp_path / "run")
    assert_same_end(training.whole, tmp_path / "run")
    assert figures(tmp_path / "run") == figures(training.whole)


def test_a_crash_while_saving_leaves_the_checkpoint_before(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training.stopped_at_two(tmp_path / "run")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("cycada.training.checkpoint.safetensors.torch.save", full)
        with pytest.raises(RunError, match=r"000004: cannot be written \(No space"):
            training.train(run)
    checkpoint = newest_checkpoint(run)
    assert checkpoint is not None
    assert checkpoint.step == 2
    training.train(run)
    assert_same_end(training.whole, run)


def test_other_settings_are_refused_by_name(training: Training, tmp_path: Path) -> None:
    run = training.stopped_at_two(tmp_path / "run")
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    with pytest.raises(RunError, match=r"learning_rate .* -> 0\.5; seed 3 -> 4") as caught:
        training.train(run, learning_rate=0.5, seed=4)
    assert str(run) in str(caught.value)
    with pytest.raises(RunError, match=r"steps 4 -> 3"):
        training.train(run, steps=3)
    assert before == {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}


def test_more_steps_and_another_rhythm_of_saving_continue(
    training: Training, tmp_path: Path
) -> None:
    run = shutil.copytree(training.whole, tmp_path / "run")
    training.train(run, steps=6, save_every=5, log_every=2, keep=2)
    assert sorted(p.name for p in run.iterdir() if p.is_dir() and p.name.isdigit()) == [
        "000005", "000006",
    ]  # fmt: skip
    assert json.loads((run / "config.json").read_text())["settings"]["steps"] == 6
    trained = [line["step"] for line in figures(run) if "validation" not in line]
    assert trained == [1, 2, 3, 4, 6]


def test_a_finished_run_is_left_as_it_is(training: Training, tmp_path: Path) -> None:
    run = shutil.copytree(training.whole, tmp_path / "run")
    training.train(run)
    assert_same_end(training.whole, run)
    assert figures(run) == figures(training.whole)


def test_dropout_is_drawn_alike_after_resuming(
    tiny_detector: Callable[..., DetectorConfig],
    quiet: Progress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def with_dropout(*args: Any, **named: Any) -> Detector:
        detector = build_detector(*args, **named)
        layers: Any = detector.backbone.layers
        layers.append(nn.Dropout(0.5))
        return detector

    monkeypatch.setattr(train_detector, "build_detector", with_dropout)
    whole, run = tmp_path / "whole", tmp_path / "run"
    train_detector.run_training(tiny_detector(), whole, progress=quiet)
    shutil.copytree(whole, run)
    shutil.rmtree(run / "000004")
    train_detector.run_training(tiny_detector(), run, progress=quiet)
    assert_same_end(whole, run)


def test_the_best_weights_so_far_are_remembered(
    tiny_detector: Callable[..., DetectorConfig],
    quiet: Progress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never_better(*args: Any, **names: Any) -> Validation:
        return validate(*args, **names)._replace(score=0.5)

    monkeypatch.setattr(detector_training, "validate", never_better)
    whole, run = tmp_path / "whole", tmp_path / "run"
    train_detector.run_training(tiny_detector(), whole, progress=quiet)
    shutil.copytree(whole, run)
    shutil.rmtree(run / "000004")
    train_detector.run_training(tiny_detector(), run, progress=quiet)
    assert_same_end(whole, run)
    late = newest_checkpoint(run)
    assert late is not None
    assert late.about()["chosen_step"] == 2
    first = (whole / "000002" / "detector.safetensors").read_bytes()
    assert (late.folder / "detector.safetensors").read_bytes() == first


@pytest.mark.parametrize("training", ["dann", "adda", "taught"], indirect=True)
def test_an_adapted_run_that_goes_on_ends_with_its_last_weights(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter((0.9, 0.9, 0.8, 0.8, 0.1, 0.1, 0.1, 0.1))  # the longer, the worse

    def worse(*args: Any, **names: Any) -> Validation:
        return validate(*args, **names)._replace(score=next(looks))

    run = shutil.copytree(training.whole, tmp_path / "run")
    monkeypatch.setattr(training.module, "validate", worse)
    # Whether the floor lets weights of eight steps pass is not what is asked here.
    monkeypatch.setattr(Comparison, "adapted_is_better", property(lambda _: True))
    training.train(run, steps=8)
    for step in (6, 8):
        about = json.loads((run / f"{step:06d}" / "about.json").read_text())
        assert about["chosen_step"] == step
    last = newest_checkpoint(run)
    assert last is not None
    weights = safetensors.torch.load_file(last.folder / "detector.safetensors")
    average = last.state()["average"]
    assert weights.keys() == average.keys()
    assert all(torch.equal(weights[name], average[name]) for name in weights)
    before = (run / "000004" / "detector.safetensors").read_bytes()
    assert (last.folder / "detector.safetensors").read_bytes() != before


def test_the_loss_scale_of_half_precision_goes_on(
    tiny_translator: Callable[..., TranslatorConfig], tiny_detector: Callable[..., DetectorConfig]
) -> None:
    """fp16 needs a GPU, but what Accelerate keeps for it does not."""
    judges = translator_training.Judges(None, None)
    network = build_detector(tiny_detector(), channels=3, task=Task((1, 12, 51, 52)))
    for module, make in (
        (
            translator_training,
            lambda a: translator_training.make_state(tiny_translator(), judges, a),
        ),
        (detector_training, lambda a: detector_training.make_state(tiny_detector(), network, a)),
    ):
        accelerator = make_accelerator("no", double=False)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        saved = module.collect(make(accelerator), accelerator)
        later = make_accelerator("no", double=False)
        later.scaler = torch.amp.GradScaler("cpu")
        checkpoint = SimpleNamespace(step=3, state=lambda saved=saved: saved)
        run = cast("Run", SimpleNamespace(newest=lambda checkpoint=checkpoint: checkpoint))
        assert module.restore(make(later), run, later) == 3
        assert later.scaler.get_scale() == 8.0
