"""Temperature maps in text: one number per pixel, one line per row of the picture."""

from __future__ import annotations

import codecs
import csv
import math
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cycada.errors import DataError, reason
from cycada.files import check_regular, check_text
from cycada.footage.frames import Reading, Shot
from cycada.image_reading import image_planes
from cycada.thermal import guess_unit

SUFFIXES = (".csv", ".tsv")

_SMALLEST = 8  # px, rows and columns: less is a table of something else
_PEEK = 65536  # bytes that tell whether a file may be a map
_FAHRENHEIT = re.compile(
    r"""fahrenheit | \N{DEGREE FAHRENHEIT} | °\s*F\b | \bdeg(rees?)?[.\s]*F\b | [(\[]\s*F\s*[)\]]
    | units?[\s:;,="']{1,4}F\b | (?<![\w/\\])temp\w*[\s:;,=./]{1,4}F\b""",
    re.IGNORECASE | re.VERBOSE,
)
# Medians of tables without names of columns that may be maps: deg C and kelvin of any scene, but
# not the 0 to 5 of labels and scores.
_MEDIANS = ((-60.0, -5.0), (5.0, 80.0), (220.0, 360.0))
_SEPARATORS = (";", "\t", ",", None)  # None: blanks
_Row = tuple[float, ...]


class _NoMapError(DataError):
    """A table of something else, or no table at all."""


class _Map(NamedTuple):
    """The numbers of a map, and how they were found."""

    values: NDArray[np.float64]
    whole: bool  # whether no number has decimals
    notes: tuple[str, ...]


def open_table(path: Path) -> Reading:
    """Open a temperature map: CSV with commas, semicolons, tabs or blanks, decimal commas too.

    Lines of text before the numbers, as FLIR's programs write them, are left out with a note; so
    is a first row or column that only counts or tells places.

    Raises:
        DataError: there is no map in the file, or more than one, or one that lacks pixels.
    """
    found = _read(path)

    def shots() -> Iterator[Shot]:
        yield Shot(_pixels(_read(path), path), None, path.stem)

    sample = (Shot(_pixels(found, path), None, path.stem),)
    return Reading(path=path, shots=shots, sample=sample, count=1, notes=found.notes)


def may_be_map(path: Path) -> bool:
    """Tell whether the beginning of a file looks like temperatures, not like another table.

    A map that cannot be read is one, too: opening it tells why.
    """
    try:
        check_regular(path)
        with path.open("rb") as stream:
            data = stream.read(_PEEK)
    except (DataError, OSError):
        return True
    whole_lines = data if len(data) < _PEEK else data[: data.rfind(b"\n") + 1]
    try:
        found = _parse(_decoded(whole_lines), path)
    except _NoMapError:
        return False
    except (DataError, csv.Error):
        return True
    median = float(np.median(found.values))
    if found.whole:
        return guess_unit(median, integer=True) is not None
    return any(low <= median <= high for low, high in _MEDIANS)


def _read(path: Path) -> _Map:
    check_text(path)
    try:
        return _parse(_decoded(path.read_bytes()), path)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except (OSError, csv.Error) as error:  # the latter of cells without end
        raise DataError(f"{path}: cannot be read ({reason(error)}).") from error


def _pixels(found: _Map, path: Path) -> NDArray[np.generic]:
    if found.whole:
        # Temperatures have decimals. Whole numbers are counts, or the halves of decimal numbers
        # whose comma was taken for a separator; as counts, those fit no unit.
        counts = found.values.astype(np.int64)
        fits = counts.min() >= 0 and counts.max() <= np.iinfo(np.uint16).max
        return image_planes(counts.astype(np.uint16) if fits else counts, path)
    return image_planes(found.values.astype(np.float32), path)


def _decoded(data: bytes) -> str:
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):  # fmt: skip
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")  # the degree sign of older programs


def _parse(text: str, path: Path) -> _Map:
    """Return the one map in a text: the rows of most numbers that follow each other."""
    lines = text.splitlines()
    blocks = [block for separator in _SEPARATORS for block in _blocks(lines, separator)]
    blocks = [block for block in blocks if block.height >= _SMALLEST <= block.width]
    if not blocks:
        raise _NoMapError(
            f"{path}: holds no temperature map, that is {_SMALLEST} or more rows of "
            f"{_SMALLEST} or more numbers."
        )
    best = max(blocks, key=lambda block: block.height * block.width)
    alike = [b for b in blocks if b.separator == best.separator and b.width == best.width]
    if len(alike) > 1:
        raise DataError(
            f"{path}: holds {len(alike)} maps of {best.width} columns, from the lines "
            f"{', '.join(str(block.first + 1) for block in alike)}; save each as a file."
        )
    if best.named:
        raise _NoMapError(
            f"{path}: names its columns in line {best.first}, so it is a table and no map of "
            f"temperatures."
        )
    header, footer = lines[: best.first], lines[best.end :]
    if any(_FAHRENHEIT.search(line) for line in (*header, *footer)):
        raise DataError(f"{path}: is in Fahrenheit; export deg C.")
    _check_whole(lines, best, path)
    return _without_counters(best, header)


