"""``disfa``: DISFA and DISFA+, one file per subject and Action Unit.

Documented (by the corpora and by the code that reads them, such as ME-GraphAU's):

- DISFA: ``ActionUnit_Labels/SN001/SN001_au1.txt``, a line ``frame,intensity`` per frame, frames
  from 1, intensities 0 to 5; Action Units 1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25 and 26.
- DISFA+: ``Labels/SN001/TRIAL/AU1.txt``, lines ``000.jpg  intensity`` below some that begin with
  ``#`` or are no data; the name is that of the image in ``Images/SN001/TRIAL``. Its nine subjects
  are subjects of DISFA under the same names.

Assumed: a frame that one file has and another lacks is not annotated for the AU of the latter.
The AU is told by the name of the file. In the order of a listing the files are au1, au12, au15,
au17, au2, ..., so that the n-th file is not the n-th AU.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from cycada.action_units import BY_NUMBER, INTENSITY_MAX
from cycada.data.label_table import (
    LabelRow,
    LabelTable,
    Peek,
    Reading,
    Source,
    check_value,
    listed,
    number_in,
    read_lines,
)
from cycada.errors import DataError

_DISFA = re.compile(r"(SN\d+)_au(\d+)\.txt", re.IGNORECASE)
_PLUS = re.compile(r"AU(\d+)\.txt", re.IGNORECASE)
_SUBJECT = re.compile(r"SN\d+", re.IGNORECASE)
_PLUS_LINE = re.compile(r"(\S*?(\d+)\.\w+)[\s,;]+(\S+)")

_Key = tuple[str, str, int]  # subject, trial, frame


def recognise(peek: Peek) -> str | None:
    """Return why a file seems to belong to DISFA or DISFA+, if it does."""
    name = peek.file.name
    if _DISFA.fullmatch(name):
        return f"the name {name} is a subject's and an AU's"
    trial = peek.file.parent
    if _PLUS.fullmatch(name) and _SUBJECT.fullmatch(trial.parent.name):
        return f"{name} lies in a folder of a trial and a subject, {trial.parent.name}"
    return None


def read(source: Source, reading: Reading) -> LabelTable:
    """Read the files of all subjects and AUs.

    Raises:
        DataError: naming the file and the row; a file whose name does not tell the AU; files of
            both corpora, whose frames count differently.
    """
    rows: dict[_Key, tuple[Path, int, dict[int, float]]] = {}
    texts: dict[str, float | None] = {}
    plus = {bool(_whose(file)[1]): file for file, _ in source.files}
    if len(plus) > 1:
        raise DataError(
            f"{source.root}: holds DISFA ({plus[False]}) and DISFA+ ({plus[True]}), whose frames "
            f"count differently; give --labels once for each."
        )
    lengths: dict[tuple[str, str], dict[str, int]] = {}
    for file, _ in source.files:
        subject, sequence, number = _whose(file)
        lines = list(_plus_lines(file) if sequence else _lines(file))
        if not lines:
            raise DataError(f"{file}: is empty.")
        lengths.setdefault((subject, sequence), {})[file.name] = len(lines)
        for row, frame, text in lines:
            if text not in texts:
                texts[text] = _intensity(text, reading, where=_place(file, row))
            value = texts[text]
            known = rows.setdefault((subject, sequence, frame), (file, row, {}))[2]
            if value is not None and known.setdefault(number, value) != value:
                raise DataError(
                    f"{_place(file, row)}: frame {frame} is there twice, with two intensities."
                )
    first = None if True in plus else 1
    notes = _shorter(source.root, lengths)
    return LabelTable(
        source.root, "intensity", _shared(rows), notes, layout="disfa", first_frame=first
    )


def _shorter(root: Path, lengths: Mapping[tuple[str, str], Mapping[str, int]]) -> tuple[str, ...]:
    """Return the note about files with fewer frames than others of the subject and trial."""
    shorter = [
        "/".join(filter(None, (*whose, f"{name} ({count} of {max(counts.values())})")))
        for whose, counts in lengths.items()
        for name, count in counts.items()
        if count < max(counts.values())
    ]
    return (f"{root}: fewer frames than others have {listed(shorter)}.",) if shorter else ()


def _intensity(text: str, reading: Reading, *, where: str) -> float | None:
    value = number_in(text, missing=reading.missing, where=where)
    if value is not None:
        check_value(value, "intensity", where=where)
    return value


def _whose(file: Path) -> tuple[str, str, int]:
    """Return the subject, the trial of DISFA+ or "", and the AU."""
    subject = sequence = ""
    match = _DISFA.fullmatch(file.name)
    if match:
        subject, number = match[1].upper(), int(match[2])
    else:
        trial = file.resolve().parent
        match = _PLUS.fullmatch(file.name) if _SUBJECT.fullmatch(trial.parent.name) else None
        if not match:
            raise DataError(
                f"{file}: its name tells no subject and Action Unit; DISFA has SN001_au1.txt, "
                f"DISFA+ SN001/TRIAL/AU1.txt."
            )
        subject, sequence, number = trial.parent.name.upper(), trial.name, int(match[1])
    if number not in BY_NUMBER:
        raise DataError(f"{file}: FACS knows no Action Unit {number}.")
    return subject, sequence, number


def _lines(file: Path) -> Iterable[tuple[int, int, str]]:
    """Yield row, frame and intensity of a file of DISFA."""
    for row, line in read_lines(file):
        frame, comma, text = line.partition(",")
        if not (comma and frame.strip().isdecimal()):
            raise DataError(
                f"{_place(file, row)}: expected the numbers of a frame and an intensity (0 to "
                f"{INTENSITY_MAX:g}), such as '12,3', found {line[:40]!r}."
            )
        yield row, int(frame), text.strip()


def _plus_lines(file: Path) -> Iterable[tuple[int, int, str]]:
    """Yield row, number of the image and intensity of a file of DISFA+."""
    begun = False
    for row, line in read_lines(file):
        if match := _PLUS_LINE.fullmatch(line):
            begun = True
            yield row, int(match[2]), match[3]
        elif begun:
            raise DataError(
                f"{_place(file, row)}: expected the name of an image and an intensity, found "
                f"{line[:40]!r}."
            )
    if not begun:
        raise DataError(f"{file}: holds no line with the name of an image and an intensity.")


def _shared(
    rows: Mapping[_Key, tuple[Path, int, dict[int, float]]],
) -> tuple[LabelRow, ...]:
    """Return the rows; those that know the same share one mapping."""
    seen: dict[tuple[tuple[int, float], ...], dict[int, float]] = {}
    return tuple(
        LabelRow(
            row=row,
            file=file,
            subject=subject,
            sequence=sequence,
            frame=frame,
            action_units=seen.setdefault(tuple(sorted(known.items())), known),
        )
        for (subject, sequence, frame), (file, row, known) in rows.items()
    )


def _place(file: Path, row: int) -> str:
    return f"{file}, row {row}"
