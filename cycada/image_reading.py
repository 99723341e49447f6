"""Image files -> tensors, with the values of the file.

The dtype says the range: uint8, uint16 and, for temperatures, float32. Images are ``(C, H, W)``
with 1 or 3 channels. Networks see what :mod:`cycada.images` makes of them.
"""

from __future__ import annotations

import io
import math
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from cycada.errors import DataError, reason
from cycada.files import check_regular

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy"})
"""Suffixes (in lower case) of the files that are read and written."""

MOST_PIXELS = 178_956_970
"""Pixels of the largest image that is read; Pillow, too, refuses more. A few packed kB can hold
so many, and no face needs them."""

_IN_MEMORY = ("PNG", "JPEG", "TIFF")  # of the many that Pillow knows, some start other programs
_LARGEST_BYTE = 255
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)  # EXIF: turned by 90 degrees, one way or the other
_BITS, _DESCRIPTION, _STRIP_BYTES = 258, 270, 279  # tags of TIFF
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_NOTES = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")


def read_image(path: Path | str) -> Tensor:
    """Read an image with the values of the file.

    JPEG orientation is applied; palettes become RGB; an opaque alpha channel is dropped. NPY
    arrays may be ``(H, W)``, ``(H, W, C)`` or ``(C, H, W)``.

    Returns:
        ``(C, H, W)``, C 1 or 3; uint8, uint16 (exact) or float32. Three channels of the latter two
        come from NPY alone.

    Raises:
        DataError: the file is missing, broken, or of a kind that would lose values.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        known = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"{path}: {suffix or 'no suffix'} is no image format; known are {known}.")
    check_regular(path)
    try:
        pixels = _load_array(path) if suffix == ".npy" else _load_picture(path)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such image file.") from None
    except Exception as error:  # decoders raise anything on broken bytes
        raise _unreadable(path, error) from error
    return torch.from_numpy(image_planes(pixels, path))


def decode_image(content: bytes, name: str, *, most_pixels: int = MOST_PIXELS) -> Tensor:
    """Read an image that is in memory alone, with the values of the file.

    Args:
        content: a PNG, JPEG or TIFF; no other format is tried, whatever ``name`` says.
        name: what errors call it.
        most_pixels: an image with more is refused before it is unpacked.

    Returns:
        As :func:`read_image` gives it.

    Raises:
        DataError: it is broken, too large, or of a kind that would lose values.
    """
    path = Path(name)
    try:
        with Image.open(io.BytesIO(content), formats=_IN_MEMORY) as picture:
            _check_size(picture, name, most_pixels)
            pixels = _lone_picture(picture, path, len(content))
    except DataError:
        raise
    except Exception as error:  # decoders raise anything on broken bytes
        raise _undecodable(name, error) from error
    return torch.from_numpy(image_planes(pixels, path))


def from_pillow(picture: Image.Image, name: Path) -> Tensor:
    """Return a picture of Pillow as :func:`read_image` would give its file.

    Raises:
        DataError: it is broken, or of a kind that would lose values; ``name`` is named.
    """
    try:
        pixels = _pixels(picture, name)
    except DataError:
        raise
    except Exception as error:  # it may be decoded only here, and decoders raise anything
        raise _unreadable(name, error) from error
    return torch.from_numpy(image_planes(pixels, name))


def from_array(pixels: NDArray[Any], name: Path) -> Tensor:
    """Return ``(H, W)`` or ``(H, W, C)`` numbers as :func:`read_image` would give their NPY file.

    Raises:
        DataError: they are no image, or values would be lost; ``name`` is named.
    """
    return torch.from_numpy(image_planes(pixels, name))


def _check_size(picture: Image.Image, name: str, most_pixels: int) -> None:
    width, height = picture.size
    if width * height > most_pixels:
        raise DataError(
            f"{name}: has {width} x {height} pixels, more than the {most_pixels:,} that are taken "
            f"here."
        )


def count_pages(path: Path | str) -> int:
    """Return how many pictures a file holds: the pages of a TIFF; one in PNG and JPEG.

    Raises:
        DataError: the file is missing or broken.
    """
    path = Path(path)
    check_regular(path)
    try:
        with path.open("rb") as stream, Image.open(stream) as picture:
            return getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such image file.") from None
    except Exception as error:  # decoders raise anything on broken bytes
        raise _unreadable(path, error) from error


def read_pages(path: Path | str) -> Iterator[Tensor]:
    """Yield the pages of a TIFF one by one, each as ``read_image`` would give it alone.

    Raises:
        DataError: the file is missing, broken, or a page is of a kind that would lose values.
    """
    path = Path(path)
    check_regular(path)
    page = 0
    try:
        with path.open("rb") as stream, Image.open(stream) as picture:
            for page in range(getattr(picture, "n_frames", 1)):
                picture.seek(page)
                yield torch.from_numpy(image_planes(_pixels(picture, path), path))
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such image file.") from None
    except Exception as error:  # decoders raise anything on broken bytes
        raise DataError(
            f"{path}: page {page + 1} cannot be read as an image ({reason(error)})."
        ) from error


def read_size(path: Path | str) -> tuple[int, int]:
    """Return ``(height, width)`` of what :func:`read_image` would give.

    Only headers are read, except of the rare PNG that has notes, which may tell its orientation.

    Raises:
        DataError: the file is missing or broken.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        return tuple(read_image(path).shape[-2:])  # type: ignore[return-value]
    check_regular(path)
    try:
        with path.open("rb") as stream, Image.open(stream) as picture:
            return _upright_size(picture, stream)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such image file.") from None
    except Exception as error:  # decoders raise anything on broken bytes
        raise _unreadable(path, error) from error


