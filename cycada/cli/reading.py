"""Options that say how to read camera files, shared by the verbs that read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from cycada.footage import Domain, ReadOptions

F = TypeVar("F", bound=Callable[..., Any])

UNITS = ("grey", "centikelvin", "decikelvin", "kelvin64", "kelvin16", "kelvin", "celsius")

READING = (
    "unit", "rotate", "polarity", "palette", "emissivity", "reflected", "calibration",
)  # fmt: skip
"""Names of the options of :func:`reading`."""

_OPTIONS = (
    click.option("--unit", type=click.Choice(UNITS), help="What thermal pixels count."),
    click.option(
        "--rotate",
        type=click.Choice(("0", "90", "180", "270")),
        default="0",
        show_default=True,
        help="Degrees clockwise that turn frames upright.",
    ),
    click.option(
        "--polarity",
        type=click.Choice(("white-hot", "black-hot")),
        help="Of grey pictures; black-hot ones are turned into white-hot.",
    ),
    click.option(
        "--palette",
        metavar="NAME|FILE",
        help="Palette of colour pictures: grey, ironbow, hot, jet, rainbow, cividis, inferno, "
        "magma, plasma, turbo, viridis, a picture of the colour bar, or a radiometric JPEG.",
    ),
    click.option("--emissivity", type=float, help="Of the surface, instead of that in the file."),
    click.option(
        "--reflected",
        type=float,
        metavar="CELSIUS",
        help="Apparent temperature that is reflected.",
    ),
    click.option(
        "--calibration",
        type=click.Path(path_type=Path, dir_okay=False),
        help="TOML file that makes temperatures of raw counts.",
    ),
)

stated_window = click.option(
    "--window",
    nargs=2,
    type=float,
    metavar="LOW HIGH",
    help="Deg C of black and white, where pictures or the detector have no temperatures.",
)
"""The option of verbs that show frames to a detector."""


def reading(function: F) -> F:
    """Add the options that say how to read camera files, but not ``--window``."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def read_options(
    *, domain: Domain, rotate: str, window: tuple[float, float] | None = None, **given: Any
) -> ReadOptions:
    """Return what the options of :func:`reading` and ``--window`` say.

    Raises:
        UsageError: An option is impossible, or about thermal files while the domain is RGB.
    """
    from cycada.footage import ReadOptions
    from cycada.thermal import Window

    return ReadOptions(
        domain=domain,
        rotate=int(rotate),  # type: ignore[arg-type]  # one of the choices
        window=Window(*window) if window else None,
        **given,
    )
