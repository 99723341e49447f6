"""The page of ``cycada view`` in a real browser: nothing goes wrong in it or leaves the machine."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from cycada import image_reading, thermal
from cycada.config import DetectorConfig, TranslatorConfig
from cycada.data.index import read_index
from cycada.progress import Progress
from cycada.stages.train_detector import run_training as train_detector
from cycada.stages.train_translator import run_training as train_translator
from cycada.stages.translate import run_translation
from cycada.training.run_reading import LOG_NAME

TOKEN = "abcdefgh" * 4
PATIENCE = 90_000  # ms: machines that run tests are busy


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.fail("These tests need a browser: apt-get install chromium.")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def runs(
    tiny_translator: Callable[..., TranslatorConfig],
    tiny_detector: Callable[..., DetectorConfig],
    quiet: Progress,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return a folder of a translator with samples, and a detector of thermal faces."""
    folder = tmp_path_factory.mktemp("runs")
    config = tiny_translator(sample_every=2)
    train_translator(config, folder / "translator", progress=quiet)
    train_detector(tiny_detector(steps=2, source_domain="thermal"), folder / "warm", progress=quiet)
    return folder


Serving = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="session")
def serving(serve: Callable[..., Any]) -> Serving:
    """Return what serves paths at the address that it gives, while it is entered."""

    @contextmanager
    def started(paths: list[Path], folder: Path) -> Iterator[str]:
        with serve(paths, folder, token=TOKEN) as served:
            yield served.address

    return started


@dataclass
class Watched:
    """A tab, and what went wrong in it or was asked of others."""

    tab: Page
    address: str
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tab.set_default_timeout(PATIENCE)
        self.tab.on("console", lambda said: self.faults.append(said.text))
        self.tab.on("pageerror", lambda error: self.faults.append(str(error)))
        self.tab.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.faults.append(f"asked for {request.url}")


@contextmanager
def opened(browser: Browser, address: str, **options: Any) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
    watched = Watched(context.new_page(), address.partition("#")[0])
    watched.tab.goto(address, wait_until="domcontentloaded")
    try:
        yield watched
    finally:
        context.close()
    assert watched.faults == []


def choose(tab: Page, select: str, words: str) -> None:
    option = tab.locator(f"{select} option", has_text=words).first
    expect(option).to_be_attached(timeout=PATIENCE)
    tab.locator(select).select_option(option.get_attribute("value"))


def drop(tab: Page, *files: Path) -> None:
    """Drop files on the page as a hand would."""
    given = [
        {"name": file.name, "content": base64.b64encode(file.read_bytes()).decode()}
        for file in files
    ]
    transfer = tab.evaluate_handle(
        """(given) => {
          const transfer = new DataTransfer();
          for (const { name, content } of given) {
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            transfer.items.add(new File([bytes], name));
          }
          return transfer;
        }""",
        given,
    )
    tab.dispatch_event("#drop", "dragover", {"dataTransfer": transfer})
    tab.dispatch_event("#drop", "drop", {"dataTransfer": transfer})


