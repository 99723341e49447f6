"""What the target's unlabelled faces teach, and how ADDA's encoder learns from them."""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cycada.config import AlignmentConfig, AugmentConfig, DetectorConfig, SelfTrainingConfig
from cycada.data.dataset import FaceImages
from cycada.data.index import read_index
from cycada.errors import ConfigError
from cycada.losses.adversarial import domain_loss
from cycada.models.backbones import LeNetBackbone
from cycada.models.detector import AdaptiveDetector, Detection, Detector
from cycada.models.domain import DomainClassifier
from cycada.progress import Progress
from cycada.stages.train_detector import run_training
from cycada.task import Task, TaskKind
from cycada.training import detector as detector_training
from cycada.training.adda import adda_step, without_dropout
from cycada.training.checkpoint import newest_checkpoint
from cycada.training.detector import make_state
from cycada.training.detector_step import DetectorState, detector_step, make_learn
from cycada.training.examples import Examples, Frequencies, Labelled
from cycada.training.launch import make_accelerator
from cycada.training.run_reading import TIMES, read_log
from cycada.training.self_training import Unlabelled, mean_teacher_answers, target_terms

SIDE = 16
ANSWERS = 4
FACES = 5
NUMBERS = (1, 12, 51, 52)  # of the tiny faces; the last two are swapped by a mirror
KINDS = get_args(TaskKind)
BOTH = SelfTrainingConfig(consistency=0.7, information=0.3, confidence=0.6, warm_up=0.5)

MakeConfig = Callable[..., DetectorConfig]
Method = Literal["none", "dann", "cdan"]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def accelerator() -> Accelerator:
    return make_accelerator("no", double=True)


def network(kind: TaskKind = "action_units", *, channels: int = 3, seed: int = 0) -> Detector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Detector(
            "small", channels=channels, outputs=ANSWERS, width=4, pretrained="none", kind=kind
        ).double()
    with torch.no_grad():
        made.head.weight.mul_(3)  # so that it says something
        for part in made.modules():
            if isinstance(part, nn.BatchNorm2d):  # statistics of no batch
                part.running_var.fill_(0.1)
    return made


def chances(logits: Tensor, kind: TaskKind) -> Tensor:
    return torch.softmax(logits, 1) if kind == "classes" else torch.sigmoid(logits)


def cross_entropy(logits: Tensor, wanted: Tensor, kind: TaskKind) -> Tensor:
    """Return ``(B, A)`` by definition; of classes the sum over a row is the face's."""
    q = chances(logits, kind)
    if kind == "classes":
        return -wanted * q.log()
    return -wanted * q.log() - (1 - wanted) * (1 - q).log()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_mean_teacher_is_the_averaged_network_in_evaluation_mode(
    kind: TaskKind, channels: int, tiny_detector: MakeConfig, accelerator: Accelerator
) -> None:
    average = network(kind, channels=channels)
    plain = random(FACES, 1, SIDE, SIDE).clamp(-1, 1)
    expected = chances(
        copy.deepcopy(average).eval()(plain.expand(-1, channels, -1, -1)).logits, kind
    )
    in_training = copy.deepcopy(average).train()(plain.expand(-1, channels, -1, -1)).logits
    before = copy.deepcopy(average.state_dict())
    average.train()
    certain = expected if kind == "classes" else torch.maximum(expected, 1 - expected)
    limit = float(certain.detach().amax(1).median()) - 1e-6  # some are sure, and some are not
    config = tiny_detector(self_training=replace(BOTH, confidence=limit))
    said, known = mean_teacher_answers(average, plain, config=config, accelerator=accelerator)
    torch.testing.assert_close(said, expected.detach())
    assert not torch.allclose(said, chances(in_training, kind).detach())
    assert not said.requires_grad
    for row, sure in zip(said.tolist(), known.tolist(), strict=True):
        if kind == "classes":
            assert sure == [max(row) >= limit] * ANSWERS
        else:
            assert sure == [p >= limit or p <= 1 - limit for p in row]
    assert 0 < int(known.sum()) < known.numel()
    assert all(torch.equal(value, before[name]) for name, value in average.state_dict().items())


