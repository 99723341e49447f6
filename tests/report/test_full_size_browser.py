"""Full size in a real browser: what the file holds is what the reader sees and reads."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from click.testing import CliRunner
from PIL import Image
from playwright.sync_api import Locator, expect
from playwright.sync_api import Page as Tab

from cycada import image_writing
from cycada.cli import main
from cycada.data.index import Face, Index, IndexInfo, write_index
from cycada.stages.report import report
from cycada.thermal import Window

if TYPE_CHECKING:
    from tests.report.conftest import Watched

WINDOW = Window(28, 37)
WARM, BRIGHT = (40, 64), (60, 96)  # height and width of the files
PIXELS = 40 * 64 + 60 * 96
FRAMES = 4  # of Jane Doe; the flattest are the worst
SIDE = 40  # px of the square: the shorter side of the thermal files


def celsius(number: int) -> np.ndarray:
    """Return temperatures that differ from pixel to pixel; a corner is far beyond the window."""
    generator = np.random.default_rng(number)
    found = 32 + (number + 1) * generator.uniform(-1, 1, WARM).round(2)
    found[:5, -6:] = 61.37
    return found


def colours(number: int) -> np.ndarray:
    return np.random.default_rng(100 + number).integers(0, 256, (*BRIGHT, 3), dtype=np.uint8)


def save_warm(path: Path, temperatures: np.ndarray) -> None:
    counts = ((temperatures + 273.15) * 100).round().astype(np.uint16)
    image_writing.write_image(path, torch.from_numpy(counts))


def recorded(root: Path) -> Path:
    """Write thermal frames with the same in RGB, and a face that is a square of the size shown."""
    faces = []
    for number in range(FRAMES):
        save_warm(root / f"Jane Doe/{number}.png", celsius(number))
        Image.fromarray(colours(number)).save(root / f"Jane Doe/{number}_rgb.png")
        faces.append(Face(
            path=f"Jane Doe/{number}.png", domain="thermal", subject="Jane Doe", split="test",
            pair=f"Jane Doe/{number}_rgb.png",
        ))  # fmt: skip
    save_warm(root / "Jane Doe/square.png", celsius(9)[:, 10:50])  # the most contrast: the last
    faces.append(
        Face(path="Jane Doe/square.png", domain="thermal", subject="Jane Doe", split="test")
    )
    info = IndexInfo(kind="occurrence", unit="centikelvin", window=WINDOW, source="", licence="")
    write_index(Index(root, info, tuple(faces)))
    return root


def translated(root: Path) -> Path:
    """Write a translation of a whole frame, with its origin and the true image of the same."""
    save_warm(root / "made.png", celsius(0) + 0.5)
    save_warm(root / "truth.png", celsius(0))
    Image.fromarray(colours(0)[:40, :64]).save(root / "origin.png")
    info = IndexInfo(
        kind="occurrence", unit="centikelvin", window=WINDOW, source="", licence="",
        translator="a run",
    )  # fmt: skip
    face = Face(
        path="made.png", domain="thermal", subject="Jane Doe", split="test", pair="truth.png",
        origin="origin.png",
    )  # fmt: skip
    write_index(Index(root, info, (face,)))
    return root


def large(root: Path) -> Path:
    """Write a photograph whose colours tell column and row."""
    rows, columns = np.mgrid[:1000, :1500]
    pixels = np.stack([columns % 256, columns // 256, rows % 256], axis=-1).astype(np.uint8)
    root.mkdir()
    Image.fromarray(pixels).save(root / "a.png")
    face = Face(path="a.png", domain="rgb", subject="Jane Doe", split="test")
    info = IndexInfo(kind="occurrence", unit="grey", window=WINDOW, source="", licence="")
    write_index(Index(root, info, (face,)))
    return root


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page whose pixels in full size are enough for three frames of four."""
    place = tmp_path_factory.mktemp("full-size")
    few = report([recorded(place / "recorded"), translated(place / "translated")],
                 place / "page", full_pixels=4 * PIXELS - 1)  # fmt: skip
    report([large(place / "large")], place / "page" / "large.html")
    return few


@pytest.fixture
def watched(watching: Callable[[], Watched], page: Path) -> Iterator[Watched]:
    found = watching()
    yield found
    for context in found.contexts:
        context.close()
    found.check(page.parent.as_uri())


@pytest.fixture
def tab(watched: Watched, page: Path) -> Tab:
    return watched.open(page, viewport={"width": 1280, "height": 900})


