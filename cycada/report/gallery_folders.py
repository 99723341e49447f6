"""The folders of sets of pictures: which they are, and how those of an earlier page go."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from cycada.errors import DataError

ITEMS_NAME = "items.js"
THUMBS_NAME = "thumbs"
FULL_NAME = "full"
WHOLE_NAME = "whole"

HEAD = "cycadaSet("
"""What a script of items begins with."""


def remove_sets(folder: Path, *, keep: Sequence[str] = ()) -> None:
    """Remove the sets of an earlier page, and what a killed one left; nothing else.

    Args:
        folder: ``report_files``; need not be there.
        keep: Names of the sets that stay.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    for place in sorted(folder.iterdir()):
        if place.name not in keep and _is_set(place):
            shutil.rmtree(place, ignore_errors=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def check_place(folder: Path) -> None:
    """Refuse to write through a link or in place of something that is no set."""
    for place in (folder.parent, folder):
        if place.is_symlink():
            raise DataError(f"{place}: is a link; remove it, or choose another --out.")
    if folder.exists() and not _is_set(folder):
        raise DataError(f"{folder}: holds other files than a report's; choose another --out.")


def _is_set(folder: Path) -> bool:
    """Tell whether a folder is a set, perhaps one that was being written, and holds no more."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    names = {place.name for place in folder.iterdir()}
    known = {ITEMS_NAME, THUMBS_NAME, FULL_NAME, WHOLE_NAME}
    if names - known or not names & {THUMBS_NAME, FULL_NAME}:
        return False
    items = folder / ITEMS_NAME
    if not items.exists():
        return ".part-" in folder.name
    with items.open("rb") as stream:
        return stream.read(len(HEAD)) == HEAD.encode()
