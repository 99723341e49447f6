"""A batch that is gone through in portions teaches what it teaches at once (in float64)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cycada.config import AlignmentConfig, DetectorConfig, SelfTrainingConfig, TranslatorConfig
from cycada.errors import ConfigError, RunError
from cycada.models.build import build_detector
from cycada.models.cycle import Discriminators, Generators
from cycada.models.detector import AdaptiveDetector, Detector
from cycada.models.domain import DomainClassifier
from cycada.progress import Progress
from cycada.stages import train_detector, train_translator
from cycada.training.checkpoint import newest_checkpoint
from cycada.training.optimizing import portions, rejoined
from cycada.training.run_reading import TIMES, read_log

MakeTranslator = Callable[..., TranslatorConfig]
MakeDetector = Callable[..., DetectorConfig]

TOLERANCE = 1e-10
QUIET = Progress(shown=False)


class Pair(NamedTuple):
    images: Tensor
    other: tuple[Tensor, None]


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, (dict, list)):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(value, f"{name}/{key}")
    else:
        yield name, tree


def assert_same_end(one: Path, two: Path) -> None:
    ends = []
    for run in (one, two):
        checkpoint = newest_checkpoint(run)
        assert checkpoint is not None
        ends.append(dict(leaves(checkpoint.state())))
    assert ends[0].keys() == ends[1].keys()
    for name, value in ends[0].items():
        if torch.is_tensor(value):
            away = (value.double() - ends[1][name].double()).abs()
            assert not away.numel() or float(away.max()) <= TOLERANCE, f"{name}: {away.max():.2e}"
        else:
            assert value == pytest.approx(ends[1][name], abs=TOLERANCE), name
    for before, after in zip(read_log(one), read_log(two), strict=True):
        figures = [{k: v for k, v in line.items() if k not in TIMES} for line in (before, after)]
        assert figures[0] == pytest.approx(figures[1], rel=1e-5)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, int]]:
    """Return which networks learned from how many images at once; filled while they train."""
    found: set[tuple[str, int]] = set()
    for network in (Generators, Discriminators, AdaptiveDetector, DomainClassifier, Detector):

        def forward(
            self: Any, images: Tensor, *others: Any, real: Any = network.forward, **named: Any
        ) -> Any:
            learns = any(weight.requires_grad for weight in self.parameters())
            if torch.is_grad_enabled() and learns:
                found.add((type(self).__name__, len(images)))
            return real(self, images, *others, **named)

        monkeypatch.setattr(network, "forward", forward)
    return found


class ByImage(nn.BatchNorm2d):
    """What looks like batch normalisation, and normalises every image alone."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.group_norm(x, 1, self.weight, self.bias, self.eps)


def test_portions_take_turns_in_what_they_are_cut_from_and_join_to_it_again() -> None:
    batch = Pair(torch.arange(6).view(6, 1), (torch.arange(6) * 10, None))
    first, second, third = portions(batch, 3)
    assert first.images.flatten().tolist() == [0, 3]
    assert second.other[0].tolist() == [10, 40]
    assert (type(third), third.other[1]) == (Pair, None)
    again = rejoined([first, second, third])
    assert torch.equal(again.images, batch.images)
    assert torch.equal(again.other[0], batch.other[0])
    assert again.other[1] is None


