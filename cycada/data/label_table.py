"""What every reader of labels returns, and how their files are read.

A reader knows one layout; what it gives back is the same for all: rows that name images and say
which Action Units (AUs) are known of them. An AU that is not in a row's mapping is not annotated.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

from cycada.action_units import BY_NUMBER, INTENSITY_MAX, column
from cycada.errors import DataError
from cycada.files import check_table, check_text

LabelKind = Literal["occurrence", "intensity", "probability"]
LabelLayout = Literal[
    "disfa", "bp4d", "bp4d-intensity", "openface", "openface3", "pyfeat", "libreface",
    "pyafar", "emotionet", "rafau", "ckplus", "affwild2", "csv",
]  # fmt: skip
Side = Literal["", "L", "R"]

KINDS: tuple[LabelKind, ...] = get_args(LabelKind)
LAYOUTS: tuple[LabelLayout, ...] = get_args(LabelLayout)
PLURAL: Mapping[LabelKind, str] = MappingProxyType(
    {"occurrence": "occurrences", "intensity": "intensities", "probability": "probabilities"}
)
LARGEST: Mapping[LabelKind, float] = MappingProxyType(
    {"occurrence": 1.0, "intensity": INTENSITY_MAX, "probability": 1.0}
)

ALIGNED = "_aligned"
"""What OpenFace, RAF-AU and others add to the name of an image or folder of aligned faces."""

_SEPARATORS = ",;\t"
_UNKNOWN = frozenset({"", "nan", "na", "n/a", "none"})
_LETTERS = MappingProxyType({letter: float(n) for n, letter in enumerate("abcde", start=1)})
_DECIMAL_COMMA = re.compile(r"-?\d*,\d+")
_NAMED = 4  # examples in a note


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """What a table says of one image, and the name of the image.

    That is one of: ``path``; ``tail``, a path on another machine, of which the end names the
    image; ``stem``, the name of the file without its suffix; ``recording`` (the folder of the
    frames) and ``frame``; ``subject`` and ``frame``, within ``sequence`` if there is one.
    """

    row: int  # in the file; the first line is row 1
    file: Path | None = None  # None: the table is one file
    path: str = ""
    tail: str = ""
    stem: str = ""
    recording: str = ""
    subject: str = ""
    sequence: str = ""
    frame: int | None = None
    label: str = ""  # class label
    action_units: Mapping[int, float]  # FACS number -> value; absent: unknown


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The labels of one file, or of one folder with the files of a corpus."""

    file: Path
    kind: LabelKind | None  # None: no AU column, or none with a value
    rows: tuple[LabelRow, ...]
    notes: tuple[str, ...]  # what was inferred or left out, for the user to see
    layout: LabelLayout = "csv"
    first_frame: int | None = None  # number of a recording's first frame; None: not laid down
    unused: int = 0  # further rows, of images that nobody asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the user wants of the labels."""

    kind: LabelKind | None = None  # None: what the layout or the names of the columns say
    missing: frozenset[float] = frozenset()  # values that mean "not annotated", besides the usual
    cuts: bool = False  # a threshold was given, so that other values may become occurrences
    wanted: frozenset[str] | None = None  # names of the images without suffix; None: all


class LabelFile(NamedTuple):
    """A file of a corpus, and its path below the folder of the corpus, without the suffix."""

    file: Path
    name: str


class Source(NamedTuple):
    """What ``--labels`` names: a file or a folder, and the files in it that are to be read."""

    root: Path
    files: tuple[LabelFile, ...]


class Peek(NamedTuple):
    """What a layout is recognised by."""

    file: Path
    line: str  # the first one
    header: tuple[str, ...]  # the same, cut at its separator


def unreadable(file: Path, error: Exception, *, as_: str = "text") -> DataError:
    """Return the error about a file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{file}: there is no such label file.")
    advice = ""
    if isinstance(error, UnicodeDecodeError):
        advice = " Save it in UTF-8; Excel calls that 'CSV UTF-8'."
    return DataError(f"{file}: cannot be read as {as_} in UTF-8 ({error}).{advice}")


def read_lines(file: Path) -> list[tuple[int, str]]:
    """Return the lines that are not blank, stripped, with their numbers from 1.

    Raises:
        DataError: no such file, or no text in UTF-8.
    """
    try:
        check_text(file)
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(file, error) from error
    lines = enumerate(map(str.strip, text.splitlines()), start=1)
    return [(number, line) for number, line in lines if line]


def read_cells(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a table, stripped, with their numbers from 1; blank rows are left out.

    The separator (comma, semicolon or tab) is the one that the first line has most of; a byte
    order mark and carriage returns do not matter.

    Raises:
        DataError: no such file, no table in UTF-8, or a row of another length than the first.
    """
    try:
        check_table(file)
        with file.open(encoding="utf-8-sig", newline="") as stream:
            separator = separator_of(stream.readline())
            stream.seek(0)
            length = 0
            for row, cells in enumerate(csv.reader(stream, delimiter=separator), start=1):
                stripped = [cell.strip() for cell in cells]
                if not any(stripped):
                    continue
                length = length or len(stripped)
                if len(stripped) != length:
                    raise DataError(
                        f"{file}, row {row}: has {len(stripped)} cells, but the header has "
                        f"{length}."
                    )
                yield row, stripped
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise unreadable(file, error, as_="a CSV table") from error


