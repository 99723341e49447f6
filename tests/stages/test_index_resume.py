"""``cycada index --crop``, interrupted at any moment, goes on where it was."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cycada import image_writing, thermal
from cycada.data.faces import records
from cycada.data.faces.geometry import Found
from cycada.data.index import read_index
from cycada.errors import DataError, RunError
from cycada.footage import Frame
from cycada.progress import Progress
from cycada.stages import importing, index, index_images
from cycada.stages.finding import FaceSource, face_source
from cycada.stages.index import make_index
from cycada.stages.index_options import IndexOptions
from cycada.stages.sources import Source

LONG, SHORT, SINGLE = 23, 4, 9  # frames of two recordings, and single images
LOOKED_AT = LONG + SHORT + SINGLE
PORTION = 5  # frames recorded at a time, here

Search = tuple[str, int]  # the name of a source, and a frame of it


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with two recordings and single images; every fourth frame shows nobody."""
    monkeypatch.setattr(importing, "_TOGETHER", PORTION)
    folder = tmp_path / "faces"
    draw = torch.Generator().manual_seed(0)

    def counts(number: int) -> torch.Tensor:
        warm = 20 + 15 * torch.rand(number, 60, 70, generator=draw)
        return thermal.counts_from_celsius(warm, "centikelvin")

    rows: list[list[object]] = []
    for name, length in (("ann", LONG), ("ben", SHORT)):
        folder.mkdir(exist_ok=True)
        np.savez(folder / f"{name}.npz", frames=counts(length).numpy(), fps=8)
        rows += [[f"faces/{name}.npz", n, 5 + n % 7, 6.5, 30, 40] for n in range(length) if n % 4]
    for number in range(SINGLE):
        file = folder / f"s{number}" / "face.png"
        image_writing.write_image(file, counts(1))
        rows.append([f"faces/s{number}/face.png", "", 8, 4.25, 30, 40])
    for name, wanted in (("recordings", True), ("images", False)):
        with (tmp_path / f"{name}.csv").open("w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["path", *(["frame"] if wanted else []), "left", "top", "width",
                            "height"])  # fmt: skip
            table.writerows(
                row if wanted else [row[0], *row[2:]] for row in rows if (row[1] != "") == wanted
            )
    return folder


@pytest.fixture
def searched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[Search]:
    """Return how often a face was looked for in each frame."""
    seen: Counter[Search] = Counter()

    def counting(how: str, domain: Any) -> FaceSource:
        tables = [face_source(str(Path(how).with_name(name)), domain)
                  for name in ("recordings.csv", "images.csv")]  # fmt: skip

        def find(frame: Frame, source: Source) -> Found:
            seen[source.path.relative_to(folder).as_posix(), frame.number] += 1
            return tables[source.path.suffix == ".png"](frame, source)

        return FaceSource(find, ())

    monkeypatch.setattr(importing, "face_source", counting)
    return seen


def options_for(folder: Path, out: Path, **changes: Any) -> IndexOptions:
    facts = {
        "thermal": folder, "out": out, "crop": str(folder.parent / "recordings.csv"),
        "fractions": (0.5, 0.0, 0.5), **changes,
    }  # fmt: skip
    return IndexOptions(**facts)


def contents(out: Path) -> dict[str, bytes]:
    """Return all files, hidden ones too."""
    return {
        file.relative_to(out).as_posix(): file.read_bytes()
        for file in out.rglob("*")
        if file.is_file()
    }


class StopError(BaseException):
    """Stands for whatever ends a run."""


def stopping(at: int, usual: Callable[..., Any], first: Callable[..., None] | None = None) -> Any:
    """Return a function that stops at its n-th call, after doing something else."""
    calls = []

    def call(*args: Any, **names: Any) -> Any:
        calls.append(1)
        if len(calls) == at:
            if first:
                first(*args, **names)
            raise StopError
        return usual(*args, **names)

    return call