def terms_of(
    logits: Tensor,
    target: Unlabelled,
    config: DetectorConfig,
    *,
    kind: TaskKind,
    expected: Tensor | None = None,
) -> dict[str, Any]:
    wanted = torch.full((ANSWERS,), 1 / ANSWERS).double() if expected is None else expected
    return target_terms(logits, target, config=config, expected=wanted, kind=kind)


def taught(known: Tensor, *, kind: TaskKind, seed: int = 1) -> Labelled:
    pictures = torch.zeros(FACES, 1, SIDE, SIDE).double()
    return Labelled(pictures, chances(random(FACES, ANSWERS, seed=seed), kind), known)


def some_known(kind: TaskKind) -> Tensor:
    if kind == "classes":
        return (torch.arange(FACES) % 2 == 0)[:, None].expand(-1, ANSWERS)
    return random(FACES, ANSWERS, seed=2) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_the_mean_teacher_divides_by_all_answers(
    kind: TaskKind, tiny_detector: MakeConfig
) -> None:
    logits = random(FACES, ANSWERS).requires_grad_()
    known = some_known(kind)
    target = Unlabelled(torch.zeros(FACES, 1, SIDE, SIDE), mean_teacher=taught(known, kind=kind))
    terms = terms_of(logits, target, tiny_detector(self_training=BOTH), kind=kind)
    each = cross_entropy(logits, taught(known, kind=kind).labels, kind)
    # Of classes a row is one answer; of AUs each column is.
    answers = FACES if kind == "classes" else FACES * ANSWERS
    torch.testing.assert_close(terms["consistency"].value, (each * known).sum() / answers)
    (gradient,) = torch.autograd.grad(terms["consistency"].value, logits)
    assert bool((gradient[~known] == 0).all())
    assert bool((gradient[known] != 0).all())


@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_is_sure_nothing_is_taught(kind: TaskKind, tiny_detector: MakeConfig) -> None:
    logits = random(FACES, ANSWERS).requires_grad_()
    nothing = torch.zeros(FACES, ANSWERS, dtype=torch.bool)
    target = Unlabelled(torch.zeros(FACES, 1, SIDE, SIDE), mean_teacher=taught(nothing, kind=kind))
    terms = terms_of(logits, target, tiny_detector(self_training=BOTH), kind=kind)
    (gradient,) = torch.autograd.grad(terms["consistency"].value, logits)
    assert float(terms["consistency"].value.detach()) == 0
    assert not gradient.any()


@pytest.mark.parametrize("kind", KINDS)
def test_every_term_has_its_weight_and_those_of_self_training_rise(
    kind: TaskKind, tiny_detector: MakeConfig
) -> None:
    logits = random(FACES, ANSWERS)
    known = some_known(kind)
    target = Unlabelled(
        torch.zeros(FACES, 1, SIDE, SIDE), answers=taught(known, kind=kind, seed=3),
        mean_teacher=taught(known, kind=kind),
    )  # fmt: skip
    config = tiny_detector(self_training=BOTH, teacher_weight=2.5)
    expected = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    terms = terms_of(logits, target, config, kind=kind, expected=expected)
    assert {name: (term.weight, term.rises) for name, term in terms.items()} == {
        "teachers": (2.5, False), "consistency": (0.7, True), "information": (0.3, True),
    }  # fmt: skip
    found = chances(logits, kind)
    mean = found.mean(0)
    if kind == "classes":
        unsure = -(found * found.log()).sum(1).mean()
        distance = (mean * (mean / expected).log()).sum()
        answered = known.any(1).sum()
    else:
        unsure = -(found * found.log() + (1 - found) * (1 - found).log()).mean()
        distance = mean * (mean / expected).log()
        distance = (distance + (1 - mean) * ((1 - mean) / (1 - expected)).log()).mean()
        answered = known.sum()
    torch.testing.assert_close(terms["information"].value, unsure + distance)
    each = cross_entropy(logits, taught(known, kind=kind, seed=3).labels, kind)
    torch.testing.assert_close(terms["teachers"].value, (each * known).sum() / answered)
    plain = Unlabelled(torch.zeros(FACES, 1, SIDE, SIDE))
    assert terms_of(logits, plain, tiny_detector(), kind=kind) == {}


