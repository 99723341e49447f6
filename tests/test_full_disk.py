"""A disk that is really full: a tmpfs of a few hundred kilobytes, in a namespace of its own."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cycada.progress import Progress
from cycada.settings import flatten
from cycada.stages import train_translator
from cycada.training.checkpoint import newest_checkpoint

APART = ("unshare", "--user", "--map-root-user", "--mount", "bash", "-c")


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """Return a folder to mount a tmpfs on, where that is allowed."""
    folder = tmp_path / "small"
    folder.mkdir()
    if not sys.platform.startswith("linux") or shutil.which("unshare") is None:
        pytest.skip("needs Linux's unshare")
    tried = subprocess.run(
        [*APART, f"mount -t tmpfs tmpfs {shlex.quote(str(folder))}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tried.returncode:
        pytest.skip(f"no tmpfs may be mounted here ({tried.stderr.strip()})")
    return folder


def test_a_full_disk_keeps_the_old_checkpoint_and_the_training_goes_on_when_there_is_room(
    small_disk: Path, tiny_translator: Callable[..., Any], quiet: Progress, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    config = tiny_translator(steps=4)
    train_translator.run_training(config, whole, progress=quiet)
    blocks = sum(file.stat().st_size for file in (whole / "000002").iterdir()) / 1024
    settings = [f"--set={name}={json.dumps(value)}" for name, value in flatten(config).items()]
    run = small_disk / "run"
    command = shlex.join([sys.executable, "-m", "cycada", "train-translator", "--out", str(run),
                          *settings])  # fmt: skip
    place, kept = shlex.quote(str(small_disk)), shlex.quote(str(tmp_path / "kept"))
    script = f"""
        mount -t tmpfs -o size={blocks * 1.6:.0f}k tmpfs {place}
        {command}; echo "first ended with $?"
        ls -A {place}/run
        mount -o remount,size=1g {place}
        {command}; echo "then with $?"
        cp -r {place}/run {kept}
    """
    found = subprocess.run(
        [*APART, script], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
             "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    told = found.stderr
    assert "Traceback" not in told
    assert "first ended with 1\n" in found.stdout, told
    assert "No space left on device" in told
    listed = found.stdout.split("first ended with 1\n")[1].split()
    assert "000002" in listed
    assert not [name for name in listed if "000004" in name]
    assert "then with 0\n" in found.stdout, told
    one, two = newest_checkpoint(tmp_path / "kept"), newest_checkpoint(whole)
    assert one is not None
    assert two is not None
    assert one.step == two.step == 4
    for file in two.folder.iterdir():
        if file.suffix in (".pt", ".safetensors"):
            assert (one.folder / file.name).read_bytes() == file.read_bytes()
