"""Contact sheets for print: rows of the same faces, with labels and a scale, as PNG, PDF or SVG."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cycada.errors import DataError, UsageError, reason
from cycada.files import replacing
from cycada.footage.packages import optional
from cycada.report.images import Pixels
from cycada.report.palette import Palette, curve, painted
from cycada.report.sheet_layout import MM_PER_POINT, Asked, Bar, Box, Layout, Words, layout
from cycada.thermal import Window

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Form = Literal["png", "pdf", "svg"]

FORMS: Mapping[str, Form] = MappingProxyType({".png": "png", ".pdf": "pdf", ".svg": "svg"})
"""By the suffix of the file."""

_MM_PER_INCH = 25.4
_FONT = "DejaVu Sans"  # comes with matplotlib, so that sheets are alike on all machines
_INK = "#1a1a1a"
_SLACK = 1.02  # letters on whole pixels are a little wider than their outlines
_MOST_PIXELS = 100_000_000
_STEPS = (0.5, 1, 2, 2.5, 3, 4, 5, 10, 20, 25, 50)  # K between ticks
_MOST_TICKS = 4  # between the ends

# Text stays text: TrueType in PDF, <text> in SVG. The salt makes the names in an SVG the same every
# time; images are kept apart, and none is resampled.
_SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "font.family": "sans-serif", "font.sans-serif": [_FONT], "pdf.fonttype": 42,
        "svg.fonttype": "none", "svg.hashsalt": "cycada", "image.composite_image": False,
        "text.hinting": "none",
    }
)  # fmt: skip

_NO_METADATA: Mapping[Form, Mapping[str, None]] = MappingProxyType(
    {
        "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
        "svg": {"Creator": None, "Date": None, "Format": None, "Type": None},
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The same faces in one way."""

    label: str
    pictures: Sequence[Tensor]  # (3, H, W) RGB or (1, H, W) thermal, in [-1, 1]; any sizes

    @property
    def thermal(self) -> bool:
        """Whether the colour bar belongs to them."""
        return len(self.pictures[0]) == 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """What is on a sheet."""

    rows: Sequence[Row]
    names: Sequence[str] = ()  # of the columns, or none
    window: Window | None = None  # deg C of [-1, 1] in thermal rows; None: no temperatures


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """How a sheet is drawn."""

    width: float = 178.0  # mm
    dpi: int = 300  # of a PNG
    palette: Palette = "inferno"


def write_sheet(file: Path, sheet: Sheet, style: Style) -> None:
    """Write a sheet whole or not at all; the same sheet is the same bytes every time.

    Args:
        file: Its suffix chooses the format. In PDF and SVG the pictures have the pixels that they
            were given with; in PNG they are scaled to those of the print.
        sheet: What is on it.
        style: How it is drawn.

    Raises:
        UsageError: matplotlib is missing, a label has signs that cannot be drawn, or the sheet is
            too small or too large.
        DataError: The file cannot be written.
    """
    form = FORMS[file.suffix.lower()]
    with _matplotlib():
        figure = sheet_figure(sheet, style, form=form)
        buffer = io.BytesIO()
        if form == "png":
            _save_png(buffer, figure, style.dpi)
        else:
            figure.savefig(buffer, format=form, metadata=_NO_METADATA[form])
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file, lone=True) as temporary:
            temporary.write_bytes(buffer.getvalue())
    except OSError as error:
        raise DataError(f"{file}: cannot be written ({reason(error)}).") from error


def sheet_figure(sheet: Sheet, style: Style, *, form: Form) -> Figure:
    """Return the drawing of a sheet; axes hold a picture or a colour bar each."""
    optional("matplotlib", extra="sheet", what="a contact sheet")
    from matplotlib.figure import Figure  # noqa: PLC0415  # an extra

    planned = plan(sheet, style)
    snap = style.dpi / _MM_PER_INCH if form == "png" else None
    wide, high = planned.width, planned.height
    if snap is not None:
        wide, high = round(wide * snap) / snap, round(high * snap) / snap
        if wide * high * snap**2 > _MOST_PIXELS:
            raise UsageError(
                f"--width {style.width:g} --dpi {style.dpi}: gives more than "
                f"{_MOST_PIXELS // 1_000_000} million pixels; make one of them smaller."
            )
    figure = Figure(
        figsize=(wide / _MM_PER_INCH, high / _MM_PER_INCH), dpi=style.dpi, facecolor="white"
    )
    drawing = _Drawing(figure, wide, high, snap)
    for (number, column), cell in planned.tiles.items():
        drawing.picture(sheet.rows[number].pictures[column], cell, style.palette)
    for bar in planned.bars:
        drawing.bar(bar, style.palette)
    for words in planned.words:
        drawing.words(words)
    return figure


def plan(sheet: Sheet, style: Style) -> Layout:
    """Return where everything goes.

    Raises:
        UsageError: A label has signs that cannot be drawn, or the sheet is too narrow.
    """
    pictures = [picture for row in sheet.rows for picture in row.pictures]
    ends, ticks = _scale(sheet.window)
    asked = Asked(
        labels=[_drawable(row.label) for row in sheet.rows],
        thermal=[row.thermal for row in sheet.rows],
        columns=len(sheet.rows[0].pictures),
        names=[_drawable(name) for name in sheet.names],
        shape=max(picture.shape[-2] / picture.shape[-1] for picture in pictures),
        ends=ends,
        ticks=ticks,
        width=style.width,
    )
    return layout(asked, _measure)


