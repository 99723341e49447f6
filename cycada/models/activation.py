"""Where in a face a detector sees an answer: class activation maps of its last feature maps.

Grad-CAM (Selvaraju et al., ICCV 2017) sums the last feature maps, weighted by the gradient of the
answer's logit averaged over places. Here each place keeps its own gradient (HiResCAM; Draelos &
Carin, arXiv:2011.08891). Where a network averages its maps over places, as ResNet and ConvNeXt do,
the gradient is the same everywhere and both are one. Where the head reads a grid of places, as
those of the small networks do, averaging would mix what it thinks of the brows with what it thinks
of the mouth; with each place's own gradient the map sums up to the logit without its bias.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from cycada import images
from cycada.models.backbones import (
    LeNetBackbone,
    SmallBackbone,
    StructureBackbone,
    TorchvisionBackbone,
)
from cycada.models.detector import Detection, Detector
from cycada.models.regions import REGIONS, Region, RegionBackbone, axes

GRID = 16
"""Cells along each side of an activation map: finer than the feature maps of faces that are."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """Where a network's last feature maps come from, and which pixels their cells look at."""

    module: nn.Module
    first: float  # px on which the first cell is centred
    stride: float  # px from one cell to the next


def class_activation(detector: Detector, pictures: Tensor) -> Tensor:
    """Return where each face speaks for each answer.

    Args:
        detector: In evaluation mode; it is not changed.
        pictures: ``(B, 1 or 3, S, S)`` in [-1, 1], on the detector's device.

    Returns:
        ``(B, A, GRID, GRID)`` in [0, 1], 1 at the place that speaks most for the answer; all 0
        where nothing does. A cell covers its share of the face, whatever the backbone: what the
        networks of aligned regions see is brought back to where it was cut out.
    """
    ready = images.with_channels(pictures, detector.channels)
    side = ready.shape[-1]
    backbone = detector.backbone
    networks = (
        [backbone.networks[region.name] for region in REGIONS]
        if isinstance(backbone, RegionBackbone)
        else [backbone]
    )
    layers = [_last_maps(network) for network in networks]
    with torch.enable_grad(), _kept([layer.module for layer in layers]) as kept:
        said: Detection = detector(ready)
        if isinstance(backbone, RegionBackbone) and said.landmarks is not None:
            parts = _region_parts(backbone, said.landmarks.to(ready.dtype), kept, layers, side)
        else:
            parts = [_whole(kept[0], layers[0], side)]
        found = [_map_of(said.logits[:, unit].sum(), kept, parts)
                 for unit in range(said.logits.shape[1])]  # fmt: skip
    maps = torch.stack(found, 1).relu()
    most = maps.amax((2, 3), keepdim=True)
    return torch.where(most > 0, maps / most.clamp(min=torch.finfo(maps.dtype).tiny), maps)


@dataclass(frozen=True, slots=True)
class _Part:
    """How a batch of feature maps lies in the faces."""

    maps: int  # which of those kept
    rows: slice  # of its batch, which are those of the faces
    places: Tensor  # (B, GRID, GRID, 2) of the face's cells in the maps, for grid_sample
    weight: Tensor  # (B, GRID, GRID) how much of a cell of the maps lies in one of the face


def _map_of(logit: Tensor, kept: Sequence[Tensor], parts: Sequence[_Part]) -> Tensor:
    """Return ``(B, GRID, GRID)``: what each place adds to the logits of a batch."""
    gradients = torch.autograd.grad(logit, list(kept), retain_graph=True)
    added = [
        (maps.detach() * gradient).sum(1, keepdim=True)
        for maps, gradient in zip(kept, gradients, strict=True)
    ]
    total = torch.zeros_like(parts[0].weight)
    for part in parts:
        seen = F.grid_sample(
            added[part.maps][part.rows], part.places, mode="bilinear", padding_mode="border",
            align_corners=True,
        )  # fmt: skip
        total = total + part.weight * seen[:, 0]
    return total


