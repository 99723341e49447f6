"""Where everything on a contact sheet goes, in mm: computed first, so that nothing overlaps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cycada.errors import UsageError

LABEL, SMALL = 8.0, 7.0
"""Sizes of letters in pt: names of rows, and the rest. Journals want 5 to 8 in print."""

LINE = 1.2
"""Distance of lines, in sizes of their letters."""

MM_PER_POINT = 25.4 / 72

TALLEST = 240.0
"""Height in mm that a page has room for; faces are drawn smaller rather than beyond it."""

_MARGIN = 0.5  # mm around all
_GAP = 0.7  # between tiles
_APART = 1.5  # between texts, tiles and colour bars
_BAND_GAP = 3.0  # between faces that go on below
_BAR = 2.5  # width of a colour bar
_LEAST_TILE = 9.0  # width from which a face can be made out; narrower ones go on below
_WIDEST_LABEL = 0.22  # of the width of the sheet
_MOST_LINES = 3
_LONGEST_NAME = 15.0  # mm of a name that stands upright above its column

Measure = Callable[[str, float], float]
"""Returns the width in mm of a text in letters of a size in pt."""


class Box(NamedTuple):
    """A rectangle in mm from the upper left corner of the sheet."""

    left: float
    top: float
    width: float
    height: float


class Words(NamedTuple):
    """A text in its place: its baseline begins, ends or has its middle there."""

    text: str
    across: float  # mm from the left
    down: float  # mm from the top
    size: float  # pt
    align: str  # left, center or right
    upright: bool = False  # turned by 90 degrees against the clock


class Bar(NamedTuple):
    """A colour bar; its ticks are shares of its height from below."""

    box: Box
    ticks: tuple[tuple[float, Words], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A whole sheet."""

    width: float
    height: float
    tiles: dict[tuple[int, int], Box]  # row, column -> cell; its picture is centred in it
    words: tuple[Words, ...]
    bars: tuple[Bar, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a layout depends on."""

    labels: Sequence[str]  # of the rows
    thermal: Sequence[bool]  # whether the colour bar belongs to the row
    columns: int
    names: Sequence[str]  # of the columns; empty: none
    shape: float  # height of the tallest picture in its widths
    ends: tuple[str, str]  # of the colour bar
    ticks: Sequence[tuple[float, str]]  # between its ends: share of its height, and text
    width: float


def layout(asked: Asked, measure: Measure) -> Layout:
    """Return where the parts of a sheet go.

    Raises:
        UsageError: The sheet is too narrow for its labels.
    """
    widest = asked.width * _WIDEST_LABEL
    lines = [_lines(label, widest, measure) for label in asked.labels]
    label_width = max((measure(line, LABEL) for each in lines for line in each), default=0.0)
    left = _MARGIN + (label_width + _APART if label_width else 0.0)
    bar_width = 0.0
    if any(asked.thermal):
        texts = [*asked.ends, *(text for _, text in asked.ticks)]
        bar_width = _APART + _BAR + 1.0 + max(measure(text, SMALL) for text in texts)
    room = asked.width - left - bar_width - _MARGIN
    if room < _LEAST_TILE:
        raise UsageError(
            f"--width {asked.width:g}: leaves no room for a face beside the labels; make it wider, "
            "or the labels shorter."
        )
    most = max(1, int((room + _GAP) / (_LEAST_TILE + _GAP)))
    bands = math.ceil(asked.columns / most)
    across = math.ceil(asked.columns / bands)
    texts_high = [len(each) * _line(LABEL) for each in lines]
    return _placed(asked, lines, _Grid(
        left=left, room=room, bands=bands, across=across, bar_width=bar_width,
        least=tuple(max(high, 2 * _line(SMALL)) for high in texts_high),
    ), measure)  # fmt: skip


class _Grid(NamedTuple):
    left: float  # of the first tile
    room: float  # for tiles
    bands: int
    across: int  # tiles beside each other
    bar_width: float
    least: tuple[float, ...]  # height of each row that its label and the ticks need


def _placed(asked: Asked, lines: Sequence[Sequence[str]], grid: _Grid, measure: Measure) -> Layout:
    tile = (grid.room - _GAP * (grid.across - 1)) / grid.across
    names, name_height = _column_names(asked.names, tile, measure)
    tile = _shrunk(tile, asked, grid, name_height)
    pitch = tile + _GAP
    used = grid.across * pitch - _GAP
    left = grid.left + (grid.room - used) / 2
    rows = [max(tile * asked.shape, least) for least in grid.least]
    tiles: dict[tuple[int, int], Box] = {}
    words: list[Words] = []
    bars: list[Bar] = []
    top = _MARGIN
    for band in range(grid.bands):
        numbers = range(band * grid.across, min((band + 1) * grid.across, asked.columns))
        if name_height:
            for place, number in enumerate(numbers):
                middle = left + place * pitch + tile / 2
                words.append(_name(names[number], middle, top + name_height - 1.0))
            top += name_height
        tops = []
        for row, high in enumerate(rows):
            tops.append(top)
            for place, number in enumerate(numbers):
                tiles[row, number] = Box(left + place * pitch, top, tile, high)
            words += _label(lines[row], left - _APART, top + high / 2)
            top += high + _GAP
        top -= _GAP
        for first, last in _runs(asked.thermal):
            end = tops[last] + rows[last]
            bar_left = left + len(numbers) * pitch - _GAP + _APART
            bars.append(_bar(Box(bar_left, tops[first], _BAR, end - tops[first]), asked))
        top += _BAND_GAP
    return Layout(asked.width, top - _BAND_GAP + _MARGIN, tiles, tuple(words), tuple(bars))


def _shrunk(tile: float, asked: Asked, grid: _Grid, name_height: float) -> float:
    """Return the width of a tile with which the sheet fits a page, if one can be made out so."""
    fixed = grid.bands * (name_height + _BAND_GAP + _GAP * len(asked.labels))
    fits = (TALLEST - fixed) / (grid.bands * len(asked.labels) * asked.shape)
    return min(tile, max(fits, _LEAST_TILE))


def _label(lines: Sequence[str], right: float, middle: float) -> list[Words]:
    top = middle - len(lines) * _line(LABEL) / 2
    return [
        Words(line, right, top + (number + 0.78) * _line(LABEL), LABEL, "right")
        for number, line in enumerate(lines)
    ]


class _Name(NamedTuple):
    text: str
    upright: bool


def _column_names(names: Sequence[str], tile: float, measure: Measure) -> tuple[list[_Name], float]:
    """Return the names as they are written, and the height that they take in mm."""
    if not names:
        return [], 0.0
    widest = max(measure(name, SMALL) for name in names)
    if widest <= tile:
        return [_Name(name, upright=False) for name in names], _line(SMALL) + 0.8
    short = [shortened(name, _LONGEST_NAME, SMALL, measure) for name in names]
    tall = max(measure(name, SMALL) for name in short)
    return [_Name(name, upright=True) for name in short], tall + 1.5


def _name(name: _Name, middle: float, bottom: float) -> Words:
    if not name.upright:
        return Words(name.text, middle, bottom, SMALL, "center")
    # Turned, the baseline is to the right of the letters: capitals are 0.73 of the size high.
    across = middle + 0.36 * SMALL * MM_PER_POINT
    return Words(name.text, across, bottom, SMALL, "left", upright=True)


def _runs(thermal: Sequence[bool]) -> Iterable[tuple[int, int]]:
    """Yield the first and the last of each run of neighbouring thermal rows."""
    first = None
    for row, is_thermal in enumerate((*thermal, False)):
        if is_thermal and first is None:
            first = row
        elif not is_thermal and first is not None:
            yield first, row - 1
            first = None


def _bar(box: Box, asked: Asked) -> Bar:
    """Return a bar with its ends and as many ticks between them as it has room for."""
    line = _line(SMALL)
    between = [
        (share, text) for share, text in asked.ticks
        if line <= share * box.height <= box.height - line
    ]  # fmt: skip
    if len(between) > 1 and (between[1][0] - between[0][0]) * box.height < line:
        between = []
    across = box.left + box.width + 1.0
    capital = 0.73 * SMALL * MM_PER_POINT
    ticks = [(0.0, asked.ends[0], box.top + box.height)]
    ticks += [
        (share, text, box.top + (1 - share) * box.height + capital / 2) for share, text in between
    ]
    ticks.append((1.0, asked.ends[1], box.top + capital))
    return Bar(box, tuple(
        (share, Words(text, across, down, SMALL, "left")) for share, text, down in ticks
    ))  # fmt: skip


def _line(size: float) -> float:
    return size * LINE * MM_PER_POINT


def _lines(label: str, widest: float, measure: Measure) -> list[str]:
    """Return a label in lines that are not too wide, cut off where there would be too many."""
    lines: list[str] = []
    for word in label.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and measure(joined, LABEL) <= widest:
            lines[-1] = joined
            continue
        pieces = _pieces(word, widest, measure)
        lines += pieces
    if len(lines) > _MOST_LINES:
        last = " ".join(lines[_MOST_LINES - 1 :])
        lines = [*lines[: _MOST_LINES - 1], shortened(last, widest, LABEL, measure)]
    return lines


def _pieces(word: str, widest: float, measure: Measure) -> list[str]:
    """Return a word in pieces that are not too wide, after signs that join words if it can be."""
    pieces = []
    while measure(word, LABEL) > widest:
        fitting = (n for n in range(len(word) - 1, 1, -1) if measure(word[:n], LABEL) <= widest)
        fits = next(fitting, 1)
        joins = [n for n in range(2, fits + 1) if word[n - 1] in "-_/.,"]
        cut = joins[-1] if joins else fits
        pieces.append(word[:cut])
        word = word[cut:]
    return [*pieces, word] if word else pieces


def shortened(text: str, widest: float, size: float, measure: Measure) -> str:
    """Return a text, its end left out where it is wider than ``widest`` mm."""
    if measure(text, size) <= widest:
        return text
    while text and measure(text + "…", size) > widest:
        text = text[:-1]
    return text.rstrip() + "…"
