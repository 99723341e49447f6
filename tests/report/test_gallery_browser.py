"""The gallery in a real browser, opened from disk: what a reader does, and what they see then.

Every test ends by looking at what the page wrote to the console and asked for: no error, and
nothing but files below the page.
"""

from __future__ import annotations

import csv
import functools
import http.server
import io
import math
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Locator
from playwright.sync_api import Page as Tab

from cycada.report.gallery import GallerySet, SetWriter, path_digest
from cycada.report.images import coloured, rgb_uri
from cycada.report.page import Gallery, Page, Scrubber, Section, Text, files_folder, write_page

if TYPE_CHECKING:
    from tests.report.conftest import Watched

FACES = 42
SIDE = 32
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
HOSTILE = "<img src=x onerror=document.title='run'></script><script>document.title='run'</script>"


@pytest.fixture(scope="module")
def made() -> ModuleType:
    import bench_page

    return bench_page


@pytest.fixture(scope="module")
def page(made: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page with two sets: the second has no temperature scale."""
    place = tmp_path_factory.mktemp("page") / "report.html"
    beside = files_folder(place)
    sets = [
        made.write_made_set(beside / "one", FACES, side=SIDE, thumb=SIDE),
        made.write_made_set(beside / "two", 5, side=SIDE, thumb=SIDE, window=None),
    ]
    frames = tuple(
        (f"Step {step}", rgb_uri(torch.full((3, 16, 48), shade)))
        for step, shade in ((100, -1.0), (200, 0.0), (300, 1.0))
    )
    sections = (
        Section(title="One", blocks=(Gallery(shown=sets[0]),)),
        Section(title="Two", blocks=(Gallery(shown=sets[1]), Text(text="What was found."))),
        Section(title="Training", blocks=(Scrubber(frames=frames, caption="Samples"),)),
    )
    write_page(place, Page(title="Made faces", sections=sections))
    return place


@pytest.fixture
def watched(watching: Callable[[], Watched], page: Path) -> Iterator[Watched]:
    found = watching()
    yield found
    for context in found.contexts:
        context.close()
    found.check(page.parent.as_uri())


@pytest.fixture(scope="module")
def shared(watching: Callable[[], Watched], page: Path) -> Iterator[tuple[Watched, Tab]]:
    """Return a tab for all tests that need none of their own: starting one takes a second."""
    found = watching()
    yield found, found.open(page, viewport={"width": 1280, "height": 900})
    found.contexts[0].close()


@pytest.fixture
def tab(shared: tuple[Watched, Tab], page: Path) -> Iterator[Tab]:
    watched, tab = shared
    tab.evaluate("localStorage.clear()")
    tab.mouse.move(2, 2)
    tab.goto("about:blank")  # an address that differs in its fragment alone is not loaded anew
    tab.goto(page.as_uri())
    tab.wait_for_selector(".tile")
    watched.requests.clear()
    yield tab
    watched.check(page.parent.as_uri())


def one(tab: Tab) -> Locator:
    return tab.locator("#one-filters").locator("..")


def numbers(gallery: Locator) -> list[int]:
    """Return the numbers of the first tiles in their order."""
    return [
        int(n)
        for n in gallery.locator(".tile").evaluate_all("all => all.map(t => t.dataset.number)")
    ]


def cycle(number: int) -> float:
    return (number * 7919 % 10007) / 10007


def kept(number: int) -> float:
    return math.nan if number % 11 == 0 else 1 - number % 5 / 5


def open_detail(gallery: Locator, place: int = 0) -> Locator:
    gallery.locator(".tile").nth(place).click()
    dialog = gallery.locator("dialog.detail")
    dialog.locator(".panel").first.wait_for()
    return dialog


def panel(dialog: Locator, view: str) -> Locator:
    return dialog.locator(f".panel[data-view='{view}']")


def pixels(target: Locator) -> np.ndarray:
    with Image.open(io.BytesIO(target.screenshot())) as shot:
        return np.asarray(shot.convert("RGB")).astype(int)


def point_at(target: Locator, column: int, row: int) -> tuple[float, float]:
    """Return where on the screen the middle of a pixel of a picture is."""
    box = target.locator(".panel-frame").bounding_box()
    assert box is not None
    x = box["x"] + (column + 0.5) / SIDE * box["width"]
    return x, box["y"] + (row + 0.5) / SIDE * box["height"]


def temperature(made: ModuleType, number: int, view: str, column: int, row: int) -> float:
    low, high = made.WINDOW
    signed = float(made.made_item(number, side=SIDE).pictures[view][0, row, column])
    return low + (signed + 1) / 2 * (high - low)


def test_the_worst_faces_come_first(tab: Tab) -> None:
    worst = sorted(range(FACES), key=cycle, reverse=True)
    found = numbers(one(tab))
    assert len(found) > 10
    assert found == worst[: len(found)]
    assert one(tab).locator(".count").inner_text() == f"{FACES} faces"


def test_faces_are_sorted_by_any_figure_and_those_without_it_come_last(tab: Tab) -> None:
    gallery = one(tab)
    gallery.get_by_label("Sort by").select_option("kept")
    order = sorted(range(FACES), key=lambda n: (math.isnan(kept(n)), kept(n), n))
    found = numbers(gallery)
    assert found == order[: len(found)]
    gallery.get_by_role("button", name="Best first").click()
    found = numbers(gallery)
    best = sorted(range(FACES), key=lambda n: (math.isnan(kept(n)), -kept(n), n))
    assert found == best[: len(found)]
    gallery.locator(".tile").first.press("End")
    assert math.isnan(kept(numbers(gallery)[-1]))


def test_filters_count_and_show_what_they_say(tab: Tab) -> None:
    gallery = one(tab)
    gallery.get_by_role("button", name="Filters").click()
    count = gallery.locator(".count")
    gallery.get_by_label("Split").select_option("val")
    found = [n for n in range(FACES) if n % 40 % 3 == 1]
    assert count.inner_text() == f"{len(found)} of {FACES} faces"
    assert set(numbers(gallery)) <= set(found)
    gallery.get_by_label("Split").select_option("")
    gallery.get_by_label("Action Unit").select_option("AU12")
    for condition, holds in (
        ("flip", lambda n: n % 6 == 0), ("present", lambda n: n % 3 == 0),
        ("absent", lambda n: n % 3), ("seen:made", lambda n: n % 3 == 0 and n % 6),
        ("unseen:source", lambda n: n % 3), ("wrong:made", lambda n: n % 6 == 0),
    ):  # fmt: skip
        gallery.get_by_label("is", exact=True).select_option(condition)
        found = [n for n in range(FACES) if holds(n)]
        assert count.inner_text() == f"{len(found)} of {FACES} faces", condition
        assert set(numbers(gallery)) <= set(found), condition
    gallery.get_by_label("Action Unit").select_option("")
    assert count.inner_text().startswith("7 of")  # AU12 is the only one that flips
    gallery.get_by_role("button", name="Clear").click()
    gallery.get_by_label("Cycle error from").fill("0.25")
    gallery.get_by_label("Cycle error to").fill("0.5")
    found = [n for n in range(FACES) if 0.25 <= cycle(n) <= 0.5]
    assert count.inner_text() == f"{len(found)} of {FACES} faces"
    assert gallery.get_by_role("button", name="Filters · 1").count() == 1


def test_a_text_filters_names_and_nothing_is_said_in_a_sentence(tab: Tab) -> None:
    gallery = one(tab)
    gallery.get_by_label("Filter by text").fill("face 13")
    assert numbers(gallery) == [12]
    gallery.get_by_label("Filter by text").fill("nobody")
    assert gallery.locator(".grid").is_hidden()
    gallery.get_by_role("button", name="Show all").click()
    assert gallery.locator(".count").inner_text() == f"{FACES} faces"


def test_the_address_keeps_what_is_chosen(tab: Tab, watched: Watched) -> None:
    gallery = one(tab)
    gallery.get_by_label("Sort by").select_option("kept")
    gallery.get_by_label("Filter by text").fill("test")
    gallery.get_by_role("button", name="Grey").click()
    gallery.get_by_role("button", name="Back in RGB", exact=True).click()
    order = numbers(gallery)
    second = tab.locator("#two-filters").locator("..")
    second.get_by_role("button", name="Best first").click()
    dialog = open_detail(gallery, 2)
    name = dialog.locator("h2").inner_text()
    tab.wait_for_url(re.compile("open="))
    again = watched.open(tab.url)
    opened = one(again).locator("dialog.detail")
    opened.locator(".panel").first.wait_for()
    assert opened.locator("h2").inner_text() == name
    again.keyboard.press("Escape")
    assert numbers(one(again)) == order
    assert one(again).locator(".tile .pics").first.locator(".pic").count() == 4
    assert again.evaluate("document.documentElement.dataset.palette") == "grey"
    found = numbers(again.locator("#two-filters").locator(".."))
    assert found == sorted(range(5), key=cycle)


def test_the_temperature_under_the_cursor_is_that_of_the_data(tab: Tab, made: ModuleType) -> None:
    dialog = open_detail(one(tab))
    number = max(range(FACES), key=cycle)
    for column, row in ((16, 16), (3, 5), (12, 9)):
        tab.mouse.move(*point_at(panel(dialog, "made"), column, row))
        for view in ("made", "truth"):
            said = panel(dialog, view).locator(".reading").inner_text()
            known = temperature(made, number, view, column, row)
            assert said.endswith(" °C")
            assert float(re.sub("[^0-9.]", "", said)) == pytest.approx(known, abs=0.0051)
        said = panel(dialog, "made-difference").locator(".reading").inner_text()
        step = float(said.replace("−", "-").removesuffix(" K"))
        known = temperature(made, number, "made", column, row) - temperature(
            made, number, "truth", column, row
        )
        assert step == pytest.approx(known, abs=0.0051)
    tab.mouse.move(2, 2)
    assert panel(dialog, "made").locator(".reading").inner_text() == ""


def test_without_a_scale_there_is_no_temperature(tab: Tab) -> None:
    gallery = tab.locator("#two-filters").locator("..")
    assert gallery.locator(".grid-bar .ticks").inner_text().split() == ["cold", "warm"]
    dialog = open_detail(gallery)
    tab.mouse.move(*point_at(panel(dialog, "made"), 16, 16))
    assert panel(dialog, "made").locator(".reading").inner_text().endswith(" %")
    assert "°C" not in dialog.inner_text()


def test_the_slider_shows_one_picture_left_of_it_and_the_other_right(tab: Tab) -> None:
    dialog = open_detail(one(tab))
    dialog.get_by_role("button", name="Grey").click()
    tab.keyboard.press("s")
    frame = dialog.locator(".panel-frame")
    assert frame.count() == 1
    tab.mouse.move(2, 2)

    def is_grey(share: float) -> bool:
        shot = pixels(frame)
        middle = shot[shot.shape[0] // 3, int(share * shot.shape[1])]
        return bool(np.ptp(middle) <= 2)

    assert not is_grey(0.4)  # the colours of a face
    assert is_grey(0.6)
    slider = dialog.get_by_label("Slider between")
    slider.evaluate("each => { each.value = 800; each.dispatchEvent(new Event('input')); }")
    assert not is_grey(0.6)
    box = frame.bounding_box()
    assert box is not None
    tab.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 40)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 40, steps=4)
    tab.mouse.up()
    tab.mouse.move(2, 2)
    assert is_grey(0.4)
    assert int(slider.input_value()) == pytest.approx(200, abs=15)


def test_palettes_colour_small_and_large_pictures_alike(tab: Tab, made: ModuleType) -> None:
    gallery = one(tab)
    dialog = open_detail(gallery)
    number = max(range(FACES), key=cycle)
    truth = made.made_item(number, side=SIDE).pictures["truth"]

    def painted() -> np.ndarray:
        values = (
            panel(dialog, "truth")
            .locator("canvas")
            .first.evaluate(
                "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
            )
        )
        return np.array(values).reshape(SIDE, SIDE, 4)[..., :3]

    assert np.abs(painted() - coloured(truth)).max() <= 2
    tab.keyboard.press("p")
    tab.keyboard.press("p")
    assert np.ptp(painted(), axis=-1).max() == 0
    grey = (truth[0].numpy() + 1) / 2 * 255
    assert np.abs(painted()[..., 0] - grey).max() <= 1
    tab.keyboard.press("Escape")
    small = gallery.locator(".tile .pic").nth(1)
    assert np.ptp(pixels(small), axis=-1).max() <= 2
    gallery.get_by_role("button", name="Ironbow").click()
    assert np.ptp(pixels(small), axis=-1).max() > 60


def test_all_pictures_zoom_and_move_in_step(tab: Tab, made: ModuleType) -> None:
    dialog = open_detail(one(tab))
    number = max(range(FACES), key=cycle)
    place = point_at(panel(dialog, "made"), 12, 9)
    tab.mouse.move(*place)
    tab.mouse.wheel(0, -600)
    shifts = dialog.locator(".moved").evaluate_all("all => all.map(m => m.style.transform)")
    assert len(set(shifts)) == 1
    assert "scale(1)" not in shifts[0]
    said = panel(dialog, "made").locator(".reading").inner_text()
    known = temperature(made, number, "made", 12, 9)  # the place under the cursor stays
    assert float(re.sub("[^0-9.]", "", said)) == pytest.approx(known, abs=0.0051)
    tab.mouse.down()
    tab.mouse.move(place[0] + 40, place[1] + 10, steps=3)
    tab.mouse.up()
    moved = dialog.locator(".moved").evaluate_all("all => all.map(m => m.style.transform)")
    assert len(set(moved)) == 1
    assert moved != shifts
    tab.keyboard.press("0")
    assert "scale(1)" in dialog.locator(".moved").first.evaluate("m => m.style.transform")
    tab.keyboard.press("+")
    assert dialog.locator(".zoom-text").inner_text() == "140 %"


def test_an_activation_is_laid_over_the_picture_that_it_is_of(tab: Tab, made: ModuleType) -> None:
    dialog = open_detail(one(tab))
    number = max(range(FACES), key=cycle)
    dialog.get_by_role("button", name="AU12").click()
    overlay = panel(dialog, "made").locator("canvas.overlay")
    shares = np.array(
        overlay.evaluate("c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")
    ).reshape(4, 4, 4)[..., 3]
    wanted = made.made_item(number, side=SIDE).activation["made"]["AU12"].numpy()
    assert ((shares > 100) == (wanted > 0.5)).all()
    assert panel(dialog, "source").locator("canvas.overlay").is_hidden()
    dialog.get_by_role("button", name="AU12").click()
    assert overlay.is_hidden()


def test_what_was_told_of_units_is_shown_with_the_truth(tab: Tab) -> None:
    gallery = one(tab)
    gallery.get_by_label("Filter by text").fill("face 7")  # number 6: smiles, and is lost
    dialog = open_detail(gallery)
    row = dialog.get_by_role("row").filter(has_text="AU12")
    assert row.locator(".share").all_text_contents() == ["RGB 80 %", "As thermal 10 %"]
    assert row.locator(".badge").all_inner_texts() == ["flips", "wrong"]
    assert row.locator(".truth").inner_text() == "yes"
    unknown = dialog.get_by_role("row").filter(has_text="AU15")
    assert unknown.locator(".share").all_text_contents()[1] == "As thermal –"


def test_marks_are_kept_exported_and_imported(tab: Tab, watched: Watched, page: Path) -> None:
    gallery = one(tab)
    worst = sorted(range(FACES), key=cycle, reverse=True)
    gallery.locator(".tile").nth(1).focus()
    tab.keyboard.press("m")
    dialog = open_detail(gallery, 2)
    tab.keyboard.press("m")
    dialog.get_by_label("Reason for the mark").fill('eyes "closed", blurred')
    tab.keyboard.press("Escape")
    assert gallery.locator(".tile.marked").count() == 2
    gallery.locator("summary").click()
    with tab.expect_download() as download:
        gallery.get_by_role("button", name="Export as CSV").click()
    file = Path(download.value.path())
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    path = "faces/S{0:02d}/{1:05d}.png".format
    assert rows == [
        {"digest": path_digest(path(n % 40, n)), "set": "one", "reason": reason}
        for n, reason in ((worst[1], ""), (worst[2], 'eyes "closed", blurred'))
    ]
    assert download.value.suggested_filename == "marked.csv"

    again = watched.open_in(tab.context, page)
    assert one(again).locator(".tile.marked").count() == 2  # kept by the browser

    other = watched.open(page)
    assert one(other).locator(".tile.marked").count() == 0
    one(other).locator("summary").click()
    one(other).get_by_label("Marks to import").set_input_files(file)
    one(other).locator(".tile.marked").nth(1).wait_for()
    one(other).get_by_label("Show marked only").check()
    assert set(numbers(one(other))) == {worst[1], worst[2]}
    assert "2 of 2 marks" in one(other).locator(".message").inner_text()
    one(other).get_by_role("button", name="Remove all marks").click()
    assert one(other).locator(".empty").is_visible()


def test_everything_is_reached_by_keys(tab: Tab) -> None:
    gallery = one(tab)
    columns = int(gallery.locator(".grid").get_attribute("aria-colcount") or 0)
    current = "document.activeElement.dataset.place"
    tab.keyboard.press("/")
    assert tab.evaluate("document.activeElement.type") == "search"
    tab.keyboard.type("a")
    tab.keyboard.press("Backspace")
    tab.keyboard.press("Escape")
    assert tab.evaluate(current) == "0"
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate(current) == str(columns + 1)
    tab.keyboard.press("End")
    assert tab.evaluate(current) == str(FACES - 1)
    tab.keyboard.press("Home")
    tab.keyboard.press("Enter")
    dialog = gallery.locator("dialog.detail")
    dialog.locator(".panel").first.wait_for()
    name = dialog.locator("h2").inner_text()
    tab.keyboard.press("ArrowRight")
    assert dialog.locator("h2").inner_text() != name
    tab.keyboard.press("ArrowLeft")
    assert dialog.locator("h2").inner_text() == name
    dialog.locator(".panel").first.wait_for()
    tab.keyboard.press("Shift+ArrowDown")
    assert panel(dialog, "made").locator(".reading").inner_text().endswith("°C")
    tab.keyboard.press("?")
    assert gallery.locator("dialog.help").is_visible()
    tab.keyboard.press("Escape")
    assert dialog.is_visible()
    tab.keyboard.press("Escape")
    assert dialog.is_hidden()
    assert tab.evaluate(current) == "0"


def test_on_a_phone_nothing_is_wider_than_the_screen_and_a_finger_reads_temperatures(
    watched: Watched, page: Path, made: ModuleType
) -> None:
    tab = watched.open(page, **PHONE)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    gallery = one(tab)
    gallery.locator(".tile").first.tap()
    dialog = gallery.locator("dialog.detail")
    dialog.locator(".panel").first.wait_for()
    assert dialog.evaluate("each => each.scrollWidth") <= 390
    target = panel(dialog, "truth")
    target.scroll_into_view_if_needed()
    tab.touchscreen.tap(*point_at(target, 16, 14))
    said = target.locator(".reading").inner_text()
    known = temperature(made, max(range(FACES), key=cycle), "truth", 16, 14)
    assert float(said.removesuffix(" °C")) == pytest.approx(known, abs=0.0051)
    boxes = [each.bounding_box() for each in dialog.locator("button.button:visible").all()]
    assert all(box and box["height"] >= 24 for box in boxes)


def _serious(tab: Tab) -> list[str]:
    found = Axe().run(tab).response["violations"]
    return [
        f"{fault['id']}: {[node['html'] for node in fault['nodes']][:3]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(watched: Watched, page: Path, scheme: str) -> None:
    tab = watched.open(page, color_scheme=scheme, viewport={"width": 1280, "height": 900})
    gallery = one(tab)
    gallery.locator(".tile").first.press("m")
    gallery.get_by_role("button", name="Filters").click()
    assert _serious(tab) == []
    dialog = open_detail(gallery)
    assert _serious(tab) == []
    tab.keyboard.press("s")
    dialog.get_by_role("button", name="AU12").click()
    assert _serious(tab) == []
    tab.keyboard.press("?")
    assert _serious(tab) == []


def test_axe_finds_no_serious_fault_on_a_phone(watched: Watched, page: Path) -> None:
    tab = watched.open(page, **PHONE)
    assert _serious(tab) == []
    one(tab).locator(".tile").first.tap()
    one(tab).locator(".panel").first.wait_for()
    assert _serious(tab) == []


def test_of_thousands_of_faces_those_in_view_alone_are_in_the_page(
    made: ModuleType, watched: Watched, page: Path
) -> None:
    many = page.parent / "many.html"
    shown = made.write_made_set(files_folder(many) / "many", 2000, side=16, thumb=16)
    section = Section(title="Many", blocks=(Gallery(shown=shown),))
    write_page(many, Page(title="Many", sections=(section,)))
    tab = watched.open(many, viewport={"width": 1280, "height": 900})
    most = 120  # tiles
    for press in ("Home", *["PageDown"] * 5, "End"):
        tab.locator(".tile[tabindex='0']").press(press)
        assert 0 < tab.locator(".tile").count() < most
        assert tab.evaluate("document.querySelectorAll('*').length") < 20 * most
    assert min(range(2000), key=cycle) in numbers(tab.locator(".gallery"))
    assert sum("/thumbs/" in url for url in watched.requests) < 8 * most
    assert not any("/full/" in url for url in watched.requests)


def test_frames_of_a_scrubber_are_shown_one_at_a_time(tab: Tab) -> None:
    scrubber = tab.locator(".scrubber")
    assert scrubber.locator(".frame:visible").count() == 1
    assert scrubber.locator("output").inner_text() == "Step 300"
    scrubber.get_by_label("Moment").press("ArrowLeft")
    assert scrubber.locator("output").inner_text() == "Step 200"
    shown = pixels(scrubber.locator("img:visible"))
    assert abs(shown[8, 24].mean() - 127.5) < 4
    scrubber.get_by_role("button", name="Play").click()
    scrubber.locator("output").filter(has_text="Step 300").wait_for()


def test_without_a_script_the_page_says_what_is_missing_and_the_rest_reads_well(
    watched: Watched, page: Path
) -> None:
    tab = watched.open(page, scripts=False)
    assert tab.get_by_text(f"The {FACES} pictures here need JavaScript.").is_visible()
    assert tab.get_by_text("What was found.").is_visible()
    assert tab.locator(".frame img:visible").count() == 3


def test_a_page_works_from_a_server_too(watched: Watched, page: Path, made: ModuleType) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    handler = functools.partial(Quiet, directory=str(page.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        tab = watched.open(f"{address}/report.html")
        dialog = open_detail(one(tab))
        tab.mouse.move(*point_at(panel(dialog, "made"), 16, 16))
        said = panel(dialog, "made").locator(".reading").inner_text()
        tab.close()
        server.shutdown()
    known = temperature(made, max(range(FACES), key=cycle), "made", 16, 16)
    assert float(re.sub("[^0-9.]", "", said)) == pytest.approx(known, abs=0.0051)
    asked = [url for url in watched.requests if not url.startswith("data:")]
    assert all(
        url.startswith((f"{address}/report", "blob:")) for url in asked if "favicon" not in url
    )
    watched.requests.clear()
    watched.faults[:] = [
        said for said in watched.faults if "favicon" not in said and "404" not in said
    ]


def _hostile_set(made: ModuleType, folder: Path) -> GallerySet:
    views = tuple(replace(view, label=HOSTILE) for view in made.VIEWS)
    figures = tuple(replace(each, label=HOSTILE, note=HOSTILE) for each in made.FIGURES)
    units = replace(made.UNITS, names=(HOSTILE, "AU12", "AU15"), meanings=(HOSTILE,) * 3)
    with SetWriter(
        folder, identity=folder.name, title=HOSTILE, intro=HOSTILE, views=views, figures=figures,
        units=units, window=None, include_subjects=True, thumb=16,
    ) as writer:  # fmt: skip
        for number in range(3):
            item = made.made_item(number, side=16)
            writer.add(
                replace(
                    item, name=f"{HOSTILE}{number}", split=HOSTILE, subject=f"{HOSTILE}{number}"
                )
            )
        return writer.close()


def test_hostile_names_stay_text_wherever_they_are_shown(
    made: ModuleType, watched: Watched, page: Path
) -> None:
    hostile = page.parent / "hostile.html"
    shown = _hostile_set(made, files_folder(hostile) / "hostile")
    section = Section(title=HOSTILE, blocks=(Gallery(shown=shown),))
    write_page(hostile, Page(title="calm", sections=(section,)))
    tab = watched.open(hostile)
    tab.get_by_role("button", name="Filters").click()
    assert tab.locator(".tile-name").first.inner_text().startswith(HOSTILE)
    dialog = open_detail(tab.locator(".gallery"))
    assert dialog.locator("h2").inner_text().startswith(HOSTILE)
    tab.keyboard.press("s")
    tab.keyboard.press("m")
    dialog.get_by_label("Reason for the mark").fill(HOSTILE)
    tab.keyboard.press("Escape")
    tab.get_by_label("Filter by text").fill(HOSTILE)
    assert tab.title() == "calm"
    assert tab.locator("img").count() == 0
    assert tab.locator("script").count() == 1


def test_no_other_script_runs_and_nothing_outside_is_asked_for(
    watching: Callable[[], Watched], page: Path
) -> None:
    watched = watching()
    tab = watched.open(page)
    tab.evaluate(
        """() => {
          const inline = document.createElement("script");
          inline.textContent = "document.title = 'run'";
          const outer = document.createElement("script");
          outer.src = "http://127.0.0.1:9/a.js";
          const picture = new Image();
          picture.src = "http://127.0.0.1:9/a.png";
          document.body.append(inline, outer, picture);
          document.body.insertAdjacentHTML("beforeend", "<img src=x onerror=document.title='run'>");
        }"""
    )
    tab.wait_for_timeout(300)
    assert tab.title() == "Made faces"
    refused = [fault for fault in watched.faults if "Content Security Policy" in fault]
    assert len(refused) >= 3
    tab.context.close()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (shutil.rmtree, "cannot be read"),
        (lambda folder: (folder / "items.js").write_text("cycadaSet('one',{});"), "another report"),
        (lambda folder: (folder / "items.js").write_text("1;"), "holds something else"),
    ],
)
def test_a_page_without_its_folder_says_so(
    watching: Callable[[], Watched],
    page: Path,
    tmp_path: Path,
    spoil: Callable[[Path], object],
    said: str,
) -> None:
    shutil.copytree(page.parent, tmp_path / "moved")
    spoil(tmp_path / "moved" / "report_files" / "one")
    watched = watching()
    tab = watched.open(tmp_path / "moved" / "report.html")
    told = tab.locator(".gallery").first.locator(".message.warns").inner_text()
    assert said in told
    tab.context.close()


def test_a_face_whose_file_is_gone_says_so_and_the_next_is_shown(
    watching: Callable[[], Watched], page: Path, tmp_path: Path
) -> None:
    shutil.copytree(page.parent, tmp_path / "moved")
    worst = sorted(range(FACES), key=cycle, reverse=True)
    (tmp_path / "moved" / "report_files" / "one" / "full" / f"{worst[0]:06d}.js").unlink()
    watched = watching()
    tab = watched.open(tmp_path / "moved" / "report.html")
    one(tab).locator(".tile").first.click()
    dialog = one(tab).locator("dialog.detail")
    dialog.get_by_text("cannot be shown").wait_for()
    tab.keyboard.press("ArrowRight")
    dialog.locator(".panel").first.wait_for()
    assert dialog.locator(".detail-message").inner_text() == ""
    tab.context.close()
