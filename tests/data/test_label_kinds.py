from __future__ import annotations

from pathlib import Path

import pytest

from cycada.data.label_kinds import unify
from cycada.data.label_table import LabelKind, LabelRow, LabelTable
from cycada.errors import DataError, UsageError


def table(kind: LabelKind | None, *values: float) -> LabelTable:
    rows = tuple(
        LabelRow(row=row, path=f"{row}.png", action_units={1: value})
        for row, value in enumerate(values)
    )
    return LabelTable(Path(f"{kind}.csv"), kind, rows, ())


def values(made: LabelTable) -> list[float]:
    return [row.action_units[1] for row in made.rows]


OCCURRENCES = table("occurrence", 0, 1)
INTENSITIES = table("intensity", 0, 1, 1.99, 2, 5)
PROBABILITIES = table("probability", 0, 0.49, 0.5, 1)


@pytest.mark.parametrize(
    ("one", "usual"), [(OCCURRENCES, 0), (INTENSITIES, 2), (PROBABILITIES, 0.5)]
)
def test_one_kind_stays_as_it_is_with_its_usual_threshold(one: LabelTable, usual: float) -> None:
    made = unify([one], kind=None, threshold=None)
    assert (made.tables, made.kind, made.threshold) == ([one], one.kind, usual)
    assert (made.cuts, made.notes) == ({}, [])


def test_several_kinds_meet_as_occurrences_only_when_asked() -> None:
    tables = [PROBABILITIES, OCCURRENCES, INTENSITIES]
    with pytest.raises(
        DataError,
        match=r"occurrence\.csv holds occurrences but intensity\.csv intensities, "
        r"probability\.csv probabilities; .*--kind occurrence",
    ):
        unify(tables, kind=None, threshold=None)
    made = unify(tables, kind="occurrence", threshold=None)
    assert made.kind == "occurrence"
    assert [values(one) for one in made.tables] == [[0, 0, 1, 1], [0, 1], [0, 0, 0, 1, 1]]
    assert {one.kind for one in made.tables} == {"occurrence"}
    assert made.cuts == {"intensity": 2, "probability": 0.5}
    assert made.notes == [
        (
            "probability.csv: probabilities from 0.5 on became occurrences: 2 of 4 AU values are "
            "present."
        ),
        "intensity.csv: intensities from 2 on became occurrences: 2 of 5 AU values are present.",
    ]


def test_a_threshold_is_of_intensities_if_there_are_any_else_of_probabilities() -> None:
    made = unify([PROBABILITIES, INTENSITIES], kind="occurrence", threshold=1)
    assert made.cuts == {"intensity": 1, "probability": 0.5}
    assert values(made.tables[1]) == [0, 1, 1, 1, 1]
    made = unify([PROBABILITIES], kind="occurrence", threshold=0.4)
    assert (values(made.tables[0]), made.cuts) == ([0, 1, 1, 1], {"probability": 0.4})
    assert unify([PROBABILITIES], kind=None, threshold=0.7).threshold == 0.7
    with pytest.raises(UsageError, match="--threshold 2: probabilities reach 1 at most"):
        unify([PROBABILITIES], kind=None, threshold=2)


@pytest.mark.parametrize("kind", [None, "occurrence"])
def test_a_threshold_that_would_change_nothing_is_refused(kind: LabelKind | None) -> None:
    with pytest.raises(
        UsageError, match=r"--threshold 3: occurrence\.csv holds occurrences, which"
    ):
        unify([OCCURRENCES], kind=kind, threshold=3)
    assert unify([OCCURRENCES, INTENSITIES], kind="occurrence", threshold=3).cuts == {
        "intensity": 3
    }


def test_no_intensity_is_made_of_an_occurrence() -> None:
    with pytest.raises(DataError, match=r"occurrence\.csv: holds occurrences, of which no inten"):
        unify([INTENSITIES, OCCURRENCES], kind="intensity", threshold=None)
    with pytest.raises(DataError, match="of which no probabilities can be made"):
        unify([INTENSITIES], kind="probability", threshold=None)


def test_tables_without_action_units_do_not_matter() -> None:
    names = LabelTable(Path("n.csv"), None, (LabelRow(row=2, path="a", action_units={}),), ())
    assert unify([names, INTENSITIES], kind=None, threshold=None).kind == "intensity"
    assert unify([names], kind=None, threshold=None).kind == "none"
    row = LabelRow(row=2, path="a", label="pain", action_units={})
    assert unify([LabelTable(Path("n"), None, (row,), ())], kind=None, threshold=3).kind == "class"
    assert unify([], kind="occurrence", threshold=None).kind == "none"
