"""Put what translators make of faces, and what datasets hold of them, on one sheet for print."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from torch import Tensor

from cycada import thermal
from cycada.config import TranslatorConfig
from cycada.data.dataset import scaled_size
from cycada.data.index import CSV_NAME, Domain, read_index
from cycada.data.index_checks import check_links
from cycada.errors import DataError, UsageError
from cycada.files import check_apart
from cycada.images import resize
from cycada.models.tiling import translate_any_size
from cycada.progress import Progress
from cycada.report.methods import spoken
from cycada.report.sheet import Row, Sheet, Style, write_sheet
from cycada.stages.sheet_faces import (
    Column,
    Dataset,
    Picture,
    choose,
    columns_of,
    named,
    read_dataset,
)
from cycada.thermal import Unit, Window
from cycada.training.loading import LoadedTranslator, load_translator
from cycada.training.run_reading import CONFIG_NAME, run_config

RowKind = Literal["source", "made", "truth", "back"]

_ROWS: tuple[RowKind, ...] = get_args(RowKind)

_NAMES = {"rgb": "RGB", "thermal": "Thermal"}
_MADE = {"rgb": "As thermal", "thermal": "As RGB"}
_TRUE = {"rgb": "True thermal", "thermal": "True RGB"}
_BACK = {"rgb": "Back in RGB", "thermal": "Back in thermal"}


@dataclass(frozen=True, kw_only=True, slots=True)
class SheetOptions:
    """What to put on a sheet."""

    sources: tuple[Path, ...]
    out: Path
    count: int = 8  # faces, at most
    faces: tuple[str, ...] = ()  # their paths; none: of test subjects, evenly
    seed: int | None = None  # draws them instead
    domain: Domain = "rgb"  # of the faces that are translated
    rows: tuple[RowKind, ...] = ()  # none: what there is
    labels: tuple[str, ...] = ()  # of the rows; none: what they are
    numbers: bool = False  # of the faces, above them
    include_subjects: bool = False  # name them, above the faces
    window: Window | None = None  # deg C of the colour bar; None: what the sources span
    unit: Unit | None = None  # of deeper grey images in plain folders
    allow_outside: bool = False  # believe paths of an index from elsewhere that leave its folder
    style: Style = Style()  # noqa: RUF009  # it is frozen


class Made(NamedTuple):
    """What is on a sheet that was written."""

    labels: tuple[str, ...]  # of the rows
    faces: int
    split: str


class _Line(NamedTuple):
    """A row before it is drawn: pictures over ``window``, which may not be that of the sheet."""

    label: str
    pictures: Sequence[Picture | Tensor]
    domain: Domain
    windows: Sequence[Window | None]


def make_sheet(options: SheetOptions, *, progress: Progress) -> Made:
    """Write a sheet whole or not at all.

    Raises:
        CycadaError: A source cannot be used, they show no face in common, some have temperatures
            and some have none, or the sheet cannot be drawn or written.
    """
    runs, datasets = _sorted(options)
    base = _base(runs, datasets, options)
    others = [dataset for dataset in datasets if dataset is not base]
    columns = choose(
        columns_of(base, others), count=options.count, faces=options.faces, seed=options.seed
    )
    _check_out(options.out, columns)
    lines = _lines(options, base, others, runs, columns, progress)
    labels = named([line.label for line in lines], options.labels, what="rows")
    lines = [line._replace(label=label) for line, label in zip(lines, labels, strict=True)]
    window = _window(lines, options)
    rows = [
        Row(label=line.label, pictures=[_seen(*each, line.domain, window) for each in zip(
            line.pictures, line.windows, strict=True
        )])
        for line in lines
    ]  # fmt: skip
    names: Sequence[str] = ()
    if options.include_subjects:
        names = [column.subject for column in columns]
    elif options.numbers:
        names = [str(number) for number in range(1, len(columns) + 1)]
    write_sheet(options.out, Sheet(rows=rows, names=names, window=window), options.style)
    return Made(tuple(row.label for row in rows), len(columns), columns[0].split)


def _sorted(options: SheetOptions) -> tuple[list[Path], list[Dataset]]:
    runs, datasets = [], []
    for path in options.sources:
        if (path / CONFIG_NAME).is_file():
            runs.append(path)
        elif path.is_dir() or path.name == CSV_NAME:
            datasets.append(read_dataset(
                path, domain=options.domain, unit=options.unit,
                allow_outside=options.allow_outside,
            ))  # fmt: skip
        else:
            raise UsageError(
                f"{path}: expected the run of a translator, an index or a folder of images; a "
                "recording goes into a video, --out FILE.mp4."
            )
    return runs, datasets


def _base(runs: Sequence[Path], datasets: Sequence[Dataset], options: SheetOptions) -> Dataset:
    """Return the dataset whose faces the columns are."""
    domain = options.domain
    for dataset in datasets:
        if dataset.domain == domain and not dataset.translated:
            return dataset
    if datasets and not runs:
        return datasets[0]
    for text in run_config(runs[0], "translator", TranslatorConfig).data:
        places = (Path(text), runs[0].parent / text, runs[0].parent / Path(text).name)
        place = next((p for p in places if (p / CSV_NAME).is_file()), None)
        if place is not None:
            index = read_index(place, allow_outside=options.allow_outside)
            check_links(index)
            chosen = index.select(domain=domain)
            if chosen.faces:
                return Dataset(place, domain, chosen)
    raise DataError(
        f"{runs[0]}: the indexes that it learned from are not there, or have no {domain} face; "
        "name an index beside the run."
    )


def _lines(
    options: SheetOptions, base: Dataset, others: Sequence[Dataset], runs: Sequence[Path],
    columns: Sequence[Column], progress: Progress,
) -> list[_Line]:  # fmt: skip
    """Return the rows in their order: sources, what is made of them, truth, and the way back."""
    shown = [base, *others] if base.translated else list(others)
    domain = _other(base.domain) if base.translated else base.domain
    asked = options.rows or _usual(columns, runs=len(runs), datasets=len(shown))
    if "back" in asked and not runs:
        raise UsageError("--rows back: only a translator brings faces back; name its run.")
    groups: dict[RowKind, list[_Line]] = {}
    plain = [dataset for dataset in (base, *others) if not dataset.translated]
    known = len(plain) <= 1 and not base.plain
    groups["source"] = _line(
        _NAMES[domain] if known else spoken(base.name), domain,
        [column.source for column in columns], needed="source" in options.rows,
    )  # fmt: skip
    alone = len(shown) + len(runs) == 1
    groups["made"] = [
        line
        for number, dataset in enumerate(shown)
        for line in _line(
            _MADE[domain] if alone and dataset.translated else spoken(dataset.name),
            dataset.domain, [column.shown[number] for column in columns],
        )
    ]  # fmt: skip
    groups["truth"] = _line(
        _TRUE[domain], _other(domain), [column.truth for column in columns],
        needed="truth" in options.rows,
    )  # fmt: skip
    groups["back"] = []
    if {"made", "back"} & set(asked):
        for run in progress(runs, total=len(runs), desc="translators"):
            made, back = _translated(run, columns, domain, alone=alone)
            groups["made"].append(made)
            groups["back"].append(back)
    return [line for kind in _ROWS if kind in asked for line in groups[kind]]


def _usual(columns: Sequence[Column], *, runs: int, datasets: int) -> tuple[RowKind, ...]:
    """Return the rows of a sheet of which none were asked for."""
    already = {picture for column in columns for picture in column.shown}
    there = any(column.truth in already for column in columns)
    usual: list[RowKind] = ["source", "made"] if there else ["source", "made", "truth"]
    return (*usual, "back") if (runs, datasets) == (1, 0) else tuple(usual)


def _other(domain: Domain) -> Domain:
    return "thermal" if domain == "rgb" else "rgb"


def _line(
    label: str, domain: Domain, pictures: Sequence[Picture | None], *, needed: bool = False
) -> list[_Line]:
    there = [picture for picture in pictures if picture is not None]
    if len(there) == len(pictures):
        return [_Line(label, there, domain, [picture.window for picture in there])]
    if needed:
        raise DataError(
            f"--rows: there is no row {label!r}, for {len(pictures) - len(there)} of the "
            f"{len(pictures)} faces have no such image."
        )
    return []


def _translated(
    run: Path, columns: Sequence[Column], domain: Domain, *, alone: bool
) -> tuple[_Line, _Line]:
    translator = load_translator(run)
    pairs = [_there_and_back(translator, column, domain) for column in columns]
    other = _other(domain)
    windows = [translator.window] * len(pairs)
    none = [None] * len(pairs)
    name = spoken(run.resolve().name)
    return (
        _Line(
            _MADE[domain] if alone else name, [made for made, _ in pairs], other,
            windows if other == "thermal" else none,
        ),
        _Line(
            _BACK[domain] if alone else f"{_BACK[domain]}, {name}", [back for _, back in pairs],
            domain, windows if domain == "thermal" else none,
        ),
    )  # fmt: skip


def _there_and_back(
    translator: LoadedTranslator, column: Column, domain: Domain
) -> tuple[Tensor, Tensor]:
    source = column.source
    if source is None or source.domain != domain:
        raise DataError(
            f"{translator.root}: has no {domain} image of the face {column.name} to translate."
        )
    if domain == "thermal" and (source.unit == "grey") != (translator.window is None):
        raise DataError(
            f"{source.file}: {'has no' if source.unit == 'grey' else 'has'} temperatures, other "
            f"than what {translator.root} learned from."
        )
    picture = source.read(translator.window)
    shape = (picture.shape[-2], picture.shape[-1])
    scaled = resize(picture, scaled_size(shape, translator.size))
    ways: list[Callable[[Tensor], Tensor]] = [translator.to_thermal, translator.to_rgb]
    there, back = ways if domain == "rgb" else reversed(ways)
    made = translate_any_size(there, scaled)
    return made, translate_any_size(back, made)


def _window(lines: Sequence[_Line], options: SheetOptions) -> Window | None:
    """Return the temperatures that the colour bar spans, ``None`` without any."""
    known = {
        line.label: window
        for line in lines if line.domain == "thermal"
        for window in line.windows
    }  # fmt: skip
    spans = [window for window in known.values() if window is not None]
    if spans and len(spans) < len(known):
        warm = next(label for label, window in known.items() if window is not None)
        grey = next(label for label, window in known.items() if window is None)
        raise DataError(
            f"the row {warm!r} has temperatures and {grey!r} has none, so one colour bar cannot "
            "belong to both; put them on two sheets, or choose --rows."
        )
    if options.window is not None and not spans:
        raise UsageError("--window is in deg C, but nothing on the sheet has temperatures.")
    if not spans:
        return None
    if options.window is not None:
        return options.window
    return Window(min(span.low for span in spans), max(span.high for span in spans))


def _seen(
    picture: Picture | Tensor, own: Window | None, domain: Domain, window: Window | None
) -> Tensor:
    """Return a picture over the window of the sheet."""
    if isinstance(picture, Picture):
        return picture.read(window)
    if domain == "rgb" or own is None or window is None or own == window:
        return picture
    return thermal.to_signed(thermal.from_signed(picture, own), window)


def _check_out(out: Path, columns: Sequence[Column]) -> None:
    """Refuse to write over an image that is shown, or among those of a folder that is.

    Raises:
        DataError: Naming the place.
    """
    if out.is_dir():
        raise DataError(f"{out}: is a folder; --out names the file.")
    pictures = [
        picture
        for column in columns
        for picture in (column.source, column.truth, *column.shown)
        if picture is not None
    ]
    check_apart([out], out.parent, originals=[picture.file for picture in pictures])
