"""Recorded steps, as far as they can be told without a GPU; with one, against plain steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from cycada.config import TranslatorConfig
from cycada.training.examples import Labelled
from cycada.training.launch import make_accelerator
from cycada.training.recording import (
    WARM_UP,
    Recorded,
    _each,
    can_record,
    make_plain,
    make_recordable,
)
from cycada.training.translator import make_state
from cycada.training.translator_step import (
    Judges,
    plain_halves,
    recorded_halves,
    translator_step,
)

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_what_is_given_is_copied_place_by_place_whatever_holds_it() -> None:
    kept = (Labelled(torch.zeros(2), torch.zeros(1), torch.zeros(1, dtype=torch.bool)), None)
    new = (Labelled(torch.ones(2), torch.full((1,), 2.0), torch.ones(1, dtype=torch.bool)), None)
    _each(torch.Tensor.copy_, kept, new)
    assert isinstance(_each(torch.clone, kept)[0], Labelled)
    assert kept[0].images.tolist() == [1, 1]
    assert kept[0].labels.tolist() == [2]
    assert kept[0].known.tolist() == [True]


def test_a_recorded_function_is_not_given_what_it_did_not_have() -> None:
    with pytest.raises(ValueError, match="was not before"):
        _each(torch.Tensor.copy_, (torch.zeros(1), None), (torch.zeros(1), torch.zeros(1)))


def test_an_optimizer_that_was_recorded_goes_on_plainly_with_the_same_steps() -> None:
    weight, other = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    plain, changed = (torch.optim.Adam([each], lr=0.1) for each in (weight, other))
    for step in range(4):
        if step == 2:  # as in a checkpoint that was made on a GPU, and is read here
            make_recordable(changed)
            make_plain(changed)
        for optimizer, each in ((plain, weight), (changed, other)):
            optimizer.zero_grad()
            (each.square() * torch.arange(3)).sum().backward()
            optimizer.step()
    assert torch.equal(weight, other)


def test_only_one_process_on_a_gpu_records() -> None:
    accelerator = make_accelerator("no", double=False)
    assert can_record(accelerator) == (accelerator.device.type == "cuda")


def test_what_cannot_be_recorded_is_called_plainly_and_the_user_hears_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def recording(_graph: object, **_: object) -> Iterator[None]:
        try:
            yield
        finally:  # as torch.cuda.graph does
            raise RuntimeError("operation failed due to a previous error during capture")

    def add(number: torch.Tensor) -> float:
        if torch.cuda.graph is recording and not heard:
            raise RuntimeError("Cannot copy between CPU and CUDA tensors.\nMore of it.")
        return float(number) + 1

    heard: list[str] = []
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    recorded = Recorded(add, heard.append)
    recorded.calls = WARM_UP
    assert [recorded(torch.tensor(float(n))) for n in (1, 2)] == [2, 3]
    assert len(heard) == 1
    assert heard[0].endswith("(Cannot copy between CPU and CUDA tensors).")


@needs_gpu
def test_recorded_steps_learn_what_plain_ones_do(
    tiny_translator: Callable[..., TranslatorConfig],
) -> None:
    accelerator = make_accelerator("no", double=True)
    config = tiny_translator(double=True, steps=8)
    draw = torch.Generator().manual_seed(0)
    batches = [
        [torch.rand(config.batch_size, c, config.size, config.size, generator=draw).double().cuda()
         for c in (3, 1)] for _ in range(8)
    ]  # fmt: skip
    ends: list[dict[str, Any]] = []
    for make in (plain_halves, partial(recorded_halves, tell=pytest.fail)):
        state = make_state(config, Judges(None, None), accelerator)
        halves = make(state, Judges(None, None), config, accelerator)
        figures = [
            translator_step(state, *batch, step=step, halves=halves, config=config,
                            accelerator=accelerator)
            for step, batch in enumerate(batches)
        ]  # fmt: skip
        ends.append({**state.generators.state_dict(), **figures[-1], "first": figures[3]["cycle"]})
    for name, plain in ends[0].items():
        # A GPU adds in no fixed order, and Adam makes whole steps of the smallest gradients.
        torch.testing.assert_close(ends[1][name], plain, rtol=1e-5, atol=1e-7)


@needs_gpu
def test_a_function_gives_the_same_recorded_as_called() -> None:
    total = torch.zeros((), device="cuda")

    def add(pair: tuple[torch.Tensor, None]) -> torch.Tensor:
        total.add_(pair[0].sum())
        return total * 2

    recorded = Recorded(add, tell=pytest.fail)
    for number in range(1, 9):
        told = recorded((torch.ones(2, device="cuda"), None))
        assert float(told) == 4 * number
