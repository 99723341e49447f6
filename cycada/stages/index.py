"""Make an index from folders of images and tables of labels."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
from torch import Tensor

from cycada.action_units import column
from cycada.data.folders import (
    FOLDER,
    Found,
    find_images,
    frame_of,
    sequence_of,
    subject_of,
    subject_pattern,
)
from cycada.data.folds import fold_names, folds
from cycada.data.index import (
    CSV_NAME,
    DOMAINS,
    SPLITS,
    Domain,
    Face,
    Index,
    IndexInfo,
    Split,
    write_index,
)
from cycada.data.label_kinds import unify
from cycada.data.label_table import LabelKind, LabelTable, Reading
from cycada.data.labels import AnyLayout, read_labels
from cycada.data.matching import Known, match_labels
from cycada.data.splits import deal_subjects
from cycada.errors import DataError, UsageError
from cycada.files import replacing
from cycada.images import read_image
from cycada.progress import Progress
from cycada.thermal import Unit, Window, celsius_from_counts, guess_unit

REJECTED_NAME = "rejected.csv"

_SAMPLED_FRAMES = 16  # of the thermal images, for the unit and the temperatures
_PALETTE_DIFFERENCE = 10  # mean difference of channels; a grey JPEG stays below 2
_THREADS = 2
_NAMED_FILES = 3


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
    skip_unreadable: bool = False
    overwrite: bool = False


class Indexed(NamedTuple):
    """A new index, and what the user should know of how it came about."""

    faces: Index  # of folds the first
    notes: tuple[str, ...]
    folds: tuple[Index, ...] = ()


def make_index(options: IndexOptions, *, progress: Progress) -> Indexed:
    """Index the images where they are, deal the subjects to splits, and write the index.

    Raises:
        CycadaError: anything is missing, unreadable, contradictory or in doubt; then nothing is
            written.
    """
    _check_target(options)
    pattern = subject_pattern(options.subject)
    found = _find(options)
    tables = _read_tables(found, options)
    unified = unify(tables, kind=options.kind, threshold=options.threshold)
    notes = [note for table in tables for note in table.notes] + unified.notes
    images, dtypes, rejected = _readable(found, progress)
    if rejected and not options.skip_unreadable:
        raise DataError(_told(rejected, len(found)))
    _check_some_left(images, found)
    unit, unit_notes = _thermal_unit(images, dtypes, options)
    known, label_notes = match_labels(images, unified.tables, pattern, offset=options.frame_offset)
    subjects = [
        said.subject or subject_of(image, pattern)
        for image, said in zip(images, known, strict=True)
    ]
    info = IndexInfo(
        kind=unified.kind,
        threshold=unified.threshold,
        intensity_threshold=unified.cuts.get("intensity", 0.0),
        probability_threshold=unified.cuts.get("probability", 0.0),
        unit=unit,
        window=options.window,
        source=options.source,
        licence=options.licence,
    )
    dealt, fold_notes = _deal(images, subjects, options)
    indexes = []
    for name, splits in dealt.items():
        faces = (
            _face(image, said, subject, splits[subject], options.out / name)
            for image, said, subject in zip(images, known, subjects, strict=True)
        )
        indexes.append(Index(options.out / name, info, tuple(faces)))
    for index in indexes:
        write_index(index)
    notes += [*label_notes, *unit_notes, *fold_notes, *_write_rejected(options.out, rejected)]
    return Indexed(indexes[0], tuple(notes), tuple(indexes) if options.folds else ())


def summary(index: Index) -> str:
    """Return a short table: images per domain and split, subjects, and how often AUs occur."""
    counts = Counter((face.domain, face.split) for face in index.faces)
    lines = [f"{'':8}{'images':>9}{'train':>9}{'val':>9}{'test':>9}{'subjects':>10}"]
    for domain in DOMAINS:
        per_split = [counts[domain, split] for split in SPLITS]
        if sum(per_split):
            numbers = "".join(f"{count:9}" for count in (sum(per_split), *per_split))
            lines.append(f"{domain:8}{numbers}{len(index.select(domain=domain).subjects()):10}")
    numbers_of_units = index.action_units()
    if numbers_of_units:
        lines += ["", f"{'':8}{'annotated':>11}{'present':>9}"]
    labels, known = index.occurrences(numbers_of_units)
    for number, annotated, present in zip(
        numbers_of_units, known.sum(0).tolist(), labels.sum(0).tolist(), strict=True
    ):
        lines.append(f"{column(number):8}{annotated:11}{100 * present / annotated:8.1f}%")
    classes = Counter(face.label for face in index.faces if face.label)
    if classes:
        lines += ["", f"{'class':8}{'images':>11}"]
        lines += [f"{name:8}{classes[name]:11}" for name in sorted(classes)]
    return "\n".join(lines)


def _find(options: IndexOptions) -> list[Found]:
    if options.rgb is None and options.thermal is None:
        raise UsageError("give --rgb DIR, --thermal DIR, or both.")
    if options.rgb and options.thermal:
        rgb, thermal = options.rgb.resolve(), options.thermal.resolve()
        if rgb.is_relative_to(thermal) or thermal.is_relative_to(rgb):
            raise UsageError(f"--rgb {options.rgb} and --thermal {options.thermal} overlap.")
    found = find_images(options.rgb, "rgb") if options.rgb else []
    return found + (find_images(options.thermal, "thermal") if options.thermal else [])


def _readable(
    found: Sequence[Found], progress: Progress
) -> tuple[list[Found], list[torch.dtype], list[tuple[Path, str]]]:
    """Decode every image once: a file broken in the middle should not stop a training."""
    images, dtypes, rejected = [], [], []
    with ThreadPoolExecutor(_THREADS) as pool:
        results = pool.map(_try_reading, found)
        for image, result in zip(
            found, progress(results, total=len(found), desc="checking images"), strict=True
        ):
            if isinstance(result, torch.dtype):
                images.append(image)
                dtypes.append(result)
            else:
                rejected.append((image.file, result))
    return images, dtypes, rejected


def _try_reading(found: Found) -> torch.dtype | str:
    try:
        dtype = read_image(found.file).dtype
    except DataError as error:
        return str(error).removeprefix(f"{found.file}: ").rstrip(".")
    if found.domain == "rgb" and dtype == torch.float32:
        return "holds floats, which have no known range in an RGB image"
    return dtype


def _told(rejected: Sequence[tuple[Path, str]], total: int) -> str:
    named = "; ".join(f"{file}: {reason}" for file, reason in rejected[:_NAMED_FILES])
    more = len(rejected) - _NAMED_FILES
    rest = f"; and {more} more" if more > 0 else ""
    return (
        f"{len(rejected)} of {total} images cannot be used ({named}{rest}); "
        f"--skip-unreadable leaves them out."
    )


def _check_some_left(images: Sequence[Found], found: Sequence[Found]) -> None:
    left = {image.domain for image in images}
    for image in found:
        if image.domain not in left:
            raise DataError(f"{image.folder}: no image of the {image.domain} domain can be read.")


def _read_tables(found: Sequence[Found], options: IndexOptions) -> list[LabelTable]:
    """Read the labels; of huge corpora only what may be of a found image."""
    reading = Reading(
        kind=options.kind,
        missing=frozenset(options.missing),
        cuts=options.threshold is not None,
        wanted=frozenset(PurePosixPath(image.relative).stem for image in found),
    )
    return [
        table
        for path in options.labels
        for table in read_labels(path, layout=options.layout, reading=reading)
    ]


def _thermal_unit(
    images: Sequence[Found], dtypes: Sequence[torch.dtype], options: IndexOptions
) -> tuple[Unit, list[str]]:
    """Return the unit of the thermal images, given or guessed, and what the user should see."""
    thermal = [
        (image, dtype)
        for image, dtype in zip(images, dtypes, strict=True)
        if image.domain == "thermal"
    ]
    if not thermal:
        if options.unit not in (None, "grey"):
            raise UsageError("--unit is about thermal images; give --thermal DIR too.")
        return "grey", []
    first = {dtype: image for image, dtype in reversed(thermal)}
    if torch.uint8 in first and len(first) > 1:
        other = next(image for dtype, image in first.items() if dtype != torch.uint8)
        raise DataError(
            f"{first[torch.uint8].file} has 8 bits but {other.file} has more; "
            f"the thermal images of an index have one unit."
        )
    step = max(1, len(thermal) // _SAMPLED_FRAMES)
    sample = [image for image, _ in thermal[::step][:_SAMPLED_FRAMES]]
    frames = [read_image(image.file) for image in sample]
    _check_no_palette(sample, frames)
    if torch.uint8 in first:
        if options.unit not in (None, "grey"):
            raise DataError(
                f"{first[torch.uint8].file}: has 8 bits, which cannot count {options.unit}; "
                f"its unit is grey."
            )
        return "grey", ["thermal images: 8-bit grey, without temperatures."]
    if options.unit == "grey" and torch.float32 in first:
        raise DataError(
            f"{first[torch.float32].file}: holds floats, whose range is unknown unless --unit "
            f"says what they count."
        )
    unit, note = options.unit, ""
    if unit is None:
        unit, median = _guessed_unit(sample, frames)
        note = f" (guessed from the median pixel {median:g}; --unit says otherwise)"
    if unit == "grey":
        return unit, ["thermal images: 16-bit grey, without temperatures."]
    return unit, [f"thermal images: {unit}{note}; {_told_temperatures(frames, unit, options)}."]


def _guessed_unit(sample: Sequence[Found], frames: Sequence[Tensor]) -> tuple[Unit, float]:
    medians = [frame.to(torch.float32).median().item() for frame in frames]
    guesses = [
        guess_unit(median, integer=frame.dtype == torch.uint16)
        for median, frame in zip(medians, frames, strict=True)
    ]
    odd = next((at for at, guess in enumerate(guesses) if guess in (None, "grey")), None)
    if odd is None:
        odd = next((at for at, guess in enumerate(guesses) if guess != guesses[0]), None)
    unit = guesses[0]
    if odd is not None or unit is None:
        at = odd or 0
        raise DataError(
            f"{sample[at].file}: its median pixel {medians[at]:g} does not tell the unit of the "
            f"temperatures; give --unit (centikelvin, decikelvin, kelvin64, kelvin16, kelvin, "
            f"celsius, or grey for pixels without a temperature scale)."
        )
    return unit, sorted(medians)[len(medians) // 2]


def _check_no_palette(sample: Sequence[Found], frames: Sequence[Tensor]) -> None:
    for found, frame in zip(sample, frames, strict=True):
        values = frame.to(torch.float32)
        if (values.amax(0) - values.amin(0)).mean() > _PALETTE_DIFFERENCE:
            raise DataError(
                f"{found.file}: is in colour; a palette such as iron is no temperature scale, "
                f"so export the thermal images in grey or with 16 bits."
            )


def _told_temperatures(frames: Sequence[Tensor], unit: Unit, options: IndexOptions) -> str:
    celsius = torch.cat([celsius_from_counts(frame, unit).flatten() for frame in frames])
    window = options.window
    low, high = celsius.min().item(), celsius.max().item()
    outside = ((celsius < window.low) | (celsius > window.high)).to(torch.float32).mean().item()
    return (
        f"{len(frames)} sampled images span {low:.1f} to {high:.1f} deg C, with "
        f"{100 * outside:.1f}% of the pixels outside the window of {window.low:g} to "
        f"{window.high:g}"
    )


def _deal(
    images: Sequence[Found], subjects: Sequence[str], options: IndexOptions
) -> tuple[dict[str, dict[str, Split]], list[str]]:
    """Return the split of each subject for each index, by its folder below the given one."""
    domains: dict[str, frozenset[Domain]] = {}
    for image, subject in zip(images, subjects, strict=True):
        domains[subject] = domains.get(subject, frozenset()) | {image.domain}
    if not options.folds:
        splits = deal_subjects(domains, fractions=options.fractions, seed=options.seed)
        return {"": splits}, []
    made, notes = folds(options.folds, domains, fractions=options.fractions, seed=options.seed)
    names = fold_names(made)
    for other in sorted(options.out.glob("fold-*")):
        if other.name not in names:
            raise DataError(f"{other}: is of other folds than these {len(names)}; remove it.")
    return dict(zip(names, made, strict=True)), notes


def _check_target(options: IndexOptions) -> None:
    folders = sorted(options.out.glob("fold-*")) if options.folds else [options.out]
    for target in (folder / CSV_NAME for folder in folders):
        if target.exists() and not options.overwrite:
            raise DataError(f"{target}: exists already; --overwrite replaces it.")


def _face(found: Found, known: Known, subject: str, split: Split, out: Path) -> Face:
    return Face(
        path=Path(os.path.relpath(found.file, out.resolve())).as_posix(),
        domain=found.domain,
        subject=subject,
        split=split,
        frame=frame_of(found),
        sequence=sequence_of(found, subject=subject),
        action_units=known.action_units,
        label=known.label,
    )


def _write_rejected(out: Path, rejected: Sequence[tuple[Path, str]]) -> list[str]:
    file = out / REJECTED_NAME
    if not rejected:
        file.unlink(missing_ok=True)  # of an index that this one replaces
        return []
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(
        [("path", "reason"), *((str(path), reason) for path, reason in rejected)]
    )
    with replacing(file) as temporary:
        temporary.write_text(table.getvalue(), encoding="utf-8", newline="")
    return [f"{len(rejected)} unreadable images left out; {file} lists them."]
