"""What is seen of a file, and that it is seen once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from cycada import image_writing, images
from cycada.data.auditing import looks
from cycada.data.auditing.looks import LOOKS_NAME, Seen, cells_of, detail, look_at, look_at_all
from cycada.data.index import Face, Index, IndexInfo
from cycada.progress import Progress

Show = Callable[..., list[Seen]]


def noise(size: int = 40, channels: int = 1, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(20, 200, (channels, size, size), generator=draw).to(torch.uint8)


def test_values_are_those_that_numpy_finds_in_the_file(tmp_path: Path) -> None:
    counts = (noise().int() * 97 + 9000).to(torch.uint16)
    counts[0, 0, :4] = 65000
    image_writing.write_image(tmp_path / "a.png", counts)
    look, values = look_at(tmp_path / "a.png"), counts.numpy().astype(np.float64)
    assert (look.bits, look.channels, look.height, look.width) == (16, 1, 40, 40)
    assert (look.low, look.high) == (values.min(), 65000)
    assert look.high_share == 4 / 1600
    assert look.low_share == (values == values.min()).mean()
    for found, share in ((look.dark, 0.01), (look.median, 0.5), (look.bright, 0.99)):
        assert found == pytest.approx(np.quantile(values, share), rel=1e-6)
    assert look.warm == pytest.approx(np.quantile(values[0, 10:30, 10:30], 0.95), rel=1e-6)
    assert look.colour == 0
    stat = (tmp_path / "a.png").stat()
    assert (look.length, look.modified) == (stat.st_size, stat.st_mtime_ns)


def test_equal_pixels_are_equal_whatever_the_format_and_others_are_not(tmp_path: Path) -> None:
    grey = noise()
    other = grey.clone()
    other[0, 3, 3] += 1
    image_writing.write_image(tmp_path / "a.png", grey)
    for name, picture in (("b.tiff", grey), ("c.npy", grey), ("d.png", grey.repeat(3, 1, 1))):
        image_writing.write_image(tmp_path / name, picture)
        assert look_at(tmp_path / name).digest == look_at(tmp_path / "a.png").digest
    for name, picture in (
        ("e.png", other), ("f.png", grey.to(torch.uint16)), ("g.png", noise(channels=3)),
        ("h.png", grey.reshape(1, 20, 80)),
    ):  # fmt: skip
        image_writing.write_image(tmp_path / name, picture)
        assert look_at(tmp_path / name).digest != look_at(tmp_path / "a.png").digest


def test_the_noise_is_that_which_was_added_to_a_slope_and_an_edge(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    slope = torch.linspace(20000, 20500, 96).expand(1, 96, 96).clone()
    slope[..., 60:] += 3000
    for sigma in (4.0, 20.0):
        counts = slope + sigma * torch.randn(slope.shape, generator=draw)
        image_writing.write_image(
            tmp_path / "a.png", counts.round().to(torch.int32).to(torch.uint16)
        )
        assert look_at(tmp_path / "a.png").noise == pytest.approx(sigma, rel=0.1)


def test_a_blurred_image_is_less_sharp_and_a_pale_one_is_not(tmp_path: Path) -> None:
    rough = torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))

    def smooth(window: int) -> torch.Tensor:
        picture = rough
        for _ in range(3):
            picture = F.avg_pool2d(picture, window, stride=1, padding=window // 2)
        return picture[0]

    for name, picture in (
        ("a", smooth(3) * 250), ("b", smooth(5) * 250), ("c", smooth(3) * 125 + 90),
    ):  # fmt: skip
        counts = (picture * 100).round().to(torch.int32).to(torch.uint16)
        image_writing.write_image(tmp_path / f"{name}.png", counts)
    sharp, blurred, pale = (look_at(tmp_path / f"{name}.png").sharpness for name in "abc")
    assert blurred < sharp - 0.5
    assert pale == pytest.approx(sharp, abs=0.1)


def test_sharpness_is_not_judged_where_noise_hides_the_detail(tmp_path: Path) -> None:
    image_writing.write_image(tmp_path / "a.png", noise(96))
    assert math.isnan(look_at(tmp_path / "a.png").sharpness)


def test_detail_is_free_of_shading_and_of_length_one() -> None:
    picture = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(0))
    shading = torch.linspace(0, 5, 32).expand(32, 32)
    found = detail(torch.stack([picture[0], 3 * picture[0] + 7, picture[0] + shading, picture[1]]))
    assert found.norm(dim=1).tolist() == pytest.approx([1] * 4, abs=1e-5)
    like = (found @ found[0]).tolist()
    assert like[:2] == pytest.approx([1, 1], abs=1e-5)
    assert like[2] > 0.95  # but for the border, where the shading is cut
    assert abs(like[3]) < 0.15
    assert detail(torch.full((1, 8, 8), 3.0)).abs().max() < 1e-6


def test_a_small_copy_is_the_image_reduced(tmp_path: Path) -> None:
    grey = noise(64)
    image_writing.write_image(tmp_path / "a.png", grey)
    cells = torch.from_numpy(cells_of(look_at(tmp_path / "a.png")))
    small = images.resize(grey.float(), 32)[0]
    expected = (small - small.min()) / (small.max() - small.min())
    assert (cells - expected).abs().max() <= 0.5 / 255 + 1e-6


def test_what_cannot_be_read_is_noted_in_words(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    assert look_at(tmp_path / "a.png").problem.startswith("cannot be read as an image")
    assert look_at(tmp_path / "none.png").length < 0


@pytest.fixture
def index(tmp_path: Path) -> Index:
    faces = tuple(
        Face(path=f"{n}.png", domain="rgb", subject=str(n), split="train") for n in range(3)
    )
    for number, face in enumerate(faces):
        image_writing.write_image(tmp_path / face.path, noise(seed=number))
    return Index(tmp_path, IndexInfo(kind="none"), faces)


def test_a_file_is_read_once_until_it_changes(
    index: Index, quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = look_at_all([index], progress=quiet)
    read: list[Path] = []

    def counted(file: Path) -> object:
        read.append(file)
        return look_at(file)

    monkeypatch.setattr(looks, "look_at", counted)
    assert repr(look_at_all([index], progress=quiet)) == repr(first)
    assert read == []
    image_writing.write_image(index.root / "1.png", noise(50))
    changed = look_at_all([index], progress=quiet)
    assert read == [index.root / "1.png"]
    assert [one.look.height for one in changed] == [40, 50, 40]
    assert repr(changed[0]) == repr(first[0])
    # A part of the index does not make the rest forgotten.
    look_at_all([replace(index, faces=index.faces[:1])], progress=quiet)
    assert repr(look_at_all([index], progress=quiet)) == repr(changed)
    assert len(read) == 1


def test_a_missing_file_is_looked_for_again(index: Index, quiet: Progress) -> None:
    kept = (index.root / "2.png").read_bytes()
    (index.root / "2.png").unlink()
    assert look_at_all([index], progress=quiet)[2].look.length < 0
    (index.root / "2.png").write_bytes(kept)
    assert look_at_all([index], progress=quiet)[2].look.height == 40


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive"])
def test_damaged_notes_are_taken_anew(index: Index, quiet: Progress, damage: bytes) -> None:
    first = look_at_all([index], progress=quiet)
    (index.root / LOOKS_NAME).write_bytes(damage)
    assert repr(look_at_all([index], progress=quiet)) == repr(first)
    assert (index.root / LOOKS_NAME).stat().st_size > 1000


def test_notes_of_another_version_are_taken_anew(
    index: Index, quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_at_all([index], progress=quiet)
    monkeypatch.setattr(looks, "_VERSION", 99)
    assert looks._load(index.root) == {}


def test_a_folder_that_cannot_be_written_to_costs_only_time(
    index: Index, quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(np, "savez", refused)
    assert [one.look.height for one in look_at_all([index], progress=quiet)] == [40] * 3
    assert [file.name for file in index.root.iterdir() if "audit" in file.name] == []
