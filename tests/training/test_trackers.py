"""A training is watched while it goes on, and whatever becomes of that it ends the same."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate import tracking
from PIL import Image

from cycada.errors import ConfigError, CycadaError, RunError, UsageError
from cycada.progress import Progress
from cycada.stages import train_detector, train_translator
from cycada.training import translator as translator_training
from cycada.training.checkpoint import newest_checkpoint
from cycada.training.finite import NonFiniteError
from cycada.training.loop import Interrupted
from cycada.training.run_reading import read_log

Make = Callable[..., Any]


def event_files(run: Path) -> list[Path]:
    return sorted((run / "tensorboard").glob("events.out.tfevents.*"))


def events(run: Path) -> list[Any]:
    """Return all that is in the event files, as it was written."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    return [event for file in event_files(run) for event in EventFileLoader(str(file)).Load()]


def scalars(run: Path, kind: str) -> list[tuple[int, str, float, float]]:
    """Return step, name, value and time of each scalar in the order of writing."""
    return [
        (event.step, value.tag.removeprefix(f"{kind}/"), value.tensor.float_val[0], event.wall_time)
        for event in events(run)
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "scalars"
    ]


def logged(run: Path) -> list[tuple[int, str, float, float]]:
    """Return the same from ``metrics.jsonl``, in the precision of TensorBoard."""
    return [
        (int(line["step"]), name, float(np.float32(value)), line["seconds"])
        for line in read_log(run)
        for name, value in line.items()
        if name not in ("step", "seconds")
    ]


def pictures(run: Path) -> list[tuple[int, str, bytes]]:
    return [
        (event.step, value.tag, value.tensor.string_val[2])
        for event in events(run)
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "images"
    ]


class Listener(tracking.GeneralTracker):
    """A tracker as others may register one with Accelerate; it remembers what it is told."""

    name = "listener"
    requires_logging_directory = False
    told: list[tuple[Any, ...]]

    def __init__(self, run_name: str, **_: Any) -> None:
        super().__init__()
        self.run_name = run_name

    @property
    def tracker(self) -> list[tuple[Any, ...]]:
        return self.told

    def start(self) -> None:
        self.told.append(("start", self.run_name))

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.told.append(("settings", values))

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self.told.append(("log", step, values))

    def log_images(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self.told.append(("images", step, values))

    def finish(self) -> None:
        self.told.append(("finish",))


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Listener]]:
    Listener.told = []
    monkeypatch.setattr(tracking, "LOGGER_TYPE_TO_CLASS", dict(tracking.LOGGER_TYPE_TO_CLASS))
    monkeypatch.setattr(
        "cycada.training.trackers.LOGGER_TYPE_TO_CLASS", tracking.LOGGER_TYPE_TO_CLASS
    )
    monkeypatch.setattr(
        "accelerate.accelerator.LOGGER_TYPE_TO_CLASS", tracking.LOGGER_TYPE_TO_CLASS
    )
    tracking.register_tracker_class(Listener)
    return Listener


