"""What is wrong with indexes beyond their tables: files, links, people in several of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cycada.data.index import CSV_NAME, Index, Split, paths_of
from cycada.data.outside import links_outside, place_digest
from cycada.errors import DataError


def check_disjoint(indexes: Iterable[Index]) -> None:
    """Refuse indexes of which one trains on a subject that another one tests or validates on.

    Raises:
        DataError: naming the subject, both splits and both indexes.
    """
    seen: dict[str, tuple[Split, Path]] = {}
    for index in indexes:
        for face in index.faces:
            split, root = seen.setdefault(face.subject, (face.split, index.root))
            if split != face.split:
                raise DataError(
                    f"subject {face.subject!r} is in the split {split!r} of {root} and in "
                    f"{face.split!r} of {index.root}; a subject belongs to one split: index people "
                    "who are in both domains by one command with --rgb and --thermal, and give "
                    "different people different names over all indexes."
                )


def check_links(index: Index) -> None:
    """Refuse an index that was not written where it lies and has links that lead out of there.

    Raises:
        DataError: naming the first of them.
    """
    if index.info.outside_of == place_digest(index.root):
        return
    # Paths that leave the folder by themselves are believed where the index was read at all.
    inside = (
        index.root / path
        for face in index.faces
        for path in paths_of(face)
        if not path.startswith("../")
    )
    if (first := next(links_outside(inside, index.root), None)) is not None:
        raise DataError(
            f"{first}: is, or lies below, a link that leaves the folder of its index, which was "
            "not written at this place. If it is yours, or you have looked at where it leads, give "
            "--allow-outside."
        )


def check_files(index: Index) -> None:
    """Refuse an index of which image files are missing, or links as in :func:`check_links`.

    Raises:
        DataError: naming the first missing file and how many are missing.
    """
    check_links(index)
    missing = [file for file in map(index.file, index.faces) if not file.is_file()]
    if missing:
        raise DataError(
            f"{index.root / CSV_NAME}: {len(missing)} of {len(index.faces)} images are missing; "
            f"the first is {missing[0]}."
        )
