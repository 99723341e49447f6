"""Make an index from folders of images and tables of labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch

from cycada.action_units import column
from cycada.data.faces.crops import CROPS_NAME, CropRow, write_crops
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
    fault_of_path,
    write_index,
)
from cycada.data.index_info import TOML_NAME
from cycada.data.label_kinds import unify
from cycada.data.label_table import LabelKind, LabelTable, Reading
from cycada.data.labels import AnyLayout, read_labels
from cycada.data.landmarks import LANDMARKS_NAME, Landmarks, write_landmarks
from cycada.data.matching import CutOut, Known, match_labels
from cycada.data.splits import deal_subjects
from cycada.errors import DataError, UsageError
from cycada.files import replacing
from cycada.footage import ReadOptions
from cycada.image_reading import read_image
from cycada.locking import sole_writer
from cycada.progress import Progress
from cycada.rejecting import REJECTED_NAME, Limit, Rejections, fault_of_file
from cycada.stages.excluding import EXCLUDED_NAME, excluded_of, write_excluded
from cycada.stages.importing import (
    CropOptions,
    Cropped,
    crop_sources,
    forget_work,
    passed_over,
)
from cycada.stages.thermal_units import thermal_unit
from cycada.stopping import threads
from cycada.thermal import Unit, Window

CLAIM_NAME = ".index"  # there while the files of an index are written

_THREADS = 2


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


class Indexed(NamedTuple):
    """A new index, and what the user should know of how it came about."""

    faces: Index  # of folds the first
    notes: tuple[str, ...]
    folds: tuple[Index, ...] = ()


def make_index(options: IndexOptions, *, progress: Progress) -> Indexed:
    """Index the images where they are, deal the subjects to splits, and write the index.

    Images that cannot be used are set aside in ``rejected.csv``.

    Raises:
        CycadaError: anything is missing, contradictory or in doubt, too many images cannot be
            used, or another process writes to ``out``; then no index is written.
    """
    _check_folders(options)
    _check_labels(options)
    _check_not_written_over(options)
    with sole_writer(options.out):
        return _make(options, progress)


def _make(options: IndexOptions, progress: Progress) -> Indexed:
    _check_target(options)
    crops: _Crops | None = None
    cut_out = CutOut()
    if options.crop:
        given = options
        options, crops = _with_faces_cut_out(given, progress)
        cut_out = _cut_out(given, options, crops.rows)
    pattern = subject_pattern(options.subject)
    found, found_notes = _find(options, crops)
    excluded = excluded_of(found, options.exclude, options.out)
    left_out = {found[number].file for number in excluded.rows}
    tables = _read_tables(found, options)
    unified = unify(tables, kind=options.kind, threshold=options.threshold)
    notes = [note for table in tables for note in table.notes] + unified.notes
    rejected = crops.rejected if crops else Rejections(options.out, limit=options.limit)
    images, dtypes = _readable(found, options, rejected, progress, left_out=left_out)
    rejected.check()
    _check_some_left(images, found, rejected)
    unit, unit_notes = thermal_unit(images, dtypes, stated=options.unit, window=options.window)
    known, label_notes = match_labels(
        images, unified.tables, pattern, offset=options.frame_offset, cut_out=cut_out
    )
    subjects = [
        said.subject or subject_of(image, pattern)
        for image, said in zip(images, known, strict=True)
    ]
    by_table = sum(bool(said.subject) for said in known)
    if 0 < by_table < len(known):
        label_notes.append(
            f"subjects of {by_table} images are those of a label file, of {len(known) - by_table} "
            f"those of their paths; see that nobody has two names."
        )
    info = IndexInfo(
        kind=unified.kind,
        threshold=unified.threshold,
        intensity_threshold=unified.cuts.get("intensity", 0.0),
        probability_threshold=unified.cuts.get("probability", 0.0),
        unit=unit,
        window=options.window,
        source=options.source,
        licence=options.licence,
        excluded=len(left_out),
    )
    # Subjects are dealt as if nothing were left out, so that nobody comes to another split.
    dealt, fold_notes = _deal(images, subjects, options)
    indexes = []
    for name, splits in dealt.items():
        faces = (
            _face(image, said, subject, splits[subject], options.out / name)
            for image, said, subject in zip(images, known, subjects, strict=True)
            if image.file not in left_out
        )
        indexes.append(Index(options.out / name, info, tuple(faces)))
    with replacing(options.out / CLAIM_NAME) as temporary:
        temporary.write_text(repr(options), encoding="utf-8")
    rejected.close()
    write_excluded(
        options.out,
        [
            (_path_from(options.out, found[number]), mark.reason)
            for number, mark in sorted(excluded.rows.items())
        ],
    )
    if crops:
        write_crops(options.out, crops.rows)
    for index in indexes:
        if crops:
            notes += _write_landmarks(index, crops.landmarks, options.out)
        write_index(index)
    forget_work(options.out)
    (options.out / CLAIM_NAME).unlink()
    notes = [*found_notes, *excluded.notes, *notes]
    notes += [*label_notes, *unit_notes, *fold_notes]
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
        info = index.info
        graded = info.kind in ("intensity", "probability")
        since = f", present from {info.threshold:g}" if graded else ""
        lines += ["", f"labels: {info.kind}{since}", f"{'':8}{'annotated':>11}{'present':>9}"]
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


class _Crops(NamedTuple):
    """What was cut out of all domains."""

    rows: tuple[CropRow, ...]  # of ``crops.csv``
    landmarks: Landmarks | None  # by the paths of the rows
    notes: tuple[str, ...]
    rejected: Rejections


def _with_faces_cut_out(options: IndexOptions, progress: Progress) -> tuple[IndexOptions, _Crops]:
    """Return the options for the crops, and what is known of these."""
    made: dict[Domain, Cropped] = {}
    rejected = Rejections(options.out, limit=options.limit, what="files")
    rejected.begin()
    for domain in DOMAINS:
        folder = options.rgb if domain == "rgb" else options.thermal
        if folder is None:
            continue
        read = ReadOptions(domain="rgb")
        if domain == "thermal":
            read = replace(options.read, unit=options.unit)
        cropping = CropOptions(faces=options.crop, read=read, every=options.every)
        made[domain] = crop_sources(
            folder, options.out, cropping, rejected=rejected, progress=progress
        )
    rgb, thermal = made.get("rgb"), made.get("thermal")
    changed = replace(
        options, rgb=rgb and rgb.folder, thermal=thermal and thermal.folder,
        unit=thermal.unit if thermal else options.unit,
    )  # fmt: skip
    known = [part.landmarks for part in made.values() if part.landmarks]  # of the same names
    places = {path: points for table in known for path, points in table.places.items()}
    return changed, _Crops(
        tuple(row for part in made.values() for row in part.rows),
        Landmarks(known[0].names, places) if known else None,
        tuple(note for part in made.values() for note in part.notes),
        rejected,
    )


def _cut_out(given: IndexOptions, options: IndexOptions, crops: Sequence[CropRow]) -> CutOut:
    """Return what labels may name crops by.

    Those of a file with frames are numbered from 0; those of a folder of frames keep their names.
    """
    folders = ((options.rgb, given.rgb), (options.thermal, given.thermal))
    made = {row.source: row.path for row in crops if row.path and row.frame is not None}
    out = options.out
    return CutOut(
        folders={cut.resolve(): whole.resolve() for cut, whole in folders if cut and whole},
        from_zero={
            (out / path).resolve().parent
            for source, path in made.items()
            if (out / source).is_file()
        },
    )


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


def _find(options: IndexOptions, crops: _Crops | None) -> tuple[list[Found], tuple[str, ...]]:
    """Return the images to index, and notes; of crops those of this run, not of one before."""
    if crops:
        root = options.out.resolve()
        cut = {os.path.normpath(root / row.path) for row in crops.rows if row.path}
        return [image for image in _images(options) if str(image.file) in cut], crops.notes
    notes = (*passed_over(options.rgb), *passed_over(options.thermal))
    try:
        return _images(options), notes
    except DataError as error:
        raise DataError(" ".join((str(error), *notes))) from None


def _images(options: IndexOptions) -> list[Found]:
    found = find_images(options.rgb, "rgb") if options.rgb else []
    return found + (find_images(options.thermal, "thermal") if options.thermal else [])


def _write_landmarks(index: Index, known: Landmarks | None, out: Path) -> list[str]:
    """Write the landmarks of an index's crops, and return notes."""
    file = index.root / LANDMARKS_NAME
    if known is None:
        told = f"{file}: is older than these crops; delete it unless it is about them."
        return [told] if file.exists() else []
    root = out.resolve()
    paths = {
        face.path: Path(os.path.relpath(index.file(face).resolve(), root)).as_posix()
        for face in index.faces
    }
    places = [
        (face.path, known.places[paths[face.path]])
        for face in index.faces
        if paths[face.path] in known.places
    ]
    write_landmarks(index.root, known.names, places)
    return [f"{file}: {len(known.names)} landmarks of {len(places)} of {len(index.faces)} faces."]


