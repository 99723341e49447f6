"""What an exported network carries to be used without its run, and how its file is sealed.

The facts are a JSON object: for ONNX in the model's metadata under ``cycada``, for TorchScript and
``torch.export`` in the archive as ``cycada.json``. An ONNX file ends with one more entry of its
metadata, ``cycada_sha256``: the checksum of all bytes before it. (A message of Protocol Buffers
may be written in pieces one after the other, so a reader that does not know of it reads the whole.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import torch

import cycada
from cycada.data.index_info import UNITS
from cycada.data.subjects import DIGESTS_KEY, seen_digests
from cycada.errors import CycadaError, RunError, reason
from cycada.files import check_regular
from cycada.metrics.calibration import Calibration
from cycada.metrics.intensity import IntensityReading
from cycada.models.tiling import MULTIPLE, SMALLEST
from cycada.task import Task
from cycada.thermal import Unit, Window
from cycada.training.loading import DetectorFacts, LoadedDetector, LoadedTranslator, window_of

Direction = Literal["to_thermal", "to_rgb"]
Facts = TypeVar("Facts")

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
KEY, SUM_KEY, JSON_NAME = "cycada", "cycada_sha256", "cycada.json"
INPUT, OUTPUT = "image", "made"
PRECISION_KEY, INT8 = "precision", "int8"
"""Of the facts of a network whose layers compute in 8 bits; those in float32 have none."""

_LAYOUT = 1  # of the facts; another number when older readers would misread them
_LARGEST = (1 << 31) - 1  # bytes of a message of Protocol Buffers
_SEAL = 83  # bytes
_LARGEST_SIDE = 4096  # px


def translator_facts(translator: LoadedTranslator, direction: Direction) -> dict[str, Any]:
    """Return what is needed to use one direction of a translator, as JSON."""
    return {
        **_common("translator", translator.fingerprint),
        "direction": direction,
        "size": translator.size,
        "multiple": MULTIPLE,
        "smallest": SMALLEST,
        "unit": translator.unit,
        **_shared(translator.window, translator.seen),
    }


def detector_facts(detector: LoadedDetector, fingerprint: str) -> dict[str, Any]:
    """Return what is needed to use a detector, as JSON; keys as in ``about.json`` of its run."""
    facts = {
        **_common("detector", fingerprint),
        **detector.task.to_json(),
        "size": detector.size,
        "channels": detector.channels,
        "thresholds": detector.thresholds.tolist(),
        "source_domains": list(detector.source_domains),
        **_shared(detector.window, detector.seen),
    }
    if detector.calibration is not None:
        facts["calibration"] = detector.calibration.to_json()
    if detector.intensity is not None:
        facts["intensity"] = detector.intensity.to_json()
    return facts


def _common(kind: str, fingerprint: str) -> dict[str, Any]:
    return {"layout": _LAYOUT, "kind": kind, "version": cycada.__version__, "weights": fingerprint}


def _shared(window: Window | None, seen: frozenset[str]) -> dict[str, Any]:
    return {
        "window": None if window is None else [window.low, window.high],
        DIGESTS_KEY: sorted(seen),
    }


@dataclass(frozen=True, slots=True)
class TranslatorFacts:
    """What an exported translator carries."""

    direction: Direction
    size: int  # shorter side of the images that it was trained on, px
    window: Window | None  # deg C of thermal [-1, 1]; None for grey images
    unit: Unit  # of the thermal images that it learned from
    seen: frozenset[str]  # digests of the subjects that it has learned from
    weights: str  # fingerprint of the run's weights
    int8: bool  # whether its layers compute in 8 bits


def read_translator_facts(text: str, file: Path) -> TranslatorFacts:
    """Return what the metadata of an exported translator say.

    Raises:
        RunError: ``file`` is the export of a detector, or its metadata are not whole.
    """

    def read(facts: dict[str, Any]) -> TranslatorFacts:
        if facts["direction"] not in DIRECTIONS or facts["unit"] not in UNITS:
            raise ValueError("an unknown direction or unit")
        return TranslatorFacts(
            direction=facts["direction"],
            size=_side(facts),
            window=window_of(facts),
            unit=facts["unit"],
            seen=_seen(facts),
            weights=str(facts["weights"]),
            int8=facts.get(PRECISION_KEY) == INT8,
        )

    return _read(text, file, "translator", read)


@dataclass(frozen=True, slots=True)
class ExportedDetectorFacts:
    """What an exported detector carries."""

    meaning: DetectorFacts
    size: int  # side of the images that it takes, px
    channels: int
    weights: str  # fingerprint of the run's weights
    int8: bool  # whether its layers compute in 8 bits


def read_detector_facts(text: str, file: Path) -> ExportedDetectorFacts:
    """Return what the metadata of an exported detector say.

    Raises:
        RunError: ``file`` is the export of a translator, or its metadata are not whole.
    """

    def read(facts: dict[str, Any]) -> ExportedDetectorFacts:
        task = Task.from_json(facts)
        answers = (len(task),)
        thresholds = torch.tensor(facts["thresholds"], dtype=torch.float32)
        line, grades = facts.get("calibration"), facts.get("intensity")
        calibration = Calibration.from_json(line) if line is not None else None
        intensity = IntensityReading.from_json(grades) if grades is not None else None
        shapes: list[tuple[int, ...]] = [thresholds.shape]
        shapes += [calibration.slope.shape, calibration.offset.shape] if calibration else []
        shapes += [intensity.slope.shape, intensity.offset.shape[1:]] if intensity else []
        if not len(task) or any(tuple(shape) != answers for shape in shapes):
            raise ValueError("as many numbers of a kind as answers are needed")
        if not thresholds.isfinite().all():
            raise ValueError("a threshold is no finite number")
        return ExportedDetectorFacts(
            meaning=DetectorFacts(
                root=file,
                task=task,
                thresholds=thresholds,
                calibration=calibration,
                intensity=intensity,
                source_domains=tuple(facts["source_domains"]),
                seen=_seen(facts),
                window=window_of(facts),
            ),
            size=_side(facts),
            channels=int(facts["channels"]),
            weights=str(facts["weights"]),
            int8=facts.get(PRECISION_KEY) == INT8,
        )

    return _read(text, file, "detector", read)


def _read(text: str, file: Path, kind: str, read: Callable[[dict[str, Any]], Facts]) -> Facts:
    try:
        facts = json.loads(text)
        layout, found = facts["layout"], facts["kind"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RunError(f"{file}: its metadata cannot be read; export it again.") from None
    if layout != _LAYOUT:
        raise RunError(
            f"{file}: was exported by another version of cycada ({facts.get('version')}); export "
            "it again with this one."
        )
    if found != kind:
        raise RunError(f"{file}: is the export of a {found}; a {kind} is needed here.")
    try:
        return read(facts)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, CycadaError) as error:
        raise RunError(
            f"{file}: its metadata lack something or are wrong ({reason(error)}); export it again."
        ) from error


def _side(facts: dict[str, Any]) -> int:
    side = int(facts["size"])
    if not SMALLEST <= side <= _LARGEST_SIDE:
        raise ValueError(f"a size of {side} px")
    return side


def _seen(facts: dict[str, Any]) -> frozenset[str]:
    seen = seen_digests(facts)
    if not all(isinstance(digest, str) for digest in seen):
        raise ValueError("digests of subjects are texts")
    return seen


def seal(content: bytes) -> bytes:
    """Return the metadata entry to append to an ONNX model: the checksum of its bytes."""
    key, value = SUM_KEY.encode(), hashlib.sha256(content).hexdigest().encode()
    # StringStringEntryProto: key is field 1, value field 2; ModelProto: metadata_props is field 14.
    entry = b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(value)]) + value
    return b"\x72" + bytes([len(entry)]) + entry


def read_sealed(file: Path) -> bytes:
    """Return the bytes of an ONNX file that ``cycada export`` wrote, once its checksum is right.

    The checksum tells damage and changes, not who wrote the file: whoever changes it on purpose
    can seal it again.

    Raises:
        RunError: There is no such file, it is of others, or it is not as it was written.
    """
    check_regular(file)
    try:
        if file.stat().st_size > _LARGEST:
            raise RunError(f"{file}: is larger than an ONNX file can be.")
        content = file.read_bytes()
    except OSError as error:
        raise RunError(f"{file}: cannot be read ({reason(error)}).") from error
    body, end = content[:-_SEAL], content[-_SEAL:]
    if SUM_KEY.encode() not in content:
        raise RunError(
            f"{file}: is no network that this package exported, or is cut off; export it with "
            "`cycada export RUN --format onnx`."
        )
    if end != seal(body):
        raise RunError(
            f"{file}: is damaged or was changed after the export (its checksum differs); export "
            "it again."
        )
    return content
