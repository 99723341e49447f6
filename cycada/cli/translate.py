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
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the new index, or of the new shards.",
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

    SOURCE may also be WebDataset shards: a folder of .tar files, or a pattern such as
    'rgb-{000000..000099}.tar'. Then OUT holds shards of the same names, all but the image of each
    sample as it was.

    \b
    cycada translate runs/translator data/rgb --out data/translated
    cycada translate runs/translator 'rgb-{000000..000099}.tar' --out translated-shards
    """  # noqa: D301  # click keeps the lines after the backspace
    from cycada.data.shards import shards_named
    from cycada.stages.translate import run_translation
    from cycada.stages.translate_shards import run_shard_translation

    if shards := shards_named(source):
        made_shards = run_shard_translation(
            run, shards, out, depth=depth, scale=scale, limit=limit, engine=engine,
            progress=progress(),
        )  # fmt: skip
        say(f"{made_shards.samples} samples in {made_shards.shards} shards translated into {out}")
        return
    made = run_translation(
        run, source, out, depth=depth, scale=scale, limit=limit, allow_outside=allow_outside,
        engine=engine, progress=progress(),
    )  # fmt: skip
    say(f"{len(made.faces)} faces translated into {out}")
