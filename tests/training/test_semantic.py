"""Who judges which image in the semantic term, and who learns from it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal, get_args

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cycada.config import TranslatorConfig
from cycada.models.detector import Detector
from cycada.task import TaskKind
from cycada.training.judging import Readers
from cycada.training.launch import make_accelerator
from cycada.training.translator import make_state
from cycada.training.translator_step import (
    Judges,
    TranslatorState,
    _generator_terms,
    plain_halves,
    translator_step,
)

Judge = Literal["following", "frozen"]
MakeConfig = Callable[..., TranslatorConfig]


def random(*shape: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=draw, dtype=torch.float64) * 2 - 1


RGB, THERMAL = random(4, 3, 16, 16, seed=0), random(4, 1, 16, 16, seed=1)


@pytest.fixture
def accelerator() -> Accelerator:
    return make_accelerator("no", double=True)


@pytest.fixture(params=get_args(TaskKind))
def detector(request: pytest.FixtureRequest) -> Detector:
    torch.manual_seed(0)
    made = Detector("small", channels=3, outputs=5, width=4, pretrained="none", kind=request.param)
    made = made.double().eval()
    with torch.no_grad():
        made.head.weight.mul_(20)  # so that it says something
    return made.requires_grad_(False)


def prepared(
    make: MakeConfig, judge: Judge, detector: Detector, accelerator: Accelerator, **changes: Any
) -> tuple[TranslatorConfig, TranslatorState, Judges]:
    config = make(double=True, semantic_judge=judge, **changes)
    judges = Judges(Readers(detector, None, None), None)
    state = make_state(config, judges, accelerator)
    if state.learner is not None:  # as if it had learned something else
        with torch.no_grad():
            for number, weight in enumerate(state.learner.parameters()):
                weight.add_(0.3 * random(*weight.shape, seed=number))
    return config, state, judges


def distance(after: Tensor, before: Tensor, kind: TaskKind) -> Tensor:
    """Return the Kullback-Leibler divergence of classes or of yes-or-no answers, averaged."""
    if kind == "classes":
        p, q = torch.softmax(before, 1), torch.softmax(after, 1)
        return (p * (p / q).log()).sum(1).mean()
    p, q = torch.sigmoid(before), torch.sigmoid(after)
    return (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()


def say(judge: nn.Module, pictures: Tensor) -> Tensor:
    logits: Tensor = judge(pictures.expand(-1, 3, -1, -1)).logits
    return logits


@pytest.mark.parametrize("judge", ["following", "frozen"])
def test_every_image_is_judged_by_the_network_that_reads_its_domain(
    judge: Judge, tiny_translator: MakeConfig, detector: Detector, accelerator: Accelerator
) -> None:
    config, state, judges = prepared(tiny_translator, judge, detector, accelerator)
    reader = detector if judge == "frozen" else state.learner
    assert reader is not None
    made = state.generators(RGB, THERMAL, None, None)
    terms = _generator_terms(state, made, RGB, THERMAL, None, judges, config, accelerator)
    kind = detector.kind
    there = distance(say(reader, made.thermal), say(detector, RGB), kind)
    back = distance(say(detector, made.rgb), say(reader, THERMAL), kind)
    torch.testing.assert_close(terms["semantic"], there + back)
    crossed = distance(say(detector, made.thermal), say(detector, RGB), kind) + distance(
        say(detector, made.rgb), say(detector, THERMAL), kind
    )
    assert torch.allclose(terms["semantic"], crossed) == (judge == "frozen")  # they do differ


@pytest.mark.parametrize("judge", ["following", "frozen"])
def test_the_semantic_term_teaches_the_generators_alone(
    judge: Judge, tiny_translator: MakeConfig, detector: Detector, accelerator: Accelerator
) -> None:
    config, state, judges = prepared(tiny_translator, judge, detector, accelerator)
    made = state.generators(RGB, THERMAL, None, None)
    terms = _generator_terms(state, made, RGB, THERMAL, None, judges, config, accelerator)
    terms["semantic"].backward()
    for direction in (state.generators.to_thermal, state.generators.to_rgb):
        assert all(bool(weight.grad.any()) for weight in direction.parameters())
    others = [*detector.parameters(), *state.discriminators.parameters()]
    if state.learner is not None:
        others += state.learner.parameters()
        assert all(weight.requires_grad for weight in state.learner.parameters())
    assert all(weight.grad is None for weight in others)


@pytest.mark.parametrize("rate", [1e-3, 0.0])
def test_the_follower_learns_to_say_of_translations_what_was_said_of_the_originals(
    rate: float, tiny_translator: MakeConfig, detector: Detector, accelerator: Accelerator
) -> None:
    config, state, judges = prepared(
        tiny_translator, "following", detector, accelerator, follower_learning_rate=rate
    )
    assert state.learner is not None
    before = copy.deepcopy(state.learner)
    made = state.generators(RGB, THERMAL, None, None).thermal.detach()
    figures = translator_step(
        state,
        RGB,
        THERMAL,
        step=0,
        halves=plain_halves(state, judges, config, accelerator),
        config=config,
        accelerator=accelerator,
    )
    expected = distance(say(before, made), say(detector, RGB), detector.kind)
    torch.testing.assert_close(figures["follower"], expected)
    after = distance(say(state.learner, made), say(detector, RGB), detector.kind)
    moved = after.item() - expected.item()
    assert moved < 0 if rate else moved == 0
    # One step of Adam on that loss alone, whatever the generators' loss did before.
    adam = torch.optim.Adam(before.parameters(), lr=rate)
    adam.zero_grad()
    distance(say(before, made), say(detector, RGB), detector.kind).backward()
    adam.step()
    for name, weight in before.named_parameters():
        torch.testing.assert_close(state.learner.get_parameter(name), weight, rtol=0, atol=1e-7)


def test_the_frozen_judge_has_no_follower_and_never_changes(
    tiny_translator: MakeConfig, detector: Detector, accelerator: Accelerator
) -> None:
    config, state, judges = prepared(tiny_translator, "frozen", detector, accelerator)
    before = copy.deepcopy(detector.state_dict())
    figures = translator_step(
        state,
        RGB,
        THERMAL,
        step=0,
        halves=plain_halves(state, judges, config, accelerator),
        config=config,
        accelerator=accelerator,
    )
    assert state.learner is None
    assert "follower" not in figures
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())