def decode_size(content: bytes, name: str) -> tuple[int, int]:
    """Return ``(height, width)`` of what :func:`decode_image` would give; headers are read alone.

    Raises:
        DataError: it is broken, or no PNG, JPEG or TIFF; ``name`` is named.
    """
    try:
        stream = io.BytesIO(content)
        with Image.open(stream, formats=_IN_MEMORY) as picture:
            return _upright_size(picture, stream)
    except Exception as error:  # decoders raise anything on broken bytes
        raise _undecodable(name, error) from error


def _upright_size(picture: Image.Image, stream: BinaryIO) -> tuple[int, int]:
    width, height = picture.size
    plain = picture.format == "PNG" and not _has_notes(stream)
    turned = not plain and picture.getexif().get(_ORIENTATION, 1) in _LYING
    return (width, height) if turned else (height, width)


def _has_notes(stream: BinaryIO) -> bool:
    """Tell whether a PNG has chunks that may hold EXIF or XMP; its place is kept.

    They may follow the pixels, which Pillow would decode to get there.
    """
    place = stream.tell()
    stream.seek(len(_PNG_SIGNATURE))
    try:
        while len(head := stream.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind in _PNG_NOTES:
                return True
            stream.seek(length + 4, os.SEEK_CUR)  # the checksum, too
        return False
    finally:
        stream.seek(place)


def _load_picture(path: Path) -> NDArray[Any]:
    # Given a path, Pillow maps uncompressed TIFFs into memory and garbles those with an
    # orientation (seen with Pillow 13.0); given a stream, it reads them.
    with path.open("rb") as stream, Image.open(stream) as picture:
        return _lone_picture(picture, path, path.stat().st_size)


def _lone_picture(picture: Image.Image, path: Path, size: int) -> NDArray[Any]:
    """Return the pixels of an opened file of ``size`` bytes that holds one picture alone."""
    several = getattr(picture, "n_frames", 1) > 1
    if several and picture.format == "TIFF":
        raise DataError(
            f"{path}: holds several pages; save each page as a file, or make images of them "
            f"with cycada convert."
        )
    if several and picture.format != "MPO":  # a JPEG with a preview of itself
        raise DataError(f"{path}: is animated; save each of its pictures as a file.")
    _check_all_listed(picture, path, size)
    return _pixels(picture, path)


def _check_all_listed(picture: Image.Image, path: Path, size: int) -> None:
    """Refuse a TIFF of one page with more pictures after it, whose description alone names them.

    ImageJ writes stacks beyond 4 GB so ("images=20"), tifffile those that it is to truncate.
    """
    if picture.format != "TIFF":
        return
    tags: Any = picture.tag_v2  # type: ignore[attr-defined]
    description = str(tags.get(_DESCRIPTION, ""))
    found = (
        re.search(r"^images=(\d+)", description, re.MULTILINE) if "ImageJ" in description else None
    )
    truncated = re.search(r'"shape": \[(\d+), .*"truncated": true', description)
    count = int((found or truncated or ["", "1"])[1])
    # A page that was taken out of a stack may have kept the description of all.
    if count > 1 and size > count * sum(tags.get(_STRIP_BYTES, (math.inf,))):
        raise DataError(
            f"{path}: holds {count} pictures, but lists the first alone, as ImageJ writes very "
            f"large stacks; save it in parts, each picture a page, or as NPY."
        )


def _unreadable(path: Path, error: Exception) -> DataError:
    """Return what to say of a file that Pillow cannot open, with the way out where there is one."""
    if isinstance(error, UnidentifiedImageError):
        told = "it is broken or of an unknown kind"
        if "tif" in path.suffix.lower():
            told += "; known are 8 or 16 bits, or floats of 32 bits in one channel"
        return DataError(f"{path}: cannot be read as an image ({told}).")
    return DataError(f"{path}: cannot be read as an image ({reason(error)}).")


def _undecodable(name: str, error: Exception) -> DataError:
    """Return what to say of bytes that are not one of the formats that are tried in memory."""
    if isinstance(error, UnidentifiedImageError):
        return DataError(
            f"{name}: is no PNG, JPEG or TIFF that can be read: it is broken, or of another kind."
        )
    return _unreadable(Path(name), error)


def _pixels(picture: Image.Image, path: Path) -> NDArray[Any]:
    """Return the pixels of an opened picture, upright, refusing what would lose values."""
    if _is_deep_colour(picture):
        raise DataError(
            f"{path}: has 16 bits in each of several channels; save it with 8 bits "
            f"(colour) or one channel (temperature)."
        )
    picture.load()
    mode = picture.mode
    upright = ImageOps.exif_transpose(picture)
    if mode in ("F", "I") or mode.startswith("I;16"):
        return _array(upright)
    if mode == "1":
        return _array(upright.convert("L"))
    if mode not in ("L", "RGB", "P", "LA", "RGBA", "PA"):
        raise DataError(f"{path}: has colours of the kind {mode}; save it as grey or RGB.")
    if mode in ("LA", "RGBA", "PA") or "transparency" in picture.info:
        alpha = upright.convert("RGBA").getchannel("A")
        if alpha.getextrema() != (255, 255):
            raise DataError(
                f"{path}: has transparent pixels, whose colour is undefined; "
                f"save it upon a background."
            )
    return _array(upright if mode == "L" else upright.convert(_OPAQUE[mode]))


_OPAQUE = {"RGB": "RGB", "P": "RGB", "PA": "RGB", "RGBA": "RGB", "LA": "L"}


def _array(picture: Image.Image) -> NDArray[Any]:
    pixels: NDArray[Any] = np.asarray(picture)
    return pixels


def _is_deep_colour(picture: Image.Image) -> bool:
    """Tell whether Pillow would cut 16 bits per channel down to 8 without a word."""
    if picture.format == "TIFF":
        bits = picture.tag_v2.get(_BITS, ())  # type: ignore[attr-defined]
        return len(bits) > 1 and max(bits) > 8
    for tile in getattr(picture, "tile", ()):
        args = tile[3]
        mode = args[0] if isinstance(args, tuple) and args else args
        if isinstance(mode, str) and mode.startswith(("RGB", "LA")) and ";16" in mode:
            return True
    return False


def _load_array(path: Path) -> NDArray[Any]:
    # Mapped, so that the shape is known before memory is taken.
    loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(loaded, np.ndarray):
        raise DataError(f"{path}: holds several arrays; save one image as one .npy file.")
    if loaded.size > 3 * MOST_PIXELS:
        raise DataError(f"{path}: has the shape {loaded.shape}, more than is read as one image.")
    pixels: NDArray[Any] = np.array(loaded)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3):
        pixels = pixels.transpose(1, 2, 0)
    return pixels


