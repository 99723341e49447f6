"""The benchmark shows frames to the package, and counts what it tells against what is true."""

from __future__ import annotations

import dataclasses
from types import ModuleType

import numpy as np
import pytest
import torch

from cycada.data import phantom
from cycada.data.phantom import ClipSpec, Phase
from cycada.stages.phantom_clips import Patient, patient


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    import vitals_benchmark

    return vitals_benchmark


def test_the_rate_of_a_plain_clip_is_told_from_its_frames_alone(tool: ModuleType) -> None:
    one = patient(1000, 2, scenario="calm", seconds=40.0)
    course = tool.watch(one)
    assert course.seconds.tolist() == list(range(1, 40))
    assert np.isfinite(course.rate[-5:]).all()
    true = course.windows.rate
    assert course.rate[-5:] == pytest.approx(true[-5:], abs=1.0)
    told = tool.figures([course, dataclasses.replace(course, subject="other")])
    assert told["clips"] == 2
    assert told["mae"] < 1
    assert told["silent_without_breathing"] is None


def test_figures_are_those_that_the_issue_asks_for_and_kinds_have_rows(
    tool: ModuleType,
) -> None:
    spec = ClipSpec(seconds=60, breathing=(Phase(0, 10.0),), size=16)
    clip = phantom.sample_clip(spec, generator=torch.Generator().manual_seed(1))
    course = tool.Course(
        subject="a", truth=tool.truth_of(clip), seconds=np.arange(1.0, 60),
        rate=np.full(59, 10.2), quality=np.full(59, 0.9), apnea=np.zeros(59, dtype=bool),
    )  # fmt: skip
    told = tool.figures([course])
    assert {
        "mae", "mae_high_quality", "coverage", "wrong_by_3", "silent_without_breathing", "clips",
    } <= set(told)  # fmt: skip
    assert told["coverage"] == 1
    assert told["wrong_by_3"] == 0
    assert told["apnea_false_seconds"] == 0
    flags = course.seconds < 7  # six of its 59 seconds
    wrong = tool.figures([dataclasses.replace(course, apnea=flags)])
    assert wrong["apnea_false_seconds"] == pytest.approx(6 / 59, abs=1e-4)
    rows = tool.table([(spec, course)]).splitlines()
    assert any(row.startswith("| below 12 per minute | 1 |") for row in rows)
    assert not any(row.startswith("| by the mouth") for row in rows)


def test_patients_differ_and_are_the_same_again() -> None:
    first, again, other = (patient(0, number) for number in (3, 3, 4))
    assert isinstance(first, Patient)
    assert first.clip.spec == again.clip.spec
    assert (first.clip.truth.flow == again.clip.truth.flow).all()
    assert first.clip.spec != other.clip.spec
