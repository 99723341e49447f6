"""What a clip of a phantom patient promises: the breathing, the face and the faults asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from cycada.data import phantom
from cycada.data.phantom import (
    Clip,
    ClipSpec,
    Expression,
    Freeze,
    Phase,
    Span,
    render_clip,
    sample_clip,
    scenario,
)

NAMES = phantom.LANDMARK_NAMES


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clip_of(seed: int = 0, **changes: object) -> Clip:
    return sample_clip(ClipSpec(**changes), generator=seeded(seed))  # type: ignore[arg-type]


def person(seed: int = 3) -> phantom.Identity:
    return phantom.sample_identities(1, generator=seeded(seed))


def column(clip: Clip, number: int) -> torch.Tensor:
    return clip.intensities[:, phantom.PHANTOM_ACTION_UNITS.index(number)]


@pytest.mark.parametrize("rate", [6.0, 18.0, 45.0])
def test_breaths_come_at_the_rate_that_was_asked_for(rate: float) -> None:
    truth = clip_of(breathing=(Phase(0, rate),), frames_per_second=30.0, irregularity=0.0).truth
    assert truth.rate == pytest.approx(rate)
    begins = np.flatnonzero((truth.flow[1:] < 0) & (truth.flow[:-1] >= 0))
    lengths = np.diff(truth.seconds[begins])
    assert lengths == pytest.approx(60 / rate, abs=0.04)


def test_the_true_rate_counts_breaths_also_where_they_are_irregular() -> None:
    truth = clip_of(irregularity=0.15, frames_per_second=30.0).truth
    begins = np.flatnonzero((truth.flow[1:] < 0) & (truth.flow[:-1] >= 0))
    first, last = begins[2], begins[-1]
    breaths = len(begins) - 3
    minutes = (truth.seconds[last] - truth.seconds[first]) / 60
    assert truth.rate[first + 1 : last + 1].mean() == pytest.approx(breaths / minutes, rel=0.01)
    assert truth.rate.std() > 1


def test_rates_change_as_slowly_as_was_asked_for() -> None:
    clip = clip_of(breathing=(Phase(0, 12.0), Phase(60, 24.0)), change=20.0, irregularity=0.0)
    seconds, rate = clip.truth.seconds, clip.truth.rate
    assert rate[seconds < 55] == pytest.approx(12)
    assert rate[seconds > 85] == pytest.approx(24)
    assert 16 < rate[(seconds > 69) & (seconds < 71)].mean() < 20


def test_breathing_that_stops_stops_and_comes_back() -> None:
    clip = clip_of(breathing=(Phase(0, 20.0), Phase(40, 0.0), Phase(60, 20.0)))
    seconds, apnea = clip.truth.seconds, clip.truth.apnea
    still = (seconds > 44) & (seconds < 60)  # the last breath is finished
    assert apnea[still].all()
    assert (clip.truth.flow[still] == 0).all()
    assert (clip.truth.rate[still] == 0).all()
    assert not apnea[(seconds < 40) | (seconds >= 60.2)].any()


def test_an_intubated_patient_breathes_but_not_by_nose_or_mouth() -> None:
    clip = clip_of(depth=0.0)
    assert clip.truth.rate.mean() == pytest.approx(15, rel=0.1)
    assert (clip.truth.flow == 0).all()
    assert not clip.truth.apnea.any()
    few = range(4)
    still = dataclasses.replace(clip.scene, breathing_phase=torch.zeros(len(clip.scene)))
    who = person().take([0] * 4)
    shown = [
        phantom.render_celsius(who, clip.intensities[:4], scene.take(few), size=32)
        for scene in (clip.scene, still)
    ]
    assert torch.equal(*shown)


def test_every_frame_is_that_of_its_own_moment() -> None:
    clip = clip_of(seconds=5.0, drift=6.0, size=32)
    frames = list(render_clip(person(), clip))
    assert len(frames) == 45  # more than are drawn at once
    assert frames[0].dtype == np.float32
    for at in (0, 31, 32, 44):
        alone = phantom.render_celsius(
            person(), clip.intensities[at : at + 1], clip.scene.take([at]), size=32
        )[0]
        drifted = alone.numpy() + 6.0 * clip.truth.seconds[at] / 60
        assert frames[at] == pytest.approx(drifted, abs=1e-4)


def test_a_closed_shutter_repeats_the_frame_and_shifts_the_level() -> None:
    freezes = (Freeze(1.0, 0.5, 2.0), Freeze(3.0, 0.3, -1.0))
    clip = clip_of(seconds=4.0, size=32, freezes=freezes, frames_per_second=10.0, motion=0.0)
    frames = np.stack(list(render_clip(person(), clip)))
    same = (frames[1:] == frames[:-1]).all(axis=(1, 2))
    assert np.flatnonzero(same).tolist() == [9, 10, 11, 12, 13, 29, 30, 31]
    plain = clip._replace(spec=dataclasses.replace(clip.spec, freezes=()))
    off = frames - np.stack(list(render_clip(person(), plain)))
    assert off[:10] == pytest.approx(0)
    assert off[15:30] == pytest.approx(2, abs=1e-4)
    assert off[33:] == pytest.approx(1, abs=1e-4)


def test_frames_are_drawn_only_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    real = phantom.render_celsius

    def counted(identity: phantom.Identity, *rest: torch.Tensor, size: int) -> torch.Tensor:
        drawn.append(len(identity))
        return real(identity, *rest, size=size)  # type: ignore[arg-type]

    monkeypatch.setattr("cycada.data.phantom.clip.render_celsius", counted)
    frames: Iterator[object] = render_clip(person(), clip_of(size=16))
    next(frames)
    assert sum(drawn) <= 32


def seen_breathing(clip: Clip, where: tuple[str, ...], half: tuple[int, int]) -> float:
    """Return the K by which the air at its fastest changes the temperature around landmarks."""
    who = person().take([0] * len(clip.intensities))
    points = phantom.landmarks(who, clip.intensities, clip.scene, size=64)
    middle = points[:, [NAMES.index(name) for name in where]].mean(dim=1).round().long().tolist()
    values = [
        frame[y - half[1] : y + half[1] + 1, x - half[0] : x + half[0] + 1].mean()
        for frame, (x, y) in zip(render_clip(person(), clip), middle, strict=True)
    ]
    return float(np.polyfit(clip.truth.flow, np.array(values), 1)[0])


LIPS = ("lip_upper_bottom", "lip_lower_top")


def test_the_air_warms_the_nose_of_who_breathes_by_it_and_else_the_mouth() -> None:
    shared = {"seconds": 6.0, "size": 64, "scale": 0.9, "netd": 0.02, "motion": 0.3}
    nose, mouth = clip_of(**shared), clip_of(**shared, route="mouth", depth=1.2)
    assert seen_breathing(nose, ("nose_base",), (3, 1)) > 0.08
    assert abs(seen_breathing(nose, LIPS, (3, 1))) < 0.03
    assert seen_breathing(mouth, LIPS, (3, 1)) > 0.08
    # Some air goes the other way.
    assert (nose.scene.mouth_depth < nose.scene.breathing_depth / 3).all()
    assert (mouth.scene.breathing_depth < mouth.scene.mouth_depth / 3).all()


def test_the_noise_is_that_of_the_camera_asked_for() -> None:
    for netd in (0.02, 0.08):
        clip = clip_of(seconds=1.0, netd=netd, size=32, motion=0.0, depth=0.0)
        still = clip._replace(scene=dataclasses.replace(
            clip.scene.take([0] * 9), seed=clip.scene.seed
        ), intensities=clip.intensities[:1].expand(9, -1))  # fmt: skip
        frames = np.stack(list(render_clip(person(), still)))
        assert frames.std(axis=0, ddof=1).mean() == pytest.approx(netd, rel=0.08)


def test_a_look_lasts_as_long_as_it_was_asked_to() -> None:
    clip = clip_of(expressions=(Expression(40, 80, "fear"),), dyspnea=(Span(40, 80),))
    seconds = clip.truth.seconds
    inside, outside = (seconds > 42) & (seconds < 78), (seconds < 40) | (seconds > 82)
    for number in (1, 2, 4, 5, 20, 25, 38):
        assert column(clip, number)[inside].min() > 1.5
        assert column(clip, number)[outside].max() < 1
    assert (clip.truth.dyspnea == ((seconds >= 40) & (seconds < 80))).all()


def test_who_speaks_opens_and_closes_the_mouth_several_times_a_second() -> None:
    clip = clip_of(speech=(Span(20, 50),), frames_per_second=30.0)
    seconds = clip.truth.seconds
    opening = column(clip, 25)[(seconds > 22) & (seconds < 48)]
    turns = ((opening[1:-1] > opening[:-2]) & (opening[1:-1] > opening[2:])).sum()
    assert 1.5 < float(turns) / 26 < 6
    assert column(clip, 25)[(seconds < 20) | (seconds > 52)].max() < 1


def test_who_breathes_by_the_mouth_keeps_it_open() -> None:
    clip = clip_of(route="mouth", expressions=(Expression(0, 120, "random"),))
    assert column(clip, 25).min() > 1.5
    assert column(clip, 24).max() == 0


def test_a_restless_head_moves_more_and_a_still_one_only_with_the_chest() -> None:
    still, usual, restless = (clip_of(motion=motion).scene for motion in (0.0, 1.0, 3.0))
    assert np.ptp(still.yaw.numpy()) < 1e-5
    assert 0 < still.shift[:, 1].std() < 0.05
    assert usual.yaw.std() < restless.yaw.std()
    assert torch.diff(restless.yaw).abs().max() < 8  # degrees in a ninth of a second


def test_the_same_generator_gives_the_same_clip() -> None:
    first, second = clip_of(5, seconds=10.0), clip_of(5, seconds=10.0)
    assert torch.equal(first.intensities, second.intensities)
    assert torch.equal(first.scene.seed, second.scene.seed)
    assert (first.truth.flow == second.truth.flow).all()


def test_the_story_of_fear_has_fast_breathing_and_a_fearful_face_in_its_middle() -> None:
    clip = sample_clip(scenario("fear", generator=seeded(1)), generator=seeded(2))
    seconds, rate = clip.truth.seconds, clip.truth.rate
    middle = (seconds > 50) & (seconds < 80)
    assert rate[middle].mean() > 27
    assert rate[(seconds < 40) | (seconds > 90)].mean() < 19
    assert column(clip, 5)[middle].min() > 1
    assert clip.truth.dyspnea[middle].all()
    for name in phantom.SCENARIOS:
        spec = scenario(name, generator=seeded(1))
        assert bool(spec.dyspnea) == (name == "fear")
        assert sample_clip(spec, generator=seeded(2)).truth.apnea.any() == (name == "apnea")


def test_mixtures_hold_all_that_disturbs_and_one_in_five_does_not_breathe() -> None:
    draw = seeded(0)
    specs = [phantom.sample_spec(draw) for _ in range(400)]
    breathing = [spec for spec in specs if spec.breathes]
    assert len(specs) - len(breathing) == pytest.approx(80, abs=25)
    rates = [phase.rate for spec in breathing for phase in spec.breathing if phase.rate]
    assert min(rates) < 8
    assert max(rates) > 43
    assert min(rates) >= 6
    assert max(rates) <= 45
    assert all(0.02 <= spec.netd <= 0.08 for spec in specs)
    assert {spec.frames_per_second for spec in specs} == {9.0, 30.0}
    assert {spec.route for spec in specs} == {"nose", "mouth"}
    for found in (
        [spec for spec in specs if spec.speech],
        [spec for spec in specs if spec.expressions],
        [spec for spec in specs if spec.freezes],
        [spec for spec in specs if any(phase.rate == 0 for phase in spec.breathing[1:])],
        [spec for spec in specs if spec.depth == 0],
        [spec for spec in specs if spec.motion > 1.5],
    ):
        assert len(found) >= 20
    assert all(0.3 <= each.duration <= 1 for spec in specs for each in spec.freezes)


def test_what_cannot_be_drawn_is_refused() -> None:
    for wrong in ((), (Phase(1, 12),), (Phase(0, 12), Phase(20, 15), Phase(20, 9))):
        with pytest.raises(ValueError, match="start at 0 and rise"):
            ClipSpec(breathing=wrong)
    with pytest.raises(ValueError, match="positive"):
        ClipSpec(seconds=0)
    with pytest.raises(ValueError, match="positive"):
        ClipSpec(frames_per_second=0)
