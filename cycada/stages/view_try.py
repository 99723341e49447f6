"""What a translator and a detector make of one image that is nowhere but in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from cycada import image_reading, image_writing, images, thermal
from cycada.action_units import Region, meaning
from cycada.data.dataset import centre_crop, scaled_size
from cycada.data.faces.choose import choose_faces
from cycada.data.faces.geometry import Square, crop_face
from cycada.data.index import Domain
from cycada.data.visibility import assessable, hidden_regions
from cycada.errors import DataError
from cycada.footage import Frame
from cycada.models.tiling import translate_any_size
from cycada.stages.finding import AUTO, face_source
from cycada.stages.sources import Source
from cycada.thermal import INTEGER_UNITS, Unit, Window
from cycada.training.loading import (
    LoadedDetector,
    LoadedTranslator,
    load_detector,
    load_translator,
)

Shows = Literal["auto", "rgb", "thermal"]
UnitOrAuto = Literal[
    "auto", "grey", "centikelvin", "decikelvin", "kelvin64", "kelvin16", "kelvin", "celsius"
]

MOST_PIXELS = 25_000_000
"""Of an image to try: with more, it would take seconds and gigabytes on a laptop."""

_SHOWN = 768  # px of the longer side of what is shown; what is saved has all
_FACE = 512  # px at most of a face that was cut out
_MODELS = 4  # that are kept in memory
_COLOURLESS = 0.02  # mean difference of channels in [-1, 1]; a grey JPEG stays below
_PALETTE = 10  # mean difference of channels, of 255, from which a picture is in colour


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is to be done with an image."""

    translator: tuple[Path, int] | None = None  # run and step
    detector: tuple[Path, int] | None = None
    shows: Shows = "auto"
    unit: UnitOrAuto = "auto"  # of a thermal image
    find_face: bool = False  # cut the largest face out; else the image is one


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One picture of the image, ``(C, H, W)`` in [-1, 1]."""

    key: Literal["source", "made", "again"]
    label: str
    kind: Domain
    pixels: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What the detector says of one of the pictures."""

    side: Literal["source", "made"]
    label: str
    probabilities: tuple[float | None, ...]  # None: this part of the face cannot be seen
    present: tuple[bool, ...]
    intensities: tuple[float, ...] = ()  # 0 to 5; NaN: not graded


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """All there is to show of an image."""

    name: str
    shows: Domain
    size: tuple[int, int]  # height and width of the image, or of the face that was cut out
    pictures: tuple[Picture, ...]
    window: Window | None  # deg C of thermal [-1, 1]
    difference: Tensor | None  # (H, W), of source and way back: K, or grey levels of 255
    mean_difference: float | None
    names: tuple[str, ...] = ()
    meanings: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()  # of calibrated probabilities; empty for classes
    readings: tuple[Reading, ...] = ()
    notes: tuple[str, ...] = ()  # what was understood, and what to know
    file: bytes = b""  # PNG of the translation, as `cycada translate` writes it


Model = TypeVar("Model", LoadedDetector, LoadedTranslator)


class _Kept(Generic[Model]):
    """The models that were used last."""

    def __init__(self) -> None:
        self.models: OrderedDict[tuple[Path, int], Model] = OrderedDict()

    def get(self, place: tuple[Path, int]) -> Model | None:
        model = self.models.get(place)
        if model is not None:
            self.models.move_to_end(place)
        return model

    def put(self, place: tuple[Path, int], model: Model) -> Model:
        self.models[place] = model
        while len(self.models) > _MODELS // 2:
            self.models.popitem(last=False)
        return model


