from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cycada.config import DetectorConfig
from cycada.data import phantom
from cycada.landmarks import EYE_CORNERS
from cycada.models.build import build_detector
from cycada.models.detector import AdaptiveDetector, Detector
from cycada.models.domain import DomainClassifier
from cycada.models.regions import REGIONS, Region, RegionBackbone, cut_out
from cycada.task import Task

SIDE = 64
BOX = Region("box", 0.5, 0.25, 0.3, 0.2, 20, 30, 1.0)


def coordinates(side: int = SIDE) -> Tensor:
    """Return an image whose pixels tell their own x and y in px."""
    places = torch.arange(side, dtype=torch.float64)
    y, x = torch.meshgrid(places, places, indexing="ij")
    return torch.stack((x, y))[None]


@pytest.mark.parametrize("angle", [0.0, 25.0, -90.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_region_lies_where_the_eyes_put_it(angle: float, mirrored: bool) -> None:
    """Each pixel of it is the point that its lengths in eye distances name."""
    turn = math.radians(angle)
    along = torch.tensor([math.cos(turn), math.sin(turn)], dtype=torch.float64)
    down = torch.tensor([-math.sin(turn), math.cos(turn)], dtype=torch.float64)
    between, distance = torch.tensor([[31.0, 29.0]], dtype=torch.float64), 16.0
    shown = cut_out(coordinates(), between, distance * along[None], BOX, mirrored=mirrored)
    assert shown.shape == (1, 2, 20, 30)
    side = -1 if mirrored else 1
    for row, column, v, u in ((0, 0, -1, -1), (19, 29, 1, 1), (0, 29, -1, 1)):
        across = side * (BOX.across + u * BOX.half_width)
        below = BOX.down + v * BOX.half_height
        expected = between[0] + distance * (across * along + below * down)
        torch.testing.assert_close(shown[0, :, row, column], expected)


def test_larger_faces_have_larger_regions() -> None:
    eyes = torch.tensor([[30.0, 30.0]]), torch.tensor([[20.0, 0.0]])
    for side, height in ((64, 20), (128, 40)):
        shown = cut_out(torch.zeros(1, 1, side, side), *eyes, BOX)
        assert shown.shape[-2:] == (height, 30 * height // 20)


def test_eyes_in_one_place_are_not_believed() -> None:
    """An untrained finder may say so; the region then has its smallest size, and no NaN."""
    here = torch.tensor([[31.0, 29.0]], dtype=torch.float64)
    shown = cut_out(coordinates(), here, torch.zeros(1, 2, dtype=torch.float64), BOX)
    assert torch.isfinite(shown).all()
    width = float(shown[0, 0, 0, -1] - shown[0, 0, 0, 0])
    assert width == pytest.approx(2 * BOX.half_width * SIDE / 8)


@pytest.mark.parametrize(
    ("name", "landmarks"),
    [
        ("eyes", ("brow_inner", "brow_middle", "brow_outer", "lid_upper", "lid_lower")),
        ("eye", ("lid_upper", "lid_lower", "eye_inner", "eye_outer")),
        ("nose", ("nose_tip", "nose_base", "nose_wing")),
        ("lower_face", ("mouth_corner", "lip_upper_top", "lip_lower_bottom", "chin")),
    ],
)
def test_a_region_holds_what_its_action_units_move(name: str, landmarks: tuple[str, ...]) -> None:
    """Of faces in any pose and expression, half of them with the jaw dropped (AU 26)."""
    count, generator = 400, torch.Generator().manual_seed(0)
    intensities = 5 * torch.rand(count, len(phantom.PHANTOM_ACTION_UNITS), generator=generator)
    intensities[::2, phantom.PHANTOM_ACTION_UNITS.index(26)] = 5
    found = phantom.landmarks(
        phantom.sample_identities(count, generator=generator), intensities,
        phantom.sample_scenes(count, generator=generator), size=SIDE,
    )  # fmt: skip
    points = dict(zip(phantom.LANDMARK_NAMES, found.unbind(1), strict=True))
    sides = ("left", "right")
    left, right = (points[f"eye_inner_{side}"] + points[f"eye_outer_{side}"] for side in sides)
    left, right = left / 2, right / 2
    along = (left - right) / (left - right).square().sum(1, keepdim=True)
    down = along.flip(1) * torch.tensor([-1.0, 1.0])
    region = next(region for region in REGIONS if region.name == name)
    for landmark in landmarks:
        offset = points.get(f"{landmark}_left", points.get(landmark)) - (left + right) / 2
        across = ((offset * along).sum(1) - region.across).abs() / region.half_width
        below = ((offset * down).sum(1) - region.down).abs() / region.half_height
        assert float(((across < 1) & (below < 1)).float().mean()) > 0.97, landmark


@pytest.fixture
def detector() -> Detector:
    torch.manual_seed(0)
    config = DetectorConfig(backbone="regions", view="structure", width=6, pretrained="none")
    names = (*EYE_CORNERS, "chin")
    return build_detector(config, channels=1, task=Task((1, 12)), landmarks=names)


def backbone_of(detector: Detector) -> RegionBackbone:
    assert isinstance(detector.backbone, RegionBackbone)
    return detector.backbone


def test_the_finder_begins_at_the_means_that_it_is_given(detector: Detector) -> None:
    backbone = backbone_of(detector)
    means = torch.rand(5, 2)
    backbone.finder.mean.copy_(means)
    found = detector.eval()(torch.rand(3, 1, SIDE, SIDE) * 2 - 1).landmarks
    assert found is not None
    torch.testing.assert_close(found, (means * SIDE - 0.5).expand(3, -1, -1))


def test_the_finder_learns_from_landmarks_and_the_regions_from_labels(detector: Detector) -> None:
    backbone = backbone_of(detector)
    finder = set(backbone.finder.parameters())
    others = set(detector.parameters()) - finder
    said = detector.train()(torch.rand(3, 1, SIDE, SIDE) * 2 - 1)
    said.logits.sum().backward(retain_graph=True)
    assert all(p.grad is None for p in finder)
    assert all(p.grad is not None for p in others)
    detector.zero_grad(set_to_none=True)
    said.landmarks.sum().backward()
    assert any(p.grad is not None for p in finder)
    assert all(p.grad is None for p in others)


def test_a_fixed_finder_stays_as_it_is(detector: Detector) -> None:
    """Also its running statistics, which need no gradient to change."""
    backbone = backbone_of(detector)
    pictures = torch.rand(3, 1, SIDE, SIDE) * 2 - 1
    for fixed in (False, True):
        if fixed:
            backbone.fix_finder()
        before = {name: value.clone() for name, value in backbone.state_dict().items()}
        said = detector.train()(pictures)
        assert said.landmarks is not None
        assert said.landmarks.requires_grad != fixed
        changed = {n for n, v in backbone.state_dict().items() if not torch.equal(v, before[n])}
        assert any(name.startswith("finder") for name in changed) != fixed
        assert any(name.startswith("networks") for name in changed)


def test_a_shifted_face_is_read_alike(detector: Detector) -> None:
    """With eyes found where they are, a shift by whole pixels changes nothing that is seen."""
    backbone = backbone_of(detector.eval())
    image = torch.zeros(1, 1, SIDE, SIDE)
    image[..., 22:40, 18:44] = torch.rand(18, 26)
    moved = image.roll((3, -2), dims=(2, 3))
    eyes = torch.tensor([[33.0, 28], [37, 28], [27, 28], [23, 28], [30, 38]])

    def read(picture: Tensor, places: Tensor) -> Tensor:
        backbone.finder.mean.copy_((places + 0.5) / SIDE)
        return detector(picture).features

    here, there = read(image, eyes), read(moved, eyes + torch.tensor([-2.0, 3.0]))
    torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)


def test_both_eyes_count_alike(detector: Detector) -> None:
    """A face and its mirror image, whose eyes are found mirrored, have the same eyes."""
    backbone = backbone_of(detector.eval())
    face, middle = torch.rand(1, 1, SIDE, SIDE), (SIDE - 1) / 2
    eyes = torch.tensor([[36.0, 28], [40, 28], [26, 28], [22, 28], [31, 40]])
    mirrored = eyes[[2, 3, 0, 1, 4]] * torch.tensor([-1.0, 1.0]) + torch.tensor([2 * middle, 0.0])

    def features(picture: Tensor, places: Tensor) -> Tensor:
        backbone.finder.mean.copy_((places + 0.5) / SIDE)
        sizes = [network.features for network in backbone.networks.values()]
        parts = backbone(picture).split(sizes, dim=1)
        return parts[[region.name for region in REGIONS].index("eye")]

    here, there = features(face, eyes), features(face.flip(-1), mirrored)
    other = face.clone()
    other[..., 32:] = torch.rand(1, 1, SIDE, 32)
    assert not torch.allclose(here, features(other, eyes))
    torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)


def test_adaptation_passes_the_sources_landmarks_on(detector: Detector) -> None:
    backbone = backbone_of(detector)
    domain = DomainClassifier(backbone.features, 2, hidden=4, reads="features", kind="action_units")
    adaptive = AdaptiveDetector(detector, domain).train()
    pictures = torch.rand(3, 1, SIDE, SIDE) * 2 - 1
    out = adaptive(pictures, pictures[:2], 1.0)
    assert out.landmarks.shape == (3, 5, 2)
    assert adaptive(pictures, None, 0.0).landmarks.shape == (3, 5, 2)
