"""``cycada convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cycada.cli.output import progress, say
from cycada.cli.reading import read_options, reading
from cycada.cli.rejecting import max_rejected
from cycada.rejecting import Limit


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the images.",
)
@reading
@click.option(
    "--as",
    "kind",
    type=click.Choice(("png16", "tiff16", "npy", "png8")),
    help="Kind of image; by default 16-bit centikelvin PNG, or 8-bit grey where that is all.",
)
@click.option(
    "--window",
    nargs=2,
    type=float,
    metavar="LOW HIGH",
    help="Deg C of black and white in 8-bit pictures, read or written.",
)
@click.option(
    "--every",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Take each n-th frame.",
)
@max_rejected
@click.option("--dry-run", is_flag=True, help="Tell what is understood of the sources, and stop.")
def convert(
    sources: tuple[Path, ...], *, out: Path, kind: Any, every: int, limit: Limit, dry_run: bool,
    **read: Any,
) -> None:  # fmt: skip
    """Make images of thermal camera files: recordings, stacks, radiometric JPEGs, video.

    SOURCES are files, or folders that are searched for them. Each recording becomes a folder of
    images named by the number of their frame, with their times. Sources that cannot be read are set
    aside in OUT/rejected.csv. Run again to continue.

    \b
    cycada convert recordings --rotate 90 --out lepton
    cycada convert recordings --dry-run --out lepton
    """  # noqa: D301  # click keeps the lines after the backspace
    from cycada.stages.convert import ConvertOptions, plan_conversion, run_conversion

    options = ConvertOptions(
        sources=sources, out=out, read=read_options(domain="thermal", **read), kind=kind,
        every=every, limit=limit,
    )  # fmt: skip
    plan = plan_conversion(options, progress=progress())
    for note in plan.notes:
        say(note)
    for problem in plan.problems if dry_run else ():
        say(f"{problem.source}: {problem.reason}")
    plan.check()
    if not dry_run:
        made = run_conversion(plan, progress=progress())
        say(f"{made.images} images, {made.recordings} recordings among the sources, in {out}")
