"""Shards are read whole or refused: a set of tar files, whole and broken on purpose."""

from __future__ import annotations

import gzip
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import webdataset

from cycada.data import shards as shards_module
from cycada.data.shards import (
    Sample,
    ShardError,
    check_library,
    read_samples,
    shard_writer,
    shards_named,
)
from cycada.errors import DataError, UsageError

BLOCK = 512


THREE = {
    "a/0.jpg": b"j" * 700, "a/0.cls.json": b"{}", "a/1.jpg": b"k" * 5, "a/1.txt": b"",
    "b.PNG": b"p" * 1024,
}  # fmt: skip


def read(file: Path) -> list[tuple[str, dict[str, bytes]]]:
    return [(each.key, dict(each.members)) for each in read_samples(file, ignored=lambda _: None)]


def test_members_of_one_key_make_a_sample(pack: Callable[..., Path], tmp_path: Path) -> None:
    assert read(pack(tmp_path / "a.tar", THREE)) == [
        ("a/0", {"jpg": b"j" * 700, "cls.json": b"{}"}),
        ("a/1", {"jpg": b"k" * 5, "txt": b""}),
        ("b", {"PNG": b"p" * 1024}),
    ]


def test_what_is_written_is_read_by_the_library_and_is_the_same_bytes_again(
    tmp_path: Path,
) -> None:
    for name in ("one.tar", "two.tar"):
        with shard_writer(tmp_path / name) as write:
            write(Sample("a/0", {"jpg": b"1", "_x": b"2", "cls.json": b"3"}))
            write(Sample("ü" * 120 + "/1", {"png": b"4"}))
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    found = list(webdataset.WebDataset(str(tmp_path / "one.tar"), shardshuffle=False))
    for each in found:
        del each["__url__"], each["__local_path__"]
    assert found == [
        {"__key__": "a/0", "_x": b"2", "cls.json": b"3", "jpg": b"1"},
        {"__key__": "ü" * 120 + "/1", "png": b"4"},
    ]
    assert read(tmp_path / "one.tar")[1] == ("ü" * 120 + "/1", {"png": b"4"})


def test_a_shard_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def spoil() -> None:
        with shard_writer(tmp_path / "a.tar") as write:
            write(Sample("a", {"png": b"1"}))
            raise ShardError("spoilt")

    with pytest.raises(ShardError, match="spoilt"):
        spoil()
    assert list(tmp_path.iterdir()) == []