class Trial:
    """Tries images one after the other, with models that are loaded when they are first wanted."""

    def __init__(self, device: torch.device) -> None:
        """Compute on ``device``."""
        self.device = device
        self._translators: _Kept[LoadedTranslator] = _Kept()
        self._detectors: _Kept[LoadedDetector] = _Kept()
        self._turn = threading.Lock()

    def __call__(self, content: bytes, name: str, wanted: Wanted) -> Tried:
        """Return what the models make of a file that is in memory.

        Raises:
            CycadaError: The image, or a model, cannot be used.
        """
        with self._turn:
            image = image_reading.decode_image(content, name, most_pixels=MOST_PIXELS)
            if b"FLIR\0" in content[: 1 << 16]:
                raise DataError(
                    f"{name}: is a radiometric JPEG, whose picture has no temperatures; `cycada "
                    "convert` makes images of those that it holds beside."
                )
            translator = self._translator(wanted.translator) if wanted.translator else None
            detector = self._detector(wanted.detector) if wanted.detector else None
            return try_image(image, name, wanted, translator=translator, detector=detector)

    def _translator(self, place: tuple[Path, int]) -> LoadedTranslator:
        known = self._translators.get(place)
        return known or self._translators.put(
            place, load_translator(place[0], self.device, step=place[1])
        )

    def _detector(self, place: tuple[Path, int]) -> LoadedDetector:
        known = self._detectors.get(place)
        return known or self._detectors.put(
            place, load_detector(place[0], self.device, step=place[1])
        )


def try_image(
    image: Tensor, name: str, wanted: Wanted, *, translator: LoadedTranslator | None,
    detector: LoadedDetector | None,
) -> Tried:  # fmt: skip
    """Return what the models make of an image, as `cycada translate` and `cycada detect` would.

    Args:
        image: ``(C, H, W)`` with the values of the file.
        name: What errors call it.
        wanted: What it shows.
        translator: Of the same domains.
        detector: Reads a thermal image itself; of an RGB one its translation, and the image, too,
            unless it has learned from thermal faces alone.

    Raises:
        DataError: The image does not suit the models.
    """
    notes: list[str] = []
    shows = _shown(image, wanted.shows, notes)
    window = _window(translator, detector)
    unit: Unit = "grey"
    if shows == "thermal":
        unit = _unit(image, name, wanted.unit, window, notes)
    hidden: frozenset[Region] = frozenset()
    square: Square | None = None
    if wanted.find_face:
        square = _face(image, shows, unit, name)
    signed = _signed(image, unit, window, name)
    signed = images.with_channels(signed, 3 if shows == "rgb" else 1)
    if square is not None:
        frame = (signed.shape[-2], signed.shape[-1])
        signed = crop_face(signed, square, size=min(max(8, round(square.side)), _FACE))
        if shows == "thermal":
            hidden = hidden_regions(signed, square, frame)
    size = (signed.shape[-2], signed.shape[-1])
    pictures = [Picture(key="source", label=_LABELS[shows], kind=shows, pixels=signed)]
    file, difference = b"", None
    if translator is not None:
        made, again, seen = _translated(signed, shows, translator)
        other: Domain = "thermal" if shows == "rgb" else "rgb"
        pictures.append(Picture(key="made", label=f"As {_LABELS[other]}", kind=other, pixels=made))
        if again is None:
            notes.append("The translator does not go back, so nothing tells how much it keeps.")
        else:
            pictures.append(
                Picture(key="again", label=f"Back in {_LABELS[shows]}", kind=shows, pixels=again)
            )
            difference = (again - seen).abs().mean(0) / 2 * _range(shows, translator.window)
        file = _file(made, other, image.dtype, translator)
    readings = _read(pictures, shows, translator, detector, hidden, notes) if detector else ()
    task = detector.task if detector else None
    return Tried(
        name=name, shows=shows, size=size,
        pictures=tuple(replace(each, pixels=_small(each.pixels)) for each in pictures),
        window=window,
        difference=difference,
        mean_difference=None if difference is None else float(difference.mean()),
        names=task.names if task else (),
        meanings=tuple(map(meaning, task.names)) if task else (),
        thresholds=_thresholds(detector) if detector and task and task.action_units else (),
        readings=tuple(readings), notes=tuple(notes), file=file,
    )  # fmt: skip


_LABELS: dict[Domain, str] = {"rgb": "RGB", "thermal": "thermal"}


