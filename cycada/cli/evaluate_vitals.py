"""``cycada evaluate-vitals``."""

from __future__ import annotations

from pathlib import Path

import click

from cycada.cli.output import say


@click.command()
@click.argument(
    "vitals", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True)
)  # fmt: skip
@click.option(
    "--truth",
    "truths",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, exists=True),
    help="Table of what is known: one for each of VITALS, in their order; or a folder of tables "
    "named as the folders of VITALS.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the results.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
def evaluate_vitals(
    *, vitals: tuple[Path, ...], truths: tuple[Path, ...], out: Path, seed: int
) -> None:
    """Compare what cycada monitor told with what is known of the same patients.

    VITALS are folders that it wrote to, or a folder of these. Rates: mean error, bias, limits of
    agreement, coverage; apneas found; alarms: delay, and false ones per hour. A truth is a table
    with the columns seconds and respiration_rate, and perhaps apnea, dyspnea and subject.

    \b
    cycada evaluate-vitals watched --truth clips/truth --out results/vitals
    cycada evaluate-vitals watched/ward --truth belts --out results/ward
    """  # noqa: D301  # click keeps the lines after the backspace
    from cycada.stages import evaluate_vitals as stage

    options = stage.EvaluateVitalsOptions(vitals=vitals, truths=truths, out=out, seed=seed)
    for line in stage.summary_lines(stage.evaluate_vitals(options), out):
        say(line)
