"""One process at a time writes to a folder; another is told which one does.

The lock is one of POSIX (``fcntl``) on the file ``.lock`` in the folder: the system releases it
when its process ends, however that ends, and children of the process do not inherit it. It holds
between the processes of one machine, and between machines that share a file system with locks, as
NFS has unless it is mounted without. Windows has none of these locks: there nothing is locked.
"""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from cycada.errors import RunError
from cycada.files import is_temporary, remove_temporaries

if sys.platform != "win32":
    import fcntl

LOCK_NAME = ".lock"

_PATIENCE = 60.0  # seconds for a process that is about to end: a save, and what is measured for it
_POLL = 0.1  # seconds
_TRIES = 20
_CLOCKS = 2.0  # seconds that those of processes and of files may differ
_LONGEST = 4096  # bytes of a signature
_HELD_BY_ANOTHER = (errno.EACCES, errno.EAGAIN)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Owner:
    """Who holds a lock, as the file tells others."""

    host: str
    pid: int
    parent: int | None  # that started it as its worker, and whose end is its own

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_ending(self) -> bool:
        """Whether this is a worker of this machine whose parent has ended."""
        return (
            self.parent is not None
            and self.host == socket.gethostname()
            and not _is_alive(self.parent)
        )


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold ``folder`` until the block ends, so that no other process writes to it meanwhile.

    The folder is made if it is missing, and is gone again afterwards if nothing was put into it.
    What a process that was killed has held is taken over, and what it was just writing, under
    temporary names, is removed; a worker whose parent was killed is waited for, since it is about
    to end.

    Raises:
        RunError: Another process holds it, or ``folder`` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file, not a folder; choose another --out.")
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    file = folder / LOCK_NAME
    descriptor = None
    try:
        if sys.platform == "win32":
            folder.mkdir(parents=True, exist_ok=True)
        else:
            descriptor = _lock(file)
        yield
    finally:
        if descriptor is not None:
            # Before the lock is released: whoever comes later makes a file of its own.
            with suppress(OSError):
                file.unlink()
            os.close(descriptor)
        for place in missing:
            with suppress(OSError):  # it holds something now
                place.rmdir()


def check_free(folder: Path) -> None:
    """Refuse a folder that another process holds; write nothing.

    Raises:
        RunError: naming that process.
    """
    file = folder / LOCK_NAME
    try:
        descriptor = os.open(file, os.O_RDWR)
    except OSError:
        return  # nobody's, or nothing can be written here, which is told when something is
    try:
        if not _try_to_lock(descriptor, file):
            owner = _owner(file)
            if owner is None or not owner.is_ending:
                raise _refused(folder, owner)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that has signed the lock of a folder."""

    told: str  # who it is, for a sentence
    lives: bool | None  # None: it is of another machine, or somebody else's, and cannot be asked


def holder(folder: Path) -> Holder | None:
    """Return who writes to a folder, or was killed while it did; ``None`` where nobody has signed.

    The lock is not touched: what looks on must not keep a training from its folder, not even for
    a moment.
    """
    file = folder / LOCK_NAME
    owner = _owner(file)
    if owner is None:
        return None
    if owner.host != socket.gethostname():
        return Holder(str(owner), None)
    try:
        # A later process may have the number of one that was killed.
        lives = _is_alive(owner.pid) and (
            psutil.Process(owner.pid).create_time() <= file.stat().st_mtime + _CLOCKS
        )
    except psutil.AccessDenied:
        return Holder(str(owner), None)
    except (OSError, psutil.NoSuchProcess):  # it has ended meanwhile
        return None
    return Holder(str(owner), lives)


def holds_anything(folder: Path) -> bool:
    """Tell whether there is anything in a folder but its lock, and what was never finished."""
    names = (entry.name for entry in folder.iterdir())
    return any(name != LOCK_NAME and not is_temporary(name) for name in names)


def _lock(file: Path) -> int:
    """Return the open, locked file, with this process's name in it."""
    end = None
    missed = 0
    while True:
        owner = _owner(file)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except (FileNotFoundError, FileExistsError):
            missed += 1
            if missed == _TRIES:
                raise
            time.sleep(_POLL)  # an owner that ends has just removed the empty folder
            continue
        try:
            locked = _try_to_lock(descriptor, file)
            if locked and _is_named(descriptor, file):
                # Not by opening the file again: closing it would release the lock.
                if left := _signed(os.pread(descriptor, _LONGEST, 0)):
                    _log.warning("%s: was left behind by %s; going on.", file.parent, left)
                    # Before it is signed anew: whoever is killed here is taken over in turn.
                    remove_temporaries(file.parent, mark=file.name)
                _sign(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if not locked:
            now = time.monotonic()
            if owner is None or not owner.is_ending or (end is not None and now > end):
                raise _refused(file.parent, _owner(file))
            if end is None:
                _log.warning("%s: waiting for %s to save and end.", file.parent, owner)
                end = now + _PATIENCE
        time.sleep(_POLL)


def _try_to_lock(descriptor: int, file: Path) -> bool:
    """Lock an open file unless another process has; warn where there are no locks."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD_BY_ANOTHER:
            return False
        _log.warning(
            "%s: cannot be locked on this file system (%s); see that no second process writes "
            "there.", file.parent, error.strerror,
        )  # fmt: skip
    return True


def _is_named(descriptor: int, file: Path) -> bool:
    """Tell whether an open file still has its name, which whoever held it removes at the end."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    parent = multiprocessing.parent_process()
    me = _Owner(socket.gethostname(), os.getpid(), None if parent is None else parent.pid)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(me)).encode(), 0)


def _owner(file: Path) -> _Owner | None:
    """Return who has signed the file; ``None`` if nobody has yet."""
    try:
        return _signed(file.read_bytes())
    except OSError:
        return None


def _signed(content: bytes) -> _Owner | None:
    try:
        return _Owner(**json.loads(content))
    except (ValueError, TypeError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _refused(folder: Path, owner: _Owner | None) -> RunError:
    return RunError(
        f"{folder}: is being written to by {owner or 'another process'}; wait for its end, or "
        "choose another --out."
    )
