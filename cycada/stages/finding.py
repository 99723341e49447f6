"""Where the faces of a frame are: by a table, by a detector with weights, or by warmth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from cycada import images, thermal
from cycada.data.faces.detectors import Detector, open_detector
from cycada.data.faces.geometry import Found
from cycada.data.faces.places import PlaceTable, read_places
from cycada.data.index import Domain
from cycada.errors import UsageError
from cycada.footage import Frame
from cycada.stages.sources import Source
from cycada.thermal import Unit

AUTO, WHOLE = "auto", "whole"
"""Ways to find faces beside detectors and files: the best known one; none, for frames are faces."""

_NAMED: tuple[Detector, ...] = ("heads", "dlib", "yunet")
_BY_SUFFIX: Mapping[str, Detector] = MappingProxyType(
    {".svm": "dlib", ".onnx": "yunet", ".tflite": "tflite"}
)
_TABLES = (".csv", ".tsv", ".txt")


@dataclass(frozen=True, slots=True)
class FaceSource:
    """Finds the faces of a frame of a source."""

    find: Callable[[Frame, Source], Found]
    notes: tuple[str, ...]  # what was understood
    landmarks: tuple[str, ...] = ()  # names of those that its faces may have

    def __call__(self, frame: Frame, source: Source) -> Found:
        """Return the faces, or the reason if there are none."""
        return self.find(frame, source)


def face_source(how: str, domain: Domain) -> FaceSource:
    """Return what finds faces.

    Args:
        how: ``auto`` (heads by their warmth in thermal frames, dlib in RGB ones), the name of a
            detector, or a file: a table of boxes or landmarks, or the weights of a detector.
        domain: Of the frames.

    Raises:
        UsageError: There is no such way, or a package is missing.
        DataError: The file is missing or cannot be used.
    """
    if how == AUTO:
        how = "heads" if domain == "thermal" else "dlib"
    if how == "heads" and domain == "rgb":
        raise UsageError("--faces heads finds heads by their warmth, and RGB images show none.")
    file = Path(how)
    if how not in _NAMED and file.suffix.lower() in _TABLES:
        table = read_places(file)
        return FaceSource(_looked_up(table), table.notes, table.landmarks)
    named = next((name for name in _NAMED if name == how), None)
    if named is not None:
        find, told = open_detector(named), how
    elif kind := _BY_SUFFIX.get(file.suffix.lower()):
        find, told = open_detector(kind, weights=file), f"{kind} with {file}"
    else:
        raise UsageError(
            f"--faces {how}: is neither {AUTO}, {WHOLE}, {', '.join(_NAMED)} nor a file of boxes "
            f"({', '.join(_TABLES)}) or weights ({', '.join(_BY_SUFFIX)})."
        )
    return FaceSource(
        lambda frame, source: find(seen_by_detectors(frame.image, source.domain, source.unit)),
        (f"faces are found by {told}.",),
    )


def finder_in_words(how: str) -> str:
    """Return what finds faces, without the name of a file, for a page that others may see."""
    if how == AUTO:
        return "heads"
    if how in (WHOLE, *_NAMED):
        return how
    if Path(how).suffix.lower() in _TABLES:
        return "a table of boxes"
    return "weights of one's own"


def _looked_up(table: PlaceTable) -> Callable[[Frame, Source], Found]:
    """Return what finds the faces of a frame in a table, by its file or by its recording."""

    def find(frame: Frame, source: Source) -> Found:
        file = source.file_of(frame)
        found = table.of_image(file) if file else None
        if found is None and not source.files:
            found = table.of_frame(source.path, frame.number)
        return found or Found((), f"{table.file.name} does not name this frame")

    return find


def seen_by_detectors(image: Tensor, domain: Domain, unit: Unit) -> Tensor:
    """Return a frame as finders want it: uint8 in RGB or grey, or float32 in deg C.

    Raises:
        DataError: The pixels are floats of no known range.
    """
    if domain == "thermal" and unit != "grey":
        return thermal.celsius_from_counts(image, unit)
    if image.dtype != torch.uint8:
        image = images.from_signed(images.to_signed(image), dtype=torch.uint8)
    wanted = 3 if domain == "rgb" else 1
    if image.shape[0] == wanted:
        return image
    signed = images.with_channels(images.to_signed(image), wanted)
    return images.from_signed(signed, dtype=torch.uint8)
