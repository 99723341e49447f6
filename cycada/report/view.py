"""The page of ``cycada view``: the frame around a report, a training, and an image to try."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from cycada.report.images import filter_tables
from cycada.report.plots import DARK, LIGHT, PLOT_STYLE


def render_view(*, title: str, samples: bool, largest_upload: int, units: Sequence[str]) -> str:
    """Return the page as HTML; its script asks the server for all else.

    Args:
        title: Heading.
        samples: Whether pictures that a training made may be shown.
        largest_upload: Bytes of an image to try.
        units: What pixels of a thermal image may count.
    """
    folder = files("cycada.report")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((folder / "view.html.j2").read_text(encoding="utf-8"))
    styles = [(folder / name).read_text(encoding="utf-8") for name in ("page.css", "view.css")]
    return template.render(
        title=title,
        samples=samples,
        style="".join(styles).replace("/*light*/", LIGHT).replace("/*dark*/", DARK) + PLOT_STYLE,
        settings=json.dumps({"palettes": _palettes(), "largest": largest_upload}),
        units=[(unit, _UNITS.get(unit, unit)) for unit in units],
    )


def _palettes() -> dict[str, list[list[float]]]:
    """Return red, green and blue at even places of each palette, 0 to 1, from cold to warm."""
    tables = {"inferno": filter_tables(), "ironbow": filter_tables("ironbow")}
    found = {name: [[float(v) for v in each.split()] for each in channels]
             for name, channels in tables.items()}  # fmt: skip
    return {**found, "grey": [[0.0, 1.0]] * 3}


_UNITS = {
    "grey": "no temperatures (grey)",
    "centikelvin": "centikelvin (1/100 K)",
    "decikelvin": "decikelvin (1/10 K)",
    "kelvin64": "1/64 K",
    "kelvin16": "1/16 K",
    "kelvin": "K",
    "celsius": "°C",
}


def script() -> str:
    """Return the script of the page."""
    return (files("cycada.report") / "view.js").read_text(encoding="utf-8")
