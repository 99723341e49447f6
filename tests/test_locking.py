"""A folder has one writer at a time, and who was killed holds nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from cycada import image_writing
from cycada.errors import RunError
from cycada.footage import ReadOptions
from cycada.locking import LOCK_NAME, check_free, holds_anything, sole_writer
from cycada.progress import Progress
from cycada.settings import flatten
from cycada.stages.convert import ConvertOptions, plan_conversion, run_conversion
from cycada.stages.demo import run_demo
from cycada.stages.detect import DetectOptions, detect
from cycada.stages.index import make_index
from cycada.stages.index_options import IndexOptions
from cycada.stages.phantom import PhantomOptions, make_phantom
from cycada.stages.train_detector import run_training as train_detector
from cycada.stages.train_translator import run_training as train_translator
from cycada.stages.translate import run_translation

PATIENCE = 120.0  # seconds until something that should happen is given up

HOLD = """
import sys, time
from pathlib import Path
from cycada.locking import sole_writer
with sole_writer(Path(sys.argv[1])):
    {before}
    print("held", flush=True)
    time.sleep(120)
"""

WORKER = """
import multiprocessing, sys, time
from pathlib import Path
from cycada.locking import sole_writer

def work(folder):
    with sole_writer(Path(folder)):
        print("held", flush=True)
        multiprocessing.parent_process().join()
        time.sleep(0.5)  # saves
        Path(folder, "saved").touch()

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=work, args=(sys.argv[1],)).start()
    time.sleep(120)
"""

COUNT = """
import sys
from pathlib import Path
from cycada.errors import RunError
from cycada.locking import sole_writer
folder, count = Path(sys.argv[1]), Path(sys.argv[2])
made = 0
while made < 20:
    try:
        with sole_writer(folder):
            count.write_text(str(int(count.read_text()) + 1))
            made += 1
    except RunError:
        pass
"""


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip


@contextmanager
def held(folder: Path, program: str = HOLD.format(before="")) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold ``folder``."""
    other = start("-c", program, str(folder))
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield other
    finally:
        other.kill()
        other.wait()


def test_a_second_process_is_refused_by_the_name_of_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with held(folder) as other:
        named = rf"{folder}: is being written to by process {other.pid} on {socket.gethostname()};"
        with pytest.raises(RunError, match=named), sole_writer(folder):
            pass
        with pytest.raises(RunError, match=named):
            check_free(folder)
        assert holds_anything(folder) is False


def test_what_a_killed_process_held_is_taken_over_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    with held(folder) as other:
        other.kill()
        other.wait()
        check_free(folder)
        with sole_writer(folder):
            (folder / "made").touch()
    told = f"{folder}: was left behind by process {other.pid} on {socket.gethostname()}; going on."
    assert caplog.messages == [told]
    assert [file.name for file in folder.iterdir()] == ["made"]
    with sole_writer(folder):  # it was given back in order, so there is nothing to tell
        pass
    assert len(caplog.messages) == 1


def test_what_a_killed_process_was_writing_is_removed_and_nothing_else(tmp_path: Path) -> None:
    folder, inside = tmp_path / "run", tmp_path / "run" / "inside"
    half = (
        "from cycada.files import replacing, temporary_beside; folder = Path(sys.argv[1]); "
        "(folder / 'deep').mkdir(); temporary_beside(folder / 'pictures').mkdir(); "
        "one = replacing(folder / 'note'); one.__enter__().write_text('half'); "
        "two = replacing(folder / 'deep' / 'a.png'); two.__enter__().write_text('half')"
    )
    kept = {"deep/whole.png", "inside/.b.part-12.png", "inside/.lock", ".clip.7.part.csv"}
    with held(folder, HOLD.format(before=half)) as other:
        other.kill()
        other.wait()
        assert len(list(folder.rglob(".*.part-*"))) == 3
        assert holds_anything(folder)  # the folder that is no half file
        (folder / "deep").rename(tmp_path / "deep")
        assert not holds_anything(folder)
        (tmp_path / "deep").rename(folder / "deep")
        inside.mkdir()
        for name in kept - {"inside/.lock"}:
            (folder / name).touch()
        with held(inside), sole_writer(folder):  # where another process writes
            found = {file.relative_to(folder).as_posix() for file in folder.rglob("*")}
            assert found == kept | {"deep", "inside", LOCK_NAME}


