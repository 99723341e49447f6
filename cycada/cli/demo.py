"""``cycada demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Folder for all that is made.",
)
@click.option(
    "--size",
    type=click.IntRange(min=16),
    default=64,
    show_default=True,
    help="Side of the square images in px, a multiple of 4.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option(
    "--budget",
    type=click.Choice(("quick", "full")),
    default="quick",
    show_default=True,
    help="quick: minutes on two CPU cores; full: longer training.",
)
def demo(*, out: Path, size: int, seed: int, budget: Literal["quick", "full"]) -> None:
    """Walk the whole way on phantom faces, and end with a page to look at.

    Draws faces, trains an RGB detector and a translator, translates, trains thermal detectors
    with and without adaptation, and scores them on people whom none of them saw. Run again to
    continue.

    \b
    cycada demo
    cycada demo --seed 1 --budget full --out demo-full
    """  # noqa: D301  # click keeps the lines after the backspace
    from cycada.stages.demo import run_demo

    run_demo(out, size=size, seed=seed, budget=budget)
