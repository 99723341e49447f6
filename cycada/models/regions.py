"""Eyes, nose and mouth each by themselves, cut out where a small network finds them.

Heads turn and lean, and an Action Unit is a matter of a few pixels. Faces are therefore aligned by
the corners of the eyes before their parts are read, as AU detectors have done since the first
(Valstar & Pantic, CVPR-W 2006); that each part has its own network keeps an AU from being read off
the others that it comes with in the source (Zhao, Chu & Zhang, CVPR 2016, learn from patches for
the same reason). Between domains that matters more than within one: other AUs come together there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from cycada.models.backbones import SmallBackbone
from cycada.models.structure import CHANNELS, local_structure

SIDE = 64
"""Side in px of the faces that the regions' sizes are given for; others have regions to scale."""

_SMALLEST = 1 / 8  # of the image's side: eyes nearer to each other are not believed
_REACH = 1 / 8  # of the side that an output of 1 means: about how far eyes lie from their mean


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of an aligned face.

    Lengths are in distances between the eyes; ``across`` runs to the person's left, ``down`` to
    the chin, both from the point between the eyes.
    """

    name: str
    across: float
    down: float
    half_width: float
    half_height: float
    height: int  # px, in faces of 64 px
    width: int
    share: float  # channels of its network, as a share of the setting ``width``
    both: bool = False  # the same on the right, mirrored, by the same network

    def shape(self, side: int) -> tuple[int, int]:
        """Return its height and width in px, cut out of faces of ``side`` px."""
        height, width = (max(16, round(length * side / SIDE)) for length in
                         (self.height, self.width))  # fmt: skip
        return height, width


REGIONS = (
    Region("eyes", 0.0, -0.1, 1.05, 0.55, 40, 64, 2 / 3),
    Region("lower_face", 0.0, 1.3, 0.85, 1.0, 48, 56, 2 / 3),  # down to the chin of a dropped jaw
    Region("eye", 0.5, 0.0, 0.34, 0.24, 24, 36, 1 / 2, both=True),
    Region("nose", 0.0, 0.62, 0.42, 0.36, 32, 40, 1 / 2),
    Region("lips", 0.0, 1.12, 0.55, 0.38, 32, 48, 1 / 2),
)
"""Wide ones show how the parts lie to each other, narrow ones, enlarged, how wide a lid is open."""


class LandmarkFinder(nn.Module):
    """Tells where the landmarks of a face are from its local structure, alike in all domains."""

    mean: Tensor  # (K, 2), shares of the side

    def __init__(self, points: int, *, width: int) -> None:
        super().__init__()
        self.network = SmallBackbone(CHANNELS, width=width)
        self.head = nn.Linear(self.network.features, 2 * points)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.full((points, 2), 0.5))

    def forward(self, structure: Tensor) -> Tensor:
        """Return ``(B, K, 2)`` x and y in px for ``(B, 3, S, S)`` of :func:`local_structure`."""
        offset: Tensor = self.head(self.network(structure))
        wide = offset.to(self.mean.dtype).view(structure.shape[0], -1, 2)  # not in half precision
        return (self.mean + _REACH * wide) * structure.shape[-1] - 0.5


class RegionBackbone(nn.Module):
    """A small network for each of :data:`REGIONS`, and one that finds them.

    The networks of the regions teach the finder nothing; it learns from landmarks alone. Where
    there are none to learn from, it is fixed (:meth:`fix_finder`).
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int,
        view: Literal["image", "structure"],
        landmarks: int,
        eyes: Sequence[int],
    ) -> None:
        """Make the networks.

        Args:
            channels: Of the images, 1 or 3.
            width: Channels of the first layer of a network as wide as ``backbone=small``'s.
            view: What the regions' networks see; the finder always sees structure.
            landmarks: Number of points that are found.
            eyes: Places among these of the inner and outer corner of the left, then the right eye.
        """
        super().__init__()
        self.view, self.eyes, self.fixed = view, list(eyes), False
        self.finder = LandmarkFinder(landmarks, width=_share(width, 2 / 3))
        seen = channels if view == "image" else CHANNELS
        self.networks = nn.ModuleDict(
            {region.name: SmallBackbone(seen, width=_share(width, region.share))
             for region in REGIONS}
        )  # fmt: skip
        self.features = sum(network.features for network in self.networks.values())  # type: ignore[misc]

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(B, C, S, S)`` in [-1, 1] to ``(B, features)``."""
        return self.read(image)[0]

    def fix_finder(self) -> None:
        """Let the finder stay as it is, its statistics too, whatever the networks learn."""
        self.fixed = True
        self.finder.requires_grad_(False).eval()  # noqa: FBT003

    def train(self, mode: bool = True) -> RegionBackbone:  # noqa: FBT001, FBT002 - as in torch
        """Set the mode of the networks, but not of a fixed finder."""
        super().train(mode)
        if self.fixed:
            self.finder.eval()
        return self

    def eyes_of(self, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        """Return the ``(B, 2)`` point between the eyes, and the way from the right to the left."""
        # Taken one by one, for a list of places would be sent to the device in every step.
        corners = torch.stack([landmarks[:, place] for place in self.eyes], 1)
        left, right = corners[:, :2].mean(1), corners[:, 2:].mean(1)
        return (left + right) / 2, left - right

    def read(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(B, features)``, and the ``(B, K, 2)`` landmarks in px by which they were read.

        A landmark has a gradient towards the finder unless that is fixed, the features have none.
        """
        landmarks = self.finder(local_structure(image))
        found = landmarks.detach().to(image.dtype)
        between, apart = self.eyes_of(found)
        parts = []
        for region in REGIONS:
            shown = [cut_out(image, between, apart, region)]
            if region.both:
                shown.append(cut_out(image, between, apart, region, mirrored=True))
            seen = torch.cat(shown)
            network = self.networks[region.name]
            read: Tensor = network(local_structure(seen) if self.view == "structure" else seen)
            parts.append(read.view(len(shown), -1, read.shape[1]).mean(0))
        return torch.cat(parts, dim=1), landmarks


