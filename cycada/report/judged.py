"""A method with what it said of every face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cycada.data.predictions import Predictions
from cycada.metrics.bootstrap import Interval
from cycada.report.methods import Scored, figure_text, short_interval
from cycada.report.page import Cell


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """The scores of one method, and what it said of every face."""

    method: Scored
    predictions: Predictions

    @property
    def names(self) -> list[str]:
        """The AUs or classes, in the order of the columns of the predictions."""
        return [unit.name for unit in self.method.scores.units]


def all_names(judged: Sequence[Judged]) -> list[str]:
    """Return the AUs or classes of all methods, sorted."""
    return sorted({name for each in judged for name in each.names})


def figure_cell(value: float, bounds: Interval) -> Cell:
    """Return a figure with its interval below it."""
    return Cell(text=figure_text(value), note=short_interval(bounds))
