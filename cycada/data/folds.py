"""Cross-validation: splits in which every subject is tested exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cycada.data.index import Domain, Split
from cycada.data.splits import Fractions, deal_subjects, in_hashed_order
from cycada.data.subject_codes import CORPORA, PARTS, Corpus, code_of
from cycada.errors import DataError, UsageError

Domains = Mapping[str, frozenset[Domain]]


def folds(
    scheme: str, subjects: Domains, *, fractions: Fractions, seed: int
) -> tuple[list[dict[str, Split]], list[str]]:
    """Return the split of each subject in each fold, and a note about each.

    A fold tests one part of the subjects. Of the others, some validate and the rest train, in the
    proportion of the first two fractions.

    Args:
        scheme: ``bp4d`` or ``disfa``: the three published parts, of which fold 1 tests part 3 and
            fold 3 part 1; or a number K of parts, which are made as equal as they can be.
        subjects: and the domains of which each has images.
        fractions: shares of train, val and test; the last does not matter.
        seed: deals subjects to K parts, and to train and val.

    Raises:
        UsageError: ``scheme`` is neither.
        DataError: a subject is not of the corpus; a part has none; too few are left to train.
    """
    train, val, _ = fractions
    if train + val <= 0:
        raise UsageError("--fractions leaves nobody to train on; with --folds, give TRAIN a share.")
    shares = (train / (train + val), val / (train + val), 0.0)
    corpus = next((name for name in CORPORA if name == scheme), None)
    if corpus:
        named = [f"part {3 - number} of {corpus.upper()}" for number in range(3)]
        parts = _published(corpus, subjects)[::-1]
    else:
        parts = _equal(_number(scheme), subjects, seed)
        named = [f"part {number}" for number in range(1, len(parts) + 1)]
    made, notes = [], []
    for number, (part, name) in enumerate(zip(parts, named, strict=True), start=1):
        tested = set(part)
        rest = {subject: where for subject, where in subjects.items() if subject not in tested}
        splits = deal_subjects(rest, fractions=shares, seed=seed)
        splits.update(dict.fromkeys(part, "test"))
        counts = [sum(found == split for found in splits.values()) for split in ("train", "val")]
        notes.append(
            f"fold-{number} tests {name}, {len(part)} subjects; {counts[0]} train, "
            f"{counts[1]} validate."
        )
        made.append(splits)
    return made, notes


def _published(corpus: Corpus, subjects: Iterable[str]) -> list[list[str]]:
    """Return the subjects of each published part."""
    part_of = {code: number for number, part in enumerate(PARTS[corpus]) for code in part}
    parts: list[list[str]] = [[] for _ in PARTS[corpus]]
    for subject in sorted(subjects):
        number = part_of.get(code_of(subject, corpus) or "")
        if number is None:
            known = PARTS[corpus][0][:2]
            raise DataError(
                f"--folds {corpus}: {subject!r} is in none of the published parts of the subjects "
                f"({', '.join(known)}, ...); --subject says which part of a path is the subject."
            )
        parts[number].append(subject)
    for number, part in enumerate(parts, start=1):
        if not part:
            raise DataError(f"--folds {corpus}: no image is of a subject of part {number}.")
    return parts


def _equal(count: int, subjects: Domains, seed: int) -> list[list[str]]:
    """Return ``count`` parts; also those who are in one domain only are spread over them all."""
    if len(subjects) < count:
        raise DataError(f"--folds {count}: there are only {len(subjects)} subjects.")
    groups: dict[frozenset[Domain], list[str]] = {}
    for subject in in_hashed_order(subjects, seed):
        groups.setdefault(subjects[subject], []).append(subject)
    dealt = [subject for where in sorted(groups, key=sorted) for subject in groups[where]]
    return [dealt[number::count] for number in range(count)]


def _number(scheme: str) -> int:
    if scheme.isdecimal() and int(scheme) > 1:
        return int(scheme)
    raise UsageError(
        f"--folds {scheme}: expected {' or '.join(CORPORA)} for the published folds, or how many "
        f"folds to make, from 2."
    )


def fold_names(made: Sequence[object]) -> list[str]:
    """Return the names of the folders of folds: ``fold-1``, ``fold-2``, ..."""
    return [f"fold-{number}" for number in range(1, len(made) + 1)]
