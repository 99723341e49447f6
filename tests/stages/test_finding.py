"""How what finds faces is named to those who may see a page."""

from __future__ import annotations

import pytest

from cycada.stages.finding import finder_in_words


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("auto", "heads"), ("yunet", "yunet"), ("whole", "whole"),
        ("data/Jane_Doe.csv", "a table of boxes"), ("Jane_Doe.onnx", "weights of one's own"),
    ],
)  # fmt: skip
def test_a_page_names_no_file_that_finds_faces(how: str, told: str) -> None:
    assert finder_in_words(how) == told