def read_table(file: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return the header of a table, and its further rows as :func:`read_cells` yields them.

    Raises:
        DataError: as there; or the table is empty.
    """
    rows = read_cells(file)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{file}: is empty.")
    return first[1], rows


def separator_of(line: str) -> str:
    """Return the one of comma, semicolon and tab that ``line`` has most of."""
    return max(_SEPARATORS, key=line.count)


def place_of(table: LabelTable, row: LabelRow) -> str:
    """Return where a row stands, for a message: the file and the row."""
    return f"{row.file or table.file}, row {row.row}"


def number_in(text: str, *, missing: frozenset[float], where: str) -> float | None:
    """Return the value of a cell; ``None`` if it is empty, NaN, or one of ``missing``.

    The letters A to E, by which FACS grades intensity, are 1 to 5.

    Args:
        text: the cell, stripped.
        missing: values that mean "not annotated".
        where: the place of the cell, for a message.

    Raises:
        DataError: it is no number.
    """
    if text.lower() in _UNKNOWN:
        return None
    try:
        value = _LETTERS[text.lower()] if is_letter(text) else float(text)
    except ValueError:
        advice = " Write decimals with a point." if _DECIMAL_COMMA.fullmatch(text) else ""
        raise DataError(f"{where}: expected a number or nothing, found {text!r}.{advice}") from None
    return None if value in missing or math.isnan(value) else value


def is_letter(text: str) -> bool:
    """Return whether ``text`` is one of the letters A to E, which grade intensity."""
    return text.lower() in _LETTERS


def whole_number(text: str, *, where: str) -> int:
    """Return the number of a frame; programs that write tables by pandas may write ``12.0``.

    Raises:
        DataError: it is no whole number from 0.
    """
    digits = text.removesuffix(".0")
    if not digits.isdecimal():
        raise DataError(f"{where}: expected a whole number, found {text!r}.")
    return int(digits)


def fits(value: float | None, kind: LabelKind | None) -> bool:
    """Return whether ``value`` can be of its kind; one of unknown kind may be an intensity."""
    if value is None or kind == "occurrence":
        return value in (0, 1, None)
    return 0 <= value <= (INTENSITY_MAX if kind is None else LARGEST[kind])


def kind_of_values(
    found: AbstractSet[float], *, graded: bool = False, cuts: bool = False, file: Path
) -> tuple[LabelKind, str]:
    """Return what values seem to be of which nothing else tells it, and the note about that.

    Args:
        found: all values of a table.
        graded: some were letters from A to E.
        cuts: they are to become occurrences, so that fractions are no weak intensities.
        file: the table, for messages.

    Raises:
        DataError: they may be probabilities as well as weak intensities.
    """
    kind: LabelKind = "probability"
    if graded or not all(0 <= value <= 1 for value in found):
        kind = "intensity"
    elif found <= {0, 1}:
        kind = "occurrence"
    elif not cuts:
        odd = min(found - {0, 1})
        raise DataError(
            f"{file}: values between 0 and 1 (such as {odd:g}) may be probabilities or weak "
            f"intensities; state what they are with --kind."
        )
    otherwise = "" if cuts else "; --kind says otherwise"
    return kind, f"{file}: the values look like {PLURAL[kind]}{otherwise}."


def check_value(value: float, kind: LabelKind | None, *, where: str, advice: str = "") -> None:
    """Refuse a value that cannot be of its kind.

    Args:
        value: of an AU.
        kind: what it should be.
        where: the place of the cell, for a message.
        advice: what to do about an intensity where none is expected.

    Raises:
        DataError: with the place, what was expected, and what to do.
    """
    if fits(value, kind):
        return
    if math.isfinite(value) and not 0 <= value <= INTENSITY_MAX:
        advice = f" If {value:g} means 'not annotated', say so with --missing {value:g}."
    expected = {
        "occurrence": "0 or 1",
        "probability": "a probability from 0 to 1",
    }.get(kind or "", f"an intensity from 0 to {INTENSITY_MAX:g}")
    raise DataError(f"{where}: expected {expected}, found {value:g}.{advice}")


def merge_sides(sides: Mapping[Side, float | None], kind: LabelKind | None) -> float | None:
    """Return the value of an AU that was coded for the left and right half of the face.

    It occurs if it occurs on either side, and is absent only if both sides are known to be so.
    An intensity or probability is that of the stronger side, unknown if one side is.

    Args:
        sides: what is known of ``"L"`` and ``"R"``, and of both together, ``""``.
        kind: of the values.
    """
    known = [value for value in sides.values() if value is not None]
    if not known:
        return None
    both = sides.get("L") is not None and sides.get("R") is not None
    if both or sides.get("") is not None or (kind == "occurrence" and max(known) == 1):
        return max(known)
    return None


def unknown_units(numbers: Iterable[int]) -> str:
    """Return the AU numbers that FACS does not know, for a note; "" if it knows all."""
    return listed([str(number) for number in sorted({*numbers}) if number not in BY_NUMBER])


def listed(names: Sequence[str]) -> str:
    """Return some of the names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def columns_text(numbers: Iterable[int]) -> str:
    """Return the names of AUs in ascending order: ``AU01, AU12``."""
    return ", ".join(map(column, sorted(numbers)))
