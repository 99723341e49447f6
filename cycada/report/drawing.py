"""What plots are drawn of: scales, lines, text, and the SVG element around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values from ``low`` to ``high`` to places from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def path(across: Scale, up: Scale, x: Sequence[float], y: Sequence[float], classes: str) -> str:
    """Return a line through points, broken where one is not finite."""
    commands, pen = [], "M"
    for a, b in zip(x, y, strict=True):
        if math.isfinite(b):
            commands.append(f"{pen}{across(a):.1f} {up(b):.1f}")
            pen = "L"
        else:
            pen = "M"
    return f'<path class="{classes}" d="{"".join(commands)}"/>'


def line(x1: float, y1: float, x2: float, y2: float, classes: str) -> str:
    """Return a straight line."""
    return f'<line class="{classes}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(x: float, y: float, words: str, anchor: str, classes: str = "") -> str:
    """Return words that begin, end or have their middle at a place."""
    kind = f' class="{classes}"' if classes else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """Return a drawing; its title is read aloud in its place."""
    return (
        f'<svg class="plot" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )
