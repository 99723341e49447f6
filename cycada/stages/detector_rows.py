"""Which rows of the given indexes a detector learns from, and what it is to answer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from cycada.config import DetectorConfig
from cycada.data.index import Domain, Index
from cycada.errors import ConfigError, DataError
from cycada.task import Task


def few_labelled(targets: Sequence[Index], config: DetectorConfig) -> list[Index]:
    """Return the thermal training faces of ``target_labels`` subjects of the target."""
    if not config.target_labels:
        return []
    train = [index.select(domain="thermal", split="train") for index in targets]
    chosen = few_subjects(train, config.target_labels, seed=config.seed)
    return [
        replace(index, faces=tuple(face for face in index.faces if face.subject in chosen))
        for index in train
    ]


def few_subjects(train: Sequence[Index], count: int, *, seed: int) -> set[str]:
    """Return the names of ``count`` labelled subjects of ``train``.

    The order in which they are taken depends on their names and the seed alone, so that more of
    them are those of fewer and others.

    Raises:
        ConfigError: There are not as many labelled subjects.
    """
    labelled = {
        face.subject for index in train for face in index.faces if face.action_units or face.label
    }
    if count > len(labelled):
        raise ConfigError(
            f"target_labels is {count}, but the target's training faces have labels of "
            f"{len(labelled)} subjects only."
        )
    order = sorted(labelled, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    return set(order[:count])


def source_rows(index: Index, config: DetectorConfig) -> Index:
    """Return the rows to learn from; of a corpus in RGB beside a translated one, those of each."""
    if config.source_domain == "both":
        return index
    if config.source_domain != "auto":
        return index.select(domain=config.source_domain)
    rgb = index.select(domain="rgb")
    return rgb if rgb.faces else index.select(domain="thermal")


def source_domains(sources: Sequence[Index], config: DetectorConfig) -> tuple[Domain, ...]:
    """Return the domains of the rows to learn from; the one asked for, even if none is there."""
    if config.source_domain in ("rgb", "thermal"):
        return (config.source_domain,)
    both: tuple[Domain, ...] = ("rgb", "thermal")
    return tuple(d for d in both if any(i.select(domain=d).faces for i in sources))


def task_of(indexes: Sequence[Index], domains: Sequence[Domain], config: DetectorConfig) -> Task:
    """Return what to learn: AUs or classes that the rows to learn from are labelled with."""
    rows = [index.select(domain=domain) for index in indexes for domain in domains]
    numbers = sorted({number for index in rows for number in index.action_units()})
    classes = sorted({name for index in rows for name in index.classes()})
    where = f"on {' or '.join(domains)} faces in {', '.join(str(index.root) for index in indexes)}"
    if config.task == "classes" or (config.task == "auto" and classes and not numbers):
        if config.action_units:
            raise ConfigError("action_units are chosen, but the task is to tell classes.")
        if len(classes) < 2:
            raise DataError(
                f"{len(classes) or 'no'} class labels {where}; two different ones are needed."
            )
        return Task(classes=tuple(classes))
    if not numbers:
        raise DataError(f"no AU labels {where}; the detector has nothing to learn.")
    if missing := sorted(set(config.action_units) - set(numbers)):
        raise ConfigError(
            f"action_units: AU{missing[0]:02d} is not annotated in the source; annotated are "
            f"{', '.join(str(n) for n in numbers)}."
        )
    return Task(tuple(sorted(set(config.action_units))) or tuple(numbers))
