from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cycada.errors import DataError, UsageError
from cycada.footage import Frame, ReadOptions, open_footage
from cycada.image_writing import write_image
from cycada.thermal import Unit, Window, celsius_from_counts, counts_from_celsius


def face(height: int = 48, width: int = 40) -> Tensor:
    """Return deg C of something warm in a room, ``(1, H, W)``; the top left corner is coldest."""
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij"
    )
    celsius = 24 + 11 * torch.exp(-((x / 0.6) ** 2) - (y / 0.7) ** 2)
    celsius[0, 0] = 21.5
    return celsius[None]


def only(path: Path, **options: Any) -> Frame:
    (frame,) = open_footage(path, ReadOptions(**options)).frames()
    return frame


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("unit", ["centikelvin", "decikelvin", "kelvin64", "kelvin16"])
def test_the_unit_of_16_bit_images_is_told_by_their_median(
    tmp_path: Path, suffix: str, unit: Unit
) -> None:
    counts = counts_from_celsius(face(), unit)
    write_image(tmp_path / f"a{suffix}", counts)
    footage = open_footage(tmp_path / f"a{suffix}")
    assert (footage.unit, footage.count, footage.size) == (unit, 1, (48, 40))
    (frame,) = footage.frames()
    assert (frame.number, frame.seconds, frame.name) == (0, None, "a")
    assert torch.equal(frame.image, counts)
    assert footage.notes[0].startswith(f"{unit}, guessed from the median pixel ")
    assert footage.notes[1].startswith("98% of it between 24.")


@pytest.mark.parametrize(("unit", "shift"), [("celsius", 0.0), ("kelvin", 273.15)])
def test_the_unit_of_floats_is_told_by_their_median(
    tmp_path: Path, unit: Unit, shift: float
) -> None:
    write_image(tmp_path / "a.tif", face() + shift)
    footage = open_footage(tmp_path / "a.tif")
    assert footage.unit == unit
    assert torch.equal(next(footage.frames()).image, face() + shift)


