"""``cycada detect``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from cycada.cli.output import progress, say
from cycada.cli.reading import read_options, reading, stated_window
from cycada.cli.rejecting import max_rejected
from cycada.cli.settings import allow_outside, engine
from cycada.errors import UsageError
from cycada.rejecting import Limit

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=_FOLDER, required=True, help="Folder of the tables.")
@click.option(
    "--domain",
    type=click.Choice(("thermal", "rgb")),
    default="thermal",
    show_default=True,
    help="What the sources show.",
)
@click.option(
    "--faces",
    default="auto",
    show_default=True,
    metavar="auto|whole|DETECTOR|FILE",
    help="How faces are found: heads, dlib, yunet, a file of boxes or weights; whole: they are.",
)
@reading
@stated_window
@click.option("--overlay", is_flag=True, help="Draw the results on the frames, too.")
@click.option("--download", is_flag=True, help="Fetch the weights of yunet if they are not here.")
@engine
@max_rejected
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@allow_outside
def detect(
    *, run: Path, sources: tuple[Path, ...], out: Path, faces: str, overlay: bool, download: bool,
    engine: Literal["torch", "onnx"], device: str, limit: Limit, allow_outside: bool,
    **given: Any,
) -> None:  # fmt: skip
    """Detect AUs in images, folders, videos and indexes with the detector of RUN.

    Each recording and each folder of images becomes a table OUT/NAME.csv with one row per frame,
    whether there is a face or not: AU01 is the calibrated probability, AU01_c the decision and,
    of detectors that learned from graded faces, AU01_r the intensity; all are empty where the
    part of the face cannot be seen. An image that cannot be read is a row with the reason, a
    recording a row of OUT/rejected.csv. Run again to continue.

    \b
    cycada detect runs/both night.cptv --rotate 90 --overlay --out results/night
    cycada detect runs/both data/thermal --out results/detected
    """  # noqa: D301  # click keeps the lines after the backspace
    from cycada.stages.detect import DetectOptions
    from cycada.stages.detect import detect as detect_in
    from cycada.training.loading import device_named

    if engine == "onnx" and device not in ("auto", "cpu"):
        raise UsageError(f"--device {device}: ONNX Runtime computes on the processor here.")
    if download:
        from cycada.data.faces.detectors import fetch_weights

        fetch_weights(faces)
    options = DetectOptions(
        run=run,
        sources=sources,
        out=out,
        read=read_options(**given),
        faces=faces,
        overlay=overlay,
        engine=engine,
        device=device_named("cpu" if engine == "onnx" else device),
        allow_outside=allow_outside,
        limit=limit,
    )
    for found in detect_in(options, progress=progress()):
        for note in found.notes:
            say(note)
        kept = " (kept)" if found.kept else ""
        say(f"{found.table}: {found.frames} frames, {found.faces} with a face{kept}")
