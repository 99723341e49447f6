"""Of several processes that train together, all end when one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from cycada.settings import flatten
from cycada.training.checkpoint import newest_checkpoint
from cycada.training.run_reading import read_log

PATIENCE = 200  # s until two processes have begun to train, where cores are busy
SOON = 30  # s in which all must have ended

FAILING = """
import os, sys
from cycada.errors import DataError
from cycada.training import translator

real = translator.translator_step
def step(*given, step, **named):
    if step == 3 and os.environ["RANK"] == "1":
        raise DataError("rank 1 has met a broken image.")
    return real(*given, step=step, **named)
translator.translator_step = step
from cycada.cli import main
main(sys.argv[1:])
"""


@contextmanager
def two(script: str, out: Path, config: Any) -> Iterator[subprocess.Popen[str]]:
    settings = [f"--set={name}={json.dumps(value)}" for name, value in flatten(config).items()]
    program = out.parent / "program.py"
    program.write_text(script)
    process = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
         str(program), "train-translator", "--out", str(out), *settings],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
             "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                each.kill()
            process.communicate()


def trainers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [each for each in psutil.Process(process.pid).children(recursive=True)
            if "train-translator" in each.cmdline()]  # fmt: skip


def once_training(process: subprocess.Popen[str], run: Path) -> list[psutil.Process]:
    end = time.monotonic() + PATIENCE
    while len(read_log(run)) < 3:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "does not begin"
        time.sleep(0.05)
    found = trainers(process)
    assert len(found) == 2
    return found


def endless(make: Callable[..., Any]) -> Any:
    return make(steps=10**6, save_every=10**6, sample_every=10**6)


MAIN = "import sys\nfrom cycada.cli import main\nmain(sys.argv[1:])\n"


def test_all_save_and_end_when_one_is_asked_to(
    tiny_translator: Callable[..., Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with two(MAIN, run, endless(tiny_translator)) as process:
        found = once_training(process, run)
        found[-1].send_signal(signal.SIGTERM)
        told = process.communicate(timeout=PATIENCE)[0]
    saved = newest_checkpoint(run)
    assert saved is not None
    assert saved.step == read_log(run)[-1]["step"]
    assert "Stopped. The same command continues." in told
    assert not any(each.is_running() for each in found)


@pytest.mark.parametrize("killed", [0, 1])
def test_all_end_soon_when_one_is_killed(
    killed: int, tiny_translator: Callable[..., Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with two(MAIN, run, endless(tiny_translator)) as process:
        found = once_training(process, run)
        found[killed].kill()
        began = time.monotonic()
        told = process.communicate(timeout=PATIENCE)[0]
        assert time.monotonic() - began < SOON
    if killed == 1:  # the main process tells at once what it knows; others the launcher is ahead of
        assert "another process has ended while this one waited for it" in told
    assert process.returncode != 0
    assert not any(each.is_running() for each in found)


def test_the_mistake_that_one_meets_is_told_and_ends_all(
    tiny_translator: Callable[..., Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with two(FAILING, run, endless(tiny_translator)) as process:
        told = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode != 0
    assert "Error in process 1: rank 1 has met a broken image." in told
    assert "[rank" not in told  # a traceback of the one that waited