def test_a_stated_unit_overrules_the_median(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", counts_from_celsius(face() - 60, "centikelvin"))
    with pytest.raises(DataError, match=r"a\.png: its median pixel, \d+, does not tell the unit"):
        open_footage(tmp_path / "a.png")
    footage = open_footage(tmp_path / "a.png", ReadOptions(unit="centikelvin"))
    assert footage.unit == "centikelvin"
    assert "centikelvin, as stated" in footage.notes


def test_raw_counts_give_no_temperatures(tmp_path: Path) -> None:
    lepton = (8192 + 40 * (face() - 30)).round().to(torch.int32).to(torch.uint16)
    write_image(tmp_path / "a.png", lepton)
    with pytest.raises(DataError, match="or --calibration for raw counts"):
        open_footage(tmp_path / "a.png")
    assert open_footage(tmp_path / "a.png", ReadOptions(unit="grey")).unit == "grey"


def test_a_guess_that_spans_more_than_a_hundred_kelvin_is_none(tmp_path: Path) -> None:
    counts = torch.full((1, 20, 20), 30000, dtype=torch.int32)
    counts[:, :2] = 15000  # -123 deg C if these were centikelvin
    write_image(tmp_path / "a.png", counts.to(torch.uint16))
    with pytest.raises(DataError, match="does not tell the unit"):
        open_footage(tmp_path / "a.png")


def test_raw_counts_become_deg_c_by_a_given_calibration(tmp_path: Path) -> None:
    lepton = (8192 + 40 * (face() - 30)).round().to(torch.int32).to(torch.uint16)
    write_image(tmp_path / "a.png", lepton)
    (tmp_path / "lepton.toml").write_text("gain = 0.025\noffset = -174.8\n")
    footage = open_footage(tmp_path / "a.png", ReadOptions(calibration=tmp_path / "lepton.toml"))
    image = next(footage.frames()).image
    assert (footage.unit, image.dtype) == ("celsius", torch.float32)
    torch.testing.assert_close(image, face(), rtol=0, atol=0.0126)


def test_planck_constants_take_the_emissivity_that_was_stated(tmp_path: Path) -> None:
    counts = torch.full((1, 4, 4), 20000, dtype=torch.int32).to(torch.uint16)
    write_image(tmp_path / "a.png", counts)
    file = tmp_path / "flir.toml"
    file.write_text("R1 = 15401.146\nR2 = 0.012555\nB = 1437.3\nO = -6303\nF = 1\nreflected = 20\n")
    black = only(tmp_path / "a.png", calibration=file).image
    grey = only(tmp_path / "a.png", calibration=file, emissivity=0.8).image
    # B / ln(R1 / (R2 (S + O)) + F) with S = 20000, in kelvin
    expected = 1437.3 / np.log(15401.146 / (0.012555 * (20000 - 6303)) + 1) - 273.15
    assert black[0, 0, 0].item() == pytest.approx(expected, abs=1e-4)
    assert grey[0, 0, 0] > black[0, 0, 0]  # warmer than its surroundings, so it hides some


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("edge", ["bottom", "top"])
def test_rows_of_telemetry_are_cut_off_with_a_note(tmp_path: Path, rows: int, edge: str) -> None:
    counts = counts_from_celsius(face(), "centikelvin").to(torch.int32)
    words = torch.zeros(1, rows, 40, dtype=torch.int32)
    words[0, 0, :12] = torch.tensor([14, 3, 40000, 1, 52301, 8, 65535, 7, 0, 29843, 120, 0xFFFF])
    parts = (counts, words) if edge == "bottom" else (words, counts)
    write_image(tmp_path / "a.tiff", torch.cat(parts, 1).to(torch.uint16))
    footage = open_footage(tmp_path / "a.tiff")
    assert footage.size == (48, 40)
    assert torch.equal(next(footage.frames()).image.to(torch.int32), counts)
    assert f"rows of telemetry cut off: {rows} at the {edge}" in footage.notes


def test_a_cold_lower_edge_is_no_telemetry(tmp_path: Path) -> None:
    celsius = face()
    celsius[:, -2:] = -40.0
    write_image(tmp_path / "a.tiff", counts_from_celsius(celsius, "centikelvin"))
    assert open_footage(tmp_path / "a.tiff").size == (48, 40)


def grey() -> Tensor:
    return ((face() - 20) / 20 * 255).round().to(torch.uint8)


def test_8_bit_grey_has_no_temperatures_unless_its_window_is_stated(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", grey())
    assert open_footage(tmp_path / "a.png").unit == "grey"
    footage = open_footage(tmp_path / "a.png", ReadOptions(window=Window(20, 40)))
    image = next(footage.frames()).image
    assert (footage.unit, image.dtype) == ("celsius", torch.float32)
    torch.testing.assert_close(image, face(), rtol=0, atol=20 / 255 / 2 + 1e-5)
    with pytest.raises(DataError, match=r"has 8 bits, which cannot count kelvin64; .* --window"):
        open_footage(tmp_path / "a.png", ReadOptions(unit="kelvin64"))


def test_black_hot_is_turned_round_on_request_alone(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 255 - grey())
    suspected = open_footage(tmp_path / "a.png")
    assert torch.equal(next(suspected.frames()).image, 255 - grey())
    assert any("may be black-hot" in note for note in suspected.notes)
    turned = open_footage(tmp_path / "a.png", ReadOptions(polarity="black-hot"))
    assert torch.equal(next(turned.frames()).image, grey())
    stated = open_footage(tmp_path / "a.png", ReadOptions(polarity="white-hot"))
    assert torch.equal(next(stated.frames()).image, 255 - grey())
    assert not any("may be black-hot" in note for note in stated.notes)
    write_image(tmp_path / "b.png", grey())
    assert not any("may be" in note for note in open_footage(tmp_path / "b.png").notes)


def test_temperatures_are_never_black_hot(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", counts_from_celsius(face(), "centikelvin"))
    with pytest.raises(DataError, match="holds temperatures, which are never black-hot"):
        open_footage(tmp_path / "a.png", ReadOptions(polarity="black-hot"))


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_frames_are_turned_clockwise(tmp_path: Path, degrees: int) -> None:
    counts = counts_from_celsius(face(), "centikelvin")
    write_image(tmp_path / "a.png", counts)
    footage = open_footage(tmp_path / "a.png", ReadOptions(rotate=degrees))  # type: ignore[arg-type]
    image = next(footage.frames()).image
    corner = {0: (0, 0), 90: (0, -1), 180: (-1, -1), 270: (-1, 0)}[degrees]
    assert int(image[0][corner]) == int(counts.to(torch.int32).min())
    assert footage.size == tuple(image.shape[1:])
    assert footage.size == ((48, 40) if degrees in (0, 180) else (40, 48))


def save_pages(file: Path, pages: list[Any], **options: Any) -> None:
    first, *rest = [Image.fromarray(page) for page in pages]
    first.save(file, save_all=True, append_images=rest, **options)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate"])
def test_the_pages_of_a_tiff_are_frames(tmp_path: Path, compression: str | None) -> None:
    counts = counts_from_celsius(face(), "centikelvin")[0].numpy()
    save_pages(tmp_path / "a.tif", [counts + i for i in range(40)], compression=compression)
    footage = open_footage(tmp_path / "a.tif")
    assert (footage.unit, footage.count) == ("centikelvin", 40)
    for _ in range(2):  # can be read again
        frames = list(footage.frames())
        assert [frame.number for frame in frames] == list(range(40))
        assert [frame.name for frame in frames[:2]] == ["000000", "000001"]
        assert all(
            torch.equal(frame.image[0], torch.from_numpy(counts + i))
            for i, frame in enumerate(frames)
        )


def test_a_page_unlike_the_first_is_named(tmp_path: Path) -> None:
    counts = counts_from_celsius(face(), "centikelvin")[0].numpy()
    save_pages(tmp_path / "a.tif", [counts] * 20 + [counts[:-1]])
    footage = open_footage(tmp_path / "a.tif")
    with pytest.raises(
        DataError, match=r"a\.tif, frame 20: is 40 x 47 .* the first is 40 x 48 with 1 channels"
    ):
        list(footage.frames())
    save_pages(tmp_path / "b.tif", [counts, counts[::2, ::2]])  # a thumbnail
    with pytest.raises(
        DataError, match=r"b\.tif, frame 000001: is 20 x 24 .* the first is 40 x 48"
    ):
        open_footage(tmp_path / "b.tif")


def test_a_folder_of_numbered_images_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    counts = counts_from_celsius(face(), "centikelvin").to(torch.int32)
    for number in (2, 10, 9, 100):
        write_image(tmp_path / f"frame_{number}.png", (counts + number).to(torch.uint16))
    footage = open_footage(tmp_path)
    frames = list(footage.frames())
    assert [frame.name for frame in frames] == ["frame_2", "frame_9", "frame_10", "frame_100"]
    assert [int(frame.image[0, 9, 9]) - int(counts[0, 9, 9]) for frame in frames] == [2, 9, 10, 100]
    assert [frame.number for frame in frames] == [0, 1, 2, 3]
    assert (footage.count, footage.frame_rate) == (4, None)


def test_a_folder_of_frames_has_the_times_of_its_table(tmp_path: Path) -> None:
    for number in (3, 4, 5):
        write_image(tmp_path / f"{number:06d}.png", counts_from_celsius(face(), "centikelvin"))
    (tmp_path / "times.csv").write_text("frame,seconds\n3,1.5\n4,1.75\n5,2.5\n6,3\n")
    footage = open_footage(tmp_path)
    assert [frame.seconds for frame in footage.frames()] == [0, 0.25, 1.0]
    assert footage.frame_rate == pytest.approx(2.0)
    (tmp_path / "times.csv").write_text("frame,seconds\n3,1.5\n4,1.75\n")
    with pytest.raises(DataError, match=r"times\.csv: tells no time of frame 5"):
        open_footage(tmp_path)
    (tmp_path / "times.csv").write_text("number,seconds\n3,1.5\n")
    with pytest.raises(DataError, match=r"times\.csv: is no table of time stamps"):
        open_footage(tmp_path)
    (tmp_path / "times.csv").write_text("frame,seconds\n3,1.5\n4,nan\n5,2.5\n")
    with pytest.raises(DataError, match=r"times\.csv: the time of frame 4 is nan, which is none"):
        open_footage(tmp_path)


def test_a_folder_of_other_images_is_no_recording(tmp_path: Path) -> None:
    for name in ("S01_1.png", "S02_1.png"):
        write_image(tmp_path / name, grey())
    with pytest.raises(DataError, match=r"S01_1\.png, \.\.\.\) are no frames of one recording"):
        open_footage(tmp_path)


def test_a_unit_is_guessed_from_all_of_a_recording(tmp_path: Path) -> None:
    for number, shift in enumerate((0, 0, 0, -40)):
        counts = counts_from_celsius(face() + shift, "centikelvin")
        write_image(tmp_path / f"{number}.png", counts)
    with pytest.raises(DataError, match=r"its median pixel, from \d+ to \d+, does not tell"):
        open_footage(tmp_path)


def test_rgb_images_keep_their_colours(tmp_path: Path) -> None:
    colours = torch.arange(3 * 5 * 7, dtype=torch.uint8).reshape(3, 5, 7)
    write_image(tmp_path / "a.png", colours)
    footage = open_footage(tmp_path / "a.png", ReadOptions(domain="rgb", rotate=90))
    image = next(footage.frames()).image
    assert torch.equal(image, torch.rot90(colours, -1, (1, 2)))
    write_image(tmp_path / "b.tif", face())
    with pytest.raises(DataError, match="holds floats, which have no known range"):
        open_footage(tmp_path / "b.tif", ReadOptions(domain="rgb"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domain": "rgb", "unit": "celsius"}, "--unit is about thermal sources"),
        ({"domain": "rgb", "palette": "jet"}, "--palette is about thermal sources"),
        ({"rotate": 45}, "--rotate turns by 0, 90, 180 or 270 degrees, not 45"),
        ({"emissivity": 1.5}, "--emissivity lies above 0"),
        ({"emissivity": 0.0}, "--emissivity lies above 0"),
        ({"reflected": -300.0}, "--reflected is a temperature in deg C"),
        ({"calibration": Path("x"), "unit": "grey"}, "leave out --unit"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ReadOptions(**options)


def test_an_emissivity_for_ready_made_temperatures_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", counts_from_celsius(face(), "centikelvin"))
    with pytest.raises(DataError, match=r"knows no emissivity: .* Leave out --emissivity"):
        open_footage(tmp_path / "a.png", ReadOptions(emissivity=0.9))


def test_frames_are_upright_copies_that_one_may_write_to(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", counts_from_celsius(face(), "centikelvin"))
    image = only(tmp_path / "a.png", rotate=180).image
    assert image.is_contiguous()
    torch.testing.assert_close(
        celsius_from_counts(image, "centikelvin"), face().flip(1, 2), rtol=0, atol=0.0051
    )
