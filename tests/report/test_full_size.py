"""Pictures in full size: those of their files, of the worst faces first, within a budget."""

from __future__ import annotations

import base64
import io
import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from cycada import image_writing
from cycada.progress import Progress
from cycada.report.full_size import (
    LARGEST_PIXELS,
    PictureFile,
    full_size_values,
    shown_size,
)
from cycada.report.gallery import GallerySet, SetWriter
from cycada.report.gallery_items import FigureColumn, Item, View
from cycada.stages.report_choice import GalleryOptions
from cycada.thermal import Unit

WINDOW = (28.0, 37.0)
VIEWS = (
    View(key="image", label="Thermal", kind="thermal"),
    View(key="pair", label="RGB", kind="rgb"),
)
SIDE = 16


def colours_of(view: Mapping[str, Any]) -> np.ndarray:
    """Return the pixels of a picture as a browser unpacks them."""
    kind, _, text = view["uri"].partition(",")
    assert kind == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
        assert not picture.getexif()
        return np.asarray(picture)


def codes_of(view: Mapping[str, Any]) -> np.ndarray:
    height, width = view["size"]
    planes = np.frombuffer(zlib.decompress(base64.b64decode(view["codes"])), dtype=np.uint8)
    low, high = planes.reshape(2, height, width).astype(np.int64)
    return np.cumsum(low + 256 * high, axis=1) % 65536


def test_colours_are_those_of_the_file_upright_and_without_its_notes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    exif[0x010E] = "Jane Doe"
    Image.fromarray(noise).save(tmp_path / "a.jpg", exif=exif, comment=b"Jane Doe")
    values = full_size_values({"pair": PictureFile(tmp_path / "a.jpg", "rgb")}, None)
    with Image.open(tmp_path / "a.jpg") as picture:
        known = np.asarray(ImageOps.exif_transpose(picture))
    assert values["views"]["pair"]["size"] == values["views"]["pair"]["of"] == [50, 30]
    assert np.array_equal(colours_of(values["views"]["pair"]), known)
    assert values["span"] is None
    content = base64.b64decode(values["views"]["pair"]["uri"].partition(",")[2])
    assert b"Jane" not in content
    assert b"EXIF" not in content


def test_a_grey_file_is_shown_as_colours_of_its_levels(tmp_path: Path) -> None:
    levels = np.arange(200, dtype=np.uint8).reshape(10, 20)
    Image.fromarray(levels).save(tmp_path / "a.png")
    files = {
        "pair": PictureFile(tmp_path / "a.png", "rgb"),
        "image": PictureFile(tmp_path / "a.png", "thermal"),
    }
    views = full_size_values(files, None)["views"]
    assert np.array_equal(colours_of(views["pair"]), np.repeat(levels[..., None], 3, axis=2))
    assert np.array_equal(codes_of(views["image"]), levels.astype(int) * 257)


@pytest.mark.parametrize("unit", ["centikelvin", "celsius"])
def test_temperatures_are_those_of_the_file_also_beyond_the_window(
    tmp_path: Path, unit: Any
) -> None:
    celsius = np.random.default_rng(0).uniform(12, 61, (9, 21)).astype(np.float32).round(2)
    if unit == "celsius":
        image_writing.write_image(tmp_path / "a.npy", torch.from_numpy(celsius))
        path = tmp_path / "a.npy"
    else:
        counts = ((celsius + 273.15) * 100).round().astype(np.uint16)
        image_writing.write_image(tmp_path / "a.png", torch.from_numpy(counts))
        path = tmp_path / "a.png"
    inside = np.full((4, 4), 30.0, dtype=np.float32)
    image_writing.write_image(tmp_path / "b.npy", torch.from_numpy(inside))
    values = full_size_values(
        {
            "image": PictureFile(path, "thermal", unit),
            "truth": PictureFile(tmp_path / "b.npy", "thermal", "celsius"),
        },
        WINDOW,
    )
    low, high = values["span"]
    assert low == pytest.approx(celsius.min(), abs=1e-4)
    assert high == pytest.approx(celsius.max(), abs=1e-4)
    for key, known in (("image", celsius), ("truth", inside)):
        found = low + codes_of(values["views"][key]) / 65535 * (high - low)
        assert np.abs(found - known).max() < 0.001


