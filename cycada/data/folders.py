"""Find the images in a folder, and read from their names who they show."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cycada.data.index import Domain
from cycada.errors import DataError, UsageError
from cycada.image_reading import IMAGE_SUFFIXES

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
