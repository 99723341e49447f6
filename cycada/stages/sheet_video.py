"""Put sequences side by side into a video, and measure how much each of them flickers."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cycada import thermal
from cycada.data.dataset import scaled_size
from cycada.data.index import Domain
from cycada.errors import DataError, UsageError
from cycada.files import check_apart
from cycada.footage.packages import optional
from cycada.images import from_signed, resize, to_signed
from cycada.metrics.flicker import MotionEstimator, flicker, warping_error
from cycada.models.tiling import translate_any_size
from cycada.progress import Progress
from cycada.report.methods import spoken
from cycada.report.palette import Palette
from cycada.report.panels import Panel, Panels
from cycada.report.video import check_gif, write_gif, write_video
from cycada.stages.sheet_faces import named
from cycada.stages.sheet_sequences import Moving, Opening, open_first, open_other
from cycada.thermal import Unit, Window
from cycada.training.loading import LoadedTranslator, load_translator
from cycada.training.run_reading import CONFIG_NAME

_COLOURED = 12  # frames of which a GIF takes its colours
_GREY_LEVELS = 127.5  # of 8 bits, in a unit of [-1, 1]


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoOptions:
    """What to put into a video."""

    sources: tuple[Path, ...]
    out: Path
    sequence: str = ""  # of an index; empty: its only one
    rate: float | None = None  # frames per second; None: as the sources tell
    domain: Domain = "rgb"  # of the first sequence, where an index has both
    labels: tuple[str, ...] = ()  # of the sequences; none: what they are
    window: Window | None = None  # deg C of the colour bar; None: what the sources span
    unit: Unit | None = None  # of deeper grey frames in files and folders
    palette: Palette = "inferno"
    allow_outside: bool = False  # believe paths of an index from elsewhere that leave its folder


class Flicker(NamedTuple):
    """How much a sequence flickers."""

    label: str
    score: float  # NaN for a single frame
    unit: str

    def __str__(self) -> str:
        """Return the score for a reader."""
        return "unknown" if math.isnan(self.score) else f"{self.score:.3g} {self.unit}"


class MadeVideo(NamedTuple):
    """A video that was written."""

    frames: int
    rate: float
    flickers: tuple[Flicker, ...]


def make_video(options: VideoOptions, *, progress: Progress) -> MadeVideo:
    """Write a video whole or not at all.

    The first sequence is the source: in it motion is looked for. A run among the sources
    translates it. Frames are kept in a file without a name beside the video until it is drawn.

    Raises:
        CycadaError: A sequence cannot be used, they differ in length, their frame rate or
            temperatures are unknown, or the video cannot be written.
    """
    for package in ("av", "cv2", "matplotlib"):  # before hours of work
        optional(package, extra="sheet", what="a video of sequences side by side")
    sequences = _labelled(_sequences(options), options)
    _check_out(options.out, sequences)
    rate = options.rate or next((each.rate for each in sequences if each.rate), None)
    if rate is None:
        raise UsageError(
            f"{options.sources[0]}: does not tell its frame rate; give --rate, in frames per "
            "second."
        )
    if options.out.suffix.lower() == ".gif":
        check_gif(options.out, frames=sequences[0].count or 0, rate=rate)
    window = _window(sequences, options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=options.out.parent) as file:
        kept = _Kept(file, sequences)
        frames = progress(
            _together(sequences, window), total=sequences[0].count, desc="reading frames"
        )
        errors = _errors(kept.keeping(frames), len(sequences))
        if not kept.count:
            raise DataError(f"{options.sources[0]}: holds no frame.")
        scores = [
            _score(each, found, window) for each, found in zip(sequences, errors, strict=True)
        ]
        panels = Panels(
            [
                Panel(
                    label=each.label, size=size, thermal=each.domain == "thermal",
                    flicker=f"flicker {score}", errors=(math.nan, *map(math.sqrt, found)),
                )
                for each, size, score, found in zip(
                    sequences, kept.sizes, scores, errors, strict=True
                )
            ],
            window=window, palette=options.palette, rate=rate,
        )  # fmt: skip
        _write(options.out, kept, panels, rate=rate, progress=progress)
        return MadeVideo(kept.count, rate, tuple(scores))


def _sequences(options: VideoOptions) -> list[Moving]:
    opening = Opening(
        sequence=options.sequence, domain=options.domain, unit=options.unit,
        allow_outside=options.allow_outside,
    )  # fmt: skip
    paths = [path for path in options.sources if not (path / CONFIG_NAME).is_file()]
    if not paths:
        raise UsageError(
            f"{options.sources[0]}: is a run; name a sequence, too, that it is to translate."
        )
    first, *truth = open_first(paths[0], opening)
    alone = len(options.sources) == 2
    made = [
        open_other(path, first, opening, alone=alone) if path in paths
        else _translated(path, first, alone=alone)
        for path in options.sources if path != paths[0]
    ]  # fmt: skip
    return [first, *made, *truth]


def _labelled(sequences: Sequence[Moving], options: VideoOptions) -> list[Moving]:
    labels = named([each.label for each in sequences], options.labels, what="sequences")
    return [replace(each, label=label) for each, label in zip(sequences, labels, strict=True)]


def _translated(run: Path, first: Moving, *, alone: bool) -> Moving:
    """Return what a translator makes of the source."""
    translator = load_translator(run)
    to_thermal = first.domain == "rgb"
    known = translator.window is not None
    if not to_thermal and first.temperatures != known:
        raise DataError(
            f"{run}: learned from images {'with' if known else 'without'} temperatures, other than "
            "the sequence that it is to translate."
        )
    usual = "As thermal" if to_thermal else "As RGB"
    return Moving(
        label=usual if alone else spoken(run.resolve().name),
        domain="thermal" if to_thermal else "rgb", temperatures=to_thermal and known,
        window=translator.window if to_thermal else None, rate=first.rate, files=(),
        count=first.count, frames=partial(_translations, translator, first),
    )  # fmt: skip


def _translations(
    translator: LoadedTranslator, first: Moving, window: Window | None
) -> Iterator[Tensor]:
    own = translator.window
    for picture in first.frames(own if first.temperatures else None):
        shape = (picture.shape[-2], picture.shape[-1])
        scaled = resize(picture, scaled_size(shape, translator.size))
        translate = translator.to_thermal if first.domain == "rgb" else translator.to_rgb
        made = translate_any_size(translate, scaled)
        if first.domain == "rgb" and own is not None and window is not None and own != window:
            made = thermal.to_signed(thermal.from_signed(made, own), window)
        yield made


def _window(sequences: Sequence[Moving], options: VideoOptions) -> Window | None:
    """Return the temperatures that the colour bar spans, ``None`` without any."""
    shown = [each for each in sequences if each.domain == "thermal"]
    warm = [each for each in shown if each.temperatures]
    if warm and len(warm) < len(shown):
        grey = next(each for each in shown if not each.temperatures)
        raise DataError(
            f"the sequence {warm[0].label!r} has temperatures and {grey.label!r} has none, so one "
            "colour bar cannot belong to both; put them into two videos."
        )
    if not warm:
        if options.window is not None:
            raise UsageError("--window is in deg C, but no sequence has temperatures.")
        return None
    if options.window is not None:
        return options.window
    spans = [each.window for each in warm if each.window is not None]
    if not spans:
        raise UsageError(
            f"the sequence {warm[0].label!r} has temperatures; say with --window LOW HIGH which of "
            "them the colours span, in deg C."
        )
    return Window(min(span.low for span in spans), max(span.high for span in spans))


def _together(sequences: Sequence[Moving], window: Window | None) -> Iterator[list[Tensor]]:
    """Yield the frames of each moment."""
    streams = [each.frames(window if each.temperatures else None) for each in sequences]
    for number in count():
        frames = [next(stream, None) for stream in streams]
        there = [frame for frame in frames if frame is not None]
        if not there:
            return
        if len(there) < len(frames):
            short = sequences[frames.index(None)]
            raise DataError(
                f"the sequence {short.label!r} ends after {number} frames, others do not; give "
                "sequences of the same moments."
            )
        yield there


class _Kept:
    """Frames in a file, so that any number of them are drawn when the scores are known."""

    def __init__(self, file: IO[bytes], sequences: Sequence[Moving]) -> None:
        self.file, self.count = file, 0
        self.labels = [each.label for each in sequences]
        self.types = [
            torch.uint16 if each.domain == "thermal" else torch.uint8 for each in sequences
        ]
        self.shapes: list[tuple[int, ...]] = []

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of the frames of each sequence."""
        return [(shape[-2], shape[-1]) for shape in self.shapes]

    def keeping(self, frames: Iterable[list[Tensor]]) -> Iterator[list[Tensor]]:
        """Yield what is given, and keep it."""
        for moment in frames:
            shapes = [tuple(each.shape) for each in moment]
            self.shapes = self.shapes or shapes
            for label, own, usual in zip(self.labels, shapes, self.shapes, strict=True):
                if own != usual:
                    raise DataError(
                        f"the sequence {label!r} has a frame of {own[-1]} x {own[-2]} px among "
                        f"others of {usual[-1]} x {usual[-2]} px."
                    )
            for picture, kind in zip(moment, self.types, strict=True):
                self.file.write(from_signed(picture, dtype=kind).numpy().tobytes())
            self.count += 1
            yield moment

    def __getitem__(self, number: int) -> list[Tensor]:
        """Return the frames of a moment, in [-1, 1]."""
        sizes = [
            math.prod(shape) * kind.itemsize
            for shape, kind in zip(self.shapes, self.types, strict=True)
        ]
        self.file.seek(number * sum(sizes))
        return [
            to_signed(torch.frombuffer(bytearray(self.file.read(size)), dtype=kind).view(shape))
            for size, shape, kind in zip(sizes, self.shapes, self.types, strict=True)
        ]


