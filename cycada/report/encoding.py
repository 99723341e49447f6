"""Pictures as the page's script reads them: sprites of small ones, exact large ones.

A script may not read the pixels of a picture file beside a page that was opened from disk. So the
large ones travel as text in scripts: colours as a lossless data URI, temperatures as numbers of
16 bits.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from cycada import images

Codes = npt.NDArray[np.uint16]

LARGEST_CODE = 65535  # the code of 1; -1 is 0

_THUMB_QUALITY = 80  # of WebP
_THUMB_EFFORT = 2  # 0 to 6: 4 takes three times as long for the same size
_FULL_EFFORT, _FULL_QUALITY = 1, 20  # lossless: more than 20 takes ten times as long for 1 %


def thumbs_webp(pictures: Sequence[Tensor | None], side: int) -> bytes:
    """Return pictures in a row as one WebP, each within a square of ``side`` px.

    Args:
        pictures: ``(3 or 1, H, W)`` in [-1, 1]; ``None`` leaves its square empty.
        side: px; a multiple of 16, so that no block of the compression holds two pictures.
    """
    if side % 16:
        raise ValueError(f"thumbs of {side} px would colour each other; use a multiple of 16")
    squares = [_square(picture, side) for picture in pictures]
    row = np.concatenate(squares, axis=1)
    if (row[..., 3] == np.iinfo(np.uint8).max).all():
        row = row[..., :3]
    buffer = io.BytesIO()
    Image.fromarray(row).save(buffer, "WEBP", quality=_THUMB_QUALITY, method=_THUMB_EFFORT)
    return buffer.getvalue()


def lossless_uri(signed: Tensor) -> str:
    """Return a ``(3 or 1, H, W)`` image in [-1, 1] as a data URI that keeps its 8 bits (WebP)."""
    return bytes_uri(_bytes(signed))


def bytes_uri(pixels: npt.NDArray[np.uint8]) -> str:
    """Return ``(H, W, 3)`` pixels as a data URI that keeps them (WebP)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, method=_FULL_EFFORT,
                                 quality=_FULL_QUALITY)  # fmt: skip
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def thermal_codes(signed: Tensor) -> Codes:
    """Return a ``(1 or 3, H, W)`` thermal image in [-1, 1] as ``(H, W)`` codes of 16 bits."""
    values = signed.detach().float().mean(0).cpu().numpy()
    codes: Codes = ((values + 1) * (LARGEST_CODE / 2)).round().clip(0, LARGEST_CODE)
    return codes.astype(np.uint16)


def packed_codes(codes: Codes) -> str:
    """Return ``(H, W)`` codes as base64 of deflated bytes.

    Each row holds its first code and then the steps from code to code (modulo 2^16), of all rows
    the low bytes before the high ones: neighbours are alike, so that this deflates to about half.
    """
    steps = codes.copy()
    steps[:, 1:] -= codes[:, :-1]
    planes = np.concatenate([(steps & 0xFF).ravel(), (steps >> 8).ravel()]).astype(np.uint8)
    return base64.b64encode(zlib.compress(planes.tobytes(), 6)).decode()


def packed_shares(shares: Tensor) -> str:
    """Return ``(H, W)`` values in [0, 1] as base64 of bytes."""
    values = shares.detach().float().cpu().numpy()
    return base64.b64encode((values * 255).round().clip(0, 255).astype(np.uint8).tobytes()).decode()


def _square(picture: Tensor | None, side: int) -> npt.NDArray[np.uint8]:
    square = np.zeros((side, side, 4), dtype=np.uint8)
    if picture is None:
        return square
    height, width = picture.shape[-2:]
    scale = side / max(height, width)
    small = images.resize(
        picture.detach().float().cpu(),
        (max(1, round(height * scale)), max(1, round(width * scale))),
    )
    pixels = _bytes(small)
    top, left = ((side - length) // 2 for length in pixels.shape[:2])
    inside = square[top : top + pixels.shape[0], left : left + pixels.shape[1]]
    inside[..., :3] = pixels
    inside[..., 3] = np.iinfo(np.uint8).max
    return square


def _bytes(signed: Tensor) -> npt.NDArray[np.uint8]:
    """Return ``(H, W, 3)`` of 8 bits."""
    values = images.with_channels(signed.detach().float().cpu(), 3).numpy().transpose(1, 2, 0)
    pixels: npt.NDArray[np.uint8] = (
        ((values + 1) * 127.5).round().clip(0, 255).astype(np.uint8, order="C")
    )
    return pixels
