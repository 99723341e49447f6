"""What verbs say, and which process says it."""

from __future__ import annotations

import os
import sys
import time

import click

from cycada.errors import CycadaError
from cycada.progress import Progress

_PATIENCE = 10.0  # seconds; the launcher stops the other processes sooner, on a busy machine too


def is_main_process() -> bool:
    """Tell whether this is the only process, or the first under ``accelerate launch``."""
    return os.environ.get("RANK", "0") == "0"


def processes() -> int:
    """Return how many processes share the work."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def say(text: str) -> None:
    """Print a line of the result, once however many processes there are."""
    if is_main_process():
        click.echo(text)


def say_error(error: CycadaError) -> None:
    """Print what is wrong on standard error.

    A fault that all processes find is told by the main one, whose end makes the launcher stop the
    others while they wait. A fault that one process alone finds would be lost if it kept silent.
    """
    if is_main_process():
        click.echo(f"Error: {error}", err=True)
    else:
        time.sleep(_PATIENCE)
        click.echo(f"Error in process {os.environ['RANK']}: {error}", err=True)


def progress() -> Progress:
    """Return progress bars, for the main process at a terminal."""
    return Progress(shown=is_main_process() and sys.stderr.isatty())
