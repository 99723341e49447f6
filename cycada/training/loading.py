"""Trained networks, ready for use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cycada import images
from cycada.config import DetectorConfig, TranslatorConfig
from cycada.cores import Cores, keep_what_is_freed
from cycada.data.index import Domain
from cycada.data.subjects import seen_digests
from cycada.errors import ConfigError, RunError, UsageError, reason
from cycada.metrics.calibration import Calibration
from cycada.metrics.intensity import IntensityReading
from cycada.models.activation import class_activation
from cycada.models.build import (
    build_detector,
    build_discriminators,
    build_generators,
    chosen_generator,
    undrawn,
)
from cycada.models.cycle import Discriminators, Generators, ToThermal
from cycada.models.cyclegan import CycleGANGenerators
from cycada.models.detector import Detector
from cycada.models.precision import hold_in_bf16, pack
from cycada.task import Task, decided, probabilities_of
from cycada.thermal import Unit, Window
from cycada.training.launch import multiplies_in_bf16
from cycada.training.run_reading import FOREIGN_KEY, finished_checkpoint, run_config

_SHOWN = 60  # characters of a fact that is wrong


@dataclass(frozen=True, slots=True)
class DetectorFacts:
    """What a detector's probabilities mean, whatever computes them."""

    root: Path  # its run, or the file that it was exported to
    task: Task
    thresholds: Tensor  # (A,) probabilities from which an AU counts as present
    calibration: Calibration | None  # of the probabilities; None: an earlier version noted none
    intensity: IntensityReading | None  # None: its validation faces were not graded
    source_domains: tuple[Domain, ...]  # of its labelled source faces; empty where unknown
    seen: frozenset[str]  # digests of subjects that this or an earlier stage has learned from
    window: Window | None  # deg C of [-1, 1]; None for RGB and grey images

    def calibrated(self, probabilities: Tensor) -> Tensor:
        """Return ``(B, A)`` probabilities that mean what they say, where that could be learned."""
        if self.calibration is None or self.task.kind == "classes":
            return probabilities
        return torch.from_numpy(self.calibration(probabilities.numpy()))

    def intensities(self, calibrated: Tensor) -> Tensor | None:
        """Return ``(B, A)`` intensities from 0 to 5 for calibrated probabilities.

        NaN for an AU that was graded too seldom; ``None`` if all were.
        """
        if self.intensity is None:
            return None
        return torch.from_numpy(self.intensity(calibrated.numpy()))

    def decide(self, probabilities: Tensor) -> Tensor:
        """Return ``(B, A)`` bool: the AUs that count as present, or the one class."""
        return decided(probabilities, self.thresholds.to(probabilities.dtype), self.task.kind)


@dataclass(frozen=True, slots=True)
class LoadedDetector(DetectorFacts):
    """A trained detector with what is needed to use it."""

    module: Detector
    config: DetectorConfig
    device: torch.device
    fingerprint: str = ""  # of its weights
    in_bf16: bool = False  # whether it computes in bfloat16; what it returns is float32
    cores: Cores = field(default_factory=Cores, repr=False, compare=False)

    @property
    def channels(self) -> int:
        """Channels of the images that it takes; others are converted."""
        return self.module.channels

    @property
    def size(self) -> int:
        """Side of the images that it was trained on, in px."""
        return self.config.size

    def predict(self, pictures: Tensor) -> Tensor:
        """Return ``(B, A)`` probabilities for ``(B, 1 or 3, size, size)`` images in [-1, 1].

        Computed ``in_bf16`` they differ from those in float32 by less than 0.02.
        """
        there = pictures.to(self.device, non_blocking=True)  # does not wait where it is pinned
        logits = self.cores.in_pieces(self._logits, images.with_channels(there, self.channels))
        return probabilities_of(logits, self.task.kind).cpu()

    @torch.no_grad()
    def _logits(self, ready: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.in_bf16):
            logits: Tensor = self.module(ready).logits
        return logits.float()

    def activation(self, pictures: Tensor) -> Tensor:
        """Return ``(B, A, 16, 16)`` in [0, 1]: which places of each face speak for each answer.

        Args:
            pictures: ``(B, 1 or 3, size, size)`` in [-1, 1].
        """
        return class_activation(self.module, pictures.to(self.device)).cpu()


