"""``cycada phantom``."""

from __future__ import annotations

from pathlib import Path

import click

from cycada.cli.output import progress, say
from cycada.errors import UsageError

SCENARIOS = ("calm", "fear", "smile", "talk", "pain", "mouth", "apnea", "intubated")


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
@click.option(
    "--clips",
    type=click.IntRange(min=1),
    help="Instead of an index: so many thermal videos of patients, with truth, for monitor.",
)
@click.option(
    "--scenario",
    type=click.Choice(SCENARIOS),
    help="Story of all clips; without it each is another mixture of all that disturbs.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=1, max=3600),
    help="Length of a story.  [default: 120]",
)
@click.pass_context
def phantom(
    ctx: click.Context,
    *,
    out: Path,
    subjects: int,
    frames_per_subject: int,
    size: int,
    seed: int,
    video: bool,
    clips: int | None,
    scenario: str | None,
    seconds: float | None,
) -> None:
    """Draw phantom faces in RGB and thermal, with every Action Unit known.

    They serve to try everything without data, and to measure: the index names the same face in
    the other domain, and landmarks and breathing are in tables beside it. Clips are videos for
    cycada monitor: how fast the patient breathes, and when breathing stops, is known.

    \b
    cycada phantom --out data/phantom
    cycada phantom --clips 4 --scenario fear --out data/clips
    """  # noqa: D301  # click keeps the lines after the backspace
    if scenario and clips is None:
        raise UsageError("--scenario is of clips; give their number with --clips.")
    if seconds and not scenario:
        raise UsageError("--seconds is of a --scenario; mixtures last two minutes.")
    if clips is not None:
        _refuse_index_options(ctx)
        from cycada.stages.phantom import ClipOptions
        from cycada.stages.phantom_clips import make_clips

        wanted = ClipOptions(
            out=out,
            clips=clips,
            scenario=scenario,  # type: ignore[arg-type]
            seconds=seconds or 120.0,
            seed=seed,
        )
        made = make_clips(wanted, progress=progress())
        say(f"{out}: {len(made)} clips of phantom patients in videos, what is true in truth.")
        return
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


def _refuse_index_options(ctx: click.Context) -> None:
    """Refuse options that say nothing of clips.

    Raises:
        UsageError: Naming the first of them.
    """
    for name in ("subjects", "frames_per_subject", "size", "video"):
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(
                f"--{name.replace('_', '-')} is of an index, not of clips; leave it or --clips out."
            )
