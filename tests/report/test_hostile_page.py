"""A page of hostile names: nothing runs, nothing is fetched, nobody is named unasked."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
import shutil
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import torch
from PIL import Image

from cycada.data.index import read_index, write_index
from cycada.progress import Progress
from cycada.report.gallery import GallerySet
from cycada.report.images import file_uri
from cycada.report.page import (
    Cell,
    Code,
    Facts,
    Figure,
    Gallery,
    Legend,
    Page,
    Picture,
    Plot,
    Scrubber,
    Section,
    Strip,
    StripRow,
    Table,
    Text,
    Tile,
    files_folder,
    write_page,
)
from cycada.report.plots import Curve, Estimates, curves_plot, ranges_plot, standalone, units_plot
from cycada.stages.audit import audit, write_audit
from cycada.stages.report import report

HOSTILE = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(2)></svg></style>"
    '<a href="javascript:alert(3)">&amp;'
)

_MAY_HOLD_ADDRESS = {"src": "data:image/", "href": "#"}


class _Seen(HTMLParser):
    """What a browser would run or fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = ""
        self.texts: list[str] = []
        self.values: list[str] = []
        self.faults: list[str] = []
        self.scripts: list[str] = []
        self.in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.in_script = tag == "script"
        if self.in_script and attrs:
            self.faults.append(f"script {attrs}")
        if tag in ("iframe", "object", "embed", "link", "base", "form", "video", "audio"):
            self.faults.append(tag)
        given = dict(attrs)
        if tag == "meta" and given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""
        for name, value in attrs:
            self.values.append(value or "")
            if name.startswith("on") or name in ("srcset", "data", "action", "formaction"):
                self.faults.append(f"{tag} {name}={value}")
            if name in ("src", "href", "xlink:href") and not (value or "").startswith(
                _MAY_HOLD_ADDRESS.get(name, "#")
            ):
                self.faults.append(f"{tag} {name}={value}")
            if name == "style" and "url" in (value or ""):
                self.faults.append(f"{tag} {name}={value}")

    def handle_endtag(self, tag: str) -> None:
        self.in_script = self.in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        (self.scripts if self.in_script else self.texts).append(data)