def test_the_events_are_the_lines_of_the_log_and_the_grids_of_samples(
    tiny_translator: Make, quiet: Progress, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train_translator.run_training(tiny_translator(sample_every=2), run, progress=quiet)
    assert scalars(run, "translator") == logged(run)
    assert len(logged(run)) > 4 * 4
    shown = pictures(run)
    assert [(step, tag) for step, tag, _ in shown] == [(n, "translator/samples") for n in (2, 4)]
    for step, _, encoded in shown:
        file = tmp_path / "shown.png"
        file.write_bytes(encoded)
        with Image.open(file) as one, Image.open(run / "samples" / f"{step:06d}.png") as two:
            assert np.array_equal(np.asarray(one), np.asarray(two))


def test_the_events_of_a_detector_are_its_lines_with_those_of_validation(
    tiny_detector: Make, faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    config = tiny_detector(target=(str(faces),))
    config = replace(config, alignment=replace(config.alignment, method="dann"))
    train_detector.run_training(config, run, progress=quiet)
    assert scalars(run, "detector") == logged(run)
    names = {name for _, name, _, _ in scalars(run, "detector")}
    assert {"validation", "criterion_information", "domain_accuracy"} <= names


def test_each_step_is_there_once_in_a_run_that_went_on_from_a_checkpoint(
    tiny_translator: Make, quiet: Progress, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    config = tiny_translator(sample_every=1)
    train_translator.run_training(config, run, progress=quiet)
    shutil.rmtree(run / "000004")  # as if it had been killed after the steps 3 and 4
    (old,) = event_files(run)
    whole = old.read_bytes()
    for harm in (whole, whole[:-7], whole[:40], b""):
        old.write_bytes(harm)
        train_translator.run_training(config, run, progress=quiet)
        assert scalars(run, "translator") == logged(run)
        cycles = [step for step, name, *_ in scalars(run, "translator") if name == "cycle"]
        assert cycles == [1, 2, 3, 4]
        assert [step for step, *_ in pictures(run)] == [1, 2, 3, 4]
        shutil.rmtree(run / "000004")
        (old,) = event_files(run)


def test_a_training_that_steps_back_has_each_step_once_too(
    tiny_translator: Make, quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    real, failed = translator_training.translator_step, []

    def once_not_finite(*args: Any, step: int, **named: Any) -> Any:
        if step == 3 and not failed:
            failed.append(step)
            raise NonFiniteError("the loss is nan")
        return real(*args, step=step, **named)

    monkeypatch.setattr(translator_training, "translator_step", once_not_finite)
    train_translator.run_training(tiny_translator(), run, progress=quiet)
    assert failed
    assert scalars(run, "translator") == logged(run)
    assert [step for step, name, *_ in scalars(run, "translator") if name == "cycle"] == [
        1,
        2,
        3,
        4,
    ]


def test_what_was_logged_before_a_kill_can_be_read_at_every_save(
    tiny_translator: Make, quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, found = tmp_path / "run", []
    real = translator_training.Run.save

    def save(self: Any, step: int, **named: Any) -> None:
        found.append((scalars(run, "translator"), logged(run)))
        real(self, step, **named)

    monkeypatch.setattr(translator_training.Run, "save", save)
    train_translator.run_training(tiny_translator(), run, progress=quiet)
    assert len(found) == 2
    for shown, wanted in found:
        assert wanted
        assert shown == wanted


def test_trackers_may_change_between_sittings_and_change_nothing_that_is_learned(
    tiny_translator: Make, quiet: Progress, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    train_translator.run_training(tiny_translator(trackers=()), one, progress=quiet)
    assert not (one / "tensorboard").exists()
    train_translator.run_training(tiny_translator(trackers=(), steps=4), two, progress=quiet)
    shutil.rmtree(two / "000004")
    train_translator.run_training(tiny_translator(), two, progress=quiet)
    assert scalars(two, "translator") == logged(two)  # those before they were wanted, too
    ends = [newest_checkpoint(run) for run in (one, two)]
    assert ends[0] is not None
    assert ends[1] is not None
    for file in ends[0].folder.iterdir():
        assert (ends[1].folder / file.name).read_bytes() == file.read_bytes()


def test_ctrl_c_leaves_whole_events_and_no_thread(
    tiny_translator: Make, quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    real, threads, hook = (
        translator_training.translator_step,
        threading.active_count(),
        threading.excepthook,
    )

    def interrupted(*args: Any, step: int, **named: Any) -> Any:
        if step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*args, step=step, **named)

    monkeypatch.setattr(translator_training, "translator_step", interrupted)
    with pytest.raises(Interrupted):
        train_translator.run_training(tiny_translator(), run, progress=quiet)
    assert scalars(run, "translator") == logged(run)
    assert threading.active_count() == threads
    assert threading.excepthook is hook


def test_a_tracker_that_others_registered_with_accelerate_is_told_all_but_faces(
    tiny_translator: Make, quiet: Progress, tmp_path: Path, listener: type[Listener]
) -> None:
    run = tmp_path / "run"
    config = tiny_translator(trackers=("listener", "tensorboard"), sample_every=2)
    train_translator.run_training(config, run, progress=quiet)
    assert listener.told[0] == ("start", "cycada")
    assert listener.told[-1] == ("finish",)
    told = [
        (step, name.removeprefix("translator/"), value)
        for what, *rest in listener.told
        if what == "log"
        for step, values in [rest]
        for name, value in values.items()
    ]
    wanted = [
        (line["step"], name, value)
        for line in read_log(run)
        for name, value in line.items()
        if name not in ("step", "seconds")
    ]
    assert told == wanted
    assert scalars(run, "translator") == logged(run)
    assert not [what for what, *_ in listener.told if what == "images"]


def test_faces_go_to_other_trackers_when_the_settings_say_so(
    tiny_translator: Make, quiet: Progress, tmp_path: Path, listener: type[Listener]
) -> None:
    run = tmp_path / "run"
    config = tiny_translator(trackers=("listener",), sample_every=2, share_samples=True)
    train_translator.run_training(config, run, progress=quiet)
    shown = [rest for what, *rest in listener.told if what == "images"]
    assert [step for step, _ in shown] == [2, 4]
    for step, values in shown:
        (picture,) = values["translator/samples"]
        with Image.open(run / "samples" / f"{step:06d}.png") as wanted:
            assert np.array_equal(picture, np.asarray(wanted))


def test_settings_that_are_told_hold_no_path_and_no_subject(
    tiny_translator: Make, own_faces: Path, quiet: Progress, tmp_path: Path,
    listener: type[Listener],
) -> None:  # fmt: skip
    data = own_faces.rename(tmp_path / "anna-bergmann")
    config = tiny_translator(data=(str(data),), trackers=("listener", "tensorboard"))
    train_translator.run_training(config, tmp_path / "run", progress=quiet)
    (settings,) = (rest[0] for what, *rest in listener.told if what == "settings")
    assert settings["weights.cycle"] == config.weights.cycle
    assert settings["adversarial"] == "least_squares"
    assert {type(value) for value in settings.values()} <= {int, float, bool, str}
    written = event_files(tmp_path / "run")[0].read_bytes()
    assert b"weights.cycle" in written
    for private in ("anna", str(tmp_path), "rgb0", "thermal0"):
        assert private not in repr(listener.told)
        assert private.encode() not in written


@pytest.mark.parametrize(
    ("trackers", "kind", "told"),
    [
        (("tenserboard",), ConfigError, r"Accelerate knows no 'tenserboard'; it knows .*tensorb"),
        (("all",), ConfigError, "knows no 'all'"),  # would wake those that send things away
        (("comet_ml",), UsageError, r"trackers: comet_ml is not installed: pip install comet-ml\."),
        (("tensorboard", "wandb"), UsageError, r"wandb is not installed: pip install wandb\."),
    ],
)  # fmt: skip
def test_a_tracker_that_is_unknown_or_missing_is_one_sentence_before_anything_is_written(
    trackers: tuple[str, ...], kind: type[CycadaError], told: str,
    tiny_translator: Make, quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("cycada.training.trackers.get_available_trackers", lambda: ["tensorboard"])
    with pytest.raises(kind, match=told) as caught:
        train_translator.run_training(
            tiny_translator(trackers=trackers), tmp_path / "run", progress=quiet
        )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_without_tensorboard_a_sentence_tells_so_once_and_the_training_goes_on(
    tiny_translator: Make, quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr("cycada.training.trackers.get_available_trackers", list)
    run = tmp_path / "run"
    train_translator.run_training(tiny_translator(), run, progress=quiet)
    (told,) = [message for message in caplog.messages if "tensorboard" in message]
    assert told.startswith(f"{run}: tensorboard is not installed")
    assert "pip install tensorboard" in told
    assert len(read_log(run)) == 4


def test_a_tracker_that_fails_is_given_up_with_a_word_and_the_training_ends_the_same(
    tiny_translator: Make, quiet: Progress, tmp_path: Path, listener: type[Listener],
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def gone(*_: Any, **__: Any) -> None:
        raise ConnectionError("the server has gone.")

    monkeypatch.setattr(listener, "log", gone)
    run = tmp_path / "run"
    config = tiny_translator(trackers=("listener", "tensorboard"))
    train_translator.run_training(config, run, progress=quiet)
    (told,) = caplog.messages
    assert told == (
        f"{run}: the tracker listener has failed (the server has gone), and is told nothing more; "
        "the training goes on."
    )
    assert scalars(run, "translator") == logged(run)


def test_a_tracker_that_does_not_start_is_one_sentence(
    tiny_translator: Make, quiet: Progress, tmp_path: Path, listener: type[Listener],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def refused(_: Any) -> None:
        raise ValueError("no API key\nsecond line")

    monkeypatch.setattr(listener, "start", refused)
    with pytest.raises(RunError, match=r"^trackers: listener: cannot be started \(no API key\)\.$"):
        train_translator.run_training(
            tiny_translator(trackers=("listener",)), tmp_path / "run", progress=quiet
        )


def test_nothing_is_written_or_removed_through_a_link(
    tiny_translator: Make, quiet: Progress, tmp_path: Path
) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    train_translator.run_training(tiny_translator(), run, progress=quiet)
    shutil.move(run / "tensorboard", elsewhere)
    (run / "tensorboard").symlink_to(elsewhere)
    before = {file: file.read_bytes() for file in elsewhere.iterdir()}
    with pytest.raises(RunError, match=r"tensorboard: is a link"):
        train_translator.run_training(tiny_translator(steps=6), run, progress=quiet)
    assert before == {file: file.read_bytes() for file in elsewhere.iterdir()}


def test_only_the_event_files_in_the_folder_are_ever_removed(
    tiny_translator: Make, quiet: Progress, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train_translator.run_training(tiny_translator(), run, progress=quiet)
    note = run / "tensorboard" / "notes.txt"
    note.write_text("mine")
    train_translator.run_training(tiny_translator(steps=6), run, progress=quiet)
    assert note.read_text() == "mine"
    assert len(event_files(run)) == 1


def test_a_disk_that_is_full_for_events_alone_ends_nothing_and_shows_no_traceback(
    tiny_translator: Make, quiet: Progress, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from tensorboard.summary.writer.record_writer import RecordWriter

    written = []
    real = RecordWriter.write

    def full(self: Any, data: bytes) -> None:
        written.append(data)
        if len(written) > 9:
            raise OSError(28, "No space left on device")
        real(self, data)

    monkeypatch.setattr(RecordWriter, "write", full)
    run = tmp_path / "run"
    train_translator.run_training(tiny_translator(), run, progress=quiet)
    (told,) = caplog.messages
    assert "the tracker tensorboard has failed (No space left on device)" in told
    assert "Traceback" not in capfd.readouterr().err
    assert len(read_log(run)) == 4


def test_help_and_the_import_of_trackers_do_not_wait_for_tensorboard() -> None:
    for imported in ("cycada.cli", "cycada.training.trackers"):
        code = f"import sys, {imported}; print('tensorboard' in sys.modules)"
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
        assert found.stdout == "False\n"
