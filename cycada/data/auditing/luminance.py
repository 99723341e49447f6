"""Thermal images that are the luminance of colour images, as they are or inverted.

A thermal camera does not see light. A "thermal" image that any tone curve makes out of the
luminance of a colour image comes from a converter, and what is learned from it is of no use.

Where an index names pairs, the ranks of the pixels tell: whatever the curve, equal luminance means
an equal shade. Without pairs they tell only if the colour images that were converted are in the
index, too (the same picture, bright for dark), or if there are many faces aligned in the same way:
then the mean of the converted faces is the mean colour face in grey, even if other people were
converted. A few inverted images of unknown origin look like thermal ones, and nothing here finds
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cycada import image_reading, images
from cycada.data.auditing.alike import CLOSELY, comparable, same_pictures
from cycada.data.auditing.finding import Example, Finding, Severity, some
from cycada.data.auditing.looks import CELLS, PALETTE, Seen, cells_of, detail, readable
from cycada.errors import DataError

FOLLOWS = 0.9
"""Median over pairs of the correlation of ranks from which thermal follows luminance. Pairs of
phantoms have 0.37 (single ones up to 0.91), inverted images with noise of 3 levels 0.99, of half
the resolution 0.96."""

MEAN_FOLLOWS = 0.9
"""Correlation of the mean images, and of their detail, from which one is made of the other. The
mean of 30 portraits and that of 30 others, inverted, have -0.95 and less; thermal faces and
portraits, real or phantoms, up to 0.50 and 0.20."""

_PAIRS = 24  # looked at of each index, in even steps
_FEWEST_PAIRS = 4
_FEWEST_FACES, _MANY_FACES = 30, 2000  # of a mean
_SIDE = 64
_SHOWN = 6


class _Pair(NamedTuple):
    rgb: Path
    thermal: Path
    made: bool  # by a translator, from the RGB image
    row: Seen


def audit_luminance(seen: Sequence[Seen]) -> list[Finding]:
    """Return whether thermal images are made of the luminance of colour images."""
    found = _paired(seen)
    named = {place for finding in found for example in finding.examples for place in example.files}
    fit = [one for one in readable(seen) if not one.face.origin and one.file not in named]
    rgb = [one for one in fit if one.face.domain == "rgb"]
    thermal = [
        one for one in fit if one.face.domain == "thermal" and one.look.colour <= PALETTE
    ]  # fmt: skip
    copies = _copies(rgb, thermal)
    if copies is not None:
        found.append(copies)
    elif not found:
        found += _means(rgb, thermal)
    return found


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Return Spearman's correlation of two images; equal values share their mean rank."""
    here, there = _ranks(one.flatten().numpy()), _ranks(other.flatten().numpy())
    if here.std() * there.std() == 0:
        return 0.0
    return float(np.corrcoef(here, there)[0, 1])


def _ranks(values: NDArray[np.float32]) -> NDArray[np.float64]:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: NDArray[np.float64] = (last - (count - 1) / 2)[place.reshape(-1)]
    return ranks


def _paired(seen: Sequence[Seen]) -> list[Finding]:
    groups: dict[tuple[Path, bool], list[_Pair]] = {}
    for one in seen:
        pair = _pair_of(one)
        if pair is not None:
            groups.setdefault((one.root, pair.made), []).append(pair)
    found = []
    for (root, made), pairs in groups.items():
        steps = np.linspace(0, len(pairs) - 1, min(len(pairs), _PAIRS)).astype(int)
        judged = [
            (strength, pair)
            for pair in (pairs[step] for step in steps.tolist())
            if (strength := _strength(pair)) is not None
        ]
        follows = float(np.median([abs(strength) for strength, _ in judged])) if judged else 0.0
        if len(judged) < _FEWEST_PAIRS or follows < FOLLOWS:
            continue
        judged.sort(key=lambda one: -abs(one[0]))
        inverted = sum(strength < 0 for strength, _ in judged) > len(judged) / 2
        # A translator that has learned no more than to invert is a poor one, but no wrong data.
        severity: Severity = "warning" if made else "error"
        cause = (
            "the translator has learned little else: train it longer, or with other settings"
            if made
            else "a camera does not see light: look where these images come from"
        )
        found.append(
            Finding(
                severity=severity,
                check="luminance",
                text=f"thermal images of {root}: they are the luminance of the colour images, "
                f"{'inverted' if inverted else 'as it is'} (ranks of the pixels correlate by "
                f"{follows:.2f} in the median of {len(judged)} pairs); {cause}.",
                examples=tuple(
                    Example((pair.rgb, pair.thermal), f"ranks correlate by {strength:.2f}")
                    for strength, pair in judged[:_SHOWN]
                ),
                splits=frozenset(pair.row.face.split for _, pair in judged),
            )
        )
    return found


