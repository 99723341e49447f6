"""What a made video promises: smooth faces, one person, and the breathing rate asked for."""

from __future__ import annotations

import pytest
import torch

from cycada.data import phantom


def _video(frames: int = 600, rate: float = 18.0, seed: int = 0) -> phantom.Sequence:
    generator = torch.Generator().manual_seed(seed)
    return phantom.sample_sequence(
        frames, domain="thermal", generator=generator, breaths_per_minute=rate
    )


@pytest.mark.parametrize("rate", [8.0, 18.0, 40.0])
def test_the_air_flow_has_the_rate_that_was_asked_for(rate: float) -> None:
    truth = _video(rate=rate).truth
    begins = ((truth.air_flow[1:] > 0) & (truth.air_flow[:-1] <= 0)).nonzero()[:, 0]
    breaths_per_second = (len(begins) - 1) / (truth.seconds[begins[-1]] - truth.seconds[begins[0]])
    assert float(breaths_per_second) * 60 == pytest.approx(rate, rel=0.07)
    assert float(truth.breaths_per_minute.mean()) == pytest.approx(rate, rel=0.05)


def test_breathing_out_takes_longer_than_breathing_in() -> None:
    flow = _video().truth.air_flow
    assert (flow > 0).sum() > 1.2 * (flow < 0).sum()


def test_expressions_come_and_go_without_jumps() -> None:
    intensities = _video().intensities
    assert intensities.shape == (600, 18)
    assert intensities.max() > 2
    assert (intensities == 0).all(dim=1).any()
    assert torch.diff(intensities, dim=0).abs().max() < 3.5


def test_the_head_sways_but_the_light_and_the_room_stay() -> None:
    scene = _video().scene
    assert len(scene) == 600
    assert 0.5 < scene.yaw.std() < 3
    assert (scene.light == scene.light[0]).all()
    assert (scene.ambient == scene.ambient[0]).all()
    assert len(set(scene.seed.tolist())) > 590


def test_the_nostrils_of_the_rendered_video_show_the_breathing() -> None:
    video = _video(frames=80, rate=30)
    generator = torch.Generator().manual_seed(5)
    people = phantom.sample_identities(1, generator=generator).take([0] * 80)
    calm = torch.zeros_like(video.intensities)
    celsius = phantom.render_celsius(people, calm, video.scene, size=48)
    at = phantom.landmarks(people, calm, video.scene, size=48)
    base = at[:, phantom.LANDMARK_NAMES.index("nose_base")].round().long()
    signal = torch.stack(
        [
            celsius[frame, row - 1 : row + 3, column - 3 : column + 4].mean()
            for frame, (column, row) in enumerate(base.tolist())
        ]
    )
    seen = torch.corrcoef(torch.stack([signal, video.truth.air_flow]))[0, 1]
    assert seen > 0.8


def test_the_same_generator_state_gives_the_same_video() -> None:
    first, second = _video(50), _video(50)
    assert torch.equal(first.intensities, second.intensities)
    assert torch.equal(first.scene.seed, second.scene.seed)


def test_an_empty_or_single_frame_video_is_allowed() -> None:
    assert len(_video(1).intensities) == 1
    assert len(_video(0).scene) == 0
