"""Estimate, on paper, what several GPUs would make of a training; nothing is measured here.

python tools/scaling_estimate.py
python tools/scaling_estimate.py --bandwidth 10 --gpus 8,16 --pairs 100000

It prints the two tables of docs/scaling.md: what a replica of each network takes on a GPU, and
steps of the translator of 256 px on N GPUs, from figures measured on one (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click
import torch
from torch import nn

from cycada.config import DetectorConfig, DiscriminatorConfig, GeneratorConfig, TranslatorConfig
from cycada.landmarks import EYE_CORNERS
from cycada.models.build import build_detector, build_discriminators, build_generators
from cycada.task import Task

MEGA = 1e6

BYTES_PER_WEIGHT = 24
"""Of a replica while it trains: weight, gradient, DDP's copy of it to be sent, two moments of Adam,
and the averaged weight, in float32."""

MEASURED = ((1, 25.4), (16, 220.0))
"""Images of each domain per step, and milliseconds: one H200, 256/9/64 (docs/performance.md)."""

STARTED_ONE_BY_ONE = 87.0
"""Milliseconds in which a processor starts the operations of a step one by one: measured of the
textbook's step. Several processes do not record their steps, and start about as many."""


@dataclass(frozen=True)
class Step:
    """A step of each of several GPUs, in milliseconds."""

    gpus: int
    images: int  # of each domain, on each GPU
    computed: float
    sent: float  # where none of it is hidden behind the backward pass

    @property
    def slowest(self) -> float:
        """All gradients are sent after the backward pass."""
        return self.computed + self.sent

    @property
    def fastest(self) -> float:
        """They are sent while it computes, as DDP does with all but the last ones."""
        return max(self.computed, self.sent)


def estimate(gpus: int, images: int, *, weights: float, bandwidth: float) -> Step:
    """Return a step of ``gpus`` GPUs with ``images`` images of each domain on each.

    ``t = max(fixed + images * each, started) + 2 (N - 1) / N * 4 bytes * weights / bandwidth``;
    a single GPU records its step, so nothing is started one by one there.

    Args:
        gpus: N.
        images: Of each domain, on each GPU.
        weights: Number of weights whose gradients are averaged.
        bandwidth: Bus bandwidth of an all-reduce in GB/s, as nccl-tests tell it.
    """
    (few, quick), (many, slow) = MEASURED
    each = (slow - quick) / (many - few)
    device = quick + each * (images - few)
    if gpus == 1:
        return Step(1, images, device, 0.0)
    sent = 2 * (gpus - 1) / gpus * 4 * weights / (bandwidth * MEGA)
    return Step(gpus, images, max(device, STARTED_ONE_BY_ONE), sent)


def networks() -> Iterator[tuple[str, Callable[[], list[nn.Module]]]]:
    """Yield the name of what trains together, and what makes it."""
    for size, blocks in ((256, 9), (128, 6)):
        config = TranslatorConfig(
            size=size, generator=GeneratorConfig(width=64, blocks=blocks),
            discriminator=DiscriminatorConfig(),
        )  # fmt: skip

        def translator(config: TranslatorConfig = config) -> list[nn.Module]:
            return [build_generators(config), build_discriminators(config)]

        yield f"translator, {size} px, {blocks} blocks, width 64", translator
    for backbone in ("resnet18", "resnet50", "convnext_tiny", "small", "regions"):
        settings = DetectorConfig(backbone=backbone, pretrained="none")

        def detector(settings: DetectorConfig = settings) -> list[nn.Module]:
            landmarks = EYE_CORNERS if settings.backbone == "regions" else ()
            task = Task(tuple(range(1, 19)))
            return [build_detector(settings, channels=1, task=task, landmarks=landmarks)]

        yield f"detector, {backbone}", detector


def count(modules: list[nn.Module]) -> int:
    """Return the number of weights."""
    return sum(weight.numel() for module in modules for weight in module.parameters())


def print_networks() -> int:
    """Print what each network takes; return the number of weights of the first translator."""
    click.echo("| Network | Weights, millions | MB to send per step | MB of a replica |")
    click.echo("|---|---|---|---|")
    found = []
    for name, make in networks():
        with torch.device("meta"):
            found.append(count(make()))
        sent, held = 4 * found[-1] / MEGA, BYTES_PER_WEIGHT * found[-1] / MEGA
        click.echo(f"| {name} | {found[-1] / MEGA:.2f} | {sent:.0f} | {held:.0f} |")
    return found[0]


def print_steps(
    gpus: list[int], images: list[int], *, weights: int, bandwidth: float, pairs: int, epochs: int
) -> None:
    """Print a row for each number of GPUs and of images on each."""
    click.echo(
        "| GPUs | Images on each | Batch | Step, ms | Pairs/s | Against one GPU with as many "
        f"| Hours for {pairs:,} pairs, {epochs} epochs |"
    )
    click.echo("|---|---|---|---|---|---|---|")
    for few in images:
        alone = estimate(1, few, weights=weights, bandwidth=bandwidth)
        for number in (1, *gpus):
            step = estimate(number, few, weights=weights, bandwidth=bandwidth)
            batch, ends = number * few, (step.fastest, step.slowest)
            rates = [1000 * batch / end for end in ends]
            gains = [number * alone.computed / end for end in ends]
            hours = [pairs * epochs / rate / 3600 for rate in rates]
            click.echo(
                f"| {number} | {few} | {batch} | {_span(ends)} | {_span(rates[::-1])} "
                f"| {_span(gains[::-1], '.2f')} | {_span(hours, '.1f')} |"
            )


def _span(ends: tuple[float, ...] | list[float], form: str = ".0f") -> str:
    low, high = (f"{end:{form}}" for end in ends)
    return low if low == high else f"{low} to {high}"


def _numbers(_context: click.Context, _option: click.Parameter, text: str) -> list[int]:
    try:
        found = [int(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise click.BadParameter("give whole numbers with commas between them, such as 2,8.")
    return found


@click.command()
@click.option("--gpus", default="2,8", show_default=True, callback=_numbers, help="Numbers.")
@click.option(
    "--images", default="1,4,16", show_default=True, callback=_numbers,
    help="Images of each domain on each GPU.",
)  # fmt: skip
@click.option(
    "--bandwidth", default=256.0, show_default=True, type=click.FloatRange(min=0, min_open=True),
    help="Bus bandwidth of an all-reduce of one of DDP's buckets (25 MB), in GB/s.",
)  # fmt: skip
@click.option("--pairs", default=20_000, show_default=True, type=click.IntRange(1), help="Corpus.")
@click.option("--epochs", default=200, show_default=True, type=click.IntRange(1), help="Passes.")
def main(*, gpus: list[int], images: list[int], bandwidth: float, pairs: int, epochs: int) -> None:
    """Print what replicas take, and what steps on several GPUs are estimated to."""
    weights = print_networks()
    click.echo(f"\nEstimated, not measured; all-reduce at {bandwidth:g} GB/s:\n")
    print_steps(gpus, images, weights=weights, bandwidth=bandwidth, pairs=pairs, epochs=epochs)


if __name__ == "__main__":
    main()