def test_an_image_that_is_dropped_shows_the_translation_that_translate_makes(
    browser: Browser, runs: Path, faces: Path, tmp_path: Path, quiet: Progress, serving: Serving
) -> None:
    face = faces / read_index(faces).select(domain="rgb").faces[0].path
    (tmp_path / "one").mkdir()
    shutil.copy(face, tmp_path / "one" / "face.png")
    run_translation(
        runs / "translator", tmp_path / "one", tmp_path / "out", depth="auto", progress=quiet
    )
    wanted = image_reading.read_image(tmp_path / "out" / "face.png")
    celsius = thermal.celsius_from_counts(wanted, "centikelvin")[0]
    (tmp_path / "broken.png").write_bytes(face.read_bytes()[:99])
    with serving([runs], tmp_path) as address, opened(browser, f"{address}#try") as watched:
        tab = watched.tab
        choose(tab, "#translator", "newest")
        choose(tab, "#detector", "newest")
        drop(tab, tmp_path / "one" / "face.png", tmp_path / "broken.png")
        done = tab.locator(".tried:not(.working)")
        expect(done).to_have_count(2, timeout=PATIENCE)
        broken = done.filter(has_text="broken.png").locator("[role=alert]")
        expect(broken).to_contain_text("cannot be read")

        card = done.filter(has_text="face.png")
        made = card.locator(".shot[data-key=made]")
        box = made.locator(".frame").bounding_box()
        assert box is not None
        height, width = celsius.shape
        for row, column in ((3, 5), (17, 12)):
            made.locator(".frame").hover(position={
                "x": (column + 0.5) / width * box["width"],
                "y": (row + 0.5) / height * box["height"],
            })  # fmt: skip
            text = made.locator(".read").inner_text()
            assert float(text.removesuffix(" °C")) == pytest.approx(
                float(celsius[row, column]), abs=0.011
            )
            for key in ("source", "again", "difference"):  # one cursor in all
                assert card.locator(f".shot[data-key={key}] .read").inner_text()
        assert card.locator("tr[data-unit]").count() == 4
        # That the broken image was refused, which browsers tell as well.
        assert ["422" in fault for fault in watched.faults] == [True]
        watched.faults.clear()
        with tab.expect_download() as saved:
            card.locator(".save").click()
        assert torch.equal(image_reading.read_image(save_as(saved.value, tmp_path)), wanted)


def save_as(download: Any, folder: Path) -> Path:
    file = folder / download.suggested_filename
    download.save_as(file)
    return file


def test_the_cursor_moves_by_keys_and_palettes_change(
    browser: Browser, runs: Path, faces: Path, tmp_path: Path, serving: Serving
) -> None:
    face = faces / read_index(faces).select(domain="thermal").faces[0].path
    with serving([runs], tmp_path) as address, opened(browser, f"{address}#try") as watched:
        tab = watched.tab
        choose(tab, "#translator", "newest")
        tab.set_input_files("#files", face)
        frame = tab.locator(".shot[data-key=source] .frame")
        frame.wait_for()
        read = tab.locator(".shot[data-key=source] .read")
        tab.locator(".remove").focus()
        tab.keyboard.press("Tab")
        expect(read).to_contain_text("°C")
        before = read.inner_text()
        for _ in range(3):
            tab.keyboard.press("Shift+ArrowRight")
        assert read.inner_text() != before

        def colours() -> Any:
            address = frame.locator("canvas").evaluate("(canvas) => canvas.toDataURL()")
            content = base64.b64decode(address.partition(",")[2])
            return np.asarray(Image.open(io.BytesIO(content)))

        coloured = colours()
        tab.locator("#palette").select_option("grey")
        grey = colours()
        assert (coloured[..., 0] != coloured[..., 2]).any()
        assert (grey[..., 0] == grey[..., 1]).all()
        assert (grey[..., 0] == grey[..., 2]).all()