def _digest(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _parsed(file: Path) -> _Seen:
    seen = _Seen()
    text = file.read_text(encoding="utf-8")
    seen.feed(text)
    assert seen.faults == []
    allowed = re.findall(r"'(sha256-[^']+)'", seen.policy)
    assert [_digest("".join(seen.scripts))] * bool(seen.scripts) == allowed
    assert text.count("<script") == len(allowed)
    style = text[text.index("<style>") : text.index("</style>")]
    assert re.findall(r"url\((?!#)|@import", style) == []
    return seen


def hostile_page() -> Page:
    """Return a page whose every text is hostile."""
    uri = "data:image/png;base64,"
    tile = Tile(uri=uri, alt=HOSTILE, thermal=True)
    strip = Strip(rows=(StripRow(label=HOSTILE, note=HOSTILE, tiles=(tile,)),),
                  columns=(HOSTILE,), caption=HOSTILE)  # fmt: skip
    curve = Curve(name=HOSTILE, x=[0, 1], y=[0.0, 1.0], tone="1")
    rows = [Estimates(name=HOSTILE, values=[0.5], low=[0.4], high=[0.6], tone="1")]
    blocks = (
        strip,
        Table(header=(HOSTILE, HOSTILE), rows=((Cell(text=HOSTILE, note=HOSTILE),) * 2,),
              caption=HOSTILE),
        Plot(svg=curves_plot([curve], title=HOSTILE), caption=HOSTILE),
        Plot(svg=units_plot(rows, [HOSTILE], title=HOSTILE)),
        Legend(items=((HOSTILE, "1"),)),
        Picture(uri=uri, alt=HOSTILE, caption=HOSTILE),
        Facts(pairs=((HOSTILE, HOSTILE),)),
        Text(text=HOSTILE, warns=True),
        Code(title=HOSTILE, text=HOSTILE),
    )  # fmt: skip
    return Page(
        title=HOSTILE, subtitle=HOSTILE,
        figures=(Figure(value=HOSTILE, label=HOSTILE, note=HOSTILE),),
        hero=strip, sections=(Section(title=HOSTILE, intro=HOSTILE, blocks=blocks),) * 3,
        provenance=((HOSTILE, HOSTILE),),
    )  # fmt: skip


def test_every_text_of_a_page_is_shown_as_it_is_and_none_runs(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", hostile_page())
    seen = _parsed(tmp_path / "page.html")
    assert sum(HOSTILE in text for text in seen.texts) > 30
    assert sum(HOSTILE in value for value in seen.values) > 5


def test_a_page_forbids_scripts_and_every_request(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", hostile_page())
    rules = dict(
        rule.strip().split(" ", 1) for rule in _parsed(tmp_path / "page.html").policy.split(";")
    )
    assert rules == {
        "default-src": "'none'", "img-src": "data:", "style-src": "'unsafe-inline'",
        "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.index("Content-Security-Policy") < text.index("<title>")  # before any name


def test_a_page_with_a_gallery_runs_its_own_script_and_loads_from_beside_it_alone(
    tmp_path: Path,
) -> None:
    name = "<script>alert(1)</script>\"'>".replace("/", "")
    file = tmp_path / f"{name}.html"
    shown = GallerySet(
        identity="faces", title=HOSTILE, intro=HOSTILE, count=3, stamp="0",
        folder=files_folder(file) / "faces", thermal=True,
    )  # fmt: skip
    page = hostile_page()
    blocks = (Gallery(shown=shown), Scrubber(frames=((HOSTILE, "data:image/png;base64,"),) * 2,
              caption=HOSTILE))  # fmt: skip
    sections = (*page.sections, Section(title="Faces", blocks=blocks))
    write_page(file, dataclasses.replace(page, sections=sections))
    seen = _parsed(file)
    rules = dict(rule.strip().split(" ", 1) for rule in seen.policy.split(";"))
    assert rules == {
        "default-src": "'none'", "img-src": "data: blob: 'self' file:",
        "style-src": "'unsafe-inline'", "base-uri": "'none'", "form-action": "'none'",
        "script-src": f"'{_digest(''.join(seen.scripts))}' 'self' file:",
    }  # fmt: skip
    text = file.read_text(encoding="utf-8")
    assert text.index("Content-Security-Policy") < text.index("<title>")
    assert HOSTILE not in "".join(seen.scripts)
    assert f"{quote(name)}_files/faces" in seen.values


def test_the_script_of_a_page_makes_no_markup_of_texts_and_asks_nobody() -> None:
    for part in (files("cycada.report") / "browser").iterdir():
        text = part.read_text(encoding="utf-8")
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(",
                    "Function(", "fetch(", "XMLHttpRequest", "WebSocket", "sendBeacon", "http:",
                    "https:", "srcdoc", "javascript:"):  # fmt: skip
            assert way not in text, f"{part.name}: {way}"


def test_a_drawing_of_its_own_is_one_whatever_it_is_called() -> None:
    from xml.etree import ElementTree as ET

    drawing = standalone(
        ranges_plot([(HOSTILE, (0, 1, 2, 3, 4, 5, 6),
                      "1")], title=HOSTILE, unit=HOSTILE)
    )  # fmt: skip
    tags = {element.tag.rpartition("}")[2] for element in ET.fromstring(drawing).iter()}
    assert not tags & {"script", "img", "a", "foreignObject", "image"}


def test_pages_of_hostile_subjects_and_files_show_them_as_text(
    own_faces: Path, tmp_path: Path
) -> None:
    index = read_index(own_faces)
    odd = "<script>alert(1)</script>\"'>.png"
    (own_faces / odd.rpartition("/")[0]).mkdir(parents=True)
    faces = []
    for number, face in enumerate(index.faces):
        path = face.path
        if number == 0:
            shutil.copy(own_faces / face.path, own_faces / odd)
            (own_faces / face.path).unlink()
            (own_faces / odd).write_bytes(b"broken")
            path = odd
        faces.append(dataclasses.replace(face, path=path, subject=HOSTILE + face.subject))
    write_index(dataclasses.replace(index, faces=tuple(faces)))
    found = audit([own_faces], progress=Progress(shown=False))
    seen = _parsed(write_audit(found, tmp_path / "audit"))
    assert any("<script>alert(1)" in text for text in seen.texts)
    whole = dataclasses.replace(index, faces=tuple(faces[1:]))
    write_index(whole)
    named = _parsed(report([own_faces], tmp_path / "a.html", include_subjects=True))
    assert any(HOSTILE in value for value in named.values)


def test_a_report_names_no_subject_and_no_folder_unless_asked(
    own_faces: Path, translator_run: Path, detector_run: Path, tmp_path: Path
) -> None:
    index = read_index(own_faces)
    faces = tuple(dataclasses.replace(f, subject=f"Jane Doe {f.subject}") for f in index.faces)
    write_index(dataclasses.replace(index, faces=faces))
    paths = [own_faces, translator_run, detector_run]
    plain = report(paths, tmp_path / "plain.html").read_text(encoding="utf-8")
    asked = report(paths, tmp_path / "asked.html", include_subjects=True).read_text("utf-8")
    for text in ("Jane Doe", str(tmp_path.parent)):
        assert text not in plain
        assert text in asked
    for name in ("rgb0", "rgb4", "thermal0", "thermal4"):
        assert name not in plain


def test_a_report_without_samples_holds_no_picture(
    own_faces: Path, translator_run: Path, detector_run: Path, tmp_path: Path
) -> None:
    paths = [own_faces, translator_run, detector_run]
    assert "data:image" in report(paths, tmp_path / "a.html").read_text(encoding="utf-8")
    bare = report(paths, tmp_path / "b.html", samples=False).read_text(encoding="utf-8")
    assert "data:image" not in bare
    assert "<img" not in bare
    assert "20 faces" in bare or "40 faces" in bare  # what was counted of them stays


def test_a_file_name_that_is_no_text_is_told_all_the_same(tmp_path: Path) -> None:
    name = "face \udcff.png"
    write_page(tmp_path / "page.html", Page(title=name))
    assert "face \\udcff.png" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_picture_in_a_page_carries_no_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "Jane Doe"
    exif.get_ifd(0x8825)[1] = "N"
    file = tmp_path / "samples.png"
    Image.fromarray(torch.zeros(8, 8, 3, dtype=torch.uint8).numpy()).save(
        file, exif=exif, icc_profile=b"Jane Doe's"
    )
    assert b"Jane Doe" in file.read_bytes()
    assert b"Jane Doe" not in base64.b64decode(file_uri(file).partition(",")[2])
