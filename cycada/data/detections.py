"""The table of what a detector says of a video or a folder: one row per frame, always.

The columns are those that users of OpenFace and py-feat know. ``frame`` counts from 0, as in
py-feat; ``timestamp`` is in seconds; ``FaceScore`` is py-feat's name of the ``confidence``;
``AU01`` is the calibrated probability (py-feat's name), ``AU01_c`` the decision and, of detectors
that can tell it, ``AU01_r`` the intensity (OpenFace's names). Where an AU cannot be assessed its
cells are empty.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cycada.errors import DataError, RunError
from cycada.files import append_text, replacing, whole_lines
from cycada.rejecting import as_listed
from cycada.task import Task

FIXED = (
    "input", "frame", "face_id", "timestamp", "confidence", "success",
    "FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore", "angle", "reason",
)  # fmt: skip
"""Columns before those of the answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """What is said of one frame."""

    frame: int  # position in the source, from 0
    input: str = ""  # the file of this frame, or the video
    timestamp: float | None = None  # seconds since the first frame
    confidence: float = 0.0  # that this is a face, 0 to 1
    box: tuple[float, float, float, float] | None = None  # left, top, width, height in px
    angle: float = 0.0  # deg that the head is turned clockwise
    reason: str = ""  # why nothing, or not everything, is said
    probabilities: Sequence[float] = ()  # calibrated, one per answer; empty: no face
    decisions: Sequence[bool] = ()
    intensities: Sequence[float] = ()  # 0 to 5, NaN where not told; empty: none are told
    assessable: Sequence[bool] = ()  # whether the part of the face is to be seen

    @property
    def success(self) -> bool:
        """Whether a face was found and assessed."""
        return bool(self.probabilities)


def table_columns(task: Task, *, graded: bool) -> tuple[str, ...]:
    """Return the header: columns for each AU, or one for each class and ``label``.

    ``graded`` says whether intensities are told, of AUs.
    """
    if task.classes:
        return (*FIXED, *task.names, "label")
    ends = ("", "_c", "_r") if graded else ("", "_c")
    return (*FIXED, *(name + end for name in task.names for end in ends))


def table_row(found: Detected, task: Task, *, graded: bool) -> list[str]:
    """Return the cells of a frame, in the order of :func:`table_columns`."""
    box = ("", "", "", "") if found.box is None else tuple(f"{side:.2f}" for side in found.box)
    fixed = (
        found.input, str(found.frame), "0",
        "" if found.timestamp is None else f"{found.timestamp:.3f}",
        f"{found.confidence:.3f}", str(int(found.success)), *box, f"{found.confidence:.3f}",
        "" if found.box is None else f"{found.angle:.2f}", found.reason,
    )  # fmt: skip
    if not found.success:
        return [*fixed, *[""] * (len(table_columns(task, graded=graded)) - len(FIXED))]
    said = [f"{value:.4f}" for value in found.probabilities]
    if task.classes:
        label = next(name for name, is_it in zip(task.names, found.decisions, strict=True) if is_it)
        return [*fixed, *said, label]
    columns = [said, [str(int(decision)) for decision in found.decisions]]
    if graded:
        columns.append(["" if math.isnan(v) else f"{v:.2f}" for v in found.intensities])
    cells = [
        text if seen else ""
        for seen, *texts in zip(found.assessable, *columns, strict=True)
        for text in texts
    ]
    return [*fixed, *cells]


def read_detections(file: Path, task: Task) -> Iterator[Detected]:
    """Yield the rows of a whole table.

    Raises:
        DataError: The table cannot be read, or is none of these answers.
    """
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = csv.reader(stream)
            header = tuple(next(rows, ()))
            if header not in (table_columns(task, graded=graded) for graded in (False, True)):
                raise DataError(f"{file}: is no table of {', '.join(task.names)}.")
            yield from (_row_of(dict(zip(header, cells, strict=True)), task) for cells in rows)
    except ValueError:
        raise DataError(f"{file}: has been changed, and can no longer be read.") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}).") from error


