"""Memory for decoded images; the processes of one host hold them once, together."""

from __future__ import annotations

import errno
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cycada.errors import reason


def _alone(text: str) -> list[str]:
    return [text]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The processes of one host that train together."""

    number: int = 0  # of this one
    count: int = 1
    exchange: Callable[[str], list[str]] = _alone
    """Takes a text of this process and returns those of all neighbours, in the order of their
    numbers. It waits for the processes of all hosts, so that all must call it equally often."""
    agree: Callable[[bool], bool] = bool
    """Tells whether the processes of all hosts say yes, which all must be asked as often."""


ALONE = Neighbours()


class Room(NamedTuple):
    """Memory to be filled."""

    memory: Tensor
    shared: bool  # whether the neighbours fill it together


def make_room(
    shape: Sequence[int], dtype: torch.dtype, neighbours: Neighbours, tell: Callable[[str], None]
) -> Room:
    """Return memory for a tensor; neighbours share it, where they can share a file.

    The file lies in the folder for temporary files, and has no name any more when this returns: it
    is gone with the last process that uses it, whatever ends that.

    Args:
        shape: Of the tensor.
        dtype: Of the tensor.
        neighbours: All of them must call this.
        tell: Is told if each holds its own copy instead.
    """
    name = problem = ""
    size = math.prod(shape)
    if neighbours.count > 1 and neighbours.number == 0:
        try:
            name = _reserve(size * dtype.itemsize)
        except OSError as error:
            problem = reason(error)
    name = neighbours.exchange(name)[0]
    memory: Tensor | None = None
    if name:
        try:
            memory = torch.from_file(name, shared=True, size=size, dtype=dtype)
        except (OSError, RuntimeError) as error:
            problem = reason(error) if isinstance(error, OSError) else str(error).splitlines()[0]
    problems = [each for each in neighbours.exchange(problem) if each]
    if name and neighbours.number == 0:
        Path(name).unlink(missing_ok=True)
    if problems:
        tell(
            f"Each of {neighbours.count} processes holds its own copy of the decoded images, for "
            f"they cannot share a file in {tempfile.gettempdir()} ({problems[0].rstrip('.')})."
        )
    if memory is None or problems:
        return Room(torch.empty(*shape, dtype=dtype), shared=False)
    return Room(memory.view(*shape), shared=True)


def _reserve(size: int) -> str:
    """Return the name of a new file; its room on the disk is taken, so that writing cannot fail."""
    if not hasattr(os, "posix_fallocate"):  # macOS
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    descriptor, name = tempfile.mkstemp(prefix="cycada-")
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError:
        Path(name).unlink()
        raise
    finally:
        os.close(descriptor)
    return name
