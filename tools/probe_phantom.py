"""Measure how well a small convnet learns AUs from phantoms, within and across the domains.

python tools/probe_phantom.py --faces 6000 --steps 1200

Faces of unseen persons are judged at probability 0.5. The score within a domain says how visible
the AUs are; the score across says how far the domains lie apart.
"""

from __future__ import annotations

import click
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from cycada.action_units import OCCURRENCE_THRESHOLD
from cycada.data import phantom

_SIZE, _BATCH, _FRAMES_PER_PERSON, _JITTER = 64, 64, 8, 3
_DOMAINS: tuple[phantom.Domain, ...] = ("rgb", "thermal")


@click.command()
@click.option("--faces", default=6000, show_default=True, help="Faces to learn from, per domain.")
@click.option("--steps", default=1200, show_default=True, help="Optimizer steps.")
@click.option("--seed", default=1, show_default=True)
@click.option("--only", type=click.Choice(_DOMAINS), default=None, help="Learn from this domain.")
def main(*, faces: int, steps: int, seed: int, only: phantom.Domain | None) -> None:
    """Print macro-F1 and F1 by AU for each pair of learnt and judged domain."""
    judged = {domain: _faces(1000, domain, seed + 1000) for domain in _DOMAINS}
    for learnt in (only,) if only else _DOMAINS:
        torch.manual_seed(seed)
        network = _train(*_faces(faces, learnt, seed), steps=steps)
        for domain in _DOMAINS:
            scores = _f1(network, *judged[domain])
            each = zip(phantom.PHANTOM_ACTION_UNITS, scores.tolist(), strict=True)
            by_unit = " ".join(f"{number}:{score:.2f}" for number, score in each)
            click.echo(f"{learnt} -> {domain}: macro-F1 {scores.mean():.3f}  {by_unit}")


def _faces(count: int, domain: phantom.Domain, seed: int) -> tuple[Tensor, Tensor]:
    """Return images in [-1, 1], thermal ones on three equal channels, and AU occurrence."""
    generator = torch.Generator().manual_seed(seed)
    persons = max(1, count // _FRAMES_PER_PERSON)
    intensities = phantom.sample_intensities(count, domain=domain, generator=generator)
    who = torch.randint(persons, (count,), generator=generator)
    identity = phantom.sample_identities(persons, generator=generator).take(who)
    scene = phantom.sample_scenes(count, generator=generator)
    if domain == "rgb":
        images = phantom.render_rgb(identity, intensities, scene, size=_SIZE) / 127.5 - 1
    else:
        celsius = phantom.render_celsius(identity, intensities, scene, size=_SIZE)
        images = ((celsius - 20) / 10 - 1)[:, None].repeat(1, 3, 1, 1)
    return images, (intensities >= OCCURRENCE_THRESHOLD).float()


def _network() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, 24, 5, 2, 2, bias=False), nn.BatchNorm2d(24), nn.ReLU()]
    width = 24
    for wider in (48, 96, 128):
        layers += [nn.Conv2d(width, wider, 3, 1, 1, bias=False), nn.BatchNorm2d(wider)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
        width = wider
    units = len(phantom.PHANTOM_ACTION_UNITS)
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(width * 16, units))


def _train(images: Tensor, present: Tensor, *, steps: int) -> nn.Sequential:
    network = _network()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    rate = present.mean(0)
    weight = ((1 - rate) / rate.clamp(min=1e-3)).clamp(max=4).sqrt()
    for number in range(steps):
        at = torch.randint(len(images), (_BATCH,))
        batch = images[at].flip(3) if number % 2 else images[at]
        moved = torch.randint(-_JITTER, _JITTER + 1, (2,)).tolist()
        logits = network(batch.roll(moved, (2, 3)))
        loss = F.binary_cross_entropy_with_logits(logits, present[at], pos_weight=weight)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def _f1(network: nn.Module, images: Tensor, present: Tensor) -> Tensor:
    found = (torch.cat([network(part) for part in torch.split(images, 250)]) > 0).float()
    return 2 * (found * present).sum(0) / (found.sum(0) + present.sum(0)).clamp(min=1)


if __name__ == "__main__":
    main()
