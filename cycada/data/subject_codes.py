"""How BP4D and DISFA call their subjects, and the parts into which these are published.

Source of the parts: the code of ME-GraphAU (Luo et al., IJCAI 2022), which takes them over from
JAA-Net and its forerunners. Fold 1 tests part 3, fold 2 part 2, fold 3 part 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

Corpus = Literal["bp4d", "disfa"]
CORPORA: tuple[Corpus, ...] = get_args(Corpus)

PARTS: Mapping[Corpus, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        "bp4d": (
            (
                "F001", "M007", "F018", "F008", "F002", "M004", "F010", "F009", "M012", "M001",
                "F016", "M014", "F023", "M008",
            ),
            (
                "M011", "F003", "M010", "M002", "F005", "F022", "M018", "M017", "F013", "M016",
                "F020", "F011", "M013", "M005",
            ),
            (
                "F007", "F015", "F006", "F019", "M006", "M009", "F012", "M003", "F004", "F021",
                "F017", "M015", "F014",
            ),
        ),
        "disfa": (
            (
                "SN002", "SN010", "SN001", "SN026", "SN027", "SN032", "SN030", "SN009", "SN016",
            ),
            (
                "SN013", "SN018", "SN011", "SN028", "SN012", "SN006", "SN031", "SN021", "SN024",
            ),
            (
                "SN003", "SN029", "SN023", "SN025", "SN008", "SN005", "SN007", "SN017", "SN004",
            ),
        ),
    }
)  # fmt: skip
"""The three parts of the subjects of each corpus, as published."""

_CODE: Mapping[Corpus, re.Pattern[str]] = MappingProxyType(
    {
        "bp4d": re.compile(r"([FM])0*(\d{1,3})", re.IGNORECASE),
        "disfa": re.compile(r"(SN|)0*(\d{1,3})", re.IGNORECASE),
    }
)


def code_of(name: str, corpus: Corpus) -> str | None:
    """Return the subject's code as the corpus writes it: ``SN002`` for ``SN2`` and ``002``.

    ``None``: the name is no such code.
    """
    match = _CODE[corpus].fullmatch(name)
    if not match:
        return None
    letters = match[1].upper() if corpus == "bp4d" else "SN"
    return f"{letters}{int(match[2]):03d}"
