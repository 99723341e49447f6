"""Find images that show the same picture: resized, saved again, toned, mirrored or inverted.

Aligned faces of different people look alike as a whole (their small copies correlate up to 0.98),
so compared is what remains without the coarse shading: first of copies of 32 x 32 px, all against
all, then of the best candidates at 64 x 64 px, read again. At 64 px, the nearest two of 2,000
portraits of different people correlate by 0.77, of 1,000 thermal phantoms by 0.84; a portrait and
the same one in JPEG of quality 10, blurred by 2 px of 256, in another gamma, or at 48 px by 0.95
and more, shifted by 2 px of 256 by 0.90.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cycada import image_reading, images
from cycada.data.auditing.looks import Seen, cells_of, detail
from cycada.errors import DataError

CANDIDATE = 0.9
"""Correlation of the detail at 32 px from which two images are looked at closely."""

ALIKE = 0.9
"""Correlation of the detail at 64 px from which two images show the same picture."""

SMALLEST = 48
"""Shorter side in px of the images that are compared: two digits of 28 px correlate by 0.97."""

MOST = 20_000
"""Images of which all are compared with all; of more, as many in even steps."""

CLOSELY = 100  # candidates that are read again, the best first
_SIDE = 64
_ROWS = 512  # compared with all others at a time


class Match(NamedTuple):
    """Two images of one picture."""

    one: Seen
    other: Seen
    mirrored: bool
    likeness: float  # correlation of the detail; negative where bright is dark


def comparable(seen: Sequence[Seen]) -> list[Seen]:
    """Return the rows whose images are large enough to be compared, at most :data:`MOST`."""
    fit = [
        one for one in seen
        if not one.look.problem
        and min(one.look.height, one.look.width) >= SMALLEST
        and one.look.high > one.look.low
    ]  # fmt: skip
    if len(fit) <= MOST:
        return fit
    return [fit[place] for place in np.linspace(0, len(fit) - 1, MOST).astype(int).tolist()]


def same_pictures(
    ones: Sequence[Seen], others: Sequence[Seen], *, inverted: bool = False
) -> list[Match]:
    """Return images of ``ones`` whose picture is also among ``others``, the surest first.

    Equal images are not compared, and those of one subject only with ``inverted``. At most 100
    are returned, each of ``ones`` with the most similar one of ``others``.

    Args:
        ones: Rows that :func:`comparable` gave.
        others: The rows to compare them with.
        inverted: Whether pictures whose bright parts are dark in the other count, too.
    """
    if not ones or not others:
        return []
    likely = sorted(_candidates(ones, others, inverted=inverted), key=_surest)[:CLOSELY]
    found = [match._replace(likeness=_closely(match)) for match in likely]
    alike = [match for match in found
             if (abs(match.likeness) if inverted else match.likeness) >= ALIKE]  # fmt: skip
    return sorted(alike, key=_surest)


def _surest(match: Match) -> float:
    return -abs(match.likeness)


def _candidates(ones: Sequence[Seen], others: Sequence[Seen], *, inverted: bool) -> Iterator[Match]:
    there, mirror = _details(others), _details(others, mirrored=True)
    names = {one.face.subject: number for number, one in enumerate((*ones, *others))}
    digests = {one.look.digest: number for number, one in enumerate((*ones, *others))}
    who = torch.tensor([names[one.face.subject] for one in others])
    what = torch.tensor([digests[one.look.digest] for one in others])
    for start in range(0, len(ones), _ROWS):
        part = ones[start : start + _ROWS]
        here = _details(part)
        same = torch.tensor([digests[one.look.digest] for one in part])[:, None] == what
        if not inverted:
            same |= torch.tensor([names[one.face.subject] for one in part])[:, None] == who
        likeness = torch.stack([here @ there.T, here @ mirror.T])
        likeness.masked_fill_(same, 0.0)
        strength = likeness.abs() if inverted else likeness
        best, place = strength.permute(1, 0, 2).flatten(1).max(1)
        for row in (best >= CANDIDATE).nonzero().flatten().tolist():
            mirrored, column = divmod(int(place[row]), len(others))
            yield Match(part[row], others[column], bool(mirrored), float(best[row]))


def _details(seen: Sequence[Seen], *, mirrored: bool = False) -> Tensor:
    cells = torch.from_numpy(np.stack([cells_of(one.look) for one in seen]))
    return detail(cells.flip(-1) if mirrored else cells)


def _closely(match: Match) -> float:
    """Return the correlation of the detail at 64 px, read from the files."""
    here, there = _small(match.one), _small(match.other)
    if here is None or there is None:
        return 0.0
    found = detail(torch.stack([here, there.flip(-1) if match.mirrored else there]))
    return float(found[0] @ found[1])


def _small(one: Seen) -> Tensor | None:
    try:
        image = image_reading.read_image(one.file).to(torch.float32)
    except DataError:  # gone since it was looked at
        return None
    return images.resize(images.with_channels(image, 1), _SIDE)[0]
