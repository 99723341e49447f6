"""What a page says, as plain data, and how it becomes HTML: one file, but for galleries."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, StrictUndefined

from cycada.errors import CycadaError
from cycada.files import replacing
from cycada.report.gallery import GallerySet
from cycada.report.gallery_folders import remove_sets
from cycada.report.images import filter_tables
from cycada.report.plots import DARK, LIGHT, PLOT_STYLE, Tone

_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)
"""Nothing runs and nothing is fetched: pictures are in the page, and so are its styles."""

_POLICY_WITH_SCRIPT = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src '{digest}'; "
    "base-uri 'none'; form-action 'none'"
)
"""The page's own script runs, and nothing is fetched."""

_POLICY_WITH_FILES = (
    "default-src 'none'; img-src data: blob: 'self' file:; style-src 'unsafe-inline'; "
    "script-src '{digest}' 'self' file:; base-uri 'none'; form-action 'none'"
)
"""The page's own script runs, and loads pictures and data from where the page is."""

_SCRIPTS = (
    "elements",
    "colours",
    "sets",
    "select",
    "marks",
    "grid",
    "views",
    "detail",
    "gallery",
    "start",
)
"""Parts of the script in the order in which they build upon each other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """One picture of a strip."""

    uri: str  # data URI
    alt: str
    thermal: bool = False  # grey in the file, coloured by the page


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """What the coldest and the warmest colour mean."""

    low: str
    high: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StripRow:
    """One kind of picture, a column for each face."""

    label: str
    tiles: tuple[Tile, ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Strip:
    """Faces side by side: a row for each kind of picture."""

    kind: ClassVar[str] = "strip"
    rows: tuple[StripRow, ...]
    columns: tuple[str, ...] = ()
    scale: Scale | None = None
    caption: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One cell of a table; ``shade`` from 0 to 1 colours it, ``prose`` breaks its lines."""

    text: str
    note: str = ""
    shade: float | None = None
    strong: bool = False
    prose: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows under a header; the first ``names`` columns hold words, the others figures."""

    kind: ClassVar[str] = "table"
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    names: int = 1
    total: int = 0  # leading rows that sum up the others
    caption: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """An SVG drawing from :mod:`cycada.report.plots`; a wide one has a ``narrow`` one beside it."""

    kind: ClassVar[str] = "plot"
    svg: str
    caption: str = ""
    narrow: str = ""  # the same for a phone; what has one takes all of the width


@dataclass(frozen=True, kw_only=True, slots=True)
class Plots:
    """Small plots side by side."""

    kind: ClassVar[str] = "plots"
    svgs: tuple[str, ...]
    caption: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Legend:
    """What the colours of the plots below mean."""

    kind: ClassVar[str] = "legend"
    items: tuple[tuple[str, Tone], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One wide picture."""

    kind: ClassVar[str] = "picture"
    uri: str
    alt: str
    caption: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Names and values."""

    kind: ClassVar[str] = "facts"
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A paragraph; ``warns`` sets it apart."""

    kind: ClassVar[str] = "text"
    text: str
    warns: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """Text to read on demand, such as the settings."""

    kind: ClassVar[str] = "code"
    title: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """Two blocks side by side where the screen is wide enough."""

    kind: ClassVar[str] = "beside"
    left: Block
    right: Block


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """Pictures to sort, filter, compare and mark; ``shown`` was written beside the page."""

    kind: ClassVar[str] = "gallery"
    shown: GallerySet


@dataclass(frozen=True, kw_only=True, slots=True)
class Scrubber:
    """Pictures of the same at different times, with a slider; without a script, all in a row."""

    kind: ClassVar[str] = "scrubber"
    frames: tuple[tuple[str, str], ...]  # label and data URI
    caption: str = ""
    thermal: bool = False  # grey in the files, coloured by the page


@dataclass(frozen=True, kw_only=True, slots=True)
class Fold:
    """A block to look at on demand."""

    kind: ClassVar[str] = "fold"
    title: str
    block: Block


