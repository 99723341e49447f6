"""Networks that settings leave open are chosen as the settings say."""

from __future__ import annotations

import pytest

from cycada.config import GeneratorConfig, TranslatorConfig
from cycada.models.build import FACES_BLOCKS, FACES_WIDTH, build_generators, chosen_generator


@pytest.mark.parametrize(
    ("size", "stated", "expected"),
    [
        (128, {}, (FACES_WIDTH, FACES_BLOCKS, True)),
        (256, {}, (FACES_WIDTH, FACES_BLOCKS, True)),
        (128, {"blocks": 5}, (FACES_WIDTH, 5, True)),
        (128, {"skips": False}, (64, 6, False)),
        (256, {"skips": False}, (64, 9, False)),
        (256, {"skips": False, "width": 24, "blocks": 3}, (24, 3, False)),
        # As runs of earlier versions have noted it, whose default was 64 channels.
        (252, {"width": 64, "blocks": 0}, (64, 6, True)),
        (256, {"width": 64, "blocks": 0}, (64, 9, True)),
    ],
)
def test_a_generator_is_the_default_or_the_papers(
    size: int, stated: dict[str, int], expected: tuple[int, int, bool]
) -> None:
    config = TranslatorConfig(size=size, generator=GeneratorConfig(**stated))  # type: ignore[arg-type]
    chosen = chosen_generator(config)
    assert (chosen.width, chosen.blocks, chosen.skips) == expected


def test_the_papers_network_is_one_setting_away() -> None:
    """CycleGAN, appendix 7.2: c7s1-64, d128, d256, nine R256, u128, u64."""
    config = TranslatorConfig(size=256, generator=GeneratorConfig(skips=False))
    network = build_generators(config).to_thermal
    shapes = [tuple(w.shape[:2]) for name, w in network.named_parameters() if w.ndim == 4]
    assert shapes == [(64, 6), (128, 64), *[(256, 128)], *[(256, 256)] * 18, (128, 256),
                      (64, 128), (1, 64)]  # fmt: skip
