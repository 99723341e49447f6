"""Threads that compute alone, and batches that they share."""

from __future__ import annotations

import copy
import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from cycada.cores import PIECE_PIXELS, Cores, lone_threads


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
        assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)


def test_threads_compute_alone_and_the_network_keeps_its_cores() -> None:
    with threads(3), lone_threads(2) as pool:
        assert list(pool.map(lambda _: torch.get_num_threads(), range(4))) == [1] * 4
        assert torch.get_num_threads() == 3


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_pieces_of_a_batch_depend_on_the_batch_alone(cores: int) -> None:
    seen: list[int] = []

    def compute(pictures: torch.Tensor) -> torch.Tensor:
        seen.append(len(pictures))
        return pictures[:, 0, 0, 0].double() * 2

    side = 64
    assert 8 * side * side == PIECE_PIXELS
    numbers = torch.arange(20).float()
    with threads(cores):
        made = Cores().in_pieces(compute, numbers.view(-1, 1, 1, 1).expand(-1, 1, side, side))
    assert torch.equal(made, numbers.double() * 2)
    assert sorted(seen) == [4, 8, 8]


@pytest.mark.parametrize(
    ("cores", "images", "expected"),
    [(2, 1, [1]), (2, 4, [1] * 4), (5, 2, [1, 1])],
    ids=["alone", "many", "few"],
)
def test_a_piece_has_one_core_however_many_there_are(
    cores: int, images: int, expected: list[int]
) -> None:
    used: list[int] = []

    def compute(pictures: torch.Tensor) -> torch.Tensor:
        used.append(torch.get_num_threads())
        return pictures

    with threads(cores):
        Cores().in_pieces(compute, torch.zeros(images, 1, 256, 256))
        assert used == expected
        Cores().in_pieces(compute, torch.zeros(1, 1, 257, 256))
    assert used == [*expected, cores]  # a large image has all


def test_the_same_threads_compute_one_batch_after_the_other() -> None:
    used: set[int] = set()

    def compute(pictures: torch.Tensor) -> torch.Tensor:
        used.add(threading.get_ident())
        return pictures

    cores = Cores()
    with threads(2):
        for _ in range(5):
            cores.in_pieces(compute, torch.zeros(4, 1, 256, 256))
        later = threading.Thread(target=lambda: used.add(-torch.get_num_threads()))
        later.start()
        later.join()
    assert -2 in used  # who is born afterwards has all cores
    assert len(used - {-2}) <= 2
    assert threading.get_ident() not in used


def test_a_batch_that_fails_ends_and_the_next_one_is_computed() -> None:
    begun: list[float] = []

    def compute(pictures: torch.Tensor) -> torch.Tensor:
        begun.append(float(pictures.max()))
        if pictures.min() < 0:
            time.sleep(
                0.02 * (len(begun) > 1)
            )  # so that they are not all done before one has failed
            raise ValueError("of no use")
        return pictures

    cores, batch = Cores(), torch.zeros(400, 1, 256, 1).expand(-1, -1, -1, 256)
    with threads(2):
        with pytest.raises(ValueError, match="of no use"):
            cores.in_pieces(compute, batch - 1)
        assert len(begun) < len(batch)  # the others were not begun
        assert torch.equal(cores.in_pieces(compute, batch[:3]), batch[:3])


def test_a_copy_has_threads_of_its_own() -> None:
    cores, batch = Cores(), torch.rand(4, 1, 256, 256)
    with threads(2):
        cores.in_pieces(torch.neg, batch)
        assert torch.equal(copy.deepcopy(cores).in_pieces(torch.neg, batch), -batch)


def test_another_device_takes_a_batch_as_a_whole() -> None:
    batch = torch.zeros(40, 3, 256, 256, device="meta")
    assert Cores().in_pieces(lambda pictures: pictures, batch) is batch


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="asks glibc from 2.33 on")
def test_memory_that_layers_free_is_kept_for_the_next_ones() -> None:
    """By glibc's threshold, which also says from which size on a block is mapped by itself."""
    program = """
import ctypes, torch
from cycada.cores import keep_what_is_freed
class Told(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
        "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]
ask = ctypes.CDLL(None).mallinfo2
ask.restype = Told
def mapped_by_itself(megabytes):
    before = ask().hblks
    held = torch.empty(megabytes * 2**20, dtype=torch.uint8)
    return ask().hblks - before
keep_what_is_freed()
print(mapped_by_itself(20), mapped_by_itself(25))
"""
    tuned = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
    told = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith(tuned)},
    ).stdout  # fmt: skip
    assert told.split() == ["0", "1"]
