"""``cycada train-translator``."""

from __future__ import annotations

from pathlib import Path

import click

from cycada.cli.output import say
from cycada.cli.rejecting import max_rejected
from cycada.cli.settings import INDEX, RUN, given, training_options
from cycada.rejecting import Limit


@click.command()
@click.option(
    "--data", multiple=True, type=INDEX, metavar="INDEX", help="Index with faces; repeatable."
)
@click.option(
    "--detector", type=RUN, metavar="RUN", help="Run of an RGB detector, for the semantic term."
)
@max_rejected
@training_options
def train_translator(
    *,
    data: tuple[str, ...],
    detector: str | None,
    file: Path | None,
    overrides: tuple[str, ...],
    out: Path,
    download: bool,
    allow_outside: bool,
    limit: Limit,
    dry_run: bool,
) -> None:
    """Train the RGB-to-thermal translator; run again to resume.

    The indexes together hold RGB and thermal faces, of different people and unpaired. The RGB
    detector keeps the translations true to the Action Units; without it, only the cycle does.

    \b
    cycada train-translator --data data/rgb --data data/thermal --detector runs/rgb --out runs/translator
    cycada train-translator --data data/both --set size=64 --set steps=10000 --out runs/small
    """  # noqa: D301, E501  # click keeps the lines after the backspace
    from cycada.config import TranslatorConfig
    from cycada.settings import load_config, settings_text

    values = given(data=data, detector=detector)
    config = load_config(TranslatorConfig, file, overrides, values)
    if dry_run:
        say(settings_text(config))
        return
    from cycada.stages.train_translator import run_training

    run_training(config, out, download=download, limit=limit, allow_outside=allow_outside)
    say(f"written to {out}")
