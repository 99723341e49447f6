"""What bfloat16 changes of a translator's training."""

from __future__ import annotations

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor

from cycada import images, thermal
from cycada.config import (
    DiscriminatorConfig,
    GeneratorConfig,
    Precision,
    TranslatorConfig,
    TranslatorWeights,
)
from cycada.data import phantom
from cycada.thermal import Window
from cycada.training import translator as translator_training
from cycada.training.launch import make_accelerator
from cycada.training.translator import make_state
from cycada.training.translator_step import Judges, plain_halves, translator_step

STEPS, LAST = 200, 100
SIZE, FACES, BATCH = 32, 16, 2


@pytest.fixture(scope="module")
def both() -> tuple[Tensor, Tensor]:
    """Return RGB and thermal phantom faces in [-1, 1]."""
    draw = torch.Generator().manual_seed(0)
    persons = phantom.sample_identities(FACES, generator=draw)
    scene = phantom.sample_scenes(FACES, generator=draw)
    rgb, warm = (
        phantom.sample_intensities(FACES, domain="rgb", generator=draw),
        phantom.sample_intensities(FACES, domain="thermal", generator=draw),
    )
    celsius = phantom.render_celsius(persons, warm, scene, size=SIZE)
    colours = phantom.render_rgb(persons, rgb, scene, size=SIZE)
    return images.to_signed(colours), thermal.to_signed(celsius, Window())[:, None]


def train(
    faces: tuple[Tensor, Tensor], precision: Precision, *, seed: int = 0
) -> tuple[dict[str, float], Tensor]:
    """Return the mean of each loss over the last steps, and the translated RGB faces."""
    config = TranslatorConfig(
        data=("",), size=SIZE, generator=GeneratorConfig(width=6, blocks=1),
        discriminator=DiscriminatorConfig(width=6, layers=1),
        weights=TranslatorWeights(semantic=0.0), batch_size=BATCH, steps=2 * STEPS,
        learning_rate=1e-3, pool=8, average_decay=0.98, seed=seed, mixed_precision=precision,
    )  # fmt: skip
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator, judges = make_accelerator(precision, double=False), Judges(None, None)
    state = make_state(config, judges, accelerator)
    halves = plain_halves(state, judges, config, accelerator)
    rgb, celsius = (each.to(accelerator.device) for each in faces)
    draw, sums = torch.Generator().manual_seed(1), dict[str, float]()
    for step in range(STEPS):
        here, there = torch.randint(FACES, (2, BATCH), generator=draw)
        figures = translator_step(
            state, rgb[here], celsius[there], step=step, halves=halves, config=config,
            accelerator=accelerator,
        )  # fmt: skip
        if step >= STEPS - LAST:
            sums = {name: sums.get(name, 0.0) + float(value) for name, value in figures.items()}
    with torch.no_grad():
        made = state.average.to_thermal(rgb).cpu()
    return {name: value / LAST for name, value in sums.items()}, made


def test_200_steps_in_bf16_learn_what_float32_does_but_for_a_fifth_of_a_loss(
    both: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And images differ by less than 6 per cent of their range, and than those of another seed.

    A training of two players carries every rounding on, so nothing closer can be asked for. Larger
    images are computed with their channels last, so these are, too.
    """
    exact, half = train(both, "no"), train(both, "bf16")
    monkeypatch.setattr(translator_training, "_WELL_COPIED", SIZE)
    last = train(both, "bf16")
    other = train(both, "no", seed=1)
    apart = [float((made - exact[1]).abs().mean()) for made in (half[1], last[1], other[1])]
    for losses, away in ((half[0], apart[0]), (last[0], apart[1])):
        for name, loss in exact[0].items():
            assert losses[name] == pytest.approx(loss, rel=0.2), name
        assert 0 < away < 0.12
        assert away < apart[2]