def _readable(
    found: Sequence[Found],
    options: IndexOptions,
    rejected: Rejections,
    progress: Progress,
    *,
    left_out: Collection[Path],
) -> tuple[list[Found], list[torch.dtype]]:
    """Decode every image once: a file broken in the middle should not stop a training.

    Of those that are left out anyway a broken one is nothing to be told of.
    """
    images, dtypes = [], []
    if not options.crop:
        rejected.begin()
        rejected.total = len(found)
    with threads(_THREADS) as pool:
        results = pool.map(partial(_try_reading, out=options.out), found)
        for number, (image, result) in enumerate(
            zip(found, progress(results, total=len(found), desc="checking images"), strict=True)
        ):
            if isinstance(result, torch.dtype):
                images.append(image)
                dtypes.append(result)
            elif image.file not in left_out:
                given = options.rgb if image.domain == "rgb" else options.thermal
                rejected.add((number,), str(Path(given or "", image.relative)), result)
    return images, dtypes


def _try_reading(found: Found, *, out: Path) -> torch.dtype | str:
    """Return what an image holds, or why it cannot be used."""
    if fault := fault_of_path(_path_from(out, found)):
        return fault
    try:
        dtype = read_image(found.file).dtype
    except DataError as error:
        return fault_of_file(error, found.file)
    if found.domain == "rgb" and dtype == torch.float32:
        return "holds floats, which have no known range in an RGB image"
    return dtype


def _check_some_left(images: Sequence[Found], found: Sequence[Found], rejected: Rejections) -> None:
    left = {image.domain for image in images}
    for image in found:
        if image.domain not in left:
            rejected.begin()  # there is nothing for a list to be beside
            raise DataError(
                f"{image.folder}: no image of the {image.domain} domain can be read; "
                f"{rejected.told_first()}."
            )


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


def _path_from(out: Path, found: Found) -> str:
    """Return the path of an image as an index in ``out`` names it."""
    return Path(os.path.relpath(found.file, out.resolve())).as_posix()


def _face(found: Found, known: Known, subject: str, split: Split, out: Path) -> Face:
    return Face(
        path=_path_from(out, found),
        domain=found.domain,
        subject=subject,
        split=split,
        frame=frame_of(found),
        sequence=sequence_of(found, subject=subject),
        action_units=known.action_units,
        label=known.label,
    )
