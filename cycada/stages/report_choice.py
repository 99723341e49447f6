"""Which faces a page shows where it cannot show all, and their images batch by batch."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import cycada
from cycada.data.dataset import FaceImages, signed
from cycada.data.index import CSV_NAME, Domain, Face, Index
from cycada.errors import DataError
from cycada.progress import Progress
from cycada.report.full_size import FULL_SIZE_PIXELS, PictureFile
from cycada.report.gallery import SetWriter
from cycada.stages.scoring import BATCH

COUNT = 400
"""Images of a set, unless asked for otherwise: enough to find what goes wrong, in minutes."""

_ORDER = ("test", "val", "train")  # whom no stage has learned from first
_ABOVE = 3  # folders above a run in which what it names is looked for


@dataclass(frozen=True, kw_only=True, slots=True)
class GalleryOptions:
    """How the sets of a page are made."""

    folder: Path  # for the sets
    count: int | None  # images of each at most; None: all
    subjects: bool  # names of subjects and files
    device: torch.device
    progress: Progress
    full_pixels: int | None = FULL_SIZE_PIXELS  # of all sets together at most; None: any
    used: list[int] = field(default_factory=list)  # pixels in full size of the sets so far
    taken: set[str] = field(default_factory=set)  # names of the sets that are there

    def identity(self, name: str, what: str, key: Any) -> str:
        """Return a name for a set: another one for other content, which leaves an old page whole.

        Args:
            name: Of the run or dataset.
            what: Which of its sets.
            key: All that the content depends on, as JSON.
        """
        words = re.sub(r"[^a-z0-9]+", "-", f"{name} {what}".lower()).strip("-")
        full = [self.full_pixels, sum(self.used)]
        told = json.dumps([cycada.__version__, self.count, self.subjects, *full, key])
        digest = hashlib.sha256(told.encode()).hexdigest()[:8]
        identity, number = f"{words}-{digest}", 1
        while identity in self.taken:
            number += 1
            identity = f"{words}-{digest}-{number}"
        self.taken.add(identity)
        return identity

    def add_full_size(
        self, writer: SetWriter, files: Callable[[int], Mapping[str, PictureFile]], *, side: int,
        name: str,
    ) -> None:  # fmt: skip
        """Write the files of a set's items in full size, as far as their pixels are allowed.

        Args:
            writer: To which all items have been added.
            files: Returns the files of an item, given its number in the set, by view.
            side: Of the square pictures that were added, in px.
            name: Of the run or dataset.

        Raises:
            CycadaError: A file cannot be written.
        """
        left = None if self.full_pixels is None else self.full_pixels - sum(self.used)
        self.used.append(writer.add_full_size(
            files, side=side, most_pixels=left, progress=self.progress, desc=f"{name}: full size",
        ))  # fmt: skip


def chosen(indexes: Sequence[Index], domain: Domain, count: int | None) -> list[Index]:
    """Return the indexes with ``count`` faces of a domain at most, evenly over splits and subjects.

    Where a split or a subject has fewer than its share, the others have more; test subjects first.
    """
    found = [index.select(domain=domain) for index in indexes]
    faces = [(place, face) for place, index in enumerate(found) for face in index.faces]
    if count is not None and len(faces) > count:
        faces = _even(faces, count)
    kept: dict[int, list[Face]] = defaultdict(list)
    for place, face in faces:
        kept[place].append(face)
    return [replace(found[place], faces=tuple(each)) for place, each in sorted(kept.items())]


Placed = tuple[int, Face]  # the number of an index, and a face of it


def _even(faces: Sequence[Placed], count: int) -> list[Placed]:
    by_split: dict[str, dict[tuple[int, str], list[Placed]]] = {split: {} for split in _ORDER}
    for placed in faces:
        subject = (placed[0], placed[1].subject)
        by_split[placed[1].split].setdefault(subject, []).append(placed)
    sizes = [sum(map(len, subjects.values())) for subjects in by_split.values()]
    result = []
    for subjects, quota in zip(by_split.values(), _shares(sizes, count), strict=True):
        groups = list(subjects.values())
        if quota < len(groups):  # not the first subjects alone
            groups = _spaced(groups, quota)
        for group, each in zip(groups, _shares([len(g) for g in groups], quota), strict=True):
            result += _spaced(group, each)
    return result


def _shares(sizes: Sequence[int], count: int) -> list[int]:
    """Return how many to take of each, as evenly as their sizes allow, the first first."""
    shares = [0] * len(sizes)
    left = min(count, sum(sizes))
    while left:
        open_ = [place for place, size in enumerate(sizes) if shares[place] < size]
        each = max(left // len(open_), 1)
        for place in open_:
            more = min(each, sizes[place] - shares[place], left)
            shares[place] += more
            left -= more
    return shares


def _spaced(items: Sequence[Any], count: int) -> list[Any]:
    return [items[place * len(items) // count] for place in range(count)]


@dataclass(slots=True)
class ReadableFaces:
    """Faces of some indexes in batches, without those that cannot be read."""

    indexes: Sequence[Index]
    images: FaceImages
    left_out: int = 0

    @classmethod
    def of(cls, indexes: Sequence[Index], domain: Domain, size: int) -> ReadableFaces:
        """Take all faces, which are of one domain."""
        return cls(indexes, FaceImages(indexes, domain=domain, size=size))

    def batches(self, *, progress: Progress, desc: str) -> Iterator[tuple[list[int], Tensor]]:
        """Yield numbers of faces and ``(B, C, S, S)`` in [-1, 1]."""
        starts = range(0, len(self.images), BATCH)
        for start in progress(starts, total=len(starts), desc=desc):
            numbers, pictures = [], []
            for number in range(start, min(start + BATCH, len(self.images))):
                picture = self.read(number)
                if picture is None:
                    self.left_out += 1
                else:
                    numbers.append(number)
                    pictures.append(picture)
            if pictures:
                yield numbers, torch.stack(pictures)

    def read(self, number: int) -> Tensor | None:
        """Return an image in [-1, 1]; ``None`` where it cannot be read."""
        try:
            return signed(self.images.decode(number))
        except DataError:
            return None

    def rest(self) -> str:
        """Return what to say of those that cannot be read; empty where all can."""
        if not self.left_out:
            return ""
        some = (
            "image cannot be read and is" if self.left_out == 1 else "images cannot be read and are"
        )
        return f"{self.left_out} {some} left out."


def counted(indexes: Sequence[Index], domain: Domain, shown: int) -> str:
    """Return a sentence that says how many of the faces a set holds."""
    total = sum(len(index.select(domain=domain).faces) for index in indexes)
    kind = "RGB" if domain == "rgb" else "thermal"
    if shown == total:
        return f"All {total:,} {kind} faces."
    return (
        f"{shown:,} of {total:,} {kind} faces, evenly over splits and subjects; "
        "--count all shows every one."
    )


def near(named: str, place: Path, mark: str = CSV_NAME) -> Path:
    """Return where something that a run names lies: as named, or near the run.

    Args:
        named: Path as it was given to the run.
        place: The run's folder.
        mark: A file in what is looked for.
    """
    above = [place.absolute().parents[n] for n in range(min(_ABOVE, len(place.absolute().parents)))]
    places = [Path(named)]
    for folder in above:
        places += [folder / named, folder / Path(named).name]
    return next((each for each in places if (each / mark).is_file()), Path(named))
