"""Subjects who are in two splits, and names that may mean one person."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cycada.data.auditing.finding import Finding, some
from cycada.data.auditing.looks import Seen
from cycada.data.index import Split

_PARTS = re.compile(r"\d+|[^\W\d_]+")


def audit_subjects(seen: Sequence[Seen]) -> list[Finding]:
    """Return the subjects who are in two splits (an error), also under another spelling."""
    places: dict[str, dict[Split, Seen]] = {}
    for one in seen:
        places.setdefault(one.face.subject, {}).setdefault(one.face.split, one)
    found = []
    torn = {name: where for name, where in places.items() if len(where) > 1}
    if torn:
        told = [
            f"{name!r} in " + " and ".join(f"{split} of {one.root}" for split, one in where.items())
            for name, where in torn.items()
        ]
        found.append(
            Finding(
                severity="error",
                check="subjects",
                text=f"{len(torn)} of {len(places)} subjects are in two splits: {some(told)}; a "
                "subject belongs to one split: index people who are in both domains by one "
                "command with --rgb and --thermal, and give different people different names.",
                splits=frozenset(split for where in torn.values() for split in where),
            )
        )
    spelled: dict[tuple[str, ...], list[str]] = {}
    for name in places:
        spelled.setdefault(plain(name), []).append(name)
    doubtful = [
        names for names in spelled.values()
        if len(names) > 1 and len({split for name in names for split in places[name]}) > 1
    ]  # fmt: skip
    if doubtful:
        told = [
            " and ".join(f"{name!r} ({next(iter(places[name]))})" for name in names)
            for names in doubtful
        ]
        found.append(
            Finding(
                severity="warning",
                check="names",
                text=f"names in different splits differ by case, spaces or zeros alone: "
                f"{some(told)}; if they are one person, give one name and index again.",
                splits=frozenset(
                    split for names in doubtful for name in names for split in places[name]
                ),
            )
        )
    return found


def plain(name: str) -> tuple[str, ...]:
    """Return what is left of a name without case, spaces, signs and leading zeros.

    ``"S01"``, ``"s1"`` and ``"S 1"`` are the same; ``"S1-1"`` and ``"S11"`` are not.
    """
    parts = _PARTS.findall(name.casefold())
    return tuple(part.lstrip("0") or "0" if part.isdigit() else part for part in parts)
