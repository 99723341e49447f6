"""``cycada sheet``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from cycada.cli.output import progress, say
from cycada.cli.reading import UNITS
from cycada.cli.settings import allow_outside
from cycada.errors import UsageError

_STILL, _MOVING = (".png", ".pdf", ".svg"), (".mp4", ".gif")
_OF_STILLS = (
    "count", "faces", "seed", "rows", "numbers", "include_subjects", "width", "dpi",
)  # fmt: skip
_OF_VIDEOS = ("sequence", "rate")


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="PNG, PDF or SVG file of faces, or MP4 or GIF file of sequences.",
)
@click.option(
    "--count",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Faces at most; of test subjects, evenly.",
)
@click.option("--face", "faces", multiple=True, metavar="PATH", help="Show this face; repeatable.")
@click.option("--seed", type=int, help="Draw the faces by chance.")
@click.option(
    "--domain",
    type=click.Choice(("rgb", "thermal")),
    default="rgb",
    show_default=True,
    help="Of the faces that are translated.",
)
@click.option(
    "--rows",
    multiple=True,
    type=click.Choice(("source", "made", "truth", "back")),
    help="Show these rows alone; repeatable.",
)
@click.option("--label", "labels", multiple=True, help="Of each row or sequence; repeatable.")
@click.option("--numbers", is_flag=True, help="Number the faces.")
@click.option("--include-subjects", is_flag=True, help="Name the subjects of the faces.")
@click.option(
    "--palette",
    type=click.Choice(("inferno", "ironbow", "grey")),
    default="inferno",
    show_default=True,
    help="Of thermal images.",
)
@click.option(
    "--window",
    nargs=2,
    type=float,
    metavar="LOW HIGH",
    help="Deg C of the colour bar; by default what the sources span.",
)
@click.option("--unit", type=click.Choice(UNITS), help="What thermal pixels without index count.")
@click.option(
    "--width",
    type=click.FloatRange(40, 500),
    default=178.0,
    show_default=True,
    help="Of the sheet in mm: 85 is one column of many journals, 178 two.",
)
@click.option(
    "--dpi", type=click.IntRange(50, 1200), default=300, show_default=True, help="Of a PNG."
)
@click.option("--sequence", default="", help="Of an index: its name, or its subject's.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Frames per second of sequences that do not tell theirs.",
)
@allow_outside
def sheet(
    *, sources: tuple[Path, ...], out: Path, window: tuple[float, float] | None, **given: Any
) -> None:  # fmt: skip
    """Put translated faces, or sequences side by side, on one sheet for papers and talks.

    SOURCES are runs of translators, indexes and folders of images. A picture shows the same faces
    in each, a row for each. A video shows sequences (of an index by --sequence, a recording, a
    folder of frames), the first of which is the source, and tells how much each flickers.

    \b
    cycada sheet runs/translator data/rgb --out figure.pdf
    cycada sheet runs/translator night --rate 9 --out night.mp4
    """  # noqa: D301  # click keeps the lines after the backspace
    from cycada.thermal import Window

    suffix = out.suffix.lower()
    if suffix not in (*_STILL, *_MOVING):
        raise UsageError(
            f"--out {out}: {suffix or 'no suffix'} is no format of a sheet; pictures are .png, "
            ".pdf or .svg, videos .mp4 or .gif."
        )
    _check_meant(click.get_current_context(), still=suffix in _STILL)
    common = {
        "sources": sources, "out": out, "window": Window(*window) if window else None,
        **{
            name: given[name]
            for name in ("labels", "domain", "unit", "allow_outside")
        },
    }  # fmt: skip
    if suffix in _STILL:
        _still({**given, **common})
    else:
        _moving({**given, **common})


def _still(given: dict[str, Any]) -> None:
    from cycada.report.sheet import Style
    from cycada.stages.sheet import SheetOptions, make_sheet

    style = Style(**{name: given.pop(name) for name in ("width", "dpi", "palette")})
    for name in _OF_VIDEOS:
        given.pop(name)
    made = make_sheet(SheetOptions(style=style, **given), progress=progress())
    say(
        f"written to {given['out']}: {made.faces} {made.split} faces, rows {', '.join(made.labels)}"
    )


def _moving(given: dict[str, Any]) -> None:
    from cycada.stages.sheet_video import VideoOptions, make_video

    for name in _OF_STILLS:
        given.pop(name)
    made = make_video(VideoOptions(**given), progress=progress())
    for each in made.flickers:
        say(f"{each.label}: flicker {each}")
    say(f"written to {given['out']}: {made.frames} frames, {made.rate:.4g} per second")


def _check_meant(context: click.Context, *, still: bool) -> None:
    """Refuse options that are about the other kind of sheet.

    Raises:
        UsageError: Naming the first.
    """
    for option in context.command.params:
        name = option.name or ""
        given = context.get_parameter_source(name) == ParameterSource.COMMANDLINE
        if given and name in (_OF_VIDEOS if still else _OF_STILLS):
            raise UsageError(
                f"{option.opts[0]} is for a {'video' if still else 'picture'}, and --out names a "
                f"{'picture' if still else 'video'}; leave it out."
            )
