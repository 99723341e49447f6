"""``cycada evaluate``."""

from __future__ import annotations

from pathlib import Path

import click

from cycada.cli.output import progress, say

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command()
@click.argument("run", type=_FOLDER)
@click.argument("index", type=click.Path(path_type=Path))
@click.option("--out", type=_FOLDER, required=True, help="Folder for the results.")
@click.option(
    "--split",
    type=click.Choice(("train", "val", "test", "all")),
    default="test",
    show_default=True,
    help="Faces to score.",
)
@click.option(
    "--domain",
    type=click.Choice(("thermal", "rgb")),
    default="thermal",
    show_default=True,
    help="Faces that a detector is shown.",
)
@click.option(
    "--detector", type=_FOLDER, help="RGB detector that judges a translator; else the one it has."
)
@click.option("--lpips", metavar="FILE|download", help="AlexNet's weights, for LPIPS.")
@click.option(
    "--features", type=_FILE, help="Weights of Inception v3 (or MobileNetV2), for KID and FID."
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
def evaluate(
    *,
    run: Path,
    index: Path,
    out: Path,
    split: str,
    domain: str,
    detector: Path | None,
    lpips: str | None,
    features: Path | None,
    device: str,
    seed: int,
) -> None:
    """Score a detector or translator RUN on the faces of INDEX, for subjects it never saw.

    A detector: F1, ROC-AUC and average precision of each Action Unit, with intervals over
    subjects. A translator: cycle error, what becomes of the AUs, temperatures, and, where the
    index names pairs, the distance to the truth.

    \b
    cycada evaluate runs/detector data/thermal --out results/detector
    cycada evaluate runs/translator data/both --split test --out results/translator
    """  # noqa: D301  # click keeps the lines after the backspace
    from cycada.stages import evaluate as stage
    from cycada.stages.scoring import EvaluateOptions
    from cycada.training.loading import device_named

    options = EvaluateOptions(
        run=run,
        index=index,
        out=out,
        split=None if split == "all" else split,  # type: ignore[arg-type]
        domain=domain,  # type: ignore[arg-type]
        detector=detector,
        lpips="" if lpips == "download" else lpips,
        features=features,
        device=device_named(device),
        seed=seed,
    )
    result = stage.evaluate(options, progress=progress())
    for line in stage.summary_lines(result, out):
        say(line)
