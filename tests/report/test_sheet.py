from __future__ import annotations

import base64
import io
import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pypdf
import pytest
import torch
from PIL import Image
from torch import Tensor

from cycada.errors import UsageError
from cycada.report.palette import PALETTES, curve, painted
from cycada.report.sheet import (
    FORMS,
    Form,
    Row,
    Sheet,
    Style,
    _matplotlib,
    sheet_figure,
    write_sheet,
)
from cycada.report.sheet_layout import TALLEST
from cycada.thermal import Window

SHORT = ("RGB", "As thermal", "True thermal", "Back in RGB")
LONG = (
    "RGB photographs of the subjects",
    "Ours_with_semantic_consistency_and_a_long_name",
    "Pneumonoultramicroscopicsilicovolcanoconiosis",
    "Back in RGB after all that has been done to it, and more than one would think",
)
SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"


def pictures(count: int, channels: int, size: tuple[int, int] = (8, 8)) -> list[Tensor]:
    draw = torch.Generator().manual_seed(channels)
    return [torch.rand(channels, *size, generator=draw) * 2 - 1 for _ in range(count)]


def a_sheet(count: int = 4, labels: tuple[str, ...] = SHORT, **changes: Any) -> Sheet:
    channels = (3, 1, 1, 3)
    rows = [
        Row(label=label, pictures=pictures(count, c))
        for label, c in zip(labels, channels, strict=True)
    ]
    return Sheet(**{"rows": rows, "window": Window(28, 37), **changes})


