from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cycada.models.generator import Generator
from cycada.models.tiling import MULTIPLE, padded, translate_any_size


def picture(height: int, width: int, channels: int = 3) -> Tensor:
    draw = torch.Generator().manual_seed(height * width)
    return torch.rand(channels, height, width, generator=draw) * 2 - 1


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (48, 64), (61, 47), (101, 75)])
@pytest.mark.parametrize("tile", [16, 32, 1024])
def test_the_identity_comes_back_as_it_went_in_at_any_size_with_and_without_tiles(
    size: tuple[int, int], tile: int
) -> None:
    image = picture(*size)
    seen: list[tuple[int, ...]] = []

    def identity(batch: Tensor) -> Tensor:
        seen.append(tuple(batch.shape[-2:]))
        return batch

    made = translate_any_size(identity, image, tile=tile, overlap=8)
    assert made.shape == image.shape
    assert torch.allclose(made, image, atol=1e-6, rtol=0)
    assert all(side <= tile and side % MULTIPLE == 0 for shape in seen for side in shape)
    assert (len(seen) > 1) == (max(size) > tile)


def test_sixteen_bits_survive_the_blending_of_tiles_exactly() -> None:
    counts = torch.randint(0, 65536, (1, 90, 130), generator=torch.Generator().manual_seed(0))
    signed = counts.float() / 32767.5 - 1
    made = translate_any_size(lambda batch: batch, signed, tile=32, overlap=8)
    assert torch.equal(((made + 1) * 32767.5).round().long(), counts)


def test_what_a_local_filter_makes_of_tiles_is_what_it_makes_of_the_whole() -> None:
    """Away from the tiles' borders by the reach of the filter, which the blending leaves out."""
    image, kernel = picture(200, 120, channels=1), torch.ones(1, 1, 5, 5) / 25

    def blur(batch: Tensor) -> Tensor:
        return F.conv2d(F.pad(batch, (2, 2, 2, 2), mode="reflect"), kernel)

    whole = translate_any_size(blur, image)
    tiled = translate_any_size(blur, image, tile=64, overlap=32)
    # At its border a tile sees its own reflection, but weighs at most 3/32 against its neighbour.
    assert (whole - tiled).abs().max() < 0.06
    assert (whole - tiled).abs().median() < 1e-6


def test_tiles_of_a_real_generator_cover_an_image_whose_sides_do_not_divide() -> None:
    torch.manual_seed(0)
    generator = Generator(3, 1, width=4, blocks=1, skips=False).eval()
    with torch.no_grad():
        made = translate_any_size(generator, picture(107, 74), tile=48, overlap=16)
    assert made.shape == (1, 107, 74)
    assert made.isfinite().all()
    assert made.abs().max() <= 1


def test_padding_reflects_below_and_right_and_repeats_what_is_too_short_to_reflect() -> None:
    image = torch.arange(30.0).reshape(1, 5, 6)
    made = padded(image)
    assert made.shape == (1, 8, 8)
    assert torch.equal(made[:, :5, :6], image)
    assert torch.equal(made[0, 5:, 0], image[0, [3, 2, 1], 0])
    assert torch.equal(made[0, 0, 6:], image[0, 0, [4, 3]])
    assert torch.equal(padded(torch.full((1, 1, 2), 7.0)), torch.full((1, 8, 8), 7.0))
