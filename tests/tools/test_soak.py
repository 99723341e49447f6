"""The tool that watches long trainings: what it calls flat, and what not."""

from __future__ import annotations

from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def soak() -> ModuleType:
    import soak

    return soak


@pytest.mark.parametrize(
    ("grows", "flat"),
    [
        ({}, True),
        ({"memory_mb": 0.05}, False),  # MB each 10 s, of 1000
        ({"memory_mb": 0.01}, True),
        ({"files": 0.02}, False),
        ({"threads": 0.02}, False),
    ],
)
def test_what_grows_slowly_is_told_from_what_comes_and_goes(
    soak: ModuleType, grows: dict[str, float], flat: bool
) -> None:
    samples = []
    for number in range(1000):
        saving = number % 50 == 0  # a save holds more for a moment
        samples.append(
            soak.Sample(
                second=10.0 * number,
                memory_mb=1000 + 200 * saving + grows.get("memory_mb", 0) * number,
                files=20 + 3 * saving + int(grows.get("files", 0) * number),
                threads=8 + 2 * saving + int(grows.get("threads", 0) * number),
                step=30 * number,
            )
        )
    found = soak.summary(samples)
    assert found["flat"] == flat
    assert found["steps_per_second"] == [3.0] * 9
    assert "| 166 | 29970 |" in soak.table({"train-detector": found})


def test_memory_of_the_beginning_does_not_count(soak: ModuleType) -> None:
    samples = [
        soak.Sample(float(n), 500 + min(n, 15) * 30, 20, 8, n) for n in range(100)
    ]  # grows for 15 of 100 s
    assert soak.summary(samples)["growth"] == 0
