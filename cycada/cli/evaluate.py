"""``cycada evaluate``."""

from __future__ import annotations

from pathlib import Path

import click

from cycada.cli.output import progress, say
from cycada.cli.settings import allow_outside
from cycada.errors import UsageError

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
    show_default="thermal",
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
@allow_outside
def evaluate(  # noqa: PLR0913 - its options
    *,
    run: Path,
    index: Path,
    out: Path,
    split: str,
    domain: str | None,
    detector: Path | None,
    lpips: str | None,
    features: Path | None,
    device: str,
    seed: int,
    allow_outside: bool,
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
    from cycada.training.run_reading import run_kind

    options = EvaluateOptions(
        run=run,
        index=index,
        out=out,
        split=None if split == "all" else split,  # type: ignore[arg-type]
        domain=domain or "thermal",  # type: ignore[arg-type]
        detector=detector,
        lpips="" if lpips == "download" else lpips,
        features=features,
        device=device_named(device),
        seed=seed,
        allow_outside=allow_outside,
    )
    given = {"domain": domain, "detector": detector, "lpips": lpips, "features": features}
    _check_meant(run, run_kind(run), [name for name, value in given.items() if value is not None])
    result = stage.evaluate(options, progress=progress())
    for line in stage.summary_lines(result, out):
        say(line)


def _check_meant(run: Path, kind: str, given: list[str]) -> None:
    """Refuse options that say nothing to a run of this kind.

    Raises:
        UsageError: Naming the first of them.
    """
    for name in given:
        meant = "detector" if name == "domain" else "translator"
        if meant != kind:
            raise UsageError(
                f"--{name} is for a {meant}, but {run} is the run of a {kind}; leave it out."
            )
