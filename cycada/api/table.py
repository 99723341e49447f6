"""What a detector has said: typed rows, columns by name, and a CSV file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from cycada.data.detections import FIXED, Detected, table_columns, table_row
from cycada.files import replacing
from cycada.rejecting import as_listed
from cycada.task import Task

Cell = str | int | float | None

_BOX = tuple(name for name in FIXED if name.startswith("FaceRect"))


@dataclass(frozen=True, slots=True)
class Detections:
    """A row for each image or frame, whether there is a face or not; as ``cycada detect`` writes.

    Columns have the names of the file that :meth:`to_csv` writes (``docs/detecting.md``): ``AU01``
    is the calibrated probability, ``AU01_c`` the decision, ``AU01_r`` the intensity from 0 to 5
    where the detector tells it.

    >>> import cycada
    >>> detector = cycada.ActionUnitDetector.from_pretrained("runs/both")
    >>> found = detector.detect("faces/thermal.png", faces="whole")
    >>> len(found), found[0].success
    (1, True)
    >>> sorted(found.action_units(0)) == sorted(
    ...     name for name in detector.names if found.column(name + "_c")[0] == 1
    ... )
    True

    A data frame is made of its columns: ``pandas.DataFrame(found.to_dict())``.
    """

    task: Task  # what the detector answers
    rows: tuple[Detected, ...]
    graded: bool = False  # whether intensities are told
    notes: tuple[str, ...] = ()  # what was understood of the images

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return table_columns(self.task, graded=self.graded)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Detected]:
        """Yield the rows."""
        return iter(self.rows)

    @overload
    def __getitem__(self, which: int) -> Detected: ...
    @overload
    def __getitem__(self, which: str) -> list[Cell]: ...
    def __getitem__(self, which: int | str) -> Detected | list[Cell]:
        """Return the row of a number, or the column of a name."""
        return self.column(which) if isinstance(which, str) else self.rows[which]

    def column(self, name: str) -> list[Cell]:
        """Return one column; ``None`` where the table has an empty cell.

        Raises:
            KeyError: There is none of this name.
        """
        if name not in self.columns:
            raise KeyError(f"{name}: the columns are {', '.join(self.columns)}")
        return [_cells(row, self.task).get(name) for row in self.rows]

    def to_dict(self) -> dict[str, list[Cell]]:
        """Return the columns by name, as makers of data frames take them."""
        rows = [_cells(row, self.task) for row in self.rows]
        return {name: [row.get(name) for row in rows] for name in self.columns}

    def action_units(self, number: int) -> tuple[str, ...]:
        """Return the AUs that were decided to be present in a row, or its class."""
        row = self.rows[number]
        seen = zip(self.task.names, row.decisions, row.assessable, strict=False)
        return tuple(name for name, present, visible in seen if present and visible)

    def to_csv(self, file: str | Path | None = None) -> str:
        """Return the table as text, and write it to ``file`` if there is one, whole or not at all.

        Raises:
            OSError: The file cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(table_row(row, self.task, graded=self.graded) for row in self.rows)
        content = as_listed(text.getvalue())
        if file is not None:
            with replacing(Path(file), lone=True) as temporary:
                temporary.write_text(content, encoding="utf-8", newline="")
        return content

    def __str__(self) -> str:
        faces = sum(row.success for row in self.rows)
        return f"{len(self)} rows, {faces} with a face; {', '.join(self.task.names)}"


def _cells(row: Detected, task: Task) -> dict[str, Cell]:
    """Return the cells of a row that are not empty, by column."""
    cells: dict[str, Cell] = {
        "input": row.input, "frame": row.frame, "face_id": 0, "timestamp": row.timestamp,
        "confidence": row.confidence, "success": int(row.success), "FaceScore": row.confidence,
        "reason": row.reason,
    }  # fmt: skip
    if row.box is not None:
        cells |= {**dict(zip(_BOX, row.box, strict=True)), "angle": row.angle}
    if not row.success:
        return cells
    for place, name in enumerate(task.names):
        if not row.assessable[place]:
            continue
        cells[name] = row.probabilities[place]
        if task.classes:
            if row.decisions[place]:
                cells["label"] = name
            continue
        cells[f"{name}_c"] = int(row.decisions[place])
        if row.intensities and not math.isnan(row.intensities[place]):
            cells[f"{name}_r"] = row.intensities[place]
    return cells
