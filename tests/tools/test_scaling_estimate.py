"""The estimate for several GPUs is what docs/scaling.md shows, and follows its formula."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tools" / "scaling_estimate.py"))


def test_the_tables_in_the_docs_are_those_that_the_tool_prints(tool: dict[str, Any]) -> None:
    told = CliRunner().invoke(tool["main"], [])
    assert told.exit_code == 0, told.output
    written = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    replicas, _, steps = told.output.partition("\nEstimated, not measured; all-reduce at 256 GB/s:")
    assert replicas.count("\n") == 9
    assert steps.count("\n| ") == 10
    assert replicas in written
    assert steps.strip() in written


def test_a_step_is_computed_and_then_sent(tool: dict[str, Any]) -> None:
    one = tool["estimate"](1, 16, weights=25e6, bandwidth=10)
    eight = tool["estimate"](8, 16, weights=25e6, bandwidth=10)
    assert (one.slowest, one.fastest) == (220, 220)  # as measured
    # A ring sends 2 * 7/8 of 100 MB, at 10 GB/s.
    assert eight.slowest == pytest.approx(220 + 17.5)
    assert eight.fastest == 220
    few = tool["estimate"](2, 1, weights=25e6, bandwidth=1e9)
    assert few.slowest == pytest.approx(87)  # not 25.4, for it is not recorded


@pytest.mark.parametrize("words", [["--gpus", "two"], ["--images", "0"], ["--bandwidth", "0"]])
def test_numbers_that_are_none_are_refused(tool: dict[str, Any], words: list[str]) -> None:
    assert CliRunner().invoke(tool["main"], words).exit_code == 2
