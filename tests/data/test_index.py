from __future__ import annotations

import gc
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cycada.data.index import Face, Index, IndexInfo, read_index, write_index
from cycada.data.index_checks import check_disjoint, check_files
from cycada.errors import DataError
from cycada.task import Task
from cycada.thermal import Window

HEADER = "path,domain,subject,split,frame,sequence,AU01,AU12\n"


def write(folder: Path, table: str, info: str = 'kind = "occurrence"\n') -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "index.csv").write_text(table, encoding="utf-8")
    (folder / "index.toml").write_text(info, encoding="utf-8")
    return folder


def some_index(root: Path) -> Index:
    faces = (
        Face(
            path='rgb/a, "1".png',
            domain="rgb",
            subject="Zoë",
            split="train",
            frame=7,
            sequence="smile",
            pair="thermal/a.png",
            action_units={1: 2.0, 12: 0.1 + 0.2},
        ),
        Face(path="../thermal/a.png", domain="thermal", subject="Zoë", split="train"),
        Face(path="b.png", domain="rgb", subject="02", split="val", action_units={12: 1.0}),
        Face(path="c.png", domain="rgb", subject="03", split="test", origin="x.png", label="pain"),
    )
    info = IndexInfo(
        kind="intensity",
        threshold=1.5,
        unit="centikelvin",
        window=Window(24, 38),
        source='A "set" of faces\nin two lines \x7f \u00e9 \U0001f600',
        licence="CC0",
        translator="runs/t",
        translator_hash="ab12",
    )
    return Index(root, info, faces)


def test_an_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    index = some_index(tmp_path / "new")
    write_index(index)
    assert read_index(tmp_path / "new") == index
    assert read_index(tmp_path / "new" / "index.csv") == index
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["index.csv", "index.toml"]


def test_columns_that_nothing_uses_are_not_written(tmp_path: Path) -> None:
    face = Face(path="a.png", domain="rgb", subject="1", split="train", action_units={4: 1.0})
    write_index(Index(tmp_path, IndexInfo(kind="occurrence"), (face,)))
    assert (tmp_path / "index.csv").read_text() == (
        "path,domain,subject,split,frame,sequence,AU04\na.png,rgb,1,train,,,1\n"
    )


def test_a_hand_written_table_may_reorder_columns_and_end_with_a_blank_line(
    tmp_path: Path,
) -> None:
    table = "\ufeffsplit,AU1, subject,domain,path\ntrain,,x,rgb,a.png\n\n"
    face = read_index(write(tmp_path, table)).faces[0]
    assert face == Face(path="a.png", domain="rgb", subject="x", split="train")


def test_selecting_keeps_the_root_and_the_info(tmp_path: Path) -> None:
    index = some_index(tmp_path)
    chosen = index.select(domain="rgb", split="val")
    assert (chosen.root, chosen.info) == (index.root, index.info)
    assert [face.path for face in chosen.faces] == ["b.png"]
    assert len(index.select().faces) == 4
    assert index.subjects() == {"Zoë", "02", "03"}
    assert index.action_units() == (1, 12)
    assert index.file(index.faces[2]) == tmp_path / "b.png"


def test_occurrences_mask_what_was_not_annotated(tmp_path: Path) -> None:
    labels, known = some_index(tmp_path).occurrences([12, 1, 4])
    assert labels.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert known.tolist() == [
        [True, True, False],
        [False, False, False],
        [True, False, False],
        [False, False, False],
    ]
    assert labels.dtype == torch.float32
    empty = some_index(tmp_path).select(domain="thermal", split="test")
    assert empty.occurrences([1, 2])[1].shape == (0, 2)


def test_intensities_occur_from_the_threshold(tmp_path: Path) -> None:
    faces = tuple(
        Face(path=f"{value}", domain="rgb", subject="s", split="train", action_units={1: value})
        for value in (0.0, 1.0, 1.9, 2.0, 5.0)
    )
    index = Index(tmp_path, IndexInfo(kind="intensity"), faces)
    assert index.occurrences([1])[0].flatten().tolist() == [0, 0, 0, 1, 1]
    lower = replace(index, info=IndexInfo(kind="intensity", threshold=1))
    assert lower.occurrences([1])[0].flatten().tolist() == [0, 1, 1, 1, 1]


