"""Activation maps point to what an answer rests on, and are Grad-CAM where both are defined."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cycada.landmarks import EYE_CORNERS
from cycada.models.activation import GRID, class_activation
from cycada.models.detector import Detector

SIDE = 64


def detector(backbone: str, *, view: str = "image", outputs: int = 3) -> Detector:
    torch.manual_seed(0)
    made = Detector(
        backbone, channels=1, outputs=outputs, width=4, pretrained="none", view=view,
        landmarks=EYE_CORNERS if backbone == "regions" else (),
    )  # fmt: skip
    return made.eval().requires_grad_(False)


def grad_cam(network: Detector, layer: nn.Module, picture: Tensor, unit: int) -> Tensor:
    """Return Selvaraju et al.'s equation 1 and the sum in equation 2, in the layer's own cells."""
    kept: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _m, _i, out: kept.append(out.requires_grad_()))
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    logit = network(picture).logits[0, unit]
    hook.remove()
    (gradient,) = torch.autograd.grad(logit, kept[0])
    alpha = gradient.mean((2, 3), keepdim=True)
    return (alpha * kept[0]).sum(1)[0].detach()


def test_of_a_network_that_averages_over_places_the_maps_are_grad_cam() -> None:
    network = detector("resnet18")
    picture = torch.rand(1, 1, 512, 512) * 2 - 1  # whose last maps have 16 x 16 cells
    found = class_activation(network, picture)[0]
    for unit in range(3):
        cells = grad_cam(network, network.backbone.network.layer4, picture, unit)
        # They look at every 32nd px from the first; those of the map at the px 15.5 further on.
        for axis in (0, 1):
            last = cells.select(axis, -1).unsqueeze(axis)
            after = torch.cat((cells.narrow(axis, 1, GRID - 1), last), axis)
            cells = cells + 15.5 / 32 * (after - cells)
        wanted = cells.relu()
        assert torch.allclose(found[unit], wanted / wanted.max().clamp(min=1e-12), atol=1e-4)


class Corner(nn.Module):
    """A hand-made backbone: one map, the image averaged over 8 x 8 px; features keep the places."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AvgPool2d(8), nn.AdaptiveMaxPool2d(8), nn.Flatten())

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


@pytest.mark.parametrize(("row", "column"), [(1, 1), (2, 6), (5, 3)])
def test_a_hand_made_network_that_reads_one_place_is_shown_to_read_it(
    row: int, column: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cycada.models import activation

    network = detector("small", outputs=2)
    network.backbone = Corner()
    network.head = nn.Linear(64, 2).requires_grad_(False)
    network.head.weight.zero_()
    network.head.weight[0, row * 8 + column] = 1.0  # speaks for the first answer
    network.head.weight[1, row * 8 + column] = -1.0  # and against the second
    monkeypatch.setattr(
        activation, "_last_maps", lambda made: activation._Layer(made.layers[0], 3.5, 8.0)
    )
    maps = class_activation(network, torch.ones(1, 1, SIDE, SIDE))[0]
    assert not maps[1].any()
    at = int(maps[0].flatten().argmax())
    found = ((at // GRID + 0.5) * SIDE / GRID, (at % GRID + 0.5) * SIDE / GRID)
    assert row * 8 <= found[0] <= row * 8 + 8
    assert column * 8 <= found[1] <= column * 8 + 8
    outside = maps[0].clone()
    outside[max(2 * row - 1, 0) : 2 * row + 3, max(2 * column - 1, 0) : 2 * column + 3] = 0
    assert not outside.any()


def test_averaging_the_gradient_over_places_would_show_the_wrong_one() -> None:
    """What departs from Grad-CAM does so for a reason: heads that read a grid of places."""
    maps = torch.zeros(1, 1, 2, 2)
    maps[0, 0, 0, 0], maps[0, 0, 1, 1] = 1.0, 3.0
    weight = torch.tensor([[[[2.0, 0.0], [0.0, -0.1]]]])  # reads the first place alone
    averaged = (weight.mean() * maps).relu()
    own = (weight * maps).relu()
    assert averaged.flatten().argmax() == 3
    assert own.flatten().argmax() == 0


@pytest.mark.parametrize("backbone", ["small", "lenet", "resnet18", "convnext_tiny", "regions"])
@pytest.mark.parametrize("view", ["image", "structure"])
def test_every_backbone_has_maps_of_its_faces_and_stays_as_it_is(backbone: str, view: str) -> None:
    network = detector(backbone, view=view)
    if backbone == "regions":
        network.backbone.finder.mean.copy_(EYES / SIDE)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    picture = torch.rand(2, 1, SIDE, SIDE) * 2 - 1
    answers = network(picture).logits
    with torch.no_grad():  # as it is used
        maps = class_activation(network, picture)
    assert maps.shape == (2, 3, GRID, GRID)
    assert maps.min() >= 0
    assert maps.max() == pytest.approx(1)
    assert maps.amax((2, 3)).unique().numel() <= 2  # 1, or 0 where nothing speaks for it
    assert torch.equal(network(picture).logits, answers)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


EYES = torch.tensor([[36.0, 24.0], [44.0, 24.0], [28.0, 24.0], [20.0, 24.0]])  # px


@pytest.mark.parametrize(("region", "across", "down"), [("nose", 32.0, 33.9), ("lips", 32.0, 41.9)])
def test_what_an_aligned_region_sees_is_shown_where_it_was_cut_out(
    region: str, across: float, down: float
) -> None:
    network = detector("regions", outputs=1)
    network.backbone.finder.mean.copy_((EYES + 0.5) / SIDE)
    network.head.weight.zero_()
    first = 0
    for name, part in network.backbone.networks.items():
        if name == region:
            network.head.weight[0, first : first + part.features] = 1.0
        first += part.features
    maps = class_activation(network, torch.rand(1, 1, SIDE, SIDE) * 2 - 1)[0, 0]
    at = (torch.arange(GRID) + 0.5) * SIDE / GRID - 0.5
    centre = (float((maps.sum(0) * at).sum() / maps.sum()),
              float((maps.sum(1) * at).sum() / maps.sum()))  # fmt: skip
    # Of eyes 16 px apart: the nose lies 0.62, the lips 1.12 of that below the point between them.
    assert centre[0] == pytest.approx(across, abs=4)
    assert centre[1] == pytest.approx(down, abs=4)
    assert maps[(at - down).abs() > 12].sum() == 0


def test_both_eyes_are_shown_although_one_network_reads_them() -> None:
    network = detector("regions", outputs=1)
    network.backbone.finder.mean.copy_((EYES + 0.5) / SIDE)
    network.head.weight.zero_()
    first = 0
    for name, part in network.backbone.networks.items():
        if name == "eye":
            network.head.weight[0, first : first + part.features] = 1.0
        first += part.features
    picture = torch.rand(1, 1, SIDE, SIDE // 2) * 2 - 1
    picture = torch.cat((picture, picture.flip(-1)), -1)  # alike on both sides
    maps = class_activation(network, picture)[0, 0]
    left, right = maps[:, : GRID // 2].sum(), maps[:, GRID // 2 :].sum()
    assert min(left, right) > 0.3 * max(left, right)
