"""Lists of Action Units as coders write them: ``1+L4+R10``, ``12B``, ``1L``.

FACS marks what is seen on one side with L or R, what one lip does alone with T or B (top, bottom),
and intensity with A to E (Ekman, Friesen & Hager, 2002). What is not listed was not seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from cycada.action_units import BY_NUMBER
from cycada.errors import DataError

_ITEM = re.compile(r"([LRTB]?)(\d{1,2})([A-E]?)([LR]?)")


class Item(NamedTuple):
    """One AU of a list."""

    number: int
    sided: bool  # seen on one side, or of one lip


def items_of(text: str, *, place: str) -> list[Item]:
    """Return the AUs of a list joined by ``+``.

    Raises:
        DataError: an item is no AU, so that leaving it out would call an AU absent.
    """
    found = []
    for part in text.split("+"):
        match = _ITEM.fullmatch(part.strip())
        if not match:
            raise DataError(
                f"{place}: expected AUs such as 1+L4+R10, found {part.strip()!r} in {text!r}."
            )
        found.append(Item(int(match[2]), bool(match[1] or match[4])))
    return found


def listed_units(lists: Iterable[Iterable[int]]) -> tuple[frozenset[int], frozenset[int]]:
    """Return the AUs of some lists that FACS knows, and the others.

    An AU that is in any list of a corpus counts as coded in all of it.
    """
    numbers = frozenset(number for units in lists for number in units)
    return numbers & BY_NUMBER.keys(), numbers - BY_NUMBER.keys()
