"""``cycada phantom``."""

from __future__ import annotations

from pathlib import Path

import click

from cycada.cli.output import progress, say


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the new index.",
)
@click.option(
    "--subjects",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="People in each domain; RGB and thermal people differ.",
)
@click.option(
    "--frames-per-subject",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Images of each of them.",
)
@click.option(
    "--size",
    type=click.IntRange(min=16),
    default=64,
    show_default=True,
    help="Side of the square images in px.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything drawn.")
@click.option("--video", is_flag=True, help="Consecutive frames of people who breathe.")
def phantom(
    *, out: Path, subjects: int, frames_per_subject: int, size: int, seed: int, video: bool
) -> None:
    """Draw phantom faces in RGB and thermal, with every Action Unit known.

    They serve to try everything without data, and to measure: the index names the same face in
    the other domain, and landmarks and breathing are in tables beside it.

    \b
    cycada phantom --out data/phantom
    cycada phantom --subjects 4 --frames-per-subject 300 --video --out data/breathing
    """  # noqa: D301  # click keeps the lines after the backspace
    from cycada.stages.index import summary
    from cycada.stages.phantom import PhantomOptions, make_phantom

    options = PhantomOptions(
        out=out,
        rgb_subjects=subjects,
        thermal_subjects=subjects,
        frames=frames_per_subject,
        size=size,
        seed=seed,
        video=video,
    )
    say(summary(make_phantom(options, progress=progress())))