def test_a_training_that_goes_on_is_seen_without_loading_the_page_anew(
    browser: Browser, runs: Path, tmp_path: Path, serving: Serving
) -> None:
    run = shutil.copytree(runs / "translator", tmp_path / "runs" / "live")
    head = json.loads((run / "config.json").read_text())
    head["settings"]["steps"] = 1000
    (run / "config.json").write_text(json.dumps(head))
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom cycada.locking import sole_writer\n"
        "with sole_writer(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    trainer = subprocess.Popen(
        [sys.executable, "-c", code, str(run)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == "held\n"
        with serving([run], tmp_path) as address, opened(browser, address) as watched:
            tab = watched.tab
            card = tab.locator(".run")
            expect(card.locator(".steps")).to_have_text("Step 4 of 1,000", timeout=PATIENCE)
            expect(card.locator(".scrub output")).to_have_text("Step 4")
            expect(card.locator(".grid-rows canvas")).to_have_count(6)
            curve = card.locator(".plots svg").first
            expect(curve).to_be_attached()
            drawn = curve.inner_html()
            tab.evaluate("window.stayed = true")

            line = json.loads((run / LOG_NAME).read_text().splitlines()[-1])
            line |= {"step": 250, "seconds": time.time()}
            with (run / LOG_NAME).open("a") as stream:
                stream.write(json.dumps(line) + "\n")
            grid = Image.open(run / "samples" / "000004.png")
            grid.save(tmp_path / "new.png")
            (tmp_path / "new.png").rename(run / "samples" / "000250.png")
            expect(card.locator(".steps")).to_have_text("Step 250 of 1,000", timeout=PATIENCE)
            expect(card.locator(".word")).to_have_text("training")
            expect(card.locator(".scrub output")).to_have_text("Step 250")
            expect(card.locator("[role=progressbar]")).to_have_attribute("aria-valuenow", "250")
            expect(curve).not_to_have_text("", timeout=PATIENCE)
            assert card.locator(".plots svg").first.inner_html() != drawn

            slider = card.locator("input[type=range]")
            slider.focus()
            tab.keyboard.press("Home")
            expect(card.locator(".scrub output")).to_have_text("Step 2")
            trainer.kill()
            trainer.wait()
            expect(card.locator(".word")).to_have_text("stopped", timeout=PATIENCE)
            expect(card.locator(".told")).to_contain_text("was killed at step 250")
            expect(card.locator(".scrub output")).to_have_text("Step 2")  # it is not torn away
            assert tab.evaluate("window.stayed")
    finally:
        trainer.kill()
        trainer.wait()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_fault_of_accessibility_is_serious(
    browser: Browser, runs: Path, faces: Path, tmp_path: Path, scheme: str, serving: Serving
) -> None:
    face = faces / read_index(faces).select(domain="rgb").faces[0].path
    with serving([runs], tmp_path) as address:
        context = browser.new_context(color_scheme=scheme, bypass_csp=True)  # for axe itself
        tab = context.new_page()
        tab.set_default_timeout(PATIENCE)
        tab.goto(address, wait_until="domcontentloaded")
        tab.wait_for_selector(".run .plots svg")
        found = serious(tab)
        tab.goto(f"{address}#try")
        choose(tab, "#translator", "newest")
        choose(tab, "#detector", "newest")
        tab.set_input_files("#files", face)
        tab.wait_for_selector(".tried:not(.working) .units")
        found += serious(tab)
        context.close()
    assert found == []


def serious(tab: Page) -> list[str]:
    result = Axe().run(tab).response
    return [
        f"{fault['id']}: {node['html'][:120]}"
        for fault in result["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


def test_all_faces_and_the_report_are_shown_in_the_page(
    browser: Browser, faces: Path, tmp_path: Path, serving: Serving
) -> None:
    with serving([faces], tmp_path) as address, opened(browser, f"{address}#faces") as watched:
        inside = watched.tab.frame_locator("#faces-frame")
        expect(inside.locator(".tile").first).to_be_visible(timeout=PATIENCE)
        assert re.search("20", inside.locator("body").inner_text())
        watched.tab.locator('.tabs a[href="#report"]').click()
        report = watched.tab.frame_locator("#report-frame")
        expect(report.locator("p")).to_have_text("the report", timeout=PATIENCE)


def test_on_a_phone_nothing_is_wider_than_the_screen(
    browser: Browser, runs: Path, faces: Path, tmp_path: Path, serving: Serving
) -> None:
    face = faces / read_index(faces).select(domain="rgb").faces[0].path
    with serving([runs], tmp_path) as address:
        context = browser.new_context(
            viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True
        )
        tab = context.new_page()
        tab.set_default_timeout(PATIENCE)
        tab.goto(address, wait_until="domcontentloaded")
        tab.wait_for_selector(".run .plots svg")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
        tab.goto(f"{address}#try")
        choose(tab, "#translator", "newest")
        choose(tab, "#detector", "newest")
        tab.set_input_files("#files", face)
        tab.wait_for_selector(".tried:not(.working) .units")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
        context.close()


def test_it_is_told_when_the_server_has_ended(
    browser: Browser, runs: Path, tmp_path: Path, serving: Serving
) -> None:
    context = browser.new_context()
    tab = context.new_page()
    with serving([runs], tmp_path) as address:
        tab.goto(address, wait_until="domcontentloaded")
        tab.wait_for_selector(".run", timeout=PATIENCE)
        assert not tab.locator("#lost").is_visible()
    expect(tab.locator("#lost")).to_be_visible(timeout=PATIENCE)
    context.close()
