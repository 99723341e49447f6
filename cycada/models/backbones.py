"""Backbones of the detector: image -> feature vector."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
import torchvision
from torch import Tensor, nn

from cycada.errors import DataError
from cycada.models.normalisation import SharedBatchNorm2d, share_batch_norm
from cycada.models.structure import local_structure
from cycada.weights import downloaded, read_tensors

Backbone = Literal["small", "regions", "lenet", "resnet18", "resnet50", "convnext_tiny"]

PUBLISHED: tuple[Backbone, ...] = ("resnet18", "resnet50", "convnext_tiny")
"""Those that torchvision publishes weights of."""


def _convolution(channels: int, out: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False),
        SharedBatchNorm2d(out),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels, 3)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = SharedBatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.norm(self.second(self.first(x))))


class SmallBackbone(nn.Module):
    """A residual convnet for faces of about 64 px, quick enough to train on a processor.

    The features keep a grid of 4 x 4 places: an AU is tied to its place on an aligned face.
    """

    GRID = 4

    def __init__(self, channels: int, *, width: int) -> None:
        super().__init__()
        self.features = 2 * width * self.GRID**2
        self.layers = nn.Sequential(
            _convolution(channels, width, 5, stride=2),
            _Residual(width),
            _convolution(width, 2 * width, 3, stride=2),
            _Residual(2 * width),
            _convolution(2 * width, 4 * width, 3, stride=2),
            _Residual(4 * width),
            _convolution(4 * width, 2 * width, 1),
            nn.AdaptiveMaxPool2d(self.GRID),
            nn.Flatten(),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` in [-1, 1] to ``(B, features)``."""
        out: Tensor = self.layers(image)
        return out


class LeNetBackbone(nn.Module):
    """The network for digits of ADDA and CyCADA, after LeCun et al. (Proc. IEEE 1998).

    Made for 28 px; the last pooling gives larger images the same 4 x 4 grid.
    """

    features = 500

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 20, 5),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            nn.Conv2d(20, 50, 5),
            nn.Dropout2d(0.5),
            nn.AdaptiveMaxPool2d(4),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(50 * 4 * 4, self.features),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` in [-1, 1] to ``(B, 500)``."""
        out: Tensor = self.layers(image)
        return out


class TorchvisionBackbone(nn.Module):
    """A torchvision classifier without its last layer, for 1 or 3 channels."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, name: Backbone, channels: int, *, pretrained: str) -> None:
        super().__init__()
        network = getattr(torchvision.models, name)(weights=None)
        load_pretrained(network, name, pretrained)
        share_batch_norm(network)
        if name == "convnext_tiny":
            self.features = network.classifier[2].in_features
            network.classifier[2] = nn.Identity()
            stem = network.features[0]
            stem[0] = adapt_first_layer(stem[0], channels)
        else:
            self.features = network.fc.in_features
            network.fc = nn.Identity()
            network.conv1 = adapt_first_layer(network.conv1, channels)
        self.network = network
        # torchvision's weights expect RGB standardised by ImageNet's statistics.
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        if channels == 1:
            mean, deviation = mean.mean(0, keepdim=True), deviation.mean(0, keepdim=True)
        self.register_buffer("mean", mean.view(-1, 1, 1), persistent=False)
        self.register_buffer("deviation", deviation.view(-1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` in [-1, 1] to ``(B, features)``."""
        out: Tensor = self.network(((image + 1) / 2 - self.mean) / self.deviation)
        return out


class StructureBackbone(nn.Module):
    """A backbone that sees an image's local structure (:func:`local_structure`)."""

    def __init__(self, network: SmallBackbone | LeNetBackbone | TorchvisionBackbone) -> None:
        super().__init__()
        self.network = network
        self.features = network.features

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(B, 1 or 3, H, W)`` in [-1, 1] to ``(B, features)``."""
        out: Tensor = self.network(local_structure(image))
        return out


def adapt_first_layer(layer: nn.Conv2d, channels: int) -> nn.Conv2d:
    """Return ``layer`` for 1 input channel: summing its weights answers grey as it did RGB."""
    if channels == layer.in_channels:
        return layer
    new = nn.Conv2d(
        channels,
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        bias=layer.bias is not None,
    )
    with torch.no_grad():
        new.weight.copy_(layer.weight.sum(1, keepdim=True).expand_as(new.weight) / channels)
        if new.bias is not None and layer.bias is not None:
            new.bias.copy_(layer.bias)
    return new


def load_pretrained(network: nn.Module, name: Backbone, pretrained: str) -> None:
    """Load initial weights: ``imagenet`` are torchvision's, ``none`` keeps random ones.

    Raises:
        DataError: The file is missing or holds another network's weights.
    """
    if pretrained == "none":
        return
    if pretrained == "imagenet":
        path = downloaded(
            imagenet_address(name), what=f"the ImageNet weights of {name}",
            otherwise="give a local file with --set pretrained=FILE, or start from random weights "
            "with --set pretrained=none",
        )  # fmt: skip
    else:
        path = Path(pretrained)
    try:
        state = read_tensors(path)
    except DataError as error:
        raise DataError(
            f"{str(error).rstrip('.')}; give a state dict of torchvision's {name}, or --set "
            "pretrained=none."
        ) from error
    own = network.state_dict()
    fitting = {key for key in state if key in own and own[key].shape == state[key].shape}
    needed = {key for key in own if not key.startswith(("fc.", "classifier."))}
    missing = sorted(needed - fitting)
    if missing:
        raise DataError(
            f"{path}: not the weights of torchvision's {name}: {len(missing)} of {len(needed)} "
            f"tensors are missing or of another shape, the first is {missing[0]}."
        )
    network.load_state_dict({key: state[key] for key in fitting}, strict=False)


def imagenet_address(name: Backbone) -> str:
    """Return where torchvision publishes the weights of a network."""
    return str(torchvision.models.get_model_weights(name).DEFAULT.url)