def test_probabilities_occur_from_a_half_unless_said_otherwise(tmp_path: Path) -> None:
    table = HEADER + "".join(f"{n}.png,rgb,s,train,,,{v},\n" for n, v in enumerate((0, 0.49, 0.5)))
    index = read_index(write(tmp_path, table, 'kind = "probability"\n'))
    assert index.info.threshold == 0.5
    assert index.occurrences([1])[0].flatten().tolist() == [0, 0, 1]
    info = 'kind = "probability"\nthreshold = 0.3\n'
    lower = read_index(write(tmp_path, table, info))
    assert lower.occurrences([1])[0].flatten().tolist() == [0, 1, 1]
    write_index(lower)
    assert read_index(tmp_path) == lower
    with pytest.raises(DataError, match="expected a threshold up to 1 with kind = 'probability'"):
        read_index(write(tmp_path, table, 'kind = "probability"\nthreshold = 2\n'))
    table = HEADER + "a.png,rgb,s,train,,,,1.5\n"
    with pytest.raises(DataError, match="column AU12: expected a probability from 0 to 1, found"):
        read_index(write(tmp_path, table, 'kind = "probability"\n'))


def test_what_occurrences_were_made_of_is_kept(tmp_path: Path) -> None:
    info = IndexInfo(kind="occurrence", intensity_threshold=3, probability_threshold=0.25)
    faces = (Face(path="a", domain="rgb", subject="s", split="train", action_units={1: 1.0}),)
    index = Index(tmp_path, info, faces)
    write_index(index)
    assert read_index(tmp_path).info == info
    with pytest.raises(DataError, match="expected a probability_threshold above 0 and up to 1"):
        read_index(write(tmp_path, HEADER + ROW, 'kind = "none"\nprobability_threshold = 2\n'))


