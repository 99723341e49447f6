from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cycada.errors import DataError
from cycada.files import (
    append_text,
    check_regular,
    remove_temporaries,
    replacing,
    temporary_beside,
    whole_lines,
)


def test_a_line_that_was_torn_is_cut_off_and_the_file_goes_on_after_the_last_whole_one(
    tmp_path: Path,
) -> None:
    file = tmp_path / "rows.csv"
    append_text(file, "one\ntwö\n")
    whole = file.read_bytes()
    last = "thrée\n".encode()
    for kept in range(len(last) + 1):
        file.write_bytes(whole + last[:kept])
        expected = "one\ntwö\n" + ("thrée\n" if kept == len(last) else "")
        assert whole_lines(file) == expected
        append_text(file, "next\n")
        assert file.read_text(encoding="utf-8") == expected + "next\n"


@pytest.mark.parametrize("name", ["a[1].png", "b.tar.gz", "table", "run-5", "x" * 250 + ".png"])
def test_what_killed_processes_have_left_of_a_lone_file_is_removed_and_nothing_else(
    name: str, tmp_path: Path
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    lives = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    stem = temporary_beside(tmp_path / name).name.partition(".part-")[0]
    suffix = Path(name).suffix
    left = f"{stem}.part-{gone.pid}{suffix}"
    others = [
        f"{stem}.part-{lives.pid}{suffix}", f"{stem}.part-{gone.pid}.onnx",
        f".other.part-{gone.pid}{suffix}", f"{stem}.part-{gone.pid}x{suffix}",
        f"{stem[1:]}.part-{gone.pid}{suffix}", f"{stem}.part-{10**20}{suffix}",
    ]  # fmt: skip
    for each in (left, *others):
        (tmp_path / each).write_text("half")
    with replacing(tmp_path / name) as temporary:
        temporary.write_text("whole")
    assert (tmp_path / left).exists()
    with replacing(tmp_path / name, lone=True) as temporary:
        temporary.write_text("whole")
    lives.communicate()
    assert {file.name for file in tmp_path.iterdir()} == {name, *others}


def test_only_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    names = [
        "a.png",
        ".hidden",
        ".a.part.csv",
        ".a.part-1.part.csv",
        "b.part-12.png",
        "deep/c.part",
    ]
    (tmp_path / "deep").mkdir()
    for name in names:
        (tmp_path / name).write_text("")
    for path in (tmp_path / "deep" / "00.12.png", tmp_path / "note"):
        with replacing(path) as temporary:
            temporary.write_text("half")
            left = temporary
        path.rename(left)  # as if the process had ended within the block
    (tmp_path / "other").mkdir()
    for name in (".busy", "other/.busy", "other/.b.part-12.png"):
        (tmp_path / name).write_text("")
        names.append(name)
    (tmp_path / ".pictures.part-12").mkdir()
    (tmp_path / ".pictures.part-12" / "a.png").write_text("")
    remove_temporaries(tmp_path, mark=".busy")
    found = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert found == set(names)


def test_a_name_may_be_as_long_as_names_may_be(tmp_path: Path) -> None:
    for name in ("n" * 251 + ".png", "ä" * 125 + ".csv"):
        for text in ("one", "two"):
            with replacing(tmp_path / name) as temporary:
                assert temporary.suffix == Path(name).suffix
                temporary.write_text(text)
            assert (tmp_path / name).read_text() == text
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_there_but_no_file_is_refused_before_it_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "circle").symlink_to("circle")
    for name in ("pipe", "zero"):
        with pytest.raises(DataError, match=f"{name}: is a pipe or a device, not a file"):
            check_regular(tmp_path / name)
    with pytest.raises(DataError, match="is a folder, not a file"):
        check_regular(tmp_path)
    for name in ("file", "link", "circle", "missing"):
        check_regular(tmp_path / name)
