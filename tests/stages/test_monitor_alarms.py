"""The whole way: phantom patients are drawn, a detector learns faces, and alarms are raised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cycada import image_writing
from cycada.config import DetectorConfig
from cycada.data import phantom
from cycada.data.index import SPLITS, Face, Index, IndexInfo, write_index
from cycada.data.phantom.clip import render_clip, sample_clip
from cycada.data.phantom.clip_sampling import Scenario, scenario
from cycada.data.sampling import generator
from cycada.progress import Progress
from cycada.stages.monitor import Monitored, MonitorOptions, monitor
from cycada.stages.train_detector import run_training
from cycada.thermal import Window, counts_from_celsius

SIDE, SECONDS = 48, 66.0
UNITS = (1, 2, 4, 5, 7, 12, 20, 25, 26)
LOOKS = ((1, 2, 4, 5, 7, 20, 25, 26), (12, 25), (25, 26), (4,), (7,), (), ())
"""Faces to learn from: fear, a smile, an open mouth, single signs, and nothing."""


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory, quiet: Progress) -> Path:
    """Return the run of a small detector that has seen 60 thermal phantoms."""
    root = tmp_path_factory.mktemp("faces")
    draw = generator(11, "looks")
    rows = []
    for person in range(60):
        split = SPLITS[1] if person >= 52 else SPLITS[0]
        identity = phantom.sample_identities(1, generator=draw).take([0] * len(LOOKS))
        scenes = phantom.sample_scenes(len(LOOKS), generator=draw)
        strength = 2.2 + 2.2 * torch.rand(len(LOOKS), 18, generator=draw)
        shown = torch.tensor(
            [[float(n in look) for n in phantom.PHANTOM_ACTION_UNITS] for look in LOOKS]
        )
        celsius = phantom.render_celsius(identity, shown * strength, scenes, size=SIDE)
        for at, picture in enumerate(counts_from_celsius(celsius, "centikelvin")):
            path = f"{person:02d}_{at}.png"
            image_writing.write_image(root / path, picture[None])
            rows.append(Face(
                path=path, domain="thermal", subject=f"p{person}", split=split,
                action_units={n: float(n in LOOKS[at]) for n in UNITS},
            ))  # fmt: skip
    info = IndexInfo(kind="occurrence", unit="centikelvin", window=Window(28, 37))
    write_index(Index(root, info, tuple(rows)))
    run = root / "run"
    run_training(
        DetectorConfig(
            source=(str(root),), source_domain="thermal", backbone="small", width=12, size=SIDE,
            pretrained="none", batch_size=16, steps=900, learning_rate=3e-3, average_decay=0.98,
            mixed_precision="no", workers=0, log_every=100, validate_every=450, save_every=900,
            seed=2,
        ),
        run, progress=quiet,
    )  # fmt: skip
    return run


def watched(name: Scenario, detector: Path, tmp_path: Path) -> Monitored:
    """Draw a story of 66 s, whose middle third is told by its name, and watch it."""
    draw = generator(21, name)
    clip = sample_clip(scenario(name, generator=draw, seconds=SECONDS), generator=draw)
    person = phantom.sample_identities(1, generator=draw)
    frames = np.stack(list(render_clip(person, clip)))
    file = tmp_path / f"{name}.npz"
    np.savez(file, frames=np.round((frames + 273.15) * 100).astype(np.uint16),
             times=clip.truth.seconds)  # fmt: skip
    return monitor(MonitorOptions(source=file, out=tmp_path / "out", run=detector))


def test_a_look_of_fear_and_fast_breathing_raise_one_alarm_within_ten_seconds(
    detector: Path, tmp_path: Path
) -> None:
    told = watched("fear", detector, tmp_path)
    assert [event.kind for event in told.alarms] == ["dyspnea"]
    alarm = told.alarms[0]
    assert SECONDS / 3 < alarm.raised < SECONDS / 3 + 10
    assert 2 * SECONDS / 3 - 4 < alarm.end < 2 * SECONDS / 3 + 10
    assert "fearful face" in alarm.reason


@pytest.mark.parametrize("name", ["smile", "talk"])
def test_a_patient_who_smiles_or_talks_raises_none(
    name: Scenario, detector: Path, tmp_path: Path
) -> None:
    told = watched(name, detector, tmp_path)
    assert told.alarms == []
    assert told.rows == SECONDS