def axes(apart: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the steps of one eye distance across and down an upright face.

    Args:
        apart: ``(B, 2)`` from the right eye to the left one, px.
        side: Of the image, px; eyes nearer to each other than an eighth of it are not believed.

    Returns:
        Twice ``(B, 2)`` px: to the person's left, and to the chin.
    """
    distance = torch.linalg.vector_norm(apart, dim=1, keepdim=True)
    direction = apart / distance.clamp(min=1e-3)
    level = torch.stack((torch.ones_like(direction[:, 0]), torch.zeros_like(direction[:, 0])), 1)
    direction = torch.where(distance > 0, direction, level)
    scale = distance.clamp(min=_SMALLEST * side)
    along, below = direction * scale, direction.flip(1) * scale
    return along, torch.stack((-below[:, 0], below[:, 1]), 1)  # turned by 90 degrees


def cut_out(
    image: Tensor, between: Tensor, apart: Tensor, region: Region, *, mirrored: bool = False
) -> Tensor:
    """Return a region of faces, upright.

    Args:
        image: ``(B, C, S, S)``.
        between: ``(B, 2)`` x and y of the point between the eyes, px.
        apart: ``(B, 2)`` from the right eye to the left one, px.
        region: What to show.
        mirrored: Its counterpart on the other side, mirrored.

    Returns:
        ``(B, C, height, width)``, bilinear; outside of the image its border is repeated.
    """
    side = int(image.shape[-1])  # a tensor while TorchScript traces
    along, below = axes(apart, side)
    height, width = region.shape(side)
    v, u = _places(region, height, width, mirrored, image.dtype, image.device)
    places = (
        between[:, None, None] + u[..., None] * along[:, None, None]
        + v[..., None] * below[:, None, None]
    )  # fmt: skip
    return F.grid_sample(
        image, (places + 0.5) * (2 / side) - 1, mode="bilinear", padding_mode="border",
        align_corners=False,
    )  # fmt: skip


@cache  # for good: a recorded step reads it where it lies
def _places(
    region: Region, height: int, width: int, mirrored: bool, dtype: torch.dtype,  # noqa: FBT001
    device: torch.device,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return how far ``(height, width)`` pixels lie down and across, in eye distances."""
    across = torch.linspace(-1, 1, width, dtype=dtype, device=device)
    down = torch.linspace(-1, 1, height, dtype=dtype, device=device)
    sign = -1.0 if mirrored else 1.0
    v, u = torch.meshgrid(
        region.down + region.half_height * down,
        sign * (region.across + region.half_width * across),
        indexing="ij",
    )
    return v, u


def _share(width: int, share: float) -> int:
    return max(1, round(width * share))
