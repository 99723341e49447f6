"""Paths that leave an index's folder are believed where the index was written, and when asked."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from cycada.cli import main
from cycada.data.index import Face, Index, IndexInfo, read_index, write_index
from cycada.data.index_checks import check_files, check_links
from cycada.data.outside import folders_outside
from cycada.errors import DataError


def written(root: Path, *paths: str, pair: str = "", origin: str = "") -> Index:
    faces = tuple(
        Face(path=path, domain="rgb", subject=f"s{n}", split="train", pair=pair, origin=origin)
        for n, path in enumerate(paths)
    )
    write_index(Index(root, IndexInfo(kind="none"), faces))
    return read_index(root)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a.png", "b/c.png", "b/../a.png", "./a.png"], []),
        (["../faces/a.png", "../faces/b.png"], ["../faces"]),
        (["../faces/a.png", "../faces/x/y/b.png", "../faces2/c.png"], ["../faces", "../faces2"]),
        (["x/../../faces/a.png", "../../b.png", "../../faces/c.png"], ["../..", "../faces"]),
        (["../a.png", "../x/b.png"], [".."]),
        ([f"../faces/{n}/a.png" for n in range(51)], ["../faces"]),
    ],
)
def test_the_folders_that_paths_lead_to_are_told_once_each(
    paths: list[str], expected: list[str]
) -> None:
    assert list(folders_outside(paths)) == expected


def test_an_index_that_was_written_here_may_lead_outside_and_to_nowhere_else(
    tmp_path: Path,
) -> None:
    root = tmp_path / "data" / "index"
    index = written(root, "../faces/a.png", "b.png")
    assert index.info.outside == ("../faces",)
    # A row that was added by hand leads elsewhere.
    table = root / "index.csv"
    table.write_text(table.read_text() + "../../etc/c.png,rgb,s9,train,,\n")
    with pytest.raises(DataError, match=r"row 4: '../../etc/c.png' leaves the folder of the index"):
        read_index(root)
    assert len(read_index(root, allow_outside=True).faces) == 3


def test_an_index_from_elsewhere_may_not_lead_outside_unless_asked(tmp_path: Path) -> None:
    made, here = tmp_path / "theirs" / "index", tmp_path / "mine" / "index"
    written(made, "a.png", "../../faces/b.png")
    shutil.copytree(made, here)
    with pytest.raises(DataError, match="leaves the folder of the index") as caught:
        read_index(here)
    assert "--allow-outside" in str(caught.value)
    assert read_index(here, allow_outside=True).faces == read_index(made).faces
    # Written again it is ours.
    write_index(read_index(here, allow_outside=True))
    read_index(here)


@pytest.mark.parametrize("name", ["pair", "origin"])
def test_a_pair_or_origin_that_leads_outside_is_left_out_with_a_word(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A translated set that was copied is of use without, and nothing can follow them."""
    made, here = tmp_path / "theirs" / "index", tmp_path / "mine" / "index"
    index = written(made, "a.png", "b.png", **{name: "../../faces/b.png"})
    assert [getattr(face, name) for face in index.faces] == ["../../faces/b.png"] * 2
    shutil.copytree(made, here)
    assert not caplog.records
    assert [getattr(face, name) for face in read_index(here).faces] == ["", ""]
    assert "2 pairs and origins leave the folder" in caplog.text
    believed = read_index(here, allow_outside=True)
    assert believed.faces == index.faces


@pytest.mark.parametrize("name", ["path", "pair", "origin"])
def test_a_link_is_looked_at_in_whatever_column_it_is(name: str, tmp_path: Path) -> None:
    secret, theirs, here = (tmp_path / each for each in ("secret.png", "theirs", "here"))
    secret.write_bytes(b"x")
    theirs.mkdir()
    (theirs / "a.png").write_bytes(b"x")
    (theirs / "link.png").symlink_to(secret)
    face = Face(path="a.png", domain="rgb", subject="s", split="train")
    write_index(Index(theirs, IndexInfo(kind="none"), (replace(face, **{name: "link.png"}),)))
    check_links(read_index(theirs))
    shutil.copytree(theirs, here, symlinks=True)
    with pytest.raises(DataError, match=r"link\.png: is, or lies below, a link"):
        check_links(read_index(here))


