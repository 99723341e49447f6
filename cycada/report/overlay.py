"""Frames with what was detected on them: the face, turned as found, and a bar for each answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cycada.action_units import meaning
from cycada.data.detections import Detected
from cycada.report.images import Pixels, coloured

_LEAST_HEIGHT = 480  # px; smaller frames are enlarged, so that the text beside them can be read
_PANEL = 300  # px
_INK, _PAPER, _QUIET = (238, 238, 238), (24, 24, 28), (110, 110, 118)
_PRESENT, _BOX = (255, 166, 64), (92, 214, 255)


def overlaid(signed: Tensor, found: Detected, *, names: Sequence[str]) -> Pixels:
    """Return a frame with its face marked, beside a panel of what was detected.

    Args:
        signed: ``(1 or 3, H, W)`` in [-1, 1]; one channel is shown in false colours.
        found: What is said of it.
        names: The answers, such as ``AU01``, in their order.

    Returns:
        ``(height, width, 3)``, both even, as video needs it; the same for frames of one size.
    """
    pixels = coloured(signed) if len(signed) == 1 else _plain(signed)
    frame = Image.fromarray(pixels)
    scale = max(1, math.ceil(_LEAST_HEIGHT / frame.height))
    frame = frame.resize((frame.width * scale, frame.height * scale), Image.Resampling.BICUBIC)
    size = (2 * math.ceil((frame.width + _PANEL) / 2), 2 * math.ceil(frame.height / 2))
    canvas = Image.new("RGB", size, _PAPER)
    canvas.paste(frame, (0, 0))
    draw = ImageDraw.Draw(canvas)
    if found.box is not None:
        draw.polygon(
            [(x * scale, y * scale) for x, y in _corners(found.box, found.angle)],
            outline=_BOX if found.success else _QUIET, width=2,
        )  # fmt: skip
    _panel(draw, found, names, left=frame.width + 14, height=frame.height)
    return np.asarray(canvas)


def _plain(signed: Tensor) -> Pixels:
    values = ((signed.float().cpu().numpy() + 1) * 127.5).round().clip(0, 255)
    return np.ascontiguousarray(values.astype(np.uint8).transpose(1, 2, 0))


def _corners(box: tuple[float, float, float, float], angle: float) -> list[tuple[float, float]]:
    """Return the corners of a box turned clockwise about its centre."""
    left, top, width, height = box
    centre = left + width / 2, top + height / 2
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    ends = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return [
        (
            centre[0] + cosine * x * width / 2 - sine * y * height / 2,
            centre[1] + sine * x * width / 2 + cosine * y * height / 2,
        )
        for x, y in ends
    ]


def _panel(
    draw: ImageDraw.ImageDraw, found: Detected, names: Sequence[str], *, left: int, height: int
) -> None:
    rows = len(names) + 2
    tall = min(26, (height - 8) / rows)
    font = ImageFont.load_default(max(8.0, tall * 0.62))
    time = "" if found.timestamp is None else f"   {found.timestamp:.2f} s"
    draw.text((left, 4), f"frame {found.frame}{time}", fill=_INK, font=font)
    if found.reason:
        draw.text((left, 4 + tall), found.reason, fill=_QUIET, font=font)
    if not found.success:
        return
    bar = left + _PANEL * 0.63, left + _PANEL - 62  # beside it, room for the intensity
    strengths = found.intensities or [math.nan] * len(names)
    answers = zip(
        names, found.probabilities, found.decisions, found.assessable, strengths, strict=True
    )
    for number, (name, said, decided, seen, strength) in enumerate(answers):
        top = 4 + tall * (number + 2)
        ink = _PRESENT if decided and seen else _INK if seen else _QUIET
        draw.text((left, top), f"{name} {meaning(name)}"[:28], fill=ink, font=font)
        if not seen:
            draw.text((bar[0], top), "not seen", fill=_QUIET, font=font)
            continue
        draw.rectangle((bar[0], top + 3, bar[1], top + tall - 5), outline=_QUIET)
        reach = bar[0] + (bar[1] - bar[0]) * said
        draw.rectangle((bar[0], top + 3, reach, top + tall - 5), fill=ink)
        if not math.isnan(strength):
            draw.text((bar[1] + 8, top), f"{strength:.1f}", fill=ink, font=font)
