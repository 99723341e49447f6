"""Labels that nothing can be learned from, or measured by."""

from __future__ import annotations

from collections import Counter

from cycada.action_units import column
from cycada.data.auditing.finding import Finding, Severity, some
from cycada.data.index import DOMAINS, SPLITS, Index

LEAST = 20
"""Annotated faces of a split below which an AU that is always or never there says nothing."""

_HARM = {
    "train": "a detector learns to answer always the same",
    "val": "no threshold can be chosen by these faces",
    "test": "no score of it means anything",
}


def audit_labels(index: Index) -> list[Finding]:
    """Return the AUs that are there on none or all annotated faces of a split of a domain.

    One such AU is a warning, in the training split, too: the others can be learned, and rare AUs
    are missing in small splits of every corpus. If none of several AUs varies in the training
    split, or the only one does not, there is nothing to learn: an error.
    """
    found = []
    numbers = index.action_units()
    for domain in DOMAINS:
        for split in SPLITS:
            part = index.select(domain=domain, split=split)
            labels, known = part.occurrences(numbers)
            count, present = known.sum(0).tolist(), labels.sum(0).tolist()
            judged = [place for place, faces in enumerate(count) if faces >= LEAST]
            never = [numbers[place] for place in judged if present[place] == 0]
            always = [numbers[place] for place in judged if present[place] == count[place]]
            if not never and not always:
                continue
            hopeless = split == "train" and len(never) + len(always) == sum(map(bool, count))
            severity: Severity = "error" if hopeless else "warning"
            told = [
                f"{some([column(number) for number in units], most=8)} on {how} of the annotated "
                "faces"
                for units, how in ((never, "none"), (always, "all"))
                if units
            ]
            found.append(
                Finding(
                    severity=severity,
                    check="prevalence",
                    text=f"{domain} faces in the split {split!r} of {index.root}: "
                    f"{' and '.join(told)}; {_HARM[split]}: {_advice(part)}.",
                    splits=frozenset([split]),
                )
            )
        found += _strange_classes(index.select(domain=domain), domain)
    return found


def _advice(part: Index) -> str:
    largest = max((v for face in part.faces for v in face.action_units.values()), default=0.0)
    if part.info.kind == "intensity" and largest < part.info.threshold:
        return (
            f"no value reaches the threshold of {part.info.threshold:g} (the largest is "
            f'{largest:g}): were occurrences read as intensities (kind = "occurrence")'
        )
    return "look whether the column was read rightly, else leave the AU out or deal splits anew"


def _strange_classes(part: Index, domain: str) -> list[Finding]:
    """Return whether classes are to be told that no face to learn from shows."""
    counts = Counter((face.split, face.label) for face in part.faces if face.label)
    learned = {name for split, name in counts if split == "train"}
    strange = sorted({name for split, name in counts if split != "train"} - learned)
    if not learned or not strange:
        return []
    return [
        Finding(
            severity="warning",
            check="prevalence",
            text=f"{domain} faces of {part.root}: no face in the split 'train' has the class "
            f"{some(strange)}, which others have; deal the splits anew.",
        )
    ]
