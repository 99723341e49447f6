"""What the pixels of a source mean: unit, calibration, palette, polarity, and which way is up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from cycada.errors import DataError
from cycada.footage.frames import Footage, Frame, Pixels, Reading, ReadOptions, Shot
from cycada.footage.palettes import positions, read_palette
from cycada.footage.radiometry import Calibration, celsius_from_raw, read_calibration, told
from cycada.footage.telemetry import telemetry_rows
from cycada.thermal import Unit, Window, celsius_from_counts, guess_unit, is_plausible

Step = Callable[[Pixels], Pixels]

_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_COLOURFUL = 10  # mean difference of channels; a grey JPEG stays below 2
_DARKER = 0.15  # of the range, by which a middle is darker than the border


def interpret(reading: Reading, options: ReadOptions) -> Footage:
    """Decide by the sample what the pixels mean, for every frame alike.

    Raises:
        DataError: they are in doubt, or contradict the options.
    """
    if not reading.sample:
        raise DataError(f"{reading.path}: holds no frame.")
    like, path = _kind(reading.sample[0].pixels), reading.path
    for shot in reading.sample:
        _check_kind(shot.pixels, like, where=f"{path}, frame {shot.name}")
    meaning = _Meaning(reading, options)
    try:
        meaning.understand(options)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    shots = reading.shots
    steps = tuple(meaning.steps)

    def stream() -> Iterator[Frame]:
        return _frames(shots(), steps, like=like, path=path)

    return Footage(
        path=path, unit=meaning.unit, frame_rate=reading.frame_rate or _rate(reading.sample),
        count=reading.count, size=meaning.sample[0].shape[1:], notes=tuple(meaning.notes),
        stream=stream,
    )  # fmt: skip


class _Meaning:
    """The steps from the pixels of a file to those of its frames, tried on the sample."""

    def __init__(self, reading: Reading, options: ReadOptions) -> None:
        self.palette = read_palette(options.palette) if options.palette else None
        self.calibration = read_calibration(
            options.calibration, emissivity=options.emissivity, reflected=options.reflected
        ) if options.calibration else None  # fmt: skip
        self.lossy, self.given = reading.lossy, reading.unit
        self.has_emissivity = reading.has_emissivity
        self.sample = [shot.pixels for shot in reading.sample]
        self.notes = list(reading.notes)
        self.steps: list[Step] = []
        self.unit: Unit = "grey"

    def understand(self, options: ReadOptions) -> None:
        if options.domain == "rgb":
            self._check_rgb()
        else:
            self._thermal(options)
        if options.rotate:
            self._add(partial(np.rot90, k=-options.rotate // 90, axes=(1, 2)))
            self.notes.append(f"turned clockwise by {options.rotate} degrees")

    def _add(self, step: Step) -> None:
        self.steps.append(step)
        self.sample = [step(picture) for picture in self.sample]

    def _check_rgb(self) -> None:
        if self.given is not None:
            raise DataError("holds temperatures, so it is no RGB source.")
        if self.sample[0].dtype == np.float32:
            raise DataError("holds floats, which have no known range in an RGB image.")

    def _thermal(self, options: ReadOptions) -> None:
        top, bottom = (0, 0) if self.given else telemetry_rows(self.sample)
        if top or bottom:
            self._add(lambda p: p[:, top : p.shape[1] - bottom])
            rows = " and ".join(
                f"{count} at the {edge}"
                for count, edge in ((top, "top"), (bottom, "bottom")) if count
            )  # fmt: skip
            self.notes.append(f"rows of telemetry cut off: {rows}")
        self._grey(options)
        if self.sample[0].dtype == np.uint8:
            self._eight_bits(options)
        else:
            self._deep(options)
        has_emissivity = self.has_emissivity or options.calibration is not None
        for name in ("emissivity", "reflected"):
            if getattr(options, name) is not None and not has_emissivity:
                raise DataError(
                    f"knows no emissivity: its temperatures are ready-made. Leave out --{name}."
                )
        if self.unit != "grey":
            self.notes.append(_told_temperatures(self.sample, self.unit))

    def _grey(self, options: ReadOptions) -> None:
        """Make one channel of three."""
        if len(self.sample[0]) == 1:
            if options.palette:
                self.notes.append(f"not in colour, so without the palette {options.palette}")
            return
        if self.sample[0].dtype != np.uint8:
            raise DataError("is in colour with more than 8 bits, which no thermal picture is.")
        if self.palette is not None:
            self._add(partial(positions, curve=self.palette, lossy=self.lossy))
            self.notes.append(f"colours turned back into grey by the palette {options.palette}")
        else:
            self._add(_luminance)
            self.notes.append("grey, stored in three channels")

    def _eight_bits(self, options: ReadOptions) -> None:
        if options.unit not in (None, "grey"):
            raise DataError(
                f"has 8 bits, which cannot count {options.unit}; its unit is grey. Where black "
                f"and white stand for known temperatures, state those with --window."
            )
        if options.calibration:
            raise DataError("has 8 bits, which hold no raw counts; leave out --calibration.")
        if options.polarity == "black-hot":
            self._add(lambda p: 255 - p)
            self.notes.append("black-hot, turned into white-hot")
        elif options.polarity is None and _middle_is_darker(self.sample):
            self.notes.append(
                "the middle is darker than the border: if it shows a face, the picture may be "
                "black-hot, which --polarity black-hot turns round"
            )
        if options.window is None:
            self.notes.append("8-bit grey, without temperatures")
            return
        self._add(partial(_celsius_in, window=options.window))
        self.unit = "celsius"
        self.notes.append(
            f"celsius, since black and white were stated to be {options.window.low:g} and "
            f"{options.window.high:g} deg C; in steps of "
            f"{(options.window.high - options.window.low) / 255:.2g} deg C"
        )

    def _deep(self, options: ReadOptions) -> None:
        if self.given is not None:
            self._given_unit(options)
        elif self.calibration is not None:
            self._add(partial(_calibrated, calibration=self.calibration))
            self.unit = "celsius"
            self.notes.append(f"celsius, by {options.calibration}: {told(self.calibration)}")
        elif options.unit is not None:
            if options.unit == "grey" and self.sample[0].dtype == np.float32:
                raise DataError(
                    "holds floats, whose range is unknown unless --unit says what they count."
                )
            self.unit = options.unit
            self.notes.append(
                "16-bit grey, without temperatures" if options.unit == "grey"
                else f"{options.unit}, as stated"
            )  # fmt: skip
        else:
            self.unit, median = _guessed(self.sample)
            self.notes.append(
                f"{self.unit}, guessed from the median pixel {median:g} (--unit says otherwise)"
            )
        if options.polarity == "black-hot":
            if self.unit != "grey":
                raise DataError("holds temperatures, which are never black-hot.")
            self._add(lambda p: np.iinfo(np.uint16).max - p)
            self.notes.append("black-hot, turned into white-hot")

    def _given_unit(self, options: ReadOptions) -> None:
        assert self.given is not None  # noqa: S101  # the caller has looked
        if options.unit not in (None, self.given):
            raise DataError(f"is calibrated and gives {self.given}; leave out --unit.")
        if options.calibration:
            raise DataError("brings its own calibration; leave out --calibration.")
        self.unit = self.given


def _frames(
    shots: Iterator[Shot], steps: Sequence[Step], *, like: tuple[object, ...], path: Path
) -> Iterator[Frame]:
    for number, shot in enumerate(shots):
        if shot.fault:
            yield Frame(
                number=number, seconds=shot.seconds, name=shot.name, image=torch.empty(0),
                fault=shot.fault,
            )  # fmt: skip
            continue
        pixels = shot.pixels
        where = f"{path}, frame {number}"
        _check_kind(pixels, like, where=where)
        try:
            for step in steps:
                pixels = step(pixels)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        image = torch.from_numpy(np.array(pixels, order="C"))  # a copy: writable
        yield Frame(number=number, seconds=shot.seconds, name=shot.name, image=image)


def _kind(pixels: Pixels) -> tuple[object, ...]:
    return (pixels.dtype, *pixels.shape)


def _check_kind(pixels: Pixels, like: tuple[object, ...], *, where: str) -> None:
    if _kind(pixels) != like:
        raise DataError(f"{where}: is {_told(_kind(pixels))}, the first is {_told(like)}.")


def _told(kind: tuple[object, ...]) -> str:
    dtype, channels, height, width = kind
    return f"{width} x {height} with {channels} channels of {dtype}"


def _rate(sample: Sequence[Shot]) -> float | None:
    """Return the rate of most frames; a shutter that closes now and then does not lower it."""
    times = [shot.seconds for shot in sample if shot.seconds is not None]
    steps = np.diff(times)
    middle = float(np.median(steps)) if len(steps) else 0.0
    return 1 / middle if middle > 0 else None


def _luminance(pixels: Pixels) -> Pixels:
    spread = (pixels.max(0).astype(np.int16) - pixels.min(0)).mean()
    if spread > _COLOURFUL:
        raise DataError(
            "is in colour; a palette such as ironbow is no temperature scale. --palette NAME "
            "turns its colours back into grey; better, export it in grey or with 16 bits."
        )
    grey = np.tensordot(_LUMINANCE, pixels.astype(np.float32), axes=1)
    return np.asarray(np.round(grey).astype(np.uint8)[None])


def _calibrated(pixels: Pixels, calibration: Calibration) -> Pixels:
    return celsius_from_raw(pixels, calibration).astype(np.float32)


def _celsius_in(pixels: Pixels, window: Window) -> Pixels:
    share = pixels.astype(np.float32) / np.float32(255)
    return np.asarray(window.low + share * np.float32(window.high - window.low), dtype=np.float32)


def _middle_is_darker(sample: Sequence[Pixels]) -> bool:
    """Tell whether the middle of the pictures is darker than their border, on the whole."""
    differences = []
    for picture in sample:
        _, height, width = picture.shape
        inner = picture[0, height // 4 : -(height // 4) or None, width // 4 : -(width // 4) or None]
        rim = max(1, min(height, width) // 10)
        border = np.ones((height, width), dtype=bool)
        border[rim:-rim, rim:-rim] = False
        differences.append(float(np.median(picture[0][border])) - float(np.median(inner)))
    return float(np.median(differences)) > _DARKER * 255


def _guessed(sample: Sequence[Pixels]) -> tuple[Unit, float]:
    """Return the unit that the medians of all pictures propose, and the middle one of these."""
    medians = [float(np.median(picture)) for picture in sample]
    guesses = {
        guess_unit(median, integer=picture.dtype == np.uint16)
        for median, picture in zip(medians, sample, strict=True)
    }
    unit = guesses.pop() if len(guesses) == 1 else None
    if unit is not None and is_plausible(np.stack(_celsius(sample, unit))):
        return unit, float(np.median(medians))
    low, high = min(medians), max(medians)
    found = f"{low:g}" if low == high else f"from {low:g} to {high:g}"
    raise DataError(
        f"its median pixel, {found}, does not tell the unit of the temperatures; give --unit "
        f"(centikelvin, decikelvin, kelvin64, kelvin16, kelvin, celsius, or grey for pixels "
        f"without a temperature scale), or --calibration for raw counts."
    )


def _celsius(sample: Sequence[Pixels], unit: Unit) -> list[Pixels]:
    return [celsius_from_counts(torch.from_numpy(p.copy()), unit).numpy() for p in sample]


def _told_temperatures(sample: Sequence[Pixels], unit: Unit) -> str:
    low, middle, high = np.percentile(np.stack(_celsius(sample, unit)), (1, 50, 99))
    frames = f"{len(sample)} sampled frames" if len(sample) > 1 else "it"
    return f"98% of {frames} between {low:.1f} and {high:.1f} deg C, the median {middle:.1f}"
