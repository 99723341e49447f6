from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cycada import image_reading, images
from cycada.config import Precision, TranslatorConfig
from cycada.data.index import read_index
from cycada.training import loading
from cycada.training.loading import load_detector, load_translator

CPU = torch.device("cpu")


@pytest.fixture
def pictures(faces: Path) -> torch.Tensor:
    index = read_index(faces).select(domain="rgb")
    return torch.stack(
        [images.to_signed(image_reading.read_image(index.file(f))) for f in index.faces]
    )


def test_translations_in_bf16_agree_with_float32_and_are_as_smooth(
    translator_run: Path, pictures: torch.Tensor
) -> None:
    """Half a grey level of 255 at the median and four at most; and no banding of temperatures."""
    translator = load_translator(translator_run, CPU)
    half = replace(translator, in_bf16=True)
    thermal = translator.to_thermal(pictures)
    ways = (
        (half.to_thermal(pictures), thermal), (half.to_rgb(thermal), translator.to_rgb(thermal))
    )  # fmt: skip
    for made, exact in ways:
        away = (made - exact).abs() * 255 / 2
        assert made.dtype == torch.float32
        assert 0 < float(away.median()) < 0.5
        assert float(away.max()) < 4

        def values(image: torch.Tensor) -> int:
            return len(images.from_signed(image, dtype=torch.uint16).int().unique())

        assert values(made) > 0.9 * values(exact)


def test_what_a_detector_says_in_bf16_agrees_with_float32(
    detector_run: Path, pictures: torch.Tensor
) -> None:
    detector = load_detector(detector_run, CPU)
    seen = pictures[..., 2:18, :]
    exact, half = detector.predict(seen), replace(detector, in_bf16=True).predict(seen)
    assert half.dtype == torch.float32
    assert 0 < float((half - exact).abs().max()) < 0.02


@pytest.mark.parametrize(
    ("asked", "able", "used"),
    [("auto", True, True), ("bf16", True, True), ("auto", False, False), ("no", True, False)],
)
def test_bf16_is_used_where_the_hardware_multiplies_in_it_unless_training_was_without(
    tiny_translator: Callable[..., TranslatorConfig], translator_run: Path, asked: Precision,
    monkeypatch: pytest.MonkeyPatch, *, able: bool, used: bool,
) -> None:  # fmt: skip
    config = tiny_translator(mixed_precision=asked)
    monkeypatch.setattr(loading, "multiplies_in_bf16", lambda: able)
    monkeypatch.setattr(loading, "run_config", lambda *_: config)
    translator = load_translator(translator_run)
    assert translator.in_bf16 == used
    weight = translator.module.to_thermal.middle[3].layers[0].weight  # type: ignore[index,union-attr]
    assert weight.is_contiguous(memory_format=torch.channels_last) == used


@pytest.mark.parametrize("name", ["detector", "generators"])
def test_loading_draws_nothing_and_lets_go_of_the_file(
    name: str, detector_run: Path, translator_run: Path, tmp_path: Path
) -> None:
    load, run = {
        "detector": (load_detector, detector_run), "generators": (load_translator, translator_run)
    }[name]  # fmt: skip
    shutil.copytree(run, tmp_path / "run")
    (file,) = (tmp_path / "run").glob(f"*/{name}.safetensors")
    drawn = torch.get_rng_state()
    module = load(tmp_path / "run", CPU).module
    assert torch.equal(torch.get_rng_state(), drawn)
    expected = {key: value.clone() for key, value in load_file(file).items()}
    with file.open("r+b") as opened:  # in place: a file that is mapped would change what was loaded
        opened.write(bytes(file.stat().st_size))
    found = module.state_dict()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value)
    assert all(buffer.device == CPU for buffer in module.buffers())
    assert not any(part.requires_grad for part in module.parameters())


def test_what_only_predicts_is_held_in_half_of_the_memory_and_says_the_same(
    detector_run: Path, pictures: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(load_detector(detector_run, CPU).config, mixed_precision="auto")
    monkeypatch.setattr(loading, "run_config", lambda *_: config)
    monkeypatch.setattr(loading, "multiplies_in_bf16", lambda: True)
    packed: list[torch.nn.Module] = []
    monkeypatch.setattr(loading, "pack", packed.append)
    whole = load_detector(detector_run, CPU)
    lean = load_detector(detector_run, CPU, predicts_alone=True)
    assert lean.in_bf16
    assert lean.module.head.weight.dtype == torch.bfloat16
    seen = pictures[..., 2:18, :]
    assert torch.equal(lean.predict(seen), whole.predict(seen))
    assert packed == [lean.module]
    monkeypatch.setattr(loading, "multiplies_in_bf16", lambda: False)
    exact = load_detector(detector_run, CPU, predicts_alone=True)
    assert exact.module.head.weight.dtype == torch.float32
    assert packed == [lean.module]


def test_a_translator_on_the_processor_keeps_what_its_layers_free(
    translator_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(loading, "keep_what_is_freed", lambda: asked.append(True))
    load_translator(translator_run, torch.device("meta"))
    assert not asked
    load_translator(translator_run, CPU)
    assert asked == [True]
