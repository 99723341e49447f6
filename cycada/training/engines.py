"""The engines that compute a trained network: PyTorch from a run, ONNX Runtime from an export.

Both loaded forms have the same attributes and methods, so whoever uses one need not know which.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from cycada.errors import UsageError
from cycada.training.loading import (
    LoadedDetector,
    LoadedTranslator,
    load_detector,
    load_translator,
)
from cycada.training.onnx_engine import (
    OnnxDetector,
    OnnxTranslator,
    load_onnx_detector,
    load_onnx_translator,
)
from cycada.training.run_reading import CONFIG_NAME

Engine = Literal["torch", "onnx"]

UsableTranslator = LoadedTranslator | OnnxTranslator
UsableDetector = LoadedDetector | OnnxDetector


def open_translator(path: Path, engine: Engine, *, device: torch.device) -> UsableTranslator:
    """Return what makes thermal images, of a run (``torch``) or of an exported file (``onnx``).

    Args:
        path: A run; or an ONNX file, or the folder of both directions.
        engine: What computes it; ONNX Runtime does so on the processor.
        device: Where PyTorch computes.

    Raises:
        CycadaError: ``path`` is not what the engine takes, or cannot be used.
    """
    _check_taken(path, engine)
    if engine == "torch":
        return load_translator(path, device, back=False)
    translator = load_onnx_translator(path)
    translator.check_direction("to_thermal")
    return translator


def open_detector(path: Path, engine: Engine, *, device: torch.device) -> UsableDetector:
    """Return the detector of a run (``torch``) or of an exported file (``onnx``).

    Args:
        path: A run; or an ONNX file, or the folder that it is in.
        engine: What computes it; ONNX Runtime does so on the processor.
        device: Where PyTorch computes.

    Raises:
        CycadaError: ``path`` is not what the engine takes, or cannot be used.
    """
    _check_taken(path, engine)
    if engine == "onnx":
        return load_onnx_detector(path)
    return load_detector(path, device, predicts_alone=True)


def computes_by_core(network: UsableTranslator | UsableDetector) -> bool:
    """Tell whether threads on a core each may ask it side by side; ONNX Runtime takes all cores."""
    return isinstance(network, LoadedTranslator | LoadedDetector) and network.device.type == "cpu"


def precision_told(network: UsableTranslator | UsableDetector) -> str:
    """Return what sets the results of a network in 8 bits apart from its own in float32."""
    eight = isinstance(network, OnnxTranslator | OnnxDetector) and network.int8
    return " in int8" if eight else ""


def _check_taken(path: Path, engine: Engine) -> None:
    """Say which engine takes what was given.

    Raises:
        UsageError: It is a run for ONNX Runtime, or a file for PyTorch.
    """
    if engine == "onnx" and (path / CONFIG_NAME).is_file():
        raise UsageError(
            f"{path}: is a run, and --engine onnx takes what was exported from it: cycada export "
            f"{path} --format onnx --out FILE.onnx."
        )
    if engine == "torch" and path.suffix == ".onnx" and path.is_file():
        raise UsageError(f"{path}: is an ONNX file; add --engine onnx.")
