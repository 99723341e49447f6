"""``cycada demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from cycada.cli.output import is_main_process, say


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
    help="quick: a quarter of an hour on two CPU cores; full: an hour, for longer training.",
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
    from cycada.progress import Progress
    from cycada.stages.demo import run_demo

    # Shown also where nobody watches: ten minutes of silence look like a fault in a log.
    shown = Progress(shown=is_main_process())
    summary = run_demo(out, size=size, seed=seed, budget=budget, progress=shown)
    say("Macro F1 on thermal faces of unseen people")
    for name, value in summary["macro_f1"].items():
        say(f"  {name.replace('_', ' '):18} {value:.3f}")
    share = summary["gap_closed"]
    told = "none to close, target supervised is not above source only"
    say(f"Share of the gap closed: {told if share is None else f'{share:.2f}'}")
    say(f"The page to look at: {out / 'report.html'}")
