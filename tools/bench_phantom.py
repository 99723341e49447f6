"""Measure how many phantom face pairs (RGB and thermal) are drawn per second.

python tools/bench_phantom.py --size 64 --threads 2
"""

from __future__ import annotations

import time

import click
import torch

from cycada.data import phantom


@click.command()
@click.option("--size", default=64, show_default=True, help="Side of a face in pixels.")
@click.option("--count", default=128, show_default=True, help="Faces per round.")
@click.option("--rounds", default=5, show_default=True, help="The best round counts.")
@click.option("--threads", default=2, show_default=True, help="Threads of torch.")
def main(*, size: int, count: int, rounds: int, threads: int) -> None:
    """Print pairs per second, by the clock and by the processor time of one core."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    identity = phantom.sample_identities(count, generator=generator)
    intensities = phantom.sample_intensities(count, domain="rgb", generator=generator)
    scene = phantom.sample_scenes(count, generator=generator)
    phantom.render_pair(identity.take([0]), intensities[:1], scene.take([0]), size=size)
    walls, cores = [], []
    for _ in range(rounds):
        wall, core = time.perf_counter(), time.process_time()
        phantom.render_pair(identity, intensities, scene, size=size)
        walls.append(time.perf_counter() - wall)
        cores.append(time.process_time() - core)
    click.echo(
        f"{size} px, {threads} threads: {count / min(walls):.0f} pairs/s, "
        f"{count / min(cores):.0f} pairs per second of processor time"
    )


if __name__ == "__main__":
    main()
