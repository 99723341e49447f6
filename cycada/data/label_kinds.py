"""Bring the labels of several tables to one kind, for an index has one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from cycada.action_units import OCCURRENCE_THRESHOLD, PROBABILITY_THRESHOLD
from cycada.data.index_info import Kind
from cycada.data.label_table import LARGEST, PLURAL, LabelKind, LabelTable
from cycada.errors import DataError, UsageError


class Unified(NamedTuple):
    """Tables of one kind, and how they became so."""

    tables: list[LabelTable]
    kind: Kind
    threshold: float  # 0: the usual one
    cuts: Mapping[LabelKind, float]  # what occurrences were made of, and from which value
    notes: list[str]


def unify(
    tables: Iterable[LabelTable], *, kind: LabelKind | None, threshold: float | None
) -> Unified:
    """Return the tables with labels of one kind.

    Tables of one kind stay as they are. With ``kind`` ``"occurrence"``, intensities and
    probabilities become occurrences: present from a threshold on.

    Args:
        tables: as read.
        kind: what the index is to hold; ``None``: what the tables hold.
        threshold: from which value an AU occurs: of intensities if there are any, else of
            probabilities; ``None``: 2 and 0.5. Where both become occurrences, probabilities do so
            from 0.5.

    Raises:
        DataError: the tables hold several kinds, or another than is asked for.
        UsageError: ``threshold`` is no value of the kind that it is for, or changes nothing.
    """
    tables = list(tables)
    first = {table.kind: table.file for table in reversed(tables) if table.kind}
    if not first:
        classes = any(row.label for table in tables for row in table.rows)
        return Unified(tables, "class" if classes else "none", 0.0, {}, [])
    wanted = kind or (next(iter(first)) if len(first) == 1 else None)
    if wanted is None:
        one, *more = [f"{first[found]} holds {PLURAL[found]}" for found in PLURAL if found in first]
        raise DataError(
            f"{one} but {', '.join(more).replace(' holds ', ' ')}; an index has one kind of "
            f"labels: --kind occurrence makes occurrences of all."
        )
    others = [found for found in PLURAL if found in first and found != wanted]
    if others and wanted != "occurrence":
        raise DataError(
            f"{first[others[0]]}: holds {PLURAL[others[0]]}, of which no {PLURAL[wanted]} can be "
            f"made; --kind occurrence makes occurrences of all."
        )
    if threshold is not None and first.keys() == {"occurrence"}:
        raise UsageError(
            f"--threshold {threshold:g}: {first['occurrence']} holds occurrences, which no "
            f"threshold changes; if there are intensities in it, --kind intensity reads those."
        )
    cuts = _thresholds(others or [wanted], threshold)
    if not others:
        return Unified(tables, wanted, cuts.get(wanted, 0.0), {}, [])
    unified, notes = [], []
    for table in tables:
        if table.kind is None or table.kind == "occurrence":
            unified.append(table)
            continue
        made, note = _cut(table, table.kind, cuts[table.kind])
        unified.append(made)
        notes.append(note)
    return Unified(unified, "occurrence", 0.0, cuts, notes)


def _thresholds(kinds: Sequence[LabelKind], threshold: float | None) -> dict[LabelKind, float]:
    """Return from which value each kind occurs; a given one is for the first of them."""
    usual: dict[LabelKind, float] = {
        "intensity": OCCURRENCE_THRESHOLD,
        "probability": PROBABILITY_THRESHOLD,
    }
    found = {kind: usual[kind] for kind in usual if kind in kinds}
    if threshold is None:
        return found
    for kind in found:
        if threshold > LARGEST[kind]:
            raise UsageError(
                f"--threshold {threshold:g}: {PLURAL[kind]} reach {LARGEST[kind]:g} at most."
            )
        found[kind] = threshold
        break
    return found


def _cut(table: LabelTable, kind: LabelKind, threshold: float) -> tuple[LabelTable, str]:
    """Return the table with occurrences, and the note about them."""
    made: dict[int, Mapping[int, float]] = {}
    present = total = 0
    rows = []
    for row in table.rows:
        units = made.get(id(row.action_units))
        if units is None:
            units = {
                number: float(value >= threshold) for number, value in row.action_units.items()
            }
            made[id(row.action_units)] = units
        present += sum(map(int, units.values()))
        total += len(units)
        rows.append(replace(row, action_units=units))
    note = (
        f"{table.file}: {PLURAL[kind]} from {threshold:g} on became occurrences: {present} of "
        f"{total} AU values are present."
    )
    return replace(table, kind="occurrence", rows=tuple(rows)), note