def opened(tab: Tab, kind: str = "recorded", place: int = 0) -> Locator:
    gallery = tab.locator(f".gallery[data-set^={kind}-]")
    gallery.locator(".tile").nth(place).click()
    dialog = gallery.locator("dialog.detail")
    dialog.locator(".panel").first.wait_for()
    return dialog


def in_full(dialog: Locator) -> Locator:
    dialog.get_by_role("button", name="Full size").click()
    dialog.locator(".panel small", has_text="×").first.wait_for()
    return dialog


def panel(dialog: Locator, view: str) -> Locator:
    return dialog.locator(f".panel[data-view='{view}']")


def point_at(tab: Tab, target: Locator, size: tuple[int, int], row: int, column: int) -> None:
    """Move the mouse to the middle of a pixel of a picture that is shown whole."""
    box = target.locator(".panel-frame").bounding_box()
    assert box is not None
    height, width = size
    tab.mouse.move(
        box["x"] + (column + 0.5) / width * box["width"],
        box["y"] + (row + 0.5) / height * box["height"],
    )


def reading(target: Locator) -> str:
    return target.locator(".reading").inner_text()


def frame_of(dialog: Locator) -> int:
    """Return which frame is shown: those of a page are numbered from 1."""
    return int(dialog.locator("h2").inner_text().removeprefix("face ")) - 1


def test_every_pixel_of_a_file_is_read_in_full_size(tab: Tab) -> None:
    dialog = opened(tab)
    assert panel(dialog, "image").locator("canvas").first.get_attribute("width") == str(SIDE)
    in_full(dialog)
    number = frame_of(dialog)
    captions = dialog.locator(".panel small").all_inner_texts()
    assert [text.strip() for text in captions] == ["64 × 40", "96 × 60"]
    warm, bright = panel(dialog, "image"), panel(dialog, "pair")
    for row, column in ((0, 0), (39, 0), (17, 31), (39, 63)):
        point_at(tab, warm, WARM, row, column)
        known = celsius(number)[row, column]
        assert float(reading(warm).removesuffix(" °C")) == pytest.approx(known, abs=0.0101)
    for row, column in ((0, 0), (59, 95), (23, 71)):
        point_at(tab, bright, BRIGHT, row, column)
        assert reading(bright) == " ".join(map(str, colours(number)[row, column]))


def test_temperatures_beyond_the_window_are_told(tab: Tab) -> None:
    dialog = opened(tab)
    warm = panel(in_full(dialog), "image")
    point_at(tab, warm, WARM, 2, 61)
    assert reading(warm) == "61.37 °C"
    dialog.get_by_role("button", name="Grey").click()
    canvas = warm.locator("canvas").first
    painted = canvas.evaluate("c => [...c.getContext('2d').getImageData(61, 2, 1, 1).data]")
    assert painted == [255, 255, 255, 255]  # the window's last colour
    shade = canvas.evaluate("c => c.getContext('2d').getImageData(30, 17, 1, 1).data[0]")
    share = (celsius(frame_of(dialog))[17, 30] - WINDOW.low) / (WINDOW.high - WINDOW.low)
    assert shade == pytest.approx(255 * share, abs=1)


def test_files_in_full_size_are_read_when_they_are_asked_for(tab: Tab, watched: Watched) -> None:
    dialog = opened(tab)
    assert not [url for url in watched.requests if "/whole/" in url]
    in_full(dialog)
    assert len([url for url in watched.requests if "/whole/" in url]) == 1


def test_one_to_one_shows_a_pixel_as_one_of_the_screen(watched: Watched, page: Path) -> None:
    tab = watched.open(page.with_name("large.html"), viewport={"width": 1280, "height": 900})
    dialog = in_full(opened(tab, "large"))
    shown, zoom = panel(dialog, "image"), dialog.locator(".zoom-text")
    box = shown.locator(".panel-frame").bounding_box()
    assert box is not None
    assert int(zoom.inner_text().removesuffix(" %")) == round(100 * box["width"] / 1500)
    dialog.press("1")
    assert zoom.inner_text() == "100 %"
    for right, down in ((0, 0), (1, 0), (0, 1), (97, 31)):
        tab.mouse.move(round(box["x"]) + 200 + right, round(box["y"]) + 200 + down)
        red, green, blue = map(int, reading(shown).split())
        if not (right or down):
            column, row = red + 256 * green, blue
        assert (red + 256 * green, blue) == (column + right, (row + down) % 256)


