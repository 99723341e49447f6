from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cycada import image_writing
from cycada.data import phantom
from cycada.data.sampling import generator
from cycada.errors import DataError, RunError, UsageError
from cycada.footage import ReadOptions
from cycada.stages import monitor as stage
from cycada.stages.monitor import Listener, MonitorOptions, monitor
from cycada.stages.monitor_record import Record
from cycada.task import Task
from cycada.thermal import Window
from cycada.vitals.record import Vitals, read_vitals

RATE, SIDE, PER_MINUTE = 9.0, 64, 15.0
FILES = ("vitals.csv", "events.csv", "monitor.html", "vitals.svg", "monitor.json")


def drawn(seconds: float, *, depth: float = 0.5, seed: int = 7) -> np.ndarray:
    """Return centikelvin of a phantom that sits still and breathes 15 times a minute."""
    draw = generator(seed, "monitor")
    person = phantom.sample_identities(1, generator=draw)
    still = phantom.sample_scenes(1, generator=draw)
    scene = replace(still, netd=torch.zeros(1), breathing_phase=torch.zeros(1))
    neutral = torch.zeros(1, 18)
    face = phantom.render_celsius(person, neutral, scene, size=SIDE)[0].numpy()
    x, y = phantom.landmarks(person, neutral, scene, size=SIDE)[0][
        phantom.LANDMARK_NAMES.index("nose_base")
    ]
    rows, columns = np.mgrid[:SIDE, :SIDE]
    near = np.exp(-0.5 * (np.hypot(columns - float(x), rows - float(y)) / 3) ** 2)
    times = np.arange(round(seconds * RATE)) / RATE
    breath = depth * np.sin(2 * np.pi * PER_MINUTE / 60 * times)
    noise = np.random.default_rng(seed).normal(0, 0.03, (len(times), SIDE, SIDE))
    celsius = face + breath[:, None, None] * near + noise
    return np.round((celsius + 273.15) * 100).astype(np.uint16)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of 50 s; do not change it."""
    file = tmp_path_factory.mktemp("recording") / "Jane_Doe.npz"
    np.savez(file, frames=drawn(50), times=np.arange(450) / RATE)
    return file


@pytest.fixture
def options(recording: Path, tmp_path: Path) -> MonitorOptions:
    return MonitorOptions(source=recording, out=tmp_path / "out", faces="whole")


@pytest.fixture(scope="module")
def whole(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a recording that was watched undisturbed; do not change it."""
    out = tmp_path_factory.mktemp("whole")
    monitor(MonitorOptions(source=recording, out=out, faces="whole"))
    return out


def rows_of(out: Path) -> list[Vitals]:
    return list(read_vitals(out / "vitals.csv"))


def stopping_at(second: int) -> Listener:
    def row(vitals: Vitals) -> None:
        if vitals.seconds == second:
            raise KeyboardInterrupt

    return Listener(row=row)


def same(left: Path, right: Path) -> list[str]:
    return [name for name in FILES if (left / name).read_bytes() != (right / name).read_bytes()]


def test_a_row_for_each_second_tells_how_fast_the_patient_breathes(whole: Path) -> None:
    rows = rows_of(whole)
    assert [row.seconds for row in rows] == list(range(1, 51))
    assert [row.frames for row in rows] == [9] * 50
    late = rows[34:]
    assert sum(np.isfinite(row.rate) for row in late) >= 14
    assert all(abs(row.rate - PER_MINUTE) < 0.7 for row in rows if np.isfinite(row.rate))
    assert {row.part for row in late if np.isfinite(row.rate)} == {"nostrils"}


def test_what_is_not_known_is_an_empty_cell_with_a_reason(whole: Path) -> None:
    with (whole / "vitals.csv").open(encoding="utf-8", newline="") as stream:
        first = next(csv.DictReader(stream))
    assert first["respiration_rate"] == first["dyspnea_score"] == ""
    assert first["respiration_reason"]
    assert "no detector of Action Units was given" in first["missing"]


