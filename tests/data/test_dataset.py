from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cycada import image_reading, image_writing, images
from cycada.data.dataset import FaceImages, common_window, signed, step_batches
from cycada.data.index import DOMAINS, Face, Index, IndexInfo, read_index
from cycada.errors import DataError
from cycada.progress import Progress
from cycada.thermal import Window


def index(root: Path, *names: str, info: IndexInfo | None = None) -> Index:
    rows = tuple(Face(path=name, domain="thermal", subject=name, split="train") for name in names)
    return Index(root, info or IndexInfo(kind="none", unit="centikelvin"), rows)


def test_sixteen_bits_keep_their_precision(tmp_path: Path) -> None:
    # Steps of 0.01 K around 30 deg C: 8 bits over 20 K would give a step of 0.08 K.
    counts = torch.arange(30315 - 128, 30315 + 128).reshape(1, 16, 16)
    image_writing.write_image(tmp_path / "a.tiff", counts.to(torch.uint16))
    faces = FaceImages([index(tmp_path, "a.tiff")], domain="thermal", size=16)
    found = signed(faces.batch(torch.tensor([0])), dtype=torch.float64)[0]
    expected = (counts.double() / 100 - 273.15 - 20) / 20 * 2 - 1
    torch.testing.assert_close(found, expected, rtol=0, atol=1.6 / 65535)
    assert len(set(found.flatten().tolist())) == 256


def test_rgb_images_come_back_byte_for_byte(faces: Path) -> None:
    rgb = FaceImages([read_index(faces)], domain="rgb", size=16)
    stored = image_reading.read_image(faces / rgb.faces[3].path)
    assert stored.shape == (3, 20, 16)
    assert torch.equal(rgb.decode(3), stored[:, 2:18])  # the central square
    assert torch.equal(images.from_signed(signed(rgb.decode(3)), dtype=torch.uint8), rgb.decode(3))


def test_decoded_ahead_or_on_demand_is_the_same(faces: Path, quiet: Progress) -> None:
    for domain in DOMAINS:
        late, early = (FaceImages([read_index(faces)], domain=domain, size=16) for _ in range(2))
        assert early.preload(limit_mb=10, progress=quiet)
        assert early.cached
        assert not late.preload(limit_mb=0, progress=quiet)
        assert not late.cached
        numbers = torch.tensor([5, 0, 5])
        assert torch.equal(early.batch(numbers), late.batch(numbers))


def test_every_image_is_read_from_the_index_that_names_it(tmp_path: Path) -> None:
    shades = torch.arange(5, dtype=torch.uint8)
    parts = []
    for name, numbers in (("one", (0, 1)), ("none", ()), ("two", (2,)), ("three", (3, 4))):
        (tmp_path / name).mkdir()
        for place, number in enumerate(numbers):
            picture = shades[number].expand(1, 16, 16)
            image_writing.write_image(tmp_path / name / f"{place}.png", picture.contiguous())
        names = [f"{place}.png" for place in range(len(numbers))]
        parts.append(index(tmp_path / name, *names, info=IndexInfo(kind="none", unit="grey")))
    faces = FaceImages(parts, domain="thermal", size=16)
    assert faces.roots == tuple(tmp_path / name for name in ("one", "two", "three"))
    assert (faces.batch(torch.arange(5))[:, 0, 0, 0] / 257).tolist() == shades.tolist()


def test_a_corrupt_image_is_named(own_faces: Path, quiet: Progress) -> None:
    broken = own_faces / "rgb" / "1" / "2.png"
    broken.write_bytes(broken.read_bytes()[:60])
    rgb = FaceImages([read_index(own_faces)], domain="rgb", size=16)
    with pytest.raises(DataError, match=r"rgb/1/2\.png"):
        rgb.preload(limit_mb=10, progress=quiet)


def test_eight_bits_that_claim_temperatures_are_named(tmp_path: Path) -> None:
    image_writing.write_image(tmp_path / "a.png", torch.zeros(1, 16, 16, dtype=torch.uint8))
    thermal = FaceImages([index(tmp_path, "a.png")], domain="thermal", size=16)
    with pytest.raises(DataError, match=r"a\.png: an 8-bit image cannot count centikelvin"):
        thermal.decode(0)


def test_two_temperature_windows_are_refused(tmp_path: Path) -> None:
    one = index(tmp_path / "one", "a.png")
    two = index(tmp_path / "two", "b.png", info=replace(one.info, window=Window(22, 38)))
    grey = index(tmp_path / "grey", "c.png", info=replace(one.info, unit="grey"))
    for other, said in ((two, "22 to 38 deg C"), (grey, "grey")):
        with pytest.raises(DataError, match="span different temperatures") as caught:
            common_window([one, other])
        assert f"{other.root}: {said}" in str(caught.value)
        assert "20 to 40 deg C" in str(caught.value)
    assert common_window([one, one]) == Window(20, 40)
    assert common_window([grey]) is None


def test_an_index_without_such_faces_does_not_decide_the_window(tmp_path: Path) -> None:
    one = index(tmp_path / "one", "a.png")
    other = replace(one.info, window=Window(1, 2))
    none = replace(one, root=tmp_path / "none", info=other, faces=())
    assert common_window([one, none]) == Window(20, 40)


def test_no_face_of_a_domain_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rgb face to use in"):
        FaceImages([index(tmp_path, "a.png")], domain="rgb", size=16)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_the_order_of_the_steps(workers: int) -> None:
    made = list(step_batches(square, done=2, total=7, workers=workers))
    assert made == [4, 9, 16, 25, 36]


def square(step: int) -> int:
    return step * step
