"""``rafau``: RAF-AU, one list of Action Units per image.

Documented (by the code that reads it): ``RAFAU_label.txt``, a line ``0001.jpg 1+L4+R10`` per
image, or ``0001.jpg null`` without any AU; L and R mark what is seen on one side. Aligned images
are called ``0001_aligned.jpg``.

Assumed: an AU that is in any list was looked for in every image, so it is absent where it is not
listed; one that is in none is not annotated. An AU listed for one side is present.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from cycada.data.label_formats.coded import Item, items_of, listed_units
from cycada.data.label_table import (
    LabelRow,
    LabelTable,
    Peek,
    Reading,
    Source,
    read_lines,
    unknown_units,
)
from cycada.errors import DataError

_LINE = re.compile(r"(\S+\.(?:jpe?g|png|bmp))\s+(\S+)", re.IGNORECASE)
_LIST = re.compile(r"null|[LRTB]?\d{1,2}[A-E]?[LR]?(\+\S+)?")
_NOTHING = "null"


def recognise(peek: Peek) -> str | None:
    """Return why a file seems to belong to RAF-AU, if it does."""
    match = _LINE.fullmatch(peek.line.strip())
    if match and _LIST.fullmatch(match[2]):
        return "row 1 holds the name of an image and a list of AUs"
    return None


def read(source: Source, _reading: Reading) -> LabelTable:
    """Read the lists.

    Raises:
        DataError: naming the file and the row.
    """
    found: list[tuple[Path, int, str, list[Item]]] = []
    for file, _ in source.files:
        for row, line in read_lines(file):
            match = _LINE.fullmatch(line)
            place = f"{file}, row {row}"
            if not match:
                raise DataError(f"{place}: expected an image and its AUs, found {line[:40]!r}.")
            items = [] if match[2].lower() == _NOTHING else items_of(match[2], place=place)
            found.append((file, row, PurePosixPath(match[1]).stem, items))
    units, odd = listed_units((item.number for item in items) for *_, items in found)
    absent = dict.fromkeys(sorted(units), 0.0)
    seen: dict[frozenset[int], dict[int, float]] = {}
    rows = []
    for file, row, stem, items in found:
        present = frozenset(item.number for item in items) & units
        known = seen.setdefault(present, absent | dict.fromkeys(present, 1.0))
        rows.append(LabelRow(row=row, file=file, stem=stem, action_units=known))
    notes = [f"{source.root}: of the {len(units)} AUs in its lists, those not listed are absent."]
    if sided := sum(item.sided for *_, items in found for item in items):
        notes.append(f"{source.root}: {sided} AUs seen on one side count as present.")
    if odd:
        notes.append(f"{source.root}: FACS knows no AU {unknown_units(odd)}; left out.")
    return LabelTable(source.root, "occurrence", tuple(rows), tuple(notes), layout="rafau")
