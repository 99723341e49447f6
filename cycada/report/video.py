"""Write what was drawn as a video, or as pictures."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

from PIL import Image

from cycada.errors import DataError
from cycada.files import replacing, temporary_beside
from cycada.footage.packages import optional
from cycada.report.images import Pixels

_QUALITY = "20"  # constant rate factor of H.264: no visible loss
_RATE_STEPS = 1000


def write_video(path: Path, pictures: Iterable[Pixels], *, rate: float) -> None:
    """Write an MP4 (H.264) whole or not at all.

    Args:
        path: Where to, with the suffix ``.mp4``.
        pictures: ``(height, width, 3)`` uint8 each, of one size with even sides.
        rate: Frames per second.

    Raises:
        UsageError: PyAV is not installed.
        DataError: The file cannot be written.
    """
    av = optional("av", extra="video", what="writing a video")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as temporary, av.open(str(temporary), "w") as container:
            stream = container.add_stream(
                "libx264", rate=Fraction(rate).limit_denominator(_RATE_STEPS)
            )
            stream.pix_fmt, stream.options = "yuv420p", {"crf": _QUALITY}
            for number, picture in enumerate(pictures):
                if number == 0:
                    stream.height, stream.width = picture.shape[:2]
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (OSError, av.FFmpegError) as error:
        raise DataError(f"{path}: cannot be written ({error}).") from error


def write_pictures(folder: Path, pictures: Iterable[tuple[str, Pixels]]) -> None:
    """Write PNG files into a new folder, which appears when all are there.

    Args:
        folder: Where to.
        pictures: Name without suffix, and ``(height, width, 3)`` uint8.

    Raises:
        DataError: A file cannot be written.
    """
    part = temporary_beside(folder)
    try:
        part.mkdir(parents=True)
        for name, picture in pictures:
            Image.fromarray(picture).save(part / f"{name}.png")
        part.rename(folder)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
