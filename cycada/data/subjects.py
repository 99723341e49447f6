"""Names of subjects as digests: enough to keep people apart, and no list of names to hand on.

A run has to know whom it has learned from, so that nobody is scored whom it knows. It keeps a
SHA-256 of each name. Whoever has the name can tell whether that subject was among them; whoever
does not reads no name. A digest is no secret: names are few, and one that can be guessed (``S001``)
can be tried. It has no salt, for runs and datasets that follow each other compare theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

NAMES_KEY, DIGESTS_KEY = "seen_subjects", "seen_digests"


def subject_digest(name: str) -> str:
    """Return the SHA-256 that stands for a subject, in hexadecimal digits."""
    return hashlib.sha256(b"cycada subject " + name.encode("utf-8", "surrogatepass")).hexdigest()


def digests_of(names: Iterable[str]) -> frozenset[str]:
    """Return the digests of subjects."""
    return frozenset(map(subject_digest, names))


def seen_digests(facts: Mapping[str, Any]) -> frozenset[str]:
    """Return whom a checkpoint has learned from; those of earlier versions list names."""
    return digests_of(facts.get(NAMES_KEY, ())).union(facts.get(DIGESTS_KEY, ()))
