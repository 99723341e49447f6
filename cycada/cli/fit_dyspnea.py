"""``cycada fit-dyspnea``."""

from __future__ import annotations

from pathlib import Path

import click

from cycada.cli.output import progress, say

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("labels", type=_FILE)
@click.option("--out", type=_FILE, required=True, help="TOML file for cycada monitor --score.")
@click.option(
    "--feature",
    "features",
    multiple=True,
    metavar="NAME",
    help="Column of vitals.csv, such as respiration_rate or AU04; repeatable.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 10),
    help="D-VAS from which an interval counts as dyspnea.  [default: 4]",
)
@click.option("--score", type=_FILE, help="TOML file whose other settings are kept.")
@click.option(
    "--folds",
    type=click.IntRange(3),
    default=5,
    show_default=True,
    help="Parts of the subjects, each judged by a fit to the others.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the folds and the bootstrap."
)
def fit_dyspnea(
    *,
    labels: Path,
    out: Path,
    features: tuple[str, ...],
    threshold: float | None,
    score: Path | None,
    folds: int,
    seed: int,
) -> None:
    """Fit the dyspnea score of cycada monitor to rated intervals of your own patients.

    LABELS is a table with the columns vitals (path of a vitals.csv), subject, start and end in
    seconds, and dyspnea (0 or 1) or dvas (0 to 10). Logistic regression, calibrated; judged by
    cross-validation over subjects. Research use only.

    \b
    cycada fit-dyspnea ratings.csv --out ward.toml
    cycada fit-dyspnea ratings.csv --feature respiration_rate --feature AU04 --out small.toml
    """  # noqa: D301  # click keeps the lines after the backspace
    from cycada.stages import fit_dyspnea as stage

    options = stage.FitOptions(
        labels=labels, out=out, score=score, features=features, threshold=threshold, folds=folds,
        seed=seed,
    )  # fmt: skip
    for line in stage.summary_lines(stage.fit_dyspnea(options, progress=progress())):
        say(line)
