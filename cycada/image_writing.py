"""Tensors -> image files, whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cycada.errors import DataError, reason
from cycada.files import replacing, sync

_JPEG = (".jpg", ".jpeg")
_FORMATS: Mapping[str, str] = MappingProxyType(
    {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
)
_JPEG_QUALITY = 95  # with full colour resolution: visibly lossless
_PNG_LEVEL = 4  # three times as fast as zlib's usual 6, for files a few per cent larger


def write_image(path: Path | str, image: Tensor, *, synced: bool = True) -> None:
    """Write an image whole or not at all, without metadata; make missing folders.

    Args:
        path: its suffix chooses the format: PNG, JPEG or TIFF for uint8; PNG or TIFF for
            uint16; TIFF or NPY for float32; NPY holds all three. Three channels of uint16 or
            float32 need NPY.
        image: ``(C, H, W)`` or ``(H, W)`` as ``read_image`` gives it.
        synced: whether a power cut may not tear the file either, once it has its name: who
            continues takes what has its name for whole. Whoever syncs many at once does without.

    Raises:
        DataError: the format cannot hold the values, or the file cannot be written.
    """
    path = Path(path)
    pixels = _writable(path, image)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, synced=False) as temporary:
            if path.suffix.lower() == ".npy":
                np.save(temporary, pixels)
            else:
                _save(pixels, temporary, path.suffix)
            if synced:
                sync([temporary])
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({reason(error)}).") from error


def encode_image(image: Tensor, name: str) -> bytes:
    """Return the file that :func:`write_image` would write, without writing it.

    Args:
        image: as :func:`write_image` takes it.
        name: its suffix chooses the format; not NPY.

    Raises:
        DataError: the format cannot hold the values.
    """
    pixels = _writable(Path(name), image)
    content = io.BytesIO()
    _save(pixels, content, Path(name).suffix)
    return content.getvalue()


def encode_png(image: Tensor) -> bytes:
    """Return the PNG that :func:`write_image` would write, without a file.

    Args:
        image: ``(C, H, W)`` uint8, or ``(1, H, W)`` uint16.
    """
    return encode_image(image, "image.png")


def _writable(path: Path, image: Tensor) -> NDArray[Any]:
    """Return the pixels as writers take them, if the format of ``path`` can hold them."""
    suffix = path.suffix.lower()
    if image.ndim == 2:
        image = image[None]
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"an image is (1 or 3, H, W), not {tuple(image.shape)}")
    if image.dtype not in (torch.uint8, torch.uint16, torch.float32):
        raise ValueError(f"an image file holds uint8, uint16 or float32, not {image.dtype}")
    if suffix not in _formats(image):
        kind = f"{image.shape[0]}-channel {str(image.dtype).removeprefix('torch.')}"
        fit = ", ".join(_formats(image))
        raise DataError(f"{path}: {suffix or 'no suffix'} holds no {kind} image; use {fit}.")
    planes = image.detach().cpu().contiguous().numpy()
    return np.ascontiguousarray(planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0))


def _save(pixels: NDArray[Any], target: Path | io.BytesIO, suffix: str) -> None:
    options: dict[str, Any] = {}
    if suffix.lower() in _JPEG:
        options = {"quality": _JPEG_QUALITY, "subsampling": 0}
    elif suffix.lower() == ".png":
        options = {"compress_level": _PNG_LEVEL}
    Image.fromarray(pixels).save(target, format=_FORMATS[suffix.lower()], **options)


def _formats(image: Tensor) -> tuple[str, ...]:
    if image.dtype == torch.uint8:
        return (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy")
    if image.shape[0] == 3:
        return (".npy",)
    if image.dtype == torch.uint16:
        return (".png", ".tif", ".tiff", ".npy")
    return (".tif", ".tiff", ".npy")
