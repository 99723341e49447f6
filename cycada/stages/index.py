"""Make an index from folders of images and tables of labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cycada.action_units import column
from cycada.data.faces.crops import write_crops
from cycada.data.folders import Found, frame_of, sequence_of, subject_of, subject_pattern
from cycada.data.folds import fold_names, folds
from cycada.data.index import DOMAINS, SPLITS, Domain, Face, Index, IndexInfo, Split, write_index
from cycada.data.label_kinds import unify
from cycada.data.label_table import LabelTable, Reading
from cycada.data.labels import read_labels
from cycada.data.landmarks import LANDMARKS_NAME, Landmarks, write_landmarks
from cycada.data.matching import CutOut, Known, match_labels
from cycada.data.splits import deal_subjects
from cycada.errors import DataError
from cycada.files import replacing
from cycada.locking import sole_writer
from cycada.progress import Progress
from cycada.rejecting import Rejections
from cycada.stages.excluding import excluded_of, write_excluded
from cycada.stages.importing import forget_work
from cycada.stages.index_images import (
    Crops,
    check_some_left,
    images_to_index,
    names_of_crops,
    path_from,
    readable,
    with_faces_cut_out,
)
from cycada.stages.index_options import (
    CLAIM_NAME,
    IndexOptions,
    check_options,
    check_target,
)
from cycada.stages.thermal_units import thermal_unit


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
    check_options(options)
    with sole_writer(options.out):
        return _make(options, progress)


def _make(options: IndexOptions, progress: Progress) -> Indexed:
    check_target(options)
    crops: Crops | None = None
    cut_out = CutOut()
    if options.crop:
        given = options
        options, crops = with_faces_cut_out(given, progress)
        cut_out = names_of_crops(given, options, crops.rows)
    pattern = subject_pattern(options.subject)
    found, found_notes = images_to_index(options, crops)
    excluded = excluded_of(found, options.exclude, options.out)
    left_out = {found[number].file for number in excluded.rows}
    tables = _read_tables(found, options)
    unified = unify(tables, kind=options.kind, threshold=options.threshold)
    notes = [note for table in tables for note in table.notes] + unified.notes
    rejected = crops.rejected if crops else Rejections(options.out, limit=options.limit)
    images, dtypes = readable(found, options, rejected, progress, left_out=left_out)
    rejected.check()
    check_some_left(images, found, rejected)
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
            (path_from(options.out, found[number]), mark.reason)
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


def _face(found: Found, known: Known, subject: str, split: Split, out: Path) -> Face:
    return Face(
        path=path_from(out, found),
        domain=found.domain,
        subject=subject,
        split=split,
        frame=frame_of(found),
        sequence=sequence_of(found, subject=subject),
        action_units=known.action_units,
        label=known.label,
    )
