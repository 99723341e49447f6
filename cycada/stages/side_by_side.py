"""Jobs that build on each other, several of them at the same time.

One training cannot keep many cores busy: a part of its operations is not shared between threads,
and others wait for memory. Two trainings side by side, each with half of the threads, get a
fifth more done on two cores than one after the other (``tools/bench_side_by_side.py``).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from cycada.errors import RunError
from cycada.progress import Progress, share_lines
from cycada.stopping import ignore_sigterm, raise_on_sigterm

_POLL = 1.0
"""Seconds after which a wait looks up: a signal that another thread takes, as one may that came
while the process was suspended, would not end it."""


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work that leaves its result on disk."""

    name: str
    title: str
    act: Callable[..., object]  # takes ``progress``; other processes receive it pickled
    done: Callable[[], bool]
    after: tuple[str, ...] = ()  # names of the jobs whose results it needs
    alone: bool = False  # wants all threads: it begins when nothing else can


class Workers:
    """Processes that do jobs; without any, this process does them itself."""

    def __init__(self, processes: Mapping[Connection, SpawnProcess], progress: Progress) -> None:
        """Take the processes by their pipes; ``progress`` shows the jobs done without any."""
        self.processes, self.progress = processes, progress

    def run(
        self, jobs: Sequence[Job], *, begun: Callable[[Job], None], ended: Callable[[], None]
    ) -> None:
        """Do all jobs that are not done, each as soon as those that it needs are.

        Args:
            jobs: In an order in which each needs only earlier ones. Of those that can begin, the
                first begins.
            begun: Called before a job begins.
            ended: Called after a job has ended.

        Raises:
            RunError: A process was killed.
            Exception: What the first job that fails raises.
        """
        finished = {job.name for job in jobs if job.done()}
        waiting = [job for job in jobs if job.name not in finished]
        busy: dict[Connection, Job] = {}
        while waiting or busy:
            for pipe in self.processes:
                if pipe not in busy and (job := _next(waiting, finished)) is not None:
                    begun(job)
                    pipe.send((job.title, job.act))
                    busy[pipe] = job
            if busy:
                ready = wait(list(busy), _POLL)
                for pipe in [pipe for pipe in busy if pipe in ready]:
                    job = busy.pop(pipe)
                    self._check(pipe, job)
                    finished.add(job.name)
                    ended()
            else:
                job = waiting.pop(0)
                begun(job)
                job.act(progress=self.progress)
                finished.add(job.name)
                ended()

    def _check(self, pipe: Connection, job: Job) -> None:
        """Raise what has gone wrong with a job."""
        try:
            failed = pipe.recv()
        except (EOFError, ConnectionError):
            process = self.processes[pipe]
            process.join()
            raise RunError(
                f"{job.title}: its process was ended from outside (exit code {process.exitcode}), "
                "perhaps for want of memory; the same command continues."
            ) from None
        if failed is not None:
            error, told = failed
            raise error from RuntimeError(f"in another process:\n{told}")


@contextmanager
def start_workers(count: int, progress: Progress) -> Iterator[Workers]:
    """Start ``count`` processes, which load torch while this one goes on, and end them at the end.

    Each has its share of the threads of this process. Where this has a single thread, there is
    nothing to share, and none is started.

    Args:
        count: Processes.
        progress: Tells whether they show what they do.
    """
    threads = torch.get_num_threads()
    processes: dict[Connection, SpawnProcess] = {}
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    lines = context.RLock()
    share_lines(lines)
    count = min(count, threads)
    try:
        for place in range(count if count > 1 else 0):
            here, there = context.Pipe()
            settings = threads // count, progress.shown, place, lines
            process = context.Process(target=_serve, args=(there, *settings))
            processes[here] = process
            process.start()
            there.close()
        yield Workers(processes, progress)
    except BaseException:
        _stop(processes.values())
        raise
    else:
        for pipe in processes:
            pipe.send(None)
    finally:
        for pipe, process in processes.items():
            if process.pid is not None:
                process.join()
            pipe.close()


def _stop(processes: Collection[SpawnProcess]) -> None:
    """Ask the processes to save and end, and wait for them; who asks twice does not wait."""
    processes = [process for process in processes if process.pid is not None]  # that began
    try:
        for process in processes:
            process.terminate()  # a training saves what it has
        for process in processes:
            process.join()
    except KeyboardInterrupt:
        for process in processes:
            process.kill()  # the last checkpoints are whole, whatever is being written
        raise


def _next(waiting: list[Job], finished: set[str]) -> Job | None:
    """Take the first job out of ``waiting`` that can be done beside others now."""
    for job in waiting:
        if not job.alone and finished.issuperset(job.after):
            waiting.remove(job)
            return job
    return None


def _serve(pipe: Connection, threads: int, shown: bool, line: int, lines: Any) -> None:  # noqa: FBT001
    """Do the jobs that come through ``pipe``; answer each with what went wrong, or ``None``."""
    if sys.platform != "win32":
        os.setsid()  # Ctrl-C is for the parent, which then ends this process once and not twice
    # The parent has gone, or wants an end: neither is a fault to be told here.
    with suppress(KeyboardInterrupt, EOFError, ConnectionError):
        raise_on_sigterm()
        threading.Thread(target=end_with_parent, daemon=True).start()
        torch.set_num_threads(threads)
        share_lines(lines)
        while (job := pipe.recv()) is not None:
            title, act = job
            try:
                act(progress=Progress(shown=shown, label=title, line=line))
                failed = None
            except Exception as error:  # noqa: BLE001  # the parent raises it
                failed = error, traceback.format_exc()
            pipe.send(failed)
    ignore_sigterm()


def end_with_parent() -> None:
    """Wait for the end of the process that has started this one; then ask this one to end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
