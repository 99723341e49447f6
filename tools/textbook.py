"""CycleGAN and a plain detector as textbooks have them: the opponents of ``bench.py``.

Written from the papers (CycleGAN: Zhu et al., ICCV 2017, sections 3 and 4 and appendix 7;
PatchGAN: Isola et al., CVPR 2017; replay of made images: Shrivastava et al., CVPR 2017), in the
plainest PyTorch: eager, float32, the default memory layout, one image at a time through each
network (fake, cycle, identity, and real and fake before each discriminator). Nothing here is slow
on purpose, and nothing is fast on purpose.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from cycada import images

POOL = 50
CYCLE, IDENTITY = 10.0, 5.0  # weights of the losses
_RATE, _BETAS = 2e-4, (0.5, 0.999)


class Block(nn.Module):
    """A residual block with reflection padding (Johnson et al., ECCV 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels), nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to the same shape."""
        out: Tensor = x + self.layers(x)
        return out


class Generator(nn.Sequential):
    """``c7s1-64, d128, d256, R256 x blocks, u128, u64, c7s1-3`` (CycleGAN, appendix 7.2)."""

    def __init__(self, channels: int, out: int, *, width: int, blocks: int) -> None:
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7),
            nn.InstanceNorm2d(width), nn.ReLU(inplace=True),
        ]  # fmt: skip
        for here in (width, 2 * width):
            layers += [
                nn.Conv2d(here, 2 * here, 3, stride=2, padding=1),
                nn.InstanceNorm2d(2 * here), nn.ReLU(inplace=True),
            ]  # fmt: skip
        layers += [Block(4 * width) for _ in range(blocks)]
        for here in (4 * width, 2 * width):
            layers += [
                nn.ConvTranspose2d(here, here // 2, 3, stride=2, padding=1, output_padding=1),
                nn.InstanceNorm2d(here // 2), nn.ReLU(inplace=True),
            ]  # fmt: skip
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, out, 7), nn.Tanh()]
        super().__init__(*layers)


class PatchDiscriminator(nn.Sequential):
    """``C64-C128-C256-C512`` and one score per patch (appendix 7.2); 70 px with 3 layers."""

    def __init__(self, channels: int, *, width: int, layers: int) -> None:
        parts: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        here = width
        for depth in range(1, layers + 1):
            there = width * min(2**depth, 8)
            stride = 2 if depth < layers else 1
            parts += [
                nn.Conv2d(here, there, 4, stride, 1), nn.InstanceNorm2d(there), nn.LeakyReLU(0.2)
            ]  # fmt: skip
            here = there
        super().__init__(*parts, nn.Conv2d(here, 1, 4, 1, 1))


class ImagePool:
    """The last made images; each image that comes tosses its own coin (section 4)."""

    def __init__(self, size: int) -> None:
        """Hold ``size`` images."""
        self.size = size
        self.held: list[Tensor] = []
        self.draw = random.Random(0)  # noqa: S311

    def __call__(self, made: Tensor) -> Tensor:
        """Return each of ``(B, C, H, W)``, or an older one in whose place it is kept."""
        shown = []
        for image in made.detach():
            if len(self.held) < self.size:
                self.held.append(image.clone())
                shown.append(image)
            elif self.draw.random() > 0.5:
                place = self.draw.randrange(self.size)
                shown.append(self.held[place])
                self.held[place] = image.clone()
            else:
                shown.append(image)
        return torch.stack(shown)


class CycleGAN:
    """Both players of unpaired RGB <-> thermal translation, and their optimizers."""

    def __init__(
        self, *, width: int, blocks: int, judge_width: int, judge_layers: int, device: torch.device
    ) -> None:
        """Draw the weights from N(0, 0.02) (appendix 7.1)."""
        self.device = device
        self.to_thermal = Generator(3, 1, width=width, blocks=blocks)
        self.to_rgb = Generator(1, 3, width=width, blocks=blocks)
        self.judge_rgb = PatchDiscriminator(3, width=judge_width, layers=judge_layers)
        self.judge_thermal = PatchDiscriminator(1, width=judge_width, layers=judge_layers)
        self.generators = nn.ModuleList((self.to_thermal, self.to_rgb)).apply(_initialise)
        self.judges = nn.ModuleList((self.judge_rgb, self.judge_thermal)).apply(_initialise)
        self.generators.to(device)
        self.judges.to(device)
        self.generator_optimizer = torch.optim.Adam(
            self.generators.parameters(), lr=_RATE, betas=_BETAS
        )
        self.judge_optimizer = torch.optim.Adam(self.judges.parameters(), lr=_RATE, betas=_BETAS)
        self.rgb_pool, self.thermal_pool = ImagePool(POOL), ImagePool(POOL)

    def step(self, rgb: Tensor, thermal: Tensor) -> dict[str, Tensor]:
        """Improve the generators, then the discriminators.

        Args:
            rgb: ``(B, 3, S, S)`` in [-1, 1] on the device.
            thermal: ``(B, 1, S, S)`` likewise.

        Returns:
            The losses, as scalars on the device.
        """
        made_thermal = self.to_thermal(rgb)
        rgb_again = self.to_rgb(made_thermal)
        made_rgb = self.to_rgb(thermal)
        thermal_again = self.to_thermal(made_rgb)
        thermal_same = self.to_thermal(images.with_channels(thermal, 3))
        rgb_same = self.to_rgb(images.with_channels(rgb, 1))
        self.judges.requires_grad_(False)  # noqa: FBT003
        self.generator_optimizer.zero_grad()
        fooled = _squares(self.judge_thermal(made_thermal), 1) + _squares(
            self.judge_rgb(made_rgb), 1
        )
        cycle = F.l1_loss(rgb_again, rgb) + F.l1_loss(thermal_again, thermal)
        identity = F.l1_loss(thermal_same, thermal) + F.l1_loss(rgb_same, rgb)
        (fooled + CYCLE * cycle + IDENTITY * identity).backward()  # type: ignore[no-untyped-call]
        self.generator_optimizer.step()
        self.judges.requires_grad_(True)  # noqa: FBT003
        self.judge_optimizer.zero_grad()
        losses = [
            self._judge(judge, real, pool(made))
            for judge, real, made, pool in (
                (self.judge_rgb, rgb, made_rgb, self.rgb_pool),
                (self.judge_thermal, thermal, made_thermal, self.thermal_pool),
            )
        ]
        self.judge_optimizer.step()
        return {
            "adversarial": fooled.detach(), "cycle": cycle.detach(), "identity": identity.detach(),
            "judge_rgb": losses[0], "judge_thermal": losses[1],
        }  # fmt: skip

    def _judge(self, judge: nn.Module, real: Tensor, made: Tensor) -> Tensor:
        loss = (_squares(judge(real), 1) + _squares(judge(made), 0)) / 2
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()


def signed(stored: Tensor) -> Tensor:
    """Map stored images, uint8 or int32 up to 65535, to float32 in [-1, 1]."""
    most = 255 if stored.dtype == torch.uint8 else 65535
    return stored.float() / (most / 2) - 1


def _squares(scores: Tensor, wanted: float) -> Tensor:
    """Return the least-squares loss (LSGAN; CycleGAN, section 4)."""
    return (scores - wanted).square().mean()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class PlainDetector(nn.Module):
    """torchvision's ResNet with a linear head."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, *, outputs: int) -> None:
        super().__init__()
        self.network = torchvision.models.get_model(name, weights=None, num_classes=outputs)
        for key, values in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
            self.register_buffer(key, torch.tensor(values).view(3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Return ``(B, A)`` scores of ``(B, 3, S, S)`` in [-1, 1]."""
        out: Tensor = self.network(((image + 1) / 2 - self.mean) / self.std)
        return out


class DetectorTraining:
    """The plain training of a detector."""

    def __init__(self, name: str, *, outputs: int, device: torch.device) -> None:
        """Draw the weights."""
        self.network = PlainDetector(name, outputs=outputs).to(device).train()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=5e-4, weight_decay=0.01)

    def step(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """Learn from ``(B, 3, S, S)`` in [-1, 1] and ``(B, A)``; returns the loss."""
        self.optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(self.network(pictures), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()


@torch.no_grad()
def translate_files(
    generator: nn.Module, files: Sequence[Path], out: Path, *, device: torch.device
) -> None:
    """Decode, translate and save RGB images as grey PNG, one at a time."""
    out.mkdir(parents=True)
    for file in files:
        made = generator(_decoded(file).to(device))[0, 0].cpu()
        grey = ((made + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        # As the package does, so that the codec is no part of the ratio.
        Image.fromarray(grey.numpy()).save(out / file.name, compress_level=4)


@torch.no_grad()
def detect_files(
    network: nn.Module, files: Sequence[Path], table: Path, *, device: torch.device, size: int
) -> None:
    """Decode images and write a row of probabilities for each, one at a time."""
    table.parent.mkdir(parents=True)
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        for file in files:
            scores = network(_decoded(file, size=size).to(device))[0].sigmoid().cpu()
            writer.writerow([file.name, *(f"{value:.4f}" for value in scores.tolist())])


def _decoded(file: Path, *, size: int = 0) -> Tensor:
    """Return ``(1, 3, H, W)`` in [-1, 1], scaled to a square of ``size`` px unless that is 0."""
    with Image.open(file) as picture:
        image = picture.convert("RGB")
    if size and image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    return signed(pixels)
