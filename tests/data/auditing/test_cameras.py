"""Two cameras in one thermal set are found, one camera of many people is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cycada import images, thermal
from cycada.data import phantom
from cycada.data.auditing.cameras import APART, FEW, audit_cameras, two_heaps
from cycada.data.auditing.looks import Seen

Show = Callable[..., list[Seen]]


def blurred(pictures: Tensor, window: int) -> Tensor:
    for _ in range(3):  # close to a Gaussian
        pictures = F.avg_pool2d(pictures, window, stride=1, padding=window // 2)
    return pictures


def people(pair: phantom.Pair, *, celsius: float = 0.0, noise: float = 0.0) -> Tensor:
    """Return counts of 12 people, every other one seen by a camera that adds what is given."""
    heat = pair.celsius[:, None].clone()
    draw = torch.Generator().manual_seed(0)
    heat[::2] += celsius + noise * torch.randn(heat[::2].shape, generator=draw)
    return thermal.counts_from_celsius(heat, "centikelvin")


def test_one_camera_is_sound(show: Show, pair: phantom.Pair, tmp_path: Path) -> None:
    assert audit_cameras(show(tmp_path, people(pair), unit="centikelvin")) == []


@pytest.mark.parametrize(
    ("given", "word"), [({"noise": 0.2}, "noise"), ({"celsius": 8.0}, "temperature of the warm")]
)
def test_a_second_camera_is_found_by_what_differs(
    show: Show, pair: phantom.Pair, tmp_path: Path, given: dict[str, float], word: str
) -> None:
    rows = show(tmp_path, people(pair, **given), unit="centikelvin")
    (found,) = audit_cameras(rows)
    assert (found.check, found.severity) == ("cameras", "warning")
    assert f"in two heaps by {word}" in found.text
    assert "6 with less" in found.text
    assert "6 with more" in found.text
    assert set(found.examples[0].files[3:]) <= {one.file for one in rows[::2]}


def test_a_second_camera_of_eight_bits_is_found_by_its_blur(show: Show, tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    rough = torch.rand(12, 1, 128, 128, generator=draw)
    sharp, soft = blurred(rough, 3), blurred(rough, 5)

    def stretched(picture: Tensor) -> Tensor:
        share = (picture - picture.min()) / (picture.max() - picture.min())
        return (share * 255).to(torch.uint8)

    alone = [stretched(picture) for picture in sharp]
    assert audit_cameras(show(tmp_path / "a", alone)) == []
    mixed = [stretched((soft if n % 2 else sharp)[n]) for n in range(12)]
    (found,) = audit_cameras(show(tmp_path / "b", mixed))
    assert "in two heaps by sharpness" in found.text


def test_a_few_sizes_or_depths_are_found_and_cut_out_faces_are_not(
    show: Show, pair: phantom.Pair, tmp_path: Path
) -> None:
    grey = images.from_signed(
        thermal.to_signed(pair.celsius[:, None], thermal.Window()), dtype=torch.uint8
    )
    two = [picture[:, :50] if n % 3 == 0 else picture for n, picture in enumerate(grey)]
    (found,) = audit_cameras(show(tmp_path / "a", two))
    assert "64 x 64 px with 8 bits: 8 images, 8 subjects" in found.text
    assert "64 x 50 px with 8 bits: 4 images, 4 subjects" in found.text
    deep = [
        (picture.int() * 257).to(torch.uint16) if n < 6 else picture
        for n, picture in enumerate(grey)
    ]
    (found,) = audit_cameras(show(tmp_path / "b", deep))
    assert "64 x 64 px with 16 bits: 6 images" in found.text
    cut_out = [picture[:, : 48 + n] for n, picture in enumerate(grey)]
    assert audit_cameras(show(tmp_path / "c", cut_out)) == []
    assert audit_cameras(show(tmp_path / "d", two, domain="rgb")) == []


def test_heaps_are_cut_where_all_cuts_tried_say_and_are_far_apart() -> None:
    draw = np.random.default_rng(0)
    values = np.concatenate([draw.normal(0, 1, 9), draw.normal(12, 1, 5)])
    medians = {f"{n:02d}": float(value) for n, value in enumerate(values)}
    heaps = two_heaps(medians, least=1.0)
    assert heaps is not None
    assert sorted(heaps.low) == [f"{n:02d}" for n in range(9)]
    low, high = np.sort(values)[:9], np.sort(values)[9:]
    assert heaps.means == pytest.approx((low.mean(), high.mean()))
    ashman = (high.mean() - low.mean()) * np.sqrt(2) / np.sqrt(low.var() + high.var())
    assert heaps.distance == pytest.approx(ashman)
    assert heaps.distance > APART + FEW / 14
    assert two_heaps(medians, least=20.0) is None
    few = dict(list(medians.items())[:7])
    assert two_heaps(few, least=0.1) is None
    two_odd = {name: 0.0 if n < 12 else 9.0 for n, name in enumerate(medians)}
    assert two_heaps(two_odd, least=1.0) is None  # two people are no camera


def test_one_heap_of_any_shape_stays_one() -> None:
    draw = np.random.default_rng(0)
    for groups in (8, 12, 30, 100):
        for draw_one in (draw.normal, draw.uniform, draw.gumbel):
            found = [
                two_heaps({str(n): float(v) for n, v in enumerate(draw_one(0, 1, groups))}, least=0)
                for _ in range(100)
            ]
            assert sum(heaps is not None for heaps in found) <= 3
