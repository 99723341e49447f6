"""Tiny faces, settings that train in a second, and an Accelerator of its own for every test."""

from __future__ import annotations

import io
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cycada import image_writing, images, thermal
from cycada.config import (
    AlignmentConfig,
    DetectorConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    TranslatorConfig,
)
from cycada.data.index import DOMAINS, SPLITS, Face, Index, IndexInfo, read_index, write_index
from cycada.data.landmarks import write_landmarks
from cycada.landmarks import EYE_CORNERS
from cycada.progress import Progress
from cycada.thermal import Window

SIDE = 16
NUMBERS = (1, 12, 51, 52)  # two of which a mirror swaps
SPLIT_OF = (SPLITS[0], SPLITS[0], SPLITS[0], SPLITS[1], SPLITS[2])  # of each domain's subjects

torch.set_num_threads(1)  # tiny networks lose time by sharing, and CI has two cores


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """Forget the settings that Accelerate shares within a process."""
    _forget_accelerator()
    yield
    _forget_accelerator()


def _forget_accelerator() -> None:
    state = sys.modules.get("accelerate.state")
    if state is not None:
        state.AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def next_program() -> Callable[[], None]:
    """Return what forgets these settings within a test, as between two programs."""
    return _forget_accelerator


@pytest.fixture(scope="session")
def pack() -> Callable[[Path, Mapping[str, bytes]], Path]:
    """Return what writes a tar file with tarfile alone, as users do."""

    def pack(file: Path, members: Mapping[str, bytes]) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(file, "w") as archive:
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return file

    return pack


@pytest.fixture(scope="session")
def quiet() -> Progress:
    return Progress(shown=False)


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an index of 5 RGB and 5 thermal subjects with 4 random faces each; do not change it.

    A quarter of the training labels is missing, and where they are present the faces are brighter.
    """
    root = tmp_path_factory.mktemp("faces")
    draw = torch.Generator().manual_seed(0)
    rows = []
    for domain in DOMAINS:
        for number, split in enumerate(SPLIT_OF):
            for frame in range(4):
                labels = (torch.rand(4, generator=draw) < 0.5).float()
                if split != "train":  # every AU is there and not there in each split
                    labels = torch.tensor([frame % 2, frame // 2, 1 - frame % 2, frame > 1]).float()
                known = (torch.rand(4, generator=draw) < 0.75) | (split != "train")
                path = f"{domain}/{number}/{frame}.png"
                _write_face(root / path, domain, labels, draw)
                rows.append(
                    Face(
                        path=path,
                        domain=domain,
                        subject=f"{domain}{number}",
                        split=split,
                        frame=frame,
                        action_units={
                            n: float(labels[i]) for i, n in enumerate(NUMBERS) if known[i]
                        },
                    )
                )
    write_index(Index(root, IndexInfo(kind="occurrence", unit="centikelvin"), tuple(rows)))
    return root


def _write_face(path: Path, domain: str, labels: torch.Tensor, draw: torch.Generator) -> None:
    picture = torch.rand(3 if domain == "rgb" else 1, SIDE + 4, SIDE, generator=draw) - 0.5
    picture[..., : SIDE // 2, : SIDE // 2] += 0.5 * labels[0]
    picture[..., SIDE // 2 :, SIDE // 2 :] += 0.5 * labels[1]
    picture = picture.clamp(-1, 1)
    if domain == "rgb":
        image_writing.write_image(path, images.from_signed(picture, dtype=torch.uint8))
    else:
        celsius = thermal.from_signed(picture, Window())
        image_writing.write_image(path, thermal.counts_from_celsius(celsius, "centikelvin"))


@pytest.fixture
def own_faces(faces: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny faces that the test may spoil."""
    return shutil.copytree(faces, tmp_path / "own_faces")


@pytest.fixture(scope="session")
def mark_eyes() -> Callable[..., Path]:
    """Return what writes landmarks of the RGB faces of an index, a px apart from face to face."""
    corners = (9.0, 7.0, 11.0, 7.0, 6.0, 7.0, 4.0, 7.0, 7.5, 14.0)

    def mark(root: Path, *, every: int = 1) -> Path:
        faces = read_index(root).select(domain="rgb").faces[::every]
        places = [(face.path, [v + n % 3 for v in corners]) for n, face in enumerate(faces)]
        write_landmarks(root, (*EYE_CORNERS, "chin"), places)
        return root

    return mark


@pytest.fixture(scope="session")
def tiny_translator(faces: Path) -> Callable[..., TranslatorConfig]:
    """Return a maker of settings that train a translator in a second."""

    def make(**changes: Any) -> TranslatorConfig:
        config = TranslatorConfig(
            data=(str(faces),), size=SIDE,
            generator=GeneratorConfig(width=4, blocks=1),
            discriminator=DiscriminatorConfig(width=4, layers=1),
            batch_size=4, steps=4, learning_rate=2e-3, pool=8, average_decay=0.9,
            mixed_precision="no", workers=0, log_every=1, sample_every=100, save_every=2, keep=9,
            seed=3,
        )  # fmt: skip
        return replace(config, **changes)

    return make


@pytest.fixture(scope="session")
def tiny_detector(faces: Path) -> Callable[..., DetectorConfig]:
    """Return a maker of settings that train a detector in a second."""

    def make(**changes: Any) -> DetectorConfig:
        config = DetectorConfig(
            source=(str(faces),), backbone="small", width=4, size=SIDE, pretrained="none",
            alignment=AlignmentConfig(hidden=8, weight=1.0, warm_up=0.0, healthy_from=0.0),
            batch_size=4, steps=4, learning_rate=5e-3, average_decay=0.9, mixed_precision="no",
            workers=0, log_every=1, validate_every=2, save_every=2, keep=9, seed=3,
        )  # fmt: skip
        return replace(config, **changes)

    return make


@pytest.fixture(scope="session")
def detector_run(
    tiny_detector: Callable[..., DetectorConfig],
    quiet: Progress,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return the run of a detector that has seen RGB faces for two steps."""
    from cycada.stages.train_detector import run_training

    out = tmp_path_factory.mktemp("detector") / "run"
    run_training(tiny_detector(steps=2), out, progress=quiet)
    return out


@pytest.fixture(scope="session")
def translator_run(
    tiny_translator: Callable[..., TranslatorConfig],
    quiet: Progress,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return the run of a translator that has learned for two steps."""
    from cycada.stages.train_translator import run_training

    out = tmp_path_factory.mktemp("translator") / "run"
    run_training(tiny_translator(steps=2), out, progress=quiet)
    return out
