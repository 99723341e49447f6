"""Run commands of cycada in children of a process that has imported it, and kill them on request.

To import torch takes seconds, and a thousand runs are needed. So this process imports all and
computes nothing, for torch's threads do not survive a fork, and forks a child for each command.
It reads one order per line from standard input and answers each with a line, in JSON::

    {"words": ["phantom", "--out", "a"], "log": "log.txt", "moment": {"after": 0.5, "signal": 9}}
    {"code": -9, "seconds": 0.5, "operations": 12, "fired": true}

The moment is none, so many seconds after the beginning, or before the n-th change of a file
(``{"operation": 12, "signal": 9}``): what is opened to be written to, synced, renamed, removed,
made or cut off. ``{"operation": 12, "bytes": 100}`` lets no file grow beyond so many bytes from
there on: the system ends the process in the midst of the write that would.
"""

from __future__ import annotations

import importlib
import json
import mmap
import os
import pkgutil
import resource
import select
import signal
import struct
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

_PATIENCE = 600.0  # seconds until a child that was asked to stop, or is not killed at all, hangs
_CHANGES = frozenset(
    {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
)
_TOLD = struct.Struct("qq")  # changes of files so far, and whether the moment has come
_LOADED_LATE = (  # by verbs, which `cycada --help` does not pay for
    "accelerate", "accelerate.utils", "av", "cptv", "kornia.augmentation", "kornia.filters",
    "torch._dynamo", "torch.utils.data", "torchvision.models", "PIL.PngImagePlugin",
    "PIL.TiffImagePlugin", "scipy.optimize", "scipy.special", "scipy.stats",
)  # fmt: skip
_STOPS = (signal.SIGTERM, signal.SIGINT)
_HANGS = 1000
"""Exit code of a child that did not end; no process has it."""


def run_verb(words: Sequence[str]) -> None:
    """Do what ``cycada WORDS`` does; a demo is tiny, since no option makes it so."""
    from cycada.cli import main  # noqa: PLC0415  # this module is imported by workers, too

    if words[0] == "demo":
        import torch  # noqa: PLC0415

        from cycada.stages import demo_jobs  # noqa: PLC0415

        torch.set_num_threads(2)  # one for each of two workers
        demo_jobs.PLANS["quick"] = demo_jobs.Plan(
            20, 2, translator_steps=6, plain_steps=2, detector_steps=2, pixel_steps=2,
            feature_steps=2, alignment_steps=3, teaching_steps=2, ceiling_steps=9, wide=False,
        )  # fmt: skip
    main(list(words))


class _Moment:
    """Counts the changes of files of this process, and ends it at one of them."""

    def __init__(self, moment: dict[str, Any], told: mmap.mmap) -> None:
        self.number, self.told = 0, told
        self.moment = moment if "operation" in moment else None
        self.sync = os.fsync

    def watch(self) -> None:
        """Begin to count."""
        setattr(os, "fsync", self._sync)  # noqa: B010  # no audit event tells of it
        sys.addaudithook(self._hear)

    def _sync(self, file: Any) -> None:
        self._count()
        self.sync(file)

    def _hear(self, event: str, args: Any) -> None:
        written = event == "open" and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR)
        if written or event in _CHANGES:
            self._count()

    def _count(self) -> None:
        self.number += 1
        fires = self.moment is not None and self.number == self.moment["operation"]
        self.told[:8] = self.number.to_bytes(8, sys.byteorder)
        if not fires or self.moment is None:
            return
        self.told[8] = 1
        if "bytes" in self.moment:
            most = self.moment["bytes"]
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        else:
            os.kill(os.getpid(), self.moment["signal"])


def _be_child(order: dict[str, Any], told: mmap.mmap) -> NoReturn:
    """Run the command of an order as a process of its own would."""
    code: object = 1
    try:
        with Path(os.devnull).open(encoding="ascii") as nothing:
            os.dup2(nothing.fileno(), 0)
        with Path(order["log"]).open("w", encoding="utf-8") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        # Where this runs in the background, Ctrl-C is ignored from the start.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
        _Moment(order["moment"] or {}, told).watch()
        run_verb(order["words"])
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001  # it is told in the log
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _obey(order: dict[str, Any]) -> dict[str, Any]:
    """Run a command and kill it at its moment."""
    told = mmap.mmap(-1, _TOLD.size)
    moment = order["moment"] or {}
    started = time.monotonic()
    Path(order["log"]).touch()
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)  # until the child can answer
    child = os.fork()
    if child == 0:
        _be_child(order, told)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    handle = os.pidfd_open(child)
    fired = False
    if "after" in moment and not _ends_within(handle, moment["after"]):
        fired = True
        os.kill(child, moment["signal"])
    ended = _ends_within(handle, _PATIENCE)
    if not ended:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(handle)
    operations, came = _TOLD.unpack(told[:])
    return {
        "code": os.waitstatus_to_exitcode(status) if ended else _HANGS,
        "seconds": time.monotonic() - started,
        "operations": operations,
        "fired": fired or bool(came),
    }


def _ends_within(handle: int, seconds: float) -> bool:
    return bool(select.select([handle], [], [], seconds)[0])


def _import_all() -> None:
    import cycada  # noqa: PLC0415

    for module in pkgutil.walk_packages(cycada.__path__, "cycada."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in _LOADED_LATE:
        importlib.import_module(name)


def main() -> None:
    """Obey orders until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints
    _import_all()
    for line in sys.stdin:
        answers.write(json.dumps(_obey(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
