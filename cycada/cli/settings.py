"""What the trainings have in common: ``--config``, ``--set``, ``--out`` and more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])

INDEX = click.Path(path_type=str)
RUN = click.Path(path_type=str, file_okay=False)

allow_outside = click.option(
    "--allow-outside",
    is_flag=True,
    help="Believe paths of an index from elsewhere that leave its folder.",
)

engine = click.option(
    "--engine",
    type=click.Choice(("torch", "onnx")),
    default="torch",
    show_default=True,
    help="What computes; onnx: ONNX Runtime, from what `cycada export` wrote instead of RUN.",
)


def training_options(function: Function) -> Function:
    """Add the options that every training has."""
    options = (
        click.option(
            "--config",
            "file",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="TOML file of settings, or the config.json of a run.",
        ),
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Override a setting, such as weights.cycle=5; repeatable.",
        ),
        click.option(
            "--out",
            type=click.Path(path_type=Path, file_okay=False),
            required=True,
            help="Run directory, new or to go on with.",
        ),
        click.option(
            "--download",
            is_flag=True,
            help="Fetch published weights that the settings need and that are not here.",
        ),
        allow_outside,
        click.option("--dry-run", is_flag=True, help="Print the settings as TOML and stop."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def given(**values: Any) -> dict[str, Any]:
    """Return the settings that were given as options of their own; the others stay as they are."""
    return {name: value for name, value in values.items() if value}
