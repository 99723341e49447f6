"""What the trainings have in common: ``--config``, ``--set``, ``--out`` and more."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])

INDEX = click.Path(path_type=str)
RUN = click.Path(path_type=str, file_okay=False)

_CONTROL = {code: f"\\u{code:04x}" for code in (0x7F,)}  # TOML escapes it, JSON does not


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


def settings_text(config: Any, *, table: str = "") -> str:
    """Return settings as TOML that ``--config`` reads back as they are.

    Args:
        config: One of the config dataclasses.
        table: Name of the table that the settings are in, with a dot at its end.
    """
    lines: list[str] = []
    tables: list[str] = []
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            name = table + item.name
            tables.append(f"\n[{name}]\n{settings_text(value, table=name + '.')}")
        else:
            lines.append(f"{item.name} = {_toml(value)}  # {item.metadata['help']}\n")
    return "".join([*lines, *tables])


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, float):
        return repr(value)
    # Otherwise JSON and TOML write a value alike.
    return json.dumps(value, ensure_ascii=False).translate(_CONTROL)
