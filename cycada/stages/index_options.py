"""What to index and how to read it, and whether these options fit together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cycada.data.faces.crops import CROPS_NAME
from cycada.data.folders import FOLDER
from cycada.data.index import CSV_NAME
from cycada.data.index_info import TOML_NAME
from cycada.data.label_table import LabelKind
from cycada.data.labels import AnyLayout
from cycada.data.landmarks import LANDMARKS_NAME
from cycada.errors import DataError, UsageError
from cycada.footage import ReadOptions
from cycada.rejecting import REJECTED_NAME, Limit
from cycada.stages.excluding import EXCLUDED_NAME
from cycada.thermal import Unit, Window

CLAIM_NAME = ".index"  # there while the files of an index are written


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexOptions:
    """What to index, and how to read it."""

    out: Path  # folder of the index
    rgb: Path | None = None
    thermal: Path | None = None
    labels: tuple[Path, ...] = ()  # files, or folders of corpora
    layout: AnyLayout = "auto"  # of the labels
    subject: str = FOLDER  # or a regular expression whose first group is the subject
    unit: Unit | None = None  # of the thermal images; None: guess, if there can be no doubt
    window: Window = Window()  # deg C that the thermal images span
    kind: LabelKind | None = None  # None: infer
    threshold: float | None = None  # from which value an AU occurs; None: the usual of the kind
    frame_offset: int | None = None  # from the frame of a label to that of its image; None: find
    missing: tuple[float, ...] = ()  # label values that mean "not annotated"
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)  # of the subjects
    seed: int = 0
    folds: str = ""  # bp4d, disfa or a number: make as many indexes, in folders of their own
    source: str = ""
    licence: str = ""
    limit: Limit = field(default_factory=Limit)  # how many images may be set aside
    overwrite: bool = False
    crop: str = ""  # how faces are found that are to be cut out; "": the images are faces
    every: int = 1  # of recordings that faces are cut out of, each n-th frame
    read: ReadOptions = field(default_factory=ReadOptions)  # how to read thermal ones
    exclude: tuple[Path, ...] = ()  # lists of images to leave out


def check_options(options: IndexOptions) -> None:
    """Refuse options that cannot go together, before anything is read or written.

    Raises:
        UsageError: naming the option.
    """
    _check_folders(options)
    _check_labels(options)
    _check_not_written_over(options)


def _check_folders(options: IndexOptions) -> None:
    if options.rgb is None and options.thermal is None:
        raise UsageError("give --rgb DIR, --thermal DIR, or both.")
    if options.rgb and options.thermal:
        rgb, thermal = options.rgb.resolve(), options.thermal.resolve()
        if rgb.is_relative_to(thermal) or thermal.is_relative_to(rgb):
            raise UsageError(f"--rgb {options.rgb} and --thermal {options.thermal} overlap.")


def _check_labels(options: IndexOptions) -> None:
    """Refuse options that say how to read labels when there are none."""
    given = {
        "--format": options.layout != "auto",
        "--kind": options.kind is not None,
        "--threshold": options.threshold is not None,
        "--missing": bool(options.missing),
        "--frame-offset": options.frame_offset is not None,
    }
    names = [name for name, is_given in given.items() if is_given]
    if names and not options.labels:
        raise UsageError(f"{names[0]} is for labels: give --labels.")


def check_target(options: IndexOptions) -> None:
    """Refuse to replace an index without being told to.

    Raises:
        DataError: there is one, and it is not of this very command, killed while it wrote.
    """
    claim = options.out / CLAIM_NAME
    if claim.exists() and claim.read_text(encoding="utf-8") == repr(options):
        return  # this command was killed while it wrote
    folders = sorted(options.out.glob("fold-*")) if options.folds else [options.out]
    for target in (folder / CSV_NAME for folder in folders):
        if target.exists() and not options.overwrite:
            raise DataError(f"{target}: exists already; --overwrite replaces it.")


def _check_not_written_over(options: IndexOptions) -> None:
    """Refuse to read a table that the index would write over."""
    names = (CSV_NAME, TOML_NAME, REJECTED_NAME, EXCLUDED_NAME, LANDMARKS_NAME, CROPS_NAME)
    written = {(options.out / name).resolve() for name in names}
    for given in (*options.labels, *options.exclude, Path(options.crop)):
        if given.resolve() in written:
            raise UsageError(
                f"{given}: would be written over by this index; choose another --out, or give a "
                "copy of that file."
            )