Block = (
    Strip
    | Table
    | Plot
    | Plots
    | Legend
    | Picture
    | Facts
    | Text
    | Code
    | Beside
    | Gallery
    | Scrubber
    | Fold
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A number that matters, large."""

    value: str
    label: str
    note: str = ""
    accent: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A heading, what it is about, and its blocks."""

    title: str
    blocks: tuple[Block, ...]
    intro: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A whole report."""

    title: str
    subtitle: str = ""
    figures: tuple[Figure, ...] = ()
    hero: Strip | None = None
    sections: tuple[Section, ...] = ()
    provenance: tuple[tuple[str, str], ...] = field(default=())


def render_page(page: Page) -> str:
    """Return the page as HTML that needs no network, and no other file but those of galleries."""
    folder = files("cycada.report")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8"))
    style = (folder / "page.css").read_text(encoding="utf-8")
    blocks = list(_blocks(page))
    galleries = [block.shown for block in blocks if isinstance(block, Gallery)]
    script, policy = "", _POLICY
    if any(isinstance(block, Gallery | Scrubber) for block in blocks):
        style += (folder / "gallery.css").read_text(encoding="utf-8")
        script = _script()
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy = _POLICY_WITH_FILES if galleries else _POLICY_WITH_SCRIPT
        policy = policy.format(digest=f"sha256-{digest}")
    return template.render(
        page=page,
        policy=policy,
        anchors=[_anchor(section.title, place) for place, section in enumerate(page.sections)],
        style=style.replace("/*light*/", LIGHT).replace("/*dark*/", DARK) + PLOT_STYLE,
        palettes={"inferno": filter_tables(), "ironbow": filter_tables("ironbow")},
        script=script,
        whole=not galleries,
        has_thermal=any(_shows_thermal(block) for block in blocks),
    )


def write_page(path: Path, page: Page) -> None:
    """Write the page whole or not at all; make missing folders.

    Sets of an earlier page of that name, which this one does not show, are removed.

    Raises:
        CycadaError: The file cannot be written.
    """
    text = render_page(page)
    beside = files_folder(path)
    shown = [block.shown for block in _blocks(page) if isinstance(block, Gallery)]
    if any(each.folder.parent != beside for each in shown):
        raise ValueError(f"the sets of {path} belong into {beside}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, lone=True) as temporary:
            # A file name need not be text; what of it is not is told by its number.
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        remove_sets(beside, keep=[each.folder.name for each in shown])
    except OSError as error:
        raise CycadaError(f"{path}: cannot be written ({error.strerror}).") from error


def files_folder(page: Path) -> Path:
    """Return the folder for the sets of a page: ``report_files`` of ``report.html``."""
    return page.with_name(f"{page.stem}_files")


def _script() -> str:
    folder = files("cycada.report") / "browser"
    parts = [(folder / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS]
    text = '\n(() => {\n"use strict";\n' + "\n".join(parts) + "})();\n"
    if "</script" in text or "<!--" in text:
        raise ValueError("the script would end within itself")
    return text


def _blocks(page: Page) -> Iterator[Block]:
    """Yield every block, those within others after these."""
    if page.hero:
        yield page.hero
    waiting = [block for section in page.sections for block in section.blocks]
    for block in waiting:
        yield block
        if isinstance(block, Beside):
            waiting += [block.left, block.right]
        if isinstance(block, Fold):
            waiting.append(block.block)


def _shows_thermal(block: Block) -> bool:
    if isinstance(block, Gallery):
        return block.shown.thermal
    if isinstance(block, Scrubber):
        return block.thermal
    return isinstance(block, Strip) and any(
        tile.thermal for row in block.rows for tile in row.tiles
    )


def _anchor(title: str, place: int) -> str:
    words = "".join(letter if letter.isalnum() else " " for letter in title.lower()).split()
    return "-".join([*words[:5], str(place + 1)])
