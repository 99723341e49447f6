"""``cycada view``."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path

import click

from cycada.cli.output import say
from cycada.cli.settings import allow_outside

_PORT = 8765
_HIGHEST = 65535


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--port",
    type=click.IntRange(0, _HIGHEST),
    default=_PORT,
    show_default=True,
    help="Of 127.0.0.1, where this machine alone can ask; 0 takes any that is free.",
)
@click.option("--no-browser", is_flag=True, help="Print the address, and open no browser.")
@click.option("--no-samples", is_flag=True, help="Leave out all pictures of faces.")
@click.option(
    "--include-subjects", is_flag=True, help="Name subjects, and paths with their folders."
)
@allow_outside
@click.option("--title", default="", help="Heading of the page.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
def view(
    *, paths: tuple[Path, ...], port: int, no_browser: bool, no_samples: bool,
    include_subjects: bool, allow_outside: bool, title: str, device: str,
) -> None:  # fmt: skip
    """Look at PATHS in a browser of this machine, while a run among them trains, too.

    Shows curves and samples of trainings as they come, what a chosen checkpoint makes of an image
    that is dropped on the page, and the page of `cycada report`. Nothing is written beside PATHS,
    and no image leaves this machine. Ctrl-C ends it.

    \b
    cycada view runs/translator runs/both
    cycada view demo --port 0 --no-browser
    """  # noqa: D301  # click keeps the lines after the backspace
    from cycada.stages.view import ViewOptions
    from cycada.stages.view import view as serve
    from cycada.training.loading import device_named

    def ready(address: str, way_in: Path) -> None:
        say(f"{address}\nOnly who knows this address can open it. Ctrl-C ends the server.")
        if not no_browser and _has_screen():
            webbrowser.open(way_in.as_uri())

    options = ViewOptions(
        paths=paths, port=port, title=title, samples=not no_samples,
        include_subjects=include_subjects, allow_outside=allow_outside,
        device=device_named(device),
    )  # fmt: skip
    serve(options, ready=ready)


def _has_screen() -> bool:
    """Tell whether a browser would open in a window, and not in this terminal."""
    windowed = sys.platform in ("darwin", "win32")
    return windowed or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
