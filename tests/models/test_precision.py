"""Weights that are held in bfloat16."""

from __future__ import annotations

import pytest
import torch

from cycada.config import DetectorConfig, GeneratorConfig
from cycada.landmarks import EYE_CORNERS
from cycada.models.backbones import Backbone
from cycada.models.build import build_detector
from cycada.models.cycle import ToThermal
from cycada.models.detector import Detector
from cycada.models.precision import can_pack, hold_in_bf16, pack
from cycada.task import Task


def detector(backbone: Backbone) -> Detector:
    torch.manual_seed(0)
    config = DetectorConfig(backbone=backbone, pretrained="none", size=64)
    return build_detector(
        config, channels=3, task=Task(action_units=(1, 2, 4)),
        landmarks=EYE_CORNERS if backbone == "regions" else (),
    ).eval().requires_grad_(False)  # fmt: skip


@pytest.mark.parametrize("backbone", ["small", "regions", "lenet", "resnet18", "convnext_tiny"])
def test_a_detector_under_autocast_answers_the_same_to_the_last_bit(backbone: Backbone) -> None:
    module = detector(backbone)
    side = 32 if backbone == "lenet" else 64
    pictures = torch.rand(3, 3, side, side)
    with torch.autocast("cpu", torch.bfloat16):
        before = module(2 * pictures - 1).logits
        held = sum(part.nbytes for part in module.parameters())
        hold_in_bf16(module)
        after = module(2 * pictures - 1).logits
    assert torch.equal(before, after)
    assert sum(part.nbytes for part in module.parameters()) < 0.52 * held


@pytest.mark.parametrize("images", [1, 2, 7])
@pytest.mark.parametrize(
    ("backbone", "packed"),
    [("small", 0), ("regions", 6), ("lenet", 0), ("convnext_tiny", 0), ("resnet18", 16)],
)
def test_packed_weights_answer_the_same_to_the_last_bit(
    backbone: Backbone, packed: int, images: int
) -> None:
    """And only those are packed that oneDNN does not put in order again in every pass."""
    module = detector(backbone).to(memory_format=torch.channels_last)
    hold_in_bf16(module)
    side = 32 if backbone == "lenet" else 64
    pictures = 2 * torch.rand(images, 3, side, side) - 1
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = module(pictures).logits
        plain = convolutions(module)
        pack(module)
        assert torch.equal(module(pictures).logits, before)
    assert convolutions(module) == plain - (packed if can_pack() else 0)


def test_nothing_is_packed_for_instructions_that_were_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    module = detector("resnet18").to(memory_format=torch.channels_last)
    hold_in_bf16(module)
    plain = convolutions(module)
    pack(module)
    assert convolutions(module) == plain


def convolutions(module: torch.nn.Module) -> int:
    return sum(isinstance(layer, torch.nn.Conv2d) for layer in module.modules())


def test_a_convolution_that_is_more_than_one_is_not_packed() -> None:
    """It says itself how its weights are used, or reflects the border."""
    torch.manual_seed(0)
    module = ToThermal(GeneratorConfig(width=64, blocks=1)).to(memory_format=torch.channels_last)
    module.eval().requires_grad_(False)
    hold_in_bf16(module)
    plain = convolutions(module)
    pictures = (2 * torch.rand(1, 3, 32, 32) - 1).contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = module.to_thermal(pictures)
        pack(module)
        assert torch.equal(module.to_thermal(pictures), before)
    # Two smaller images, and the two of the block; not those that enlarge, of as many channels.
    assert convolutions(module) == plain - (4 if can_pack() else 0)


def test_a_generator_makes_the_same_image_with_its_last_layer_in_float32() -> None:
    torch.manual_seed(0)
    module = ToThermal(GeneratorConfig(width=8, blocks=1)).eval().requires_grad_(False)
    pictures = 2 * torch.rand(2, 3, 32, 32) - 1
    with torch.autocast("cpu", torch.bfloat16):
        before = module.to_thermal(pictures)
        hold_in_bf16(module)
        after = module.to_thermal(pictures)
    assert torch.equal(before, after)
    assert before.dtype == torch.float32
    assert {part.dtype for part in module.to_thermal.out.parameters()} == {torch.float32}