def _errors(moments: Iterable[list[Tensor]], sequences: int) -> list[list[float]]:
    """Return the warping errors of each sequence along the motion of the first."""
    estimate = MotionEstimator()
    errors: list[list[float]] = [[] for _ in range(sequences)]
    before: list[Tensor] = []
    for moment in moments:
        if before:
            motion = estimate(before[0], moment[0])
            for found, one, two in zip(errors, before, moment, strict=True):
                found.append(warping_error(one, two, motion))
        before = moment
    return errors


def _score(sequence: Moving, errors: Sequence[float], window: Window | None) -> Flicker:
    if sequence.temperatures and window is not None:
        return Flicker(sequence.label, flicker(errors) * (window.high - window.low) / 2, "K")
    return Flicker(sequence.label, flicker(errors) * _GREY_LEVELS, "grey levels")


def _write(out: Path, kept: _Kept, panels: Panels, *, rate: float, progress: Progress) -> None:
    drawn = progress(
        (panels.frame(number, kept[number]) for number in range(kept.count)),
        total=kept.count, desc="drawing",
    )  # fmt: skip
    if out.suffix.lower() != ".gif":
        write_video(out, drawn, rate=rate)
        return
    check_gif(out, frames=kept.count, rate=rate)
    some = np.unique(np.linspace(0, kept.count - 1, _COLOURED).round().astype(int)).tolist()
    write_gif(
        out, drawn, some=[panels.frame(number, kept[number]) for number in some],
        colours=panels.colours, rate=rate,
    )  # fmt: skip


def _check_out(out: Path, sequences: Sequence[Moving]) -> None:
    """Refuse to write over a recording, or among the images of a sequence.

    Raises:
        DataError: Naming the place.
    """
    if out.is_dir():
        raise DataError(f"{out}: is a folder; --out names the file.")
    files = [file for each in sequences for file in each.files]
    if any(out.exists() and out.samefile(file) for file in files):
        raise DataError(f"{out}: is one of the sequences; choose another --out.")
    stills = [file for each in sequences if len(each.files) > 1 for file in each.files]
    check_apart([out], out.parent, originals=stills)
