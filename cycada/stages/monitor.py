"""Watch one patient: breathing, Action Units and a score of dyspnea, second by second."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch

from cycada.data.index import CSV_NAME
from cycada.errors import DataError, UsageError
from cycada.footage import Frame, ReadOptions
from cycada.footage.raw import RawFrames, open_raw
from cycada.locking import sole_writer
from cycada.report.vitals import PAGE_NAME, Watched, write_vitals
from cycada.report.vitals_course import Course
from cycada.report.vitals_plot import Levels
from cycada.settings import load_config, to_dict
from cycada.stages.detect import detector_notes, detector_window
from cycada.stages.finding import WHOLE, finder_in_words
from cycada.stages.monitor_face import FaceReader
from cycada.stages.monitor_record import AT_ITS_END, Record
from cycada.stages.monitor_watch import Watch
from cycada.stages.sources import Source, open_sources, source_of
from cycada.stopping import holding_stops
from cycada.training.loading import (
    LoadedDetector,
    default_device,
    load_detector,
)
from cycada.vitals.alarms import Event
from cycada.vitals.dyspnea import DyspneaConfig
from cycada.vitals.record import EVENTS_NAME, VITALS_NAME, Vitals, read_events, read_vitals

_SLOWEST = 4.0  # frames per second below which fast breathing cannot be followed
_LONGEST_PAUSE = 3600.0  # s between two frames of one recording
_ROUNDED = 1e-3  # s that times of frames may be off
_PAGE_EVERY = 60.0  # s in which the page of a stream is written anew


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorOptions:
    """Whom to watch, and how."""

    source: Path | BinaryIO  # a recording, a folder of its frames, or a stream of raw ones
    out: Path
    run: Path | None = None  # of a detector of Action Units; None: breathing alone
    score: Path | None = None  # TOML of the score; None: the published items
    read: ReadOptions = field(default_factory=ReadOptions)
    size: tuple[int, int] | None = None  # width and height of raw frames
    rate: float | None = None  # frames per second, where the source does not tell
    faces: str = "auto"  # how faces are found: cycada.stages.finding
    device: torch.device = field(default_factory=default_device)

    @property
    def streams(self) -> bool:
        """Whether the source comes once."""
        return not isinstance(self.source, Path)


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told while a patient is watched."""

    row: Callable[[Vitals], None] = lambda _: None
    alarm: Callable[[Event], None] = lambda _: None  # raised or ended
    note: Callable[[str], None] = lambda _: None


class Monitored(NamedTuple):
    """What became of it."""

    out: Path
    rows: int
    given: int  # rows with a respiration rate
    alarms: list[Event]
    kept: bool  # whether all was there already
    stopped: bool  # whether a stream was ended by the user


def monitor(options: MonitorOptions, *, listener: Listener | None = None) -> Monitored:
    """Watch one patient to the end of the source; write each second as it is told.

    Stopped (Ctrl-C, SIGTERM), the tables and the page are whole up to that moment. The same
    command watches a recording again, and goes on; a stream has ended with that.

    Raises:
        CycadaError: The source, the run, the score or what is in ``out`` cannot be used, or
            another process writes there.
        KeyboardInterrupt: The user has stopped a recording.
    """
    listener = listener or Listener()
    if options.rate is not None and not (math.isfinite(options.rate) and options.rate > 0):
        raise UsageError(f"--fps {options.rate:g}: expected a number of frames per second.")
    config = load_config(DyspneaConfig, options.score)
    detector = None if options.run is None else load_detector(options.run, options.device)
    with sole_writer(options.out):
        source = _stream(options, listener.note) if options.streams else _recording(options)
        window = None
        if detector is not None:
            window = detector_window(source, detector, options.read.window)
        reader = FaceReader(source, options.faces, detector, window)
        units = () if detector is None else detector.task.action_units
        record = Record(
            options.out, _settings(options, source, config, detector), units,
            again=not options.streams,
        )  # fmt: skip
        for note in _notes(source, reader, detector, options):
            listener.note(note)
        if record.whole:
            return _result(options, [])
        record.begin()
        sitting = _Sitting(
            _Times(source, options.rate), reader, Watch(config, units), record, Course(units),
            listener, _Page(options.out, config, _facts(source, detector, options)),
        )  # fmt: skip
        cause = sitting.run(refreshed=options.streams)
    if isinstance(cause, KeyboardInterrupt) and options.streams:
        return _result(options, record.alarms, sitting.course, stopped=True)
    if cause is not None:
        raise cause
    return _result(options, record.alarms, sitting.course)


