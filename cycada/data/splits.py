"""Splits by subject, so that no face of a test subject is ever trained on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

from cycada.data.index import SPLITS, Split
from cycada.errors import DataError


def split_subjects(
    subjects: Iterable[str],
    *,
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
    seed: int,
) -> dict[str, Split]:
    """Deal whole subjects to train, val and test.

    Each subject draws its place from a hash of its own name and the seed, so the order in which
    subjects are given does not matter, and one subject more moves few of the others.

    Args:
        subjects: names; repeated ones count once.
        fractions: shares of train, val and test; they add up to 1. A split with a share above 0
            gets at least one subject.
        seed: another seed deals anew.

    Returns:
        The split of each subject, in alphabetical order.

    Raises:
        DataError: fewer subjects than splits to fill, or fractions that are no shares.
    """
    if min(fractions) < 0 or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        given = ", ".join(f"{fraction:g}" for fraction in fractions)
        raise DataError(f"the shares of train, val and test must add up to 1, not {given}.")
    names = sorted(set(subjects))
    wanted = sum(fraction > 0 for fraction in fractions)
    if len(names) < wanted:
        raise DataError(
            f"{len(names)} subject(s) ({', '.join(names) or 'none'}) cannot fill {wanted} splits; "
            f"a subject is never cut in two, so at least {wanted} are needed."
        )
    dealt = sorted(names, key=lambda name: (_place(name, seed), name))
    splits: dict[str, Split] = {}
    start = 0
    for split, count in zip(SPLITS, _counts(len(names), fractions), strict=True):
        splits.update(dict.fromkeys(dealt[start : start + count], split))
        start += count
    return {name: splits[name] for name in names}


def _place(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()


def _counts(total: int, fractions: tuple[float, float, float]) -> list[int]:
    """Divide ``total`` by largest remainders, at least 1 for every share above 0."""
    least = [int(fraction > 0) for fraction in fractions]
    counts = [
        max(math.floor(total * fraction + 1e-9), low)
        for fraction, low in zip(fractions, least, strict=True)
    ]
    while sum(counts) != total:
        step = 1 if sum(counts) < total else -1
        owed = [
            step * (total * fraction - count) if fraction > 0 and count + step >= low else -math.inf
            for fraction, count, low in zip(fractions, counts, least, strict=True)
        ]
        counts[owed.index(max(owed))] += step
    return counts
