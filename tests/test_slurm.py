"""The jobs for SLURM, run with stand-ins for its commands that write down what they are asked."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from accelerate.commands.launch import launch_command_parser
from click.testing import CliRunner

from cycada.cli import main

ROOT = Path(__file__).resolve().parents[1]
JOBS = sorted((ROOT / "docs" / "recipes").glob("*.slurm"))
PATIENCE = 120.0  # s until what should happen is given up, where cores are busy

STAND_INS = {
    "scontrol": """
        if [[ $1 == show ]]; then printf 'first\\nsecond\\n'; exit; fi
        echo "$@" >> "$NOTES/requeued"
    """,
    "srun": """
        while [[ $1 == --* ]]; do shift; done
        for ((host = 0; host < SLURM_NNODES; host++)); do
            SLURM_NODEID=$host "$@" & started+=($!)
        done
        for each in "${started[@]}"; do wait "$each" || code=$?; done
        exit "${code:-0}"
    """,
    "accelerate": """
        printf '%s\\0' "$@" > "$NOTES/asked.$SLURM_NODEID"
        trap 'exit 143' TERM
        echo $$ > "$NOTES/new.$SLURM_NODEID"
        mv "$NOTES/new.$SLURM_NODEID" "$NOTES/launcher.$SLURM_NODEID"
        for ((i = 0; i < ${TENTHS:-0}; i++)); do sleep 0.1; done
    """,
    "scancel": """
        echo "$@" >> "$NOTES/cancelled"
        kill -TERM $(cat "$NOTES"/launcher.*)
    """,
}


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Return what starts a job on two hosts of four GPUs."""
    commands, notes = tmp_path / "commands", tmp_path / "notes"
    commands.mkdir()
    notes.mkdir()
    for name, script in STAND_INS.items():
        (commands / name).write_text(f"#!/bin/bash\n{script}")
        (commands / name).chmod(0o755)

    def begin(job: Path, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", str(job)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            cwd=tmp_path, env={
                "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "NOTES": str(notes),
                "SLURM_JOB_ID": "47", "SLURM_JOB_NODELIST": "[first,second]",
                "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "4", **variables,
            },
        )  # fmt: skip

    return begin


def wait_for(found: Callable[[], bool], job: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE
    while not found():
        assert job.poll() is None, job.communicate()[0]
        assert time.monotonic() < end, "does not come"
        time.sleep(0.05)


def test_there_is_a_job_for_the_training_and_one_for_the_translation() -> None:
    assert [job.name for job in JOBS] == ["train-translator.slurm", "translate.slurm"]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
def test_a_job_starts_one_launcher_per_host_with_a_command_that_there_is(
    job: Path, start: Callable[..., subprocess.Popen[str]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    subprocess.run(["bash", "-n", str(job)], check=True)
    process = start(job)
    assert process.communicate(timeout=PATIENCE) == ("", None)
    assert process.returncode == 0
    assert not (tmp_path / "notes" / "requeued").exists()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    for host in range(2):
        asked = (tmp_path / "notes" / f"asked.{host}").read_text().split("\0")[:-1]
        assert asked[0] == "launch"
        given = launch_command_parser().parse_args(asked[1:])
        assert (given.num_machines, given.machine_rank, given.num_processes) == (2, host, 8)
        assert (given.main_process_ip, given.main_process_port) == ("first", 20047)
        assert (given.multi_gpu, given.module, given.training_script) == (True, True, "cycada")
        verb, *words = given.training_script_args
        assert verb == job.stem
        if verb == "train-translator":
            told = CliRunner().invoke(main, [verb, *words, "--dry-run"])
            assert told.exit_code == 0, told.output
        else:
            (tmp_path / "data" / "rgb").mkdir(parents=True, exist_ok=True)
            command = main.get_command(click.Context(main), verb)
            assert command is not None
            command.make_context(verb, list(words))


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
@pytest.mark.parametrize(("number", "again"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_a_job_whose_time_is_up_is_ended_and_queues_up_again_and_one_that_is_cancelled_does_not(
    job: Path, number: int, again: bool, start: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:  # fmt: skip
    notes = tmp_path / "notes"
    process = start(job, TENTHS="1200")
    wait_for(lambda: len(list(notes.glob("launcher.*"))) == 2, process)
    process.send_signal(number)
    told = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 143, told  # as the launchers ended
    assert (notes / "cancelled").read_text() == "--signal=TERM 47\n"
    requeued = notes / "requeued"
    assert requeued.exists() == again
    if again:
        assert requeued.read_text() == "requeue 47\n"
