from __future__ import annotations

from pathlib import Path

import lpips
import pytest
import torch
import torchvision

from cycada.errors import DataError
from cycada.losses.perceptual import PerceptualDistance


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with random weights in the shape of torchvision's AlexNet."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save({
        name: value for name, value in torchvision.models.alexnet(weights=None).state_dict().items()
        if name.startswith("features.")
    }, file)  # fmt: skip
    return file


def random(channels: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(2, channels, 64, 64, generator=draw) * 2 - 1


def test_equal_images_are_no_distance_apart_and_others_are(weights: Path) -> None:
    distance = PerceptualDistance(str(weights))
    one, two = random(3, 0), random(3, 1)
    assert float(distance(one, one)) == 0
    assert float(distance(one, two)) > 0


def test_the_distance_is_that_of_lpips_with_the_same_weights(weights: Path) -> None:
    reference = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    state = torch.load(weights)
    slices = reference.net.state_dict()
    for name in slices:
        slices[name] = state["features." + name.split(".", 1)[1]]
    reference.net.load_state_dict(slices)
    one, two = random(1, 0), random(1, 1)
    found = PerceptualDistance(str(weights))(one, two)
    with torch.no_grad():
        expected = reference(one.expand(-1, 3, -1, -1), two.expand(-1, 3, -1, -1)).mean()
    torch.testing.assert_close(found, expected)


def test_gradients_reach_the_image_and_not_the_network(weights: Path) -> None:
    distance = PerceptualDistance(str(weights))
    image = random(3, 0).requires_grad_()
    distance(image, random(3, 1)).backward()
    assert image.grad is not None
    assert bool(image.grad.any())
    assert all(parameter.grad is None for parameter in distance.parameters())


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(2)}, tmp_path / "other.pth")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("no weights")
    for name in ("other.pth", "list.pth", "text.pth", "missing.pth"):
        with pytest.raises(DataError) as caught:
            PerceptualDistance(str(tmp_path / name))
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_without_a_file_nothing_is_downloaded_and_the_way_on_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.delattr(torch.hub, "download_url_to_file")
    with pytest.raises(DataError, match="nothing is downloaded unasked: --download") as caught:
        PerceptualDistance("")
    assert "give a local file" in str(caught.value)