ROW = "a.png,rgb,s1,train,3,,1,0\n"
BAD_TABLES = {
    "missing column": ("path,domain,split\n", r"row 1: the column 'subject' is missing"),
    "unknown AU": ("path,domain,subject,split,AU99\n", r"row 1: unknown Action Unit 'AU99'"),
    "misspelt AU": ("path,domain,subject,split,AU1_r\n", r"Did you mean AU\d\d"),
    "unknown column": ("path,domain,subject,split,fram\n", r"'fram'\. Did you mean 'frame'"),
    "column twice": ("path,domain,subject,split,AU1,AU01\n", r"'AU01' is there twice"),
    "domain": (HEADER + "a.png,infrared,s,train,,,,\n", r"row 2, column domain: .*'infrared'"),
    "split": (HEADER + ROW + "b.png,rgb,s,dev,,,,\n", r"row 3, column split: .*'dev'"),
    "subject": (HEADER + "a.png,rgb,,train,,,,\n", r"row 2, column subject: expected a name"),
    "path": (HEADER + "/a.png,rgb,s,train,,,,\n", r"row 2, column path: .*relative"),
    "backslash": (HEADER + "x\\a.png,rgb,s,train,,,,\n", r"row 2, column path: .*with '/'"),
    "frame": (HEADER + "a.png,rgb,s,train,x,,,\n", r"row 2, column frame: .*'x'"),
    "value": (HEADER + "a.png,rgb,s,train,,,,2\n", r"row 2, column AU12: expected 0 or 1.*'2'"),
    "no number": (HEADER + "a.png,rgb,s,train,,,yes,\n", r"column AU01: expected a number.*'yes'"),
    "nan": (HEADER + "a.png,rgb,s,train,,,nan,\n", r"column AU01: expected 0 or 1.*'nan'"),
    "cells": (HEADER + "a.png,rgb,s\n", r"row 2: has 3 cells, but the header has 8"),
    "twice": (HEADER + ROW + ROW, r"row 3, column path: 'a.png' is there twice"),
    "two splits": (
        HEADER + ROW + "b.png,thermal,s1,test,,,,\n",
        r"row 3: subject 's1' is in the split 'test', but in row 2 in 'train'",
    ),
    "no rows": (HEADER, "holds no faces"),
    "nothing": ("", "the column 'path' is missing"),
    "quotes": (HEADER + '"a.png,rgb,s1,train,3,,1,0\n', "cannot be read as a CSV table"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_wrong_table_is_refused_with_its_place(tmp_path: Path, case: str) -> None:
    table, message = BAD_TABLES[case]
    with pytest.raises(DataError, match=message) as caught:
        read_index(write(tmp_path, table))
    assert str(tmp_path / "index.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("together", [1, 2, 100])
def test_of_several_faults_that_of_the_first_row_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr("cycada.data.index._TOGETHER", together)
    good = "".join(f"{n}.png,rgb,s1,train,,,1,\n" for n in range(3))
    table = HEADER + good + "\na.png,rgb,s1,train,,,1,0.5\nb.png,uv,s1,train,,,yes,\n"
    with pytest.raises(DataError, match=r"row 6, column AU12: expected 0 or 1, found '0\.5'"):
        read_index(write(tmp_path, table))
    table = HEADER + good + "a.png,rgb,s1,test,,,1,0.5\nb.png,rgb,s1,train,,,7,\n"
    with pytest.raises(DataError, match="row 5: subject 's1' is in the split 'test'"):
        read_index(write(tmp_path, table))
    table = HEADER + good + "a.png,rgb,s1,train,,,2,nan\n"
    with pytest.raises(DataError, match=r"column AU12: expected an intensity from 0 .* 'nan'"):
        read_index(write(tmp_path, table, 'kind = "intensity"\n'))


def test_reading_leaves_the_collector_of_garbage_as_it_was(tmp_path: Path) -> None:
    write(tmp_path, HEADER + ROW)
    bad = write(tmp_path / "bad", HEADER)
    for switch in (gc.disable, gc.enable):
        switch()
        before = gc.isenabled()
        read_index(tmp_path)
        with pytest.raises(DataError):
            read_index(bad)
        assert gc.isenabled() == before


BAD_INFOS = {
    "no kind": ('unit = "grey"\n', "the key 'kind' is missing"),
    "kind": ('kind = "occurence"\n', r"'occurence' is unknown\. Did you mean 'occurrence'\?"),
    "unit": ('kind = "none"\nunit = "centikelvins"\n', "Did you mean 'centikelvin'"),
    "key": ('kind = "none"\nwindo = [1, 2]\n', r"unknown key 'windo'\. Did you mean 'window'"),
    "window": ('kind = "none"\nwindow = [40, 20]\n', "upside down"),
    "window shape": ('kind = "none"\nwindow = 20\n', r"expected window = \[LOW, HIGH\]"),
    "threshold": ('kind = "none"\nthreshold = 9\n', "expected a threshold"),
    "text": ('kind = "none"\nsource = 3\n', "expected source to be a text"),
    "syntax": ("kind = \n", "cannot be read as TOML"),
    "labels": ('kind = "none"\n', "annotates Action Units; write kind"),
}


@pytest.mark.parametrize("case", BAD_INFOS)
def test_a_wrong_description_is_refused_with_its_key(tmp_path: Path, case: str) -> None:
    info, message = BAD_INFOS[case]
    with pytest.raises(DataError, match=message) as caught:
        read_index(write(tmp_path, HEADER + ROW, info))
    assert str(tmp_path / "index.toml") in str(caught.value)


def test_an_intensity_above_5_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 2, column AU12: expected an intensity from 0 to 5"):
        read_index(write(tmp_path, HEADER + "a.png,rgb,s,train,,,,6\n", 'kind = "intensity"\n'))


def test_a_missing_index_or_description_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no index; `cycada index` makes one"):
        read_index(tmp_path)
    (tmp_path / "index.csv").write_text(HEADER + ROW)
    with pytest.raises(DataError, match=r'index\.toml: is missing; write .*kind = "occurrence"'):
        read_index(tmp_path)


def test_an_index_that_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    face = Face(path="a.png", domain="rgb", subject="s", split="train", action_units={1: 3.0})
    with pytest.raises(DataError, match="column AU01: expected 0 or 1"):
        write_index(Index(tmp_path, IndexInfo(kind="occurrence"), (face,)))
    with pytest.raises(DataError, match="holds no faces"):
        write_index(Index(tmp_path, IndexInfo(kind="none"), ()))
    assert not list(tmp_path.iterdir())


def test_a_subject_in_different_splits_of_two_indexes_is_refused() -> None:
    one, two = (
        Index(
            Path(root),
            IndexInfo(kind="none"),
            (Face(path="a.png", domain="rgb", subject="s1", split=split),),
        )
        for root, split in (("one", "train"), ("two", "test"))
    )
    check_disjoint([one, one])
    with pytest.raises(DataError, match=r"subject 's1' .* 'train' of one and in 'test' of two"):
        check_disjoint([one, two])
    with pytest.raises(DataError, match=r"by one command with --rgb and --thermal, .* names"):
        check_disjoint([one, two])


def test_the_fingerprint_changes_with_what_is_learned_and_with_nothing_else(
    tmp_path: Path,
) -> None:
    index = some_index(tmp_path)
    first, *others = index.faces

    def with_first(**changes: Any) -> Index:
        return replace(index, faces=(replace(first, **changes), *others))

    def with_info(**changes: Any) -> Index:
        return replace(index, info=replace(index.info, **changes))

    learned = (
        with_first(path="other.png"),
        with_first(domain="thermal"),
        with_first(subject="S9"),
        with_first(split="val"),
        with_first(action_units={1: 2.0}),
        with_info(kind="occurrence"),
        with_info(threshold=2.0),
        with_info(unit="celsius"),
        with_info(window=Window(20, 38)),
        with_info(translator_hash="other"),
        with_info(seen_subjects=("S1",)),
        with_info(seen_digests=("S2",)),
        replace(index, faces=index.faces[1:]),
        replace(index, faces=(index.faces[2], *index.faces[:2], index.faces[3])),
    )
    prints = {changed.fingerprint() for changed in learned}
    assert len(prints) == len(learned)
    assert index.fingerprint() not in prints
    for same in (
        with_first(frame=8, sequence="other", pair=""),
        with_info(source="another text", licence="MIT"),
        replace(index, faces=index.faces[:3]),  # without the face to test on
        replace(index, root=tmp_path / "elsewhere"),
    ):
        assert same.fingerprint() == index.fingerprint()


def labelled_index(root: Path) -> Index:
    """Return three classes; the fourth face has none, and the last both a class and an AU."""
    faces = tuple(
        Face(path=f"{number}.png", domain=domain, subject=f"S{number}", split=split, label=label)
        for number, (domain, split, label) in enumerate(
            (
                ("rgb", "train", "happy"),
                ("rgb", "val", "sad"),
                ("thermal", "test", "angry"),
                ("rgb", "train", ""),
            )
        )
    )
    last = Face(
        path="4.png", domain="rgb", subject="S4", split="train", label="sad", action_units={12: 1}
    )
    return Index(root, IndexInfo(kind="occurrence"), (*faces, last))


def test_classes_are_the_labels_in_use(tmp_path: Path) -> None:
    index = labelled_index(tmp_path)
    assert index.classes() == ("angry", "happy", "sad")
    assert index.select(domain="rgb", split="train").classes() == ("happy", "sad")
    assert index.select(domain="thermal", split="train").classes() == ()


def test_the_label_of_a_face_is_one_hot_and_an_unknown_class_counts_as_unknown(
    tmp_path: Path,
) -> None:
    labels, known = labelled_index(tmp_path).labels(Task(classes=("sad", "happy")))
    # The third face is angry, of which the task knows nothing, and the fourth has no label.
    assert labels.tolist() == [[0, 1], [1, 0], [0, 0], [0, 0], [1, 0]]
    assert known.tolist() == [[True] * 2, [True] * 2, [False] * 2, [False] * 2, [True] * 2]
    assert (labels.dtype, known.dtype) == (torch.float32, torch.bool)
    known[0, 0] = False  # a caller may change what it is given
    assert known[0, 1]


def test_labels_of_action_units_are_their_occurrences(tmp_path: Path) -> None:
    index = labelled_index(tmp_path)
    labels, known = index.labels(Task((1, 12)))
    assert labels.tolist() == [[0, 0]] * 4 + [[0, 1]]
    assert known.tolist() == [[False, False]] * 4 + [[False, True]]


@pytest.mark.parametrize("task", [Task((1, 12)), Task(classes=("happy", "sad"))])
def test_no_faces_have_no_labels(task: Task, tmp_path: Path) -> None:
    labels, known = labelled_index(tmp_path).select(domain="thermal", split="val").labels(task)
    assert labels.shape == known.shape == (0, 2)
    assert (labels.dtype, known.dtype) == (torch.float32, torch.bool)


def test_the_fingerprint_changes_with_a_label_that_is_learned_from(tmp_path: Path) -> None:
    index = labelled_index(tmp_path)

    def relabelled(number: int, label: str) -> str:
        faces = list(index.faces)
        faces[number] = replace(faces[number], label=label)
        return replace(index, faces=tuple(faces)).fingerprint()

    changed = {
        relabelled(0, "sad"),
        relabelled(0, ""),
        relabelled(1, "happy"),
        relabelled(3, "sad"),
    }
    assert len(changed) == 4
    assert index.fingerprint() not in changed
    assert relabelled(2, "sad") == index.fingerprint()  # a face to test on


def test_the_fingerprint_of_faces_without_labels_is_that_of_earlier_versions(
    tmp_path: Path,
) -> None:
    index = some_index(tmp_path)
    faces = tuple(face for face in index.faces if face.split != "test")
    assert not any(face.label for face in faces)
    head = '["intensity", 1.5, "centikelvin", [24, 38], "ab12", []]'
    rows = (
        r'["rgb/a, \"1\".png", "rgb", "Zo\u00eb", "train", [[1, 2.0], [12, 0.30000000000000004]]]',
        r'["../thermal/a.png", "thermal", "Zo\u00eb", "train", []]',
        '["b.png", "rgb", "02", "val", [[12, 1.0]]]',
    )
    expected = hashlib.sha256((head + "".join(rows)).encode()).hexdigest()
    assert index.fingerprint() == expected


def test_missing_images_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    index = read_index(write(tmp_path, HEADER + ROW + "b.png,rgb,s1,train,,,,\n"))
    with pytest.raises(DataError, match=r"2 of 2 images are missing; the first is .*a\.png"):
        check_files(index)
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match=r"1 of 2 images are missing; the first is .*b\.png"):
        check_files(index)
    (tmp_path / "b.png").touch()
    check_files(index)