def test_a_child_that_outlives_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    child = tmp_path / "child"
    fork = "import os; pid = os.fork(); pid or time.sleep(120); "
    fork += f"Path({str(child)!r}).write_text(str(pid))"
    with held(tmp_path / "run", HOLD.format(before=fork)) as other:
        other.kill()
        other.wait()
        process = psutil.Process(int(child.read_text()))
        try:
            with sole_writer(tmp_path / "run"):
                assert process.is_running()
        finally:
            process.kill()


def test_a_worker_whose_parent_was_killed_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program, folder = tmp_path / "program.py", tmp_path / "run"
    program.write_text(WORKER)
    parent = start(str(program), str(folder))
    assert parent.stdout is not None
    assert parent.stdout.readline() == "held\n"
    with pytest.raises(RunError, match="is being written to"), sole_writer(folder):
        pass
    parent.kill()
    parent.wait()
    check_free(folder)  # it will be
    with sole_writer(folder):
        assert (folder / "saved").exists()
    assert len(caplog.messages) == 1
    assert "to save and end" in caplog.messages[0]


def test_of_many_who_take_turns_never_two_are_in(tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("0")
    several = [start("-c", COUNT, str(tmp_path / "run"), str(count)) for _ in range(3)]
    assert [each.wait(PATIENCE) for each in several] == [0] * 3
    assert int(count.read_text()) == 60


def test_a_folder_into_which_nothing_was_put_is_gone_again(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    for folder in (tmp_path / "new" / "run", tmp_path / "kept"):
        with suppress(ZeroDivisionError), sole_writer(folder):
            assert (folder / LOCK_NAME).exists()
            raise ZeroDivisionError
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.lockf", none)
    with sole_writer(tmp_path / "run"):
        pass
    assert "cannot be locked on this file system (No locks available)" in caplog.messages[0]


def _converted(source: Path, out: Path, quiet: Progress) -> None:
    image_writing.write_image(source / "0.png", torch.zeros(1, 8, 8, dtype=torch.uint8))
    options = ConvertOptions(sources=(source,), out=out)
    run_conversion(plan_conversion(options, progress=quiet), progress=quiet)


@pytest.mark.parametrize(
    "verb",
    ["train-translator", "train-detector", "translate", "detect", "index", "convert", "phantom",
     "demo"],
)  # fmt: skip
def test_every_verb_that_writes_for_long_refuses_a_folder_in_use(
    verb: str, faces: Path, translator_run: Path, detector_run: Path,
    tiny_translator: Callable[..., Any], tiny_detector: Callable[..., Any], quiet: Progress,
    tmp_path: Path,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    acts: dict[str, Callable[[], object]] = {
        "train-translator": lambda: train_translator(tiny_translator(), out, progress=quiet),
        "train-detector": lambda: train_detector(tiny_detector(), out, progress=quiet),
        "translate": lambda: run_translation(
            translator_run, faces, out, depth="auto", progress=quiet
        ),
        "detect": lambda: detect(
            DetectOptions(
                run=detector_run, sources=(faces / "rgb",), out=out, faces="whole",
                read=ReadOptions(domain="rgb"),
            ),
            progress=quiet,
        ),
        "index": lambda: make_index(IndexOptions(rgb=faces / "rgb", out=out), progress=quiet),
        "convert": lambda: _converted(tmp_path / "source", out, quiet),
        "phantom": lambda: make_phantom(
            PhantomOptions(out=out, rgb_subjects=5, thermal_subjects=0, frames=1, size=16),
            progress=quiet,
        ),
        "demo": lambda: run_demo(out, size=64, seed=0, budget="quick", progress=quiet),
    }  # fmt: skip
    with held(out) as other:
        with pytest.raises(RunError, match=f"is being written to by process {other.pid} on "):
            acts[verb]()
        assert [file.name for file in out.iterdir()] == [LOCK_NAME]
    if verb != "demo":  # which takes minutes
        acts[verb]()
        assert not (out / LOCK_NAME).exists()
        assert holds_anything(out)


def test_under_a_launcher_all_processes_end_with_the_one_that_is_refused(
    tiny_translator: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    settings = flatten(tiny_translator()).items()
    words = [f"--set={key}={json.dumps(value)}" for key, value in settings]
    command = (
        "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "cycada",
        "train-translator", "--out", str(out), *words,
    )  # fmt: skip
    with held(out) as other:
        begun = time.monotonic()
        found = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, timeout=PATIENCE,
            check=False, env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip
    assert found.returncode == 1
    said = [line for line in found.stderr.splitlines() if line.startswith("Error")]
    assert said
    assert f"is being written to by process {other.pid} on " in said[0]
    assert time.monotonic() - begun < PATIENCE
