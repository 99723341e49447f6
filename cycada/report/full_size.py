"""Pictures of a gallery in full size: whole, with the pixels of their files.

The other pictures of a gallery are squares in the resolution of a network. These are what was
recorded or written: uncropped, colours to the last bit, temperatures also where they leave the
window of the gallery.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cycada import image_reading, images
from cycada.errors import DataError
from cycada.report.encoding import LARGEST_CODE, Codes, bytes_uri, packed_codes
from cycada.thermal import Unit

FULL_SIZE_PIXELS = 200_000_000
"""Pixels in full size that a page holds, unless asked for otherwise: up to half a gigabyte."""

LARGEST_PIXELS = 1 << 24
"""Of one picture, 4096 x 4096: what a canvas of any browser holds. A larger one is scaled."""

_LARGEST_SIDE = 16_383  # px: of a WebP


@dataclass(frozen=True, slots=True)
class PictureFile:
    """Where a picture comes from."""

    path: Path
    kind: str  # "rgb" or "thermal", as that of its view
    unit: Unit = "grey"  # what the pixels of a thermal one count


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the ``(height, width)`` in which a file of a size is shown: its own, if it can be."""
    scale = min(1.0, math.sqrt(LARGEST_PIXELS / math.prod(size)), _LARGEST_SIDE / max(size))
    if scale == 1:
        return size
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def full_size_values(
    files: Mapping[str, PictureFile], window: tuple[float, float] | None
) -> dict[str, Any]:
    """Return pictures as the page's script reads them: by view, each with the size of its file.

    Args:
        files: By view; those that cannot be read are left out, and so are thermal ones that have
            temperatures where the gallery has none, or none where it has.
        window: The temperatures of a gallery in deg C; None without.

    Returns:
        As JSON: ``views``, and ``span``, the temperatures of the least and the largest code; None
        where there are none.
    """
    views: dict[str, Any] = {}
    warm: dict[str, Tensor] = {}
    for key, file in files.items():
        try:
            image = image_reading.read_image(file.path)
            of = list(image.shape[-2:])
            if file.kind == "rgb":
                pixels = _colours(image)
                views[key] = {"size": list(pixels.shape[:2]), "of": of, "uri": bytes_uri(pixels)}
                continue
            grey = file.unit == "grey"
            if grey != (window is None):  # one scale would tell temperatures of grey levels
                continue
            values = _shares(image) if grey else images.to_celsius(image, unit=file.unit)
        except DataError:
            continue
        warm[key] = _fitted(images.with_channels(values, 1))[0]
        views[key] = {"size": list(warm[key].shape), "of": of}
    ends = (0.0, 1.0) if window is None else window
    # All of an item share one span, so that differences are those of codes.
    low = min([ends[0], *(float(each.min()) for each in warm.values())])
    high = max([ends[1], *(float(each.max()) for each in warm.values())])
    for key, each in warm.items():
        views[key]["codes"] = packed_codes(_codes(each, low, high))
    return {"views": views, "span": [low, high] if window and warm else None}


def _fitted(image: Tensor) -> Tensor:
    """Return a float image in the size in which it is shown."""
    height, width = image.shape[-2:]
    return images.resize(image, shown_size((height, width)))


def _colours(image: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return ``(H, W, 3)`` of 8 bits: those of the file, if it has as many and fits."""
    height, width = image.shape[-2:]
    if image.dtype != torch.uint8 or shown_size((height, width)) != (height, width):
        image = images.from_signed(_fitted(images.to_signed(image)), dtype=torch.uint8)
    return np.ascontiguousarray(images.with_channels(image, 3).numpy().transpose(1, 2, 0))


def _shares(image: Tensor) -> Tensor:
    """Return grey levels as shares of what their dtype holds."""
    return (images.to_signed(image) + 1) / 2


def _codes(values: Tensor, low: float, high: float) -> Codes:
    shares = (values.numpy().astype(np.float64) - low) / (high - low)
    codes: Codes = (shares * LARGEST_CODE).round().clip(0, LARGEST_CODE).astype(np.uint16)
    return codes
