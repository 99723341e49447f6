"""``cycada index``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cycada.cli.output import progress, say
from cycada.cli.reading import READING, read_options, reading
from cycada.cli.rejecting import max_rejected
from cycada.cli.settings import allow_outside
from cycada.errors import UsageError

_KINDS = ("occurrence", "intensity", "probability")
_LAYOUTS = (
    "auto", "disfa", "bp4d", "bp4d-intensity", "openface", "openface3", "pyfeat", "libreface",
    "pyafar", "emotionet", "rafau", "ckplus", "affwild2", "csv",
)  # fmt: skip
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option("--rgb", type=_FOLDER, help="Folder of RGB faces, searched recursively.")
@click.option("--thermal", type=_FOLDER, help="Folder of thermal faces, searched recursively.")
@click.option("--out", type=_FOLDER, required=True, help="Folder of the new index.")
@click.option(
    "--labels",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Labels: a table, or a corpus or program's output, file or folder; repeatable.",
)
@click.option(
    "--format",
    "layout",
    type=click.Choice(_LAYOUTS),
    default="auto",
    show_default=True,
    help="Layout of the labels; see docs/labels.md.",
)
@click.option(
    "--subject",
    default="folder",
    metavar="folder|REGEX",
    show_default=True,
    help="Subject by the first folder, or by the group of a pattern on the path.",
)
@click.option(
    "--crop",
    is_flag=False,
    flag_value="auto",
    default="",
    metavar="[auto|DETECTOR|FILE]",
    help="Cut the faces out of images and recordings: found by their warmth (thermal) or by dlib "
    "(RGB), by yunet, or by a file of boxes, landmarks or weights.",
)
@click.option(
    "--download", is_flag=True, help="With --crop yunet: fetch its weights if they are not here."
)
@click.option(
    "--every",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="With --crop: take each n-th frame of a recording.",
)
@reading
@click.option(
    "--window",
    nargs=2,
    type=float,
    default=(20.0, 40.0),
    show_default=True,
    metavar="LOW HIGH",
    help="Temperatures in deg C that the thermal images span.",
)
@click.option(
    "--kind",
    type=click.Choice(_KINDS),
    help="What labels are; occurrence also makes occurrences of the others.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 5, min_open=True),
    help="Value from which an AU occurs.  [default: intensity 2, probability 0.5]",
)
@click.option(
    "--frame-offset",
    type=int,
    metavar="N",
    help="Label n belongs to frame n + N.  [default: found from the images, else 0]",
)
@click.option(
    "--missing", multiple=True, type=float, help="Label value that means not annotated; repeatable."
)
@click.option(
    "--fractions",
    nargs=3,
    type=float,
    default=(0.7, 0.1, 0.2),
    show_default=True,
    metavar="TRAIN VAL TEST",
    help="Shares of the subjects.",
)
@click.option(
    "--folds",
    default="",
    metavar="bp4d|disfa|K",
    help="Make an index per fold: the published ones, or K.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Deals the subjects.")
@click.option("--source", default="", help="Where the images come from; kept in the index.")
@click.option("--licence", default="", help="Their licence; kept in the index.")
@click.option(
    "--exclude",
    multiple=True,
    type=click.Path(path_type=Path),
    help="List of images to leave out, such as marked.csv of a report; repeatable.",
)
@click.option(
    "--from",
    "copied",
    type=click.Path(path_type=Path),
    metavar="INDEX",
    help="Copy this index without what --exclude names, instead of reading folders.",
)
@max_rejected
@allow_outside
@click.option("--overwrite", is_flag=True, help="Replace an index that is there already.")
@click.pass_context
def index(context: click.Context, /, **given: Any) -> None:
    """Index folders of face images: who they show, their labels, and their split.

    The images stay where they are; the index (index.csv and index.toml) points to them. Subjects
    are dealt to train, val and test, never single images. Images that cannot be read are set aside
    in OUT/rejected.csv, those that --exclude names are listed in OUT/excluded.csv.

    \b
    cycada index --rgb faces --labels faces/au.csv --out data/rgb
    cycada index --thermal lepton --unit centikelvin --out data/thermal
    """  # noqa: D301  # click keeps the lines after the backspace
    copied, trusted = given.pop("copied"), given.pop("allow_outside")
    if copied is not None:
        _copy(context, copied, allow_outside=trusted)
        return
    if trusted:
        raise UsageError("--allow-outside is for the index that --from copies.")
    if given.pop("download"):
        from cycada.data.faces.detectors import fetch_weights

        fetch_weights(given["crop"])
    from cycada.stages.index import make_index, summary
    from cycada.stages.index_options import IndexOptions
    from cycada.thermal import Window

    given["window"] = Window(*given["window"])
    read = {name: given.pop(name) for name in READING if name != "unit"}
    if not given["crop"]:
        for name, value in {**read, "every": given["every"] - 1}.items():
            if value not in (None, "0", 0):
                raise UsageError(f"--{name} is for files that faces are cut out of: give --crop.")
    given["read"] = read_options(domain="thermal", **read)
    made = make_index(IndexOptions(**given), progress=progress())
    for note in made.notes:
        say(note)
    for fold in made.folds:
        say(f"\n{fold.root}")
        say(summary(fold))
    if not made.folds:
        say(summary(made.faces))


_OF_COPIES = frozenset({"out", "exclude", "copied", "overwrite", "allow_outside"})


def _copy(context: click.Context, copied: Path, *, allow_outside: bool) -> None:
    """Copy an index without what is to be left out; all else is as it is there."""
    for option in context.command.params:
        name = option.name or ""
        given = context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        if given and name not in _OF_COPIES:
            raise UsageError(
                f"{option.opts[0]} does not go with --from, which copies an index as it is."
            )
    lists = context.params["exclude"]
    if not lists:
        raise UsageError("--from copies an index without some images: give --exclude FILE.")
    from cycada.stages.excluding import WithoutOptions, index_without
    from cycada.stages.index import summary

    options = WithoutOptions(
        index=copied, lists=lists, out=context.params["out"],
        overwrite=context.params["overwrite"], allow_outside=allow_outside,
    )  # fmt: skip
    made, notes = index_without(options)
    for note in notes:
        say(note)
    say(summary(made))