def boxes(sheet: Sheet, style: Style, form: Form) -> tuple[list[tuple[str, Any]], Any]:
    """Return what is drawn, with its extent, and the extent of the sheet."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with _matplotlib():
        figure = sheet_figure(sheet, style, form=form)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        drawn = [(text.get_text(), text.get_window_extent(renderer)) for text in figure.texts]
        drawn += [("picture", axes.get_window_extent(renderer)) for axes in figure.axes]
    return drawn, figure.bbox


@pytest.mark.parametrize(
    ("width", "form"), [(85, "png"), (85, "pdf"), (178, "png")], ids=["85", "85-pdf", "178"]
)
@pytest.mark.parametrize("labels", [SHORT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("count", [2, 16])
def test_nothing_overlaps_and_all_is_on_the_sheet(
    count: int, labels: tuple[str, ...], width: float, form: Form
) -> None:
    names = [f"subject {n} of the clinic" if labels is LONG else str(n) for n in range(count)]
    drawn, whole = boxes(a_sheet(count, labels, names=names), Style(width=width, dpi=150), form)
    assert len([name for name, _ in drawn if name == "picture"]) >= 4 * count + 1
    for name, box in drawn:
        assert box.x0 >= whole.x0 - 0.5, name
        assert box.x1 <= whole.x1 + 0.5, name
        assert box.y0 >= whole.y0 - 0.5, name
        assert box.y1 <= whole.y1 + 0.5, name
    for (one, a), (two, b) in itertools.combinations(drawn, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        down = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= 0.5 or down <= 0.5, f"{one} and {two} overlap by {across} x {down} px"


def test_a_sheet_is_as_wide_as_asked_and_fits_a_page(tmp_path: Path) -> None:
    for count in (2, 8, 16):
        file = tmp_path / f"{count}.pdf"
        write_sheet(file, a_sheet(count), Style(width=178))
        box = pypdf.PdfReader(file).pages[0].mediabox
        assert float(box.width) / 72 * 25.4 == pytest.approx(178, abs=0.01)
        assert float(box.height) / 72 * 25.4 <= TALLEST + 5
    file = tmp_path / "a.png"
    write_sheet(file, a_sheet(), Style(width=85, dpi=200))
    with Image.open(file) as image:
        assert image.width == round(85 / 25.4 * 200)
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
        assert set(image.info) == {"dpi"}


def test_a_face_in_a_png_at_its_own_size_has_the_colours_of_its_palette(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    sheet = a_sheet(1)
    style = Style(width=85, dpi=100, palette="ironbow")
    with _matplotlib():
        axes = sheet_figure(sheet, style, form="png").axes[1]  # the thermal one
        left, bottom, width, height = (
            axes.bbox.x0,
            axes.bbox.y0,
            axes.bbox.width,
            axes.bbox.height,
        )
    side = round(width)
    assert (left, bottom, width, height) == pytest.approx(
        (round(left), round(bottom), side, side), abs=1e-6
    )
    row = Row(label="As thermal", pictures=pictures(1, 1, (side, side)))
    sheet = a_sheet(1, rows=[sheet.rows[0], row, *sheet.rows[2:]])
    write_sheet(file, sheet, style)
    pixels = np.asarray(Image.open(file))
    top = len(pixels) - round(bottom) - side
    shown = pixels[top : top + side, round(left) : round(left) + side]
    assert np.array_equal(shown, painted(row.pictures[0], "ironbow"))


@pytest.mark.parametrize("palette", PALETTES)
def test_a_palette_shows_each_value_by_the_nearest_colour_of_its_curve(palette: Any) -> None:
    values = torch.linspace(-1, 1, 101)
    stops = curve(palette)
    place = (values.numpy() + 1) / 2 * (len(stops) - 1)
    for number, shown in enumerate(painted(values[None, None], palette)[0]):
        low = int(place[number])
        share = place[number] - low
        exact = (1 - share) * stops[low] + share * stops[min(low + 1, len(stops) - 1)]
        assert np.abs(shown - exact).max() < 1.0
    beyond = painted(torch.tensor([[[-3.0, 3.0]]]), palette)[0]
    assert np.array_equal(beyond, painted(torch.tensor([[[-1.0, 1.0]]]), palette)[0])


def test_a_pdf_holds_text_in_an_embedded_font_and_pictures_pixel_by_pixel(tmp_path: Path) -> None:
    file = tmp_path / "a.pdf"
    sheet = a_sheet(2)
    write_sheet(file, sheet, Style())
    page = pypdf.PdfReader(file).pages[0]
    text = page.extract_text()
    for word in ("RGB", "As thermal", "28", "31", "34", "37 °C"):
        assert word in text
    fonts = page["/Resources"]["/Font"]
    for font in fonts.values():
        inner = font["/DescendantFonts"][0] if "/DescendantFonts" in font else font
        assert "/FontFile2" in inner["/FontDescriptor"]
    held = [np.asarray(each.image.convert("RGB")) for each in page.images]
    for row in sheet.rows:
        for picture in row.pictures:
            pixels = painted(picture, "inferno")[::-1]  # matplotlib writes them from below
            assert any(np.array_equal(pixels, each) for each in held)


def test_an_svg_holds_text_as_it_is_and_pictures_pixel_by_pixel(tmp_path: Path) -> None:
    file = tmp_path / "a.svg"
    label = "<script>alert(1)</script> & $x_1$"
    sheet = a_sheet(1, ("RGB", label, "True", "Back"))
    write_sheet(file, sheet, Style())
    root = ET.parse(file).getroot()
    assert root.find(f".//{SVG}script") is None
    texts = "".join("".join(each.itertext()) for each in root.iter(f"{SVG}text"))
    assert "37 °C" in texts
    assert "alert(1)" in texts
    assert "$x_1$" in texts
    images = [each.get(f"{XLINK}href", "") for each in root.iter(f"{SVG}image")]
    held = []
    for image in images:
        data = base64.b64decode(re.sub(r"\s", "", image.removeprefix("data:image/png;base64,")))
        with Image.open(io.BytesIO(data)) as opened:
            held.append(np.asarray(opened.convert("RGB")))
    for row in sheet.rows:
        assert any(np.array_equal(each, painted(row.pictures[0], "inferno")) for each in held)


def test_a_sheet_is_the_same_bytes_in_every_process_and_holds_no_date(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from test_sheet import a_sheet, Style, write_sheet\n"
        "for file in sys.argv[2:]: write_sheet(Path(file), a_sheet(2), Style(dpi=60))"
    )
    files = [tmp_path / f"one{suffix}" for suffix in FORMS]
    others = [tmp_path / f"two{suffix}" for suffix in FORMS]
    for file in files:
        write_sheet(file, a_sheet(2), Style(dpi=60))
    here = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", program, here, *map(str, others)], check=True)
    for one, two in zip(files, others, strict=True):
        content = one.read_bytes()
        assert content == two.read_bytes()
        for word in (b"CreationDate", b"dc:date", b"Matplotlib", b"matplotlib.org", b"Software"):
            assert word not in content


def test_grey_images_have_a_bar_without_degrees_and_rgb_ones_none() -> None:
    grey, _ = boxes(a_sheet(1, window=None), Style(dpi=60), "png")
    assert {"cold", "warm"} <= {name for name, _ in grey}
    assert not any("°C" in name for name, _ in grey)
    rows = [Row(label="RGB", pictures=pictures(2, 3))]
    colour, _ = boxes(Sheet(rows=rows), Style(dpi=60), "png")
    assert len([name for name, _ in colour if name == "picture"]) == 2


def test_a_wide_picture_keeps_its_shape_beside_square_ones() -> None:
    rows = [
        Row(label="square", pictures=pictures(1, 3, (8, 8))),
        Row(label="wide", pictures=pictures(1, 3, (8, 16))),
    ]
    drawn, _ = boxes(Sheet(rows=rows), Style(width=85, dpi=200), "png")
    square, wide = (box for name, box in drawn if name == "picture")
    assert square.width == pytest.approx(square.height, abs=1.1)
    assert wide.width == pytest.approx(2 * wide.height, abs=1.1)


def test_a_label_that_cannot_be_drawn_is_refused_by_its_sign(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'顔', which the font DejaVu Sans lacks"):
        write_sheet(tmp_path / "a.pdf", a_sheet(1, ("顔", *SHORT[1:])), Style())
    assert not list(tmp_path.iterdir())


def test_a_png_beyond_all_measure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gives more than 100 million pixels"):
        write_sheet(tmp_path / "a.png", a_sheet(2), Style(width=500, dpi=1200))
    assert not list(tmp_path.iterdir())