def _check_whole(lines: list[str], best: _Block, path: Path) -> None:
    """Refuse a map whose first or last rows miss a pixel: it would be read without them."""
    for at in (*reversed(range(best.first)), *range(best.end, len(lines))):
        cells = _cells(lines[at], best.separator)
        values = [value for value in map(_number, cells) if not math.isinf(value)]
        cut_off = at == best.end and len(values) == len(cells) > 0
        if (cut_off or len(values) >= _SMALLEST) and not _are_places(np.asarray(values)):
            raise DataError(
                f"{path}: line {at + 1} holds {len(values)} numbers and is no row of the map of "
                f"{best.width} columns; is a cell empty or a word, or was the file cut off? "
                f"Export it again, or mend or delete that line."
            )


class _Block(NamedTuple):
    """Rows of numbers that follow each other."""

    separator: str | None
    first: int  # line, from 0
    rows: list[_Row]
    labelled: bool  # whether text stands before the numbers of each row
    whole: bool
    named: bool  # whether the line before has a word above each number

    @property
    def height(self) -> int:
        return len(self.rows)

    @property
    def end(self) -> int:
        return self.first + self.height

    @property
    def width(self) -> int:
        return len(self.rows[0])


def _blocks(lines: list[str], separator: str | None) -> Iterator[_Block]:
    """Yield the runs of lines that hold equally many numbers."""
    split = [_cells(line, separator) for line in lines]
    at = 0
    for (labels, count), run in groupby(split, key=_kind):
        height = len(list(run))
        if count >= _SMALLEST <= height:
            cells = [row[labels:] for row in split[at : at + height]]
            above = split[at - 1] if at else []
            words = sum(bool(cell) and math.isinf(_number(cell)) for cell in above)
            yield _Block(
                separator, at, [tuple(map(_number, row)) for row in cells], labels > 0,
                all(_is_whole(cell) for row in cells for cell in row),
                len(above) == count + labels and 2 * words > count,
            )  # fmt: skip
        at += height


def _cells(line: str, separator: str | None) -> list[str]:
    cells = line.split() if separator is None else next(csv.reader([line], delimiter=separator), [])
    cells = [cell.strip() for cell in cells]
    while cells and not cells[-1]:
        cells.pop()  # many programs end each line with a separator
    return cells


def _kind(cells: list[str]) -> tuple[int, int]:
    """Return how many labels and how many numbers a row has; (0, 0) for any other line."""
    if len(cells) < _SMALLEST:
        return 0, 0
    numbers = [not math.isinf(_number(cell)) for cell in cells]
    if all(numbers):
        return 0, len(cells)
    word = not cells[0] or any(map(str.isalnum, cells[0]))  # "---" is a pixel without a value
    return (1, len(cells) - 1) if word and all(numbers[1:]) else (0, 0)


def _number(cell: str) -> float:
    """Return a cell as a number, infinite for one that is none; a comma is a decimal one."""
    try:
        return float(cell.replace(",", "."))
    except ValueError:
        return math.inf


def _is_whole(cell: str) -> bool:
    return cell.lstrip("+-").isdecimal()


def _without_counters(block: _Block, header: list[str]) -> _Map:
    values = np.asarray(block.rows, dtype=np.float64)
    notes = []
    if _are_places(values[0, 1:] if _are_places(values[1:, 0]) else values[0]):
        values = values[1:]
        notes.append("a first row that numbers the columns left out")
    if _are_places(values[:, 0]):
        values = values[:, 1:]
        notes.append("a first column that numbers the rows left out")
    if block.labelled:
        notes.append("a word before each row left out")
    told = [line.strip() for line in header if line.strip()]
    if told:
        first = told[0][:60]
        notes.append(f"{len(told)} lines before the map left out, {first!r} the first")
    by = {";": "semicolons", "\t": "tabs", ",": "commas", None: "blanks"}[block.separator]
    height, width = values.shape
    whole = bool((values == np.round(values)).all()) and block.whole
    kind = f"temperature map of {width} x {height} numbers separated by {by}"
    return _Map(values, whole, (kind, *notes))


def _are_places(values: NDArray[np.float64]) -> bool:
    """Tell whether numbers are the evenly spaced places of rows or columns: 1, 2 or 0, 0.5, 1."""
    steps = np.diff(values)
    even = len(steps) > 0 and bool(steps[0] > 0 and np.allclose(steps, steps[0], atol=0))
    return even and bool(np.isclose(values[0], (0, 1, steps[0])).any())