class Bare(nn.Module):
    """A detector whose logits are weights: what a step does to them is the loss's gradient."""

    channels, kind = 1, "action_units"

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(random(FACES + 3, ANSWERS, seed=7))

    def forward(self, pictures: Tensor) -> Detection:
        rows = self.rows[: len(pictures)] if len(pictures) == 3 else self.rows[3:]
        return Detection(rows, rows)


class Recorder:
    """Stands for an optimizer, and keeps the gradient."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.param_groups = module, [{"lr": 0.0, "base": 0.0}]
        self.gradient = torch.empty(0)

    def zero_grad(self) -> None:
        self.module.zero_grad()

    def step(self) -> None:
        (weight,) = self.module.parameters()
        assert weight.grad is not None
        self.gradient = weight.grad.clone()


class Separate(AdaptiveDetector):
    """Source and target in two passes, as with batch normalisation."""

    def __init__(self, detector: Any) -> None:
        super().__init__(detector, None)
        self.separate = True


@pytest.mark.parametrize("step", [0, 3, 10, 19])
def test_the_terms_of_the_target_rise_as_the_weight_of_dann_does(
    step: int, tiny_detector: MakeConfig, accelerator: Accelerator
) -> None:
    """2 / (1 + exp(-10 p)) - 1, where p is the share of the warm-up that is done."""
    config = tiny_detector(
        self_training=BOTH, teacher_weight=2.5, steps=20, clip_norm=0.0, teachers=("one",)
    )
    model = Separate(Bare())
    optimizer = Recorder(model)
    average = cast("Detector", copy.deepcopy(model.detector).requires_grad_(False))
    state = DetectorState(model, optimizer, average, average, detector_training.Selection())
    nothing = torch.zeros(3, ANSWERS)
    source = Labelled(torch.zeros(3, 1, 2, 2).double(), nothing, nothing.bool())
    known = some_known("action_units")
    answered, confident = (taught(known, kind="action_units", seed=seed) for seed in (3, 1))
    target = Unlabelled(torch.zeros(FACES, 1, 2, 2).double(), answered, confident)
    expected = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    figures = detector_step(
        state, source, target, step=step, config=config, accelerator=accelerator,
        learn=make_learn(
            state, Frequencies(torch.ones(ANSWERS).double(), expected), config, accelerator, print
        ),
    )  # fmt: skip
    logits = random(FACES + 3, ANSWERS, seed=7).requires_grad_()
    found = torch.sigmoid(logits[3:])
    mean = found.mean(0)
    information = (
        -(found * found.log() + (1 - found) * (1 - found).log()).mean()
        + (mean * (mean / expected).log() + (1 - mean) * ((1 - mean) / (1 - expected)).log()).mean()
    )
    each = [
        (cross_entropy(logits[3:], who.labels, "action_units") * known).sum()
        for who in (answered, confident)
    ]
    teachers, consistency = each[0] / known.sum(), each[1] / known.numel()
    rising = 2 / (1 + math.exp(-10 * min(1, step / 10))) - 1
    loss = 2.5 * teachers + rising * (0.7 * consistency + 0.3 * information)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(optimizer.gradient, gradient)
    # The figures are logged unweighted.
    for name, value in (
        ("teachers", teachers), ("consistency", consistency), ("information", information),
    ):  # fmt: skip
        torch.testing.assert_close(figures[name], value.detach())


# Whole runs.


def adapted(make: MakeConfig, faces: Path, method: Method, **changes: Any) -> DetectorConfig:
    alignment = AlignmentConfig(method=method, hidden=8, weight=1.0, warm_up=0.5)
    given = {"target": (str(faces),), "alignment": alignment, "self_training": BOTH, **changes}
    return make(**given)


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in items:
            yield from leaves(value, f"{name}/{key}")
    else:
        yield name, tree


def end(run: Path) -> tuple[dict[str, Any], bytes, dict[str, Any]]:
    checkpoint = newest_checkpoint(run)
    assert checkpoint is not None
    weights = (checkpoint.folder / "detector.safetensors").read_bytes()
    return dict(leaves(checkpoint.state())), weights, checkpoint.about()


def figures_of(run: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if k not in TIMES} for line in read_log(run)]


@pytest.mark.parametrize("method", ["none", "dann", "cdan"])
def test_two_and_two_steps_of_self_training_equal_four(
    method: Method, tiny_detector: MakeConfig, faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    # At a confidence of 0.5 all AUs teach: what resumes is more than nothing.
    config = adapted(tiny_detector, faces, method, self_training=replace(BOTH, confidence=0.5))
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run_training(config, whole, progress=quiet)
    shutil.copytree(whole, stopped)
    shutil.rmtree(stopped / "000004")
    run_training(config, stopped, progress=quiet)
    (one, weights, about), (two, other_weights, other_about) = end(whole), end(stopped)
    assert one.keys() == two.keys()
    for name, value in one.items():
        same = torch.equal(value, two[name]) if torch.is_tensor(value) else value == two[name]
        assert same, f"{name} differs"
    assert (weights, about) == (other_weights, other_about)
    assert figures_of(whole) == figures_of(stopped)
    trained = [line for line in figures_of(whole) if "validation" not in line]
    assert [line["step"] for line in trained] == [1, 2, 3, 4]
    named = {"action_units", "consistency", "information", "target_entropy", "target_shift"}
    named |= set() if method == "none" else {"domain", "domain_accuracy"}
    assert all(named <= line.keys() for line in trained)
    assert all(line["consistency"] > 0 for line in trained)


@pytest.mark.parametrize("term", ["consistency", "information"])
@pytest.mark.parametrize("method", ["none", "dann", "cdan"])
def test_each_term_changes_what_is_learned(
    method: Method, term: str, tiny_detector: MakeConfig, faces: Path, quiet: Progress,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Beside the other one, so that each must reach the weights by itself."""
    ends = []
    for weight in (0.5, 1.0):
        settings = replace(BOTH, confidence=0.5, warm_up=0.0, **{term: weight})
        config = adapted(tiny_detector, faces, method, self_training=settings, steps=3)
        run_training(config, tmp_path / str(weight), progress=quiet)
        ends.append(end(tmp_path / str(weight))[1])
    assert ends[0] != ends[1]


