"""Networks that were exported to ONNX, used through ONNX Runtime as if they were a run's.

A file of ONNX describes sums and products; opening it runs no code of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cycada import images
from cycada.errors import RunError, UsageError, reason
from cycada.footage.packages import optional
from cycada.models.cycle import RGB_CHANNELS, THERMAL_CHANNELS
from cycada.thermal import Unit, Window
from cycada.training.exported import (
    DIRECTIONS,
    KEY,
    Direction,
    read_detector_facts,
    read_sealed,
    read_translator_facts,
)
from cycada.training.loading import DetectorFacts

DETECTOR_NAME = "detector.onnx"

_PROCESSOR = torch.device("cpu")
_TOLD = 4  # of the severities that ONNX Runtime prints: fatal ones; errors are raised
_WEIGHTS_AT = "session.model_external_initializers_file_folder_path"
_FLOATS = "tensor(float)"
_SIDES: Mapping[Direction, tuple[int, int]] = MappingProxyType(
    {
        "to_thermal": (RGB_CHANNELS, THERMAL_CHANNELS),
        "to_rgb": (THERMAL_CHANNELS, RGB_CHANNELS),
    }
)
"""Channels that a direction takes and gives."""


@dataclass(frozen=True, slots=True)
class OnnxTranslator:
    """An exported translator: the same to use as a loaded one, on the processor."""

    root: Path  # the file, or the folder of both directions
    sessions: Mapping[Direction, Any]  # ONNX Runtime's, of the directions that were exported
    size: int  # shorter side of the images that it was trained on, px
    window: Window | None  # deg C of thermal [-1, 1]; None for grey images
    unit: Unit  # of the thermal images that it learned from
    seen: frozenset[str]  # digests of the subjects that it, or a judge of it, has learned from
    fingerprint: str  # of the weights of the run
    int8: bool  # whether a direction computes in 8 bits; else all do so in float32
    device: torch.device = _PROCESSOR

    def to_thermal(self, rgb: Tensor) -> Tensor:
        """Return ``(B, 1, H, W)`` for ``(B, 3, H, W)`` in [-1, 1]; sides are multiples of 4.

        Raises:
            UsageError: This direction was not exported.
        """
        return self._translated("to_thermal", rgb)

    def to_rgb(self, thermal: Tensor) -> Tensor:
        """Return ``(B, 3, H, W)`` for ``(B, 1, H, W)`` in [-1, 1]; sides are multiples of 4.

        Raises:
            UsageError: This direction was not exported.
        """
        return self._translated("to_rgb", thermal)

    def check_direction(self, direction: Direction) -> None:
        """Refuse a translator of the other direction alone.

        Raises:
            UsageError: Says how to export this one.
        """
        if direction not in self.sessions:
            raise UsageError(
                f"{self.root}: translates only {next(iter(self.sessions))}, and {direction} is "
                "needed here; a folder as --out of `cycada export` gets both."
            )

    def _translated(self, direction: Direction, pictures: Tensor) -> Tensor:
        self.check_direction(direction)
        return _computed(self.sessions[direction], pictures)


@dataclass(frozen=True, slots=True)
class OnnxDetector(DetectorFacts):
    """An exported detector: the same to use as a loaded one, on the processor."""

    session: Any  # ONNX Runtime's
    channels: int  # of the images that it takes; others are converted
    size: int  # side of the images that it was trained on, px
    fingerprint: str  # of the weights of the run
    int8: bool  # whether it computes in 8 bits; else in float32

    def predict(self, pictures: Tensor) -> Tensor:
        """Return ``(B, A)`` probabilities for ``(B, 1 or 3, size, size)`` images in [-1, 1]."""
        return _computed(self.session, images.with_channels(pictures, self.channels))


def load_onnx_translator(path: Path) -> OnnxTranslator:
    """Load an exported translator: a file, or a folder with one for each direction.

    Raises:
        RunError: The file is missing, of a detector, damaged or changed.
        UsageError: ONNX Runtime is not installed.
    """
    files = [path]
    if path.is_dir():
        files = [file for name in DIRECTIONS if (file := path / f"{name}.onnx").exists()]
        if not files:
            raise RunError(f"{path}: holds no exported translator (to_thermal.onnx).")
    sessions: dict[Direction, Any] = {}
    found = []
    for file in files:
        session, text = _opened(file)
        facts = read_translator_facts(text, file)
        takes, gives = _SIDES[facts.direction]
        _check_fits(session, file, takes=[takes], gives=gives)
        sessions[facts.direction] = session
        found.append(facts)
    if len({facts.weights for facts in found}) > 1:
        raise RunError(f"{path}: its two directions are of different runs; export it again.")
    facts = found[0]
    return OnnxTranslator(
        root=path,
        sessions=sessions,
        size=facts.size,
        window=facts.window,
        unit=facts.unit,
        seen=facts.seen,
        fingerprint=facts.weights,
        int8=any(each.int8 for each in found),
    )


def load_onnx_detector(path: Path) -> OnnxDetector:
    """Load an exported detector: a file, or the folder that it is in.

    Raises:
        RunError: The file is missing, of a translator, damaged or changed.
        UsageError: ONNX Runtime is not installed.
    """
    file = path / DETECTOR_NAME if path.is_dir() else path
    session, text = _opened(file)
    facts = read_detector_facts(text, file)
    meaning = facts.meaning
    takes = [facts.channels, facts.size, facts.size]
    _check_fits(session, file, takes=takes, gives=len(meaning.task))
    return OnnxDetector(
        root=meaning.root,
        task=meaning.task,
        thresholds=meaning.thresholds,
        calibration=meaning.calibration,
        intensity=meaning.intensity,
        source_domains=meaning.source_domains,
        seen=meaning.seen,
        window=meaning.window,
        session=session,
        channels=facts.channels,
        size=facts.size,
        fingerprint=facts.weights,
        int8=facts.int8,
    )


def _opened(file: Path) -> tuple[Any, str]:
    """Return a session of ONNX Runtime, and the facts as they stand in the metadata."""
    runtime = optional("onnxruntime", extra="onnx", what="--engine onnx")
    content = read_sealed(file)
    options = runtime.SessionOptions()
    options.log_severity_level = _TOLD
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that spin while they wait take the cores from those that read and write images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        with tempfile.TemporaryDirectory() as nowhere:
            # A model may name files to take weights from; this one is whole.
            options.add_session_config_entry(_WEIGHTS_AT, nowhere)
            session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        facts = session.get_modelmeta().custom_metadata_map
    except Exception as error:  # its errors have no class of their own in common
        raise RunError(
            f"{file}: ONNX Runtime {runtime.__version__} cannot open it ({reason(error)}); export "
            "it again."
        ) from error
    return session, facts.get(KEY, "")


def _check_fits(session: Any, file: Path, *, takes: Sequence[int], gives: int) -> None:
    """Compare the axes after the first of a network's input and output with the metadata."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    taken = [end.shape[1 : 1 + len(takes)] for end in inputs]
    floats = all(end.type == _FLOATS for end in (*inputs, *outputs))
    if not floats or taken != [list(takes)] or [end.shape[1:2] for end in outputs] != [[gives]]:
        raise RunError(f"{file}: its network does not fit its metadata; export it again.")


def _computed(session: Any, pictures: Tensor) -> Tensor:
    image = np.ascontiguousarray(pictures.float().numpy())
    try:
        (made,) = session.run(None, {session.get_inputs()[0].name: image})
    except Exception as error:  # its errors have no class of their own in common
        raise RunError(
            f"ONNX Runtime cannot compute the exported network ({reason(error)}); export it again."
        ) from error
    return torch.from_numpy(made)
