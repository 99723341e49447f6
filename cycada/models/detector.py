"""The detector: a backbone and one linear score per Action Unit or class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from cycada.landmarks import EYE_CORNERS
from cycada.models.backbones import (
    Backbone,
    LeNetBackbone,
    SmallBackbone,
    StructureBackbone,
    TorchvisionBackbone,
)
from cycada.models.domain import DomainClassifier, reverse_gradient
from cycada.models.regions import RegionBackbone
from cycada.models.structure import CHANNELS
from cycada.task import TaskKind

View = Literal["image", "structure"]


class Detection(NamedTuple):
    """What the detector says of a batch."""

    features: Tensor  # (B, F)
    logits: Tensor  # (B, A), one column per AU or class
    landmarks: Tensor | None = None  # (B, K, 2) px, by which a network of regions aligned the faces


class Detector(nn.Module):
    """Backbone and linear head."""

    def __init__(
        self,
        backbone: Backbone,
        *,
        channels: int,
        outputs: int,
        width: int,
        pretrained: str,
        view: View = "image",
        kind: TaskKind = "action_units",
        landmarks: Sequence[str] = (),
    ) -> None:
        """Make the networks; ``landmarks`` names the points that ``backbone="regions"`` finds."""
        super().__init__()
        self.landmarks = tuple(landmarks)
        self.channels, self.kind = channels, kind
        self.backbone = _backbone(
            backbone, channels, width=width, pretrained=pretrained, view=view,
            landmarks=self.landmarks,
        )  # fmt: skip
        self.head = nn.Linear(self.backbone.features, outputs)

    def forward(self, image: Tensor) -> Detection:
        """Detect AUs, or tell classes, in ``(B, C, H, W)`` images in [-1, 1]."""
        landmarks = None
        if isinstance(self.backbone, RegionBackbone):
            features, landmarks = self.backbone.read(image)
        else:
            features = self.backbone(image)
        return Detection(features, self.head(features), landmarks)


def _backbone(
    name: Backbone,
    channels: int,
    *,
    width: int,
    pretrained: str,
    view: View,
    landmarks: tuple[str, ...],
) -> SmallBackbone | LeNetBackbone | TorchvisionBackbone | StructureBackbone | RegionBackbone:
    if name == "regions":
        return RegionBackbone(
            channels, width=width, view=view, landmarks=len(landmarks),
            eyes=[landmarks.index(corner) for corner in EYE_CORNERS],
        )  # fmt: skip
    seen = channels if view == "image" else CHANNELS
    network: SmallBackbone | LeNetBackbone | TorchvisionBackbone
    if name == "small":
        network = SmallBackbone(seen, width=width)
    elif name == "lenet":
        network = LeNetBackbone(seen)
    else:
        network = TorchvisionBackbone(name, seen, pretrained=pretrained)
    return network if view == "image" else StructureBackbone(network)


class Adapted(NamedTuple):
    """What one forward of :class:`AdaptiveDetector` gives."""

    logits: Tensor  # (S, A) of the source images
    target_logits: Tensor | None  # (T, A)
    source_domain: Tensor | None  # (S,) domain scores
    target_domain: Tensor | None  # (T,) domain scores
    landmarks: Tensor | None = None  # (S, K, 2) px, found in the source images
    features: Tensor | None = None  # (S, F) of the source images, where there are target ones
    target_features: Tensor | None = None  # (T, F)


class AdaptiveDetector(nn.Module):
    """A detector whose features fool a domain classifier, as one module with one forward.

    Source and target faces go through the backbone in separate passes, so that batch
    normalisation (ResNet) standardises each domain by its own statistics. Its running
    statistics, which are used after training, then come from the last pass, the target's
    (AdaBN; Li et al., Pattern Recognition 2018). Networks that normalise every image alone
    (ConvNeXt) share one pass, which is the same and faster.
    """

    def __init__(self, detector: Detector, domain: DomainClassifier | None) -> None:
        super().__init__()
        self.detector = detector
        self.domain = domain
        self.separate = any(isinstance(m, nn.BatchNorm2d) for m in detector.modules())

    def forward(self, source: Tensor, target: Tensor | None, strength: float | Tensor) -> Adapted:
        """Detect AUs in ``source`` and judge the domain of both.

        Args:
            source: ``(S, C, H, W)`` labelled images.
            target: ``(T, C, H, W)`` unlabelled images, or ``None`` for training without a target.
            strength: Factor of the reversed gradient, a number or a tensor without dimensions.
        """
        if target is None:
            alone: Detection = self.detector(source)
            return Adapted(alone.logits, None, None, None, alone.landmarks)
        counts = (len(source), len(target))
        if self.separate:
            with _frozen_statistics(self.detector):
                here: Detection = self.detector(source)
            there: Detection = self.detector(target)
        else:
            both: Detection = self.detector(torch.cat((source, target)))
            first = counts[0]
            here = Detection(both.features[:first], both.logits[:first])
            there = Detection(both.features[first:], both.logits[first:])
        features = (here.features, there.features)
        if self.domain is None:
            return Adapted(here.logits, there.logits, None, None, here.landmarks, *features)
        scores = self.domain(
            reverse_gradient(torch.cat(features), strength),
            reverse_gradient(torch.cat((here.logits, there.logits)), strength),
        )
        known, unknown = scores.split(counts)
        return Adapted(here.logits, there.logits, known, unknown, here.landmarks, *features)


class _frozen_statistics:  # noqa: N801 - a context manager, used as a word
    """Keep the running statistics of batch normalisation as they are within the block."""

    def __init__(self, module: nn.Module) -> None:
        self.layers = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
        self.momenta = [layer.momentum for layer in self.layers]

    def __enter__(self) -> None:
        for layer in self.layers:
            layer.momentum = 0.0

    def __exit__(self, *_: object) -> None:
        for layer, momentum in zip(self.layers, self.momenta, strict=True):
            layer.momentum = momentum
