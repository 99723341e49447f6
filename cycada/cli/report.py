"""``cycada report``."""

from __future__ import annotations

from pathlib import Path

import click

from cycada.cli.output import progress, say
from cycada.cli.settings import allow_outside


def _count(_context: click.Context, _option: click.Parameter, text: str) -> int | None:
    """Return a number of images; None for all."""
    if text == "all":
        return None
    if text.isdecimal() and int(text):
        return int(text)
    raise click.BadParameter(f"expected a number of images from 1 on, or all; found {text!r}.")


def _pixels(_context: click.Context, _option: click.Parameter, text: str) -> int | None:
    """Return a number of pixels, given in millions; None for any number."""
    if text == "all":
        return None
    if text.isdecimal():
        return int(text) * 1_000_000
    raise click.BadParameter(f"expected millions of pixels from 0 on, or all; found {text!r}.")


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="HTML file, or the folder for report.html.",
)
@click.option("--no-samples", is_flag=True, help="Leave out all pictures of faces.")
@click.option(
    "--include-subjects", is_flag=True, help="Name subjects, and paths with their folders."
)
@click.option(
    "--count",
    metavar="N|all",
    callback=_count,
    default="400",
    show_default=True,
    help="Images of each gallery at most, evenly over splits and subjects, or `all`.",
)
@click.option(
    "--full-size",
    "full_pixels",
    metavar="MP|all",
    callback=_pixels,
    default="200",
    show_default=True,
    help="Megapixels in full size of all galleries, of the worst images first; up to 2 MB each.",
)
@allow_outside
@click.option("--title", default="", help="Heading of the page.")
def report(
    *,
    paths: tuple[Path, ...],
    out: Path,
    title: str,
    no_samples: bool,
    include_subjects: bool,
    count: int | None,
    full_pixels: int | None,
    allow_outside: bool,
) -> None:
    """Write an HTML page about PATHS: runs, evaluations, audits and indexes, in any mix.

    The page needs no network. Galleries of faces lie beside it, in a folder of its name that ends
    in `_files`: both belong together. A folder that holds such PATHS may be given instead of them.
    The page names no subject and no folder, but shows faces.

    \b
    cycada report runs/translator results/pixel results/both --out report.html
    cycada report demo --out demo
    """  # noqa: D301  # click keeps the lines after the backspace
    from cycada.stages.report import report as make_report

    file = make_report(
        paths,
        out,
        title=title,
        samples=not no_samples,
        include_subjects=include_subjects,
        allow_outside=allow_outside,
        count=count,
        full_pixels=full_pixels,
        progress=progress(),
    )
    say(f"written to {file}")
