"""Promises of the phantom renderings."""

from __future__ import annotations

import torch

from cycada.data import phantom


def _faces(count: int, seed: int = 0) -> tuple[phantom.Identity, torch.Tensor, phantom.Scene]:
    generator = torch.Generator().manual_seed(seed)
    return (
        phantom.sample_identities(count, generator=generator),
        phantom.sample_intensities(count, domain="rgb", generator=generator),
        phantom.sample_scenes(count, generator=generator),
    )


def test_the_same_generator_state_gives_the_same_bits() -> None:
    first, second = (phantom.render_pair(*_faces(3, seed=7), size=32) for _ in range(2))
    assert torch.equal(first.rgb, second.rgb)
    assert torch.equal(first.celsius, second.celsius)


def test_a_pair_equals_the_two_single_renderings() -> None:
    faces = _faces(3)
    pair = phantom.render_pair(*faces, size=48)
    assert torch.equal(pair.rgb, phantom.render_rgb(*faces, size=48))
    assert torch.equal(pair.celsius, phantom.render_celsius(*faces, size=48))
