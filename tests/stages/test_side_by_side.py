from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from cycada.errors import DataError, RunError
from cycada.progress import Progress
from cycada.stages.side_by_side import Job, Workers, start_workers
from cycada.stopping import Stopped, raising_on_sigterm

PATIENCE = 60.0  # seconds until something that should happen is given up

# Other processes import what they are to do, which they could not from a test.
DEEDS = f"""
import atexit, os, signal, time
from pathlib import Path
from cycada.errors import DataError

def appears(file):
    end = time.monotonic() + {PATIENCE}
    while not file.exists():
        if time.monotonic() > end:
            raise TimeoutError(file)
        time.sleep(0.01)

def note(folder, name, progress, needs=()):
    for other in needs:
        assert (folder / other).exists(), other
    (folder / name).write_text(str(os.getpid()))

def meet(folder, name, other, progress):
    note(folder, name, progress)
    appears(folder / other)

def fail(folder, name, other, progress):
    appears(folder / other)
    raise DataError(f"{{name}} cannot be read")

def die(folder, name, progress):
    os.kill(os.getpid(), signal.SIGKILL)

def asked_while_it_ends(folder, name, progress):
    def ask():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        note(folder, f"{{name}} asked", progress)
    atexit.register(ask)
    note(folder, name, progress)

def last(folder, name, progress):
    note(folder, name, progress)
    try:
        time.sleep({PATIENCE})
    except KeyboardInterrupt:
        note(folder, f"{{name}} stopped", progress)
        raise
"""


@pytest.fixture
def deeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "deeds_of_the_test.py").write_text(DEEDS)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("deeds_of_the_test", None)
    return importlib.import_module("deeds_of_the_test")


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def job(act: Any, folder: Path, name: str, *values: Any, **options: Any) -> Job:
    act = partial(act, folder, name, *values)
    return Job(name, f"the job {name}", act, (folder / name).exists, **options)


def run(jobs: list[Job], quiet: Progress, *, count: int = 2) -> list[str]:
    begun = []
    with start_workers(count, quiet) as workers:
        workers.run(jobs, begun=lambda job: begun.append(job.name), ended=lambda: None)
    return begun


@pytest.mark.usefixtures("_threads")
def test_jobs_are_done_at_the_same_time_and_after_those_that_they_need(
    deeds: ModuleType, quiet: Progress, tmp_path: Path
) -> None:
    jobs = [
        job(deeds.meet, tmp_path, "a", "b"),
        Job(
            "c", "", partial(deeds.note, tmp_path, "c", needs=("a", "b")), (tmp_path / "c").exists,
            after=("a", "b"),
        ),
        job(deeds.meet, tmp_path, "b", "a"),
    ]  # fmt: skip
    assert run(jobs, quiet) == ["a", "b", "c"]
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()
    assert run(jobs, quiet) == []  # nothing twice
    (tmp_path / "b").unlink()
    assert run(jobs, quiet) == ["b"]


@pytest.mark.usefixtures("_threads")
def test_a_job_that_wants_to_be_alone_is_done_here_when_no_other_can_be(
    deeds: ModuleType, quiet: Progress, tmp_path: Path
) -> None:
    jobs = [
        job(deeds.note, tmp_path, "a", alone=True),
        job(deeds.meet, tmp_path, "b", "c", after=("a",)),
        job(deeds.note, tmp_path, "d", alone=True, after=("b",)),
        job(deeds.meet, tmp_path, "c", "b", after=("a",)),
        job(deeds.note, tmp_path, "e", after=("d",)),
    ]
    assert run(jobs, quiet) == ["a", "b", "c", "d", "e"]
    here = {name for name in "abcde" if (tmp_path / name).read_text() == str(os.getpid())}
    assert here == {"a", "d"}


def test_a_single_thread_does_the_jobs_in_this_process(
    deeds: ModuleType, quiet: Progress, tmp_path: Path
) -> None:
    jobs = [job(deeds.note, tmp_path, "a"), job(deeds.note, tmp_path, "b", after=("a",))]
    assert run(jobs, quiet) == ["a", "b"]
    assert {(tmp_path / name).read_text() for name in "ab"} == {str(os.getpid())}


@pytest.mark.usefixtures("_threads")
def test_a_job_that_fails_stops_the_others_and_says_what_is_wrong(
    deeds: ModuleType, quiet: Progress, tmp_path: Path
) -> None:
    jobs = [job(deeds.last, tmp_path, "a"), job(deeds.fail, tmp_path, "b", "a")]
    with pytest.raises(DataError, match="b cannot be read"):
        run([*jobs, job(deeds.note, tmp_path, "c")], quiet)
    assert (tmp_path / "a stopped").exists()
    assert not (tmp_path / "c").exists()


@pytest.mark.usefixtures("_threads")
def test_a_process_that_is_killed_is_told(
    deeds: ModuleType, quiet: Progress, tmp_path: Path
) -> None:
    jobs = [job(deeds.last, tmp_path, "a"), job(deeds.die, tmp_path, "b")]
    with pytest.raises(RunError, match=r"the job b: .* from outside \(exit code -9\)"):
        run(jobs, quiet)


def test_a_stop_that_another_thread_takes_ends_the_wait(quiet: Progress) -> None:
    here, there = multiprocessing.Pipe()
    over, in_time = threading.Event(), []

    def signalled() -> None:
        appeared = there.recv()  # the job: this process waits for its end from now on
        time.sleep(0.3)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        in_time.append(over.wait(20))
        there.send(appeared and None)  # or it would wait for ever

    thread = threading.Thread(target=signalled)
    thread.start()
    workers = Workers({here: multiprocessing.get_context("spawn").Process()}, quiet)
    job = Job("a", "a", print, done=lambda: False)
    with raising_on_sigterm(), pytest.raises(Stopped):
        workers.run([job], begun=lambda _: None, ended=lambda: None)
    over.set()
    thread.join()
    assert in_time == [True]


@pytest.mark.usefixtures("_threads")
def test_a_process_that_is_asked_to_stop_while_it_ends_just_ends(
    deeds: ModuleType, quiet: Progress, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run([job(deeds.asked_while_it_ends, tmp_path, name) for name in "ab"], quiet)
    wait_for(tmp_path / "a asked", tmp_path / "b asked")
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.usefixtures("deeds")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_jobs_end_when_their_parent_does(number: int, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import signal, sys, torch\n"
        "from functools import partial\n"
        "from pathlib import Path\n"
        "from cycada.progress import Progress\n"
        "from cycada.stages.side_by_side import Job, start_workers\n"
        "import deeds_of_the_test as deeds\n"
        "if __name__ == '__main__':\n"
        # Where the tests run in the background, Ctrl-C is ignored from the start.
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    torch.set_num_threads(2)\n"
        "    here = Path(sys.argv[1])\n"
        "    jobs = [Job(n, n, partial(deeds.last, here, n), lambda: False) for n in 'ab']\n"
        "    with start_workers(2, Progress(shown=False)) as workers:\n"
        "        workers.run(jobs, begun=lambda job: None, ended=lambda: None)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, program, tmp_path], stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )  # fmt: skip
    try:
        wait_for(tmp_path / "a", tmp_path / "b")
        parent.send_signal(number)
        wait_for(tmp_path / "a stopped", tmp_path / "b stopped")
        assert parent.wait(PATIENCE) != 0
    finally:
        parent.kill()


def wait_for(*files: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not all(file.exists() for file in files):
        assert time.monotonic() < end, f"none of {files}"
        time.sleep(0.01)
