"""``cycada export``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from cycada.cli.output import progress, say


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--format",
    "form",
    type=click.Choice(("onnx", "torchscript", "torch-export")),
    default="onnx",
    show_default=True,
    help="Of the file: .onnx, .pt or .pt2.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="File, or a folder (no suffix), which gets all directions of a translator.",
)
def export(*, run: Path, form: Literal["onnx", "torchscript", "torch-export"], out: Path) -> None:
    """Write the translator or detector of RUN as a file for other programs.

    The file takes any number of images, and a translator's any sides that are multiples of 4. It
    holds what is needed to use it: window, unit, AUs, thresholds, calibration, size. It is compared
    with PyTorch on 32 faces, and is not written if it differs by 0.0001 or more.

    \b
    cycada export runs/both --out thermal-aus.onnx
    cycada export runs/translator --format torch-export --out exported
    """  # noqa: D301  # click keeps the lines after the backspace
    from cycada.stages.export import FACES, LIMIT, run_export

    for made in run_export(run, out, form=form, progress=progress()):
        sizes = ", ".join(f"{height} x {width}" for height, width in made.sizes)
        say(
            f"{made.file}: differs from PyTorch by at most {made.difference:.2g} (allowed: below "
            f"{LIMIT:g}) on {FACES} faces of {sizes} px, in batches of 1 to 8"
        )