def test_temperatures_within_the_window_span_the_window(tmp_path: Path) -> None:
    image_writing.write_image(tmp_path / "a.npy", torch.full((1, 4, 6), 30.0))
    values = full_size_values(
        {"image": PictureFile(tmp_path / "a.npy", "thermal", "celsius")}, WINDOW
    )
    assert values["span"] == list(WINDOW)


@pytest.mark.parametrize("size", [(1, 1), (600, 800), (4096, 4096), (5, 16383)])
def test_what_a_browser_can_hold_keeps_its_size(size: tuple[int, int]) -> None:
    assert shown_size(size) == size


@pytest.mark.parametrize("size", [(4097, 4096), (8000, 12000), (3, 40000), (100_000, 1700)])
def test_a_larger_picture_is_scaled_and_keeps_its_shape(size: tuple[int, int]) -> None:
    height, width = shown_size(size)
    assert height * width <= LARGEST_PIXELS
    assert max(height, width) <= 16383
    assert height * width > 0.99 * LARGEST_PIXELS or max(height, width) >= 16382
    assert width / size[1] == pytest.approx(height / size[0], abs=1 / min(size))


def test_a_scaled_picture_says_how_large_its_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cycada.report.full_size.LARGEST_PIXELS", 1000)
    pixels = torch.full((1, 80, 90), 30.0)
    image_writing.write_image(tmp_path / "a.npy", pixels)
    image_writing.write_image(tmp_path / "b.png", torch.full((3, 80, 90), 77, dtype=torch.uint8))
    files = {
        "image": PictureFile(tmp_path / "a.npy", "thermal", "celsius"),
        "pair": PictureFile(tmp_path / "b.png", "rgb"),
    }
    views = full_size_values(files, WINDOW)["views"]
    for view in views.values():
        assert view["of"] == [80, 90]
        assert math.prod(view["size"]) <= 1000
    assert (colours_of(views["pair"]) == 77).all()


def test_a_file_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    files = {
        "image": PictureFile(tmp_path / "a.png", "thermal"),
        "pair": PictureFile(tmp_path / "missing.png", "rgb"),
    }
    assert full_size_values(files, WINDOW)["views"] == {}


@pytest.mark.parametrize(("window", "unit"), [(WINDOW, "grey"), (None, "celsius")])
def test_a_thermal_file_is_left_out_whose_scale_is_not_the_gallerys(
    tmp_path: Path, window: tuple[float, float] | None, unit: Unit
) -> None:
    image_writing.write_image(tmp_path / "a.npy", torch.full((1, 20, 20), 30.0))
    image_writing.write_image(tmp_path / "b.png", torch.full((1, 20, 20), 30, dtype=torch.uint8))
    file = tmp_path / ("b.png" if unit == "grey" else "a.npy")
    assert full_size_values({"image": PictureFile(file, "thermal", unit)}, window)["views"] == {}


# --- of a set: the worst first -------------------------------------------------------------------

SIZES = ((20, 30), (SIDE, SIDE), (40, 30), (10, 10), (30, 30))
BLUR = (0.3, 0.1, float("nan"), 0.2, 0.5)  # the highest is the worst


def written(folder: Path, most_pixels: int | None) -> GallerySet:
    files: list[dict[str, PictureFile]] = []
    with SetWriter(
        folder / "set", identity="set", title="Faces", intro="", views=VIEWS,
        figures=(FigureColumn(key="blur", label="Blur", worst="high"),), units=None,
        window=WINDOW, include_subjects=False, thumb=32,
    ) as writer:  # fmt: skip
        for number, (height, width) in enumerate(SIZES):
            file = folder / "Jane Doe" / f"{number}.npy"
            image_writing.write_image(file, torch.full((1, height, width), 25.0 + number))
            files.append({"image": PictureFile(file, "thermal", "celsius")})
            writer.add(Item(
                name=f"Jane Doe/{number}.npy", pictures={"image": torch.zeros(1, SIDE, SIDE)},
                figures={"blur": BLUR[number]},
            ))  # fmt: skip
        writer.add_full_size(
            files.__getitem__, side=SIDE, most_pixels=most_pixels,
            progress=Progress(shown=False), desc="full size",
        )  # fmt: skip
        return writer.close()


