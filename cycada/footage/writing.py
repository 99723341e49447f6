"""Write thermal frames as images that keep their temperatures."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cycada import image_writing, images, thermal
from cycada.errors import DataError
from cycada.thermal import FREEZING_POINT, Unit, Window

FileKind = Literal["png16", "tiff16", "npy", "png8"]

SUFFIX_OF = MappingProxyType({"png16": ".png", "tiff16": ".tiff", "npy": ".npy", "png8": ".png"})

_HOTTEST = np.iinfo(np.uint16).max / 100 - FREEZING_POINT  # deg C that 16-bit centikelvin hold


def natural_kind(image: Tensor, unit: Unit) -> FileKind:
    """Return the kind of file that keeps what a frame holds: 8 bits for 8-bit grey, else 16."""
    return "png8" if unit == "grey" and image.dtype == torch.uint8 else "png16"


def write_frame(
    path: Path, image: Tensor, *, unit: Unit, kind: FileKind, window: Window | None = None
) -> None:
    """Write a frame, whole or not at all.

    Args:
        path: with the suffix of the kind (``SUFFIX_OF``).
        image: ``(1, H, W)`` as a frame of thermal footage has it.
        unit: what its pixels count.
        kind: ``png16`` and ``tiff16`` hold centikelvin, ``npy`` float32 in deg C, ``png8`` grey
            within the window. Grey frames are written as they are, 8 bits as ``png8`` or ``npy``,
            16 bits as the others.
        window: deg C that become black and white in ``png8``; temperatures beyond are clipped.

    Raises:
        DataError: the kind cannot hold the frame, or the file cannot be written.
    """
    if path.suffix != SUFFIX_OF[kind]:
        raise ValueError(f"{kind} is written to a {SUFFIX_OF[kind]}, not {path.suffix}")
    image_writing.write_image(
        path, pixels_of_file(path, image, unit=unit, kind=kind, window=window)
    )


def pixels_of_file(
    path: Path, image: Tensor, *, unit: Unit, kind: FileKind, window: Window | None
) -> Tensor:
    """Return what :func:`write_frame` puts into a file.

    Raises:
        DataError: the kind cannot hold the frame; ``path`` is named.
    """
    if unit == "grey":
        if kind != "npy" and (kind == "png8") != (image.dtype == torch.uint8):
            bits, other = (8, "png8") if image.dtype == torch.uint8 else (16, "png16 or tiff16")
            raise DataError(
                f"{path}: {kind} cannot hold {bits}-bit grey without making values up; use "
                f"{other} or npy, or state what temperatures the grey stands for."
            )
        return image
    if kind in ("png16", "tiff16") and unit == "centikelvin" and image.dtype == torch.uint16:
        return image
    celsius = thermal.celsius_from_counts(image, unit)
    if kind == "npy":
        return celsius
    if kind == "png8":
        if window is None:
            raise DataError(
                f"{path}: png8 needs --window LOW HIGH, the deg C that become black and white."
            )
        return images.from_signed(thermal.to_signed(celsius, window), dtype=torch.uint8)
    if celsius.max() > _HOTTEST:
        raise DataError(
            f"{path}: is {celsius.max():.0f} deg C at its hottest, and 16-bit centikelvin end at "
            f"{_HOTTEST:.0f}; use npy."
        )
    return thermal.counts_from_celsius(celsius, "centikelvin")
