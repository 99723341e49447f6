"""Contrast that was stretched frame by frame (AGC), told from sequences of frames.

Automatic gain control maps the coldest and the warmest pixel of each frame, or two quantiles, to
the ends of the range. What a pixel means then changes from frame to frame: a hand that comes into
view makes the face darker, and breathing at the nostrils flickers over the whole picture.

Two signs are asked for together. The ends of the range are reached in nearly every frame, and by
a handful of pixels or by the same share of them, where a fixed window that is too narrow cuts off
more, and changing, parts. And all levels change in unison: a line through the levels of two frames
explains more of their differences than equality does. Of 45 clips of a real radiometric camera,
as they are and in four fixed windows of 8 bits, none shows both signs; 44 do when each frame is
stretched to its ends or to its 1 % or 5 % quantiles, and 37 to 44 when it is saved as JPEG, too
(``tools/probe_audit.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cycada import image_reading, images
from cycada.data.auditing.finding import Example, Finding, some
from cycada.data.auditing.looks import CELLS, Seen
from cycada.errors import DataError

Levels = NDArray[np.float64]

PINNED = 0.9
"""Share of the frames whose darkest and brightest values are those of the others."""

HANDFUL = 0.003
"""Share of the pixels at an end that a stretch to the darkest and brightest pixel leaves; fixed
windows that cut off both ends leave more at one of them at least."""

EVEN = 1.5
"""Ratio of the 90 % to the 10 % quantile of the shares at one end, with a stretch to quantiles at
most; and half the ratio of the two ends."""

MOVES = 1.04
"""75 % quantile over pairs of frames of how much better a line explains them than equality does,
at least; still phantoms in a fixed window have up to 1.03, people walking by more."""

LEAPS = 2.2
"""The same, which proves a stretch even where the ends are blurred, as in JPEG; people walking by
in a fixed window have up to 1.9."""

_LEAST = 8  # frames of a sequence
_READ = 33  # frames of a sequence that are read
_SEQUENCES = 32  # that are judged, in even steps
_JPEG = 3  # levels of 255 by which a JPEG misses the ends
_FEW_CELLS = 200  # within the range, without which a pair of frames is not judged
_ALIKE = 0.9  # correlation below which two frames do not follow each other
_SHOWN = 4


class _Ends(NamedTuple):
    """How a sequence reaches the ends of its range."""

    pinned: bool  # to equal values
    nearly: bool  # of 8 bits: to nearly those of the range
    few: bool  # by a handful of pixels
    even: bool  # by the same share


def audit_sequences(seen: Sequence[Seen]) -> list[Finding]:
    """Return the thermal sequences whose contrast was stretched frame by frame."""
    groups: dict[Path, dict[tuple[str, str], list[Seen]]] = {}
    for one in seen:
        if one.face.domain == "thermal" and one.face.sequence and not one.look.problem:
            key = (one.face.subject, one.face.sequence)
            groups.setdefault(one.root, {}).setdefault(key, []).append(one)
    found = []
    for root, sequences in groups.items():
        long = [frames for frames in sequences.values() if len(frames) >= _LEAST]
        steps = np.linspace(0, len(long) - 1, min(len(long), _SEQUENCES)).astype(int)
        judged = [_in_order(long[step]) for step in steps.tolist()]
        stretched = [frames for frames in judged if is_stretched(frames)]
        if stretched:
            found.append(_finding(root, stretched, len(judged)))
    return found


def is_stretched(frames: Sequence[Seen]) -> bool:
    """Tell whether the contrast of a sequence was stretched frame by frame.

    Args:
        frames: At least 8, in their order; where some are missing, those before and after are
            not compared unless they are alike.
    """
    ends = _ends(frames)
    if not (ends.pinned or ends.nearly):
        return False  # without reading a frame again
    unison = in_unison(_levels(frames))
    if unison is None:
        return False
    if ends.pinned and (ends.few or ends.even) and unison >= MOVES:
        return True
    return unison >= LEAPS


def in_unison(levels: Sequence[Levels]) -> float | None:
    """Return how much better a line explains the levels of successive frames than equality.

    Args:
        levels: The same places of each frame.

    Returns:
        75 % quantile over the pairs of the ratio of median absolute differences; ``None`` where
        fewer than five pairs of frames follow each other.
    """
    low, high = min(map(np.min, levels)), max(map(np.max, levels))
    margin = 0.02 * (high - low)
    ratios = []
    for before, after in pairwise(levels):
        inside = np.ones(len(before), dtype=bool)
        for frame in (before, after):
            inside &= (frame > low + margin) & (frame < high - margin)
        if inside.sum() < _FEW_CELLS:
            continue
        x, y = before[inside], after[inside]
        if x.std() * y.std() == 0 or np.corrcoef(x, y)[0, 1] < _ALIKE:
            continue
        explained = max(_residual(x, y), 1e-6 * (high - low))
        ratios.append(float(np.median(np.abs(y - x))) / explained)
    return float(np.quantile(ratios, 0.75)) if len(ratios) >= 5 else None


def _residual(x: Levels, y: Levels) -> float:
    """Return the median distance from a line that what moves does not bend."""
    kept = np.ones(len(x), dtype=bool)
    distance = np.zeros(len(x))
    for _ in range(6):
        centre, height = x[kept].mean(), y[kept].mean()
        spread = ((x[kept] - centre) ** 2).sum()
        slope = ((x[kept] - centre) * (y[kept] - height)).sum() / max(spread, 1e-12)
        distance = np.abs(y - height - slope * (x - centre))
        kept = distance <= 3 * max(float(np.median(distance)), 1e-9)
    return float(np.median(distance))


def _ends(frames: Sequence[Seen]) -> _Ends:
    looks = [one.look for one in frames]
    lows, highs = Counter(look.low for look in looks), Counter(look.high for look in looks)
    (low, at_low), (high, at_high) = lows.most_common(1)[0], highs.most_common(1)[0]
    shares = np.array([(look.low_share, look.high_share) for look in looks])
    least, most = np.quantile(shares, 0.1, axis=0), np.quantile(shares, 0.9, axis=0)
    return _Ends(
        pinned=low < high and min(at_low, at_high) >= PINNED * len(looks),
        nearly=all(look.bits == 8 for look in looks)
        and min(
            sum(look.low <= _JPEG for look in looks),
            sum(look.high >= 255 - _JPEG for look in looks),
        )
        >= PINNED * len(looks),
        few=bool((most <= HANDFUL).all()),
        even=bool(
            (most <= EVEN * least).all() and most.max() <= 2 * most.min() and most.max() <= 0.12
        ),
    )


def _in_order(frames: Sequence[Seen]) -> list[Seen]:
    """Return the frames by their numbers, or as the index has them where it gives none."""
    if any(one.face.frame is None for one in frames):
        return list(frames)
    return sorted(frames, key=lambda one: one.face.frame or 0)


def _levels(frames: Sequence[Seen]) -> list[Levels]:
    found = []
    start = (len(frames) - _READ) // 2 if len(frames) > _READ else 0
    for one in frames[start : start + _READ]:
        try:
            image = image_reading.read_image(one.file)
        except DataError:  # gone since it was looked at
            continue
        grey = images.with_channels(image.float(), 1)
        found.append(images.resize(grey, CELLS).flatten().double().numpy())
    return found


def _finding(root: Path, stretched: Sequence[Sequence[Seen]], judged: int) -> Finding:
    first = stretched[0][0]
    named = [f"{frames[0].face.sequence} of {frames[0].face.subject}" for frames in stretched]
    unit = first.info.unit
    harm = (
        f"they cannot count {unit}: export temperatures"
        if unit != "grey"
        else "the same shade means another temperature in each frame, and breathing flickers "
        "over the whole picture: record with automatic gain control switched off"
    )
    return Finding(
        severity="warning" if unit == "grey" else "error",
        check="stretch",
        text=f"thermal images of {root}: the contrast of {len(stretched)} of {judged} sequences "
        f"was stretched frame by frame ({some(named)}); {harm}, or map all frames by one window.",
        examples=tuple(
            Example(
                tuple(one.file for one in frames[:: max(1, len(frames) // 4)][:4]),
                f"frames of {frames[0].face.sequence}, {frames[0].face.subject}",
            )
            for frames in stretched[:_SHOWN]
        ),
        splits=frozenset(one.face.split for frames in stretched for one in frames),
    )