def write_half(file: Path, text: str) -> None:
    with file.open("a", encoding="utf-8") as stream:
        stream.write(text[: len(text) // 2])


@pytest.mark.parametrize(
    ("module", "name", "at", "first"),
    [
        (importing, "choose_faces", 1, None),
        (importing, "choose_faces", 3, None),
        (importing, "choose_faces", PORTION + 1, None),
        (importing, "choose_faces", LONG, None),
        (importing, "choose_faces", LONG + 2, None),
        (importing, "choose_faces", LOOKED_AT - 1, None),
        (records, "append_text", 1, write_half),
        (records, "append_text", 3, write_half),
        (records, "sync", 2, None),
        (index_images, "read_image", 5, None),
        (index, "write_index", 1, None),
    ],
)
def test_an_interrupted_index_ends_the_same_and_looks_at_no_recorded_frame_twice(
    module: Any, name: str, at: int, first: Any, folder: Path, quiet: Progress, tmp_path: Path,
    searched: Counter[Search], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    make_index(options_for(folder, tmp_path / "whole"), progress=quiet)
    assert len(searched) == LOOKED_AT == searched.total()
    searched.clear()
    out = tmp_path / "index"
    with monkeypatch.context() as patch:
        patch.setattr(module, name, stopping(at, getattr(module, name), first))
        with pytest.raises(StopError):
            make_index(options_for(folder, out), progress=quiet)
    assert not (out / "index.csv").exists()
    before = searched.copy()
    make_index(options_for(folder, out), progress=quiet)
    assert contents(out) == contents(tmp_path / "whole")
    every = [("ann.npz", n) for n in range(LONG)] + [("ben.npz", n) for n in range(SHORT)]
    assert set(searched) == {*every, *((f"s{n}/face.png", 0) for n in range(SINGLE))}
    again = searched.total() - LOOKED_AT  # those that had been looked at, but not recorded
    assert max(searched.values()) <= 2
    assert 0 <= again <= PORTION
    if name == "sync":  # crops are on the disk before they are recorded
        assert again == PORTION
    if module is importing:
        lengths, left = [LONG, SHORT, SINGLE], before.total()
        while left > lengths[0]:
            left -= lengths.pop(0)
        assert again == left - (left - 1) // PORTION * PORTION


def test_frames_that_are_left_out_are_left_out_after_an_interruption_too(
    folder: Path, quiet: Progress, tmp_path: Path, searched: Counter[Search],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    make_index(options_for(folder, tmp_path / "whole", every=2), progress=quiet)
    searched.clear()
    with monkeypatch.context() as patch:
        patch.setattr(importing, "choose_faces", stopping(PORTION + 1, importing.choose_faces))
        with pytest.raises(StopError):
            make_index(options_for(folder, tmp_path / "index", every=2), progress=quiet)
    make_index(options_for(folder, tmp_path / "index", every=2), progress=quiet)
    assert contents(tmp_path / "index") == contents(tmp_path / "whole")
    assert [n for name, n in searched if name == "ann.npz"] == list(range(0, LONG, 2))
    assert [key for key, times in searched.items() if times > 1] == [("ann.npz", 2 * PORTION)]


def test_a_stop_after_every_few_frames_still_comes_to_an_end(
    folder: Path, quiet: Progress, tmp_path: Path, searched: Counter[Search],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    make_index(options_for(folder, tmp_path / "whole"), progress=quiet)
    searched.clear()
    runs = 0
    while not (tmp_path / "index" / "index.csv").exists():
        runs += 1
        with monkeypatch.context() as patch:
            patch.setattr(importing, "choose_faces", stopping(PORTION + 2, importing.choose_faces))
            with contextlib.suppress(StopError):
                make_index(options_for(folder, tmp_path / "index"), progress=quiet)
    assert contents(tmp_path / "index") == contents(tmp_path / "whole")
    assert searched.total() <= LOOKED_AT + PORTION * runs
    assert 6 <= runs <= 9


KILLED = """
import os, signal, sys
from pathlib import Path
from cycada import files
from cycada.data.faces import records
from cycada.progress import Progress
from cycada.stages import importing
from cycada.stages.index import make_index
from cycada.stages.index_options import IndexOptions

_, folder, out, table, moment, at = sys.argv
importing._TOGETHER = 5
calls = 0

def now():
    global calls
    calls += 1
    return calls == int(at)

def end():
    os.kill(os.getpid(), signal.SIGKILL)

if moment == "crop":  # between the writing of a crop and its naming
    usual = importing.write_frame
    def write_frame(file, *args, **names):
        if now():
            with files.replacing(file) as temporary:
                temporary.write_bytes(b"half a crop")
                end()
        usual(file, *args, **names)
    importing.write_frame = write_frame
else:  # in the middle of a row
    usual = records.append_text
    def append_text(file, text):
        if now():
            with file.open("a") as stream:
                stream.write(text[:-20])
                stream.flush()
                end()
        usual(file, text)
    records.append_text = append_text
make_index(
    IndexOptions(thermal=Path(folder), out=Path(out), crop=table, fractions=(0.5, 0.0, 0.5)),
    progress=Progress(shown=False),
)
"""


def test_an_index_that_was_killed_again_and_again_ends_the_same(
    folder: Path, quiet: Progress, tmp_path: Path
) -> None:
    for number in range(SINGLE):  # the table of recordings does not name them
        (folder / f"s{number}" / "face.png").unlink()
    options = options_for(folder, tmp_path / "index")
    make_index(options_for(folder, tmp_path / "whole"), progress=quiet)
    for moment, at in (("row", "2"), ("crop", "3")):
        run = subprocess.run(
            [sys.executable, "-c", KILLED, str(folder), str(options.out), options.crop, moment, at],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert run.returncode == -signal.SIGKILL, run.stderr
    left = [file.name for file in options.out.rglob(".*.part*")]
    assert left, "a half-written crop should be there, or nothing is tested"
    assert not (options.out / "index.csv").exists()
    make_index(options, progress=quiet)
    assert contents(options.out) == contents(tmp_path / "whole")


@pytest.mark.usefixtures("searched")
def test_what_was_begun_goes_on_with_the_same_files_and_options_only(
    folder: Path, quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out, table = tmp_path / "index", tmp_path / "recordings.csv"
    with monkeypatch.context() as patch:
        patch.setattr(importing, "choose_faces", stopping(9, importing.choose_faces))
        with pytest.raises(StopError):
            make_index(options_for(folder, out), progress=quiet)
    whole, text = (folder / "ben.npz").read_bytes(), table.read_bytes()
    with pytest.raises(RunError, match="with other options"):
        make_index(options_for(folder, out, every=2), progress=quiet)
    (folder / "aaa.npz").write_bytes(whole)
    with pytest.raises(RunError, match="from other files"):
        make_index(options_for(folder, out), progress=quiet)
    (folder / "aaa.npz").unlink()
    table.write_bytes(text.replace(b"6.5", b"6.6"))
    with pytest.raises(RunError, match="from other files"):
        make_index(options_for(folder, out), progress=quiet)
    table.write_bytes(text)
    make_index(options_for(folder, out), progress=quiet)


@pytest.mark.usefixtures("searched")
def test_a_record_that_was_changed_is_told(
    folder: Path, quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "index"
    with monkeypatch.context() as patch:
        patch.setattr(importing, "choose_faces", stopping(LONG + 1, importing.choose_faces))
        with pytest.raises(StopError):
            make_index(options_for(folder, out), progress=quiet)
    (record,) = (file for file in (out / ".crops").iterdir() if file.name.endswith("-00000"))
    record.write_text(record.read_text().replace('"frame"', '"frames"', 1))
    with pytest.raises(DataError, match=r"cannot be read .* delete .*\.crops to begin again"):
        make_index(options_for(folder, out), progress=quiet)


@pytest.mark.usefixtures("searched")
def test_crops_of_an_index_that_is_replaced_are_not_in_the_new_one(
    folder: Path, quiet: Progress, tmp_path: Path
) -> None:
    make_index(options_for(folder, tmp_path / "index"), progress=quiet)
    changed = options_for(folder, tmp_path / "index", every=3, overwrite=True)
    make_index(changed, progress=quiet)
    faces = read_index(tmp_path / "index").faces
    of_ann = [face.frame for face in faces if face.subject == "ann"]
    assert of_ann == [n for n in range(0, LONG, 3) if n % 4]


def test_originals_among_the_crops_are_refused(quiet: Progress, tmp_path: Path) -> None:
    originals = tmp_path / "data" / "images" / "rgb"
    image_writing.write_image(
        originals / "ann" / "1.png", torch.zeros(3, 64, 64, dtype=torch.uint8)
    )
    options = IndexOptions(out=tmp_path / "data", rgb=originals, crop="auto")
    with pytest.raises(DataError, match="where crops are written; choose another --out"):
        make_index(options, progress=quiet)
