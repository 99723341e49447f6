"""Assemble stage one: indexes, networks and judges, then train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from cycada.config import TranslatorConfig
from cycada.data.dataset import FaceImages, preload_all, signed
from cycada.data.index import Index, check_disjoint, check_files, read_index
from cycada.errors import ConfigError, DataError
from cycada.losses.perceptual import PerceptualDistance
from cycada.progress import Progress
from cycada.training.launch import make_accelerator, my_share
from cycada.training.loading import (
    LoadedDetector,
    check_reads_rgb,
    detector_fingerprint,
    load_detector,
)
from cycada.training.run import check_run, open_run
from cycada.training.translator import Judges, check_size, train_translator

SAMPLES = 8


def run_training(config: TranslatorConfig, out: Path, *, progress: Progress | None = None) -> None:
    """Train a translator into the run directory ``out``, or go on with it.

    Args:
        config: Settings.
        out: Run directory.
        progress: Shows the steps; ``None`` shows them on the main process.

    Raises:
        CycadaError: Something in the settings, the data or the run directory is wrong.
    """
    check_size(config)
    if not config.data:
        raise ConfigError("give at least one index with RGB and thermal faces: --data INDEX.")
    accelerator = make_accelerator(config.mixed_precision, double=config.double)
    my_share(config.batch_size, accelerator)  # so that a batch that cannot be shared fails here
    indexes = [read_index(Path(path)) for path in config.data]
    inputs = {path: index.fingerprint() for path, index in zip(config.data, indexes, strict=True)}
    if config.weights.semantic and config.detector:
        inputs[config.detector] = detector_fingerprint(Path(config.detector))
    check_run(out, "translator", config, inputs=inputs)
    check_disjoint(indexes)
    training = [index.select(split="train") for index in indexes]
    rgb = FaceImages(training, domain="rgb", size=config.size)
    thermal = FaceImages(training, domain="thermal", size=config.size)
    for index in training:
        check_files(index)
    judges, inherited = _judges(config, accelerator)
    if progress is None:
        progress = Progress(shown=accelerator.is_local_main_process)
    preload_all((rgb, thermal), limit_mb=config.cache_mb, progress=progress)
    about: dict[str, Any] = {
        "window": None if thermal.window is None else [thermal.window.low, thermal.window.high],
        "unit": _unit(training),
        "seen_subjects": sorted(
            inherited.union(
                (face.subject for face in (*rgb.faces, *thermal.faces)),
                *(index.info.seen_subjects for index in indexes),
            )
        ),
        "faces": {"rgb": len(rgb), "thermal": len(thermal)},
    }
    samples = _samples(indexes, config, rgb, thermal)
    with accelerator.main_process_first():
        run = open_run(out, "translator", config, writes=accelerator.is_main_process, inputs=inputs)
    about["seen_subjects"] = run.ever_seen(about["seen_subjects"])
    if config.weights.semantic and not config.detector:
        progress.say("No detector is given: the cycle alone keeps the Action Units.")
    train_translator(
        run, config, rgb=rgb, thermal=thermal, samples=samples, judges=judges,
        about=about, accelerator=accelerator, progress=progress,
    )  # fmt: skip


def _judges(config: TranslatorConfig, accelerator: Accelerator) -> tuple[Judges, frozenset[str]]:
    """Return the fixed networks, and the subjects that the detector among them has seen."""
    detector = perceptual = None
    seen: frozenset[str] = frozenset()
    dtype = torch.float64 if config.double else torch.float32
    if config.weights.semantic and config.detector:
        loaded: LoadedDetector = load_detector(Path(config.detector), accelerator.device)
        if loaded.size != config.size:
            raise ConfigError(
                f"the detector {config.detector} was trained at {loaded.size} px, the translator "
                f"works at {config.size} px; train both at the same size."
            )
        check_reads_rgb(loaded, config.detector)
        detector, seen = loaded.module.to(dtype), loaded.seen_subjects
    if config.weights.perceptual:
        perceptual = PerceptualDistance(config.lpips_weights).to(accelerator.device, dtype)
    return Judges(detector, perceptual), seen


def _unit(indexes: Sequence[Index]) -> str:
    units = {index.info.unit for index in indexes if index.select(domain="thermal").faces}
    if len(units) > 1:
        raise DataError(
            f"the thermal indexes count in different units ({', '.join(sorted(units))}); convert "
            "them to one."
        )
    return units.pop()


def _samples(
    indexes: Sequence[Index], config: TranslatorConfig, rgb: FaceImages, thermal: FaceImages
) -> tuple[Tensor, Tensor]:
    """Return a few validation faces of each domain, of training where there are none."""
    shown = []
    for faces in (rgb, thermal):
        validation = [index.select(split="val") for index in indexes]
        if any(index.select(domain=faces.domain).faces for index in validation):
            faces = FaceImages(validation, domain=faces.domain, size=config.size)  # noqa: PLW2901
        numbers = torch.linspace(0, len(faces) - 1, SAMPLES).long()
        shown.append(signed(faces.batch(numbers)))
    return shown[0], shown[1]