@dataclass(frozen=True, slots=True)
class LoadedTranslator:
    """A trained translator with what is needed to use it."""

    root: Path
    module: Generators | ToThermal | CycleGANGenerators
    config: TranslatorConfig
    window: Window | None  # deg C of thermal [-1, 1]; None for grey images
    unit: Unit  # of the thermal images that it learned from
    seen: frozenset[str]  # digests of the subjects that it, or a judge of it, has learned from
    fingerprint: str
    device: torch.device
    in_bf16: bool = False  # whether it computes in bfloat16; what it returns is float32
    cores: Cores = field(default_factory=Cores, repr=False, compare=False)

    @property
    def goes_back(self) -> bool:
        """Whether it makes RGB images of thermal ones, too; weights from elsewhere may not.

        Nor do those that were loaded without.
        """
        return self.module.to_rgb is not None

    @property
    def size(self) -> int:
        """Shorter side of the images that it was trained on, in px."""
        return self.config.size

    # Measured on a trained translator of real faces, `in_bf16` moves pixels by 0.14 grey levels of
    # 255 at the median (11 mK in a window of 20 deg C), by 1.0 at the 99th percentile, 2.7 at most.

    def to_thermal(self, rgb: Tensor) -> Tensor:
        """Return ``(B, 1, H, W)`` for ``(B, 3, H, W)`` in [-1, 1]; sides are multiples of 4."""
        return self._translated(self.module.to_thermal, rgb)

    def to_rgb(self, thermal: Tensor) -> Tensor:
        """Return ``(B, 3, H, W)`` for ``(B, 1, H, W)`` in [-1, 1]; sides are multiples of 4.

        Raises:
            RunError: The translator is one from elsewhere, without this direction.
        """
        if self.module.to_rgb is None:
            raise RunError(
                f"{self.root}: translates RGB into thermal alone, for the checkpoint of the other "
                "direction was not given when it was brought here; give tools/compare_cyclegan.py "
                "both."
            )
        return self._translated(self.module.to_rgb, thermal)

    def _translated(self, generator: nn.Module, pictures: Tensor) -> Tensor:
        there = pictures.to(self.device, non_blocking=True)  # does not wait where it is pinned
        return self.cores.in_pieces(partial(self._made, generator), there).cpu()

    @torch.no_grad()
    def _made(self, generator: nn.Module, pictures: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.in_bf16):
            made: Tensor = generator(pictures)
        return made.float()


def _computes_in_bf16(config: DetectorConfig | TranslatorConfig, device: torch.device) -> bool:
    """Tell whether a network is used in bfloat16: where it pays, unless it was trained without."""
    asked = config.mixed_precision != "no" and not config.double
    return asked and device.type == default_device().type and multiplies_in_bf16()


