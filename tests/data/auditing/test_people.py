"""Subjects in two splits, names that may mean one person, and labels that never vary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cycada.data.auditing.labels import audit_labels
from cycada.data.auditing.looks import Look, Seen
from cycada.data.auditing.subjects import audit_subjects, plain
from cycada.data.index import SPLITS, Domain, Face, Index, IndexInfo, Kind, Split

LOOK = Look(length=1, modified=1)


def row(subject: str, split: Split, root: str = "a", domain: Domain = "rgb") -> Seen:
    face = Face(path=f"{subject}/{split}.png", domain=domain, subject=subject, split=split)
    return Seen(face, Path(root, face.path), Path(root), IndexInfo(kind="none"), LOOK)


def test_subjects_in_one_split_each_are_sound() -> None:
    rows = [row("s1", "train"), row("s1", "train", "b"), row("s2", "val"), row("s3", "test")]
    assert audit_subjects(rows) == []


def test_a_subject_in_two_splits_of_one_index_or_of_two_is_an_error() -> None:
    rows = [row("s1", "train"), row("s1", "test"), row("s2", "val", "a"), row("s2", "train", "b"),
            row("s3", "test")]  # fmt: skip
    (found,) = audit_subjects(rows)
    assert (found.check, found.severity) == ("subjects", "error")
    assert "2 of 3 subjects are in two splits" in found.text
    assert "'s1' in train of a and test of a" in found.text
    assert "'s2' in val of a and train of b" in found.text


@pytest.mark.parametrize("other", ["s1", "S 1", "S_001", "s01 ", "S-1"])
def test_a_name_that_differs_in_spelling_alone_is_doubted_across_splits(other: str) -> None:
    (found,) = audit_subjects([row("S01", "train"), row(other, "test"), row("S02", "val")])
    assert (found.check, found.severity) == ("names", "warning")
    assert f"'S01' (train) and {other!r} (test)" in found.text
    assert audit_subjects([row("S01", "train"), row(other, "train")]) == []


def test_other_numbers_and_letters_are_other_people() -> None:
    names = ["S1", "S10", "S1-1", "S11", "T1", "1", "S1a", "Élise1", "S0"]
    assert len({plain(name) for name in names}) == len(names)
    assert audit_subjects([row(name, SPLITS[n % 3]) for n, name in enumerate(names)]) == []


def index(
    values: dict[Split, Sequence[float]], *, kind: Kind = "occurrence", other: bool = True
) -> Index:
    """Return an index with AU12 as given, and AU04 that varies."""
    faces = tuple(
        Face(
            path=f"{split}{n}.png", domain="rgb", subject=split, split=split,
            action_units={12: value} | ({4: float(n % 2) * (5 if kind == "intensity" else 1)}
                                        if other else {}),
        )
        for split, given in values.items()
        for n, value in enumerate(given)
    )  # fmt: skip
    return Index(Path("a"), IndexInfo(kind=kind), faces)


MIXED = [0.0, 1.0] * 15


def test_units_that_come_and_go_are_sound_and_few_faces_say_nothing() -> None:
    assert audit_labels(index({"train": MIXED, "val": MIXED, "test": MIXED})) == []
    assert audit_labels(index({"train": MIXED, "val": [0.0] * 19})) == []


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("value", "how"), [(0.0, "none"), (1.0, "all")])
def test_a_unit_on_none_or_all_faces_of_a_split_is_a_warning(
    split: Split, value: float, how: str
) -> None:
    given: dict[Split, Sequence[float]] = {"train": MIXED, "val": MIXED, "test": MIXED}
    (found,) = audit_labels(index({**given, split: [value] * 20}))
    assert (found.check, found.severity) == ("prevalence", "warning")
    assert f"AU12 on {how} of the annotated faces" in found.text
    assert f"split {split!r}" in found.text
    assert found.splits == {split}


def test_a_training_split_in_which_nothing_varies_is_an_error() -> None:
    (found,) = audit_labels(index({"train": [0.0] * 20, "val": MIXED}, other=False))
    assert found.severity == "error"
    (found,) = audit_labels(index({"train": MIXED, "val": [0.0] * 20}, other=False))
    assert found.severity == "warning"


def test_occurrences_read_as_intensities_are_told_by_the_threshold() -> None:
    (found,) = audit_labels(index({"train": MIXED}, kind="intensity", other=False))
    assert "no value reaches the threshold of 2 (the largest is 1)" in found.text
    assert found.severity == "error"


def test_faces_that_nobody_annotated_count_neither_way() -> None:
    made = index({"train": [0.0] * 15})
    unknown = index({"train": [0.0] * 30}).faces
    blind = tuple(
        Face(path=f"x{f.path}", domain="rgb", subject="x", split="train") for f in unknown
    )
    assert audit_labels(Index(made.root, made.info, made.faces + blind)) == []


def test_a_class_that_no_face_to_learn_from_shows_is_a_warning() -> None:
    def faces(split: Split, labels: str) -> list[Face]:
        return [
            Face(path=f"{split}{n}", domain="rgb", subject=split, split=split, label=label)
            for n, label in enumerate(labels)
        ]

    info = IndexInfo(kind="class")
    sound = faces("train", "abc") + faces("test", "ab")
    assert audit_labels(Index(Path("a"), info, tuple(sound))) == []
    (found,) = audit_labels(Index(Path("a"), info, tuple(sound + faces("val", "ad"))))
    assert (found.check, found.severity) == ("prevalence", "warning")
    assert "has the class d" in found.text
    assert audit_labels(Index(Path("a"), info, tuple(faces("test", "ab")))) == []
