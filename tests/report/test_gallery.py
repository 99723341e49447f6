"""Sets of pictures on disk: what a page reads from them is what was put in."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cycada.errors import CycadaError, DataError
from cycada.report.gallery import GallerySet, SetWriter, path_digest, script_json
from cycada.report.gallery_folders import remove_sets
from cycada.report.gallery_items import FigureColumn, Item, UnitColumns, View
from cycada.report.page import Gallery, Page, Section, files_folder, write_page

VIEWS = (
    View(key="source", label="RGB", kind="rgb"),
    View(key="made", label="As thermal", kind="thermal", of="truth"),
    View(key="truth", label="True thermal", kind="thermal"),
)
FIGURES = (FigureColumn(key="cycle", label="Cycle error", worst="high"),)
UNITS = UnitColumns(
    names=("AU01", "AU12"), meanings=("inner brow raiser", "lip corner puller"),
    thresholds=(0.5, 1 / 3), sides=("source", "made"),
)  # fmt: skip


def writer(folder: Path, *, named: bool = False, units: UnitColumns | None = UNITS) -> SetWriter:
    return SetWriter(
        folder, identity=folder.name, title="Made faces", intro="", views=VIEWS, figures=FIGURES,
        units=units, window=(20, 40), include_subjects=named, thumb=32,
    )  # fmt: skip


def item(number: int, **given: object) -> Item:
    generator = torch.Generator().manual_seed(number)
    pictures = {
        "source": torch.rand(3, 24, 24, generator=generator) * 2 - 1,
        "made": torch.rand(1, 24, 24, generator=generator) * 2 - 1,
    }
    values = {
        "name": f"faces/Jane Doe/{number}.png", "split": "test", "domain": "rgb",
        "subject": "Jane Doe", "pictures": pictures, "figures": {"cycle": number / 7},
    }  # fmt: skip
    return Item(**{**values, **given})


def written(folder: Path, *items: Item, **given: object) -> GallerySet:
    with writer(folder, **given) as opened:
        for each in items:
            opened.add(each)
        return opened.close()


def arguments(script: Path, name: str) -> list:
    """Return the arguments of the one call that a script may hold, which have to be JSON."""
    text = script.read_text(encoding="ascii")
    assert text.startswith(f"{name}(")
    assert text.endswith(");\n")
    return json.loads(f"[{text[len(name) + 1 : -3]}]")


def items_of(shown: GallerySet) -> dict:
    identity, columns = arguments(shown.folder / "items.js", "cycadaSet")
    assert identity == shown.identity
    return columns


def test_the_columns_hold_what_was_put_in(tmp_path: Path) -> None:
    shown = written(
        tmp_path / "a", item(1), item(2, figures={"cycle": math.nan}, split="val"), item(3)
    )
    columns = items_of(shown)
    assert columns["count"] == shown.count == 3
    assert columns["figures"] == {"cycle": [pytest.approx(1 / 7, rel=1e-5), None, 0.428571]}
    assert columns["words"]["split"] == {"values": ["test", "val"], "places": [0, 1, 0]}
    assert list(base64.b64decode(columns["has"])) == [0b011] * 3
    assert columns["window"] == [20, 40]
    assert columns["stamp"] == shown.stamp


def test_probabilities_stay_on_their_side_of_the_threshold(tmp_path: Path) -> None:
    third = 1 / 3
    asked = [
        (0.5, third),
        (math.nextafter(0.5, 0), math.nextafter(third, 0)),
        (1.0, 0.0),
        (None, 0.25),
    ]
    items = [
        item(n, true=(1, None), probability={"source": told, "made": told[::-1]})
        for n, told in enumerate(asked)
    ]
    columns = items_of(written(tmp_path / "a", *items))
    codes = np.frombuffer(base64.b64decode(columns["probability"]["source"]), "<u2").reshape(-1, 2)
    found = codes / 65534
    for row, told in zip(found, asked, strict=True):
        for value, probability, threshold in zip(row, told, UNITS.thresholds, strict=True):
            if probability is None:
                assert value > 1
            else:
                assert value == pytest.approx(probability, abs=2e-5)
                assert (value >= threshold) == (probability >= threshold)
    assert columns["true"] == "1-" * 4


def test_a_thermal_picture_is_kept_to_16_bits_and_a_colour_to_8(tmp_path: Path) -> None:
    given = item(5)
    shown = written(tmp_path / "a", given)
    identity, number, full = arguments(shown.folder / "full" / "000000.js", "cycadaFull")
    assert (identity, number) == ("a", 0)
    made = full["views"]["made"]
    height, width = made["size"]
    planes = np.frombuffer(zlib.decompress(base64.b64decode(made["codes"])), np.uint8)
    low, high = planes.reshape(2, height, width).astype(np.int64)
    codes = np.cumsum(low + 256 * high, axis=1) % 65536
    truth = (given.pictures["made"][0].double().numpy() + 1) / 2 * 65535
    assert np.abs(codes - truth).max() <= 0.51
    uri = full["views"]["source"]["uri"].partition(",")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri[2]))))
    wanted = (given.pictures["source"].permute(1, 2, 0).double().numpy() + 1) / 2 * 255
    assert np.abs(pixels - wanted).max() <= 0.51


def test_thumbs_stand_side_by_side_each_in_its_square_and_what_is_missing_is_empty(
    tmp_path: Path,
) -> None:
    wide = {"source": torch.ones(3, 24, 48), "truth": -torch.ones(1, 24, 24)}
    shown = written(tmp_path / "a", item(0, pictures=wide))
    with Image.open(shown.folder / "thumbs" / "000000.webp") as opened:
        row = np.asarray(opened.convert("RGBA")).astype(int)
    assert row.shape == (32, 96, 4)
    assert row[8:24, :32, :3].min() > 235
    assert row[:8, :32, 3].max() == row[24:, :32, 3].max() == 0
    assert row[:, 32:64, 3].max() == 0
    assert row[:, 64:, :3].max() < 20
    assert row[:, 64:, 3].min() == 255


def test_activations_are_kept_as_bytes(tmp_path: Path) -> None:
    shares = torch.linspace(0, 1, 12).reshape(3, 4)
    shown = written(tmp_path / "a", item(0, activation={"made": {"AU12": shares}}))
    full = arguments(shown.folder / "full" / "000000.js", "cycadaFull")[2]
    kept = full["activation"]["made"]["AU12"]
    assert kept["size"] == [3, 4]
    found = np.frombuffer(base64.b64decode(kept["shares"]), np.uint8) / 255
    assert found == pytest.approx(shares.flatten().numpy(), abs=1 / 500)


def test_a_set_names_nobody_unless_asked(tmp_path: Path) -> None:
    plain = written(tmp_path / "a", item(1))
    asked = written(tmp_path / "b", item(1), named=True)
    for file in plain.folder.rglob("*.*"):
        assert b"Jane" not in file.read_bytes()
    digest = hashlib.sha256(b"faces/Jane Doe/1.png").hexdigest()[:16]
    assert items_of(plain)["names"] == [digest] == [path_digest("faces/Jane Doe/1.png")]
    assert items_of(asked)["names"] == ["faces/Jane Doe/1.png"]
    assert items_of(asked)["words"]["subject"]["values"] == ["Jane Doe"]


def test_a_name_that_is_no_text_has_the_digest_of_its_bytes() -> None:
    assert path_digest("\udcff") == hashlib.sha256(b"\xff").hexdigest()[:16]


def test_data_scripts_hold_no_sign_that_ends_a_script_or_a_line() -> None:
    text = script_json({"<a>": "</script><!--&\u2028\u2029é\udcff"})
    assert not set("<>&\u2028\u2029") & set(text)
    assert text.isascii()
    assert json.loads(text) == {"<a>": "</script><!--&\u2028\u2029é\udcff"}


def test_the_same_pictures_have_the_same_bytes_and_other_pictures_another_stamp(
    tmp_path: Path,
) -> None:
    one, two = (written(tmp_path / name / "a", item(1), item(2)) for name in ("x", "y"))
    assert one.stamp == two.stamp
    for file in (path for path in one.folder.rglob("*") if path.is_file()):
        assert file.read_bytes() == (two.folder / file.relative_to(one.folder)).read_bytes()
    assert written(tmp_path / "x" / "a", item(1), item(3)).stamp != one.stamp


def test_what_is_not_closed_leaves_the_earlier_set_and_nothing_else(tmp_path: Path) -> None:
    shown = written(tmp_path / "a", item(1))
    before = sorted(tmp_path.rglob("*"))
    with writer(tmp_path / "a") as opened:
        opened.add(item(2))
    assert sorted(tmp_path.rglob("*")) == before
    assert items_of(shown)["stamp"] == shown.stamp


def test_an_earlier_set_is_replaced_whole(tmp_path: Path) -> None:
    written(tmp_path / "a", item(1), item(2))
    written(tmp_path / "a", item(3))
    assert [file.name for file in (tmp_path / "a" / "thumbs").iterdir()] == ["000000.webp"]


def test_files_of_others_are_never_replaced_and_links_not_followed(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "face.png").write_bytes(b"mine")
    with pytest.raises(DataError, match="holds other files"):
        writer(tmp_path / "photos")
    (tmp_path / "link").symlink_to(tmp_path / "photos", target_is_directory=True)
    for folder in (tmp_path / "link", tmp_path / "link" / "a"):
        with pytest.raises(DataError, match="is a link"):
            writer(folder)
    assert [file.name for file in (tmp_path / "photos").iterdir()] == ["face.png"]


def test_a_picture_that_is_not_finite_is_refused_by_name(tmp_path: Path) -> None:
    broken = {"source": torch.full((3, 8, 8), math.nan)}
    with writer(tmp_path / "a") as opened, pytest.raises(DataError, match=r"1\.png.*RGB.*finite"):
        opened.add(item(1, pictures=broken))


def test_a_place_that_nobody_can_write_to_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CycadaError, match="cannot be written"):
        writer(tmp_path / "file" / "report_files" / "a")


def test_a_page_removes_the_sets_that_it_does_not_show_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    beside = files_folder(page)
    old, kept = written(beside / "old", item(1)), written(beside / "kept", item(1))
    (beside / "notes").mkdir()
    (beside / "notes" / "items.js").write_text("mine")
    section = Section(title="Faces", blocks=(Gallery(shown=kept),))
    write_page(page, Page(title="Faces", sections=(section,)))
    assert not old.folder.exists()
    assert kept.folder.exists()
    assert (beside / "notes" / "items.js").read_text() == "mine"
    write_page(page, Page(title="No faces"))  # as with --no-samples
    assert [path.name for path in beside.iterdir()] == ["notes"]
    remove_sets(tmp_path / "missing")
