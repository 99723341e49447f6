"""What has been cut out so far, frame by frame, so that an interrupted run goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from cycada.data.faces.crops import CropRow
from cycada.errors import DataError
from cycada.files import append_text, sync, whole_lines

Points = Mapping[str, tuple[float, float]]
"""Name of a landmark -> x and y, px."""


class Cut(NamedTuple):
    """What became of one face of a frame."""

    row: CropRow
    landmarks: Points  # px of the crop; those that are known


class CropRecord:
    """Lines of JSON, one per frame with all its faces: a frame is recorded whole or not at all.

    It grows under another name until all frames are in it.
    """

    def __init__(self, file: Path) -> None:
        """Begin a record, or go on with one.

        Raises:
            DataError: It cannot be read.
        """
        self.file = file
        self._part = file.with_name(f"{file.name}.part")
        try:
            kept = whole_lines(self._part) if self._part.exists() else ""
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{self._part}: cannot be read ({error}).") from error
        self.done = kept.count("\n")
        """Frames of an unfinished record."""

    @property
    def whole(self) -> bool:
        """Whether all frames are in it."""
        return self.file.exists()

    def add(self, frames: Sequence[Sequence[Cut]], *, root: Path) -> None:
        """Append frames; after this they, and their crops, survive a crash or a power cut.

        Args:
            frames: Each with its faces.
            root: The folder that paths of crops are relative to.

        Raises:
            DataError: The disk is full or gone.
        """
        lines = [
            json.dumps([{**asdict(cut.row), "landmarks": cut.landmarks} for cut in frame]) + "\n"
            for frame in frames
        ]
        try:
            # The crops first: a frame that is recorded is not cut out again.
            sync(root / cut.row.path for frame in frames for cut in frame if cut.row.path)
            append_text(self._part, "".join(lines))
        except OSError as error:
            raise DataError(f"{self._part}: cannot be written ({error.strerror}).") from error

    def finish(self) -> None:
        """Note that all frames are in it."""
        self._part.touch()  # of a recording without frames
        self._part.replace(self.file)

    def read(self) -> Iterator[list[Cut]]:
        """Yield the faces of each frame that is recorded, in the order of the frames.

        Raises:
            DataError: It has been changed.
        """
        try:
            with (self.file if self.whole else self._part).open(encoding="utf-8") as stream:
                for line in stream:
                    yield list(map(_cut, json.loads(line)))
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise DataError(
                f"{self.file}: cannot be read ({error}); delete {self.file.parent} to begin again."
            ) from error


def _cut(facts: dict[str, object]) -> Cut:
    points: dict[str, tuple[float, float]] = facts.pop("landmarks")  # type: ignore[assignment]
    row = CropRow(**facts)  # type: ignore[arg-type]  # as it was written
    return Cut(row, {name: (x, y) for name, (x, y) in points.items()})
