"""Runs of tiny networks on phantom faces, in a folder as the examples of the API suppose it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cycada.config import DetectorConfig, TranslatorConfig
from cycada.data.index import read_index
from cycada.progress import Progress


@pytest.fixture(scope="session")
def workshop(
    tiny_translator: Callable[..., TranslatorConfig], tiny_detector: Callable[..., DetectorConfig],
    quiet: Progress, tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    """Return a folder with ``data``, ``faces``, ``runs`` and ``runs/evaluation``; do not change it.

    Paths are relative to it, as users give them.
    """
    from cycada.stages.evaluate import EvaluateOptions, evaluate
    from cycada.stages.phantom import PhantomOptions, make_phantom
    from cycada.stages.train_detector import run_training as train_detector
    from cycada.stages.train_translator import run_training as train_translator

    folder = tmp_path_factory.mktemp("workshop")
    before = Path.cwd()
    os.chdir(folder)
    try:
        make_phantom(
            PhantomOptions(out=Path("data"), rgb_subjects=6, thermal_subjects=6, frames=3, size=32,
                           splits=(0.5, 0.25, 0.25)),
            progress=quiet,
        )  # fmt: skip
        train_translator(tiny_translator(data=("data",), steps=2), Path("runs/translator"),
                         progress=quiet)  # fmt: skip
        train_detector(
            tiny_detector(source=("data",), source_domain="thermal", steps=2), Path("runs/both"),
            progress=quiet,
        )  # fmt: skip
        for name in ("both", "translator"):
            evaluate(
                EvaluateOptions(run=Path("runs", name), index=Path("data"), resamples=20,
                                out=Path("runs/evaluation", name)),
                progress=quiet,
            )  # fmt: skip
        faces = read_index(Path("data")).faces
        Path("faces").mkdir()
        for name, domain, number in (("rgb", "rgb", 0), ("thermal", "thermal", 0),
                                     ("other", "thermal", 1)):  # fmt: skip
            chosen = [face for face in faces if face.domain == domain][number]
            shutil.copy(Path("data", chosen.path), Path("faces", f"{name}.png"))
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def there(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a copy of the workshop."""
    place = shutil.copytree(workshop, tmp_path / "there")
    monkeypatch.chdir(place)
    return place
