"""Several cameras in one thermal set, told by size, depth, noise, sharpness and temperature.

Cameras differ in what a domain classifier sees first: noise, blur, offset. If they lie differently
in the splits, or in the subjects with and without an AU, a network learns the camera.

Noise, sharpness and temperature are compared between groups (a recording, or the images of a
subject in a folder), by the medians of their images, for faces differ as much as cameras do. Two
cameras are reported if the groups form two heaps, by Ashman's D, the distance of the means over
the mean spread (Ashman, Bird & Zepf, AJ 1994).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from cycada.data.auditing.files import celsius, sets_of
from cycada.data.auditing.finding import Example, Finding, some
from cycada.data.auditing.looks import Seen, readable

APART, FEW = 4.0, 45.0
"""Ashman's D of two heaps is at least 4 + 45 / (number of groups). One heap that is cut in two
(normal, even or exponential; 8 to 100 groups) gets there in up to 1 % of draws. Of real sets, 40
groups of two cameras have 5.7 in sharpness where 5.1 is asked for, and the 20 of each of them 2.4
and 4.0 for 6.3; 45 clips of one camera have 3.5 in noise and 3.3 in temperature for 5.0, and 50
phantoms up to 3.3 for 4.9."""

BLURRED = 0.5
"""Difference of sharpness in octaves; the two real cameras differ by 0.63."""

NOISIER = 0.5
"""Difference of noise in octaves, a factor of 1.4. Clips of one camera form heaps 0.27 apart."""

WARMER = 2.0
"""Difference of temperature in K of the warm skin: more than people and rooms make."""

_GROUPS = 8  # below which no heaps are looked for
_HEAP, _HEAP_SHARE = 3, 0.2  # groups of the smaller heap at least
_SIZES = 4  # sizes at most; of more, the images are cut out, each as large as its face
_SHARE = 0.05  # of the images, of each size
_SHOWN = 3


class _Heaps(NamedTuple):
    """Groups of images in two heaps."""

    low: list[str]
    high: list[str]
    means: tuple[float, float]
    distance: float  # Ashman's D


def audit_cameras(seen: Sequence[Seen]) -> list[Finding]:
    """Return the thermal sets that seem to come from several cameras."""
    found = []
    for (root, domain), rows in sets_of(readable(seen)).items():
        if domain == "thermal":
            found += _sizes(rows, root)
            found += _heaps(rows, root)
    return found


def _sizes(rows: Sequence[Seen], root: Path) -> list[Finding]:
    """Return whether the set has a few sizes or depths, each of many images."""
    kinds = Counter((one.look.width, one.look.height, one.look.bits) for one in rows)
    if not 1 < len(kinds) <= _SIZES or min(kinds.values()) < _SHARE * len(rows):
        return []
    told = []
    for (width, height, bits), count in kinds.most_common():
        who = {
            one.face.subject for one in rows
            if (one.look.width, one.look.height, one.look.bits) == (width, height, bits)
        }  # fmt: skip
        told.append(
            f"{width} x {height} px with {bits} bits: {count} images, {_people(sorted(who))}"
        )
    firsts = [
        next(one.file for one in rows
             if (one.look.width, one.look.height, one.look.bits) == kind)
        for kind in kinds
    ]  # fmt: skip
    return [
        _finding(root, f"of different sizes or depths ({'; '.join(told)})", firsts, rows)
    ]  # fmt: skip


def _heaps(rows: Sequence[Seen], root: Path) -> list[Finding]:
    groups: dict[str, list[Seen]] = {}
    for one in rows:
        groups.setdefault(_group(one), []).append(one)
    radiometric = rows[0].info.unit != "grey"
    measures: list[tuple[str, str, float, Callable[[Seen], float]]] = [
        ("sharpness", "octaves", BLURRED, lambda one: one.look.sharpness)
    ]
    if all(one.look.bits > 8 for one in rows):  # 8 bits are too coarse to show the noise
        measures.append(("noise", "octaves", NOISIER, _log_noise))
    if radiometric:
        measures.append(("temperature of the warm parts", "K", WARMER, _warmth))
    for name, unit, least, measure in measures:
        medians = {
            group: float(np.median(known))
            for group, some_rows in groups.items()
            if (known := [v for one in some_rows if math.isfinite(v := measure(one))])
        }
        heaps = two_heaps(medians, least=least)
        if heaps is None:
            continue
        low, high = heaps.means
        told = (
            f"in two heaps by {name} ({high - low:.2g} {unit} apart): "
            f"{len(heaps.low)} with less, {some(heaps.low)}; {len(heaps.high)} with more, "
            f"{some(heaps.high)}"
        )
        files = [groups[name][0].file for name in (*heaps.low[:_SHOWN], *heaps.high[:_SHOWN])]
        return [_finding(root, told, files, rows)]  # one camera more differs in many ways
    return []


def two_heaps(medians: dict[str, float], *, least: float) -> _Heaps | None:
    """Return the groups in two heaps, ``None`` where they are one.

    They are cut where the spread within is least (Otsu), and count as two where their means are
    at least ``least`` apart, and as far in terms of their spread as :data:`APART` says.
    """
    names = sorted(medians, key=lambda name: medians[name])
    values = np.array([medians[name] for name in names])
    if len(names) < _GROUPS:
        return None
    smaller = max(_HEAP, math.ceil(_HEAP_SHARE * len(names)))
    cuts = np.arange(smaller, len(names) - smaller + 1)
    below = np.cumsum(values)[cuts - 1]
    gaps = (values.sum() - below) / (len(names) - cuts) - below / cuts
    cut = int(cuts[np.argmax(cuts * (len(names) - cuts) * gaps**2)])
    low, high = values[:cut], values[cut:]
    gap = float(high.mean() - low.mean())
    distance = gap / math.sqrt((low.var() + high.var()) / 2 + 1e-12)
    if gap < least or distance < APART + FEW / len(names):
        return None
    return _Heaps(names[:cut], names[cut:], (float(low.mean()), float(high.mean())), distance)


def _group(one: Seen) -> str:
    face = one.face
    if face.sequence:
        return f"{face.sequence} of {face.subject}"
    folder = PurePosixPath(face.path).parent
    if folder.name in ("", face.subject):
        return str(folder) if folder.name else face.subject
    return f"{face.subject} in {folder}"


def _log_noise(one: Seen) -> float:
    noise = one.look.noise
    return math.log2(noise) if noise > 0 else math.nan


def _warmth(one: Seen) -> float:
    return celsius(one.look.warm, one.info.unit)


def _people(names: Sequence[str]) -> str:
    return f"{len(names)} subjects" if len(names) > 3 else some(names)


def _finding(root: Path, told: str, files: Sequence[Path], rows: Sequence[Seen]) -> Finding:
    return Finding(
        severity="warning",
        check="cameras",
        text=f"thermal images of {root}: they seem to come from several cameras: they are {told}; "
        "index each camera for itself, or see to it that all splits and labels have all of them.",
        examples=(Example(tuple(files), "one image of each"),),
        splits=frozenset(one.face.split for one in rows),
    )