def cut(size: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:size]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (cut(0), "at its beginning"),
        (cut(300), "at its beginning"),
        (cut(BLOCK + 100), "in the member 'a/0.jpg'"),
        (cut(BLOCK + 700), "after the member 'a/0.jpg'"),  # within the padding
        (cut(3 * BLOCK), "is cut off after the member 'a/0.jpg'"),  # between two members
        (cut(3 * BLOCK + 99), "is cut off after the member 'a/0.jpg'"),  # within a header
        (
            lambda content: content[: 3 * BLOCK] + b"x" * BLOCK + content[4 * BLOCK :],
            "is broken after the member 'a/0.jpg'",
        ),
        (
            lambda content: content[: 3 * BLOCK] + b"\0" * BLOCK + content[4 * BLOCK :],
            "is broken after the member 'a/0.jpg'",
        ),
        (lambda content: content + content, "is broken after the member 'b.PNG'"),
        (gzip.compress, "broken or compressed"),
    ],
)
def test_a_shard_that_is_not_whole_is_refused_and_the_place_told(
    pack: Callable[..., Path], spoil: Callable[[bytes], bytes], told: str, tmp_path: Path
) -> None:
    file = pack(tmp_path / "a.tar", THREE)
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(ShardError) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("a.jpg", "../b.jpg"), "leads out of the folder"),
        (("/a.jpg",), "leads out of the folder"),
        (("a/../../b.jpg",), "leads out of the folder"),
        (("C:\\a.jpg",), "leads out of the folder"),
        (("a.jpg", "b.jpg", "a.txt"), "has the sample 'a' twice, again at 'a.txt'"),
        (("a.jpg", "a.JPG"), "has the member 'a.JPG' twice"),
        (("a.jpg", "a.__key__"), "that readers keep for notes"),
        (("README", "__meta__/x.json", "d/._a.jpg", ".hidden", "a."), "holds no sample"),
    ],
)
def test_names_that_would_mislead_are_refused(
    pack: Callable[..., Path], names: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    file = pack(tmp_path / "a.tar", dict.fromkeys(names, b"x"))
    with pytest.raises(ShardError) as caught:
        read(file)
    assert told in str(caught.value)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_link_is_no_lost_sample_but_an_error(
    pack: Callable[..., Path], kind: bytes, tmp_path: Path
) -> None:
    file = pack(tmp_path / "a.tar", {"a.jpg": b"x"})
    with tarfile.open(file, "a") as archive:
        member = tarfile.TarInfo("b.jpg")
        member.type, member.linkname = kind, "a.jpg"
        archive.addfile(member)
    with pytest.raises(ShardError, match=r"'b\.jpg' is a link"):
        read(file)


def test_folders_and_what_belongs_to_no_sample_are_passed_over_and_told(tmp_path: Path) -> None:
    file = tmp_path / "a.tar"
    with tarfile.open(file, "w") as archive:
        folder = tarfile.TarInfo("d")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name in ("README", "d/a.jpg", "d/._a.jpg", "d/a.txt"):
            archive.addfile(tarfile.TarInfo(name))
    ignored: list[str] = []
    found = list(read_samples(file, ignored=ignored.append))
    assert [(each.key, list(each.members)) for each in found] == [("d/a", ["jpg", "txt"])]
    assert ignored == ["README", "d/._a.jpg"]


def test_a_folder_packed_from_within_is_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").write_bytes(b"j")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "in", arcname=".")  # as `tar -C in -cf a.tar .` does
    assert read(tmp_path / "a.tar") == [("./a", {"jpg": b"j"})]


def test_what_is_no_file_is_a_broken_shard_like_others(tmp_path: Path) -> None:
    (tmp_path / "a.tar").mkdir()
    with pytest.raises(ShardError, match=r"a\.tar: is a folder"):
        read(tmp_path / "a.tar")


def test_a_sample_that_would_fill_the_memory_is_refused(
    pack: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards_module, "MOST_BYTES", 2000)
    file = pack(tmp_path / "a.tar", {"a.jpg": b"x" * 1500, "a.txt": b"x" * 600})
    with pytest.raises(ShardError, match="sample 'a' has more than"):
        read(file)
    file = pack(tmp_path / "a.tar", {"a.jpg": b"x" * 2001})
    with pytest.raises(ShardError, match=r"member 'a\.jpg' has more than"):
        read(file)


def test_shards_are_named_by_a_file_a_folder_or_a_pattern(
    pack: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("in/00.tar", "in/01.tar", "in/02.TAR", "in/.03.tar"):
        pack(tmp_path / name, {"a.jpg": b""})
    named = [Path("in/00.tar"), Path("in/01.tar")]
    assert shards_named(Path("in")) == [*named, Path("in/02.TAR")]
    assert shards_named(Path("in/{00..01}.tar")) == named
    assert shards_named(Path("in/{01,00}.tar")) == named[::-1]
    assert shards_named(Path("in/00.tar")) == named[:1]
    Path("photos").mkdir()
    assert shards_named(Path("photos")) is None
    Path("index").mkdir()
    for name in ("index/index.csv", "index/0.tar"):
        Path(name).write_text("")
    assert shards_named(Path("index")) is None
    assert shards_named(Path("index/index.csv")) is None


@pytest.mark.parametrize(
    ("pattern", "error", "told"),
    [
        ("{00..02}.tar", DataError, "names the shard 02.tar, which is not there"),
        ("x-{0..1000000000}.tar", UsageError, "names more than 1,000,000 shards"),
        ("{00,00}.tar", DataError, "names 00.tar twice"),
        ("{00..01.tar", UsageError, "a brace without its other half"),
        ("{00..01}.jpg", UsageError, "names 00.jpg, which is no shard"),
        ("9.tar", DataError, "9.tar: there is no such shard"),
        ("faces", UsageError, "faces: there is no such index, folder or shard"),
        ("both", UsageError, "both: holds shards (0.tar) and images (1.png)"),
        ("deep", UsageError, "deep: holds shards (0.tar) and images (s1/1.png)"),
        ("packed", UsageError, "packed: holds shards and a compressed one (1.tar.gz); unpack"),
        ("packed/1.tar.gz", UsageError, "1.tar.gz: is compressed; unpack it to a .tar file first"),
    ],
)
def test_a_pattern_that_names_no_shards_is_one_sentence(
    pack: Callable[..., Path], pattern: str, error: type[Exception], told: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name in (
        "00.tar", "01.tar", "both/0.tar", "both/1.png", "deep/0.tar", "deep/s1/1.png",
        "packed/0.tar", "packed/1.tar.gz",
    ):  # fmt: skip
        pack(tmp_path / name, {"a.jpg": b""})
    with pytest.raises(error) as caught:
        shards_named(Path(pattern))
    assert told in str(caught.value)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(UsageError, match=r"pip install 'cycada\[webdataset\]'"):
        check_library()
