"""How soon a page of many pictures shows, and what the browser holds of it.

    python tools/bench_page.py --out page --faces 5000

writes a page of made faces (drawn in no time, with figures, Action Units and activations), opens it
from disk in Chromium, and prints the seconds until something and until the first tile is shown, the
memory of the script and the number of nodes, at the beginning and after 40 places down the grid,
and how long it takes to sort, to filter and to search: from the change of a field until the browser
has drawn what it chose, the slowest of five. Every face is drawn and written, from its number.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from cycada.report.gallery import GallerySet, SetWriter
from cycada.report.gallery_items import FigureColumn, Item, UnitColumns, View
from cycada.report.page import Gallery, Page, Section, files_folder, write_page

WINDOW = (20.0, 40.0)  # deg C
VIEWS = (
    View(key="source", label="RGB", kind="rgb"),
    View(key="made", label="As thermal", kind="thermal", of="truth"),
    View(key="again", label="Back in RGB", kind="rgb", of="source"),
    View(key="truth", label="True thermal", kind="thermal"),
)
FIGURES = (
    FigureColumn(key="cycle", label="Cycle error", worst="high", note="Far from what comes back."),
    FigureColumn(key="kept", label="AU agreement", worst="low", note="As before, as after."),
)
UNITS = UnitColumns(
    names=("AU01", "AU12", "AU15"),
    meanings=("inner brow raiser", "lip corner puller", "lip corner depressor"),
    thresholds=(0.5, 0.4, 0.5),
    sides=("source", "made"),
)
_SPLITS = ("train", "val", "test")


def made_item(number: int, *, side: int) -> Item:
    """Return a made face with figures that follow from its number."""
    source, truth = _face(number, side)
    made = truth if number % 7 else -truth  # one in seven is an inverted photograph
    shares = torch.zeros(4, 4)
    shares[number % 4, 1] = 1
    smiles = float(number % 3 == 0)
    probability = {
        "source": (0.2, 0.8 if smiles else 0.1, 0.3),
        "made": (0.2, 0.1 if number % 6 == 0 else 0.8 if smiles else 0.1, None),
    }
    return Item(
        name=f"faces/S{number % 40:02d}/{number:05d}.png",
        split=_SPLITS[number % 40 % 3], domain="rgb", subject=f"S{number % 40:02d}",
        pictures={"source": source, "made": made, "again": (source * 0.9), "truth": truth},
        figures={
            "cycle": (number * 7919 % 10007) / 10007,  # each another one, in no order
            "kept": math.nan if number % 11 == 0 else 1 - number % 5 / 5,
        },
        true=(None, smiles, 0.0), probability=probability,
        activation={"made": {"AU12": shares}},
    )  # fmt: skip


def _face(number: int, side: int) -> tuple[Tensor, Tensor]:
    """Return ``(3, S, S)`` and ``(1, S, S)`` in [-1, 1]: an ellipse with eyes and a mouth."""
    down, across = torch.meshgrid(
        torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij"
    )
    wide = 0.55 + number % 5 * 0.04
    head = ((across / wide) ** 2 + (down / 0.8) ** 2 < 1).float()
    eyes = ((across.abs() - 0.25) ** 2 + (down + 0.2) ** 2 < 0.012).float()
    bend = 0.3 if number % 3 == 0 else -0.1
    mouth = ((down - 0.4 + bend * across**2).abs() < 0.05).float() * (across.abs() < 0.3).float()
    tone = torch.tensor([0.75, 0.55, 0.45]) * (1 - number % 6 * 0.12)
    hue = torch.tensor([number % 3, number % 4, number % 5]) / 8
    colour = head[None] * tone[:, None, None] + (1 - head[None]) * hue[:, None, None]
    source = (colour * (1 - 0.8 * eyes) * (1 - 0.6 * mouth)).clamp(0, 1) * 2 - 1
    warm = head * (0.4 - 0.25 * (across**2 + down**2)) + eyes * 0.2 - mouth * 0.1 - (1 - head) * 0.8
    return source, warm.clamp(-1, 1)[None]


def write_made_set(
    folder: Path, count: int, *, side: int = 48, thumb: int = 48, include_subjects: bool = False,
    window: tuple[float, float] | None = WINDOW,
) -> GallerySet:  # fmt: skip
    """Write a set of made faces into ``folder``, whose name is its identity."""
    with SetWriter(
        folder, identity=folder.name, title="Made faces", intro="The worst come first.",
        views=VIEWS, figures=FIGURES, units=UNITS, window=window,
        include_subjects=include_subjects, thumb=thumb,
    ) as writer:  # fmt: skip
        for number in range(count):
            writer.add(made_item(number, side=side))
        return writer.close()


def write_made_page(page: Path, count: int, *, side: int = 48) -> None:
    """Write a page with one set of made faces."""
    shown = write_made_set(files_folder(page) / "faces", count, side=side)
    section = Section(title="Translations", blocks=(Gallery(shown=shown),))
    write_page(page, Page(title=f"{count:,} made faces", sections=(section,)))


def measured(page: Path, chromium: str) -> dict[str, Any]:
    """Open a page from disk and return seconds, megabytes and numbers of nodes.

    The memory is that of the script (after collecting garbage), the nodes are those of the page.
    """
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  # of the extra `test`

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1440, "height": 900})
        session = opened.context.new_cdp_session(opened)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        begun = time.perf_counter()
        opened.goto(page.resolve().as_uri())
        opened.wait_for_selector(".tile")
        tiles = time.perf_counter() - begun
        paint = opened.evaluate(
            "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
        )
        work = {
            each["name"]: each["value"]
            for each in session.send("Performance.getMetrics")["metrics"]
        }

        def held() -> tuple[float, int]:
            session.send("HeapProfiler.collectGarbage")
            used = session.send("Runtime.getHeapUsage")["usedSize"] / 1e6
            return round(used, 1), opened.evaluate("document.querySelectorAll('*').length")

        before = held()
        opened.evaluate(
            """async () => {
              const grid = document.querySelector(".grid");
              const step = Math.max(grid.clientHeight, grid.scrollHeight / 40);
              for (let top = 0; top < grid.scrollHeight; top += step) {
                grid.scrollTop = top;
                await new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)));
              }
            }"""
        )
        after = held()
        acts = {
            f"{name}, s": max(opened.evaluate(_ACT, [*act, turn]) for turn in range(5))
            for name, act in _ACTS.items()
        }
        begun = time.perf_counter()
        opened.locator(".tile").first.click()
        opened.locator("dialog.detail .panel").first.wait_for()
        large = time.perf_counter() - begun
        browser.close()
    return {
        "first contentful paint, s": round(paint / 1000, 3) if paint else None,
        "first tile, s": round(tiles, 3),
        "processor time of the main thread until then, s": round(work["TaskDuration"], 3),
        "script memory, MB": before[0], "nodes": before[1],
        "script memory after scrolling, MB": after[0], "nodes after scrolling": after[1],
        **acts, "one face large, s": round(large, 3),
    }  # fmt: skip


_ACTS = {  # a field, and values that it is given in turn
    "sorted": ("[aria-label='Sort by']", ["kept", "cycle"]),
    "filtered by split": (".filters-panel [aria-label='Split']", ["val", ""]),
    "filtered by flips of any unit": (".filters-panel [aria-label='is']", ["flip", ""]),
    "filtered by a range": (".filters-panel [aria-label='Cycle error from']", ["0.5", ""]),
    "searched": (".search input", ["test", "face 1", ""]),
}
_ACT = """async ([field, values, turn]) => {
  const found = document.querySelector(field);
  const begun = performance.now();
  found.value = values[turn % values.length];
  found.dispatchEvent(new Event(found.matches("select") ? "change" : "input", { bubbles: true }));
  await new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)));
  return Math.round(performance.now() - begun) / 1000;
}"""


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for report.html."
)
@click.option(
    "--faces", default=5000, show_default=True, help="How many; 0 measures what is there."
)
@click.option("--side", default=48, show_default=True, help="Side of a face in pixels.")
def main(*, out: Path, faces: int, side: int) -> None:
    """Make a page, or take one, and print what was measured as JSON."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise click.ClickException("there is no chromium on PATH; apt-get install chromium")
    torch.set_num_threads(1)
    page = out / "report.html"
    found: dict[str, Any] = {}
    if faces:
        begun = time.perf_counter()
        write_made_page(page, faces, side=side)
        found["written in, s"] = round(time.perf_counter() - begun, 1)
        sizes = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
        blocks = sum(path.stat().st_blocks * 512 for path in out.rglob("*"))
        found |= {
            "files": len(sizes), "megabytes": round(sum(sizes) / 1e6, 1),
            "megabytes in blocks of the disk": round(blocks / 1e6, 1),
        }  # fmt: skip
    click.echo(json.dumps(found | measured(page, chromium), indent=1))


if __name__ == "__main__":
    main()