def test_a_stream_of_raw_frames_gives_the_rows_of_the_recording(
    recording: Path, whole: Path, tmp_path: Path
) -> None:
    pixels = np.load(recording)["frames"].astype("<u2").tobytes()
    told = monitor(MonitorOptions(
        source=io.BytesIO(pixels), out=tmp_path / "out", size=(SIDE, SIDE), rate=RATE,
        faces="whole", read=ReadOptions(unit="centikelvin"),
    ))  # fmt: skip
    assert (told.rows, told.stopped) == (50, False)
    assert (tmp_path / "out/vitals.csv").read_bytes() == (whole / "vitals.csv").read_bytes()


def test_a_second_is_in_the_table_as_soon_as_a_frame_after_it_came(tmp_path: Path) -> None:
    frames = drawn(4).astype("<u2")
    read, write = os.pipe()
    out, told = tmp_path / "out", threading.Event()
    with os.fdopen(read, "rb", buffering=0) as stream, os.fdopen(write, "wb", 0) as camera:
        options = MonitorOptions(
            source=stream, out=out, size=(SIDE, SIDE), rate=RATE, faces="whole",
            read=ReadOptions(unit="centikelvin"),
        )  # fmt: skip
        listener = Listener(row=lambda row: told.set() if row.seconds == 2 else None)
        watching = threading.Thread(target=monitor, args=(options,), kwargs={"listener": listener})
        watching.start()
        camera.writelines(frame.tobytes() for frame in frames[:19])  # of 0 to 2 seconds
        assert told.wait(20)
        assert [row.seconds for row in rows_of(out)] == [1, 2]
        camera.close()
        watching.join(20)
    assert not watching.is_alive()


