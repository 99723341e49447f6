"""``cycada convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cycada.cli.output import progress, say

_UNITS = ("grey", "centikelvin", "decikelvin", "kelvin64", "kelvin16", "kelvin", "celsius")


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the images.",
)
@click.option("--unit", type=click.Choice(_UNITS), help="What thermal pixels count.")
@click.option(
    "--rotate",
    type=click.Choice(("0", "90", "180", "270")),
    default="0",
    show_default=True,
    help="Degrees clockwise that turn frames upright.",
)
@click.option(
    "--polarity",
    type=click.Choice(("white-hot", "black-hot")),
    help="Of grey pictures; black-hot ones are turned into white-hot.",
)
@click.option(
    "--palette",
    metavar="NAME|FILE",
    help="Palette of colour pictures: grey, ironbow, hot, jet, rainbow, cividis, inferno, magma, "
    "plasma, turbo, viridis, a picture of the colour bar, or a radiometric JPEG of the camera.",
)
@click.option("--emissivity", type=float, help="Of the surface, instead of that in the file.")
@click.option(
    "--reflected", type=float, metavar="CELSIUS", help="Apparent temperature that is reflected."
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file that makes temperatures of raw counts.",
)
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
@click.option("--dry-run", is_flag=True, help="Tell what is understood of the sources, and stop.")
def convert(
    sources: tuple[Path, ...], *, out: Path, kind: Any, every: int, dry_run: bool, **read: Any
) -> None:
    """Make images of thermal camera files: recordings, stacks, radiometric JPEGs, video.

    SOURCES are files, or folders that are searched for them. Each recording becomes a folder of
    images named by the number of their frame, with their times. Run again to continue.

    \b
    cycada convert recordings --rotate 90 --out lepton
    cycada convert recordings --dry-run --out lepton
    """  # noqa: D301  # click keeps the lines after the backspace
    from cycada.footage import ReadOptions
    from cycada.stages.convert import ConvertOptions, plan_conversion, run_conversion
    from cycada.thermal import Window

    read["rotate"] = int(read["rotate"])
    read["window"] = Window(*read["window"]) if read["window"] else None
    options = ConvertOptions(
        sources=sources, out=out, read=ReadOptions(**read), kind=kind, every=every
    )
    plan = plan_conversion(options, progress=progress())
    for note in (*plan.notes, *plan.problems) if dry_run else plan.notes:
        say(note)
    plan.check()
    if not dry_run:
        made = run_conversion(plan, progress=progress())
        say(f"{made.images} images, {made.recordings} recordings among the sources, in {out}")
