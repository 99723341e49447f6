"""``cycada train-detector``."""

from __future__ import annotations

from pathlib import Path

import click

from cycada.cli.output import say
from cycada.cli.rejecting import max_rejected
from cycada.cli.settings import INDEX, RUN, given, training_options
from cycada.rejecting import Limit


@click.command()
@click.option(
    "--source",
    multiple=True,
    type=INDEX,
    metavar="INDEX",
    help="Index with labelled faces; repeatable.",
)
@click.option(
    "--target",
    multiple=True,
    type=INDEX,
    metavar="INDEX",
    help="Index whose thermal faces are adapted to, without their labels; repeatable.",
)
@click.option(
    "--labelled-target",
    multiple=True,
    type=INDEX,
    metavar="INDEX",
    help="Index whose labelled thermal faces are mixed in; repeatable.",
)
@click.option("--initial", type=RUN, metavar="RUN", help="Run of a detector to begin from.")
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    type=RUN,
    metavar="RUN",
    help="Run of a detector that answers for the target's unlabelled faces; repeatable.",
)
@max_rejected
@training_options
def train_detector(  # noqa: PLR0913  # an argument for each option
    *,
    source: tuple[str, ...],
    target: tuple[str, ...],
    labelled_target: tuple[str, ...],
    initial: str | None,
    teachers: tuple[str, ...],
    file: Path | None,
    overrides: tuple[str, ...],
    out: Path,
    download: bool,
    allow_outside: bool,
    limit: Limit,
    dry_run: bool,
) -> None:
    """Train an Action Unit detector, adapted to real thermal faces or not; run again to resume.

    Without a target it learns from the source alone: RGB faces give the detector that guides the
    translator, translated faces the one to adapt further. Detectors that have been aligned, best
    with different views, can teach one that is better than each of them (--teacher).

    \b
    cycada train-detector --source data/rgb --out runs/rgb
    cycada train-detector --source data/translated --target data/thermal --set alignment.method=dann --out runs/aligned
    """  # noqa: D301, E501  # click keeps the lines after the backspace
    from cycada.config import DetectorConfig
    from cycada.settings import load_config, settings_text

    values = given(
        source=source, target=target, labelled_target=labelled_target, initial=initial,
        teachers=teachers,
    )  # fmt: skip
    config = load_config(DetectorConfig, file, overrides, values)
    if dry_run:
        say(settings_text(config))
        return
    from cycada.stages.train_detector import run_training

    run_training(config, out, download=download, limit=limit, allow_outside=allow_outside)
    say(f"written to {out}")
