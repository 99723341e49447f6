"""The columns of ``index.csv``, found by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cycada.action_units import number_of
from cycada.data.index_info import did_you_mean
from cycada.errors import DataError

REQUIRED = ("path", "domain", "subject", "split")
ALWAYS = (*REQUIRED, "frame", "sequence")
WHERE_USED = ("label", "pair", "origin")


def columns_of(header: list[str], file: Path) -> tuple[dict[str, int], dict[int, int]]:
    """Return where the named columns of a table stand, and those of AUs by their numbers.

    Raises:
        DataError: one is unknown, is there twice, or is missing, naming the file.
    """
    names = (*ALWAYS, *WHERE_USED)
    place: dict[str, int] = {}
    units: dict[int, int] = {}
    for at, name in enumerate(header):
        if name in names:
            twice = name in place
            place[name] = at
        else:
            number = _unit_of_column(name, names, file)
            twice = number in units
            units[number] = at
        if twice:
            raise DataError(f"{file}, row 1: the column {name!r} is there twice.")
    missing = [name for name in REQUIRED if name not in place]
    if missing:
        raise DataError(
            f"{file}, row 1: the column {missing[0]!r} is missing; "
            f"an index needs {', '.join(REQUIRED)}."
        )
    return place, units


def _unit_of_column(name: str, names: Sequence[str], file: Path) -> int:
    try:
        return number_of(name)
    except DataError as error:
        if name.upper().startswith("AU"):
            raise DataError(f"{file}, row 1: {error}") from None
    raise DataError(f"{file}, row 1: unknown column {name!r}.{did_you_mean(name, names)}")
