"""Instance normalisation with the channels last, against PyTorch's."""

from __future__ import annotations

import pytest
import torch

from cycada.models.normalisation import InstanceNorm2d, has_channels_last


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("affine", [True, False])
def test_instance_normalisation_is_the_same_in_both_layouts(batch: int, affine: bool) -> None:
    torch.manual_seed(0)
    layer = InstanceNorm2d(5, affine=affine).double()
    plain = torch.nn.InstanceNorm2d(5, affine=affine).double()
    if affine:
        torch.nn.init.uniform_(layer.weight, 0.5, 2)
        torch.nn.init.normal_(layer.bias)
        plain.load_state_dict(layer.state_dict())
    image = 3 + torch.randn(batch, 5, 6, 7, dtype=torch.float64)
    upstream = torch.randn_like(image)
    last = image.to(memory_format=torch.channels_last).requires_grad_()
    first = image.requires_grad_()
    made, expected = layer(last), plain(first)
    assert has_channels_last(made)
    torch.testing.assert_close(made, expected)
    for mine, theirs in zip(
        torch.autograd.grad(made, (last, *layer.parameters()), upstream),
        torch.autograd.grad(expected, (first, *plain.parameters()), upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_in_half_precision_statistics_are_those_of_float32() -> None:
    torch.manual_seed(0)
    image = (30 + torch.randn(2, 4, 16, 16)).bfloat16()
    layer = InstanceNorm2d(4, affine=True)
    made = layer(image.to(memory_format=torch.channels_last))
    expected = torch.nn.functional.instance_norm(image.float())
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made.float(), expected, atol=0.02, rtol=0.01)


@pytest.mark.parametrize(("mean", "spread"), [(1.0, 0.02), (3.0, 0.01), (-40.0, 0.5)])
def test_little_contrast_is_normalised_too(mean: float, spread: float) -> None:
    """A variance taken from the mean square would be noise."""
    torch.manual_seed(0)
    image = (mean + spread * torch.randn(2, 16, 128, 128)).to(memory_format=torch.channels_last)
    made = InstanceNorm2d(16, affine=True)(image)
    exact = torch.nn.functional.instance_norm(image.double())
    torch.testing.assert_close(made.double(), exact, atol=0.01, rtol=0.01)


def test_many_images_are_normalised_as_few() -> None:
    torch.manual_seed(0)
    many = torch.randn(12, 4, 8, 8).to(memory_format=torch.channels_last)
    layer = InstanceNorm2d(4, affine=True)
    torch.testing.assert_close(layer(many)[:5], layer(many[:5]))


def test_an_image_whose_layouts_are_one_is_taken_for_plain() -> None:
    assert not has_channels_last(torch.zeros(1, 1, 4, 4))
    assert not has_channels_last(torch.zeros(2, 3, 4, 4))
    assert has_channels_last(torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("images", [1, 3])
def test_what_is_overwritten_is_what_would_be_returned(dtype: torch.dtype, images: int) -> None:
    torch.manual_seed(0)
    layer = InstanceNorm2d(24, affine=True, inplace=True)
    torch.nn.init.uniform_(layer.weight)
    torch.nn.init.uniform_(layer.bias)
    layer = layer.to(torch.float64) if dtype == torch.float64 else layer
    x = (3 * torch.randn(images, 24, 33, 40) + 1).to(dtype, memory_format=torch.channels_last)
    before = x.clone()
    expected = layer(x).detach()
    assert torch.equal(x, before)  # while something may be learned, it is kept
    with torch.no_grad():
        made = layer(x)
    assert torch.equal(made, expected)
    assert made.data_ptr() == x.data_ptr()
    with torch.no_grad():
        assert torch.equal(InstanceNorm2d(24)(before.clone()), InstanceNorm2d(24)(before))
