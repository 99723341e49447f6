"""``cycada export``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from cycada.cli.output import progress, say
from cycada.cli.settings import allow_outside


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
@click.option(
    "--int8",
    is_flag=True,
    help="Let layers compute in 8 bits, for processors; refused where that loses Action Units.",
)
@allow_outside
def export(
    *, run: Path, form: Literal["onnx", "torchscript", "torch-export"], out: Path, int8: bool,
    allow_outside: bool,
) -> None:  # fmt: skip
    """Write the translator or detector of RUN as a file for other programs.

    The file takes any number of images, and a translator's any sides that are multiples of 4. It
    holds what is needed to use it: window, unit, AUs, thresholds, calibration, size. It is compared
    with PyTorch on 32 faces, and is not written if it differs by 0.0001 or more. With --int8 the
    faces that the run was trained with tell what is lost, and no more than 0.01 of macro F1 may be.

    \b
    cycada export runs/translator --int8 --out to-thermal.onnx
    cycada export runs/translator --format torch-export --out exported
    """  # noqa: D301  # click keeps the lines after the backspace
    from cycada.stages.export import FACES, LIMIT, run_export

    exported = run_export(
        run, out, form=form, int8=int8, allow_outside=allow_outside, progress=progress()
    )
    for made in exported:
        sizes = ", ".join(f"{height} x {width}" for height, width in made.sizes)
        say(
            f"{made.file}: {'in float32 ' if made.kept else ''}differs from PyTorch by at most "
            f"{made.difference:.2g} (allowed: below {LIMIT:g}) on {FACES} faces of {sizes} px, in "
            "batches of 1 to 8"
        )
        if made.kept:
            say(
                f"{made.file}: in int8 the macro F1 of {made.kept.faces} labelled validation faces "
                f"is {made.kept.macro_f1:.3f} instead of {made.kept.exact:.3f}, and "
                f"{made.kept.turned:.1%} of the decisions are others"
            )