def _pair_of(one: Seen) -> _Pair | None:
    face = one.face
    if face.origin:
        return _Pair(one.root / face.origin, one.file, made=True, row=one)
    if not face.pair:
        return None
    other = one.root / face.pair
    rgb, thermal = (one.file, other) if face.domain == "rgb" else (other, one.file)
    return _Pair(rgb, thermal, made=False, row=one)


def _strength(pair: _Pair) -> float | None:
    try:
        both = [
            images.resize(images.with_channels(image_reading.read_image(file).float(), 1), _SIDE)
            for file in (pair.rgb, pair.thermal)
        ]
    except DataError:
        return None
    return rank_correlation(*both)


def _copies(rgb: Sequence[Seen], thermal: Sequence[Seen]) -> Finding | None:
    """Return whether thermal images show the very pictures of colour images."""
    known = {one.look.digest: one for one in rgb if one.look.high > one.look.low}
    pairs = [
        (known[one.look.digest], one, 1.0) for one in thermal if one.look.digest in known
    ]  # fmt: skip
    equal = {one.file for _, one, _ in pairs}
    rest = [one for one in comparable(thermal) if one.file not in equal]
    for match in same_pictures(rest, comparable(rgb), inverted=True):
        if not _are_paired(match.one, match.other):
            pairs.append((match.other, match.one, match.likeness))
    if not pairs:
        return None
    least = "at least " if len(pairs) >= CLOSELY else ""
    told = some([f"{one.place} of {other.place}" for other, one, _ in pairs], most=2)
    return Finding(
        severity="error",
        check="luminance",
        text=f"{least}{len(pairs)} of {len(thermal)} thermal images are the luminance of a colour "
        f"image, as it is or inverted: {told}; a camera does not see light: look where these "
        "images come from.",
        examples=tuple(
            Example((other.file, one.file), f"detail correlates by {likeness:.2f}")
            for other, one, likeness in pairs[:_SHOWN]
        ),
        splits=frozenset(one.face.split for _, one, _ in pairs),
    )


def _are_paired(one: Seen, other: Seen) -> bool:
    return one.root == other.root and (
        one.face.pair == other.face.path or other.face.pair == one.face.path
    )


def _means(rgb: Sequence[Seen], thermal: Sequence[Seen]) -> list[Finding]:
    """Return whether the mean thermal face is the mean colour face, as it is or inverted."""
    coloured = [one for one in rgb if one.look.colour > PALETTE]
    if min(len(coloured), len(thermal)) < _FEWEST_FACES:
        return []
    here, there = _mean(coloured), _mean(thermal)
    whole = float(np.corrcoef(here.flatten(), there.flatten())[0, 1])
    fine = float(detail(here[None])[0] @ detail(there[None])[0])
    if whole * fine <= 0 or min(abs(whole), abs(fine)) < MEAN_FOLLOWS:
        return []
    return [
        Finding(
            severity="warning",
            check="luminance",
            text=f"thermal images of {some(sorted({str(one.root) for one in thermal}))}: their "
            f"mean is the mean colour image{', inverted' if whole < 0 else ''} (correlation "
            f"{whole:.2f}, of the detail {fine:.2f}), as if they were made of colour images; look "
            "where they come from.",
            examples=(
                Example(
                    (coloured[0].file, thermal[0].file), "one image of each, not of one person"
                ),
            ),
        )
    ]


def _mean(seen: Sequence[Seen]) -> Tensor:
    """Return the mean of images of equal contrast, ``(CELLS, CELLS)``."""
    total = np.zeros((CELLS, CELLS))
    chosen = seen[:: 1 + len(seen) // _MANY_FACES]
    for one in chosen:
        cells = cells_of(one.look)
        total += (cells - cells.mean()) / max(float(cells.std()), 1e-6)
    return torch.from_numpy(total / len(chosen)).float()
