from __future__ import annotations

from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    import ablate

    return ablate


@pytest.fixture
def found() -> dict[str, list[float]]:
    return {
        "all": [0.70, 0.72], "semantic": [0.69, 0.71], "cycle": [0.71, 0.73],
        "pixel": [0.66, 0.68], "feature": [0.50, 0.60], "feature, semantic": [0.40, 0.50],
        "feature, cycle": [0.50, 0.62], "source_only": [0.1, 0.2], "target_supervised": [0.8, 0.8],
    }  # fmt: skip


def test_a_term_is_worth_what_the_rest_lacks_without_it(
    tool: ModuleType, found: dict[str, list[float]]
) -> None:
    lines = tool.table([3, 4], found).splitlines()
    assert lines[0] == "| macro F1 | seed 3 | seed 4 | mean | worth |"
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    cells = {row[0]: row for row in rows}
    assert len(cells) == len(tool.ROWS)
    assert cells[tool.ROWS["all"]][1:] == ["0.700", "0.720", "0.710", ""]
    assert cells[tool.ROWS["semantic"]][1:] == ["0.690", "0.710", "0.700", "+0.010"]
    assert cells[tool.ROWS["cycle"]][-1] == "-0.010"
    assert cells[tool.ROWS["feature"]][-1] == "+0.160"
    # Of the translations alone, not of the whole method.
    assert cells[tool.ROWS["feature, semantic"]][-1] == "+0.100"
    assert cells[tool.ROWS["feature, cycle"]][-1] == "-0.010"
    assert cells[tool.ROWS["target_supervised"]][-1] == ""


def test_a_term_is_worth_what_is_read_less_from_translations_without_it(tool: ModuleType) -> None:
    found = {"all": [0.8, 0.7], "semantic": [0.7, 0.7], "cycle": [0.82, 0.7]}
    assert tool.read_table([0, 1], found).splitlines()[2:] == [
        "| all terms | 0.800 | 0.700 | 0.750 |  |",
        "| no semantic term | 0.700 | 0.700 | 0.700 | +0.050 |",
        "| no cycle term | 0.820 | 0.700 | 0.760 | -0.010 |",
    ]
