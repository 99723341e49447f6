"""Pictures for a page that needs no other file: tensors -> data URIs, and the thermal palette.

Thermal pictures are embedded in grey and coloured by a filter of the page, so that the reader
can switch the palette off without a script, and a saved picture keeps its values.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from cycada.footage.palettes import read_palette

Pixels = npt.NDArray[np.uint8]

_INFERNO = (
    "000004 040312 0b0724 150b37 210c4a 2f0a5b 3d0965 4a0c6b 57106e 64156e 71196e 7d1e6d 8a226a "
    "972766 a32c61 b0315b bc3754 c73e4c d24644 db503b e45a31 eb6628 f1731d f68013 f98e09 fb9d07 "
    "fcac11 fbbc21 f9cb35 f5db4c f2ea69 f3f68a fcffa4"
)
"""The palette inferno (Smith & van der Walt, CC0) at 33 even places; cold to warm."""

STOPS: tuple[str, ...] = tuple(f"#{colour}" for colour in _INFERNO.split())

Palette = Literal["inferno", "ironbow"]

_EVERY = 3  # of the 256 colours of a curve: 86 of them follow its steep beginning
_QUALITY = 88  # of WebP: no visible loss at the size of a tile
_LARGEST = 320  # px: enough for a tile on a dense screen

_MEDIA = MappingProxyType({"PNG": "image/png", "WEBP": "image/webp", "JPEG": "image/jpeg"})


def rgb_uri(signed: Tensor, *, largest: int = _LARGEST) -> str:
    """Return a ``(3 or 1, H, W)`` image in [-1, 1] as a data URI (WebP).

    One that is larger than ``largest`` px is scaled down.
    """
    pixels = _eight_bit(signed)
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    return _uri(_small(image.convert("RGB"), largest), "WEBP")


def thermal_uri(signed: Tensor) -> str:
    """Return a ``(1 or 3, H, W)`` thermal image in [-1, 1] as a grey data URI (PNG, lossless)."""
    return _uri(_small(Image.fromarray(_eight_bit(signed.mean(0, keepdim=True))[0])), "PNG")


def file_uri(path: Path, *, largest: int = 1600) -> str:
    """Return a picture from disk as a data URI, scaled down where it is larger than ``largest``.

    Raises:
        OSError: The file is missing or no picture.
    """
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    return _uri(image, "WEBP")


def coloured(signed: Tensor) -> Pixels:
    """Return ``(H, W, 3)`` colours of a thermal image in [-1, 1], for files of their own."""
    stops = np.array([[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in STOPS])
    share = ((signed.detach().float().mean(0).cpu().numpy() + 1) / 2).clip(0, 1)
    places = np.linspace(0, 1, len(stops))
    planes = [np.interp(share, places, stops[:, channel]) for channel in range(3)]
    result: Pixels = np.stack(planes, axis=-1).round().astype(np.uint8)
    return result


def filter_tables(palette: Palette = "inferno") -> tuple[str, str, str]:
    """Return a palette as ``tableValues`` of an SVG filter: red, green, blue."""
    if palette == "inferno":
        stops = np.array([[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in STOPS])
    else:
        stops = read_palette(palette)[::_EVERY]
    red, green, blue = (" ".join(f"{level / 255:.4g}" for level in plane) for plane in stops.T)
    return red, green, blue


def _eight_bit(signed: Tensor) -> Pixels:
    values = signed.detach().float().cpu().numpy()
    pixels: Pixels = ((values + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    return pixels


def _small(image: Image.Image, largest: int = _LARGEST) -> Image.Image:
    image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    return image


def _uri(image: Image.Image, form: str) -> str:
    buffer = io.BytesIO()
    if form == "WEBP":
        image.save(buffer, form, quality=_QUALITY, method=4)
    else:
        image.save(buffer, form, optimize=True)
    return f"data:{_MEDIA[form]};base64,{base64.b64encode(buffer.getvalue()).decode()}"
