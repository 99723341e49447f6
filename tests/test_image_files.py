from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cycada.errors import DataError
from cycada.image_reading import read_image
from cycada.image_writing import write_image


def every_count() -> Tensor:
    """Return an image that holds each 16-bit value once."""
    return torch.arange(65536, dtype=torch.int32).to(torch.uint16).reshape(1, 256, 256)


def colours() -> Tensor:
    return torch.arange(3 * 5 * 7, dtype=torch.uint8).reshape(3, 5, 7)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF", ".npy"])
def test_all_16_bit_values_survive_a_file(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"face{suffix}"
    write_image(file, every_count())
    again = read_image(file)
    assert again.dtype == torch.uint16
    assert torch.equal(again, every_count())


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
@pytest.mark.parametrize("channels", [1, 3])
def test_8_bit_values_survive_a_lossless_file(tmp_path: Path, suffix: str, channels: int) -> None:
    file = tmp_path / f"face{suffix}"
    write_image(file, colours()[:channels])
    assert torch.equal(read_image(file), colours()[:channels])


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_floats_survive_a_file(tmp_path: Path, suffix: str) -> None:
    celsius = torch.linspace(20, 40, 35).reshape(1, 5, 7)
    write_image(tmp_path / f"face{suffix}", celsius)
    assert torch.equal(read_image(tmp_path / f"face{suffix}"), celsius)


def test_a_jpeg_comes_back_nearly_the_same(tmp_path: Path) -> None:
    image = torch.full((3, 16, 16), 90, dtype=torch.uint8)
    image[0] = 200
    write_image(tmp_path / "face.jpg", image)
    difference = read_image(tmp_path / "face.jpg").float() - image.float()
    assert difference.abs().max() <= 3


def test_the_writer_leaves_no_metadata_and_no_temporary_file(tmp_path: Path) -> None:
    write_image(tmp_path / "new" / "face.jpg", colours())
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["face.jpg"]
    with Image.open(tmp_path / "new" / "face.jpg") as picture:
        assert not picture.getexif()


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(_picture: Image.Image, file: Path, **_options: object) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    file = tmp_path / "face.png"
    write_image(file, colours())
    monkeypatch.setattr(Image.Image, "save", break_off)
    with pytest.raises(DataError, match=r"face\.png: cannot be written \(No space left"):
        write_image(file, colours())
    assert [found.name for found in tmp_path.iterdir()] == ["face.png"]
    assert torch.equal(read_image(file), colours())


@pytest.mark.parametrize(
    ("suffix", "image", "message"),
    [
        (".jpg", every_count(), r"\.jpg holds no 1-channel uint16 image; use \.png"),
        (".png", torch.zeros(1, 2, 2), r"\.png holds no 1-channel float32 image; use \.tif"),
        (".bmp", colours(), r"\.bmp holds no 3-channel uint8 image"),
    ],
)
def test_a_format_that_cannot_hold_the_values_is_refused(
    tmp_path: Path, suffix: str, image: Tensor, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write_image(tmp_path / f"face{suffix}", image)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_the_orientation_in_the_metadata_is_applied(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    stored = np.zeros((8, 16), dtype=np.uint8)
    stored[:, :8] = 255  # left in the file, so above when upright
    Image.fromarray(stored).save(tmp_path / f"face{suffix}", exif=exif)
    image = read_image(tmp_path / f"face{suffix}")
    assert image.shape == (1, 16, 8)
    assert image[0, :7].min() > 250
    assert image[0, 9:].max() < 5


def test_palettes_become_colours(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "face.png")
    assert read_image(tmp_path / "face.png").flatten(1).T.tolist() == [[10, 20, 30], [40, 50, 60]]


def test_an_opaque_alpha_channel_is_dropped_and_a_transparent_one_refused(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (1, 2, 3, 255)).save(tmp_path / "opaque.png")
    assert read_image(tmp_path / "opaque.png")[:, 0, 0].tolist() == [1, 2, 3]
    Image.new("RGBA", (4, 4), (1, 2, 3, 254)).save(tmp_path / "glass.png")
    with pytest.raises(DataError, match=r"glass\.png: has transparent pixels"):
        read_image(tmp_path / "glass.png")


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (1, 5, 7)])
def test_arrays_are_read_in_every_order_of_axes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.arange(35, dtype=">u2").reshape(5, 7) + 30000
    np.save(tmp_path / "face.npy", values.reshape(shape))
    assert read_image(tmp_path / "face.npy")[0].tolist() == values.tolist()
    np.save(tmp_path / "rgb.npy", colours().numpy().transpose(1, 2, 0))
    assert torch.equal(read_image(tmp_path / "rgb.npy"), colours())


def test_colour_with_16_bits_survives_an_array(tmp_path: Path) -> None:
    image = every_count().expand(3, -1, -1)
    write_image(tmp_path / "deep.npy", image)
    assert torch.equal(read_image(tmp_path / "deep.npy").to(torch.int32), image.to(torch.int32))


def test_whole_numbers_of_another_type_are_kept_when_they_can_only_be_16_bit(
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "face.npy", np.full((2, 2), 30515, dtype=np.int64))
    assert read_image(tmp_path / "face.npy").dtype == torch.uint16
    Image.fromarray(np.full((2, 2), 30515, dtype=np.int32)).save(tmp_path / "face.tif")
    assert read_image(tmp_path / "face.tif").tolist() == [[[30515, 30515]] * 2]


def colour_png_with_16_bits(file: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    pixel = zlib.compress(b"\0" + struct.pack(">HHH", 30000, 30001, 30002))
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def several_pages(file: Path) -> None:
    page = Image.new("L", (2, 2))
    page.save(file, save_all=True, append_images=[page])


def tiff(file: Path, planes: list[bytes], *, bits: int, kind: int, rgb: bool) -> None:
    """Write a TIFF of 2 x 2 pixels by the specification, each channel in a plane of its own."""
    count, place = len(planes), 8 + 2 + 12 * 10 + 4
    extra = struct.pack(f"<{3 * count}H", *[bits] * count, *[0] * (2 * count))
    starts = [place + len(extra) + at * len(planes[0]) for at in range(count)]
    lengths = [len(plane) for plane in planes]
    many = struct.pack(f"<{2 * count}I", *starts, *lengths)
    starts = [start + len(many) for start in starts]
    many = struct.pack(f"<{2 * count}I", *starts, *lengths)
    at = place + len(extra)
    tags = [
        (256, 4, 1, 2), (257, 4, 1, 2), (258, 3, count, place if count > 2 else bits),
        (259, 3, 1, 1), (262, 3, 1, 2 if rgb else 1),
        (273, 4, count, at if count > 1 else starts[0]), (277, 3, 1, count),
        (279, 4, count, at + 4 * count if count > 1 else lengths[0]), (284, 3, 1, 2),
        (339, 3, 1, kind),
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0" + struct.pack("<I", 8)
    file.write_bytes(head + directory + bytes(4) + extra + many + b"".join(planes))


def planes_with_16_bits(file: Path) -> None:
    tiff(file, [struct.pack("<4H", *[30000 + i] * 4) for i in range(3)], bits=16, kind=1, rgb=True)


def floats_with_64_bits(file: Path) -> None:
    tiff(file, [struct.pack("<4d", 31, 32, 33, 34)], bits=64, kind=3, rgb=False)


def stack_of_one_page(description: str) -> Callable[[Path], None]:
    def make(file: Path) -> None:
        page = np.full((40, 40), 30000, np.uint16)
        Image.fromarray(page).save(file, tiffinfo={270: description})
        with file.open("ab") as stream:
            stream.write(page.tobytes() * 2)

    return make


def animated(file: Path) -> None:
    page = Image.new("L", (2, 2))
    page.save(file, save_all=True, append_images=[Image.new("L", (2, 2), 9)])


def truncated(file: Path) -> None:
    Image.effect_noise((64, 64), 50).save(file)
    file.write_bytes(file.read_bytes()[:-500])


def test_the_file_by_hand_that_planes_are_put_in_is_a_tiff(tmp_path: Path) -> None:
    tiff(tmp_path / "a.tif", [bytes([1, 2, 3, 4 + i]) for i in range(3)], bits=8, kind=1, rgb=True)
    assert read_image(tmp_path / "a.tif")[:, 1, 1].tolist() == [4, 5, 6]


def test_a_page_taken_out_of_a_stack_may_keep_its_description(tmp_path: Path) -> None:
    page = np.full((40, 40), 30000, np.uint16)
    Image.fromarray(page).save(tmp_path / "a.tif", tiffinfo={270: "ImageJ=1.54\nimages=3\n"})
    assert read_image(tmp_path / "a.tif").shape == (1, 40, 40)


BAD: list[tuple[str, Callable[[Path], object], str]] = [
    ("gone.png", lambda _: None, "there is no such image file"),
    ("face.gif", lambda file: file.write_bytes(b"x"), r"\.gif is no image format"),
    ("empty.png", lambda file: file.write_bytes(b""), "cannot be read as an image"),
    ("text.jpg", lambda file: file.write_text("hello"), "cannot be read as an image"),
    ("half.png", truncated, "cannot be read as an image"),
    ("half.jpg", truncated, "cannot be read as an image"),
    ("half.tif", truncated, "cannot be read as an image"),
    ("text.npy", lambda file: file.write_text("hello"), "cannot be read as an image"),
    ("folder.png", lambda file: file.mkdir(), "is a folder, not a file"),
    ("pages.tif", several_pages, "holds several pages"),
    ("imagej.tif", stack_of_one_page("ImageJ=1.54\nimages=3\n"), "holds 3 pictures, but lists"),
    (
        "shaped.tif",
        stack_of_one_page('{"shape": [3, 40, 40], "truncated": true}'),
        "holds 3 pictures, but lists",
    ),
    ("moving.png", animated, "is animated"),
    ("planes.tif", planes_with_16_bits, "16 bits in each of several channels"),
    ("double.tif", floats_with_64_bits, "known are 8 or 16 bits, or floats of 32 bits"),
    ("deep.png", colour_png_with_16_bits, "16 bits in each of several channels"),
    ("print.jpg", lambda file: Image.new("CMYK", (2, 2)).save(file), "kind CMYK"),
    ("nan.npy", lambda file: np.save(file, np.full((2, 2), np.nan)), "not finite numbers, 4 of 4"),
    ("line.npy", lambda file: np.save(file, np.zeros(5, np.uint8)), r"not the shape \(5,"),
    ("none.npy", lambda file: np.save(file, np.zeros((0, 5), np.uint8)), "not the shape"),
    ("minus.npy", lambda file: np.save(file, np.full((2, 2), -1)), "values from -1 to -1"),
    ("small.npy", lambda file: np.save(file, np.full((2, 2), 200)), "may be 8 or 16 bits"),
    ("bool.npy", lambda file: np.save(file, np.ones((2, 2), bool)), "holds bool values"),
    ("object.npy", lambda file: np.save(file, np.array([[{}]])), "cannot be read as an image"),
]


@pytest.mark.parametrize(("name", "make", "message"), BAD, ids=[case[0] for case in BAD])
def test_an_unusable_file_is_named_in_one_sentence(
    tmp_path: Path, name: str, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(DataError, match=message) as caught:
        read_image(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who continues after a power cut takes what has its name for whole."""
    done: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def synced(handle: int) -> None:
        done.append(f"sync {os.fstat(handle).st_size > 0}")
        fsync(handle)

    def renamed(path: Path, target: Path) -> Path:
        done.append("name")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    picture = torch.zeros(3, 8, 8, dtype=torch.uint8)
    write_image(tmp_path / "a.png", picture)
    assert done == ["sync True", "name"]
    done.clear()
    write_image(tmp_path / "b.png", picture, synced=False)
    assert done == ["name"]
