"""Assemble stage one: indexes, networks and judges, then train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from cycada.config import TranslatorConfig
from cycada.data.dataset import FaceImages, preload_all, signed
from cycada.data.index import Index, read_index
from cycada.data.index_checks import check_disjoint, check_links
from cycada.data.subjects import DIGESTS_KEY, digests_of
from cycada.errors import ConfigError, DataError
from cycada.losses.perceptual import PerceptualDistance, alexnet_address
from cycada.models.build import check_size
from cycada.progress import Progress
from cycada.rejecting import REJECTED_NAME, Limit
from cycada.stages.auditing import audit_faces, audit_inputs
from cycada.stages.leaving_out import look_at_inputs
from cycada.thermal import Window
from cycada.training.examples import Examples
from cycada.training.finite import stepping_back
from cycada.training.judging import Readers
from cycada.training.launch import make_accelerator, my_share, neighbours_of
from cycada.training.loading import (
    LoadedDetector,
    check_reads_rgb,
    detector_fingerprint,
    load_detector,
)
from cycada.training.run import check_run, running
from cycada.training.trackers import chosen_trackers
from cycada.training.translator import train_translator
from cycada.training.translator_step import Judges
from cycada.weights import fetch

SAMPLES = 8


def run_training(
    config: TranslatorConfig, out: Path, *, progress: Progress | None = None,
    download: bool = False, limit: Limit | None = None, allow_outside: bool = False,
) -> None:  # fmt: skip
    """Train a translator into the run directory ``out``, or go on with it.

    Args:
        config: Settings.
        out: Run directory.
        progress: Shows the steps; ``None`` shows them on the main process.
        download: Fetch AlexNet's weights if the settings need them and they are not here.
        limit: How many images that cannot be read may be left out; ``None`` for the default.
        allow_outside: Believe paths of an index from elsewhere that leave its folder.

    Raises:
        CycadaError: Something in the settings, the data or the run directory is wrong.
    """
    check_size(config)
    if not config.data:
        raise ConfigError("give at least one index with RGB and thermal faces: --data INDEX.")
    accelerator = make_accelerator(
        config.mixed_precision, double=config.double, accumulate=config.accumulate,
        trackers=chosen_trackers(config.trackers, out), root=out,
    )  # fmt: skip
    my_share(config.batch_size, accelerator)  # so that a batch that cannot be shared fails here
    indexes = [read_index(Path(path), allow_outside=allow_outside) for path in config.data]
    inputs = {path: index.fingerprint() for path, index in zip(config.data, indexes, strict=True)}
    if config.thermal_detector and not config.detector:
        raise ConfigError(
            "thermal_detector needs a detector of RGB faces beside it: --detector RUN."
        )
    if config.weights.semantic:
        for path in filter(None, (config.detector, config.thermal_detector)):
            inputs[path] = detector_fingerprint(Path(path))
    check_run(out, "translator", config, inputs=inputs)
    check_disjoint(indexes)
    for index in indexes:
        check_links(index)
    if download and config.weights.perceptual and not config.lpips_weights:
        with accelerator.main_process_first():
            fetch(alexnet_address())
    parts = _parts(config, indexes, accelerator)
    if progress is None:
        progress = Progress(shown=accelerator.is_local_main_process)
    looked = look_at_inputs(
        indexes, out, limit=limit or Limit(), accelerator=accelerator, progress=progress
    )
    if looked.left_out:
        indexes = [looked.of(index) for index in indexes]
        parts = _parts(config, indexes, accelerator)
    rgb, thermal, unit, judges, inherited = parts
    inputs[REJECTED_NAME] = looked.fingerprint()
    found = audit_inputs(looked, labelled=(), progress=progress)
    preload_all(
        (rgb, thermal), limit_mb=config.cache_mb, progress=progress,
        neighbours=neighbours_of(accelerator),
    )  # fmt: skip
    audit_faces((rgb,), (thermal,), found=found, progress=progress)
    about: dict[str, Any] = {
        "window": None if thermal.window is None else [thermal.window.low, thermal.window.high],
        "unit": unit,
        DIGESTS_KEY: sorted(
            inherited.union(
                digests_of({face.subject for face in (*rgb.faces, *thermal.faces)}),
                *(index.info.seen for index in indexes),
            )
        ),
        "faces": {"rgb": len(rgb), "thermal": len(thermal)},
    }
    samples = _samples(indexes, config, rgb, thermal)
    if config.weights.semantic and not config.detector:
        progress.say("No detector is given: the cycle alone keeps what a face shows.")
    with running(out, "translator", config, accelerator=accelerator, inputs=inputs) as run:
        about[DIGESTS_KEY] = run.ever_seen(about[DIGESTS_KEY])
        if run.writes:
            looked.left_out.close()
        stepping_back(
            lambda slower: train_translator(
                run, config, rgb=rgb, thermal=thermal, samples=samples, judges=judges,
                about=about, slower=slower, accelerator=accelerator, progress=progress,
            ),
            run, limit=config.steps_back, accelerator=accelerator, tell=progress.say,
        )  # fmt: skip


class _Parts(NamedTuple):
    rgb: FaceImages
    thermal: FaceImages
    unit: str
    judges: Judges
    inherited: frozenset[str]  # digests of whom the judges have seen


def _parts(config: TranslatorConfig, indexes: Sequence[Index], accelerator: Accelerator) -> _Parts:
    """Return what a training is made of; no image is looked at."""
    training = [index.select(split="train") for index in indexes]
    rgb = FaceImages(training, domain="rgb", size=config.size)
    thermal = FaceImages(training, domain="thermal", size=config.size)
    unit = _unit(training)
    judges, inherited = _judges(config, training, rgb, thermal.window, accelerator)
    return _Parts(rgb, thermal, unit, judges, inherited)


def _judges(
    config: TranslatorConfig,
    indexes: Sequence[Index],
    rgb: FaceImages,
    window: Window | None,
    accelerator: Accelerator,
) -> tuple[Judges, frozenset[str]]:
    """Return the fixed networks, and digests of whom the detectors among them have seen."""
    readers = perceptual = None
    seen: frozenset[str] = frozenset()
    dtype = torch.float64 if config.double else torch.float32
    if config.weights.semantic and config.detector:
        loaded = _detector(config.detector, config, accelerator)
        check_reads_rgb(loaded, config.detector)
        thermal, seen = None, loaded.seen
        if config.thermal_detector:
            thermal = _detector(config.thermal_detector, config, accelerator)
            seen |= thermal.seen
            _check_reads_the_same(thermal, loaded, window, config)
        joint = config.semantic_judge == "joint" and thermal is None
        readers = Readers(
            rgb=loaded.module.to(dtype),
            thermal=None if thermal is None else thermal.module.to(dtype),
            labels=_labels(indexes, rgb, loaded, config) if joint else None,
        )
    if config.weights.perceptual:
        perceptual = PerceptualDistance(config.lpips_weights).to(accelerator.device, dtype)
    return Judges(readers, perceptual), seen


def _detector(path: str, config: TranslatorConfig, accelerator: Accelerator) -> LoadedDetector:
    loaded = load_detector(Path(path), accelerator.device)
    if loaded.size != config.size:
        raise ConfigError(
            f"the detector {path} was trained at {loaded.size} px, the translator works at "
            f"{config.size} px; train both at the same size."
        )
    return loaded


def _check_reads_the_same(
    thermal: LoadedDetector, rgb: LoadedDetector, window: Window | None, config: TranslatorConfig
) -> None:
    if thermal.task != rgb.task:
        raise ConfigError(
            f"thermal_detector: {config.thermal_detector} tells {', '.join(thermal.task.names)}, "
            f"the detector {config.detector} {', '.join(rgb.task.names)}; they must agree."
        )
    if thermal.window is not None and thermal.window != window:
        raise ConfigError(
            f"thermal_detector: {config.thermal_detector} learned from thermal images of another "
            "temperature window than those here; index them with one window."
        )


def _labels(
    indexes: Sequence[Index], rgb: FaceImages, detector: LoadedDetector, config: TranslatorConfig
) -> Examples:
    """Return the labels of the RGB faces, for a judge that is trained jointly."""
    parts = [index.select(domain="rgb").labels(detector.task) for index in indexes]
    labels, known = (torch.cat(columns) for columns in zip(*parts, strict=True))
    if not known.any():
        raise DataError(
            f"semantic_judge=joint learns the labels of the RGB faces, but none of them is "
            f"annotated for {', '.join(detector.task.names)} in {', '.join(config.data)}."
        )
    return Examples([rgb], labels=labels, known=known, task=detector.task, channels=rgb.channels)


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
