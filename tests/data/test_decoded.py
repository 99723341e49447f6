from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from cycada.data.dataset import FaceImages, preload_all
from cycada.data.decoded import ALONE, Neighbours, make_room
from cycada.data.index import read_index
from cycada.errors import DataError
from cycada.progress import Progress


def neighbours(count: int) -> list[Neighbours]:
    """Return neighbours that are threads; whoever waits for one that never comes fails."""
    said, meeting = [""] * count, threading.Barrier(count, timeout=20)

    def exchange(number: int) -> Callable[[str], list[str]]:
        def told(text: str) -> list[str]:
            said[number] = text
            meeting.wait()
            found = list(said)
            meeting.wait()
            return found

        return told

    def agree(number: int) -> Callable[[bool], bool]:
        return lambda said: all(exchange(number)("yes" if said else ""))

    return [Neighbours(n, count, exchange(n), agree(n)) for n in range(count)]


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def preloaded(
    faces: Path, count: int, quiet: Progress, *, limit_mb: float = 10
) -> list[tuple[FaceImages, FaceImages]]:
    def preload(each: Neighbours) -> tuple[FaceImages, FaceImages]:
        index = read_index(faces)
        rgb, thermal = (FaceImages([index], domain=d, size=16) for d in ("rgb", "thermal"))
        preload_all((rgb, thermal), limit_mb=limit_mb, progress=quiet, neighbours=each)
        return rgb, thermal

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(preload, neighbours(count)))


def test_neighbours_hold_the_same_memory_with_all_images_and_leave_no_file(
    faces: Path, quiet: Progress, scratch: Path
) -> None:
    found = preloaded(faces, 3, quiet)
    assert list(scratch.iterdir()) == []
    for domain, parts in enumerate(zip(*found, strict=True)):
        alone = FaceImages([read_index(faces)], domain=("rgb", "thermal")[domain], size=16)
        numbers = torch.arange(len(alone))
        for part in parts:
            assert part.cached
            assert torch.equal(part.batch(numbers), alone.batch(numbers))
        first, *others = (part.batch for part in parts)
        parts[1]._cache[2] = 7  # type: ignore[index]
        assert all(int(batch(torch.tensor([2])).to(torch.int32).min()) == 7 for batch in others)
        assert int(first(torch.tensor([2])).to(torch.int32).max()) == 7


@pytest.mark.usefixtures("scratch")
def test_each_neighbour_decodes_its_part(
    faces: Path, quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    real = FaceImages.decode

    def decode(self: FaceImages, number: int) -> torch.Tensor:
        if self.domain == "rgb":
            decoded.append(number)
        return real(self, number)

    monkeypatch.setattr(FaceImages, "decode", decode)
    [(rgb, _), _] = preloaded(faces, 2, quiet)
    assert sorted(decoded) == list(range(len(rgb)))


@pytest.mark.usefixtures("scratch")
def test_an_image_that_one_neighbour_cannot_read_is_told_by_all(
    own_faces: Path,
) -> None:
    broken = own_faces / "rgb" / "1" / "2.png"
    broken.write_bytes(broken.read_bytes()[:60])
    told = []

    def preload(each: Neighbours) -> None:
        rgb = FaceImages([read_index(own_faces)], domain="rgb", size=16)
        with pytest.raises(DataError) as caught:
            rgb.preload(limit_mb=10, progress=Progress(shown=False), neighbours=each)
        told.append(str(caught.value))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(preload, neighbours(2)))
    assert len(told) == 2
    assert told[0] == told[1]
    assert "rgb/1/2.png" in told[0]


@pytest.mark.parametrize("fault", ["disk", "folder"])
def test_neighbours_that_cannot_share_say_so_and_hold_copies_within_the_limit(
    fault: str, faces: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def elsewhere(name: str, **_: object) -> None:
        raise RuntimeError(f"unable to open file <{name}> in read-write mode")

    if fault == "disk":
        monkeypatch.setattr(os, "posix_fallocate", full)
    else:
        monkeypatch.setattr(torch, "from_file", elsewhere)
    said: list[str] = []
    progress = Progress(shown=False)
    monkeypatch.setattr(progress, "say", said.append)
    rgb = FaceImages([read_index(faces)], domain="rgb", size=16)
    for copies, held in ((2, True), (1.9, False)):
        found = preloaded(faces, 2, progress, limit_mb=copies * rgb.decoded_mb)
        for part, _ in found:
            assert part.cached is held
            assert torch.equal(
                part.batch(torch.arange(len(rgb))), rgb.batch(torch.arange(len(rgb)))
            )
    assert all("Each of 2 processes holds its own copy" in text for text in said)
    assert "No space left" in said[0] if fault == "disk" else "unable to open" in said[0]
    assert list(scratch.iterdir()) == []


def test_hosts_that_have_different_room_left_agree_not_to_hold_a_set(faces: Path) -> None:
    limits = iter((10.0, 0.0))

    def preload(each: Neighbours) -> bool:
        rgb = FaceImages([read_index(faces)], domain="rgb", size=16)
        alone = Neighbours(exchange=each.exchange, agree=each.agree)  # on its host
        rgb.preload(limit_mb=next(limits), progress=Progress(shown=False), neighbours=alone)
        return rgb.cached

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(preload, neighbours(2))) == [False, False]


def test_one_process_asks_nobody_and_makes_no_file(scratch: Path) -> None:
    room = make_room((2, 3), torch.uint16, ALONE, pytest.fail)
    assert (room.memory.shape, room.memory.dtype, room.shared) == ((2, 3), torch.uint16, False)
    assert list(scratch.iterdir()) == []
