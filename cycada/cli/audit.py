"""``cycada audit``."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

import click

from cycada.cli.output import progress, say
from cycada.cli.settings import allow_outside

_SEVERITY, _CHECK = 9, 17  # width of the first columns


@click.command()
@click.argument("indexes", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for audit.json and audit.html, a page that shows the images.",
)
@allow_outside
@click.pass_context
def audit(
    context: click.Context, *, indexes: tuple[Path, ...], out: Path | None, allow_outside: bool
) -> None:
    """Look for what would spoil a training on INDEXES, before any training.

    Broken files, pictures in two splits, one person under two names, values of the wrong range,
    contrast stretched frame by frame, thermal images made of colour ones, mixed cameras, labels
    that never vary. Give all indexes that are to be used together. Ends with 1 where there are
    errors; trainings refuse those.

    \b
    cycada audit data/rgb data/thermal
    cycada audit data/thermal --out audit
    """  # noqa: D301  # click keeps the lines after the backspace
    from cycada.stages.audit import audit as look_for_faults
    from cycada.stages.audit import summary, write_audit

    found = look_for_faults(indexes, allow_outside=allow_outside, progress=progress())
    width = shutil.get_terminal_size().columns
    for finding in found.findings:
        head = f"{finding.severity:{_SEVERITY}}{finding.check:{_CHECK}}"
        say(
            textwrap.fill(
                finding.text, max(width, 80), initial_indent=head,
                subsequent_indent=" " * len(head), break_long_words=False, break_on_hyphens=False,
            )
        )  # fmt: skip
    say(summary(found))
    if out is not None:
        say(f"written to {write_audit(found, out)}")
    context.exit(1 if found.errors else 0)
