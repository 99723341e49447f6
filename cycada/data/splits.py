"""Splits by subject, so that no face of a test subject is ever trained on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping

from cycada.data.index import SPLITS, Domain, Split
from cycada.errors import DataError

Fractions = tuple[float, float, float]  # of train, val and test


def split_subjects(
    subjects: Iterable[str],
    *,
    fractions: Fractions = (0.7, 0.1, 0.2),
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
    dealt = in_hashed_order(names, seed)
    splits: dict[str, Split] = {}
    start = 0
    for split, count in zip(SPLITS, _counts(len(names), fractions), strict=True):
        splits.update(dict.fromkeys(dealt[start : start + count], split))
        start += count
    return {name: splits[name] for name in names}


def deal_subjects(
    domains: Mapping[str, frozenset[Domain]], *, fractions: Fractions, seed: int
) -> dict[str, Split]:
    """Deal whole subjects so that each domain, and the overlap of both, gets its shares.

    Args:
        domains: of which each subject has images.
        fractions: as for :func:`split_subjects`.
        seed: as there.

    Raises:
        DataError: as there.
    """
    groups: dict[frozenset[Domain], list[str]] = {}
    for subject, where in domains.items():
        groups.setdefault(where, []).append(subject)
    wanted = sum(fraction > 0 for fraction in fractions)
    parts: Iterable[Iterable[str]] = groups.values()
    if any(len(group) < wanted for group in groups.values()):
        parts = [domains]
    splits: dict[str, Split] = {}
    for part in parts:
        splits.update(split_subjects(part, fractions=fractions, seed=seed))
    return splits


def in_hashed_order(names: Iterable[str], seed: int) -> list[str]:
    """Return the names in an order that depends on each of them, and the seed, alone."""
    return sorted(names, key=lambda name: (_place(name, seed), name))


def _place(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()


def _counts(total: int, fractions: Fractions) -> list[int]:
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