def _shown(image: Tensor, wanted: Shows, notes: list[str]) -> Domain:
    """Return what an image shows: what was said, or what its channels tell."""
    if wanted != "auto":
        return wanted
    if image.shape[0] == 1:
        notes.append("Taken for a thermal image, for it has one channel.")
        return "thermal"
    colour = (image.amax(0).to(torch.float32) - image.amin(0).to(torch.float32)).mean() / 255
    if colour < _COLOURLESS:
        notes.append("Taken for an RGB image, though it is without colour.")
    return "rgb"


def _window(translator: LoadedTranslator | None, detector: LoadedDetector | None) -> Window | None:
    """Return the temperatures of thermal [-1, 1] on the page.

    Raises:
        DataError: One of the models knows temperatures, and the other does not.
    """
    reads_thermal = detector is not None and (
        detector.window is not None or detector.source_domains != ("rgb",)
    )
    if translator and detector and reads_thermal and (not translator.window) != (
        not detector.window
    ):  # fmt: skip
        kinds = ("translator", "detector")
        knows, lacks = kinds if translator.window else reversed(kinds)
        raise DataError(
            f"the {knows} has learned from temperatures and the {lacks} from images without; "
            "choose two of the same data."
        )
    if translator is not None:
        return translator.window
    return detector.window if detector is not None else None


def _unit(
    image: Tensor, name: str, wanted: UnitOrAuto, window: Window | None, notes: list[str]
) -> Unit:
    """Return what the pixels of a thermal image count.

    Raises:
        DataError: That is in doubt, or cannot be.
    """
    if image.shape[0] != 1:
        values = image.to(torch.float32)
        if (values.amax(0) - values.amin(0)).mean() > _PALETTE:
            raise DataError(
                f"{name}: is in colour; a palette such as iron is no temperature scale, so choose "
                "RGB, or an image in grey or with 16 bits."
            )
    if image.dtype == torch.uint8:
        if wanted not in ("auto", "grey"):
            raise DataError(f"{name}: has 8 bits, which cannot count {wanted}; its unit is grey.")
        if window is not None:
            notes.append(
                f"It has no temperatures: black was taken for {window.low:g} and white for "
                f"{window.high:g} \u00b0C."
            )
        return "grey"
    if wanted != "auto":
        return wanted
    if window is None and image.dtype == torch.uint16:
        return "grey"
    median = image.to(torch.float32).median().item()
    unit = thermal.guess_unit(median, integer=image.dtype == torch.uint16)
    if unit is None or not thermal.is_plausible(thermal.celsius_from_counts(image, unit).numpy()):
        raise DataError(
            f"{name}: its median pixel {median:g} does not tell the unit of its temperatures; "
            "choose what its pixels count."
        )
    notes.append(f"Its pixels were taken for {unit}, by their median {median:g}.")
    return unit


def _signed(image: Tensor, unit: Unit, window: Window | None, name: str) -> Tensor:
    if unit != "grey" and window is None:
        raise DataError(
            f"{name}: has temperatures, and what was chosen has learned from images without; "
            "choose a run that knows temperatures, or grey for its pixels."
        )
    try:
        return images.to_signed(image, unit=unit, window=window)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


def _face(image: Tensor, shows: Domain, unit: Unit, name: str) -> Square:
    """Return where the largest face of an image is.

    Raises:
        DataError: There is none that can be used.
        UsageError: A package is missing.
    """
    source = Source(path=Path(name), name=name, domain=shows, unit=unit, frames=lambda: iter(()))
    frame = Frame(number=0, seconds=None, name=name, image=image)
    found = face_source(AUTO, shows)(frame, source)
    choice = choose_faces(found, (image.shape[-2], image.shape[-1]))[0]
    if choice.square is None or choice.reason:
        raise DataError(f"{name}: {choice.reason or 'no face found'}; cut the face out yourself.")
    return choice.square


