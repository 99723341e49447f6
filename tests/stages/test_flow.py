from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from cycada.cores import lone_threads
from cycada.errors import DataError
from cycada.stages.flow import in_order


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


def test_what_was_made_before_the_items_break_off_comes_before_the_error() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise DataError("broken off")

    found: list[int] = []
    with lone_threads(2) as pool:
        results = in_order(pool, lambda number: number, items(), ahead=8)
        with pytest.raises(DataError, match="broken off"):
            found.extend(results)
    assert found == list(range(5))