@pytest.mark.parametrize("term", ["consistency", "information"])
def test_a_term_without_weight_is_not_there(
    term: str, tiny_detector: MakeConfig, faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    config = adapted(
        tiny_detector, faces, "none", steps=1, self_training=replace(BOTH, **{term: 0.0})
    )
    run_training(config, tmp_path / "run", progress=quiet)
    (line,) = (line for line in read_log(tmp_path / "run") if "validation" not in line)
    assert (term in line, ({"consistency", "information"} - {term}) <= line.keys()) == (False, True)


def thermal_examples(root: Path) -> Examples:
    index = read_index(root).select(domain="thermal", split="train")
    labels, known = index.occurrences(NUMBERS)
    part = FaceImages([index], domain="thermal", size=SIDE)
    return Examples([part], labels=labels, known=known, task=Task(NUMBERS), channels=3)


@pytest.mark.parametrize("flip", [0.0, 0.5, 1.0])
def test_answers_for_mirrored_faces_are_mirrored_as_well(
    flip: float,
    tiny_detector: MakeConfig,
    faces: Path,
    quiet: Progress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """AU51 and AU52, head turns to the left and to the right, change places; others do not."""
    plain: list[tuple[Tensor, Tensor, Tensor]] = []
    changed: list[tuple[Tensor, Labelled]] = []

    def asked(average: Detector, pictures: Tensor, **how: Any) -> tuple[Tensor, Tensor]:
        said, known = mean_teacher_answers(average, pictures, **how)
        plain.append((pictures, said, known))
        return said, known

    def taken(*given: Any, **how: Any) -> Any:
        target = given[2]
        changed.append((target.images, target.mean_teacher))
        return detector_step(*given, **how)

    monkeypatch.setattr(detector_training, "mean_teacher_answers", asked)
    monkeypatch.setattr(detector_training, "detector_step", taken)
    # Nothing but the mirror, so that it can be told which faces were flipped.
    still = AugmentConfig(
        flip=flip, rotate=0, scale=0, shift=0, brightness=0, contrast=0, blur=0, noise=0
    )
    config = adapted(
        tiny_detector, faces, "none", augment=still,
        self_training=replace(BOTH, confidence=0.6), learning_rate=0.1, average_decay=0.5,
    )  # fmt: skip
    run_training(config, tmp_path / "run", progress=quiet)
    images = thermal_examples(faces).batch(torch.arange(12)).images
    mirrors = mixed = 0
    for (pictures, said, known), (shown, passed) in zip(plain, changed, strict=True):
        for row in range(len(pictures)):
            # The teacher saw the face as it is, in the index, and not mirrored.
            assert (pictures[row] - images).abs().flatten(1).amax(1).min() < 1e-6
            mirrored = bool((shown[row] - pictures[row].flip(-1)).abs().max() < 1e-4)
            if not mirrored:
                torch.testing.assert_close(shown[row], pictures[row], rtol=0, atol=1e-4)
            places = [0, 1, 3, 2] if mirrored else [0, 1, 2, 3]
            assert passed.labels[row].tolist() == said[row, places].tolist()
            assert passed.known[row].tolist() == known[row, places].tolist()
            mirrors += mirrored
            mixed += int(said[row, 2] != said[row, 3])
    count = 4 * config.batch_size
    assert mixed > count / 2
    assert {0.0: mirrors == 0, 0.5: 0 < mirrors < count, 1.0: mirrors == count}[flip]


def test_the_mean_teacher_is_asked_before_the_step_that_it_teaches(
    tiny_detector: MakeConfig,
    faces: Path,
    quiet: Progress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is the average of what the detector was after the steps before."""
    asked: list[dict[str, Tensor]] = []
    averages: list[dict[str, Tensor]] = []

    def answers(average: Detector, pictures: Tensor, **how: Any) -> tuple[Tensor, Tensor]:
        asked.append(copy.deepcopy(average.state_dict()))
        return mean_teacher_answers(average, pictures, **how)

    def step(state: DetectorState, *given: Any, **how: Any) -> Any:
        figures = detector_step(state, *given, **how)
        averages.append(copy.deepcopy(state.average.state_dict()))
        return figures

    monkeypatch.setattr(detector_training, "mean_teacher_answers", answers)
    monkeypatch.setattr(detector_training, "detector_step", step)
    run_training(adapted(tiny_detector, faces, "none"), tmp_path / "run", progress=quiet)
    assert len(asked) == 4
    for before, after in zip(averages[:-1], asked[1:], strict=True):
        assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert any(not torch.equal(value, asked[1][name]) for name, value in asked[0].items())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"target": (), "self_training": SelfTrainingConfig(consistency=1.0)},
            "self_training.consistency needs unlabelled thermal faces: give --target INDEX.",
        ),
        (
            {"target": (), "self_training": SelfTrainingConfig(information=1.0)},
            "self_training.information needs unlabelled thermal faces: give --target INDEX.",
        ),
        (
            {"alignment": AlignmentConfig(method="adda"), "initial": "run"},
            "adda learns from no labels; use self_training",
        ),
    ],
)
def test_self_training_that_cannot_be(
    changes: dict[str, Any], words: str, tiny_detector: MakeConfig, faces: Path, quiet: Progress,
    tmp_path: Path,
) -> None:  # fmt: skip
    config = adapted(tiny_detector, faces, "none", **changes)
    with pytest.raises(ConfigError, match=words):
        run_training(config, tmp_path / "run", progress=quiet)
    assert not (tmp_path / "run").exists()


# Dann, cdan and the certainty of answers.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["dann", "cdan"])
def test_cdan_weighs_the_faces_that_are_surely_told_and_dann_all_alike(
    method: Method, kind: TaskKind, tiny_detector: MakeConfig, accelerator: Accelerator
) -> None:
    config = tiny_detector(
        double=True, alignment=AlignmentConfig(method=method, hidden=8, weight=1.0, warm_up=0.5)
    )
    state = make_state(config, network(kind), accelerator)
    before = copy.deepcopy(accelerator.unwrap_model(state.model))
    pictures, there = (random(FACES, 3, SIDE, SIDE, seed=seed).clamp(-1, 1) for seed in (1, 2))
    labels = chances(random(FACES, ANSWERS, seed=3), kind)
    known = torch.ones(FACES, ANSWERS, dtype=torch.bool)
    even = torch.full((ANSWERS,), 1 / ANSWERS).double()
    figures = detector_step(
        state, Labelled(pictures, labels, known), Unlabelled(there), step=1, config=config,
        accelerator=accelerator, learn=make_learn(
            state, Frequencies(torch.ones(ANSWERS).double(), even), config, accelerator, print
        ),
    )  # fmt: skip
    assert isinstance(before.domain, DomainClassifier)
    assert before.domain.reads == ("product" if method == "cdan" else "features")
    before.train()
    (here, said), (other, told) = (before.detector(each)[:2] for each in (pictures, there))
    scores = before.domain(here, said), before.domain(other, told)
    weights = None
    if method == "cdan":
        weights = tuple(by_certainty(logits, kind) for logits in (said, told))
        assert all(float(weight.std()) > 0.01 for weight in weights)
    torch.testing.assert_close(figures["domain"], domain_loss(*scores, weights=weights).detach())


def by_certainty(logits: Tensor, kind: TaskKind) -> Tensor:
    p = chances(logits.detach(), kind)
    unsure = -(p * p.log())
    each = unsure.sum(1) if kind == "classes" else (unsure - (1 - p) * (1 - p).log()).mean(1)
    raw = 1 + torch.exp(-each)
    return raw / raw.mean()


# ADDA.


def adda_config(make: MakeConfig, **changes: Any) -> DetectorConfig:
    reads = changes.pop("reads", "scores")
    alignment = AlignmentConfig(method="adda", reads=reads, hidden=8, weight=1.0, healthy_from=0.0)
    return make(alignment=alignment, double=True, **changes)


@pytest.mark.parametrize("kind", KINDS)
def test_with_scores_the_domain_classifier_of_adda_sees_the_frozen_heads_answers(
    kind: TaskKind, tiny_detector: MakeConfig, accelerator: Accelerator
) -> None:
    config = adda_config(tiny_detector)
    state = make_state(config, network(kind), accelerator)
    adversary = state.adversary
    assert adversary is not None
    with torch.no_grad():  # as if the encoder had learned something
        for number, weight in enumerate(state.model.parameters()):
            weight.add_(0.1 * random(*weight.shape, seed=number))
    encoder, head = copy.deepcopy(state.model), adversary.teacher.head
    source, target = (random(FACES, 3, SIDE, SIDE, seed=seed).clamp(-1, 1) for seed in (1, 2))
    seen: list[Tensor] = []
    layers = accelerator.unwrap_model(adversary.domain).layers
    layers.register_forward_pre_hook(lambda _, read: seen.append(read[0].detach().clone()))
    adda_step(
        state.model, state.optimizer, adversary, source, target, step=1, config=config,
        accelerator=accelerator, expected=torch.full((ANSWERS,), 1 / ANSWERS).double(),
    )  # fmt: skip
    here = adversary.teacher(source).logits
    there = head(encoder(target))
    assert not torch.allclose(there, adversary.teacher(target).logits)
    # First to learn from, then to judge the encoder by: target features alone.
    assert [read.shape for read in seen] == [(2 * FACES, ANSWERS), (FACES, ANSWERS)]
    torch.testing.assert_close(seen[0], torch.cat((here, there)).detach())
    torch.testing.assert_close(seen[1], there.detach())


def test_with_features_it_sees_those_of_both_encoders(
    tiny_detector: MakeConfig, accelerator: Accelerator
) -> None:
    config = adda_config(tiny_detector, reads="features")
    state = make_state(config, network(), accelerator)
    adversary = state.adversary
    assert adversary is not None
    source, target = (random(FACES, 3, SIDE, SIDE, seed=seed).clamp(-1, 1) for seed in (1, 2))
    expected = torch.cat((adversary.teacher.backbone(source), copy.deepcopy(state.model)(target)))
    seen: list[Tensor] = []
    layers = accelerator.unwrap_model(adversary.domain).layers
    layers.register_forward_pre_hook(lambda _, read: seen.append(read[0].detach().clone()))
    adda_step(
        state.model, state.optimizer, adversary, source, target, step=1, config=config,
        accelerator=accelerator, expected=torch.full((ANSWERS,), 1 / ANSWERS).double(),
    )  # fmt: skip
    torch.testing.assert_close(seen[0], expected.detach())


def test_only_the_encoder_learns_from_the_confusion_through_the_scores(
    tiny_detector: MakeConfig, accelerator: Accelerator
) -> None:
    """The head is the source's, and stays so, though the scores are read through it."""
    state = make_state(adda_config(tiny_detector), network(), accelerator)
    adversary = state.adversary
    assert adversary is not None
    before = copy.deepcopy((adversary.teacher.state_dict(), state.model.state_dict()))
    source, target = (random(FACES, 3, SIDE, SIDE, seed=seed).clamp(-1, 1) for seed in (1, 2))
    figures = adda_step(
        state.model, state.optimizer, adversary, source, target, step=1,
        config=adda_config(tiny_detector), accelerator=accelerator,
        expected=torch.full((ANSWERS,), 1 / ANSWERS).double(),
    )  # fmt: skip
    assert "confusion" in figures
    teacher, encoder = adversary.teacher.state_dict(), state.model.state_dict()
    assert all(torch.equal(value, teacher[name]) for name, value in before[0].items())
    learned = {name for name, _ in state.model.named_parameters()}
    assert all(not torch.equal(before[1][name], encoder[name]) for name in learned)


def test_an_encoder_without_dropout_gives_one_answer_where_lenet_gives_many() -> None:
    torch.manual_seed(0)
    lenet = LeNetBackbone(1).double()
    picture = random(FACES, 1, 28, 28).clamp(-1, 1)
    expected = copy.deepcopy(lenet).eval()(picture)
    assert not torch.equal(lenet.train()(picture), lenet.train()(picture))
    quiet = without_dropout(lenet)
    assert quiet is lenet
    assert torch.equal(quiet(picture), expected)
    assert all(weight.requires_grad for weight in quiet.parameters())


def test_an_encoder_without_dropout_normalises_by_the_batch_as_in_training() -> None:
    torch.manual_seed(0)
    mixed = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout2d(0.5), nn.Sequential(nn.Dropout(0.5))
    ).double()
    picture = random(FACES, 1, 8, 8)
    by_batch = mixed[1].train()(mixed[0](picture))
    found = without_dropout(mixed)(picture)
    torch.testing.assert_close(found, by_batch)
    torch.testing.assert_close(found.mean((0, 2, 3)), torch.zeros(4).double())
    assert [part.training for part in mixed.modules()] == [
        isinstance(part, nn.BatchNorm2d) for part in mixed.modules()
    ]
    assert bool((mixed[1].running_mean != 0).any())  # and it learns the target's statistics


@pytest.mark.parametrize("backbone", ["lenet", "small"])
def test_addas_target_encoder_drops_nothing_throughout_a_run(
    backbone: str,
    tiny_detector: MakeConfig,
    faces: Path,
    quiet: Progress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While batch normalisation goes by the batch."""
    seen: list[dict[str, bool]] = []

    def step(encoder: nn.Module, *given: Any, **how: Any) -> Any:
        seen.append({name: part.training for name, part in encoder.named_modules()})
        again = [encoder(given[3]).detach() for _ in range(2)]
        assert torch.equal(*again)
        return adda_step(encoder, *given, **how)

    first = tmp_path / "first"
    run_training(tiny_detector(backbone=backbone, steps=1), first, progress=quiet)
    monkeypatch.setattr(detector_training, "adda_step", step)
    config = adda_config(
        tiny_detector, backbone=backbone, initial=str(first), target=(str(faces),), steps=3,
        validate_every=1,
    )  # fmt: skip
    run_training(config, tmp_path / "run", progress=quiet)
    assert len(seen) == 3
    encoder = Detector(
        cast("Any", backbone), channels=3, outputs=4, width=4, pretrained="none"
    ).backbone
    normalises = {
        name for name, part in encoder.named_modules() if isinstance(part, nn.BatchNorm2d)
    }
    assert bool(normalises) == (backbone == "small")
    for modes in seen:
        assert {name for name, training in modes.items() if training} == normalises
