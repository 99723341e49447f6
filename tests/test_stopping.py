"""Whoever is stopped by a signal saves, says how to go on, and ends with the code of the signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from cycada.locking import check_free
from cycada.settings import flatten
from cycada.stopping import Stopped, holding_stops, threads
from cycada.training.checkpoint import newest_checkpoint
from cycada.training.run_reading import read_log

PATIENCE = 180.0  # seconds until something that should happen is given up
TOLD = "Stopped. The same command continues."

# Small, and so long that it is stopped in its midst.
DEMO = """
import signal, sys, torch
from dataclasses import replace
from cycada.cli import main
from cycada.stages import demo_jobs

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(2)  # one for each of two workers
    demo_jobs.PLANS["quick"] = replace(
        demo_jobs.PLANS["quick"], subjects=20, frames=2, detector_steps=10**6, plain_steps=10**6
    )
    main(["demo", "--size", "16", "--out", sys.argv[1]])
"""


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env={
            **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": "1",
        },
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(found: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE
    while not found():
        if process.poll() is not None:
            pytest.fail(f"ended with {process.returncode}: {process.communicate()[1]}")
        assert time.monotonic() < end, "does not come"
        time.sleep(0.02)


def stopped_by(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    """Return the exit code, and how to go on if that is told."""
    process.send_signal(number)
    told = process.communicate(timeout=PATIENCE)[1]
    assert "Traceback" not in told
    return process.returncode, TOLD if TOLD in told.splitlines() else told


def test_a_training_saves_at_the_next_step(
    tiny_translator: Callable[..., Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    config = tiny_translator(steps=10**6, save_every=10**6, sample_every=10**6)
    words = [f"--set={name}={json.dumps(value)}" for name, value in flatten(config).items()]
    with started("-m", "cycada", "train-translator", "--out", str(run), *words) as process:
        wait_for(lambda: len(read_log(run)) > 2, process)
        assert newest_checkpoint(run) is None
        assert stopped_by(process, signal.SIGTERM) == (143, TOLD)
    saved = newest_checkpoint(run)
    assert saved is not None
    assert saved.step == read_log(run)[-1]["step"]
    assert not list(run.glob(".*"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_verb_that_is_no_training_ends_between_two_images(
    number: int, code: int, tmp_path: Path
) -> None:
    out = tmp_path / "faces"
    start = (
        "import signal, sys; from cycada.cli import main; "
        # Where the tests run in the background, Ctrl-C is ignored from the start.
        "signal.signal(signal.SIGINT, signal.default_int_handler); main(sys.argv[1:])"
    )
    words = ("phantom", "--out", str(out), "--subjects", "100", "--size", "16")
    with started("-c", start, *words) as process:
        wait_for(lambda: any(out.rglob("*.png")), process)
        assert stopped_by(process, number) == (code, TOLD)
    assert not (out / "index.csv").exists()
    check_free(out)


def test_a_demo_ends_its_workers_whether_it_is_stopped_or_killed(tmp_path: Path) -> None:
    program, out = tmp_path / "program.py", tmp_path / "demo"
    program.write_text(DEMO)
    runs = [out / "structure", out / "regions"]

    def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
        return psutil.Process(process.pid).children(recursive=True)

    def ended() -> bool:
        return not any(each.is_running() and each.status() != "zombie" for each in workers)

    def steps() -> list[float]:
        return [max((line["step"] for line in read_log(run)), default=0) for run in runs]

    with started(str(program), str(out)) as first:
        wait_for(lambda: min(steps()) > 0, first)
        workers = children(first)
        first.kill()
    with started(str(program), str(out)) as second:  # at once, while those save and end
        before = steps()
        wait_for(lambda: all(a > b for a, b in zip(steps(), before, strict=True)), second)
        assert ended()
        workers = children(second)
        noted = json.loads((out / "demo.json").read_text())["seconds"]
        assert stopped_by(second, signal.SIGTERM) == (143, TOLD)
    # Python's own helper of processes ends a moment after its parent.
    assert any(ended() or time.sleep(0.1) for _ in range(100))
    assert json.loads((out / "demo.json").read_text())["seconds"] > noted
    for run in runs:
        saved = newest_checkpoint(run)
        assert saved is not None
        assert saved.step > 0
        check_free(run)
    assert not list(out.rglob(".lock"))


def test_threads_begin_nothing_more_after_ctrl_c() -> None:
    begun = []

    def work(number: int) -> None:
        begun.append(number)
        time.sleep(0.01)

    with suppress(KeyboardInterrupt), threads(2) as pool:
        waiting = pool.map(work, range(1000))
        next(waiting)
        raise KeyboardInterrupt
    assert len(begun) < 100


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_that_is_held_comes_when_the_block_is_done(number: int) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    done = []

    def stopped_in_the_midst() -> None:
        with holding_stops():
            os.kill(os.getpid(), number)
            done.append(True)

    with pytest.raises(Stopped) as caught:
        stopped_in_the_midst()
    assert done
    assert caught.value.number == number
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
