"""Palettes of colour thermal pictures, and the way back from their colours.

A palette is a curve through colour space, from cold to hot. A pixel that lies on it tells where it
stands between the two; one that lies beside it tells nothing, and its picture is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cycada.errors import DataError, UsageError
from cycada.footage import flir
from cycada.footage.frames import Pixels
from cycada.footage.packages import optional
from cycada.image_reading import read_image

Curve = NDArray[np.float64]  # (N, 3) RGB from 0 to 255, from cold to hot

NAMES = ("grey", "ironbow", "hot", "jet", "rainbow")
MAPS = ("cividis", "inferno", "magma", "plasma", "turbo", "viridis")
"""Colour maps of matplotlib, whose tables come with the package flyr."""

# Euclidean distances in RGB, of 255. JPEG at quality 75 with halved chroma moves 1% of the pixels
# of a sharp thermal picture by up to 27 and single ones by up to 63 (measured with jet, the
# steepest of the palettes); half of them stay within 3.
EXACT = 8.0  # a picture without losses: every pixel lies as near as that
LOSSY_HALF, LOSSY_MOST, LOSSY_ALL = 8.0, 32.0, 72.0  # half of the pixels, 99%, all of them

_STEPS = 256
_AMBIGUOUS = 0.1  # of the length of a curve: nearer neighbours may look alike
_CHUNK = 4096

# Position from cold to hot, red, green, blue: every bend of the curve that is published as FLIR's
# "ironbow" (433 colours, passed on since 2013 by the ExifTool forum and Stack Overflow 28495390);
# straight lines between them stay within 4 of it.
_IRONBOW = (
    (0.000, 0, 0, 10), (0.009, 0, 0, 42), (0.035, 1, 0, 85), (0.065, 11, 0, 115),
    (0.106, 40, 0, 137), (0.146, 69, 0, 150), (0.222, 126, 0, 157), (0.282, 166, 0, 154),
    (0.329, 186, 4, 149), (0.384, 203, 19, 133), (0.421, 212, 34, 110), (0.444, 219, 46, 90),
    (0.488, 228, 65, 29), (0.521, 234, 78, 12), (0.611, 244, 115, 0), (0.803, 254, 203, 1),
    (0.840, 255, 218, 14), (0.868, 255, 227, 40), (0.900, 255, 238, 87), (0.951, 255, 247, 179),
    (1.000, 255, 255, 246),
)  # fmt: skip


def read_palette(given: str) -> Curve:
    """Return a palette by name, or from a file.

    Args:
        given: one of ``NAMES`` or ``MAPS``; a radiometric JPEG, whose own palette is meant; or a
            picture of a colour bar, cold at its left or lower end.

    Raises:
        UsageError: no such name and no such file, or a package is missing.
        DataError: the file holds no palette, or one that shows two temperatures alike.
    """
    if given in NAMES:
        return _defined(given)
    if given in MAPS:
        tables = optional("flyr.palettes", extra="flir", what=f"the palette {given}").palettes
        return np.asarray(tables[given], dtype=np.float64)
    file = Path(given)
    if not file.is_file():
        raise UsageError(
            f"--palette {given}: is none of {', '.join((*NAMES, *MAPS))}, nor a file (a picture "
            f"of a colour bar, or a radiometric JPEG of the same camera)."
        )
    curve = flir.palette(file) if flir.is_radiometric(file) else _colour_bar(file)
    _check_unambiguous(curve, file)
    return curve


def positions(pixels: Pixels, curve: Curve, *, lossy: bool) -> Pixels:
    """Return where each pixel stands on a palette, 0 cold to 255 hot.

    Args:
        pixels: ``(3, H, W)`` uint8.
        curve: of the palette.
        lossy: whether compression has moved the colours; then half of the pixels must lie within
            ``LOSSY_HALF`` of the curve, 99% within ``LOSSY_MOST`` and all within ``LOSSY_ALL``,
            else all within ``EXACT``.

    Returns:
        ``(1, H, W)`` uint8.

    Raises:
        DataError: the colours are not those of the palette.
    """
    red, green, blue = pixels.astype(np.int32)
    packed, back = np.unique((red << 16) | (green << 8) | blue, return_inverse=True)
    colours = np.stack([packed >> 16, (packed >> 8) & 255, packed & 255], axis=1).astype(float)
    nearest = np.empty(len(colours), dtype=np.int64)
    away = np.empty(len(colours))
    for start in range(0, len(colours), _CHUNK):
        some = slice(start, start + _CHUNK)
        # |a - b|^2 as |a|^2 - 2 ab + |b|^2, one product of matrices: right to 1e-9 in float64.
        squares = (curve**2).sum(1) - 2 * colours[some] @ curve.T
        nearest[some] = squares.argmin(1)
        own = (colours[some] ** 2).sum(1)
        away[some] = np.sqrt(np.maximum(squares.min(1) + own, 0))
    _check_near(away[back.ravel()], lossy=lossy)
    grey = np.round(nearest * (255 / (len(curve) - 1))).astype(np.uint8)
    return grey[back].reshape(1, *red.shape)


def _check_near(away: NDArray[Any], *, lossy: bool) -> None:
    limits = ((50, LOSSY_HALF), (99, LOSSY_MOST), (100, LOSSY_ALL)) if lossy else ((100, EXACT),)
    for share, limit in limits:
        found = float(np.percentile(away, share))
        if found > limit:
            which = {50: "half of the pixels lie", 99: "1% lie", 100: "some lie"}[share]
            raise DataError(
                f"its colours are not those of the palette: {which} {found:.0f} or more away from "
                f"it (of 255; allowed is {limit:g}). A scale, a logo or a photograph in the "
                f"picture, another palette or a strong compression would explain that."
            )


def _defined(name: str) -> Curve:
    t = np.linspace(0, 1, _STEPS)
    if name == "grey":
        return np.stack([t, t, t], axis=1) * 255
    if name == "ironbow":
        place, *channels = np.asarray(_IRONBOW).T
        return np.stack([np.interp(t, place, channel) for channel in channels], axis=1)
    if name == "hot":  # red, then green, then blue fade in (MATLAB's definition)
        return np.asarray(np.stack([t * 8 / 3, t * 8 / 3 - 1, t * 4 - 3], axis=1).clip(0, 1) * 255)
    centres = np.array([3, 2, 1])
    if name == "jet":  # trapezoids around 3/4, 1/2 and 1/4 (MATLAB's definition)
        return np.asarray((1.5 - np.abs(4 * t[:, None] - centres)).clip(0, 1) * 255)
    # The hues from blue (240 degrees) to red, fully saturated: each channel by its distance from
    # its own hue.
    hue = 4 - 4 * t  # in sixths of the circle
    channels = [np.abs(hue - 3) - 1, 2 - np.abs(hue - 2), 2 - np.abs(hue - 4)]
    return np.asarray(np.stack(channels, axis=1).clip(0, 1) * 255)


def _colour_bar(file: Path) -> Curve:
    """Return the colours along the middle of the longer side."""
    pixels = read_image(file).numpy()
    if pixels.dtype != np.uint8 or len(pixels) != 3:
        raise DataError(f"{file}: a colour bar is a picture in colour with 8 bits.")
    _, height, width = pixels.shape
    if max(height, width) < 32:
        raise DataError(f"{file}: a colour bar is 32 px long or longer, this one {width}x{height}.")
    line = pixels[:, height // 2] if width >= height else pixels[:, ::-1, width // 2]
    return line.T.astype(np.float64)


def _check_unambiguous(curve: Curve, file: Path) -> None:
    place = np.linspace(0, 1, len(curve))
    far = np.abs(place[:, None] - place) > _AMBIGUOUS
    away = np.sqrt(((curve[:, None] - curve) ** 2).sum(-1))
    if (away[far] < EXACT).any():
        raise DataError(
            f"{file}: its palette passes twice through the same colour, so that two temperatures "
            f"look alike."
        )