def _last_maps(network: nn.Module) -> _Layer:
    """Return the layer whose maps still show places.

    Convolutions that pad by half their kernel look, with stride s, at every s-th pixel from the
    first; the others begin further in.
    """
    if isinstance(network, StructureBackbone):
        return _last_maps(network.network)
    if isinstance(network, SmallBackbone):
        return _Layer(network.layers[-3], 0.0, 8.0)
    if isinstance(network, LeNetBackbone):
        return _Layer(network.layers[3], 6.5, 2.0)
    if not isinstance(network, TorchvisionBackbone):
        raise TypeError(f"{type(network).__name__} has no known layer whose maps show places")
    inner = network.network
    if isinstance(features := getattr(inner, "features", None), nn.Module):  # ConvNeXt
        return _Layer(features, 15.5, 32.0)
    return _Layer(inner.layer4, 0.0, 32.0)


@contextmanager
def _kept(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Give what the layers put out, cut off from what was before, once the network has run."""
    found: list[Tensor] = []

    def keep(_module: nn.Module, _given: object, maps: Tensor) -> Tensor:
        cut = maps.detach().requires_grad_()
        found.append(cut)
        return cut

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_hook(keep).remove)
        yield found


def _cells(side: int, like: Tensor) -> Tensor:
    """Return ``(GRID,)`` px on which the cells of a face are centred."""
    return (torch.arange(GRID, dtype=like.dtype, device=like.device) + 0.5) * side / GRID - 0.5


def _whole(maps: Tensor, layer: _Layer, side: int) -> _Part:
    """Return how maps of whole faces lie in them."""
    at = _cells(side, maps)
    across, down = ((at - layer.first) / layer.stride for _ in range(2))
    y, x = torch.meshgrid(
        _normalised(down, maps.shape[2]), _normalised(across, maps.shape[3]), indexing="ij"
    )
    places = torch.stack((x, y), -1).expand(len(maps), -1, -1, -1)
    return _Part(0, slice(None), places, torch.ones_like(places[..., 0]))


def _region_parts(
    backbone: RegionBackbone,
    landmarks: Tensor,
    kept: Sequence[Tensor],
    layers: Sequence[_Layer],
    side: int,
) -> list[_Part]:
    """Return how the maps of regions lie in the faces that they were cut out of."""
    between, apart = backbone.eyes_of(landmarks.detach())
    along, below = axes(apart, side)
    at = _cells(side, between)
    y, x = torch.meshgrid(at, at, indexing="ij")
    away = torch.stack((x, y), -1) - between[:, None, None]
    squared = along.square().sum(1)[:, None, None]
    u = (away * along[:, None, None]).sum(-1) / squared
    v = (away * below[:, None, None]).sum(-1) / squared
    parts = []
    count = len(landmarks)
    for number, (region, maps, layer) in enumerate(zip(REGIONS, kept, layers, strict=True)):
        for turn in range(1 + region.both):
            across = -u if turn else u
            rows = slice(turn * count, (turn + 1) * count)
            parts.append(
                _region_part(number, rows, region, maps, layer, (across, v), squared, side)
            )
    return parts


def _region_part(
    number: int,
    rows: slice,
    region: Region,
    maps: Tensor,
    layer: _Layer,
    uv: tuple[Tensor, Tensor],
    squared: Tensor,
    side: int,
) -> _Part:
    height, width = region.shape(side)
    across = (uv[0] - region.across) / region.half_width
    down = (uv[1] - region.down) / region.half_height
    inside = (across.abs() <= 1) & (down.abs() <= 1)
    px = ((across + 1) / 2 * (width - 1), (down + 1) / 2 * (height - 1))
    x, y = ((length - layer.first) / layer.stride for length in px)
    places = torch.stack((_normalised(x, maps.shape[3]), _normalised(y, maps.shape[2])), -1)
    # Face px that a cell of the maps covers: what a cell adds is spread over them.
    covered = squared * layer.stride**2 * (
        4 * region.half_width * region.half_height / ((width - 1) * (height - 1))
    )  # fmt: skip
    return _Part(number, rows, places, inside * (side / GRID) ** 2 / covered)


def _normalised(number: Tensor, count: int) -> Tensor:
    """Map the numbers of cells, 0 to ``count - 1``, to -1 to 1."""
    return number / max(count - 1, 1) * 2 - 1