def default_device() -> torch.device:
    """Return the accelerator if there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_named(name: str) -> torch.device:
    """Return the device that a user named; ``auto`` is the default one.

    Raises:
        UsageError: There is no such device on this machine.
    """
    if name == "auto":
        return default_device()
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        told = str(error).splitlines()[0].rstrip(".")
        raise UsageError(f"--device {name}: cannot be used here ({told}).") from error
    return device


def load_detector(
    root: Path,
    device: torch.device | None = None,
    *,
    step: int | None = None,
    predicts_alone: bool = False,
) -> LoadedDetector:
    """Load the chosen weights of a detector's run: of its newest checkpoint, or that of a step.

    Args:
        root: Run.
        device: Where to compute; ``None`` for the default one.
        step: Of the checkpoint; ``None`` for the newest.
        predicts_alone: Hold weights as ``predict`` needs them where it computes in bfloat16: in
            half of the memory, and in order; the module is then of no use but for that.

    Raises:
        RunError: ``root`` is no finished run of a detector, or its weights are damaged.
    """
    config = run_config(root, "detector", DetectorConfig)
    checkpoint = finished_checkpoint(root, step=step)
    about = checkpoint.about()
    task = Task.from_json(about)
    device = device or default_device()
    in_bf16 = _computes_in_bf16(config, device)
    with undrawn():
        module = build_detector(
            config, channels=about["channels"], task=task, pretrained="none",
            landmarks=about.get("landmarks", ()),
        )  # fmt: skip
    if in_bf16 and predicts_alone:
        hold_in_bf16(module)
    # With its channels last a detector is 1.3 to 1.5 times as fast, in float32 on processors, too.
    module = module.to(memory_format=torch.channels_last)
    checkpoint.load_weights("detector", module)
    module = module.eval().requires_grad_(False).to(device)  # noqa: FBT003
    if in_bf16 and predicts_alone and device.type == "cpu":
        pack(module)
    return LoadedDetector(
        root=root,
        module=module,
        config=config,
        task=task,
        thresholds=_thresholds(about, task, checkpoint.folder),
        calibration=(
            Calibration.from_json(about["calibration"]) if "calibration" in about else None
        ),
        intensity=(
            IntensityReading.from_json(about["intensity"]) if "intensity" in about else None
        ),
        source_domains=_source_domains(about, config),
        seen=seen_digests(about),
        window=window_of(about),
        device=device,
        fingerprint=checkpoint.fingerprint(),
        in_bf16=in_bf16,
    )


def load_translator(
    root: Path, device: torch.device | None = None, *, step: int | None = None, back: bool = True
) -> LoadedTranslator:
    """Load the averaged weights of a translator's run: of its newest checkpoint, or that of a step.

    On a processor, this process keeps memory that is freed from then on
    (:func:`cycada.cores.keep_what_is_freed`).

    Args:
        root: Run.
        device: Where to compute; ``None`` for the default one.
        step: Of the checkpoint; ``None`` for the newest.
        back: Also load what makes RGB images of thermal ones, half of the memory.

    Raises:
        RunError: ``root`` is no finished run of a translator, or its weights are damaged.
    """
    config = run_config(root, "translator", TranslatorConfig)
    checkpoint = finished_checkpoint(root, step=step)
    about = checkpoint.about()
    device = device or default_device()
    in_bf16 = _computes_in_bf16(config, device)
    module: Generators | ToThermal | CycleGANGenerators
    with undrawn():
        if FOREIGN_KEY in about:
            module = CycleGANGenerators.from_json(about[FOREIGN_KEY], back=back)
        else:
            module = build_generators(config) if back else ToThermal(chosen_generator(config))
    if in_bf16 and isinstance(module, ToThermal):
        hold_in_bf16(module)
    # In float32 on processors, instance normalisation takes more time with channels last.
    layout = torch.channels_last if in_bf16 else torch.contiguous_format
    module = module.to(memory_format=layout)
    checkpoint.load_weights("generators", module, without="" if back else "to_rgb.")
    if device.type == "cpu":
        keep_what_is_freed()
    module = module.eval().requires_grad_(False).to(device)  # noqa: FBT003
    return LoadedTranslator(
        root=root,
        module=module,
        config=config,
        window=window_of(about),
        unit=about["unit"],
        seen=seen_digests(about),
        fingerprint=checkpoint.fingerprint(),
        device=device,
        in_bf16=in_bf16,
    )


def load_discriminators(root: Path, device: torch.device) -> Discriminators:
    """Load the discriminators of the newest checkpoint of a translator's run.

    They are no weights for use, so they come from the state to go on from.

    Raises:
        RunError: ``root`` is no finished run of a translator, or that state is missing or damaged.
    """
    config = run_config(root, "translator", TranslatorConfig)
    checkpoint = finished_checkpoint(root, told=False)
    module = build_discriminators(config)
    try:
        module.load_state_dict(checkpoint.state()["discriminators"])
    except (KeyError, RuntimeError) as error:
        raise RunError(
            f"{checkpoint.folder}: its state holds no discriminators of this run ({reason(error)})."
        ) from error
    return module.eval().requires_grad_(False).to(device)  # noqa: FBT003


def detector_fingerprint(root: Path) -> str:
    """Return a SHA-256 of the weights that :func:`load_detector` would load.

    Raises:
        RunError: ``root`` is no finished run of a detector.
    """
    run_config(root, "detector", DetectorConfig)
    return finished_checkpoint(root, told=False).fingerprint()  # loading it tells


def check_reads_rgb(detector: LoadedDetector, path: Path | str) -> None:
    """Refuse a judge of RGB faces whose last training had labelled thermal faces alone.

    Raises:
        ConfigError: Naming ``path``.
    """
    if detector.source_domains == ("thermal",):
        raise ConfigError(
            f"the detector {path} was trained on thermal faces alone, but it is to judge RGB "
            "faces; give one that is trained on RGB."
        )


def _thresholds(about: Mapping[str, Any], task: Task, folder: Path) -> Tensor:
    found = torch.tensor(about["thresholds"])
    if found.shape != (len(task),) or not found.isfinite().all():
        raise RunError(
            f"{folder}: expected a finite threshold for each of {len(task)} answers, found "
            f"{str(about['thresholds'])[:_SHOWN]}."
        )
    return found


def _source_domains(about: Mapping[str, Any], config: DetectorConfig) -> tuple[Domain, ...]:
    if "source_domains" in about:
        return tuple(about["source_domains"])
    # Earlier versions did not note them; one channel that nobody asked for tells.
    return ("thermal",) if about["channels"] == 1 and not config.channels else ()


def window_of(about: Mapping[str, Any]) -> Window | None:
    """Return the temperature window that a checkpoint's facts name."""
    return None if about["window"] is None else Window(*about["window"])
