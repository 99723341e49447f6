"""Pictures that are in two splits, or that show one person under two names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from cycada.data.auditing.alike import CLOSELY, MOST, Match, comparable, same_pictures
from cycada.data.auditing.finding import Example, Finding, some
from cycada.data.auditing.looks import Seen, readable
from cycada.data.index import DOMAINS, SPLITS, Split

_SHOWN = 6


def audit_duplicates(seen: Sequence[Seen]) -> list[Finding]:
    """Return the pictures that are there twice where they must not be.

    Equal pixels in two splits, and equal pixels under two names, are errors; pictures that are
    nearly the same (mirrored, saved again, resized, toned) in two splits are a warning. Frames of
    one person in one split may be as alike as they like.
    """
    found = []
    for domain in DOMAINS:
        fit = [one for one in readable(seen)
               if one.face.domain == domain and one.look.high > one.look.low]  # fmt: skip
        found += _equal(fit, domain)
        found += _near(fit, domain)
    return found


def _equal(seen: Sequence[Seen], domain: str) -> list[Finding]:
    groups: dict[bytes, list[Seen]] = {}
    for one in seen:
        groups.setdefault(one.look.digest, []).append(one)
    across, names = [], []
    for group in groups.values():
        first = group[0]
        other_split = next((one for one in group if _leaks(first, one)), None)
        other_name = next((one for one in group if one.face.subject != first.face.subject), None)
        if other_split is not None:
            across.append((first, other_split))
        elif other_name is not None:
            names.append((first, other_name))
    found = []
    if across:
        found.append(
            Finding(
                severity="error",
                check="duplicates",
                text=f"{len(across)} {domain} {_pictures(len(across))} in two splits, pixel by "
                f"pixel: {_told(across)}; scores on them are of what was learned: keep each in "
                "one split.",
                examples=_examples(across),
                splits=_splits(across),
            )
        )
    if names:
        found.append(
            Finding(
                severity="error",
                check="names",
                text=f"{len(names)} {domain} {_pictures(len(names))} there under two names, "
                f"pixel by pixel: {_told(names)}; give a person one name, or other splits may "
                "part them.",
                examples=_examples(names),
                splits=_splits(names),
            )
        )
    return found


def _leaks(one: Seen, other: Seen) -> bool:
    # One subject in two splits is told of by the subjects.
    return one.face.split != other.face.split and one.face.subject != other.face.subject


def _near(seen: Sequence[Seen], domain: str) -> list[Finding]:
    fit = comparable(seen)
    parts: dict[Split, list[Seen]] = {split: [] for split in SPLITS}
    for one in fit:
        parts[one.face.split].append(one)
    matches: list[Match] = []
    for pair in combinations(parts.values(), 2):
        few, many = sorted(pair, key=len)  # each of the smaller split has one match at most
        matches += same_pictures(few, many)
    found = []
    if matches:
        pairs = [(match.one, match.other) for match in matches]
        least = "at least " if len(matches) >= CLOSELY else ""
        found.append(
            Finding(
                severity="warning",
                check="near duplicates",
                text=f"{least}{len(matches)} {domain} {_pictures(len(matches))} nearly the same "
                f"in two splits (mirrored, resized, toned or saved again): {_told(pairs)}; look "
                "at them, and keep each picture in one split.",
                examples=tuple(
                    Example(
                        (match.one.file, match.other.file),
                        f"{match.one.face.split} and {match.other.face.split}, likeness "
                        f"{match.likeness:.2f}{', mirrored' if match.mirrored else ''}",
                    )
                    for match in matches[:_SHOWN]
                ),
                splits=_splits(pairs),
            )
        )
    if len(fit) == MOST < len(seen):
        found.append(
            Finding(
                severity="note",
                check="near duplicates",
                text=f"{domain}: of {len(seen):,} images, {MOST:,} in even steps were compared "
                "with each other to find near duplicates.",
            )
        )
    return found


def _pictures(count: int) -> str:
    return "picture is" if count == 1 else "pictures are"


def _told(pairs: Sequence[tuple[Seen, Seen]]) -> str:
    return some([f"{_place(one)} and {_place(other)}" for one, other in pairs], most=2)


def _place(one: Seen) -> str:
    return f"{one.place} ({one.face.subject}, {one.face.split})"


def _examples(pairs: Sequence[tuple[Seen, Seen]]) -> tuple[Example, ...]:
    return tuple(
        Example(
            (one.file, other.file),
            f"{one.face.subject} in {one.face.split}, {other.face.subject} in {other.face.split}",
        )
        for one, other in pairs[:_SHOWN]
    )


def _splits(pairs: Sequence[tuple[Seen, Seen]]) -> frozenset[Split]:
    return frozenset(one.face.split for pair in pairs for one in pair)
