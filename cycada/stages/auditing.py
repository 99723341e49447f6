"""Look at what the networks are about to see, before any time is spent on training."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from cycada import images
from cycada.data.audit import Finding, Spread, audit_pair, audit_set, spread_of
from cycada.data.dataset import FaceImages, signed
from cycada.errors import DataError
from cycada.progress import Progress

_LOOKED_AT = 256  # images of each set


def audit_faces(
    source: Iterable[FaceImages], target: Iterable[FaceImages], *, progress: Progress
) -> None:
    """Refuse images that nothing can be learned from, and say what else looks wrong.

    Args:
        source: Labelled images, or those to translate.
        target: Images of the other domain, if there are any: they are compared with the source.
        progress: Says what is not fatal.

    Raises:
        DataError: Naming the set and the cause.
    """
    known: list[tuple[str, Spread]] = []
    others: list[tuple[str, Spread]] = []
    found: list[Finding] = []
    for parts, told in ((source, known), (target, others)):
        for part in parts:
            name = f"{part.domain} images of {', '.join(map(str, part.roots))}"
            spread = _spread(part)
            found += audit_set(spread, name=name, sixteen_bit=part.sixteen_bit)
            told.append((name, spread))
    if not any(finding.fatal for finding in found):
        for name, spread in known:
            for other, there in others:
                found += audit_pair(spread, there, names=(name, other))
    for finding in found:
        if finding.fatal:
            raise DataError(finding.text)
        progress.say(f"Warning: {finding.text}")


def _spread(part: FaceImages) -> Spread:
    rows = torch.linspace(0, len(part) - 1, min(len(part), _LOOKED_AT)).long()
    return spread_of(images.with_channels(signed(part.batch(rows)), 1))
