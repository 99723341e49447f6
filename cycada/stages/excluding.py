"""Leave marked images out of a new index, or copy an index without them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cycada.data.exclusion import Mark, Naming, marked, read_marks, seen_from
from cycada.data.folders import Found
from cycada.data.index import CSV_NAME, Face, Index, read_index, write_index
from cycada.data.index_checks import check_links
from cycada.data.landmarks import LANDMARKS_NAME, read_landmarks, write_landmarks
from cycada.errors import DataError, UsageError
from cycada.locking import sole_writer
from cycada.rejecting import Rejection, read_rejected, write_rejected

EXCLUDED_NAME = "excluded.csv"


class Excluded(NamedTuple):
    """The images that are left out of an index."""

    rows: dict[int, Mark]  # number of the image -> why
    notes: list[str]


def excluded_of(found: Sequence[Found], lists: Sequence[Path], out: Path) -> Excluded:
    """Return which of the images found for an index in ``out`` are to be left out.

    They may be named as that index names them, as one elsewhere, or below the searched folder.

    Raises:
        DataError: A list cannot be read, or names what is not there.
    """
    if not lists:
        return Excluded({}, [])
    files, root = [image.file for image in found], out.resolve()
    namings: list[Naming] = [
        partial(_named_from, files, root), lambda: [image.relative for image in found]
    ]  # fmt: skip
    # A list that was written by hand may name files from where it lies.
    namings += [partial(_named_from, files, file.parent.resolve()) for file in lists]
    namings += seen_from(files, root)
    return _excluded(lists, namings)


def write_excluded(root: Path, rows: Sequence[tuple[str, str]]) -> None:
    """Write ``excluded.csv``: path and reason of what is left out; of nothing there is none."""
    file = root / EXCLUDED_NAME
    if rows:
        write_rejected(file, [Rejection((n,), *row) for n, row in enumerate(rows)])
    else:
        file.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class WithoutOptions:
    """An index to copy, and what to leave out."""

    index: Path
    lists: tuple[Path, ...]
    out: Path
    overwrite: bool = False
    allow_outside: bool = False  # believe paths of an index from elsewhere that leave its folder


def index_without(options: WithoutOptions) -> tuple[Index, list[str]]:
    """Copy an index without the images that lists name; images stay where they are.

    Labels, splits, landmarks and all else are kept. Images may be named by their own paths or, of
    translated ones, by those of their originals. What an earlier copy has left out already may be
    in the lists, too.

    Raises:
        CycadaError: The index or a list cannot be read, a list names what is not there, nothing is
            left, or ``out`` holds an index.
    """
    index = read_index(options.index, allow_outside=options.allow_outside)
    check_links(index)
    out = options.out
    if out.resolve() == index.root.resolve():
        raise UsageError(f"--out {out}: is the index that is copied; choose another folder.")
    if (out / CSV_NAME).exists() and not options.overwrite:
        raise DataError(f"{out / CSV_NAME}: exists already; --overwrite replaces it.")
    for file in options.lists:
        if file.resolve() == (out / EXCLUDED_NAME).resolve():
            raise UsageError(f"{file}: would be written over; give a copy, or another --out.")
    before = read_rejected(index.root / EXCLUDED_NAME)
    chosen, notes = _excluded(options.lists, _namings(index, before))
    kept = [face for number, face in enumerate(index.faces) if number not in chosen]
    left_out = [
        (index.faces[number].path, mark.reason)
        for number, mark in sorted(chosen.items())
        if number < len(index.faces)
    ]
    if not kept:
        raise DataError(
            f"{options.index}: all of its {len(index.faces)} images are to be left out."
        )
    moved = _Moved(index.root, out)
    info = replace(index.info, excluded=index.info.excluded + len(left_out))
    made = Index(out, info, tuple(map(moved.face, kept)))
    earlier = [(row.path, row.reason) for row in before]
    rows = [(moved(path), reason) for path, reason in (*earlier, *left_out)]
    landmarks = read_landmarks(index.root)
    with sole_writer(out):
        write_excluded(out, rows)
        if landmarks is not None:
            places = [
                (moved(face.path), landmarks.places[face.path])
                for face in kept
                if face.path in landmarks.places
            ]
            write_landmarks(out, landmarks.names, places)
        else:
            (out / LANDMARKS_NAME).unlink(missing_ok=True)
        write_index(made)
    already = len(chosen) - len(left_out)
    if already:
        notes.append(f"{already} of these had been left out of {options.index} before.")
    return made, notes


class _Moved:
    """Makes paths from one folder to paths from another."""

    def __init__(self, root: Path, out: Path) -> None:
        self._root, self._out = root, out.resolve()
        self._folders: dict[Path, Path] = {}

    def __call__(self, path: str) -> str:
        if not path:
            return ""
        file = self._root / path
        if file.parent not in self._folders:
            self._folders[file.parent] = file.parent.resolve()
        whole = self._folders[file.parent] / file.name
        return Path(os.path.relpath(whole, self._out)).as_posix()

    def face(self, face: Face) -> Face:
        return replace(face, path=self(face.path), pair=self(face.pair), origin=self(face.origin))


def _namings(index: Index, before: Sequence[Rejection]) -> list[Naming]:
    """Return how the images of an index may be named, and after them what it left out before."""
    faces = index.faces
    earlier = [row.path for row in before]
    namings: list[Naming] = [
        lambda: [*(face.path for face in faces), *earlier],
        lambda: [face.origin for face in faces],
    ]
    root = index.root.resolve()
    if all(face.origin for face in faces) and faces:
        originals = [Path(os.path.normpath(root / face.origin)) for face in faces]
        namings += seen_from(originals)
    files = [Path(os.path.normpath(root / face.path)) for face in faces]
    namings += seen_from(files, root)
    return namings


def _named_from(files: Sequence[Path], root: Path) -> list[str]:
    return [Path(os.path.relpath(file, root)).as_posix() for file in files]


def _excluded(lists: Sequence[Path], namings: Sequence[Naming]) -> Excluded:
    marks = [mark for file in lists for mark in read_marks(file)]
    rows, strange = marked(marks, namings)
    names = ", ".join(map(str, lists))
    notes = [f"{len(rows)} images are left out, as {names} says ({EXCLUDED_NAME} lists them)."]
    notes += [
        f"{file}: the {count} rows of the set {group!r} are of another index."
        for file, group, count in strange
    ]
    return Excluded(rows, notes)
