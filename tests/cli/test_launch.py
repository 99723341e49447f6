"""Reading what ``accelerate launch`` was asked for, and starting it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cycada.cli.launch import Wanted, launch_words, missing_processes, read_words

TAIL = ["-m", "cycada", "train-translator", "--out", "run"]


@pytest.mark.parametrize(
    "before",
    [
        ["python", "/venv/bin/accelerate", "launch"],
        ["python", "/venv/bin/accelerate-launch"],
        ["python", "-m", "accelerate.commands.launch"],
        ["python", "-m", "accelerate.commands.accelerate_cli", "launch"],
    ],
)
def test_every_way_to_start_accelerate_is_recognised(before: list[str]) -> None:
    assert launch_words([*before, "--cpu", *TAIL]) == ["--cpu", *TAIL]


@pytest.mark.parametrize(
    "command",
    [
        ["bash"],
        [],
        ["python", "accelerate", "config"],
        ["mpirun", "-n", "2", "python", "-m", "cycada", "accelerate", "launch"],
    ],
)
def test_other_parents_are_not_accelerate(command: list[str]) -> None:
    assert launch_words(command) is None


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--cpu"], Wanted(1, None)),
        (["--cpu", "--num_processes", "3"], Wanted(3, None)),
        (["--cpu", "--num-processes=3", "--num_cpu_threads_per_process=2"], Wanted(3, 2)),
        (["--num_processes=4", "--num_machines=2", "--cpu"], Wanted(1, None)),
    ],
)
def test_options_are_read_as_accelerate_reads_them(options: list[str], wanted: Wanted) -> None:
    assert read_words([*options, *TAIL]) == wanted


def test_the_number_of_processes_may_stand_in_accelerates_settings(tmp_path: Path) -> None:
    file = tmp_path / "accelerate.yaml"
    file.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\nnum_processes: 5\n"
        "num_machines: 1\nuse_cpu: true\nmixed_precision: 'no'\n"
    )
    assert read_words(["--config_file", str(file), *TAIL]) == Wanted(5, None)
    assert read_words(["--config_file", str(file), "--num_processes=2", *TAIL]).processes == 2


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "True"}])
def test_without_accelerate_or_among_several_processes_nothing_is_missing(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WORLD_SIZE", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert missing_processes() is None


def test_the_exit_code_and_the_one_sentence_are_those_of_the_processes(tmp_path: Path) -> None:
    code = (
        "import sys; from cycada.cli.launch import Wanted, launch; "
        "sys.exit(launch(Wanted(2, 1), sys.argv[1:]))"
    )
    words = ["train-translator", "--out", str(tmp_path / "run"), "--set", "stepz=3"]
    found = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False,
        timeout=120, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert found.returncode == 2
    (line,) = found.stderr.splitlines()
    assert line.startswith("Error: settings: unknown setting stepz. Did you mean steps?")
