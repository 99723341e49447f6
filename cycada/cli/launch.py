"""Start the processes that ``accelerate launch --cpu --num_processes N`` asks for.

Accelerate 1.15 joins processes on CPUs through MPI alone: without it, it starts one process,
whatever ``--num_processes`` says. Then that process starts N here, through torch's own launcher.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SIGNAL = 128  # shells report a process that a signal ended as this plus the signal's number


@dataclass(frozen=True, slots=True)
class Wanted:
    """What ``accelerate launch`` was asked for."""

    processes: int
    threads: int | None  # of each process; None where nobody chose


def missing_processes() -> Wanted | None:
    """Return what ``accelerate launch --cpu`` was asked for but has not started; None if nothing.

    Accelerate tells its child that it is to stay on the CPU, but not among how many; that is read
    from the command line of the parent process.
    """
    if "WORLD_SIZE" in os.environ or os.environ.get("ACCELERATE_USE_CPU", "").lower() != "true":
        return None
    import psutil

    try:
        parent = psutil.Process().parent()
        words = None if parent is None else launch_words(parent.cmdline())
        if parent is None or words is None:
            return None
        before = parent.environ().get("OMP_NUM_THREADS")
    except psutil.Error:
        return None
    wanted = read_words(words)
    if wanted.processes == 1:
        return None
    if wanted.threads is None and before and before.isdigit():
        return Wanted(wanted.processes, int(before))
    return wanted


def launch_words(command: Sequence[str]) -> Sequence[str] | None:
    """Return what follows ``accelerate launch`` in a command line; None if it is another."""
    for place, word in enumerate(command[:4]):  # python, an option or two, the program
        name = Path(word).name
        if name in ("accelerate-launch", "accelerate.commands.launch"):
            return command[place + 1 :]
        program = name in ("accelerate", "accelerate.commands.accelerate_cli")
        if program and command[place + 1 : place + 2] == ["launch"]:
            return command[place + 2 :]
    return None


def read_words(words: Sequence[str]) -> Wanted:
    """Read the options of ``accelerate launch`` as it does, its settings file included."""
    from accelerate.commands.config import config_args
    from accelerate.commands.launch import launch_command_parser

    given = launch_command_parser().parse_args(list(words))
    processes, machines = given.num_processes, given.num_machines
    if given.config_file or (Path(config_args.default_config_file).is_file() and not given.cpu):
        saved = config_args.load_config_from_file(given.config_file)
        processes = processes or saved.num_processes
        machines = machines or saved.num_machines
    if (machines or 1) > 1:
        processes = 1  # the machines are joined by whoever started this on each of them
    return Wanted(processes or 1, given.num_cpu_threads_per_process)


def launch(wanted: Wanted, arguments: Sequence[str]) -> int:
    """Run ``python -m cycada`` with ``arguments`` in several processes that know of each other.

    Ctrl-C and SIGTERM reach the processes, and the first that fails ends the others.

    Returns:
        Exit code: of the process that failed first, 0 if none did.
    """
    from torch.distributed.elastic.multiprocessing.api import (
        DefaultLogsSpecs,
        SignalException,
    )
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.ERROR)  # the processes say what is wrong themselves
    threads = wanted.threads or max(1, _cores() // wanted.processes)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    with tempfile.TemporaryDirectory(prefix="cycada-launch-") as logs:
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=wanted.processes,
            logs_specs=DefaultLogsSpecs(log_dir=logs), run_id=f"cycada-{os.getpid()}",
            rdzv_backend="c10d", rdzv_endpoint="localhost:0", local_addr="localhost",
            max_restarts=0,
        )  # fmt: skip
        try:
            elastic_launch(config, sys.executable)("-m", "cycada", *arguments)
        except ChildFailedError as error:
            _, failure = error.get_first_failure()
            code = int(failure.exitcode)
            return code if code >= 0 else _SIGNAL - code
        except SignalException as signal:
            return _SIGNAL + int(signal.sigval)
    return 0


def _cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