def test_a_stranger_who_notes_folders_but_not_the_place_gains_nothing(tmp_path: Path) -> None:
    root = tmp_path / "index"
    written(root, "../faces/a.png")
    toml = root / "index.toml"
    text = toml.read_text()
    digest = read_index(root).info.outside_of
    for other in ("0" * 64, ""):
        toml.write_text(text.replace(digest, other))
        with pytest.raises(DataError, match="leaves the folder"):
            read_index(root)


def test_a_folder_beside_with_a_longer_name_is_not_the_one_that_was_noted(tmp_path: Path) -> None:
    root = tmp_path / "index"
    written(root, "../faces/a.png")
    table = root / "index.csv"
    table.write_text(table.read_text().replace("../faces/", "../faces2/"))
    with pytest.raises(DataError, match="leaves the folder"):
        read_index(root)


def test_links_are_followed_before_a_path_counts_as_inside(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "a.png").write_bytes(b"x")
    theirs, here = tmp_path / "theirs", tmp_path / "here"
    theirs.mkdir()
    (theirs / "link.png").symlink_to(secret / "a.png")
    (theirs / "folder").symlink_to(secret)
    (theirs / "inner.png").write_bytes(b"x")
    (theirs / "good.png").symlink_to("inner.png")
    for path in ("link.png", "folder/a.png"):
        index = written(theirs, "inner.png", "good.png", path)
        check_files(index)  # whoever wrote the index made the links
        shutil.copytree(theirs, here, symlinks=True)
        copied = read_index(here)
        with pytest.raises(DataError, match=f"{here / path}: is, or lies below, a link"):
            check_files(copied)
        check_files(read_index(here, allow_outside=True))
        shutil.rmtree(here)
    inside = written(theirs, "inner.png", "good.png")
    assert inside.info.outside_of == ""
    shutil.copytree(theirs, here, symlinks=True)
    check_links(read_index(here))


def test_notes_on_the_place_are_no_part_of_what_an_index_is(tmp_path: Path) -> None:
    one = written(tmp_path / "a" / "index", "../faces/a.png")
    two = written(tmp_path / "b" / "index", "../faces/a.png")
    assert one.info.outside_of != two.info.outside_of
    assert one.info == two.info
    assert one.fingerprint() == two.fingerprint()


def test_every_verb_that_reads_an_index_has_the_option(
    faces: Path, detector_run: Path, translator_run: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "deep" / "moved"
    moved.mkdir(parents=True)
    index = read_index(faces)
    outside = os.path.relpath(faces, moved)
    leaving = tuple(replace(f, path=f"{outside}/{f.path}", pair="") for f in index.faces)
    write_index(replace(index, root=moved, faces=leaving))
    toml = moved / "index.toml"
    lines = [line for line in toml.read_text().splitlines() if "outside" not in line]
    toml.write_text("\n".join(lines) + "\n")
    verbs = {
        "audit": [str(moved)],
        "evaluate": [str(detector_run), str(moved), "--domain", "rgb", "--split", "all",
                     "--out", str(tmp_path / "e")],
        "translate": [str(translator_run), str(moved), "--out", str(tmp_path / "t")],
        "detect": [str(detector_run), str(moved), "--domain", "rgb", "--out", str(tmp_path / "d")],
        "report": [str(moved), "--out", str(tmp_path / "r")],
        "train-detector": ["--out", str(tmp_path / "td"), "--source", str(moved),
                           "--set", "backbone=small", "--set", "pretrained=none",
                           "--set", "size=32", "--set", "steps=1"],
        "train-translator": ["--out", str(tmp_path / "tt"), "--data", str(moved), "--set",
                             "size=32", "--set", "steps=1", "--set", "generator.width=4",
                             "--set", "discriminator.layers=1"],
    }  # fmt: skip
    for verb, words in verbs.items():
        refused = CliRunner().invoke(main, [verb, *words])
        assert "leaves the folder of the index" in " ".join(refused.output.split()), verb
        assert refused.exit_code == 1, verb
        allowed = CliRunner().invoke(main, [verb, *words, "--allow-outside"])
        assert "leaves the folder" not in allowed.output, (verb, allowed.output)
        if verb != "evaluate":  # the subjects are known to the run
            assert allowed.exit_code == 0, (verb, allowed.output)
