"""Marked images are left out of an index, by path or by digest, and nothing else is."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from cycada.cli.index import index as command
from cycada.data.exclusion import path_digest
from cycada.data.index import Index, read_index, write_index
from cycada.data.index_checks import check_files
from cycada.data.landmarks import read_landmarks
from cycada.errors import CycadaError, DataError, UsageError
from cycada.image_writing import write_image
from cycada.progress import Progress
from cycada.rejecting import read_rejected
from cycada.report.gallery import path_digest as digest_of_pages
from cycada.stages.excluding import WithoutOptions, index_without
from cycada.stages.index import Indexed, make_index
from cycada.stages.index_options import IndexOptions


def make(out: Path, **options: object) -> Indexed:
    return make_index(
        IndexOptions(out=out, **options),  # type: ignore[arg-type]
        progress=Progress(shown=False),
    )


@pytest.fixture
def rgb(tmp_path: Path) -> Path:
    """Return a folder of ten subjects with three images each."""
    for subject in range(10):
        for frame in range(3):
            image = torch.full((3, 8, 8), 20 * subject + frame, dtype=torch.uint8)
            write_image(tmp_path / "data" / "faces" / f"S{subject}" / f"{frame}.png", image)
    return tmp_path / "data" / "faces"


def marked(file: Path, rows: Sequence[tuple[str, ...]], *, digests: bool = False) -> Path:
    """Write what a page exports; digests by the definition, not by our own function."""
    names = [
        hashlib.sha256(row[0].encode()).hexdigest()[:16] if digests else row[0] for row in rows
    ]
    lines = ["digest,set,reason" if digests else "path,set,reason"]
    lines += [",".join((name, *row[1:])) for name, row in zip(names, rows, strict=True)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
    return file


def left(index: Index, whole: Index) -> set[str]:
    """Return the files of ``whole`` that ``index`` lacks, by their last two parts."""

    def files(one: Index) -> set[Path]:
        return {one.file(face).resolve() for face in one.faces}

    return {"/".join(file.parts[-2:]) for file in files(whole) - files(index)}


@pytest.mark.parametrize("digests", [False, True])
@pytest.mark.parametrize("place", ["data/second", "second", "data/a/b/second"])
def test_what_a_page_marked_is_left_out_wherever_the_new_index_lies(
    tmp_path: Path, rgb: Path, place: str, *, digests: bool
) -> None:
    whole = make(tmp_path / "data" / "first", rgb=rgb).faces
    chosen = [whole.faces[number].path for number in (0, 4, 17)]
    file = marked(tmp_path / "m.csv", [(p, "first", "blurred") for p in chosen], digests=digests)
    made = make(tmp_path / place, rgb=rgb, exclude=(file,))
    assert left(made.faces, whole) == {"/".join(Path(path).parts[-2:]) for path in chosen}
    again = read_index(tmp_path / place)
    assert again == made.faces
    assert again.info.excluded == 3
    rows = read_rejected(tmp_path / place / "excluded.csv")
    assert {"/".join(Path(row.path).parts[-2:]) for row in rows} == left(made.faces, whole)
    assert {row.reason for row in rows} == {"blurred"}
    assert any("3 images are left out" in note for note in made.notes)


def test_nobody_comes_to_another_split_because_others_were_left_out(
    tmp_path: Path, rgb: Path
) -> None:
    whole = make(tmp_path / "data" / "first", rgb=rgb).faces
    splits = {face.subject: face.split for face in whole.faces}
    for gone in ("S0", "S3", "S7"):
        rows = [(face.path, "", "") for face in whole.faces if face.subject == gone]
        made = make(
            tmp_path / "data" / gone, rgb=rgb, exclude=(marked(tmp_path / "m.csv", rows),)
        ).faces
        assert gone not in made.subjects()
        assert {f.subject: f.split for f in made.faces} == {
            name: split for name, split in splits.items() if name != gone
        }


def test_a_list_by_hand_names_images_from_the_searched_folder_or_from_where_it_lies(
    tmp_path: Path, rgb: Path
) -> None:
    whole = make(tmp_path / "index", rgb=rgb).faces
    below = marked(tmp_path / "elsewhere" / "a.csv", [("S1/0.png",)])
    beside = marked(tmp_path / "data" / "b.csv", [("faces/S2/1.png",)])
    for file in (below, beside):
        text = file.read_text().replace("path,set,reason", "path")
        file.write_text(text)
    made = make(tmp_path / "other", rgb=rgb, exclude=(below, beside)).faces
    assert left(made, whole) == {"S1/0.png", "S2/1.png"}


def test_a_set_of_another_index_is_told_and_leaves_nothing_out(tmp_path: Path, rgb: Path) -> None:
    whole = make(tmp_path / "first", rgb=rgb).faces
    rows = [(whole.faces[2].path, "ours", "x"), ("rgb/1.png", "theirs", "y"),
            ("rgb/2.png", "theirs", "y")]  # fmt: skip
    made = make(tmp_path / "second", rgb=rgb, exclude=(marked(tmp_path / "m.csv", rows),))
    assert len(left(made.faces, whole)) == 1
    assert any("the 2 rows of the set 'theirs' are of another index" in n for n in made.notes)


def test_a_row_that_names_nothing_among_others_that_do_is_an_error(
    tmp_path: Path, rgb: Path
) -> None:
    whole = make(tmp_path / "first", rgb=rgb).faces
    rows = [(whole.faces[2].path, "ours", "x"), ("../data/faces/S1/99.png", "ours", "y")]
    file = marked(tmp_path / "m.csv", rows)
    with pytest.raises(DataError, match=r"m\.csv, row 3: \.\./data/faces/S1/99\.png is no image"):
        make(tmp_path / "second", rgb=rgb, exclude=(file,))
    assert not (tmp_path / "second" / "index.csv").exists()


def test_a_list_of_which_nothing_is_here_is_an_error(tmp_path: Path, rgb: Path) -> None:
    file = marked(tmp_path / "m.csv", [("a/b.png", "s", "")], digests=True)
    with pytest.raises(DataError, match=r"row 2: .* is no image of this index"):
        make(tmp_path / "second", rgb=rgb, exclude=(file,))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected a table with the column path or the column digest"),
        ("file,reason\na,b\n", "expected a table with the column path"),
        ("path,digest\na,b\n", "expected a table with the column path"),
        ("path,why\na,b\n", "unknown column 'why'"),
        ("path,set\na\n", "row 2: has 1 cells"),
        ("digest\nabc\n", "row 2: expected 16 hexadecimal digits, found 'abc'"),
        ("path\n", "names no image"),
        ("path,set\n,b\n", "row 2: expected a path"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, rgb: Path, text: str, told: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(DataError, match=told):
        make(tmp_path / "second", rgb=rgb, exclude=(tmp_path / "m.csv",))


def test_a_broken_image_that_is_left_out_is_not_told_of(tmp_path: Path, rgb: Path) -> None:
    from cycada.rejecting import Limit

    (rgb / "S1" / "0.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="1 of 30 images cannot be used"):
        make(tmp_path / "second", rgb=rgb, limit=Limit(0, 0))
    file = marked(tmp_path / "m.csv", [("S1/0.png", "", "broken")])
    made = make(tmp_path / "second", rgb=rgb, exclude=(file,), limit=Limit(0, 0)).faces
    assert len(made.faces) == 29
    check_files(made)


def test_an_index_made_anew_without_exclusions_lists_none(tmp_path: Path, rgb: Path) -> None:
    file = marked(tmp_path / "m.csv", [("S1/0.png", "", "")])
    make(tmp_path / "index", rgb=rgb, exclude=(file,))
    assert (tmp_path / "index" / "excluded.csv").exists()
    made = make(tmp_path / "index", rgb=rgb, overwrite=True).faces
    assert made.info.excluded == 0
    assert "excluded" not in (tmp_path / "index" / "index.toml").read_text()
    assert not (tmp_path / "index" / "excluded.csv").exists()


def test_folds_are_all_without_what_is_left_out(tmp_path: Path, rgb: Path) -> None:
    file = marked(tmp_path / "m.csv", [("S1/0.png", "", "")])
    made = make(tmp_path / "index", rgb=rgb, exclude=(file,), folds="3")
    assert len(made.folds) == 3
    for fold in made.folds:
        assert len(fold.faces) == 29
        assert read_index(fold.root).info.excluded == 1


def copy(index: Path, out: Path, *lists: Path, **more: bool) -> tuple[Index, list[str]]:
    return index_without(WithoutOptions(index=index, lists=lists, out=out, **more))


@pytest.mark.parametrize("digests", [False, True])
def test_a_copy_of_an_index_keeps_all_but_the_marked(
    own_faces: Path, mark_eyes: object, tmp_path: Path, *, digests: bool
) -> None:
    mark_eyes(own_faces)  # type: ignore[operator]
    whole = read_index(own_faces)
    rows = [(whole.faces[number].path, "s", "odd") for number in (3, 30)]
    out = tmp_path / "far" / "away"
    made, _ = copy(own_faces, out, marked(tmp_path / "m.csv", rows, digests=digests))
    read = read_index(out)
    assert read == made
    check_files(read)
    kept = [face for number, face in enumerate(whole.faces) if number not in (3, 30)]
    assert [dataclasses.replace(face, path="") for face in read.faces] == [
        dataclasses.replace(face, path="") for face in kept
    ]
    assert [read.file(face).resolve() for face in read.faces] == [
        whole.file(face).resolve() for face in kept
    ]
    assert dataclasses.replace(read.info, excluded=0) == whole.info
    assert read.info.excluded == 2
    before, after = read_landmarks(own_faces), read_landmarks(out)
    assert before is not None
    assert after is not None
    assert list(after.places.values()) == [
        before.places[face.path] for face in kept if face.path in before.places
    ]


def test_a_copy_of_a_copy_takes_the_same_list_and_a_longer_one(
    own_faces: Path, tmp_path: Path
) -> None:
    whole = read_index(own_faces)
    paths = [face.path for face in whole.faces]
    first, _ = copy(own_faces, tmp_path / "b", marked(tmp_path / "1.csv", [(paths[0], "s", "")]))
    name = first.faces[4].path  # as the page of the copy names it
    longer = marked(tmp_path / "2.csv", [(name, "s", "")])
    second, _ = copy(tmp_path / "b", tmp_path / "c", longer)
    assert left(second, whole) == {"/".join(Path(paths[n]).parts[-2:]) for n in (0, 5)}
    assert second.info.excluded == 2
    listed = [row.path for row in read_rejected(tmp_path / "c" / "excluded.csv")]
    assert [(tmp_path / "c" / path).resolve() for path in listed] == [
        (own_faces / paths[number]).resolve() for number in (0, 5)
    ]
    once_more = marked(tmp_path / "3.csv", [(listed[0], "s", ""), (second.faces[9].path, "s", "")])
    third, notes = copy(tmp_path / "c", tmp_path / "d", once_more)
    assert len(third.faces) == len(second.faces) - 1
    assert any("1 of these had been left out" in note for note in notes)


@pytest.mark.parametrize("digests", [False, True])
@pytest.mark.parametrize("source", ["faces", "deep/faces"])
def test_a_translated_set_is_copied_without_the_translations_of_marked_originals(
    own_faces: Path, tmp_path: Path, source: str, *, digests: bool
) -> None:
    root = tmp_path / source
    root.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(own_faces, root)
    originals = read_index(root).select(domain="rgb")
    up = "../" * (1 + source.count("/"))
    faces = []
    for face in originals.faces:
        made = tmp_path / "made" / "as" / face.path
        made.parent.mkdir(parents=True, exist_ok=True)
        write_image(made, torch.zeros(1, 8, 8, dtype=torch.uint8))
        origin = f"{up if source == 'faces' else '../'}{source}/{face.path}"
        faces.append(
            dataclasses.replace(face, domain="thermal", path=f"as/{face.path}", origin=origin)
        )
    write_index(Index(tmp_path / "made", originals.info, tuple(faces)))
    rows = [(originals.faces[n].path, "t", "no smile") for n in (1, 7)]
    made_, _ = copy(
        tmp_path / "made", tmp_path / "chosen", marked(tmp_path / "m.csv", rows, digests=digests)
    )
    assert left(made_, read_index(tmp_path / "made")) == {
        "/".join(Path(originals.faces[n].path).parts[-2:]) for n in (1, 7)
    }
    assert all((made_.root / face.origin).is_file() for face in made_.faces)


def test_a_copy_is_refused_where_it_would_spoil_something(own_faces: Path, tmp_path: Path) -> None:
    whole = read_index(own_faces)
    file = marked(tmp_path / "m.csv", [(whole.faces[0].path, "", "")])
    with pytest.raises(UsageError, match="is the index that is copied"):
        copy(own_faces, own_faces, file, overwrite=True)
    copy(own_faces, tmp_path / "b", file)
    with pytest.raises(DataError, match="exists already"):
        copy(own_faces, tmp_path / "b", file)
    copy(own_faces, tmp_path / "b", file, overwrite=True)
    every = marked(tmp_path / "all.csv", [(face.path, "", "") for face in whole.faces])
    with pytest.raises(DataError, match="all of its 40 images are to be left out"):
        copy(own_faces, tmp_path / "c", every)
    assert not (tmp_path / "c" / "index.csv").exists()
    with pytest.raises(CycadaError, match="would be written over"):
        copy(own_faces, tmp_path / "b", tmp_path / "b" / "excluded.csv", overwrite=True)


def test_the_command_line_copies_and_refuses_what_does_not_go_together(
    own_faces: Path, tmp_path: Path
) -> None:
    file = marked(tmp_path / "m.csv", [(read_index(own_faces).faces[0].path, "", "")])

    def run(*words: str) -> str:
        found = CliRunner().invoke(command, [*words, "--out", str(tmp_path / "out")])
        return found.output + str(found.exception or "")

    given = ("--from", str(own_faces))
    assert "give --exclude FILE" in run(*given)
    assert "--seed does not go with --from" in run(*given, "--exclude", str(file), "--seed", "1")
    assert "is for the index that --from copies" in run("--allow-outside")
    assert "1 images are left out" in run(*given, "--exclude", str(file))
    assert len(read_index(tmp_path / "out").faces) == 39


@pytest.mark.parametrize("path", ["a/b.png", "../../ä b/ö.png", "名/1.png", 'a,b".png'])
def test_digests_are_those_of_pages(path: str) -> None:
    assert path_digest(path) == digest_of_pages(path)
    assert path_digest(path) == hashlib.sha256(path.encode()).hexdigest()[:16]
