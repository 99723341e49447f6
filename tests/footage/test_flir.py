from __future__ import annotations

import io
import math
import struct
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from cycada.errors import DataError, UsageError
from cycada.footage import ReadOptions, open_footage
from cycada.footage.palettes import read_palette

R1, R2, B, O, F = 15401.146, 0.012555, 1437.3, -6303, 1.0  # noqa: E741  # as FLIR calls them
RAW, CALIBRATION, PALETTE = 1, 32, 34


def scene() -> NDArray[np.uint16]:
    """Return counts of a warm disc in a cool room, with noise of some counts, 48 x 64."""
    y, x = np.mgrid[:48, :64]
    disc = np.exp(-(((x - 32) / 14.0) ** 2 + ((y - 24) / 16.0) ** 2))
    noise = np.random.default_rng(0).normal(0, 4, (48, 64))
    return np.round(17000 + 1500 * disc + noise).astype(np.uint16)


def radiometric(
    file: Path,
    raw: NDArray[np.uint16],
    *,
    order: Literal["<", ">"] = "<",
    stored: Literal["png swapped", "png", "numbers", "numbers reversed"] = "png swapped",
    emissivity: float = 0.95,
    reflected: float = 293.15,
    palette: bytes = b"",
    parts: int = 2,
    exif: Image.Exif | None = None,
) -> Path:
    """Write a JPEG with FLIR's FFF file in its segments, by the layout that ExifTool documents."""
    height, width = raw.shape
    head = struct.pack(f"{order}3H", 2, width, height).ljust(32, b"\0")
    if stored.startswith("png"):
        body = io.BytesIO()
        Image.fromarray(raw.byteswap() if stored == "png swapped" else raw).save(body, "png")
        payload = body.getvalue()
    else:
        reverse = stored == "numbers reversed"
        payload = raw.astype(f"{'<' if (order == '>') == reverse else '>'}u2").tobytes()
    info = bytearray(1024)
    struct.pack_into(f"{order}H", info, 0, 2)
    struct.pack_into(
        f"{order}6f", info, 32, emissivity, 0.0, reflected, 293.15, 293.15, 1.0
    )  # no distance, so no air
    struct.pack_into(f"{order}f", info, 60, 0.5)
    struct.pack_into(f"{order}3f", info, 88, R1, B, F)
    struct.pack_into(f"{order}5f", info, 112, 0.006569, 0.01262, -0.002276, -0.00667, 1.9)
    struct.pack_into(f"{order}if", info, 776, O, R2)
    info[212:221] = b"FLIR TEST"
    records = [(RAW, head + payload), (CALIBRATION, bytes(info))]
    if palette:
        table = struct.pack("<H", len(palette) // 3).ljust(112, b"\0") + palette
        records.append((PALETTE, table))
    camera = _camera_file(records)
    segments = b""
    step = -(-len(camera) // parts)
    for number in range(parts):
        piece = camera[number * step : (number + 1) * step]
        body_ = b"FLIR\0\x01" + bytes([number, parts - 1]) + piece
        segments += b"\xff\xe1" + struct.pack(">H", len(body_) + 2) + body_
    shown = io.BytesIO()
    Image.new("RGB", (96, 72), (200, 40, 40)).save(shown, "jpeg", exif=exif or Image.Exif())
    jpeg = shown.getvalue()
    file.write_bytes(jpeg[:2] + segments + jpeg[2:])
    return file


def _camera_file(records: list[tuple[int, bytes]]) -> bytes:
    start = 64 + 32 * len(records)
    directory, bodies = b"", b""
    for kind, body in records:
        directory += struct.pack(">2H4I", kind, 1, 100, 1, start + len(bodies), len(body))
        directory = directory.ljust(32 * (len(directory) // 32 + 1), b"\0")
        bodies += body
    head = b"FFF\0".ljust(20, b"\0") + struct.pack(">3I", 101, 64, len(records))
    return head.ljust(64, b"\0") + directory + bodies


def by_the_formula(raw: NDArray[np.uint16], emissivity: float, reflected: float) -> Any:
    """Return deg C in float64 as FLIR's formula is published, without air."""
    mirrored = R1 / (R2 * (math.exp(B / reflected) - F)) - O
    seen = (raw.astype(np.float64) - (1 - emissivity) * mirrored) / emissivity
    return B / np.log(R1 / (R2 * (seen + O)) + F) - 273.15


@pytest.mark.parametrize("name", ["a.JPG", "a.png", "a.tiff"])
def test_a_radiometric_jpeg_is_known_by_any_name(tmp_path: Path, name: str) -> None:
    footage = open_footage(radiometric(tmp_path / name, scene()))
    assert (footage.unit, footage.size) == ("celsius", (48, 64))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("stored", ["png swapped", "png", "numbers", "numbers reversed"])
def test_temperatures_are_those_of_the_formula_in_every_order_of_bytes(
    tmp_path: Path, order: Any, stored: Any
) -> None:
    raw = scene()
    file = radiometric(tmp_path / "a.jpg", raw, order=order, stored=stored)
    footage = open_footage(file)
    (frame,) = footage.frames()
    assert (footage.unit, footage.count, footage.size) == ("celsius", 1, (48, 64))
    assert frame.image.dtype == torch.float32
    expected = by_the_formula(raw, float(np.float32(0.95)), 293.15)
    np.testing.assert_allclose(frame.image[0].numpy(), expected, rtol=0, atol=2e-3)
    # PNG counts big-endian, so bytes that lie the other way round are swapped.
    assert ("bytes swapped" in footage.notes[1]) == (stored in ("png swapped", "numbers reversed"))
    usual = {("<", "png swapped"), (">", "png"), ("<", "numbers"), (">", "numbers")}
    assert ("not as in most files" in footage.notes[1]) == ((order, stored) not in usual)


def test_what_was_understood_is_told(tmp_path: Path) -> None:
    notes = open_footage(radiometric(tmp_path / "a.jpg", scene())).notes
    assert notes[0] == (
        "FLIR radiometric JPEG of a FLIR TEST: emissivity 0.95, reflected 20.0 deg C, "
        "distance 0.0 m"
    )
    assert notes[-1].startswith("98% of it between ")


def test_emissivity_and_reflected_temperature_can_be_stated(tmp_path: Path) -> None:
    raw = scene()
    file = radiometric(tmp_path / "a.jpg", raw)
    footage = open_footage(file, ReadOptions(emissivity=0.7, reflected=5.0))
    found = next(footage.frames()).image[0].numpy()
    np.testing.assert_allclose(found, by_the_formula(raw, 0.7, 278.15), rtol=0, atol=2e-3)
    assert "emissivity 0.70 as stated, reflected 5.0 deg C as stated" in footage.notes[0]


def test_the_orientation_in_the_metadata_turns_the_temperatures(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    raw = scene()
    raw[:, :32] += 3000  # left in the file, so above when upright
    found = next(open_footage(radiometric(tmp_path / "a.jpg", raw, exif=exif)).frames()).image
    assert found.shape == (1, 64, 48)
    assert found[0, :32].min() > found[0, 32:].max()


def test_counts_below_the_calibration_are_refused(tmp_path: Path) -> None:
    raw = scene()
    raw[0, :3] = 100
    with pytest.raises(DataError, match=r"a\.jpg: 0\.098% of its counts are of no temperature"):
        open_footage(radiometric(tmp_path / "a.jpg", raw))


def test_the_palette_in_a_radiometric_jpeg_is_a_palette(tmp_path: Path) -> None:
    luma = np.linspace(16, 235, 64)
    table = np.stack([luma, np.linspace(128, 200, 64), np.full(64, 128)], axis=1)  # Y, Cr, Cb
    ycc = table.round().astype(np.uint8)
    file = radiometric(tmp_path / "a.jpg", scene(), palette=ycc.tobytes())
    found = read_palette(str(file))
    y, cr, cb = ycc.astype(float).T
    red = 1.164 * (y - 16) + 1.596 * (cr - 128)  # ITU-R BT.601
    green = 1.164 * (y - 16) - 0.813 * (cr - 128) - 0.392 * (cb - 128)
    blue = 1.164 * (y - 16) + 2.017 * (cb - 128)
    expected = np.stack([red, green, blue], axis=1).clip(0, 255)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1.5)


def damaged(file: Path, **changes: Any) -> None:
    radiometric(file, scene(), **changes)


def cut_within_the_counts(file: Path) -> None:
    radiometric(file, scene(), parts=1)
    whole = file.read_bytes()
    at = whole.index(b"FLIR\0")
    short = bytearray(whole)
    length = struct.unpack_from(">H", whole, at - 2)[0]
    del short[at + 2000 : at - 2 + length]
    struct.pack_into(">H", short, at - 2, 2002)
    file.write_bytes(short)


def without_its_second_part(file: Path) -> None:
    radiometric(file, scene())
    whole = file.read_bytes()
    at = whole.index(b"FLIR\0\x01\x01\x01")
    length = struct.unpack_from(">H", whole, at - 2)[0]
    file.write_bytes(whole[: at - 4] + whole[at - 2 + length :])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (cut_within_the_counts, "its thermal data break off"),
        (without_its_second_part, "part 1 of 2 of its thermal data is missing"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, make: Any, message: str) -> None:
    make(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=rf"a\.jpg: cannot be read as a rad.* \({message}\)"):
        open_footage(tmp_path / "a.jpg")


def test_options_that_contradict_the_calibration_are_refused(tmp_path: Path) -> None:
    file = radiometric(tmp_path / "a.jpg", scene())
    (tmp_path / "c.toml").write_text("gain = 1\noffset = 0\n")
    with pytest.raises(DataError, match="is calibrated and gives celsius; leave out --unit"):
        open_footage(file, ReadOptions(unit="centikelvin"))
    with pytest.raises(DataError, match="brings its own calibration"):
        open_footage(file, ReadOptions(calibration=tmp_path / "c.toml"))


def test_without_flyr_the_command_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = radiometric(tmp_path / "a.jpg", scene())
    monkeypatch.setitem(sys.modules, "flyr.thermal", None)
    with pytest.raises(
        UsageError,
        match=r"a radiometric JPEG needs the package flyr: pip install 'cycada\[flir\]'",
    ):
        open_footage(file)
