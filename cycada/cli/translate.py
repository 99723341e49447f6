"""``cycada translate``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from cycada.cli.output import progress, say
from cycada.cli.rejecting import max_rejected
from cycada.cli.settings import allow_outside, engine
from cycada.rejecting import Limit


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the new index.",
)
@click.option(
    "--depth",
    type=click.Choice(("auto", "8", "16")),
    default="auto",
    show_default=True,
    help="Bits of the images; auto: 16 where the translator knows temperatures, else as before.",
)
@click.option(
    "--scale",
    type=click.Choice(("fit", "keep")),
    default="fit",
    show_default=True,
    help="Show faces at the size of training, or (whole frames) the pixels as they are.",
)
@engine
@max_rejected
@allow_outside
def translate(
    *,
    run: Path,
    source: Path,
    out: Path,
    depth: Literal["auto", "8", "16"],
    scale: Literal["fit", "keep"],
    engine: Literal["torch", "onnx"],
    allow_outside: bool,
    limit: Limit,
) -> None:
    """Turn the RGB faces of SOURCE into thermal ones with the translator of RUN.

    SOURCE is an index, whose labels are carried along, or a plain folder. Images keep their names
    and sizes, but JPEG and NPY become .png. Images that cannot be read are set aside in
    OUT/rejected.csv. Run again to continue.

    \b
    cycada translate runs/translator data/rgb --out data/translated
    cycada translate runs/translator frames --scale keep --out translated
    """  # noqa: D301  # click keeps the lines after the backspace
    from cycada.stages.translate import run_translation

    made = run_translation(
        run, source, out, depth=depth, scale=scale, limit=limit, allow_outside=allow_outside,
        engine=engine, progress=progress(),
    )  # fmt: skip
    say(f"{len(made.faces)} faces translated into {out}")
