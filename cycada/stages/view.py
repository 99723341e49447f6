"""Serve the page of runs, evaluations and datasets to this machine's user, and try images."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import re
import secrets
import shutil
import socket
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch

from cycada.errors import CycadaError, DataError, UsageError, reason
from cycada.footage.packages import optional
from cycada.progress import Progress, share_lines
from cycada.stages.report import PAGE_NAME, find_runs, report
from cycada.stages.side_by_side import end_with_parent
from cycada.stages.view_sets import WholeSets
from cycada.stages.view_try import Trial
from cycada.stopping import ignore_sigterm, raise_on_sigterm
from cycada.training.loading import default_device

T = TypeVar("T")

HOST = "127.0.0.1"
PORT = 8765

_TOKEN_BYTES = 24
_FOLDER = "cycada-view-"
_PATIENCE = 2  # seconds that answers in progress have when the server ends
_NICE = 10  # the page waits for a training, and not a training for the page


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewOptions:
    """What to serve, and where."""

    paths: tuple[Path, ...]
    port: int = PORT  # 0: any that is free
    title: str = ""
    samples: bool = True
    include_subjects: bool = False
    allow_outside: bool = False
    device: torch.device = field(default_factory=default_device)


_LOST = "The process that made the page was ended from outside, perhaps for want of memory."


class ReportMaker:
    """Makes the page in another process, so that a large one keeps nobody waiting."""

    def __init__(self, options: ViewOptions, folder: Path) -> None:
        """Write into folders below ``folder``."""
        self.options, self._root = options, folder
        self.folder: Path | None = None
        self._fault = self._at = ""
        self._begun = self._ended = 0.0
        self._count = 0
        self._process: Any = None
        self._pipe: Connection | None = None
        self._turn = threading.Lock()

    def make(self) -> None:
        """Begin to make the page, unless that is being done."""
        with self._turn:
            self._look()
            if self._process is not None:
                return
            self._count += 1
            self._begun, self._at = time.time(), ""
            context = multiprocessing.get_context("spawn")
            self._pipe, there = context.Pipe()
            target = self._root / f"report-{self._count}"
            self._process = context.Process(
                target=_make, args=(there, self.options, target), daemon=True
            )
            self._process.start()
            there.close()

    def state(self) -> Mapping[str, Any]:
        """Return how it stands: being made, there since when, or what is wrong."""
        with self._turn:
            self._look()
            making = self._process is not None
            return {
                "making": making,
                "doing": self._at,
                "seconds": round(time.time() - self._begun) if making else 0,
                "ready": self.folder.name if self.folder else "",
                "page": PAGE_NAME,
                "at": time.strftime("%H:%M:%S", time.localtime(self._ended)) if self._ended else "",
                "fault": self._fault,
            }

    def stop(self) -> None:
        """End the process, if there is one."""
        with self._turn:
            if self._process is not None:
                self._process.kill()  # what it was writing is removed with the folder
                self._process.join()
                self._process = None

    def _look(self) -> None:
        """Take in what the process has done, if it has ended."""
        if self._process is None or self._pipe is None:
            return
        try:
            fault = None
            while fault is None and self._pipe.poll():
                self._at, fault = self._pipe.recv()
        except (EOFError, OSError):
            fault = _LOST
        if fault is None:
            return
        self._fault = fault
        self._process.join()
        if fault is _LOST and self._process.exitcode > 0:
            self._fault = "It ended by a fault of the program, which the server's terminal shows."
        self._process = None
        self._pipe.close()
        if not self._fault:
            before, self.folder = self.folder, self._root / f"report-{self._count}"
            self._ended = time.time()
            if before is not None:
                shutil.rmtree(before, ignore_errors=True)


class _Told(Progress):
    """Tells another process how far loops are, instead of a terminal."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__(shown=False)
        self._pipe = pipe

    def __call__(
        self, items: Iterable[T], *, total: int | None, desc: str, done: int = 0,
        images: int = 0,  # noqa: ARG002  # no speed is told
    ) -> Iterator[T]:  # fmt: skip
        """Yield the items, and tell of them once a second at most."""
        told = -math.inf
        for number, item in enumerate(items, start=done + 1):
            if time.monotonic() - told > 1:
                told = time.monotonic()
                part = f" ({number} of {total})" if total else ""
                self._pipe.send((f"{desc}{part}", None))
            yield item