class _Drawing:
    """Draws into a figure what is given in mm from its upper left corner."""

    def __init__(self, figure: Figure, wide: float, high: float, snap: float | None) -> None:
        self.figure, self.wide, self.high = figure, wide, high
        self.snap = snap  # pixels per mm, to begin and end on whole ones

    def picture(self, signed: Tensor, cell: Box, palette: Palette) -> None:
        """Draw a picture as large as its cell allows, in the middle of it."""
        height, width = signed.shape[-2:]
        scale = min(cell.width / width, cell.height / height)
        size = width * scale, height * scale
        box = Box(
            cell.left + (cell.width - size[0]) / 2, cell.top + (cell.height - size[1]) / 2, *size
        )
        if self.snap is not None:
            across, down = (max(1, round(side * self.snap)) for side in size)
            box = Box(
                round(box.left * self.snap) / self.snap, round(box.top * self.snap) / self.snap,
                across / self.snap, down / self.snap,
            )  # fmt: skip
            signed = enlarged(signed, (down, across))
        axes = self._axes(box)
        axes.set_axis_off()
        axes.imshow(painted(signed, palette), interpolation="none", aspect="auto")

    def bar(self, bar: Bar, palette: Palette) -> None:
        """Draw a colour bar with its ticks."""
        axes = self._axes(bar.box)
        axes.set_xticks([])
        axes.set_yticks([share for share, _ in bar.ticks], labels=[])
        axes.yaxis.tick_right()
        axes.tick_params(axis="y", length=1.5, width=0.4, color=_INK)
        for spine in axes.spines.values():
            spine.set_linewidth(0.4)
            spine.set_edgecolor(_INK)
        colours = curve(palette)
        ramp = torch.linspace(1, -1, max(256, len(colours)))[None, :, None]
        axes.imshow(
            painted(ramp, palette), interpolation="none", aspect="auto", extent=(0, 1, 0, 1)
        )
        for _, words in bar.ticks:
            self.words(words)

    def words(self, words: Words) -> None:
        """Write a text."""
        self.figure.text(
            words.across / self.wide, 1 - words.down / self.high, words.text, size=words.size,
            ha=words.align, va="baseline", color=_INK, rotation=90 if words.upright else 0,
            rotation_mode="anchor", parse_math=False,
        )  # fmt: skip

    def _axes(self, box: Box) -> Any:
        bottom = self.high - box.top - box.height
        return self.figure.add_axes((
            box.left / self.wide, bottom / self.high, box.width / self.wide, box.height / self.high,
        ))  # fmt: skip


def enlarged(signed: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a picture ``(C, H, W)`` in another size, smooth where it grows, antialiased else."""
    if signed.shape[-2:] == size:
        return signed
    made = F.interpolate(
        signed[None].float(), size=size, mode="bicubic", align_corners=False, antialias=True
    )
    return made[0].clamp(-1, 1)


def _scale(window: Window | None) -> tuple[tuple[str, str], list[tuple[float, str]]]:
    """Return the ends of the colour bar, and ticks that part the window evenly if any do."""
    if window is None:
        return ("cold", "warm"), []
    span = window.high - window.low
    ends = f"{window.low:g}", f"{window.high:g} °C"
    for step in _STEPS:
        parts = round(span / step)
        if 2 <= parts <= _MOST_TICKS + 1 and abs(parts * step - span) < 1e-6 * span:
            return ends, [
                (part / parts, f"{window.low + part * step:g}") for part in range(1, parts)
            ]
    return ends, []


def _save_png(buffer: io.BytesIO, figure: Figure, dpi: int) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  # an extra

    canvas: Any = FigureCanvasAgg(figure)  # parts of matplotlib have no types
    canvas.draw()
    pixels: Pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.save(buffer, "PNG", dpi=(dpi, dpi))


@contextmanager
def _matplotlib() -> Iterator[None]:
    """Draw by matplotlib's own defaults and ours, whatever the user's settings say."""
    style = optional("matplotlib.style", extra="sheet", what="a contact sheet")
    with style.context(["default", dict(_SETTINGS)]):
        yield


@cache
def _font() -> Any:
    manager = optional("matplotlib.font_manager", extra="sheet", what="a contact sheet")
    return manager.FontProperties(family=_FONT)


def _measure(text: str, size: float) -> float:
    paths = optional("matplotlib.textpath", extra="sheet", what="a contact sheet")
    font = _font().copy()
    font.set_size(size)
    width, _, _ = paths.text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) * _SLACK * MM_PER_POINT


def _drawable(label: str) -> str:
    """Return a label in one line; refuse signs that the font lacks.

    Raises:
        UsageError: Naming the first of them.
    """
    manager = optional("matplotlib.font_manager", extra="sheet", what="a contact sheet")
    known = manager.get_font(manager.findfont(_font())).get_charmap()
    text = " ".join(label.split())
    for sign in text:
        if ord(sign) not in known:
            raise UsageError(
                f"the label {text!r} has the sign {sign!r}, which the font {_FONT} lacks; give "
                "another with --label."
            )
    return text
