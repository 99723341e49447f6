from __future__ import annotations

import csv
import math
import pickle
from pathlib import Path

import numpy as np
import pytest

from cycada.data import annotations
from cycada.data.annotations import AnnotationReader, Annotations, is_number, values_of
from cycada.data.index import read_index


def test_annotations_are_what_a_dict_of_the_same_is() -> None:
    same = {12: 1.5, 1: 0.0}
    made = Annotations((12, 1), [1.5, 0.0])
    assert made == same
    assert same == made
    assert made != {12: 1.5}
    assert (list(made), list(made.values()), list(made.items())) == (
        list(same),
        list(same.values()),
        list(same.items()),
    )
    assert (len(made), made[12], made.get(4), 1 in made, 4 in made) == (2, 1.5, None, True, False)
    assert made.keys() & {1, 4} == {1}
    assert {**made, 4: 1.0} == {**same, 4: 1.0}
    assert repr(made) == repr(same)
    assert pickle.loads(pickle.dumps(made)) == same  # noqa: S301
    with pytest.raises(KeyError, match="4"):
        made[4]
    assert not Annotations((), [])


def test_cells_that_are_empty_are_not_annotated_and_columns_may_stand_anywhere() -> None:
    read = AnnotationReader({4: 1, 1: 3}, width=5)
    assert read(["a", "0.5", "b", "", "7"]) == {4: 0.5}
    assert read(["a", "0", "b", "2", "7"]) == {4: 0.0, 1: 2.0}
    assert read(["a", "", "b", "", "7"]) == {}
    with pytest.raises(ValueError, match="yes"):
        read(["a", "yes", "b", "", "7"])
    assert [is_number(text) for text in ("1e-3", "nan", "yes", "")] == [True, True, False, False]


def test_rows_that_annotate_the_same_units_share_their_numbers() -> None:
    read = AnnotationReader({1: 0, 2: 1, 4: 2}, width=3)
    for cells in (["1", "2", "3"], ["1", "", "3"]):
        one, other = read(cells), read(cells[::-1])
        assert one._numbers is other._numbers


def test_no_more_texts_are_remembered_than_a_table_of_fractions_can_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(annotations, "_REMEMBERED", 3)
    read = AnnotationReader({1: 0}, width=1)
    assert [read([f"0.{n}"])[1] for n in range(1, 10)] == [n / 10 for n in range(1, 10)]
    assert len(read._numbers) == 3


def test_the_values_of_faces_are_those_that_each_of_them_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(annotations, "_TOGETHER", 7)  # so that many parts are gathered
    draw = np.random.default_rng(0)
    known = []
    for place in range(50):
        units = [n for n in (1, 2, 4, 12, 25) if draw.random() < 0.5]
        pairs = {n: float(draw.random()) for n in units}
        known.append(pairs if place % 3 else Annotations(tuple(pairs), list(pairs.values())))
    wanted = (12, 1, 6)
    expected = [[face.get(n, math.nan) for n in wanted] for face in known]
    np.testing.assert_array_equal(values_of(known, wanted), expected)
    assert values_of(known, ()).shape == (50, 0)
    assert values_of([], wanted).shape == (0, 3)


def test_a_table_is_read_as_its_cells_say(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    names = ["AU25", "path", "AU01", "domain", "subject", "AU12", "split"]
    rows = [
        {
            "path": f"{n}.png", "domain": "rgb", "subject": f"s{n % 3}", "split": "train",
            **{au: f"{5 * draw.random():.3f}" if draw.random() < 0.6 else ""
               for au in ("AU25", "AU01", "AU12")},
        }
        for n in range(40)
    ]  # fmt: skip
    with (tmp_path / "index.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "index.toml").write_text('kind = "intensity"\n')
    index = read_index(tmp_path)
    for face, row in zip(index.faces, rows, strict=True):
        assert face.action_units == {
            number: float(row[name])
            for number, name in ((25, "AU25"), (1, "AU01"), (12, "AU12"))
            if row[name]
        }
    assert index.action_units() == (1, 12, 25)
