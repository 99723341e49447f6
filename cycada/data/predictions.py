"""``predictions.csv`` of ``cycada evaluate``: what a detector said of each face."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cycada.errors import DataError
from cycada.files import check_table

PREDICTIONS_NAME = "predictions.csv"

_NEEDED = ("probability", "decision", "label")

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """What was said of N faces about A answers, and what is true."""

    paths: tuple[str, ...]  # as in the index
    subjects: tuple[str, ...]
    probability: Floats  # (N, A) in [0, 1], of the network
    calibrated: Floats | None  # (N, A) in [0, 1], where the detector was calibrated
    detected: Bools  # (N, A)
    present: Bools  # (N, A), False where unknown
    known: Bools  # (N, A)

    @property
    def meant(self) -> Floats:
        """The probabilities that are to be believed: calibrated where they are."""
        return self.probability if self.calibrated is None else self.calibrated


def read_predictions(file: Path, names: Sequence[str]) -> Predictions:
    """Read the table for some AUs or classes, in their order.

    Raises:
        DataError: It lacks a column of them, holds something else, or cannot be read.
    """
    try:
        check_table(file)
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a CSV table in UTF-8 ({error}).") from error
    header = rows[0] if rows else []
    place = {name: number for number, name in enumerate(header)}
    wanted = ["path", "subject", *(f"{name}_{kind}" for name in names for kind in _NEEDED)]
    for column in wanted:
        if column not in place:
            raise DataError(
                f"{file}: has no column {column!r}, so it is not of these scores; "
                "`cycada evaluate` writes both."
            )
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise DataError(
                f"{file}, row {number}: has {len(row)} cells, but the header has {len(header)}."
            )
    calibrated = all(f"{name}_calibrated" in place for name in names)

    def values(kind: str) -> Floats:
        columns = [place[f"{name}_{kind}"] for name in names]
        return _numbers(rows, columns, file)

    label = values("label")
    known = np.isfinite(label)
    return Predictions(
        paths=tuple(row[place["path"]] for row in rows[1:]),
        subjects=tuple(row[place["subject"]] for row in rows[1:]),
        probability=_told(values("probability"), file),
        calibrated=_told(values("calibrated"), file) if calibrated else None,
        detected=values("decision") > 0.5,
        present=known & (label > 0.5),
        known=known,
    )


def _numbers(rows: Sequence[Sequence[str]], columns: Sequence[int], file: Path) -> Floats:
    """Return cells as numbers from 0 to 1, NaN where they are empty."""
    result = np.full((len(rows) - 1, len(columns)), np.nan)
    for number, row in enumerate(rows[1:]):
        for place, column in enumerate(columns):
            cell = row[column]
            if not cell:
                continue
            try:
                value = float(cell)
            except ValueError:
                value = np.nan
            if not 0 <= value <= 1:
                raise DataError(
                    f"{file}, row {number + 2}, column {rows[0][column]}: expected a number from "
                    f"0 to 1 or nothing, found {cell!r}."
                )
            result[number, place] = value
    return result


def _told(values: Floats, file: Path) -> Floats:
    if np.isnan(values).any():
        row = int(np.isnan(values).any(axis=1).argmax()) + 2
        raise DataError(f"{file}, row {row}: lacks a probability.")
    return values