@dataclass(slots=True)
class _Page:
    """What is written of what was seen, now and then and at the end."""

    out: Path
    config: DyspneaConfig
    facts: Sequence[tuple[str, str]]

    @property
    def is_there(self) -> bool:
        """Whether one was written, perhaps by an earlier watch."""
        return (self.out / PAGE_NAME).exists()

    def write(self, course: Course, alarms: Sequence[Event], *, ended: str = "") -> None:
        alarm = self.config.alarm
        write_vitals(self.out, Watched(
            course=course, alarms=alarms, levels=Levels(alarm.on, alarm.off),
            items=_items(self.config) if course.units else (), facts=self.facts, ended=ended,
            fitted=bool(self.config.fitted.features),
        ))  # fmt: skip


@dataclass(slots=True)
class _Sitting:
    """A source that is watched from its first frame on."""

    frames: _Times
    reader: FaceReader
    watch: Watch
    record: Record
    course: Course
    listener: Listener
    page: _Page

    def run(self, *, refreshed: bool) -> BaseException | None:
        """Watch to the end; return what ended it before, when all is written up to there."""
        cause: BaseException | None = None
        try:
            self._watch(refreshed=refreshed)
        except (KeyboardInterrupt, DataError) as error:
            cause = error
        if cause is None and not self.frames.count:
            cause = DataError(f"{self.frames.source.path}: holds no frame.")
        ended = "" if cause is None else "broken off"
        ended = "stopped by the user" if isinstance(cause, KeyboardInterrupt) else ended
        self.watch.close()
        self._note_alarms()
        # The page first: what is noted as ended is kept, and would never have one.
        if not (self.record.shows_more and self.page.is_there):
            self.record.note_shown()
            self.page.write(self.course, self.record.alarms, ended=ended)
        self.record.finish(ended or AT_ITS_END, frames=self.frames.count)
        if self.frames.left_out:
            self.listener.note(
                f"{self.frames.source.path}: {self.frames.left_out} frames are not later than the "
                "one before, and were left out."
            )
        return cause

    def _watch(self, *, refreshed: bool) -> None:
        due = time.monotonic() + _PAGE_EVERY
        for frame, seconds in self.frames:
            with holding_stops():  # what is in the table is in the page, too
                self._tell(self.watch.see(seconds, self.reader.see(frame, seconds)))
            if refreshed and time.monotonic() > due:
                began = time.monotonic()
                self.page.write(self.course, self.record.alarms, ended="so far")
                due = time.monotonic() + max(_PAGE_EVERY, 100 * (time.monotonic() - began))
        with holding_stops():
            self._tell(self.watch.until(self.frames.end + _ROUNDED))

    def _tell(self, rows: Iterable[Vitals]) -> None:
        for row in rows:
            self.record.add(row)
            self.course.add(row)
            self._note_alarms()
            self.listener.row(row)

    def _note_alarms(self) -> None:
        events = tuple(self.watch.changed)
        self.watch.changed.clear()
        self.record.note(events)
        for event in events:
            self.listener.alarm(event)


class _Times:
    """The frames of a source with their times in seconds since the first one."""

    def __init__(self, source: Source, rate: float | None) -> None:
        self.source, self.rate = source, rate
        self.count = 0
        self.left_out = 0  # frames that are not later than the one before
        self.end = 0.0  # s: when a frame more would have come

    def __iter__(self) -> Iterator[tuple[Frame, float]]:
        first, last = None, -math.inf
        for frame in self.source.frames():
            stamp = self._stamp(frame)
            first = stamp if first is None else first
            seconds = stamp - first
            if not seconds > last:
                self.left_out += 1
                continue
            if self.count and seconds - last > _LONGEST_PAUSE:
                raise DataError(
                    f"{self.source.path}: frame {frame.number} comes {seconds - last:.0f} s after "
                    "the one before; a recording has no such pause."
                )
            step = seconds - last if self.count else 0.0
            last = seconds
            self.count += 1
            self.end = seconds + min(step, 1.0)
            yield frame, seconds

    def _stamp(self, frame: Frame) -> float:
        if self.rate is not None:
            return frame.number / self.rate
        if frame.seconds is not None:
            return frame.seconds
        if self.source.frame_rate is not None:
            return frame.number / self.source.frame_rate
        raise DataError(f"{self.source.path}: frame {frame.number} has no time stamp.")


def _stream(options: MonitorOptions, note: Callable[[str], None]) -> Source:
    assert not isinstance(options.source, Path)  # noqa: S101  # the caller has looked
    if options.size is None or options.rate is None:
        raise UsageError(
            "raw frames from standard input need --raw WIDTHxHEIGHT and --fps FRAMES_PER_SECOND."
        )
    layout = RawFrames(*options.size, options.rate)
    return source_of(open_raw(options.source, layout, options.read, note=note), "thermal")