def _row_of(cells: Mapping[str, str], task: Task) -> Detected:
    sides = [cells[name] for name in FIXED if name.startswith("FaceRect")]
    found = Detected(
        frame=int(cells["frame"]), input=cells["input"],
        timestamp=float(cells["timestamp"]) if cells["timestamp"] else None,
        confidence=float(cells["confidence"]),
        box=tuple(map(float, sides)) if all(sides) else None,  # type: ignore[arg-type]  # four
        angle=float(cells["angle"] or 0), reason=cells["reason"],
    )  # fmt: skip
    if cells["success"] != "1":
        return found
    if task.classes:
        decisions = [name == cells["label"] for name in task.names]
        seen = [True] * len(task)
    else:
        decisions = [cells[f"{name}_c"] == "1" for name in task.names]
        seen = [bool(cells[name]) for name in task.names]
    return replace(
        found, probabilities=tuple(float(cells[name] or 0) for name in task.names),
        decisions=decisions, assessable=seen,
        intensities=[
            float(cells[f"{name}_r"] or math.nan) for name in task.names if f"{name}_r" in cells
        ],
    )  # fmt: skip


class DetectionTable:
    """``NAME.csv``, written row by row under another name until it is whole, and ``NAME.json``.

    The second says what was done to get the first; a table begun with the same settings goes on.
    """

    def __init__(
        self, path: Path, task: Task, settings: Mapping[str, Any], *, graded: bool
    ) -> None:
        """Begin a table, or go on with one.

        Args:
            path: ``NAME.csv``.
            task: What the detector answers.
            settings: Everything that the rows depend on, as JSON knows it.
            graded: Whether it tells intensities.

        Raises:
            RunError: The table was made, or begun, with other settings.
        """
        self.path, self.task, self.graded = path, task, graded
        self.part = path.with_name(f".{path.stem}.part.csv")
        self._facts = {"settings": json.loads(json.dumps(settings))}
        self._check_settings()
        path.parent.mkdir(parents=True, exist_ok=True)
        self.done = 0
        """Rows that are there already."""
        if self.whole:
            return
        if self._note.exists() and self.part.exists():
            self.done = self._rows_kept()
        if not self.done:
            self.part.unlink(missing_ok=True)
            self._append([table_columns(task, graded=graded)])
        self._write_note()

    @property
    def whole(self) -> bool:
        """Whether the table is finished."""
        return self.path.exists()

    @property
    def _note(self) -> Path:
        return self.path.with_suffix(".json")

    def add(self, rows: Iterable[Detected]) -> None:
        """Append rows; after this they survive the end of the process."""
        self._append(table_row(row, self.task, graded=self.graded) for row in rows)

    def finish(self, **facts: Any) -> None:
        """Give the table its name, and note facts about it."""
        self._facts |= facts
        self._write_note()
        self.part.replace(self.path)

    def _append(self, rows: Iterable[Sequence[str]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        append_text(self.part, as_listed(text.getvalue()))  # names of files need not be UTF-8

    def _rows_kept(self) -> int:
        """Return how many rows are there and whole."""
        rows = list(csv.reader(io.StringIO(whole_lines(self.part))))
        if not rows or tuple(rows[0]) != table_columns(self.task, graded=self.graded):
            return 0
        return len(rows) - 1

    def _check_settings(self) -> None:
        if not self._note.exists():
            if self.path.exists():
                raise RunError(
                    f"{self.path}: exists, and nothing says what made it; choose another --out."
                )
            return
        try:
            found = json.loads(self._note.read_text("utf-8"))["settings"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise RunError(
                f"{self._note}: does not say how {self.path.name} was made; delete both, or choose "
                "another --out."
            ) from None
        wanted = self._facts["settings"]
        differing = [
            name for name in dict.fromkeys((*found, *wanted)) if found.get(name) != wanted.get(name)
        ]
        if differing:
            name = differing[0]
            raise RunError(
                f"{self.path}: was made with other settings ({', '.join(differing)}; {name} was "
                f"{found.get(name)!r}, now {wanted.get(name)!r}); choose another --out, or delete "
                f"{self.path.name} and {self._note.name}."
            )

    def _write_note(self) -> None:
        try:
            with replacing(self._note) as temporary:
                temporary.write_text(json.dumps(self._facts, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise DataError(f"{self._note}: cannot be written ({error.strerror}).") from error