def test_the_worst_faces_are_there_and_of_the_others_it_is_said_how_to_see_them(tab: Tab) -> None:
    dialog = in_full(opened(tab))
    message = dialog.locator(".detail-message")
    for place in range(FRAMES + 1):
        image = panel(dialog, "image").locator("canvas").first
        whole = place < 3
        expect(image).to_have_attribute("width", str(WARM[1] if whole else SIDE))
        if place == 3:
            expect(message).to_contain_text("cycada report --full-size")
        elif place == 4:
            expect(message).to_contain_text("no more than these")
        else:
            expect(message).to_be_empty()
        tab.keyboard.press("ArrowRight")
    dialog.get_by_role("button", name="Full size").click()
    expect(message).to_be_empty()


def test_a_translation_of_a_whole_frame_stands_beside_its_source_and_the_truth(tab: Tab) -> None:
    dialog = in_full(opened(tab, "translated"))
    views = dialog.locator(".panel").evaluate_all("all => all.map(p => p.dataset.view)")
    assert views == ["source", "image", "truth", "image-difference"]
    difference = panel(dialog, "image-difference")
    for row, column in ((17, 31), (2, 61)):
        point_at(tab, difference, WARM, row, column)
        assert reading(difference) == "+0.50 K"
    source = panel(dialog, "source")
    point_at(tab, source, WARM, 39, 63)
    assert reading(source) == " ".join(map(str, colours(0)[39, 63]))
    tab.keyboard.press("s")
    dialog.get_by_label("Left", exact=True).select_option("source")
    dialog.get_by_label("Right", exact=True).select_option("image")
    assert dialog.locator(".panel").get_attribute("data-view") == "source image"


def test_leaving_full_size_shows_the_squares_again(tab: Tab) -> None:
    dialog = in_full(opened(tab))
    tab.keyboard.press("f")
    expect(panel(dialog, "image").locator("canvas").first).to_have_attribute("width", str(SIDE))
    assert dialog.get_by_role("button", name="Full size").get_attribute("aria-pressed") == "false"


def test_a_file_that_is_gone_says_so_and_the_next_is_shown(
    watching: Callable[[], Watched], page: Path, tmp_path: Path
) -> None:
    shutil.copytree(page.parent, tmp_path / "moved")
    (folder,) = (tmp_path / "moved").glob("report_files/recorded-*/whole")
    found = watching()
    tab = found.open(tmp_path / "moved" / "report.html")
    dialog = opened(tab)
    (folder / f"{frame_of(dialog):06d}.js").unlink()
    dialog.get_by_role("button", name="Full size").click()
    expect(dialog.locator(".detail-message")).to_contain_text("cannot be read")
    tab.keyboard.press("ArrowRight")
    image = panel(dialog, "image").locator("canvas").first
    expect(image).to_have_attribute("width", str(WARM[1]))
    found.contexts[0].close()


def test_on_a_phone_full_size_fits_the_screen(watched: Watched, page: Path) -> None:
    tab = watched.open(page, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    in_full(opened(tab))
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390


def test_axe_finds_no_serious_fault_in_full_size(tab: Tab) -> None:
    in_full(opened(tab))
    found = Axe().run(tab).response["violations"]
    assert [fault["id"] for fault in found if fault["impact"] in ("serious", "critical")] == []


def test_nobody_is_named_in_the_files(page: Path) -> None:
    scripts = list((page.parent / "report_files").rglob("*.js"))
    assert any(script.parent.name == "whole" for script in scripts)
    for script in scripts:
        assert not re.search(rb"Jane|recorded/|_rgb\.png", script.read_bytes())


def test_without_samples_there_is_nothing_in_full_size(page: Path, tmp_path: Path) -> None:
    shutil.copytree(page.parents[1], tmp_path / "again")
    out = tmp_path / "again" / "page"
    assert (out / "report_files").is_dir()
    report([tmp_path / "again" / "recorded"], out, samples=False)
    assert not (out / "report_files").exists()


@pytest.mark.parametrize(("given", "there"), [("0", 0), ("1", FRAMES), ("all", FRAMES)])
def test_the_verb_keeps_as_much_in_full_size_as_is_asked_for(
    page: Path, tmp_path: Path, given: str, there: int
) -> None:
    data = page.parents[1] / "recorded"
    words = ["report", str(data), "--out", str(tmp_path), "--full-size", given]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert len(list(tmp_path.glob("report_files/*/whole/*.js"))) == there


def test_an_odd_number_of_pixels_is_one_sentence(page: Path, tmp_path: Path) -> None:
    data = page.parents[1] / "recorded"
    words = ["report", str(data), "--out", str(tmp_path), "--full-size", "-3"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "expected millions of pixels from 0 on, or all; found '-3'" in result.output