def image_planes(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return ``(H, W)`` or ``(H, W, C)`` numbers as ``(C, H, W)`` of a dtype that images have.

    Raises:
        DataError: another shape or dtype, or values that would be lost; ``path`` is named.
    """
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.size == 0:
        raise DataError(
            f"{path}: an image has height, width and 1 or 3 channels, not the shape {pixels.shape}."
        )
    if pixels.dtype.kind == "f":
        odd = int(np.count_nonzero(~np.isfinite(pixels)))
        if odd:
            raise DataError(
                f"{path}: holds pixels that are not finite numbers, {odd} of {pixels.size}; crop "
                f"them off, or give them a temperature."
            )
        dtype: type[np.generic] = np.float32
    elif pixels.dtype == np.uint8:
        dtype = np.uint8
    elif pixels.dtype.kind in "iu":
        low, high = int(pixels.min()), int(pixels.max())
        if low < 0 or high > np.iinfo(np.uint16).max:
            raise DataError(f"{path}: holds values from {low} to {high}; 16 bits hold 0 to 65535.")
        if high <= _LARGEST_BYTE and pixels.dtype != np.uint16:
            raise DataError(
                f"{path}: holds {pixels.dtype} values up to {high}, which may be 8 or 16 bits; "
                f"save them as uint8 or uint16."
            )
        dtype = np.uint16
    else:
        raise DataError(f"{path}: holds {pixels.dtype} values; an image holds numbers.")
    return np.array(pixels.transpose(2, 0, 1), dtype=dtype, order="C")  # a copy: writable