def test_a_stopped_recording_has_whole_files_and_the_same_command_ends_as_if_undisturbed(
    options: MonitorOptions, whole: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        monitor(options, listener=stopping_at(20))
    assert len(rows_of(options.out)) == 20
    assert "stopped by the user" in (options.out / "monitor.html").read_text(encoding="utf-8")
    assert (options.out / "vitals.svg").exists()
    told = monitor(options)
    assert (told.rows, told.kept) == (50, False)
    assert same(options.out, whole) == []


def test_rows_that_are_there_stay_while_a_killed_watch_is_made_up_for(
    options: MonitorOptions, whole: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        monitor(options, listener=stopping_at(30))
    table = options.out / "vitals.csv"
    table.write_bytes(table.read_bytes()[:-7])  # killed within a row
    fewest = []

    def row(_: Vitals) -> None:
        fewest.append(len(rows_of(options.out)))

    monitor(options, listener=Listener(row=row))
    assert min(fewest) == 29
    assert same(options.out, whole) == []


def test_a_watch_that_is_stopped_before_it_has_caught_up_leaves_the_page_that_shows_more(
    options: MonitorOptions, whole: Path
) -> None:
    for seconds in (30, 10):
        with pytest.raises(KeyboardInterrupt):
            monitor(options, listener=stopping_at(seconds))
    assert len(rows_of(options.out)) == 30
    before = (options.out / "monitor.html").read_bytes()
    (options.out / "monitor.html").unlink()
    with pytest.raises(KeyboardInterrupt):
        monitor(options, listener=stopping_at(10))
    assert (options.out / "monitor.html").read_bytes() != before
    with pytest.raises(KeyboardInterrupt):
        monitor(options, listener=stopping_at(30))
    assert (options.out / "monitor.html").read_bytes() == before
    monitor(options)
    assert same(options.out, whole) == []


def test_a_page_that_shows_less_than_the_table_grows_with_a_watch_that_is_stopped(
    options: MonitorOptions,
) -> None:
    def killed(row: Vitals) -> None:
        if row.seconds == 25:
            raise RuntimeError("no page after this")

    with pytest.raises(KeyboardInterrupt):
        monitor(options, listener=stopping_at(5))
    with pytest.raises(RuntimeError):
        monitor(options, listener=Listener(row=killed))
    assert len(rows_of(options.out)) == 25
    before = (options.out / "monitor.html").stat().st_size
    with pytest.raises(KeyboardInterrupt):
        monitor(options, listener=stopping_at(20))
    assert len(rows_of(options.out)) == 25
    assert json.loads((options.out / "monitor.json").read_text())["shown"] == 20
    assert (options.out / "monitor.html").stat().st_size > before


def test_what_is_whole_is_kept(options: MonitorOptions, whole: Path) -> None:
    monitor(options)
    before = {file: file.stat().st_mtime_ns for file in options.out.iterdir()}
    told = monitor(options, listener=stopping_at(1))
    assert (told.kept, told.rows) == (True, 50)
    assert {file: file.stat().st_mtime_ns for file in options.out.iterdir()} == before
    assert told.given == sum(np.isfinite(row.rate) for row in rows_of(whole))


def test_other_settings_are_refused_by_name(options: MonitorOptions, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        monitor(options, listener=stopping_at(2))
    with pytest.raises(RunError, match=r"other settings \(rate; rate was None, now 8.0\)"):
        monitor(replace(options, rate=8.0))
    score = tmp_path / "score.toml"
    score.write_text("[alarm]\non = 0.9\n", encoding="utf-8")
    with pytest.raises(RunError, match=r"other settings \(score"):
        monitor(replace(options, score=score))
    assert len(rows_of(options.out)) == 2


def test_another_recording_under_the_same_path_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for at, frame in enumerate(drawn(3)):
        image_writing.write_image(folder / f"f{at:03d}.png", torch.from_numpy(frame)[None])
    options = MonitorOptions(
        source=folder, out=folder / "out", rate=RATE, read=ReadOptions(unit="centikelvin")
    )
    monitor(options)
    assert monitor(options).kept
    os.utime(folder / "f001.png", ns=(0, 1))
    with pytest.raises(RunError, match=r"made with other settings \(source_state;"):
        monitor(options)


def test_a_page_that_could_not_be_written_is_written_by_the_same_command(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise DataError("the disk is full.")

    options = MonitorOptions(source=recording, out=tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(stage, "write_vitals", fails)
        with pytest.raises(DataError, match="the disk is full"):
            monitor(options)
    told = monitor(options)
    assert (told.kept, told.rows) == (False, 50)
    assert all((tmp_path / "out" / name).exists() for name in FILES)


def test_a_stream_ends_with_ctrl_c_and_is_never_mixed_with_another(tmp_path: Path) -> None:
    pixels = drawn(6).astype("<u2").tobytes()
    options = MonitorOptions(
        source=io.BytesIO(pixels), out=tmp_path / "out", size=(SIDE, SIDE), rate=RATE,
        faces="whole", read=ReadOptions(unit="centikelvin"),
    )  # fmt: skip
    told = monitor(options, listener=stopping_at(3))
    assert (told.rows, told.stopped) == (3, True)
    assert "stopped by the user" in (options.out / "monitor.html").read_text(encoding="utf-8")
    with pytest.raises(RunError, match="a stream, which does not come again; choose another --out"):
        monitor(replace(options, source=io.BytesIO(pixels)))
    assert len(rows_of(options.out)) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_two_files_leaves_no_row_in_one_of_them_alone(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Record.add

    def signalled(record: Record, row: Vitals) -> None:
        add(record, row)
        if row.seconds == 2:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Record, "add", signalled)
    frames = io.BytesIO(np.full((90, 40, 48), 29500, "<u2").tobytes())
    out = tmp_path / "out"
    told = monitor(MonitorOptions(source=frames, out=out, size=(48, 40), rate=RATE))
    assert (told.rows, told.stopped) == (2, True)
    assert [row.seconds for row in rows_of(out)] == [1, 2]


def test_the_page_of_a_stream_is_there_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_PAGE_EVERY", 0.0)
    seen = []

    def row(vitals: Vitals) -> None:
        if vitals.seconds == 5:
            seen.append((tmp_path / "out/monitor.html").read_text(encoding="utf-8"))

    monitor(
        MonitorOptions(
            source=io.BytesIO(drawn(6).astype("<u2").tobytes()), out=tmp_path / "out",
            size=(SIDE, SIDE), rate=RATE, faces="whole", read=ReadOptions(unit="centikelvin"),
        ),
        listener=Listener(row=row),
    )  # fmt: skip
    assert "so far" in seen[0]
    assert "so far" not in (tmp_path / "out/monitor.html").read_text(encoding="utf-8")


def test_an_empty_room_breathes_nothing(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(29500, 3, (90, 48, 64))
    np.savez(tmp_path / "room.npz", frames=noise.astype(np.uint16), times=np.arange(90) / RATE)
    told = monitor(MonitorOptions(source=tmp_path / "room.npz", out=tmp_path / "out"))
    rows = rows_of(tmp_path / "out")
    assert (told.rows, told.given) == (10, 0)
    assert {row.face for row in rows} == {0.0}
    assert {row.apnea for row in rows} == {None}


def test_seconds_of_a_pause_have_rows_and_no_rate(recording: Path, tmp_path: Path) -> None:
    content = np.load(recording)
    times = content["times"].copy()
    times[400:] += 7
    np.savez(tmp_path / "pause.npz", frames=content["frames"], times=times)
    monitor(MonitorOptions(source=tmp_path / "pause.npz", out=tmp_path / "out", faces="whole"))
    rows = rows_of(tmp_path / "out")
    silent = [row for row in rows if row.frames == 0]
    assert len(rows) == 57
    assert len(silent) >= 6
    assert all(np.isnan(row.rate) and row.apnea is None for row in silent)


def test_frames_that_are_not_later_are_left_out_with_a_word(
    recording: Path, tmp_path: Path
) -> None:
    content = np.load(recording)
    times = content["times"].copy()
    times[45:48] = times[44]
    np.savez(tmp_path / "twice.npz", frames=content["frames"], times=times)
    notes: list[str] = []
    monitor(
        MonitorOptions(source=tmp_path / "twice.npz", out=tmp_path / "out", faces="whole"),
        listener=Listener(note=notes.append),
    )
    assert any("3 frames are not later than the one before" in note for note in notes)


def test_a_recording_that_breaks_off_is_told_up_to_there(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    for number, frame in enumerate(drawn(4)):
        image_writing.write_image(folder / f"f{number:03d}.png", torch.from_numpy(frame)[None])
    odd = torch.full((1, SIDE + 1, SIDE), 30000, dtype=torch.int32).to(torch.uint16)
    image_writing.write_image(folder / "f031.png", odd)  # none that is sampled
    options = MonitorOptions(source=folder, out=tmp_path / "out", rate=RATE, faces="whole")
    with pytest.raises(DataError, match="frame 31: is 64 x 65"):
        monitor(options)
    assert len(rows_of(options.out)) == 3
    assert "broken off" in (options.out / "monitor.html").read_text(encoding="utf-8")
    image_writing.write_image(folder / "f031.png", torch.from_numpy(drawn(4)[31])[None])
    with pytest.raises(RunError, match="source_state"):  # it may be of somebody else by now
        monitor(options)
    assert monitor(replace(options, out=tmp_path / "again")).rows == 4


def test_an_image_that_cannot_be_read_is_a_frame_without_a_face(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    for number, frame in enumerate(drawn(4)):
        image_writing.write_image(folder / f"f{number:03d}.png", torch.from_numpy(frame)[None])
    (folder / "f031.png").write_bytes(b"no picture")
    told = monitor(MonitorOptions(source=folder, out=tmp_path / "out", rate=RATE, faces="whole"))
    assert told.rows == 4
    assert [round(row.face, 2) for row in rows_of(tmp_path / "out")] == [1, 1, 1, 0.89]


def test_nothing_that_is_shown_names_the_patient_or_a_file(whole: Path) -> None:
    for name in ("monitor.html", "vitals.svg", "vitals.csv", "events.csv"):
        text = (whole / name).read_text(encoding="utf-8")
        assert "Jane" not in text
        assert str(whole.parent) not in text


def test_the_page_says_what_it_is_not_and_asks_nobody(whole: Path) -> None:
    page = (whole / "monitor.html").read_text(encoding="utf-8")
    assert "Research use only" in page
    assert "not a medical device" in page
    assert "diagnos" not in page.lower()
    assert "default-src &#39;none&#39;" in page
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)


def _mistakes() -> dict[str, tuple[Callable[[Path], dict[str, Any]], type[Exception], str]]:
    return {
        "missing": (lambda p: {"source": p / "no.cptv"}, DataError, "there is no such file"),
        "stream without a size": (
            lambda _: {"source": io.BytesIO(b""), "rate": 9.0}, UsageError,
            "need --raw WIDTHxHEIGHT and --fps",
        ),
        "empty stream": (
            lambda _: {"source": io.BytesIO(b""), "rate": 9.0, "size": (4, 3)}, DataError,
            "ended before the first frame did, which has 24 bytes",
        ),
        "size of a file": (lambda _: {"size": (4, 3)}, UsageError, "give - as the source"),
        "no times": (lambda p: {"source": p / "stack.npy"}, UsageError, "with --fps"),
        "one picture": (lambda p: {"source": p / "one.npy"}, DataError, "holds one picture"),
        "several": (
            lambda p: {"source": p / "two"}, UsageError, "holds several recordings .*; give one",
        ),
        "an index": (lambda p: {"source": p / "index"}, UsageError, "is an index of faces"),
        "a pause of hours": (
            lambda p: {"source": p / "hours.npz"}, DataError, "comes 9000 s after the one before",
        ),
        "no way to find faces": (
            lambda _: {"faces": "magic"}, UsageError, "--faces magic: is neither auto, whole",
        ),
        "score": (lambda p: {"score": p / "none.toml"}, UsageError, "cannot be read as a settings"),
    }  # fmt: skip


@pytest.mark.parametrize("mistake", _mistakes())
def test_a_mistake_is_one_sentence(mistake: str, options: MonitorOptions, tmp_path: Path) -> None:
    frames = drawn(2)
    np.save(tmp_path / "stack.npy", frames)
    np.save(tmp_path / "one.npy", frames[0])
    for name in ("two/a", "two/b"):
        (tmp_path / "two").mkdir(exist_ok=True)
        np.save(tmp_path / f"{name}.npy", frames)
    (tmp_path / "index").mkdir()
    (tmp_path / "index/index.csv").touch()
    np.savez(tmp_path / "hours.npz", frames=frames, times=np.arange(18) * 9000.0)
    change, kind, words = _mistakes()[mistake]
    with pytest.raises(kind, match=words):
        monitor(replace(options, **change(tmp_path)))
    if mistake != "a pause of hours":  # which is met on the way
        assert not options.out.exists()


def test_a_detector_of_classes_is_refused(
    options: MonitorOptions, detector_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = stage.load_detector(detector_run)
    classes = replace(loaded, task=Task(classes=("calm", "fear")), window=Window(20, 40))
    monkeypatch.setattr(stage, "load_detector", lambda *_: classes)
    with pytest.raises(UsageError, match=r"answers classes \(calm, fear\)"):
        monitor(replace(options, run=detector_run))


def test_two_watches_of_one_folder_are_refused(options: MonitorOptions) -> None:
    def row(_: Vitals) -> None:
        # The lock is of the process, so another one has to ask.
        done = subprocess.run(
            [sys.executable, "-m", "cycada", "monitor", str(options.source), "--faces", "whole",
             "--out", str(options.out)],
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 1
        assert "is being written to by process" in done.stderr
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        monitor(options, listener=Listener(row=row))
