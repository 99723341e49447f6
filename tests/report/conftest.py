"""A browser, and what goes wrong in the pages that it shows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from playwright.sync_api import Page as Tab

PATIENCE = 60_000  # ms: machines that run tests are busy


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.fail("These tests need a browser: apt-get install chromium.")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()


@dataclass
class Watched:
    """Tabs, with what went wrong in them and what they asked for."""

    browser: Browser
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    def open(self, page: Path | str, *, scripts: bool = True, **options: object) -> Tab:
        """Open a page in a browser that has never seen it."""
        context = self.browser.new_context(java_script_enabled=scripts, **options)
        context.set_default_timeout(PATIENCE)
        self.contexts.append(context)
        return self.open_in(context, page, scripts=scripts)

    def open_in(self, context: BrowserContext, page: Path | str, *, scripts: bool = True) -> Tab:
        tab = context.new_page()
        tab.on("console", lambda said: self.said(said.type, said.text))
        tab.on("pageerror", lambda error: self.faults.append(str(error)))
        tab.on("requestfailed", lambda request: self.failed(request.url))
        tab.on("request", lambda request: self.requests.append(request.url))
        tab.on("dialog", lambda dialog: dialog.accept())
        tab.goto(page.as_uri() if isinstance(page, Path) else page)
        if scripts:
            tab.wait_for_selector(".tile, .gallery .message.warns")
        return tab

    def said(self, kind: str, text: str) -> None:
        if kind in ("error", "assert"):
            self.faults.append(text)

    def failed(self, address: str) -> None:
        # Pictures of tiles that have left the page while they were being read.
        if not address.endswith(".webp"):
            self.faults.append(f"failed: {address}")

    def check(self, below: str) -> None:
        """Refuse what went wrong and what was asked for elsewhere since the last look."""
        faults, requests = self.faults[:], self.requests[:]
        self.faults.clear()
        self.requests.clear()
        assert faults == []
        assert [url for url in requests if not url.startswith((below, "data:", "blob:"))] == []


@pytest.fixture(scope="module")
def watching(browser: Browser) -> Callable[[], Watched]:
    """Return what opens tabs and watches them; whoever calls it closes its contexts."""
    return lambda: Watched(browser)
