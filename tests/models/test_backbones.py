from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from cycada.errors import DataError
from cycada.models.backbones import SmallBackbone, TorchvisionBackbone, adapt_first_layer
from cycada.models.detector import AdaptiveDetector, Detector
from cycada.models.domain import DomainClassifier


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("bias", [True, False])
def test_a_grey_image_gets_the_answer_of_the_rgb_layer(bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=bias)
    grey = random(2, 1, 16, 16)
    adapted = adapt_first_layer(layer, 1)
    torch.testing.assert_close(adapted(grey), layer(grey.expand(-1, 3, -1, -1)))
    assert adapt_first_layer(layer, 3) is layer


def test_the_input_of_torchvision_networks_is_standardised_as_imagenet_was() -> None:
    torch.manual_seed(0)
    backbone = TorchvisionBackbone("resnet18", 3, pretrained="none").eval()
    image = random(2, 3, 32, 32)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    usual = ((image + 1) / 2 - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(backbone(image), backbone.network(usual))
        assert backbone(image).shape == (2, 512)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_small_network_tells_the_length_of_its_features(channels: int) -> None:
    backbone = SmallBackbone(channels, width=4)
    assert backbone(random(2, channels, 32, 32)).shape == (2, backbone.features)


def statistics(module: nn.Module) -> list[torch.Tensor]:
    return [
        buffer.clone() for name, buffer in module.named_buffers() if name.endswith("running_mean")
    ]


@pytest.mark.parametrize("backbone", ["resnet18", "small"])
def test_running_statistics_come_from_the_target_pass_alone(backbone: str) -> None:
    torch.manual_seed(0)
    detector = Detector(backbone, channels=3, outputs=2, width=4, pretrained="none")  # type: ignore[arg-type]
    domain = DomainClassifier(
        detector.backbone.features, 2, hidden=4, reads="features", kind="action_units"
    )
    model = AdaptiveDetector(detector, domain)
    assert model.separate
    reference = Detector(backbone, channels=3, outputs=2, width=4, pretrained="none")  # type: ignore[arg-type]
    reference.load_state_dict(detector.state_dict())
    source, target = random(4, 3, 32, 32), random(4, 3, 32, 32, seed=1) * 0.1 - 0.5
    out = model(source, target, 1.0)
    logits = reference(source).logits  # the source is standardised by its own statistics
    torch.testing.assert_close(out.logits, logits)
    reference.load_state_dict(
        Detector(backbone, channels=3, outputs=2, width=4, pretrained="none").state_dict()  # type: ignore[arg-type]
    )
    fresh = statistics(reference)
    torch.manual_seed(0)
    reference = Detector(backbone, channels=3, outputs=2, width=4, pretrained="none")  # type: ignore[arg-type]
    reference(target)
    for found, expected, before in zip(
        statistics(model), statistics(reference), fresh, strict=True
    ):
        torch.testing.assert_close(found, expected)
        assert not torch.equal(found, before)


def test_without_a_target_the_running_statistics_follow_the_source() -> None:
    torch.manual_seed(0)
    model = AdaptiveDetector(
        Detector("small", channels=1, outputs=2, width=4, pretrained="none"), None
    )
    before = statistics(model)
    out = model(random(4, 1, 16, 16), None, 1.0)
    assert out.source_domain is None
    assert all(
        not torch.equal(one, two) for one, two in zip(before, statistics(model), strict=True)
    )


def test_weights_come_from_a_local_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = torchvision.models.resnet18(weights=None)
    torch.save(saved.state_dict(), tmp_path / "resnet18.pth")
    backbone = TorchvisionBackbone("resnet18", 3, pretrained=str(tmp_path / "resnet18.pth"))
    inner = backbone.network.layer1[0].conv1.weight
    torch.testing.assert_close(inner, saved.layer1[0].conv1.weight)
    torch.testing.assert_close(backbone.network.conv1.weight, saved.conv1.weight)


def test_a_local_file_may_hold_another_number_of_classes(tmp_path: Path) -> None:
    saved = torchvision.models.resnet18(weights=None, num_classes=7)
    torch.save(saved.state_dict(), tmp_path / "seven.pth")
    backbone = TorchvisionBackbone("resnet18", 1, pretrained=str(tmp_path / "seven.pth"))
    expected = saved.conv1.weight.sum(1, keepdim=True)
    torch.testing.assert_close(backbone.network.conv1.weight, expected)


def test_a_wrong_file_of_weights_is_named(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("no weights")
    for name in ("other.pth", "list.pth", "text.pth", "missing.pth"):
        with pytest.raises(DataError) as caught:
            TorchvisionBackbone("resnet18", 3, pretrained=str(tmp_path / name))
        told = str(caught.value)
        assert str(tmp_path / name) in told
        assert "resnet18" in told
        assert "\n" not in told


def test_without_a_file_nothing_is_downloaded_and_the_way_on_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.delattr(torch.hub, "download_url_to_file")
    with pytest.raises(DataError, match="nothing is downloaded unasked: --download") as caught:
        TorchvisionBackbone("resnet18", 3, pretrained="imagenet")
    assert "--set pretrained=FILE" in str(caught.value)
    assert "--set pretrained=none" in str(caught.value)
