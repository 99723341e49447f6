"""Feature extractors for the kernel and Frechet distances of image sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from cycada.errors import DataError
from cycada.weights import read_tensors

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


@dataclass(frozen=True, slots=True)
class FeatureExtractor:
    """A fixed network without its classifier, and the name that its figures must carry.

    Distances in the features of different networks, or of the same one with other weights or
    another resizing, cannot be compared: published FID and KID use TensorFlow's Inception,
    torchvision's differs from it.
    """

    name: str
    network: nn.Module
    side: int  # px to which images are resized
    head: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return ``(B, D)`` features of ``(B, 1 or 3, H, W)`` images in [-1, 1]."""
        mean = torch.tensor(_MEAN, device=images.device).view(-1, 1, 1)
        deviation = torch.tensor(_DEVIATION, device=images.device).view(-1, 1, 1)
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        images = F.interpolate(images, size=(self.side, self.side), mode="bilinear", antialias=True)
        return self.head(self.network(((images + 1) / 2 - mean) / deviation))


def load_features(weights: Path) -> FeatureExtractor:
    """Return Inception v3, or MobileNetV2 where ``weights`` holds that.

    Args:
        weights: File with torchvision's Inception v3 (the network of FID and KID) or MobileNetV2
            (smaller; its classifier may be missing).

    Raises:
        DataError: The file cannot be read, or holds neither network.
    """
    import torchvision  # noqa: PLC0415 - slow to import

    state = read_tensors(weights)
    if "Mixed_7c.branch_pool.conv.weight" in state:
        network = torchvision.models.inception_v3(
            weights=None, init_weights=False, transform_input=False
        )
        _load(network, state, optional=("fc.", "AuxLogits."), path=weights)
        return _inception(network)
    if "features.18.1.weight" in state:
        mobile = torchvision.models.mobilenet_v2(weights=None)
        _load(mobile, state, optional=("classifier.",), path=weights)
        return FeatureExtractor(
            "MobileNetV2", _fixed(mobile.features), 224, lambda maps: maps.mean((2, 3))
        )
    raise DataError(f"{weights}: holds neither torchvision's Inception v3 nor its MobileNetV2.")


def _inception(network: Any) -> FeatureExtractor:
    network.fc = nn.Identity()
    network.transform_input = False  # the images come standardised
    return FeatureExtractor("Inception v3 (torchvision)", _fixed(network), 299, lambda out: out)


def _fixed(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(requires_grad=False)


def _load(
    network: nn.Module, state: dict[str, Any], *, optional: tuple[str, ...], path: Path
) -> None:
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise DataError(f"{path}: the weights have other shapes than expected.") from error
    lacking = [key for key in missing if not key.startswith(optional)]
    if lacking or unexpected:
        raise DataError(f"{path}: {(lacking + unexpected)[0]} is missing or unexpected.")