@pytest.mark.parametrize(("judge", "accumulate"), [("following", 2), ("joint", 2)])
def test_a_translator_learns_the_same_in_portions(
    judge: str, accumulate: int, tiny_translator: MakeTranslator, detector_run: Path,
    seen: set[tuple[str, int]], tmp_path: Path,
) -> None:  # fmt: skip
    config = tiny_translator(
        detector=str(detector_run), double=True, clip_norm=1.0, semantic_judge=judge, pool=8
    )
    one, two = tmp_path / "one", tmp_path / "two"
    train_translator.run_training(config, one, progress=QUIET)
    networks = ("Generators", "Discriminators", "Detector")
    assert seen == {(name, config.batch_size) for name in networks}
    seen.clear()
    train_translator.run_training(replace(config, accumulate=accumulate), two, progress=QUIET)
    assert seen == {(name, config.batch_size // accumulate) for name in networks}
    assert_same_end(one, two)
    assert ("follower" if judge == "following" else "joint_judge") in read_log(two)[0]
    (machine,) = json.loads((two / "config.json").read_text())["machines"]
    assert machine["accumulate"] == accumulate


def test_a_detector_without_batch_statistics_learns_the_same_in_portions(
    faces: Path, tiny_detector: MakeDetector, detector_run: Path, mark_eyes: Callable[..., Path],
    seen: set[tuple[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def build(*given: Any, **named: Any) -> Detector:
        detector = build_detector(*given, **named)
        for part in detector.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.__class__ = ByImage
        return detector

    monkeypatch.setattr(train_detector, "build_detector", build)
    config = tiny_detector(
        source=(str(mark_eyes(shutil.copytree(faces, tmp_path / "faces"), every=2)),),
        labelled_target=(str(faces),), target=(str(faces),), teachers=(str(detector_run),),
        backbone="regions", width=6, double=True, batch_size=8, action_units=(1, 12, 51),
        alignment=AlignmentConfig(method="dann", hidden=8, weight=1.0, warm_up=0.5),
        self_training=SelfTrainingConfig(consistency=0.5, confidence=0.5, warm_up=0.5),
    )  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    train_detector.run_training(config, one, progress=QUIET)
    seen.clear()
    train_detector.run_training(replace(config, accumulate=4), two, progress=QUIET)
    assert {count for name, count in seen if name == "AdaptiveDetector"} == {2}
    assert_same_end(one, two)
    assert {
        "action_units", "landmarks", "teachers", "consistency", "domain", "target_shift"
    } <= read_log(two)[0].keys()  # fmt: skip


def test_adda_learns_the_same_in_portions(
    faces: Path, tiny_detector: MakeDetector, seen: set[tuple[str, int]], tmp_path: Path
) -> None:
    digits: dict[str, Any] = {"backbone": "lenet", "double": True}
    first, one, two = (tmp_path / name for name in ("first", "one", "two"))
    train_detector.run_training(tiny_detector(steps=1, **digits), first, progress=QUIET)
    config = tiny_detector(
        initial=str(first), target=(str(faces),), clip_norm=0.1,
        alignment=AlignmentConfig(method="adda", hidden=8, weight=1.0, healthy_from=0.5), **digits,
    )  # fmt: skip
    train_detector.run_training(config, one, progress=QUIET)
    seen.clear()
    train_detector.run_training(replace(config, accumulate=2), two, progress=QUIET)
    assert seen == {("DomainClassifier", 4)}  # of each domain two
    assert_same_end(one, two)


@pytest.mark.parametrize("kind", ["translator", "detector"])
def test_a_training_in_portions_that_was_stopped_goes_on_as_if_it_was_not(
    kind: str, tiny_translator: MakeTranslator, tiny_detector: MakeDetector, tmp_path: Path
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    config: Any = tiny_translator(accumulate=2)
    stage: Any = train_translator
    if kind == "detector":  # with batch normalisation
        config, stage = tiny_detector(accumulate=2), train_detector
    stage.run_training(config, whole, progress=QUIET)
    shutil.copytree(whole, run)
    shutil.rmtree(run / "000004")
    stage.run_training(config, run, progress=QUIET)
    assert (run / "000004/state.pt").read_bytes() == (whole / "000004/state.pt").read_bytes()
    if kind == "translator":  # which may go on in other portions
        stage.run_training(replace(config, accumulate=4, steps=5), run, progress=QUIET)
        machines = json.loads((run / "config.json").read_text())["machines"]
        assert [machine["accumulate"] for machine in machines] == [2, 4]
    else:
        with pytest.raises(RunError, match="accumulate 2 -> 4"):
            stage.run_training(replace(config, accumulate=4), run, progress=QUIET)


def test_a_detector_heeds_the_portions_that_accelerate_was_told(
    tiny_detector: MakeDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, config = tmp_path / "run", tiny_detector()
    train_detector.run_training(config, run, progress=QUIET)
    said = replace(config, accumulate=1, steps=config.steps + 1)
    train_detector.run_training(said, run, progress=QUIET)  # what it was
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "2")
    with pytest.raises(RunError, match="accumulate 1 -> 2"):
        train_detector.run_training(replace(config, steps=config.steps + 2), run, progress=QUIET)


def test_portions_that_do_not_divide_the_batch_are_refused_in_one_sentence(
    tiny_translator: MakeTranslator, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        train_translator.run_training(
            tiny_translator(accumulate=3), tmp_path / "run", progress=QUIET
        )
    assert str(caught.value) == (
        "accumulate 3 does not divide the 4 images of each domain that batch_size 4 gives each "
        "process; choose a divisor of 4."
    )
    assert not (tmp_path / "run").exists()
