"""The values of images: of files, of networks, in degrees; the only place that converts ranges.

The dtype says the range: uint8, uint16 and, for temperatures, float32 as in the file; float32
in [-1, 1] ("signed") everywhere else. Images are ``(C, H, W)`` with 1 or 3 channels.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cycada import thermal
from cycada.errors import DataError
from cycada.thermal import INTEGER_UNITS, Unit, Window

_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
_EIGHT_BIT = 127.5
_SIXTEEN_BIT = 32767.5
_DETAIL_WINDOW = 5  # px
_DETAIL_GAIN = 4.0


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
