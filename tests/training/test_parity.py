"""ONNX Runtime gives what PyTorch gives: for every backbone, and for the generator's options."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from cycada.landmarks import EYE_CORNERS
from cycada.models.backbones import Backbone
from cycada.models.detector import Detector, View
from cycada.models.generator import Generator
from cycada.models.regions import RegionBackbone
from cycada.task import TaskKind
from cycada.training.exporting import DetectorForExport, write_exported

IMAGES = 32
LIMIT = 1e-4  # what the issue promises
SIDE = 32

DETECTORS: tuple[tuple[Backbone, View, TaskKind], ...] = (
    ("small", "structure", "action_units"),
    ("regions", "image", "action_units"),
    ("lenet", "structure", "classes"),
    ("resnet18", "image", "action_units"),
    ("resnet50", "image", "action_units"),
    ("convnext_tiny", "image", "action_units"),
)


def drawn(count: int, channels: int, height: int, width: int) -> Tensor:
    draw = torch.Generator().manual_seed(height)
    return 2 * torch.rand(count, channels, height, width, generator=draw) - 1


def session_of(
    module: nn.Module, file: Path, channels: int, *, any_size: bool
) -> onnxruntime.InferenceSession:
    example = drawn(3, channels, SIDE, SIDE)
    write_exported(module, "onnx", file, example=example, facts={}, any_size=any_size)
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])


def largest_difference(
    session: onnxruntime.InferenceSession, module: nn.Module, pictures: Tensor, *, batch: int
) -> float:
    """Return it over all images, shown in batches; the last one is what is left."""
    with torch.no_grad():
        expected = module(pictures)
    told: list[Any] = [
        torch.from_numpy(session.run(None, {"image": part.numpy()})[0])
        for part in pictures.split(batch)
    ]
    made = torch.cat(told)
    assert made.shape == expected.shape
    assert float(expected.std(0).min()) > 0  # every answer depends on the image
    return float((made - expected).abs().max())


def spread_statistics(module: nn.Module) -> None:
    """Give every normalisation statistics as a training leaves them, each channel its own."""
    draw = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_(0, 0.1, generator=draw)
            part.running_var.uniform_(0.5, 1.5, generator=draw)


def test_every_backbone_is_compared() -> None:
    assert [name for name, _, _ in DETECTORS] == list(get_args(Backbone))


@pytest.mark.parametrize(("backbone", "view", "kind"), DETECTORS, ids=get_args(Backbone))
def test_a_detector_gives_the_same_in_onnx_runtime(
    backbone: Backbone, view: View, kind: TaskKind, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    detector = Detector(
        backbone, channels=1, outputs=4, width=4, pretrained="none", view=view, kind=kind,
        landmarks=EYE_CORNERS if backbone == "regions" else (),
    )  # fmt: skip
    spread_statistics(detector)
    if isinstance(detector.backbone, RegionBackbone):  # eyes that move from face to face
        corners = torch.tensor([[0.6, 0.4], [0.7, 0.4], [0.4, 0.4], [0.3, 0.4]])
        detector.backbone.finder.mean.copy_(corners)
        nn.init.normal_(detector.backbone.finder.head.weight, 0, 0.1)
    network = DetectorForExport(detector, kind).eval()
    session = session_of(network, tmp_path / "d.onnx", 1, any_size=False)
    faces = drawn(IMAGES, 1, SIDE, SIDE)
    for batch in (IMAGES, 5):
        assert largest_difference(session, network, faces, batch=batch) < LIMIT


@pytest.mark.parametrize("skips", [True, False])
def test_a_translator_gives_the_same_in_onnx_runtime_at_any_size(
    skips: bool, tmp_path: Path
) -> None:  # fmt: skip
    torch.manual_seed(0)
    network = Generator(3, 1, width=4, blocks=1, skips=skips).eval()
    session = session_of(network, tmp_path / "t.onnx", 3, any_size=True)
    for batch, height, width in ((IMAGES, 16, 16), (7, 12, 20), (1, 64, 36), (5, 8, 8)):
        rgb = drawn(IMAGES, 3, height, width)
        assert largest_difference(session, network, rgb, batch=batch) < LIMIT
