"""The pages of this folder as a site: ``sphinx-build -W -n docs site``.

What Markdown on GitHub and a site need differently is settled here, so that the pages are written
for both: links out of this folder, and the README as the home page. The build fails where a page
would load anything from elsewhere.
"""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

import cycada

DOCS = Path(__file__).resolve().parent
HOMES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}
"""Files above this folder that are pages of the site, and the pages that include them."""

project = "cycada"
author = "The cycada authors"
version = release = cycada.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]

myst_heading_anchors = 4  # as on GitHub

autodoc_class_signature = "separated"  # networks are loaded, not constructed
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False
# Inventories of other projects would have to be downloaded; our own names have to be there.
nitpick_ignore_regex = [("py:.*", r"(?!cycada).*")]

html_theme = "furo"
html_title = f"cycada {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
copybutton_prompt_text = ">>> "
copybutton_only_copy_prompt_lines = False

LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^)#\s]+)")
LOADED = re.compile(r"^(?:[a-z]+:)?//", flags=re.IGNORECASE)
IN_STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?((?:[a-z]+:)?//[^\"')\s]+)", flags=re.IGNORECASE)


def setup(app: Sphinx) -> None:
    """Connect what pages and the finished site go through."""
    app.add_lexer("csv", TextLexer)  # Pygments has none; GitHub has
    app.connect("autodoc-process-docstring", _drop_field_numbers)
    app.connect("source-read", _settle_page)
    app.connect("include-read", _settle_included)
    app.connect("build-finished", _check_loads)


def _drop_field_numbers(
    _app: Sphinx, _what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Drop what Python says of the fields of named tuples, which is their number."""
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()


def _settle_page(_app: Sphinx, page: str, content: list[str]) -> None:
    folder = (DOCS / page).parent
    content[0] = _settled(content[0], folder, folder)


def _settle_included(_app: Sphinx, file: Path, page: str, content: list[str]) -> None:
    content[0] = _settled(content[0], (DOCS / file).resolve().parent, (DOCS / page).parent)


def _settled(text: str, written: Path, shown: Path) -> str:
    """Return the text with its links, seen from the folder ``written``, as seen from ``shown``."""

    def settled(found: re.Match[str]) -> str:
        target = (written / found[1]).resolve()
        if (target / "README.md").is_file():
            target /= "README.md"
        if target.parent == DOCS.parent and target.name in HOMES:
            target = DOCS / HOMES[target.name]
        return Path(os.path.relpath(target, shown)).as_posix() if target.exists() else found[1]

    return LINK.sub(settled, text)


class _Loads(HTMLParser):
    """Addresses that a page loads when it is opened; not those that it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what this element loads."""
        loads = {"src", "srcset", "data", "poster"} | ({"href"} if tag == "link" else set())
        self.found += [value or "" for name, value in attrs if name in loads]


def _check_loads(app: Sphinx, exception: Exception | None) -> None:
    """Refuse a site that needs a network to be looked at."""
    if exception is not None or app.builder.format != "html":
        return
    faults: list[Any] = []
    for file in sorted(Path(app.outdir).rglob("*")):
        if file.suffix == ".html":
            page = _Loads()
            page.feed(text := file.read_text(encoding="utf-8"))
            loaded = [each for each in page.found if LOADED.match(each)] + IN_STYLE.findall(text)
        elif file.suffix == ".css":
            loaded = IN_STYLE.findall(file.read_text(encoding="utf-8"))
        else:
            continue
        faults += [f"{file.relative_to(app.outdir)}: {each}" for each in loaded]
    if faults:
        raise ExtensionError("Pages load from elsewhere:\n" + "\n".join(faults))
