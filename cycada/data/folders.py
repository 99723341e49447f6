"""Find the images in a folder, and read from their names who they show."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cycada.data.index import Domain
from cycada.data.labels import LabelTable
from cycada.errors import DataError, UsageError
from cycada.images import IMAGE_SUFFIXES

FOLDER = "folder"
"""Says that the first folder below the searched one is the name of the subject."""

_LAST_NUMBER = re.compile(r"(\d+)\D*$")


@dataclass(frozen=True, slots=True)
class Found:
    """An image file in one of the searched folders."""

    folder: Path  # searched, absolute
    relative: str  # path below it, with "/"
    domain: Domain

    @property
    def file(self) -> Path:
        """Where the image lies."""
        return self.folder / self.relative


@dataclass(frozen=True, slots=True)
class Known:
    """What the label files say of one image."""

    subject: str
    label: str
    action_units: Mapping[int, float]


def find_images(folder: Path, domain: Domain) -> list[Found]:
    """Return the images below ``folder`` in the order of their paths; hidden ones do not count.

    Raises:
        DataError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder.")
    root = folder.resolve()
    found = []
    for place, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(place).relative_to(root)
        found += [
            (below / name).as_posix()
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    if not found:
        known = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"{folder}: holds no image ({known}) of the {domain} domain.")
    return [Found(root, relative, domain) for relative in sorted(found)]


def subject_pattern(text: str) -> re.Pattern[str] | None:
    """Return the pattern of ``--subject``, ``None`` for ``folder``.

    Raises:
        UsageError: it is no regular expression, or has no group.
    """
    if text == FOLDER:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(f"--subject {text!r} is no regular expression ({error}).") from None
    if not pattern.groups:
        raise UsageError(
            f"--subject {text!r} has no group: put the part that names the subject into ( )."
        )
    return pattern


def subject_of(found: Found, pattern: re.Pattern[str] | None) -> str:
    """Return the subject by the first folder, or by the first group of ``pattern``.

    Raises:
        DataError: the path does not say.
    """
    if pattern is not None:
        match = pattern.search(found.relative)
        if match and match[1]:
            return match[1]
        raise DataError(
            f"{found.file}: --subject {pattern.pattern!r} finds no subject in {found.relative!r}."
        )
    parts = PurePosixPath(found.relative).parts
    if len(parts) > 1:
        return parts[0]
    raise DataError(
        f"{found.file}: lies directly in {found.folder}, so no folder names its subject; give "
        f"--subject PATTERN, or --labels with a table that has the columns path and subject."
    )


def sequence_of(found: Found, *, subject: str) -> str:
    """Return the folders of the image, without the one that names the subject."""
    folders = PurePosixPath(found.relative).parts[:-1]
    return "/".join(folders[1:] if folders[:1] == (subject,) else folders)


def frame_of(found: Found) -> int | None:
    """Return the last number in the name of the file: 12 for ``subject3_000012.png``."""
    match = _LAST_NUMBER.search(PurePosixPath(found.relative).stem)
    return int(match[1]) if match else None


def match_labels(
    images: Sequence[Found], tables: Sequence[LabelTable], pattern: re.Pattern[str] | None
) -> tuple[list[Known], list[str]]:
    """Return what the tables say of each image, in the order of the images, and notes.

    A path in a table is taken from the folder of the table or, if no image lies there, from the
    searched folders. A subject and frame stand for every image of that subject and frame (RGB
    and thermal), within the sequence if the table has one.

    Raises:
        DataError: a table that fits no image, a path that fits two, two tables that disagree.
    """
    merged = [_Draft() for _ in images]
    notes: list[str] = []
    at_file = {str(found.file): number for number, found in enumerate(images)}
    folders = list(dict.fromkeys(found.folder for found in images))
    by_frame = [table for table in tables if not table.rows or not table.rows[0].path]
    for table in tables:
        if table in by_frame:
            continue
        home = table.file.resolve().parent
        matched = 0
        for row in table.rows:
            number = at_file.get(os.path.normpath(home / row.path))
            if number is None:
                fits = [
                    at_file[name]
                    for folder in folders
                    if (name := os.path.normpath(folder / row.path)) in at_file
                ]
                if len(fits) > 1:
                    raise DataError(
                        f"{table.file}, row {row.row}: {row.path!r} is in several of the searched "
                        f"folders; write paths relative to the label file."
                    )
                number = fits[0] if fits else None
            if number is not None:
                matched += 1
                merged[number].add(table, row.row, row.subject, row.label, row.action_units)
        notes += _unmatched(table, matched, images)
    for table in by_frame:
        matched = _match_by_frame(table, images, merged, pattern)
        notes += _unmatched(table, matched, images)
    return [Known(draft.subject, draft.label, draft.action_units) for draft in merged], notes


class _Draft:
    """What has been read of one image so far."""

    def __init__(self) -> None:
        self.subject = ""
        self.label = ""
        self.action_units: dict[int, float] = {}

    def add(
        self, table: LabelTable, row: int, subject: str, label: str, known: Mapping[int, float]
    ) -> None:
        for name, old, new in (("subject", self.subject, subject), ("label", self.label, label)):
            if old and new and old != new:
                raise DataError(
                    f"{table.file}, row {row}: the {name} is {new!r}, but another label file "
                    f"says {old!r}."
                )
        for number, value in known.items():
            if self.action_units.setdefault(number, value) != value:
                raise DataError(
                    f"{table.file}, row {row}: AU{number:02d} is {value:g}, but another label "
                    f"file says {self.action_units[number]:g}."
                )
        self.subject = self.subject or subject
        self.label = self.label or label


def _match_by_frame(
    table: LabelTable,
    images: Sequence[Found],
    merged: Sequence[_Draft],
    pattern: re.Pattern[str] | None,
) -> int:
    with_sequence = any(row.sequence for row in table.rows)
    rows = {(row.subject, row.sequence, row.frame): row for row in table.rows}
    claimed: dict[tuple[Domain, str, str, int | None], Found] = {}
    for found, draft in zip(images, merged, strict=True):
        subject = draft.subject or subject_of(found, pattern)
        sequence = sequence_of(found, subject=subject) if with_sequence else ""
        key = (subject, sequence, frame_of(found))
        row = rows.get(key)
        if row is None:
            continue
        other = claimed.setdefault((found.domain, *key), found)
        if other is not found:
            raise DataError(
                f"{table.file}, row {row.row}: both {other.file} and {found.file} are frame "
                f"{row.frame} of {row.subject!r}; add a column 'sequence', or name paths."
            )
        draft.add(table, row.row, "", row.label, row.action_units)
    return len({key[1:] for key in claimed})


def _unmatched(table: LabelTable, matched: int, images: Sequence[Found]) -> list[str]:
    if not table.rows:
        raise DataError(f"{table.file}: holds no rows.")
    if not matched:
        first = table.rows[0]
        named = first.path or f"frame {first.frame} of {first.subject}"
        raise DataError(
            f"{table.file}: none of its {len(table.rows)} rows names a found image; it says "
            f"{named!r}, an image is {images[0].relative!r}."
        )
    left = len(table.rows) - matched
    return [f"{table.file}: {left} of {len(table.rows)} rows name no found image."] if left else []
