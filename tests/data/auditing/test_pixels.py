"""Images that would spoil a training are recognised by their pixels, sound ones are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cycada import image_writing, images, thermal
from cycada.data import phantom
from cycada.data.auditing.finding import Finding
from cycada.data.auditing.pixels import Spread, audit_pair, audit_set, spread_of
from cycada.data.dataset import FaceImages, signed
from cycada.data.index import Domain, Face, Index, IndexInfo
from cycada.thermal import Unit, Window

COUNT, SIZE = 16, 32
FITTING = Window(28, 37)  # deg C; the phantom's own
RGB, THERMAL = "source (rgb) in data/a", "target (thermal) in data/b"
NAMES = (RGB, THERMAL)


@pytest.fixture(scope="module")
def pair() -> phantom.Pair:
    draw = torch.Generator().manual_seed(0)
    return phantom.render_pair(
        phantom.sample_identities(COUNT, generator=draw),
        phantom.sample_intensities(COUNT, domain="rgb", generator=draw),
        phantom.sample_scenes(COUNT, generator=draw),
        size=SIZE,
    )


@pytest.fixture(scope="module")
def rgb(pair: phantom.Pair) -> Spread:
    return spread_of(images.to_signed(pair.rgb))


def read(
    root: Path,
    pictures: Tensor,
    *,
    domain: Domain = "thermal",
    unit: Unit = "grey",
    window: Window = FITTING,
    suffix: str = "png",
) -> Tensor:
    """Return what the networks see of pictures that were written to files."""
    faces = tuple(
        Face(path=f"{number}.{suffix}", domain=domain, subject=str(number), split="train")
        for number in range(len(pictures))
    )
    for face, picture in zip(faces, pictures, strict=True):
        image_writing.write_image(root / face.path, picture)
    index = Index(root, IndexInfo(kind="none", unit=unit, window=window), faces)
    found = FaceImages([index], domain=domain, size=pictures.shape[-1])
    return signed(found.batch(torch.arange(len(found))))


def seen_through(pair: phantom.Pair, low: float, high: float) -> Spread:
    return spread_of(thermal.to_signed(pair.celsius[:, None], Window(low, high)))


def bytes_of(pair: phantom.Pair) -> Tensor:
    """Return thermal images of good contrast in 8 bits."""
    shown = thermal.to_signed(pair.celsius[:, None], Window(20, 40))
    return images.from_signed(shown, dtype=torch.uint8)


def digits(count: int = 50, size: int = 28, *, frame: int = 28) -> Tensor:
    """Return soft white strokes of two bends on black, in the middle of a frame."""
    draw = torch.Generator().manual_seed(1)
    axis = torch.arange(frame, dtype=torch.float32) - frame / 2
    places = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    corners = (torch.rand(count, 4, 2, generator=draw) - 0.5) * 0.7 * size
    distance = torch.full((count, frame, frame), torch.inf)
    for start in range(3):
        a, b = corners[:, start, None, None], corners[:, start + 1, None, None]
        along = ((places - a) * (b - a)).sum(-1) / (b - a).square().sum(-1)
        nearest = a + along.clamp(0, 1)[..., None] * (b - a)
        distance = torch.minimum(distance, (places - nearest).norm(dim=-1))
    grey = (2 - distance).clamp(0, 1)[:, None]
    return (grey * 255).round().to(torch.uint8)


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


def audited(spread: Spread, *, sixteen_bit: bool = True) -> list[Finding]:
    return audit_set(spread, name=THERMAL, sixteen_bit=sixteen_bit)


def test_the_spread_is_what_numpy_makes_of_the_pixels() -> None:
    shown = torch.rand(7, 3, 16, 20, generator=torch.Generator().manual_seed(0)) ** 2 * 2 - 1
    shown[2], shown[3] = -0.7, 0.4
    spread, pixels = spread_of(shown), shown.double().numpy()
    assert spread.mean == pytest.approx(pixels.mean(), abs=1e-6)
    assert spread.deviation == pytest.approx(pixels.std(), abs=1e-6)
    assert spread.low == np.quantile(shown, 0.01, method="nearest")
    assert spread.high == np.quantile(shown, 0.99, method="nearest")
    assert spread.constant == pytest.approx(2 / 7)
    for end, distance in ((spread.black, pixels + 1), (spread.white, 1 - pixels)):
        middle = distance[:, :, 4:12, 5:15]
        rest = middle[middle > 0.02]
        assert end.share == pytest.approx((distance <= 0.02).mean())
        assert end.middle == pytest.approx((middle <= 0.02).mean())
        assert end.beside == pytest.approx((rest <= 0.4).mean())


def test_phantom_faces_are_sound(tmp_path: Path, pair: phantom.Pair) -> None:
    counts = thermal.counts_from_celsius(pair.celsius[:, None], "centikelvin")
    for window in (FITTING, Window(20, 40), Window(24, 36)):
        source = spread_of(read(tmp_path / "a", pair.rgb, domain="rgb"))
        target = spread_of(read(tmp_path / "b", counts, unit="centikelvin", window=window))
        assert audit_set(source, name=RGB, sixteen_bit=False) == []
        assert audited(target) == []
        assert audit_pair(source, target, names=NAMES) == []


def test_digits_are_sound(tmp_path: Path, rgb: Spread) -> None:
    for frame in (28, 56):
        for suffix in ("png", "jpg"):
            root = tmp_path / f"{frame}{suffix}"
            spread = spread_of(read(root, digits(frame=frame), suffix=suffix))
            assert spread.black.share > 0.6  # which would be wrong of a window of temperatures
            assert audited(spread, sixteen_bit=False) == []
            assert audit_pair(spread, spread, names=NAMES) == []
            assert audit_pair(rgb, spread, names=NAMES) == []


def test_digits_in_black_and_white_are_sound() -> None:
    spread = spread_of(torch.where(digits() > 127, 1.0, -1.0))
    assert spread.black.middle + spread.white.middle == pytest.approx(1)
    assert audited(spread, sixteen_bit=False) == []


def test_values_to_255_in_16_bits_are_fatal_and_the_cause_is_named(
    tmp_path: Path, pair: phantom.Pair, rgb: Spread
) -> None:
    # What broke ADDA for others: one domain to 1, the other to 255.
    wrong = bytes_of(pair).to(torch.int32).to(torch.uint16)
    spread = spread_of(read(tmp_path, wrong))
    found = only(audited(spread))
    assert found.fatal
    assert found.text.startswith(f"{THERMAL}: the images are blank")
    assert "values 0 to 255 in files of 16 bits look like this: save them as 8 bits" in found.text
    assert "index them with their unit" in found.text
    apart = only(audit_pair(rgb, spread, names=NAMES))
    assert apart.fatal
    assert f"{rgb.deviation:.3g} in {RGB} and {spread.deviation:.3g} in {THERMAL}" in apart.text
    right = spread_of(read(tmp_path / "right", bytes_of(pair)))
    assert audited(right, sixteen_bit=False) == audit_pair(rgb, right, names=NAMES) == []


def test_values_to_1_in_8_bits_are_fatal_and_the_cause_is_named(pair: phantom.Pair) -> None:
    wrong = spread_of(images.to_signed(bytes_of(pair) // 255))
    found = only(audited(wrong, sixteen_bit=False))
    assert found.fatal
    assert "values 0 to 1 saved in 8 bits" in found.text


@pytest.mark.parametrize("unit", ["celsius", "kelvin", "centikelvin"])
def test_values_to_255_taken_for_temperatures_are_fatal(
    tmp_path: Path, pair: phantom.Pair, unit: Unit
) -> None:
    values = bytes_of(pair).float()
    stored = values.to(torch.int32).to(torch.uint16) if unit == "centikelvin" else values
    found = only(audited(spread_of(read(tmp_path, stored, unit=unit, suffix="tiff"))))
    assert found.fatal
    assert "give the right unit and a window" in found.text


@pytest.mark.parametrize(
    ("unit", "fatal"), [("centikelvin", False), ("kelvin64", True), ("decikelvin", True)]
)
def test_counts_without_their_unit_are_found(
    pair: phantom.Pair, rgb: Spread, unit: Unit, *, fatal: bool
) -> None:
    counts = thermal.counts_from_celsius(pair.celsius[:, None], unit)
    spread = spread_of(images.to_signed(counts))
    found = only(audited(spread))
    assert found.fatal == fatal
    assert "counts of a camera without their unit look like this: index them" in found.text
    assert audit_pair(rgb, spread, names=NAMES)


@pytest.mark.parametrize(
    ("low", "high", "fatal", "shade"),
    [
        (10, 25, True, "white"), (20, 30, True, "white"), (20, 32, False, "white"),
        (33, 40, False, "black"), (34, 37, True, "black"),
    ],
)  # fmt: skip
def test_a_window_beside_the_faces_is_found(
    pair: phantom.Pair, low: float, high: float, shade: str, *, fatal: bool
) -> None:
    spread = seen_through(pair, low, high)
    found = only(audited(spread))
    assert found.fatal == fatal
    assert f"is {shade}, cut off at an end" in found.text
    end = spread.white if shade == "white" else spread.black
    assert f"{end.middle:.0%} of the middle" in found.text


def test_faces_half_of_which_the_window_misses_altogether_are_fatal(pair: phantom.Pair) -> None:
    shown = thermal.to_signed(pair.celsius[:, None], Window(24, 34))
    assert audited(spread_of(shown)) == []
    for lost, fatal in ((COUNT // 2, False), (COUNT // 2 + 1, True)):
        some = shown.clone()
        some[:lost] = 1
        found = only(audited(spread_of(some)))
        assert found.fatal == fatal
        assert "cut off at an end" in found.text


def test_temperatures_that_are_nearly_all_cut_off_are_fatal_unlike_drawings(
    pair: phantom.Pair,
) -> None:
    spread = seen_through(pair, 33.7, 37)
    assert spread.black.share > 0.9 > spread.black.middle
    assert only(audited(spread)).fatal
    assert not only(audited(spread, sixteen_bit=False)).fatal


def test_a_window_that_all_temperatures_miss_is_fatal(pair: phantom.Pair) -> None:
    for low, high, side in ((38, 40, "below"), (0, 10, "above")):
        found = only(audited(seen_through(pair, low, high)))
        assert found.fatal
        assert f"{side} the window of temperatures" in found.text


def test_a_window_of_a_tenth_of_a_degree_is_fatal(pair: phantom.Pair) -> None:
    found = only(audited(seen_through(pair, 33.2, 33.3)))
    assert found.fatal
    assert "either black or white" in found.text


def test_too_wide_a_window_is_found(pair: phantom.Pair, rgb: Spread) -> None:
    spread = seen_through(pair, -40, 200)
    found = only(audited(spread))
    assert not found.fatal
    assert "the window of temperatures is too wide" in found.text
    apart = only(audit_pair(rgb, spread, names=NAMES))
    assert not apart.fatal
    assert "the contrast differs" in apart.text


def test_blank_images_among_others_are_counted() -> None:
    shown = images.to_signed(digits())
    for blank, fatal in ((1, False), (26, True)):
        some = shown.clone()
        some[:blank] = some[:blank].mean((1, 2, 3), keepdim=True)
        found = only(audited(spread_of(some), sixteen_bit=False))
        assert found.fatal == fatal
        assert f"{blank / 50:.1%} of the images show one value alone" in found.text


def test_the_ratio_of_contrasts_decides_and_not_which_is_the_weaker(rgb: Spread) -> None:
    shown = images.to_signed(digits())
    strong = spread_of(shown)
    for factor, fatal in ((3.9, None), (4.1, False), (19.0, False), (21.0, True)):
        weak = spread_of(shown / factor)
        for one, other in ((weak, strong), (strong, weak)):
            found = [f for f in audit_pair(one, other, names=NAMES) if "contrast" in f.text]
            assert [f.fatal for f in found] == ([] if fatal is None else [fatal])
    assert audit_pair(strong, rgb, names=NAMES) == []


def test_inverted_digits_are_found_but_dark_and_bright_faces_are_not(pair: phantom.Pair) -> None:
    white_on_black, black_on_white = (spread_of(f * images.to_signed(digits())) for f in (1, -1))
    found = only(audit_pair(white_on_black, black_on_white, names=NAMES))
    assert not found.fatal
    assert f"the background is black in {RGB} and white in {THERMAL}" in found.text
    found = only(audit_pair(black_on_white, white_on_black, names=NAMES))
    assert f"the background is white in {RGB} and black in {THERMAL}" in found.text
    face = images.to_signed(pair.rgb)
    assert audit_pair(spread_of(face), spread_of(-face), names=NAMES) == []


def test_a_badly_exposed_set_is_found(pair: phantom.Pair) -> None:
    shown = images.to_signed(pair.rgb // 4)
    night, glare = spread_of(shown), spread_of(-shown)
    for one, other in ((glare, night), (night, glare)):
        found = only(audit_pair(one, other, names=NAMES))
        assert not found.fatal
        assert "the brightness differs" in found.text
        assert f"{one.mean:.2f} in {RGB} and {other.mean:.2f} in {THERMAL}" in found.text
    blank = spread_of(torch.full_like(shown, -1))
    assert "the contrast differs" in only(audit_pair(glare, blank, names=NAMES)).text
