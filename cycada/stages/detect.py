"""Detect Action Units in images, folders, recordings and indexes: one row per frame, always."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from cycada import images
from cycada.action_units import Region
from cycada.cores import images_in_a_piece, lone_threads
from cycada.data.dataset import centre_crop, scaled_size
from cycada.data.detections import Detected, DetectionTable, read_detections
from cycada.data.faces.choose import choose_faces
from cycada.data.faces.geometry import crop_face
from cycada.data.visibility import assessable, hidden_regions
from cycada.errors import DataError, RunError
from cycada.footage import Frame, ReadOptions
from cycada.locking import sole_writer
from cycada.progress import Progress
from cycada.rejecting import Limit, Rejections, fault_of_file
from cycada.report.overlay import overlaid
from cycada.report.video import write_pictures, write_video
from cycada.stages.finding import WHOLE, FaceSource, face_source
from cycada.stages.flow import in_order
from cycada.stages.sources import Source, open_sources
from cycada.thermal import Window
from cycada.training.engines import (
    Engine,
    UsableDetector,
    computes_by_core,
    open_detector,
    precision_told,
)
from cycada.training.loading import default_device

T = TypeVar("T")

_BATCH = 32
_FRAMES_AHEAD = 8  # read and not yet seen: frames may be much larger than the faces in them
_FRAMES_A_PIECE = 4  # of those that are read by one thread and seen by others
_USUAL_RATE = 10.0  # frames per second of an overlay where the source has no time stamps


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectOptions:
    """What to detect, where, and how to read it."""

    run: Path  # of a detector, or what was exported from one
    sources: tuple[Path, ...]
    out: Path  # folder of the tables
    read: ReadOptions = field(default_factory=ReadOptions)
    faces: str = "auto"  # how faces are found: cycada.stages.finding
    overlay: bool = False  # also draw what was detected on the frames
    allow_outside: bool = False  # believe paths of an index from elsewhere that leave its folder
    engine: Engine = "torch"  # what computes: PyTorch a run, ONNX Runtime an export
    device: torch.device = field(default_factory=default_device)
    limit: Limit = field(default_factory=Limit)  # how many sources may be set aside


class Detection(NamedTuple):
    """What became of a source."""

    table: Path
    frames: int
    faces: int  # frames with a face that was assessed
    notes: tuple[str, ...]
    kept: bool  # whether it was there already


class _Seen(NamedTuple):
    """A frame with its face cut out, or the reason why there is none."""

    row: Detected  # without answers
    crop: Tensor | None  # (C, S, S) in [-1, 1]
    hidden: frozenset[Region] = frozenset()


def detect(options: DetectOptions, *, progress: Progress) -> list[Detection]:
    """Write a table, and perhaps an overlay, for every source.

    Run again, whole tables are kept and a begun one goes on after its last row. An image that
    cannot be read is a row with the reason; a recording that cannot be read, or breaks off, has no
    table and is set aside in ``rejected.csv``.

    Raises:
        CycadaError: The run, too many sources or what is in ``out`` cannot be used, or another
            process writes there.
    """
    detector = open_detector(options.run, options.engine, device=options.device)
    sources, faults = open_sources(
        options.sources, options.read, cut_out=options.faces == WHOLE,
        allow_outside=options.allow_outside,
    )  # fmt: skip
    _check_names(sources, options.out)
    total = len(sources) + len(faults)
    rejected = Rejections(options.out, limit=options.limit, total=total, what="sources")
    with sole_writer(options.out):
        rejected.begin()
        for number, (path, fault) in enumerate(faults):
            rejected.add((0, number), str(path), fault)
        done = _detect(options, detector, sources, rejected, progress)
        rejected.check_some_left()
        rejected.close()
    return done


def _detect(
    options: DetectOptions, detector: UsableDetector, sources: Sequence[Source],
    rejected: Rejections, progress: Progress,
) -> list[Detection]:  # fmt: skip
    weights = detector.fingerprint
    done = []
    for number, source in enumerate(sources):
        window = detector_window(source, detector, options.read.window)
        finder = None if source.cut_out else face_source(options.faces, options.read.domain)
        settings = _settings(
            source, options, window=window, weights=weights, precision=precision_told(detector)
        )
        table = DetectionTable(
            options.out / f"{source.name}.csv", detector.task, settings,
            graded=detector.intensity is not None,
        )  # fmt: skip
        kept = table.whole
        if not kept:
            try:
                _fill(table, source, detector, finder, window=window, progress=progress)
            except _BreaksOffError as error:
                rejected.add((1, number), str(source.path), fault_of_file(error, source.path))
                continue
        if options.overlay:
            _overlay(table.path, source, detector, window=window, progress=progress)
        frames = faces = 0
        for row in read_detections(table.path, detector.task):
            frames, faces = frames + 1, faces + row.success
        notes = (
            *source.notes, *(finder.notes if finder else ()), *detector_notes(detector, source)
        )  # fmt: skip
        done.append(Detection(table.path, frames, faces, notes, kept))
    return done


def _fill(
    table: DetectionTable, source: Source, detector: UsableDetector, finder: FaceSource | None, *,
    window: Window | None, progress: Progress,
) -> None:  # fmt: skip
    """Add the rows that are missing."""
    # A batch is begun again whole: what a face shares it with may change its last bits.
    written = start = table.done - table.done % _BATCH
    with closing(
        answers(source, detector, finder, window=window, start=start, progress=progress)
    ) as found:
        for rows in found:
            table.add(rows[max(0, table.done - written) :])
            written += len(rows)
    if not written:
        raise _BreaksOffError(f"{source.path}: holds no frame.")
    table.finish(frames=written)


def answers(
    source: Source, detector: UsableDetector, finder: FaceSource | None, *, window: Window | None,
    start: int = 0, progress: Progress,
) -> Generator[list[Detected]]:  # fmt: skip
    """Yield the rows of a source from the frame ``start`` on, some at a time.

    Args:
        source: Frames.
        detector: Is asked about them.
        finder: Finds their faces; ``None``: each frame is one.
        window: Temperatures that the detector sees as -1 and 1 (:func:`detector_window`).
        start: Number of the first frame, a multiple of the batch.
        progress: Shows the frames.

    Raises:
        DataError: The source breaks off.
    """
    with closing(_rows(source, detector, finder, window=window, start=start)) as found:
        rows = progress(found, total=source.count or 0, desc=source.name, done=start)
        while batch := list(itertools.islice(rows, _BATCH)):
            yield batch


def _rows(
    source: Source, detector: UsableDetector, finder: FaceSource | None, *, window: Window | None,
    start: int,
) -> Generator[Detected]:  # fmt: skip
    if finder is None and computes_by_core(detector):
        yield from _rows_by_core(source, detector, window=window, start=start)
        return
    with lone_threads() as pool, lone_threads(1) as finding:
        seen = _seen_ahead(source, start, pool, finding, detector, finder, window=window)
        while batch := list(itertools.islice(seen, _BATCH)):
            yield from _answered(batch, detector)


def _rows_by_core(
    source: Source, detector: UsableDetector, *, window: Window | None, start: int
) -> Iterator[Detected]:
    """Yield the rows from ``start`` on; each core takes some frames from their files to the end."""
    most = min(images_in_a_piece(detector.size**2), _BATCH)
    cores = torch.get_num_threads()
    ahead = cores
    frames: Iterable[Any] = range(start, source.count or 0)
    read = source.frame
    if read is None:  # they come one after another, and may be much larger than the faces
        frames = itertools.islice(_to_its_end(source), start, None)
        most, ahead = min(most, _FRAMES_A_PIECE), min(cores, _FRAMES_AHEAD)

    def rows(piece: Sequence[Any]) -> list[Detected]:
        seen = [
            _seen(each if read is None else read(each), source, detector, None, window=window)
            for each in piece
        ]
        return list(_answered(seen, detector))

    with lone_threads(cores) as pool:
        found = in_order(pool, rows, _pieces(frames, most), ahead=ahead)
        yield from itertools.chain.from_iterable(found)


def _pieces(frames: Iterable[T], most: int) -> Iterator[list[T]]:
    """Yield some frames at a time, the same ones whichever batch was the first."""
    frames, done = iter(frames), 0
    while piece := list(itertools.islice(frames, min(most, _BATCH - done % _BATCH))):
        yield piece
        done += len(piece)


def _seen_ahead(
    source: Source, start: int, pool: ThreadPoolExecutor, finding: ThreadPoolExecutor,
    detector: UsableDetector, finder: FaceSource | None, *, window: Window | None,
) -> Iterator[_Seen]:  # fmt: skip
    """Yield the frames from ``start`` on, read and seen by threads while the network computes."""

    def look(frame: Frame) -> _Seen:
        return _seen(frame, source, detector, finder, window=window)

    if source.frame is None:
        frames: Iterator[Frame] = itertools.islice(_to_its_end(source), start, None)
    elif finder is None:
        read = source.frame
        yield from in_order(
            pool, lambda number: look(read(number)), range(start, source.count or 0), ahead=_BATCH
        )
        return
    else:
        frames = in_order(pool, source.frame, range(start, source.count or 0), ahead=_FRAMES_AHEAD)
    # Finders are not made to be asked by several threads, and films not to be read by them.
    seen = map(look, frames)
    ahead = in_order(finding, lambda _: next(seen, None), itertools.repeat(None), ahead=_BATCH)
    yield from itertools.takewhile(lambda each: each is not None, ahead)


class _BreaksOffError(DataError):
    """A recording cannot be read to its end."""


def _to_its_end(source: Source) -> Iterator[Frame]:
    try:
        yield from source.frames()
    except DataError as error:
        raise _BreaksOffError(*error.args) from error


def _seen(
    frame: Frame, source: Source, detector: UsableDetector, finder: FaceSource | None, *,
    window: Window | None,
) -> _Seen:  # fmt: skip
    """Find the face of a frame and cut it out."""
    file = source.file_of(frame) or source.path
    row = Detected(frame=frame.number, input=str(file), timestamp=frame.seconds, reason=frame.fault)
    if frame.fault:
        return _Seen(row, None)
    picture = images.with_channels(
        signed_picture(frame.image, source, window), 3 if source.domain == "rgb" else 1
    )
    if finder is None:
        scaled = images.resize(picture, scaled_size(picture.shape[-2:], detector.size))
        crop = centre_crop(scaled, detector.size)
        hidden = hidden_regions(crop, None, None) if source.convention else frozenset()
        return _Seen(replace(row, confidence=1.0), crop, hidden)
    shape = (picture.shape[-2], picture.shape[-1])
    choice = choose_faces(finder(frame, source), shape)[0]
    if choice.place is None:
        return _Seen(replace(row, reason=choice.reason), None)
    place = choice.place
    row = replace(
        row, reason=choice.reason, confidence=place.confidence, angle=place.angle,
        box=(place.left, place.top, place.width, place.height),
    )  # fmt: skip
    if choice.square is None or choice.reason:  # what cannot be used has a square, too
        return _Seen(row, None)
    crop = crop_face(picture, choice.square, size=detector.size)
    return _Seen(row, crop, hidden_regions(crop, choice.square, shape))


def signed_picture(image: Tensor, source: Source, window: Window | None) -> Tensor:
    """Return a frame in [-1, 1]: temperatures over the window, grey over the range of its type."""
    return images.to_signed(image, unit=source.unit, window=window)


def _answered(seen: Sequence[_Seen], detector: UsableDetector) -> Iterator[Detected]:
    """Yield the rows with what the detector says of those that show a face."""
    crops = [each.crop for each in seen if each.crop is not None]
    raw = detector.predict(torch.stack(crops)) if crops else torch.empty(0, len(detector.task))
    said = torch.as_tensor(detector.calibrated(raw.double()))
    strengths = detector.intensities(said)
    graded: list[Sequence[float]] = [()] * len(crops) if strengths is None else strengths.tolist()
    answers = iter(zip(said.tolist(), detector.decide(raw).tolist(), graded, strict=True))
    for each in seen:
        if each.crop is None:
            yield each.row
            continue
        probabilities, decisions, intensities = next(answers)
        units = detector.task.action_units
        visible = assessable(units, each.hidden) if units else [True] * len(detector.task)
        told = f"not seen: {' '.join(sorted(each.hidden))}" if not all(visible) else ""
        yield replace(
            each.row, probabilities=probabilities, decisions=decisions, intensities=intensities,
            assessable=visible, reason=told,
        )  # fmt: skip


def _overlay(
    table: Path, source: Source, detector: UsableDetector, *, window: Window | None,
    progress: Progress,
) -> None:  # fmt: skip
    """Draw the rows of a table on the frames: a video, or pictures where frames are files."""
    rows = read_detections(table, detector.task)
    names = detector.task.names
    target = table.with_name(f"{table.stem}_overlay{'' if source.files else '.mp4'}")
    if target.exists():  # whole, since it got its name; a table of the same settings is the same
        return
    if source.files:
        drawn = (
            (
                f"{frame.number:06d}_{source.files[frame.number].stem}",
                overlaid(signed_picture(frame.image, source, window), row, names=names),
            )
            for frame, row in zip(source.frames(), rows, strict=True)
            if not frame.fault
        )
        write_pictures(target, progress(drawn, total=len(source.files), desc="overlay"))
        return
    pictures = (
        overlaid(signed_picture(frame.image, source, window), row, names=names)
        for frame, row in zip(source.frames(), rows, strict=True)
        if not frame.fault
    )
    write_video(
        target, progress(pictures, total=source.count or 0, desc="overlay"),
        rate=source.frame_rate or _USUAL_RATE,
    )  # fmt: skip


def detector_window(
    source: Source, detector: UsableDetector, stated: Window | None
) -> Window | None:
    """Return the temperatures that the detector sees as -1 and 1, ``None`` for grey and RGB.

    Args:
        source: Frames.
        detector: Is to be asked about them.
        stated: By the user, for pictures or a detector that know no temperatures.

    Raises:
        DataError: The detector knows temperatures and the source has none, or the other way round.
    """
    if source.domain == "rgb":
        return None
    known = detector.window
    if source.unit == "grey" and known is not None:
        raise DataError(
            f"{source.path}: has no temperatures, and the detector {detector.root} learned from "
            f"{known.low:g} to {known.high:g} deg C; state the unit with --unit, or the "
            "temperatures of black and white with --window LOW HIGH."
        )
    if source.unit != "grey" and known is None and stated is None:
        raise DataError(
            f"{source.path}: has temperatures, and the detector {detector.root} learned from "
            "images without; say with --window LOW HIGH which of them are to be black and white."
        )
    return None if source.unit == "grey" else known or stated


def _settings(
    source: Source, options: DetectOptions, *, window: Window | None, weights: str,
    precision: str,
) -> Mapping[str, Any]:  # fmt: skip
    """Return everything that the rows of a table depend on."""
    return {
        "detector": str(options.run),
        "weights": weights,
        "source": str(source.path),
        "unit": source.unit,
        "window": None if window is None else [window.low, window.high],
        "faces": WHOLE if source.cut_out else options.faces,
        "read": options.read.stated(),
        # Engines differ in the last bits, so a table is written by one of them.
        **({"engine": options.engine + precision} if options.engine != "torch" else {}),
    }


def _check_names(sources: Sequence[Source], out: Path) -> None:
    taken: dict[str, Path] = {}
    for source in sources:
        other = taken.setdefault(source.name, source.path)
        if other != source.path:
            raise RunError(
                f"{other} and {source.path} would both become {out / source.name}.csv; detect them "
                "into different folders."
            )


def detector_notes(detector: UsableDetector, source: Source) -> Iterator[str]:
    """Yield what to know of the detector before its answers are believed."""
    if detector.calibration is None:
        yield (
            f"{detector.root}: was trained by an earlier version, which did not calibrate; its "
            "probabilities are as the network gives them."
        )
    if detector.source_domains == ("thermal",) and source.domain == "rgb":
        yield (
            f"{detector.root}: has learned from thermal faces alone; do not rely on what it says "
            f"of RGB ones."
        )
