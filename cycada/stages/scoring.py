"""What the scoring of detectors and that of translators share: options, batches, result files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import cycada
from cycada.data.dataset import FaceImages, signed
from cycada.data.index import Domain, Split
from cycada.errors import CycadaError, DataError
from cycada.files import replacing
from cycada.metrics.bootstrap import RESAMPLES
from cycada.progress import Progress
from cycada.thermal import Window
from cycada.training.loading import default_device

SCORES_NAME = "scores.json"
BATCH = 16  # on processors larger ones spend their time on fetching memory


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateOptions:
    """What to score, and with which helpers."""

    run: Path
    index: Path
    out: Path
    split: Split | None = "test"
    domain: Domain = "thermal"  # of the faces that a detector is shown
    detector: Path | None = None  # RGB detector that judges a translator; None: the run's own
    lpips: str | None = None  # AlexNet weights; empty downloads them, None leaves LPIPS out
    features: Path | None = None  # Inception v3 or MobileNetV2, for kernel and Frechet distance
    device: torch.device = field(default_factory=default_device)
    resamples: int = RESAMPLES
    seed: int = 0
    allow_outside: bool = False  # believe paths of an index from elsewhere that leave its folder


def check_window(found: Window | None, trained: Window | None, *, root: Path, network: str) -> None:
    """Refuse thermal images that span other temperatures than those that a network knows.

    Raises:
        DataError: Naming both.
    """
    if found != trained:
        told = [
            "grey" if window is None else f"{window.low:g} to {window.high:g} deg C"
            for window in (found, trained)
        ]
        raise DataError(
            f"{root}: its thermal images are {told[0]}, but the {network} was trained on "
            f"{told[1]}; index them with the same unit and window."
        )


def batches(faces: FaceImages, *, progress: Progress, desc: str) -> Iterable[Tensor]:
    """Yield all images in order, ``(B, C, S, S)`` in [-1, 1].

    Raises:
        DataError: One cannot be read. Scores of the others would be those of another index.
    """
    starts = range(0, len(faces), BATCH)
    for start in progress(starts, total=len(starts), desc=desc):
        try:
            stored = faces.batch(torch.arange(start, min(start + BATCH, len(faces))))
        except DataError as error:
            raise DataError(
                f"{str(error).rstrip('.')}; scores are of all faces that an index names, so "
                "restore it, or make the index again, which sets it aside."
            ) from error
        yield signed(stored)


def described(options: EvaluateOptions, kind: str, *, weights: str) -> dict[str, Any]:
    """Return what was scored on what, for the head of ``scores.json``.

    Args:
        options: Settings.
        kind: Of the run.
        weights: SHA-256 of its weights.
    """
    return {
        "kind": kind,
        "run": str(options.run),
        "weights": weights,
        "index": str(options.index),
        "split": options.split or "all",
        "version": cycada.__version__,
    }


def write_results(folder: Path, texts: dict[str, str]) -> None:
    """Write the files, each whole or not at all.

    Raises:
        CycadaError: The folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            with replacing(folder / name, lone=True) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise CycadaError(f"{folder}: cannot be written to ({error.strerror}).") from error
