"""Image files <-> tensors; the only place that converts ranges.

The dtype says the range: uint8, uint16 and, for temperatures, float32 as in the file; float32
in [-1, 1] ("signed") everywhere else. Images are ``(C, H, W)`` with 1 or 3 channels.
"""

from __future__ import annotations

import io
import math
import os
import re
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cycada import thermal
from cycada.errors import DataError, reason
from cycada.files import check_regular, replacing, sync
from cycada.thermal import INTEGER_UNITS, Unit, Window

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy"})
"""Suffixes (in lower case) of the files that are read and written."""

MOST_PIXELS = 178_956_970
"""Pixels of the largest image that is read; Pillow, too, refuses more. A few packed kB can hold
so many, and no face needs them."""

_JPEG = (".jpg", ".jpeg")
_FORMATS: Mapping[str, str] = MappingProxyType(
    {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
)
_IN_MEMORY = ("PNG", "JPEG", "TIFF")  # of the many that Pillow knows, some start other programs
_JPEG_QUALITY = 95  # with full colour resolution: visibly lossless
_PNG_LEVEL = 4  # three times as fast as zlib's usual 6, for files a few per cent larger
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
_LARGEST_BYTE = 255
_EIGHT_BIT = 127.5
_SIXTEEN_BIT = 32767.5
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)  # EXIF: turned by 90 degrees, one way or the other
_BITS, _DESCRIPTION, _STRIP_BYTES = 258, 270, 279  # tags of TIFF
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_NOTES = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
_DETAIL_WINDOW = 5  # px
_DETAIL_GAIN = 4.0


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


def to_signed(image: Tensor, *, unit: Unit = "grey", window: Window | None = None) -> Tensor:
    """Map the values of a file to float32 in [-1, 1].

    Args:
        image: ``(C, H, W)`` or ``(B, C, H, W)``, uint8, uint16 or float32.
        unit: what the pixels count; ``"grey"`` spreads the whole range of the dtype.
        window: the temperatures that become -1 and 1, for all units but ``"grey"``.

    Raises:
        DataError: float32 without a unit, or 8 bits with one.
    """
    if unit != "grey":
        if window is None:
            raise ValueError(f"{unit} needs a temperature window")
        return thermal.to_signed(to_celsius(image, unit=unit), window)
    if image.dtype == torch.uint8:
        return image.to(torch.float32) / _EIGHT_BIT - 1
    if image.dtype == torch.uint16:
        return image.to(torch.float32) / _SIXTEEN_BIT - 1
    if image.dtype == torch.float32:
        raise DataError(
            "a float image needs the unit of its pixels (such as celsius): "
            "without one its range is unknown."
        )
    raise ValueError(f"an image holds uint8, uint16 or float32, not {image.dtype}")


def to_celsius(image: Tensor, *, unit: Unit) -> Tensor:
    """Return the temperatures of a file's pixels in deg C, float32, also beyond any window.

    Raises:
        DataError: 8 bits, or a unit without temperatures.
    """
    if image.dtype == torch.uint8:
        raise DataError(f"an 8-bit image cannot count {unit}; its unit is grey.")
    return thermal.celsius_from_counts(image, unit)


def from_signed(
    signed: Tensor, *, dtype: torch.dtype, unit: Unit = "grey", window: Window | None = None
) -> Tensor:
    """Return the values for a file; the exact inverse of ``to_signed`` within the window.

    Args:
        signed: any shape, in [-1, 1]; values beyond are clipped.
        dtype: uint8 (grey), uint16 (grey or an integer unit) or float32 (any temperature unit).
        unit: what the pixels of the file count.
        window: the temperatures of -1 and 1, for all units but ``"grey"``.
    """
    signed = signed.detach().to(torch.float32).clamp(-1, 1)
    if unit == "grey":
        if dtype == torch.uint8:
            return ((signed + 1) * _EIGHT_BIT).round().to(torch.uint8)
        if dtype == torch.uint16:
            return ((signed + 1) * _SIXTEEN_BIT).round().to(torch.int32).to(torch.uint16)
        raise ValueError(f"a grey image is uint8 or uint16, not {dtype}")
    if window is None:
        raise ValueError(f"{unit} needs a temperature window")
    if dtype == torch.uint16 and unit not in INTEGER_UNITS:
        raise ValueError(f"whole steps of 1 {unit} are too coarse for a face; use float32")
    if dtype not in (torch.uint16, torch.float32):
        raise ValueError(f"{unit} is written as uint16 or float32, not {dtype}")
    return thermal.counts_from_celsius(thermal.from_signed(signed, window), unit).to(dtype)


def with_channels(signed: Tensor, channels: int) -> Tensor:
    """Return ``(..., channels, H, W)``: the luminance of RGB, or grey three times."""
    found = signed.shape[-3]
    if found == channels:
        return signed
    if (found, channels) == (1, 3):
        return signed.expand(*signed.shape[:-3], 3, *signed.shape[-2:])
    if (found, channels) == (3, 1):
        weights = _luminance(signed.dtype, signed.device)
        return (signed * weights[:, None, None]).sum(-3, keepdim=True)
    raise ValueError(f"cannot turn {found} channels into {channels}")


@cache
def _luminance(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(_LUMINANCE, dtype=dtype, device=device)


def fine_detail(signed: Tensor) -> Tensor:
    """Return the amplified difference of ``(B, C, H, W)`` from its local mean.

    An AU shows in the temperature of a face as some tenths of a degree, a few per cent of the
    range, where the outline of the head spans all of it. Losses and networks that see the detail
    beside the image do not overlook it.
    """
    smooth = F.avg_pool2d(
        signed, _DETAIL_WINDOW, stride=1, padding=_DETAIL_WINDOW // 2, count_include_pad=False
    )
    return _DETAIL_GAIN * (signed - smooth)


def resize(image: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Resize a float image ``(..., H, W)`` to ``(height, width)`` or to a square, antialiased."""
    height, width = (size, size) if isinstance(size, int) else size
    if image.shape[-2:] == (height, width):
        return image
    flat = image.reshape(-1, 1, *image.shape[-2:])
    flat = F.interpolate(
        flat, size=(height, width), mode="bilinear", align_corners=False, antialias=True
    )
    return flat.reshape(*image.shape[:-2], height, width)


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


def _formats(image: Tensor) -> tuple[str, ...]:
    if image.dtype == torch.uint8:
        return (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy")
    if image.shape[0] == 3:
        return (".npy",)
    if image.dtype == torch.uint16:
        return (".png", ".tif", ".tiff", ".npy")
    return (".tif", ".tiff", ".npy")
