"""Which label belongs to which image."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cycada.data.claims import Claims, Draft
from cycada.data.folders import Found
from cycada.data.frames import match_frames
from cycada.data.label_table import ALIGNED, LabelRow, LabelTable, place_of
from cycada.errors import DataError, UsageError


@dataclass(frozen=True, slots=True)
class Known:
    """What the label files say of one image."""

    subject: str
    label: str
    action_units: Mapping[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOut:
    """What is known of images that were cut out of others, as ``cycada index --crop`` does."""

    folders: Mapping[Path, Path] = field(default_factory=dict)  # searched -> of the originals
    from_zero: AbstractSet[Path] = (
        frozenset()
    )  # in which frames count so, be the first there or not


def match_labels(
    images: Sequence[Found],
    tables: Sequence[LabelTable],
    pattern: re.Pattern[str] | None,
    *,
    offset: int | None = None,
    cut_out: CutOut = CutOut(),
) -> tuple[list[Known], list[str]]:
    """Return what the tables say of each image, in the order of the images, and notes.

    - A path is taken from the folder of the table or, if no image lies there, from the searched
      folders; it may be that of the original of an image that was cut out.
    - A path of another machine names the image whose own path, below a searched folder, it ends
      in; suffixes may differ.
    - The name of a file names the image of that name, whatever its folder and suffix; that of
      a recording the images in a folder so called. ``_aligned`` may be added to either.
    - A subject and frame stand for every image of that subject and frame, within the sequence if
      the row has one.

    All but the first hold for RGB and thermal images alike. Where the layout of a table lays down
    how frames count, the images tell whether they count so, too (:mod:`cycada.data.frames`).

    Args:
        images: those found.
        tables: of labels.
        pattern: gives the subject of an image that no table names.
        offset: from the frame of a label to that of its image; ``None``: found, or 0.
        cut_out: what is known of images that were cut out of others.

    Raises:
        DataError: a table that fits no image, a row that fits several, two rows that disagree.
        UsageError: an ``offset``, but no label names a frame.
    """
    drafts = [Draft() for _ in images]
    claims = [Claims(table, images, drafts) for table in tables]
    finder = _Finder(images, cut_out.folders)
    for claim in claims:  # first the rows that may name subjects
        _match_files(claim, finder)
    notes: list[str] = []
    if offset is not None and all(row.frame is None for table in tables for row in table.rows):
        raise UsageError(f"--frame-offset {offset}: no label names a frame.")
    for claim in claims:
        rows = [row for row in claim.table.rows if not (row.path or row.tail or row.stem)]
        if rows:
            notes += match_frames(claim, rows, pattern, offset, cut_out.from_zero)
        notes += _unmatched(claim, images)
    known = [Known(draft.subject, draft.label, draft.action_units) for draft in drafts]
    return known, [*notes, *_labelled(images, known)]


class _Finder:
    """Finds images by their paths and names."""

    def __init__(self, images: Sequence[Found], originals: Mapping[Path, Path]) -> None:
        self._at_file = {str(found.file): number for number, found in enumerate(images)}
        self._of_original = {  # without its suffix
            str((originals[found.folder] / found.relative).with_suffix("")): number
            for number, found in enumerate(images)
            if found.folder in originals
        }
        folders = (*(found.folder for found in images), *originals.values())
        self._searched = list(dict.fromkeys(map(str, folders)))
        self._by_stem: dict[str, list[int]] = defaultdict(list)
        for number, found in enumerate(images):
            self._by_stem[PurePosixPath(found.relative).stem].append(number)

    def at_path(self, path: str, home: str) -> list[int]:
        """Return the image at ``path`` from ``home`` or, failing that, the searched folders."""
        here = self._at(home, path)
        if here is not None:
            return [here]
        found = (self._at(folder, path) for folder in self._searched)
        return list(dict.fromkeys(number for number in found if number is not None))

    def _at(self, folder: str, path: str) -> int | None:
        name = os.path.normpath(os.path.join(folder, path))  # noqa: PTH118  # of a million rows
        number = self._at_file.get(name)
        if number is None and self._of_original:
            return self._of_original.get(os.path.splitext(name)[0])  # noqa: PTH122
        return number

    def called(self, stem: str) -> list[int]:
        """Return the images whose files have this name, without folder and suffix."""
        return [*self._by_stem.get(stem, ()), *self._by_stem.get(stem + ALIGNED, ())]


def _match_files(claims: Claims, finder: _Finder) -> None:
    """Match the rows that name files."""
    table = claims.table
    home = str(table.file.resolve().parent)
    tails: dict[str, list[LabelRow]] = defaultdict(list)
    for row in table.rows:
        if row.path:
            numbers = finder.at_path(row.path, home)
            if len(numbers) > 1:
                raise DataError(
                    f"{place_of(table, row)}: {row.path!r} is in several of the searched folders; "
                    f"write paths relative to the label file."
                )
            claims.claim(row, numbers, subject=row.subject)
        elif row.stem:
            claims.claim(row, finder.called(row.stem))
        elif row.tail:
            tails[PurePosixPath(row.tail).stem].append(row)
    if not tails:
        return
    named: dict[int, tuple[LabelRow, list[int]]] = {}
    for number, found in enumerate(claims.images):
        best = _ending(tails.get(PurePosixPath(found.relative).stem, ()), found, table)
        if best is not None:
            named.setdefault(id(best), (best, []))[1].append(number)
    for row, numbers in named.values():
        claims.claim(row, numbers)


def _ending(rows: Iterable[LabelRow], found: Found, table: LabelTable) -> LabelRow | None:
    """Return the row whose path ends in that of the image, below the searched folder.

    Of several, the one that has more folders in common with where the image lies.
    """
    whole = found.file.with_suffix("").parts
    needed = len(PurePosixPath(found.relative).parts)
    best, longest, tied = None, needed - 1, None
    for row in rows:
        common = _common_end(PurePosixPath(row.tail).with_suffix("").parts, whole)
        if common > longest:
            best, longest, tied = row, common, None
        elif common == longest and best is not None:
            tied = row
    if best is not None and tied is not None:
        raise DataError(
            f"{place_of(table, tied)}: {tied.tail!r} fits {found.file} as well as "
            f"{best.tail!r} of {place_of(table, best)} does."
        )
    return best


def _common_end(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count


def _unmatched(claims: Claims, images: Sequence[Found]) -> list[str]:
    """Return the note about rows that name no image; refuse a table of which none does."""
    table, matched = claims.table, len(claims.rows)
    total = len(table.rows) + table.unused
    if not total:
        raise DataError(f"{table.file}: holds no rows.")
    if not matched:
        row = table.rows[0]
        by_subject = row.subject and not row.path
        advice = " --subject tells where the subject stands in a path." if by_subject else ""
        raise DataError(
            f"{table.file}: none of its {total} rows names a found image; it says "
            f"{_what_it_says(row)!r}, an image is {images[0].relative!r}.{advice}"
        )
    left = total - matched
    return [f"{table.file}: {left} of {total} rows name no found image."] if left else []


def _labelled(images: Sequence[Found], known: Sequence[Known]) -> list[str]:
    """Return the note about how many images have labels, if some have none or in two domains."""
    total = Counter(found.domain for found in images)
    labelled = Counter(
        found.domain
        for found, said in zip(images, known, strict=True)
        if said.action_units or said.label
    )
    if not labelled or (len(total) == 1 and labelled == total):
        return []
    counts = [f"{labelled[domain]} of {count} {domain}" for domain, count in total.items()]
    return [f"{' and '.join(counts)} images have labels."]


def _what_it_says(row: LabelRow) -> str:
    whose = row.recording or " ".join(filter(None, (row.subject, row.sequence)))
    return row.path or row.tail or row.stem or f"frame {row.frame} of {whose}"
