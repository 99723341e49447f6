"""How phantom expressions are distributed."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from cycada.action_units import OCCURRENCE_THRESHOLD
from cycada.data import phantom

_UNITS = phantom.PHANTOM_ACTION_UNITS


def _draw(domain: phantom.Domain, count: int = 6000, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return phantom.sample_intensities(count, domain=domain, generator=generator)


def _present(domain: phantom.Domain) -> dict[int, Tensor]:
    shown = _draw(domain) >= OCCURRENCE_THRESHOLD
    return dict(zip(_UNITS, shown.unbind(1), strict=True))


@pytest.mark.parametrize("domain", get_args(phantom.Domain))
def test_intensities_lie_between_0_and_5_with_exact_zeros(domain: phantom.Domain) -> None:
    drawn = _draw(domain)
    assert drawn.shape == (6000, len(_UNITS))
    assert drawn.min() == 0
    assert drawn.max() <= 5
    assert (drawn == 0).float().mean() > 0.5


@pytest.mark.parametrize("domain", get_args(phantom.Domain))
def test_every_action_unit_is_neither_too_rare_nor_too_common(domain: phantom.Domain) -> None:
    for number, shown in _present(domain).items():
        assert 0.055 < shown.float().mean() < 0.47, number


def test_antagonists_never_come_together() -> None:
    for domain in get_args(phantom.Domain):
        shown = _present(domain)
        assert not (shown[43] & shown[5]).any()
        assert not (shown[24] & shown[25]).any()


def test_a_smile_raises_the_cheeks_and_surprise_the_whole_brow() -> None:
    shown = _present("rgb")
    for one, other in ((12, 6), (1, 2), (2, 5), (9, 10), (25, 26)):
        given = shown[one][shown[other]].float().mean()
        assert given > 1.6 * shown[one].float().mean(), (one, other)


def test_patients_smile_less_and_breathe_harder_than_posers() -> None:
    rgb, thermal = _present("rgb"), _present("thermal")
    assert thermal[12].float().mean() < 0.7 * rgb[12].float().mean()
    for number in (4, 7, 25, 38, 43):
        assert thermal[number].float().mean() > 1.1 * rgb[number].float().mean(), number


def test_the_same_generator_state_gives_the_same_expressions() -> None:
    assert torch.equal(_draw("rgb", 50, seed=3), _draw("rgb", 50, seed=3))
    assert not torch.equal(_draw("rgb", 50, seed=3), _draw("rgb", 50, seed=4))
