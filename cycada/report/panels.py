"""Sequences side by side: a picture of each, with its name, how it flickers, and the scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cycada.footage.packages import optional
from cycada.report.images import Pixels
from cycada.report.palette import Palette, painted
from cycada.report.sheet import enlarged
from cycada.report.sheet_layout import shortened
from cycada.thermal import Window

_HEIGHT = 360  # px of the panels, where their widths leave room for it
_MOST_WIDE = 1920  # px of all
_MARGIN, _GAP = 12, 12
_HEAD = 34  # above the panels
_CURVE = 56  # height of the curves below them
_BAR = 18
_BAR_ROOM = 92  # width of the colour bar with its texts
_FOOT = 50
_TEXT, _SMALL = 20, 16  # px
_INK, _QUIET, _LINE, _PAPER = (26, 26, 26), (105, 105, 112), (190, 80, 20), (255, 255, 255)
_SCALE_COLOURS = 64
_FINE = 3  # curves are drawn larger by this, then scaled down, so that they are smooth


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """What is told of a sequence."""

    label: str
    size: tuple[int, int]  # height and width of its frames
    thermal: bool
    flicker: str  # the score, as it is written
    errors: Sequence[float]  # flicker of each frame against the one before; the first is NaN


class _Place(NamedTuple):
    left: int
    width: int


class Panels:
    """Draws frames of the same time side by side."""

    def __init__(
        self, panels: Sequence[Panel], *, window: Window | None, palette: Palette, rate: float
    ) -> None:
        """Lay the panels out.

        Args:
            panels: From left to right.
            window: Deg C of [-1, 1] in thermal frames; ``None`` for grey ones.
            palette: Of thermal frames.
            rate: Frames per second, to tell the time.

        Raises:
            UsageError: matplotlib, which brings the font, is missing.
        """
        self.panels, self.palette, self.rate = panels, palette, rate
        thermal = any(panel.thermal for panel in panels)
        room = _MOST_WIDE - 2 * _MARGIN - _GAP * (len(panels) - 1) - _BAR_ROOM * thermal
        shapes = [panel.size[1] / panel.size[0] for panel in panels]
        self.height = max(2, min(_HEIGHT, int(room / sum(shapes))))
        self.places: list[_Place] = []
        left = _MARGIN
        for shape in shapes:
            self.places.append(_Place(left, max(2, round(shape * self.height))))
            left += self.places[-1].width + _GAP
        right = left - _GAP + _BAR_ROOM * thermal + _MARGIN
        self.top = _HEAD
        self.curves = self.top + self.height + 8
        high = self.curves + _CURVE + _FOOT
        self.fonts = {size: _font(size) for size in (_TEXT, _SMALL)}
        self.background = Image.new("RGB", (right + right % 2, high + high % 2), _PAPER)
        draw = ImageDraw.Draw(self.background)
        for panel, place, scale in zip(panels, self.places, self._scales(), strict=True):
            self._tell(draw, panel, place, scale)
        if thermal:
            self._bar(draw, left - _GAP + 14, window)

    @property
    def colours(self) -> list[tuple[int, ...]]:
        """Those that a file with few colours must not lack: of the paper, the ink and the scale."""
        some: list[tuple[int, ...]] = [_PAPER, _INK, _QUIET, _LINE]
        if any(panel.thermal for panel in self.panels):
            ramp = painted(torch.linspace(-1, 1, _SCALE_COLOURS)[None, None], self.palette)
            some += [tuple(colour) for colour in ramp[0].tolist()]
        return some

    def frame(self, number: int, pictures: Sequence[Tensor]) -> Pixels:
        """Return ``(height, width, 3)``, both even, of the frame ``number``.

        Args:
            number: From 0.
            pictures: One for each panel, ``(3, H, W)`` RGB or ``(1, H, W)`` thermal in [-1, 1].
        """
        canvas = self.background.copy()
        draw = ImageDraw.Draw(canvas)
        for panel, place, picture in zip(self.panels, self.places, pictures, strict=True):
            size = self.height, place.width
            pixels = painted(enlarged(picture, size), self.palette)
            canvas.paste(Image.fromarray(pixels), (place.left, self.top))
            if len(panel.errors) > 1:
                across = place.left + (place.width - 1) * number / (len(panel.errors) - 1)
                draw.line((across, self.curves, across, self.curves + _CURVE), fill=_INK)
        told = f"{number / self.rate:.2f} s"
        down = self.curves + _CURVE + _FOOT - 6
        draw.text((_MARGIN, down), told, fill=_INK, font=self.fonts[_SMALL], anchor="ls")
        return np.asarray(canvas)

    def _scales(self) -> list[float]:
        """Return the largest error of the panels of each kind: their curves share a scale."""
        most = {
            kind: max(
                (error for panel in self.panels if panel.thermal == kind
                 for error in panel.errors if not math.isnan(error)), default=0.0,
            )
            for kind in (False, True)
        }  # fmt: skip
        return [most[panel.thermal] for panel in self.panels]

    def _tell(self, draw: ImageDraw.ImageDraw, panel: Panel, place: _Place, most: float) -> None:
        label = shortened(panel.label, place.width, _TEXT, self._measure)
        middle = place.left + place.width / 2
        draw.text((middle, _HEAD - 10), label, fill=_INK, font=self.fonts[_TEXT], anchor="ms")
        told = shortened(panel.flicker, place.width, _SMALL, self._measure)
        below = self.curves + _CURVE + 20
        draw.text((middle, below), told, fill=_INK, font=self.fonts[_SMALL], anchor="ms")
        if len(panel.errors) > 1:
            self._curve(panel.errors, place, most)

    def _curve(self, errors: Sequence[float], place: _Place, most: float) -> None:
        wide, high = place.width * _FINE, _CURVE * _FINE
        curve = Image.new("RGB", (wide, high), _PAPER)
        draw = ImageDraw.Draw(curve)
        draw.line((0, high - 2, wide, high - 2), fill=_QUIET, width=_FINE)
        points = [
            (
                (wide - 1) * number / (len(errors) - 1),
                (high - 3) * (1 - 0.95 * error / most) if most > 0 else high - 3,
            )
            for number, error in enumerate(errors) if not math.isnan(error)
        ]  # fmt: skip
        draw.line(points, fill=_LINE, width=2 * _FINE, joint="curve")
        small = curve.resize((place.width, _CURVE), Image.Resampling.LANCZOS)
        self.background.paste(small, (place.left, self.curves))

    def _bar(self, draw: ImageDraw.ImageDraw, left: int, window: Window | None) -> None:
        ramp = torch.linspace(1, -1, self.height)[None, :, None].expand(1, -1, _BAR)
        self.background.paste(Image.fromarray(painted(ramp, self.palette)), (left, self.top))
        box = (left - 1, self.top - 1, left + _BAR, self.top + self.height)
        draw.rectangle(box, outline=_QUIET)
        low, middle, high = ("cold", "", "warm")
        if window is not None:
            low, high = f"{window.low:g}", f"{window.high:g} °C"
            middle = f"{(window.low + window.high) / 2:g}"
        across, font = left + _BAR + 7, self.fonts[_SMALL]
        draw.text((across, self.top), high, fill=_INK, font=font, anchor="lt")
        draw.text((across, self.top + self.height / 2), middle, fill=_INK, font=font, anchor="lm")
        draw.text((across, self.top + self.height - 1), low, fill=_INK, font=font, anchor="ls")

    def _measure(self, text: str, size: float) -> float:
        return float(self.fonts[int(size)].getlength(text))


def _font(size: int) -> Any:
    matplotlib = optional("matplotlib", extra="sheet", what="writing on a video")
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(file), size)
