from __future__ import annotations

import time

import pytest
import torch

from cycada.stages.flow import PIECE_PIXELS, by_cores, in_order, lone_threads


def test_results_come_in_order_and_no_more_are_made_ahead_than_asked() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.001 * (number % 3))
        return number * number

    with lone_threads(4) as pool:
        for number, square in enumerate(in_order(pool, work, range(30), ahead=5)):
            assert square == number * number
            assert max(begun) <= number + 5
    assert sorted(begun) == list(range(30))


def test_an_error_comes_when_its_turn_comes() -> None:
    def work(number: int) -> float:
        return 1 / (3 - number)

    with lone_threads(2) as pool:
        results = in_order(pool, work, range(9), ahead=8)
        assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1.0]
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_threads_compute_alone_and_the_network_keeps_its_cores() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with lone_threads(2) as pool:
            assert list(pool.map(lambda _: torch.get_num_threads(), range(4))) == [1] * 4
            assert torch.get_num_threads() == 3
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_pieces_of_a_batch_depend_on_the_batch_alone(cores: int) -> None:
    seen: list[int] = []

    def compute(pictures: torch.Tensor) -> torch.Tensor:
        seen.append(len(pictures))
        return pictures[:, 0, 0, 0].double() * 2

    side = 64
    assert 16 * side * side == PIECE_PIXELS
    numbers = torch.arange(40).float()
    before = torch.get_num_threads()
    torch.set_num_threads(cores)
    try:
        with by_cores(compute, torch.device("cpu"), most=40) as shared:
            made = shared(numbers.view(-1, 1, 1, 1).expand(-1, 1, side, side))
        assert torch.get_num_threads() == cores
    finally:
        torch.set_num_threads(before)
    assert torch.equal(made, numbers.double() * 2)
    assert sorted(seen) == [8, 16, 16]


def test_a_piece_alone_has_all_cores_and_others_one_each() -> None:
    used: list[int] = []

    def compute(pictures: torch.Tensor) -> torch.Tensor:
        used.append(torch.get_num_threads())
        return pictures

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with by_cores(compute, torch.device("cpu"), most=4) as shared:
            shared(torch.zeros(1, 1, 256, 256))
            assert used.pop() == 2
            shared(torch.zeros(4, 1, 256, 256))
            assert used == [1] * 4
    finally:
        torch.set_num_threads(before)


def test_a_gpu_takes_a_batch_as_a_whole() -> None:
    def compute(pictures: torch.Tensor) -> torch.Tensor:
        return pictures

    with by_cores(compute, torch.device("cuda"), most=4) as shared:
        assert shared is compute
