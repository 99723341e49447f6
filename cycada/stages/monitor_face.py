"""What a monitor sees in a frame: where the face is, how warm its parts are, what it does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cycada import images, thermal
from cycada.data.dataset import centre_crop, scaled_size
from cycada.data.faces.choose import Choice, choose_faces
from cycada.data.faces.geometry import MARGIN, FacePlace, Found, crop_face, place_of_box
from cycada.data.visibility import assessable, hidden_regions
from cycada.errors import UsageError
from cycada.footage import Frame
from cycada.stages.finding import WHOLE, FaceSource, face_source
from cycada.stages.sources import Source
from cycada.thermal import Window
from cycada.training.loading import LoadedDetector
from cycada.vitals.tracking import PARTS, FaceTracker

_LOOKS = 3.0  # a second: how often the face is looked for; between, it is followed
_EARLY = 0.02  # s that a look may come early, for the times of frames are rounded
_SURE = 0.5  # confidence of a finder from which a face is followed


class Seen(NamedTuple):
    """What was seen in a frame."""

    parts: Mapping[str, float]  # of the face -> deg C, or grey levels; NaN where not seen
    face: bool | None = None  # whether there is a face; None: it was not looked for
    probabilities: Mapping[int, float] = {}  # noqa: RUF012  # of AUs, calibrated; NaN: not seen
    reason: str = ""  # why there are none


@dataclass(slots=True)
class FaceReader:
    """Looks at one frame after the other of a source."""

    source: Source
    how: str  # faces are found: cycada.stages.finding
    detector: LoadedDetector | None
    window: Window | None  # deg C that the detector sees as -1 and 1
    notes: tuple[str, ...] = field(init=False)
    _tracker: FaceTracker = field(init=False, default_factory=FaceTracker)
    _find: FaceSource | None = field(init=False)
    _every: float = field(init=False)  # s between looks
    _next: float = field(init=False, default=-math.inf)

    def __post_init__(self) -> None:
        """Open what finds faces.

        Raises:
            UsageError: The detector answers classes, or there is no such way to find faces.
            DataError: A file of boxes or weights cannot be used.
        """
        if self.detector is not None and self.detector.task.classes:
            named = ", ".join(self.detector.task.classes)
            raise UsageError(
                f"{self.detector.root}: answers classes ({named}), and the score of dyspnea is of "
                "Action Units; give a detector of these, or none."
            )
        self._find = None if self.how == WHOLE else face_source(self.how, "thermal")
        self.notes = self._find.notes if self._find else ()
        # To look a face up in a table takes no time.
        looked_up = Path(self.how).suffix.lower() in (".csv", ".tsv", ".txt")
        self._every = 0.0 if looked_up else 1 / _LOOKS

    def see(self, frame: Frame, seconds: float) -> Seen:
        """Return what is seen in the next frame, which was taken at that time."""
        if frame.fault:
            return Seen(dict.fromkeys(PARTS, math.nan), None, {}, "a frame cannot be read")
        values = self._values(frame)
        if seconds < self._next - _EARLY:
            return Seen(self._tracker.see(values))
        self._next = seconds + self._every
        choice = self._chosen(frame)
        place = choice.place
        if place is None or place.confidence < _SURE:
            return Seen(self._tracker.see(values), face=False, reason=choice.reason)
        box = place.left, place.top, place.width, place.height
        parts = self._tracker.see(values, place.landmarks or None, box=box)
        if self.detector is None or choice.square is None or choice.reason:
            return Seen(parts, face=not choice.reason, reason=choice.reason)
        return Seen(parts, True, self._answers(frame, choice, self.detector))

    def _values(self, frame: Frame) -> Tensor:
        if self.source.unit == "grey":
            return frame.image[0].to(torch.float32)
        return thermal.celsius_from_counts(frame.image[0], self.source.unit)

    def _chosen(self, frame: Frame) -> Choice:
        height, width = frame.image.shape[-2:]
        found = Found((_whole(height, width),)) if self._find is None else self._find(
            frame, self.source
        )  # fmt: skip
        return choose_faces(found, (height, width))[0]

    def _answers(
        self, frame: Frame, choice: Choice, detector: LoadedDetector
    ) -> Mapping[int, float]:
        picture = images.to_signed(frame.image, unit=self.source.unit, window=self.window)
        picture = images.with_channels(picture, 1)
        shape = (picture.shape[-2], picture.shape[-1])
        if self._find is None or choice.square is None:
            scaled = images.resize(picture, scaled_size(shape, detector.size))
            crop = centre_crop(scaled, detector.size)
            hidden = hidden_regions(crop, None, None)
        else:
            crop = crop_face(picture, choice.square, size=detector.size)
            hidden = hidden_regions(crop, choice.square, shape)
        said = detector.calibrated(detector.predict(crop[None]).double())[0].tolist()
        numbers = detector.task.action_units
        return {
            number: value if visible else math.nan
            for number, value, visible in zip(
                numbers, said, assessable(numbers, hidden), strict=True
            )
        }


def _whole(height: int, width: int) -> FacePlace:
    """Return where the face is in a frame that is a crop of it."""
    tall = min(height, width) / (1 + 2 * MARGIN)
    return place_of_box((width - tall) / 2 - 0.5, (height - tall) / 2 - 0.5, tall, tall)
