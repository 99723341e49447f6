"""Recordings of The Cacophony Project's thermal cameras (CPTV)."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from cycada.errors import DataError, reason
from cycada.footage.frames import SAMPLED, Reading, Shot, check_growth, numbered
from cycada.footage.packages import optional

SUFFIX = ".cptv"

_CHUNK = 1 << 20


def open_cptv(path: Path) -> Reading:
    """Open a CPTV recording.

    Times come from the stamps of the frames; the rate in the header is a nominal one. The
    background frame that some cameras put first is left out.

    Raises:
        DataError: it is no CPTV file, or was cut off.
        UsageError: the package cptv is not installed.
    """
    module = optional("cptv", extra="cptv", what="a CPTV recording")
    try:
        with path.open("rb") as stream:
            header = module.CPTVReader(stream)
            told = [_text(header.brand), _text(header.model)]
            stamped = header.version >= 2
            # Only newer files count their frames; the background is among them.
            count = header.num_frames and header.num_frames - header.background_frames
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except Exception as error:  # the decoder raises anything on broken bytes
        raise _broken(path, error) from error
    _check_whole(path)

    def shots() -> Iterator[Shot]:
        return _shots(path, module, stamped=stamped)

    sample = tuple(islice(shots(), SAMPLED))
    camera = " ".join(word for word in told if word)
    return Reading(
        path=path, shots=shots, sample=sample, count=count or None,
        notes=(f"CPTV recording{f' of a {camera}' if camera else ''}",),
    )  # fmt: skip


def _shots(path: Path, module: Any, *, stamped: bool) -> Iterator[Shot]:
    number, first = 0, None
    try:
        with path.open("rb") as stream:
            for frame in module.CPTVReader(stream):
                if frame.background_frame:
                    continue
                seconds = None
                if stamped:
                    now = frame.time_on.total_seconds()
                    first = now if first is None else first
                    seconds = now - first
                yield Shot(np.asarray(frame.pix, dtype=np.uint16)[None], seconds, numbered(number))
                number += 1
    except Exception as error:  # the decoder raises anything on broken bytes
        raise _broken(path, error) from error


def _check_whole(path: Path) -> None:
    """Read the file to its end: the decoder takes a cut-off recording for a shorter one."""
    packed, unpacked = path.stat().st_size, 0
    try:
        with gzip.open(path) as stream:
            while data := stream.read(_CHUNK):
                unpacked += len(data)
                check_growth(packed, unpacked, path)
    except DataError:
        raise
    except Exception as error:  # gzip and zlib raise several kinds
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: cannot be read as a CPTV recording ({reason(error)}).")


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace").strip()