def _make(pipe: Connection, options: ViewOptions, folder: Path) -> None:
    """Make the page in a process of its own; send what is wrong, or nothing."""
    if sys.platform != "win32":
        os.setsid()  # Ctrl-C is for the parent, which ends this process
        os.nice(_NICE)
    with suppress(KeyboardInterrupt):
        raise_on_sigterm()
        threading.Thread(target=end_with_parent, daemon=True).start()
        share_lines(threading.RLock())  # one between processes would be left when this is killed
        fault = ""
        try:
            report(
                options.paths, folder, title=options.title, samples=options.samples,
                include_subjects=options.include_subjects, allow_outside=options.allow_outside,
                full_pixels=0,  # the list of all faces shows them without writing gigabytes
                progress=_Told(pipe),
            )  # fmt: skip
        except CycadaError as error:
            # What is wrong with data names files, and these are often named after subjects.
            fault = str(error)
            if isinstance(error, DataError) and not options.include_subjects:
                fault = "Its data cannot be read; --include-subjects tells why."
        except OSError as error:
            fault = f"It cannot be written ({reason(error)})."
        pipe.send(("", fault))
    ignore_sigterm()


def view(options: ViewOptions, *, ready: Callable[[str, Path], None]) -> None:
    """Serve until Ctrl-C or SIGTERM, which end it as meant.

    Args:
        options: What to serve.
        ready: Is given the address, and a file that leads a browser to it: whoever lists the
            processes of this machine sees what a browser was started with, and is not to see the
            token.

    Raises:
        UsageError: The packages for it are missing, the port is in use, or a path is nothing that
            a report shows.
    """
    uvicorn = optional("uvicorn", extra="view", what="`cycada view`")
    optional("starlette", extra="view", what="`cycada view`")
    from cycada.stages.view_server import Site, make_app  # noqa: PLC0415  # wants starlette

    runs = find_runs(options.paths)
    with bound(options.port) as listening, private_folder() as folder:
        port = listening.getsockname()[1]
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        address = f"http://{HOST}:{port}/{token}/"
        maker = ReportMaker(options, folder)
        site = Site(
            find_runs=lambda: find_runs(options.paths), report=maker, trial=Trial(options.device),
            whole=WholeSets(
                options.paths, folder, options.device,
                subjects=options.include_subjects, outside=options.allow_outside,
            ),
            title=options.title or (runs[0].name if len(runs) == 1 else "Faces in infrared"),
            samples=options.samples,
        )  # fmt: skip
        server = uvicorn.Server(uvicorn.Config(
            make_app(site, token=token, port=port), log_level="warning", access_log=False,
            server_header=False, lifespan="off", ws="none", http="h11", loop="asyncio",
            timeout_graceful_shutdown=_PATIENCE, proxy_headers=False,
        ))  # fmt: skip
        maker.make()
        try:
            ready(address, _way_in(folder, address))
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            logging.getLogger(__name__).debug("ended as meant")
        finally:
            maker.stop()


@contextmanager
def bound(port: int) -> Iterator[socket.socket]:
    """Yield a socket at a port of 127.0.0.1, and of no other address.

    Raises:
        UsageError: The port is in use, or not this user's to have.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        if os.name != "nt":  # where it would let two servers share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()
        except OSError as error:
            raise UsageError(
                f"--port {port}: cannot be used ({reason(error).lower()}); give another, or 0 for "
                "any that is free."
            ) from None
        yield listening


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a folder that this user alone may enter, and remove it at the end.

    What killed servers of this user have left is removed, too: it may show faces.
    """
    place = Path(tempfile.gettempdir())
    for left in place.glob(f"{_FOLDER}*"):
        found = re.fullmatch(rf"{_FOLDER}(\d+)-\w+", left.name)
        with suppress(OSError):
            facts = left.lstat()
            own = not hasattr(os, "getuid") or facts.st_uid == os.getuid()
            if found is None or not own or not stat.S_ISDIR(facts.st_mode):
                continue
            if not psutil.pid_exists(int(found[1])):
                shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))  # mode 0700
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _way_in(folder: Path, address: str) -> Path:
    """Write the file that leads a browser to the address."""
    file = folder / "open.html"
    file.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>cycada view</title>'
        f'<meta http-equiv="refresh" content="0;url={address}">'
        f'<a href="{address}">Open the page</a></html>',
        encoding="utf-8",
    )
    return file
