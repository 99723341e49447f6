"""The page: whole in itself, readable without script, and safe with any text."""

from __future__ import annotations

import base64
import io
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from cycada.errors import CycadaError
from cycada.report import images, plots
from cycada.report.page import (
    Beside,
    Cell,
    Code,
    Facts,
    Figure,
    Page,
    Picture,
    Plot,
    Plots,
    Scale,
    Section,
    Strip,
    StripRow,
    Table,
    Text,
    Tile,
    render_page,
    write_page,
)

VOID = {"meta", "img", "input", "br", "link"}


class Reader(HTMLParser):
    """Checks that tags nest and collects addresses and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href"):
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def whole_page() -> Page:
    rgb = images.rgb_uri(torch.rand(3, 12, 12) * 2 - 1)
    warm = images.thermal_uri(torch.rand(1, 12, 12) * 2 - 1)
    strip = Strip(
        rows=(
            StripRow(label="RGB", tiles=(Tile(uri=rgb, alt="face 1"), Tile(uri=rgb, alt="face 2"))),
            StripRow(label="Thermal", tiles=(Tile(uri=warm, alt="warm face", thermal=True),)),
        ),
        columns=("S1", "S2"),
        scale=Scale(low="20 °C", high="40 °C"),
        caption="Two faces.",
    )
    table = Table(
        header=("AU", "F1"),
        rows=((Cell(text="AU01", note="inner brow raiser"), Cell(text="0.5", shade=0.5)),),
        caption="Scores",
    )
    method = plots.Estimates(name="both", values=[0.5], low=[0.4], high=[0.6])
    plot = Plot(svg=plots.methods_plot([method], title="F1", zone=(0.2, 0.9)))
    curve = plots.Curve(name="loss", x=[1, 2, 3], y=[3, math.nan, 1])
    blocks = (
        strip,
        Beside(left=table, right=plot),
        Plots(svgs=(plots.curves_plot([curve], title="loss"),)),
        Picture(uri=rgb, alt="grid"),
        Facts(pairs=(("Seed", "0"),)),
        Text(text="A <script>alert(1)</script> & more", warns=True),
        Code(title="config.json", text='{"a": "</pre>"}'),
    )
    return Page(
        title="A & B <i>",
        subtitle="sub",
        figures=(Figure(value="0.5", label="F1", note="n", accent=True),),
        hero=strip,
        sections=tuple(Section(title="Same title", blocks=blocks, intro="why") for _ in range(3)),
        provenance=(("torch", "2"),),
    )


def read(page: Page) -> Reader:
    reader = Reader()
    reader.feed(render_page(page))
    assert not reader.open
    return reader


def test_the_page_needs_no_other_file_no_network_and_no_script():
    reader = read(whole_page())
    assert all(address.startswith(("data:image/", "#")) for address in reader.addresses)
    text = render_page(whole_page())
    assert "<script" not in text
    without_namespace = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|@import|url\((?!#inferno)", without_namespace)


def test_every_link_of_the_page_has_its_target_and_ids_are_unique():
    reader = read(whole_page())
    links = [address[1:] for address in reader.addresses if address.startswith("#")]
    assert len(links) == 3
    assert set(links) <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))


def test_text_cannot_become_markup():
    text = render_page(whole_page())
    assert "&lt;script&gt;alert(1)" in text
    assert "<i>" not in text
    assert "A & B <i>" in read(whole_page()).words


def test_an_empty_page_is_a_page():
    assert "<h1>Nothing yet</h1>" in render_page(Page(title="Nothing yet"))


def test_the_page_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "new" / "report.html"
    page = whole_page()
    write_page(target, page)
    assert target.read_text(encoding="utf-8") == render_page(page)
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(CycadaError, match="cannot be written"):
        write_page(tmp_path / "file" / "report.html", whole_page())


def test_a_thermal_picture_keeps_its_values_in_grey():
    values = torch.linspace(-1, 1, 256).reshape(1, 16, 16)
    uri = images.thermal_uri(values)
    data = base64.b64decode(uri.split(",")[1])
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    assert pixels.ravel().tolist() == list(range(256))


def test_an_rgb_picture_keeps_its_colours_within_the_compression():
    values = torch.stack([torch.full((32, 32), level) for level in (-0.5, 0.0, 0.8)])
    data = base64.b64decode(images.rgb_uri(values).split(",")[1])
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)
    assert pixels.mean((0, 1)) == pytest.approx([63.75, 127.5, 229.5], abs=4)


def test_the_palette_runs_from_nearly_black_to_nearly_white_and_grows_brighter():
    ramp = images.coloured(torch.linspace(-1, 1, 64).reshape(1, 1, 64))[0].astype(float)
    luminance = ramp @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()
    assert ramp[0].max() < 8
    assert ramp[-1].min() > 160


def test_the_palette_is_inferno():
    expected = [
        [0, 0, 4],
        [87, 16, 110],
        [188, 55, 84],
        [249, 142, 9],
        [252, 255, 164],
    ]  # at 0, 1/4, 1/2, 3/4 and 1, as matplotlib has it
    found = images.coloured(torch.linspace(-1, 1, 5).reshape(1, 1, 5))[0]
    assert np.abs(found - np.array(expected, dtype=float)).max() < 5


def test_plots_are_well_formed_and_stand_alone_as_files():
    method = plots.Estimates(name="a < b", values=[0.5, math.nan], low=[0.4], high=[0.6])
    for svg in (
        plots.units_plot([method, method], ["AU01 brow & lid", "AU02 x"], title='"F1"'),
        plots.methods_plot([method], title="x"),
        plots.curves_plot([], title="none"),
        plots.curves_plot([plots.Curve(name="c", x=[5], y=[2.0])], title="one point"),
        plots.ranges_plot([("real", [1, 2, 3, 4, 5, 6, 7], "1")], title="t", unit="°C"),
    ):
        ET.fromstring(svg)
        assert "prefers-color-scheme" in plots.standalone(svg)
        ET.fromstring(plots.standalone(svg).split("\n", 1)[1])


def test_an_undefined_score_draws_no_dot():
    method = plots.Estimates(name="m", values=[0.5, math.nan])
    svg = plots.units_plot([method], ["AU01", "AU02"], title="F1")
    assert svg.count("<circle") == 1


def test_a_dot_stands_where_its_value_is():
    method = plots.Estimates(name="m", values=[0.25], tone="1")
    svg = plots.units_plot([method], ["AU01"], title="F1")
    ticks = re.findall(r'x="([\d.]+)" y="[\d.]+" text-anchor="middle">0.25<', svg)
    dot = re.search(r'<circle class="dot tone-1" cx="([\d.]+)"', svg)
    assert dot is not None
    assert dot[1] == ticks[0]


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.031, 0.0312), (-5, 12345), (3, 3), (0, 0), (1e-9, 2e-9)]
)
def test_ticks_are_round_and_enclose_the_values(low, high):
    ticks = plots.nice_ticks(low, high, 4)
    assert ticks[0] <= low + 1e-12
    assert ticks[-1] >= high - 1e-12
    assert 2 <= len(ticks) <= 8


def test_smoothing_keeps_a_straight_line_and_the_ends():
    line = [2.0 * step for step in range(200)]
    assert plots.smoothed(line) == pytest.approx(line)


def test_thinning_keeps_the_mean_of_the_curve():
    x, y = list(range(1000)), [float(step % 10) for step in range(1000)]
    across, up = plots.thinned(x, y, most=100)
    assert len(across) == 100
    assert sum(up) / len(up) == pytest.approx(4.5)