def _translated(
    signed: Tensor, shows: Domain, translator: LoadedTranslator
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return the translation in the size of the image, its way back, and what was compared.

    As `cycada translate` does, the translator is shown the image in the size of its training. The
    difference is to be taken there, where nothing but the translator has changed anything.
    """
    size = (signed.shape[-2], signed.shape[-1])
    ways = (translator.to_thermal, translator.to_rgb)
    there, back = ways if shows == "rgb" else ways[::-1]
    seen = images.resize(signed, scaled_size(size, translator.size))
    made = translate_any_size(there, seen)
    again = translate_any_size(back, made) if translator.goes_back else None
    # The way back stays in the size of the network: only the translation is also saved.
    return images.resize(made, size), again, seen


def _file(made: Tensor, kind: Domain, dtype: torch.dtype, translator: LoadedTranslator) -> bytes:
    """Return the PNG that `cycada translate` would write (of RGB from thermal: 8 bits)."""
    if kind == "rgb":
        return image_writing.encode_png(images.from_signed(made, dtype=torch.uint8))
    if translator.window is None:
        kept = dtype if dtype in (torch.uint8, torch.uint16) else torch.uint16
        return image_writing.encode_png(images.from_signed(made, dtype=kept))
    unit = translator.unit if translator.unit in INTEGER_UNITS else "centikelvin"
    return image_writing.encode_png(
        images.from_signed(made, dtype=torch.uint16, unit=unit, window=translator.window)
    )


def _read(
    pictures: Sequence[Picture], shows: Domain, translator: LoadedTranslator | None,
    detector: LoadedDetector, hidden: frozenset[Region], notes: list[str],
) -> Sequence[Reading]:  # fmt: skip
    """Return what the detector says of the image and of its translation into thermal."""
    readings = []
    for picture in pictures:
        if picture.key == "again" or (picture.key == "made" and shows == "thermal"):
            continue
        if picture.kind == "rgb" and detector.source_domains == ("thermal",):
            if translator is None:
                notes.append(
                    "The detector has learned from thermal faces alone; choose a translator, whose "
                    "translation it can read."
                )
            continue
        pixels = picture.pixels
        if picture.kind == "thermal" and translator is not None:
            pixels = _in_window(pixels, translator.window, detector.window)
        crop = centre_crop(
            images.resize(pixels, scaled_size(pixels.shape[-2:], detector.size)), detector.size
        )
        raw = detector.predict(crop[None])
        said = torch.as_tensor(detector.calibrated(raw.double()))
        graded = detector.intensities(said)
        units = detector.task.action_units
        seen = assessable(units, hidden) if units else [True] * len(detector.task)
        readings.append(Reading(
            side="source" if picture.key == "source" else "made", label=picture.label,
            probabilities=tuple(
                value if visible else None
                for value, visible in zip(said[0].tolist(), seen, strict=True)
            ),
            present=tuple(detector.decide(raw)[0].tolist()),
            intensities=() if graded is None else tuple(graded[0].tolist()),
        ))  # fmt: skip
    if hidden:
        notes.append(f"Not seen of the face: {', '.join(sorted(hidden))}.")
    if detector.calibration is None and detector.task.action_units:
        notes.append("The detector was never calibrated: its probabilities are the network's own.")
    return readings


def _in_window(signed: Tensor, here: Window | None, there: Window | None) -> Tensor:
    """Return thermal [-1, 1] of one window as that of another."""
    if here is None or there is None or here == there:
        return signed
    return thermal.to_signed(thermal.from_signed(signed, here), there)


def _thresholds(detector: LoadedDetector) -> tuple[float, ...]:
    """Return from which calibrated probability an AU counts as present."""
    calibrated = torch.as_tensor(detector.calibrated(detector.thresholds.double()[None]))
    return tuple(calibrated[0].tolist())


def _range(shows: Domain, window: Window | None) -> float:
    """Return what [-1, 1] spans: K, or grey levels."""
    return window.high - window.low if shows == "thermal" and window is not None else 255.0


def _small(pixels: Tensor) -> Tensor:
    """Return a picture as it is shown, its longer side no longer than a screen shows of it."""
    height, width = pixels.shape[-2:]
    scale = _SHOWN / max(height, width)
    if scale >= 1:
        return pixels
    return images.resize(pixels, (max(1, round(height * scale)), max(1, round(width * scale))))


def counts(pixels: Tensor) -> bytes:
    """Return ``(1, H, W)`` in [-1, 1] as little-endian 16 bits, 0 to 65535, row by row."""
    return images.from_signed(pixels, dtype=torch.uint16).numpy().astype(np.dtype("<u2")).tobytes()
