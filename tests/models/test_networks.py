"""Generators, discriminators and the gradient reversal, against their definitions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from cycada.config import GeneratorConfig
from cycada.models.cycle import Discriminators, Generators
from cycada.models.discriminator import Discriminator
from cycada.models.domain import DomainClassifier, reverse_gradient
from cycada.models.generator import EnlargingConvolution, Generator, NarrowingConvolution


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=draw, dtype=torch.float64) * 2 - 1


@pytest.fixture(params=[True, False], ids=["skips", "plain"])
def generators(request: pytest.FixtureRequest) -> Generators:
    torch.manual_seed(0)
    return Generators(GeneratorConfig(width=4, blocks=1, skips=request.param)).double()


@pytest.mark.parametrize("size", [(16, 16), (20, 16), (24, 36)])
@pytest.mark.parametrize("channels", [(3, 1), (1, 3)])
@pytest.mark.parametrize("skips", [True, False])
def test_a_generator_maps_any_multiple_of_four_to_its_size_and_range(
    size: tuple[int, int], channels: tuple[int, int], skips: bool
) -> None:
    torch.manual_seed(0)
    network = Generator(*channels, width=4, blocks=2, skips=skips).double()
    made = network(100 * random(2, channels[0], *size))
    assert made.shape == (2, channels[1], *size)
    assert made.abs().max() <= 1


def test_a_generator_treats_every_image_alone(generators: Generators) -> None:
    rgb = random(2, 3, 16, 16)
    rgb[1] *= 0.1  # another level and contrast, which shared statistics would mix in
    together = generators.to_thermal(rgb)
    for row in range(2):
        torch.testing.assert_close(together[row], generators.to_thermal(rgb[row : row + 1])[0])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_enlarging_convolution_is_resizing_and_then_convolution(
    layout: torch.memory_format,
) -> None:
    layer = EnlargingConvolution(3, 5).double().to(memory_format=layout)
    image = torch.randn(2, 3, 4, 6, dtype=torch.float64).to(memory_format=layout)
    inputs = (image.requires_grad_(), layer.weight)
    found = layer(image)
    assert found.is_contiguous(memory_format=layout)
    expected = F.conv2d(
        F.interpolate(image, scale_factor=2, mode="nearest"), layer.weight, padding=1
    )
    torch.testing.assert_close(found, expected)
    upstream = torch.randn_like(expected)
    for mine, theirs in zip(
        torch.autograd.grad(found, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("out", [1, 3])
def test_a_wide_kernel_is_the_same_by_its_columns(out: int) -> None:
    torch.manual_seed(0)
    layer = NarrowingConvolution(4, out, 7).double()
    image, upstream = random(2, 4, 12, 16), random(2, out, 12, 16, seed=1)
    expected = F.conv2d(F.pad(image, (3, 3, 3, 3), mode="reflect"), layer.weight, layer.bias)
    for layout in (torch.contiguous_format, torch.channels_last):
        given = image.clone(memory_format=layout).requires_grad_()
        found = layer(given)
        torch.testing.assert_close(found, expected)
        inputs = (given, layer.weight, layer.bias)
        gradients = torch.autograd.grad(found, inputs, upstream)
        if layout == torch.contiguous_format:
            plain = gradients
    for mine, theirs in zip(gradients, plain, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_an_image_is_made_in_float32_under_autocast(
    layout: torch.memory_format,
) -> None:
    """bfloat16 has 256 values between 0.5 and 1: fewer than a window of 20 deg C deserves."""
    torch.manual_seed(0)
    network = Generator(3, 1, width=4, blocks=1, skips=True).to(memory_format=layout)
    image = random(1, 3, 32, 32).float()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        made = network.eval()(image)
        assert made.dtype == torch.float32
        assert not torch.equal(made, made.bfloat16().float())
        features = torch.rand(1, 4, 32, 32).bfloat16().to(memory_format=layout)
        found = network._image(features)
    exact = network.double().out(features.double())
    torch.testing.assert_close(found.double(), exact, atol=1e-5, rtol=0)


def test_the_joined_identity_pass_equals_separate_passes(generators: Generators) -> None:
    rgb, thermal = random(2, 3, 16, 16), random(3, 1, 16, 16, seed=1)
    thermal_as_rgb, rgb_as_thermal = thermal.expand(-1, 3, -1, -1), rgb.mean(1, keepdim=True)
    made = generators(rgb, thermal, thermal_as_rgb, rgb_as_thermal)
    expected = {
        "thermal": generators.to_thermal(rgb),
        "rgb": generators.to_rgb(thermal),
        "rgb_again": generators.to_rgb(generators.to_thermal(rgb)),
        "thermal_again": generators.to_thermal(generators.to_rgb(thermal)),
        "thermal_same": generators.to_thermal(thermal_as_rgb),
        "rgb_same": generators.to_rgb(rgb_as_thermal),
    }
    for name, image in expected.items():
        torch.testing.assert_close(getattr(made, name), image)
    alone = generators(rgb, thermal, None, None)
    assert alone.thermal_same is None
    assert alone.rgb_same is None
    torch.testing.assert_close(alone.rgb_again, made.rgb_again)


def test_both_discriminators_judge_real_and_made_images_as_they_would_alone() -> None:
    torch.manual_seed(0)
    judges = Discriminators(width=4, layers=1).double()
    real_rgb, made_rgb = random(2, 3, 16, 16), random(3, 3, 16, 16, seed=1)
    real_thermal, made_thermal = random(1, 1, 16, 16, seed=2), random(2, 1, 16, 16, seed=3)
    judged = judges(real_rgb, made_rgb, real_thermal, made_thermal)
    torch.testing.assert_close(judged.real_rgb, judges.rgb(real_rgb))
    torch.testing.assert_close(judged.made_rgb, judges.rgb(made_rgb))
    torch.testing.assert_close(judged.real_thermal, judges.thermal(real_thermal))
    torch.testing.assert_close(judged.made_thermal, judges.thermal(made_thermal))


@pytest.mark.parametrize(("layers", "pixels"), [(3, 74), (2, 38), (1, 20)])
def test_a_score_sees_a_patch_of_the_stated_size(layers: int, pixels: int) -> None:
    torch.manual_seed(0)
    judge = Discriminator(1, width=4, layers=layers).double()
    for module in judge.modules():  # instance normalisation looks at the whole image
        for name, child in module.named_children():
            if isinstance(child, torch.nn.InstanceNorm2d):
                setattr(module, name, torch.nn.Identity())
    image = random(1, 1, 160, 160).requires_grad_()
    scores = judge(image)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    assert image.grad is not None
    rows, columns = image.grad[0, 0].nonzero(as_tuple=True)
    assert int(rows.max() - rows.min()) + 1 == pixels
    assert int(columns.max() - columns.min()) + 1 == pixels


@pytest.mark.parametrize("strength", [0.0, 0.3, 2.0])
def test_gradient_reversal_keeps_values_and_negates_and_scales_gradients(strength: float) -> None:
    x = random(3, 4).requires_grad_()
    out = reverse_gradient(x, strength)
    assert torch.equal(out, x)
    weight = random(3, 4, seed=1)
    (gradient,) = torch.autograd.grad((out * weight).sum(), x)
    torch.testing.assert_close(gradient, -strength * weight)


def test_the_domain_classifier_gives_one_score_per_face() -> None:
    domain = DomainClassifier(6, 3, hidden=4, reads="features", kind="action_units")
    assert domain(torch.zeros(5, 6), torch.zeros(5, 3)).shape == (5,)