def _recording(options: MonitorOptions) -> Source:
    assert isinstance(options.source, Path)  # noqa: S101  # the caller has looked
    path = options.source
    if options.size is not None:
        raise UsageError("--raw is about frames from standard input; give - as the source.")
    if (path / CSV_NAME).is_file() or path.name == CSV_NAME:
        raise UsageError(
            f"{path}: is an index of faces, and one recording is watched: give the folder with the "
            "frames of one subject, or a recording."
        )
    opened = open_sources([path], options.read, cut_out=options.faces == WHOLE)
    if len(opened.sources) + len(opened.faults) > 1:
        named = ", ".join(
            str(each) for each in (
                *(source.path for source in opened.sources), *(file for file, _ in opened.faults)
            )
        )  # fmt: skip
        raise UsageError(f"{path}: holds several recordings ({named[:300]}); give one of them.")
    source = opened.sources[0]
    if source.count == 1:
        raise DataError(f"{path}: holds one picture; breathing needs a recording.")
    if options.rate is None and not source.frame_rate:
        first = next(source.frames(), None)
        if first is not None and first.seconds is None:
            raise UsageError(
                f"{path}: does not tell when its frames were taken; say how many there are in a "
                "second with --fps."
            )
    return source


def _settings(
    options: MonitorOptions, source: Source, config: DyspneaConfig, detector: LoadedDetector | None
) -> Mapping[str, Any]:
    """Return everything that the rows depend on."""
    return {
        "source": str(source.path),
        "source_state": None if options.streams else _state(options.source, options.out),
        "detector": None if options.run is None else str(options.run),
        "weights": None if detector is None else detector.fingerprint,
        "unit": source.unit,
        "faces": options.faces,
        "faces_state": _state(Path(options.faces), options.out),
        "raw": options.size,
        "rate": options.rate,
        "read": options.read.stated(),
        "score": to_dict(config),
    }


def _state(path: Path | BinaryIO, out: Path) -> str | None:
    """Return what tells whether a file, or those of a folder, are still the same; no names.

    Another recording under the same path is another patient. What lies in ``out`` is our own.
    """
    if not isinstance(path, Path) or not path.exists():
        return None
    listing = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file() and (path.is_file() or not file.resolve().is_relative_to(out.resolve())):
            state = file.stat()
            name = str(file.relative_to(path))
            listing.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
    return listing.hexdigest()[:16]


def _notes(
    source: Source, reader: FaceReader, detector: LoadedDetector | None, options: MonitorOptions
) -> Iterator[str]:
    yield from source.notes
    yield from reader.notes
    if detector is not None:
        yield from detector_notes(detector, source)
    if source.unit == "grey":
        yield (
            f"{source.path}: has no temperatures. A camera that spreads its grey levels anew for "
            "each frame hides breathing."
        )
    rate = options.rate or source.frame_rate
    if rate and rate < _SLOWEST:
        yield (
            f"{source.path}: has {rate:.3g} frames a second, too few to follow fast breathing: "
            f"{_SLOWEST:g} or more are needed."
        )


def _facts(
    source: Source, detector: LoadedDetector | None, options: MonitorOptions
) -> list[tuple[str, str]]:
    """Return what the page tells of how it was made; no names."""
    rate = options.rate or source.frame_rate
    return [
        ("Pixels", "grey, without temperatures" if source.unit == "grey" else source.unit),
        ("Frames a second", "by time stamps" if rate is None else f"{rate:.3g}"),
        ("Faces found by", finder_in_words(options.faces)),
        ("Detector", "none" if detector is None else detector.fingerprint[:12]),
        ("Score", "as it comes" if options.score is None else "other settings"),
    ]


def _items(config: DyspneaConfig) -> list[tuple[str, str, bool]]:
    """Return what the score is made of: name, source, whether it is a hypothesis."""
    fitted = config.fitted
    if fitted.features:
        return [(name, fitted.source, fitted.hypothesis) for name in fitted.features]
    return [
        (name, item.source, item.hypothesis)
        for name, item in (
            ("respiratory rate", config.rate), ("nasal flaring", config.flaring),
            ("fearful face", config.fear), ("mouth breathing", config.mouth),
        )
        if item.points
    ]  # fmt: skip


def _result(
    options: MonitorOptions, alarms: list[Event], course: Course | None = None, *,
    stopped: bool = False,
) -> Monitored:  # fmt: skip
    rows = given = 0
    if course is None:
        for row in read_vitals(options.out / VITALS_NAME):
            rows, given = rows + 1, given + (not math.isnan(row.rate))
        alarms = read_events(options.out / EVENTS_NAME)
    else:
        rows, given = course.rows, course.given
    return Monitored(
        out=options.out, rows=rows, given=given, alarms=alarms, kept=course is None,
        stopped=stopped,
    )  # fmt: skip
