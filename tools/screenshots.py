"""Take the pictures of the documentation: each view of a page, the planted failures, a video.

    cycada demo
    cycada report demo --count 200 --out page
    python tools/planted_failures.py demo planted
    python tools/screenshots.py page/report.html --planted planted --out docs/images

``--view ADDRESS IMAGE`` also takes the pages of ``cycada view`` at the address that it has printed:
live, with the image tried, and of all faces. ``--whole-frames REPORT.html`` takes a face in full
size, of a page about translated frames (``tools/whole_frames.py``). ``--video`` makes a GIF of
``cycada sheet`` small enough to be read in the documentation::

    cycada phantom --subjects 3 --frames-per-subject 60 --size 128 --video --out breathing
    cycada sheet breathing demo/translator --sequence rgb0002 --out sequences.gif
    python tools/screenshots.py --video sequences.gif

Needs ``pip install playwright`` and Debian's Chromium.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright

_WIDE, _PHONE = (1280, 860), (390, 780)
_PATIENCE = 120_000.0  # ms
_VIDEO_WIDTH, _VIDEO_COLOURS = 720, 128  # a fifth of the bytes: files in docs/ are for readers
_EVERY = 2  # frame of a video


def main() -> None:
    """Open the pages and write the pictures."""
    options = _parser().parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.video:
        _write_small(options.video, options.out / "sequences.gif")
    if not (options.page or options.planted or options.view or options.whole_frames):
        return
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("Error: Chromium is not installed: apt-get install chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        if options.page:
            _report(browser, options.page.resolve().as_uri(), options.out)
        if options.whole_frames:
            _whole_frames(browser, options.whole_frames.resolve().as_uri(), options.out)
        if options.planted:
            for name, shot in (("inverts", "inverted-grey"), ("swaps", "swapped-aus")):
                address = (options.planted / f"{name}.html").resolve().as_uri()
                with _opened(browser, address) as page:
                    _write(page.screenshot(), options.out / f"planted-{shot}.png")
        if options.view:
            address, image = options.view
            _view(browser, address, image, options.out)
        browser.close()


def _report(browser: Browser, address: str, out: Path) -> None:
    with _opened(browser, address) as page:
        _write(page.screenshot(), out / "page.png")
        for name, title in (
            ("scores", "Runs compared"), ("glance", "Translations at a glance"),
            ("training", "Training health"),
        ):  # fmt: skip
            section = page.locator("section", has=page.get_by_role("heading", name=title))
            _to_top(section.first)
            _write(page.screenshot(), out / f"page-{name}.png")
        gallery = page.locator(".gallery[data-set^=translator-rgb]")
        _to_top(gallery)
        gallery.locator(".tile").first.wait_for()
        page.wait_for_timeout(1500)
        _write(page.screenshot(), out / "page-gallery.png")
        gallery.locator(".tile").nth(1).click()
        gallery.locator("dialog.detail .panel").first.wait_for()
        page.wait_for_timeout(1500)
        _write(page.screenshot(), out / "page-large.png")
        page.keyboard.press("s")
        page.wait_for_timeout(500)
        _write(page.screenshot(), out / "page-slider.png")
    with _opened(browser, address, dark=True) as page:
        gallery = page.locator(".gallery[data-set^=both-detections]")
        _to_top(gallery)
        gallery.locator(".tile").first.click()
        dialog = gallery.locator("dialog.detail")
        dialog.locator(".panel").first.wait_for()
        activation = dialog.locator("button[aria-pressed=false]", has_text="AU").first
        if activation.count():
            activation.click()
        page.wait_for_timeout(1500)
        _write(page.screenshot(), out / "page-activation-dark.png")
    with _opened(browser, address, size=_PHONE) as page:
        gallery = page.locator(".gallery[data-set^=translator-rgb]")
        _to_top(gallery)
        page.wait_for_timeout(1500)
        _write(page.screenshot(), out / "page-phone.png")


def _whole_frames(browser: Browser, address: str, out: Path) -> None:
    with _opened(browser, address) as page:
        gallery = page.locator(".gallery", has_text="Made thermal").first
        gallery.get_by_role("button", name="Best first").click()
        gallery.locator(".tile").first.click()
        dialog = gallery.locator("dialog.detail")
        dialog.locator(".panel").first.wait_for()
        page.keyboard.press("f")
        dialog.locator(".panel small", has_text="×").first.wait_for()
        page.wait_for_timeout(1000)
        box = dialog.locator(".panel-frame").last.bounding_box()
        if box is not None:
            page.mouse.move(box["x"] + 0.42 * box["width"], box["y"] + 0.42 * box["height"])
        page.wait_for_timeout(500)
        _write(page.screenshot(), out / "page-full-size.png")


def _view(browser: Browser, address: str, image: str, out: Path) -> None:
    with _opened(browser, address) as page:
        page.wait_for_timeout(5000)  # asks for the curves
        _write(page.screenshot(), out / "view.png")
        page.get_by_role("link", name="Try").click()
        page.set_input_files("#files", image)
        page.locator("#tried .save").wait_for()
        page.wait_for_timeout(1000)
        _to_top(page.locator("#tried"))
        _write(page.screenshot(), out / "view-try.png")
        page.locator("a[href='#faces']").click()
        page.frame_locator("#faces-frame").locator(".tile").first.wait_for()
        page.wait_for_timeout(15_000)  # translates what is in sight
        _write(page.screenshot(), out / "view-faces.png")


def _write_small(video: Path, file: Path) -> None:
    """Write every other frame of a GIF, scaled, with few colours, which all frames share."""
    frames = []
    with Image.open(video) as opened:
        duration = opened.info["duration"] * _EVERY
        for number in range(0, opened.n_frames, _EVERY):  # type: ignore[attr-defined]
            opened.seek(number)
            frame = opened.convert("RGB")
            height = round(frame.height * _VIDEO_WIDTH / frame.width)
            frames.append(frame.resize((_VIDEO_WIDTH, height), Image.Resampling.LANCZOS))
    few = frames[0].quantize(_VIDEO_COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=1)
    first, *others = (each.quantize(palette=few, dither=Image.Dither.NONE) for each in frames)
    first.save(file, save_all=True, append_images=others, duration=duration, loop=0, optimize=True)
    print(f"{file}: {file.stat().st_size >> 10} KB, {len(frames)} frames of {first.size}")


@contextmanager
def _opened(
    browser: Browser, address: str, *, size: tuple[int, int] = _WIDE, dark: bool = False
) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.set_default_timeout(_PATIENCE)
    page.goto(address)
    page.wait_for_timeout(2000)
    yield page
    context.close()


def _to_top(place: Locator) -> None:
    place.evaluate("place => place.scrollIntoView({block: 'start', behavior: 'instant'})")


def _write(png: bytes, file: Path) -> None:
    """Write a screenshot with 256 colours: a quarter of the bytes."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    few = picture.quantize(256, kmeans=1, dither=Image.Dither.NONE)
    few.save(file, optimize=True)
    print(f"{file}: {file.stat().st_size >> 10} KB")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("page", type=Path, nargs="?", help="report.html of a demo")
    add("--planted", type=Path, metavar="DIR", help="of tools/planted_failures.py")
    add("--view", nargs=2, metavar=("ADDRESS", "IMAGE"), help="of `cycada view`, and to try there")
    add("--whole-frames", type=Path, metavar="HTML", help="report.html of translated whole frames")
    add("--video", type=Path, metavar="GIF", help="of `cycada sheet`")
    add("--out", type=Path, default=Path("docs/images"), metavar="DIR")
    return parser


if __name__ == "__main__":
    main()
