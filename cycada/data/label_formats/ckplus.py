"""``ckplus``: Cohn-Kanade+ (CK+), one file per sequence, about its last frame.

Documented (README of the corpus): ``FACS/S005/001/S005_001_00000011_facs.txt`` belongs to the
image ``S005_001_00000011.png``, the peak; each line holds an AU and its intensity, as floats
(``9.0000000e+00   3.0000000e+00``). A sequence without a file was not coded.

Assumed: intensity 0 means present, but not graded, as those who use the corpus take it. An AU that
is in any file was looked for in every sequence, so it is absent where it is not listed.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from cycada.data.label_formats.coded import listed_units
from cycada.data.label_table import (
    LabelKind,
    LabelRow,
    LabelTable,
    Peek,
    Reading,
    Source,
    check_value,
    read_lines,
    unknown_units,
)
from cycada.errors import DataError

_FILE = re.compile(r"(.+)_facs\.txt", re.IGNORECASE)


def recognise(peek: Peek) -> str | None:
    """Return why a file seems to belong to CK+, if it does."""
    return (
        f"the name {peek.file.name} ends in _facs.txt" if _FILE.fullmatch(peek.file.name) else None
    )


def read(source: Source, reading: Reading) -> LabelTable:
    """Read occurrences, or intensities if those are asked for.

    Raises:
        DataError: naming the file and, where there is one, the row.
    """
    kind: LabelKind = "intensity" if reading.kind == "intensity" else "occurrence"
    found = [(file, _grades(file)) for file, _ in source.files]
    units, odd = listed_units(grades for _, grades in found)
    rows = []
    ungraded = 0
    for file, grades in found:
        match = _FILE.fullmatch(file.name)
        if not match:
            raise DataError(f"{file}: CK+ has names such as S005_001_00000011_facs.txt.")
        known = dict.fromkeys(sorted(units), 0.0)
        for number in grades.keys() & units:
            ungraded += not grades[number]
            if kind == "occurrence":
                known[number] = 1.0
            elif grades[number]:
                known[number] = grades[number]
            else:
                del known[number]
        rows.append(LabelRow(row=1, file=file, stem=match[1], action_units=known))
    notes = [f"{source.root}: of the {len(units)} AUs in its files, those not listed are absent."]
    if ungraded:
        meaning = "count as present" if kind == "occurrence" else "are not annotated"
        notes.append(f"{source.root}: {ungraded} AUs that were seen but not graded {meaning}.")
    if bare := sum(not grades for _, grades in found):
        notes.append(f"{source.root}: {bare} files list no AU, so that all are absent.")
    if odd:
        notes.append(f"{source.root}: FACS knows no AU {unknown_units(odd)}; left out.")
    return LabelTable(source.root, kind, tuple(rows), tuple(notes), layout="ckplus")


def _grades(file: Path) -> dict[int, float]:
    """Return the intensity of each AU that is listed, 0 if it was not graded."""
    grades: dict[int, float] = {}
    for row, line in read_lines(file):
        place = f"{file}, row {row}"
        try:
            number, grade = map(float, line.split())
        except ValueError:
            raise DataError(f"{place}: expected an AU and its intensity, found {line!r}.") from None
        if not math.isfinite(number) or number != int(number):
            raise DataError(f"{place}: {number:g} is no AU.")
        check_value(grade, "intensity", where=place)
        if grades.setdefault(int(number), grade) != grade:
            raise DataError(f"{place}: AU {number:g} is there twice, with two intensities.")
    return grades