def whole_of(shown: GallerySet) -> dict[int, Any]:
    """Return what the scripts of a set hold in full size, by the number of the face."""
    found = {}
    for file in sorted((shown.folder / "whole").glob("*")):
        text = file.read_text(encoding="ascii")
        assert text.startswith("cycadaWhole(")
        identity, number, values = json.loads(f"[{text[len('cycadaWhole(') : -3]}]")
        assert identity == "set"
        assert file.name == f"{number:06d}.js"
        found[number] = values
    return found


def states(shown: GallerySet) -> str:
    text = (shown.folder / "items.js").read_text(encoding="ascii")
    return json.loads(text[len('cycadaSet("set",') : -3])["whole"]


def test_all_that_is_no_square_of_the_size_shown_is_there_in_full(tmp_path: Path) -> None:
    shown = written(tmp_path, None)
    assert states(shown) == "10111"
    found = whole_of(shown)
    assert sorted(found) == [0, 2, 3, 4]
    for number, values in found.items():
        assert tuple(values["views"]["image"]["size"]) == SIZES[number]


def test_pixels_go_to_the_worst_faces_until_they_are_used_up(tmp_path: Path) -> None:
    # In their order: 4 (900 pixels), 0 (600, too many), 3 (100), 2 (1200, and no figure).
    shown = written(tmp_path, 1400)
    assert states(shown) == "20211"
    assert sorted(whole_of(shown)) == [3, 4]


def test_no_pixels_allow_nothing(tmp_path: Path) -> None:
    shown = written(tmp_path, 0)
    assert states(shown) == "22222"
    assert not (shown.folder / "whole").exists()


def test_without_pixels_no_file_is_opened(tmp_path: Path) -> None:
    def refuse(number: int) -> dict[str, PictureFile]:
        raise AssertionError(number)

    with SetWriter(
        tmp_path / "set", identity="set", title="", intro="", views=VIEWS, figures=(), units=None,
        window=WINDOW, include_subjects=False, thumb=32,
    ) as writer:  # fmt: skip
        writer.add(Item(name="a", pictures={"image": torch.zeros(1, SIDE, SIDE)}))
        assert not writer.add_full_size(
            refuse, side=SIDE, most_pixels=0, progress=Progress(shown=False), desc=""
        )


def test_the_sets_of_a_page_draw_from_one_budget(tmp_path: Path) -> None:
    options = GalleryOptions(
        folder=tmp_path, count=None, subjects=False, device=torch.device("cpu"),
        progress=Progress(shown=False), full_pixels=1000,
    )  # fmt: skip
    image_writing.write_image(tmp_path / "a.npy", torch.full((1, 20, 30), 25.0))
    file = {"image": PictureFile(tmp_path / "a.npy", "thermal", "celsius")}
    found = []
    for number in range(2):
        with SetWriter(
            tmp_path / f"set{number}", identity="set", title="", intro="", views=VIEWS, figures=(),
            units=None, window=WINDOW, include_subjects=False, thumb=32,
        ) as writer:  # fmt: skip
            writer.add(Item(name="a", pictures={"image": torch.zeros(1, SIDE, SIDE)}))
            options.add_full_size(writer, lambda _: file, side=SIDE, name="a")
            found.append(states(writer.close()))
    assert found == ["1", "2"]


def test_a_set_written_again_without_keeps_nothing_in_full(tmp_path: Path) -> None:
    written(tmp_path, None)
    assert not (written(tmp_path, 0).folder / "whole").exists()


def test_nobody_is_named_in_full_size(tmp_path: Path) -> None:
    shown = written(tmp_path, None)
    for file in shown.folder.rglob("*.js"):
        assert b"Jane" not in file.read_bytes()


def test_other_pixels_have_another_stamp(tmp_path: Path) -> None:
    assert written(tmp_path / "a", None).stamp == written(tmp_path / "b", None).stamp
    assert written(tmp_path / "a", None).stamp != written(tmp_path / "b", 1400).stamp
