"""What a monitor sees in a frame: where the face is, how warm its parts are, what it does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from cycada import images, thermal
from cycada.data.faces.choose import choose_faces
from cycada.data.faces.geometry import (
    MARGIN,
    FacePlace,
    Found,
    Square,
    crop_face,
    place_of_box,
)
from cycada.data.visibility import assessable, hidden_regions
from cycada.errors import UsageError
from cycada.footage import Frame
from cycada.stages.finding import WHOLE, FaceSource, face_source
from cycada.stages.sources import Source
from cycada.thermal import Window
from cycada.training.loading import LoadedDetector
from cycada.vitals.tracking import PARTS, FaceTracker

_LOOKS = 3.0  # a second: how often the face is looked for; between, it is followed
_READS = 10.0  # a second: how often its Action Units are told; lips that talk move as fast
_EARLY = 0.02  # s that either may come early, for the times of frames are rounded
_KEPT = 1.5  # s for which a face that was found is believed to be there
_SURE = 0.5  # confidence of a finder from which a face is followed


class Seen(NamedTuple):
    """What was seen in a frame."""

    parts: Mapping[str, float]  # of the face -> deg C, or grey levels; NaN where not seen
    face: bool | None = None  # whether there is one that can be used; None: nobody asked
    probabilities: Mapping[int, float] = MappingProxyType({})  # of AUs, calibrated; NaN: not seen
    reason: str = ""  # why there is no face


class _Found(NamedTuple):
    """A face that a finder has found."""

    seconds: float
    place: FacePlace


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
    _look: float = field(init=False, default=-math.inf)  # s: the next one
    _read: float = field(init=False, default=-math.inf)
    _found: _Found | None = field(init=False, default=None)  # at last
    _why: str = field(init=False, default="")  # none was found

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
            nothing = dict.fromkeys(PARTS, math.nan)
            return Seen(nothing, face=False, reason="a frame cannot be read")
        parts = self._parts(frame, seconds)
        if seconds < self._read - _EARLY:
            return Seen(parts)
        self._read = seconds + 1 / _READS
        place = self._place(seconds)
        if place is None:
            return Seen(parts, face=False, reason=self._why or self._tracker.lost)
        shape = (frame.image.shape[-2], frame.image.shape[-1])
        choice = choose_faces(Found((place,)), shape)[0]
        if choice.reason or choice.square is None or self.detector is None:
            return Seen(parts, face=not choice.reason, reason=choice.reason)
        said = self._answers(frame, choice.square, self.detector)
        return Seen(parts, face=True, probabilities=said)

    def _parts(self, frame: Frame, seconds: float) -> Mapping[str, float]:
        """Follow the face, or look for it where it is time to."""
        values = self._values(frame)
        if seconds < self._look - _EARLY:
            return self._tracker.see(values, seconds=seconds)
        self._look = seconds + self._every
        place, self._why = self._find_in(frame)
        if place is None:
            return self._tracker.see(values, seconds=seconds)
        box = place.left, place.top, place.width, place.height
        self._found = _Found(seconds, place)
        return self._tracker.see(values, place.landmarks or None, box=box, seconds=seconds)

    def _place(self, seconds: float) -> FacePlace | None:
        """Return where the face is.

        The tracker knows it by its eyes and nose, to a hundredth of it from frame to frame; what
        finders find wavers by a tenth, and what a detector says of a crop with it.
        """
        box = self._tracker.box
        if box is not None:
            return FacePlace(*box, angle=self._tracker.angle)
        found = self._found
        return None if found is None or seconds > found.seconds + _KEPT else found.place

    def _values(self, frame: Frame) -> Tensor:
        if self.source.unit == "grey":
            return frame.image[0].to(torch.float32)
        return thermal.celsius_from_counts(frame.image[0], self.source.unit)

    def _find_in(self, frame: Frame) -> tuple[FacePlace | None, str]:
        """Return the face that is surest and largest, or why there is none."""
        height, width = frame.image.shape[-2:]
        if self._find is None:
            return _whole(height, width), ""
        choice = choose_faces(self._find(frame, self.source), (height, width))[0]
        sure = choice.place is not None and choice.place.confidence >= _SURE
        return (choice.place, "") if sure else (None, choice.reason)

    def _answers(
        self, frame: Frame, square: Square, detector: LoadedDetector
    ) -> Mapping[int, float]:
        picture = images.to_signed(frame.image, unit=self.source.unit, window=self.window)
        picture = images.with_channels(picture, 1)
        crop = crop_face(picture, square, size=detector.size)
        hidden = hidden_regions(crop, square, (picture.shape[-2], picture.shape[-1]))
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
