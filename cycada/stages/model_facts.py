"""What there is to tell of a run on its model card: data, evaluations, settings.

A run names the indexes and the networks that it has learned from by their paths. Those that are
still there, and unchanged, are read again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cycada.config import DetectorConfig, TranslatorConfig
from cycada.data.index import CSV_NAME, Index, Split, read_index
from cycada.data.index_info import TOML_NAME, read_info
from cycada.data.subjects import seen_digests
from cycada.errors import CycadaError, DataError, RunError, reason
from cycada.metrics.scores import DetectionScores
from cycada.models.backbones import PUBLISHED
from cycada.models.build import chosen_generator
from cycada.report.card import (
    INITIAL_WEIGHTS,
    Card,
    Evaluated,
    Figure,
    Learned,
    told_settings,
    without_paths,
)
from cycada.settings import flatten
from cycada.stages.detector_rows import source_rows
from cycada.stages.scoring import SCORES_NAME
from cycada.task import Task
from cycada.training.checkpoint import Checkpoint, read_json
from cycada.training.loading import window_of
from cycada.training.run_reading import (
    CONFIG_NAME,
    Kind,
    finished_checkpoint,
    run_config,
    run_kind,
    trained_with,
)

CONFIGS: Mapping[Kind, type[Any]] = MappingProxyType(
    {"detector": DetectorConfig, "translator": TranslatorConfig}
)
"""Settings of each kind of run."""

SHARED_KEY = "shared"
"""In ``about.json`` of what was handed on: the facts of the card, whose origins it has not."""

WRONG_FACTS = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
"""What reading the facts of a stranger raises where they are not as we wrote them."""

_ROLES: Mapping[str, tuple[str, tuple[Split, ...]]] = MappingProxyType(
    {
        "source": ("labelled source", ("train", "val")),
        "labelled_target": ("labelled target", ("train",)),
        "target": ("unlabelled target", ("train",)),
        "data": ("both domains, unpaired", ("train",)),
    }
)
"""Setting that names indexes -> what they are for, and the splits that are read of them."""

_NETWORKS: Mapping[str, str] = MappingProxyType(
    {
        "initial": "of the network that it began from",
        "teachers": "of a teacher",
        "detector": "of the detector that judged",
        "thermal_detector": "of the detector that judged",
    }
)
"""Setting that names runs -> what their data are for, where these are not known any more."""

_MADE_BY = "of the translator that made images"
_TOLD = (
    "backbone", "pretrained", "width", "view", "size", "alignment.method", "generator.blocks",
    "generator.width", "adversarial", "weights.cycle", "weights.semantic", "semantic_judge",
    "batch_size", "learning_rate", "seed",
)  # fmt: skip
_BESIDE = ("*", "evaluation/*")  # of the folder that a run is in


def card_of(
    root: Path, checkpoint: Checkpoint, config: Any, *, kind: Kind, place: str, licence: str,
    evaluations: Sequence[Path], digests: bool,
) -> Card:  # fmt: skip
    """Return what the model card of a checkpoint tells.

    Args:
        root: Run.
        checkpoint: Of it.
        config: Its settings.
        kind: ``detector`` or ``translator``.
        place: What ``from_pretrained`` is to be given.
        licence: Of the weights; empty: as before, if it was handed on before.
        evaluations: Folders beside those that are found.
        digests: Whether those of subjects are handed on.

    Raises:
        RunError: One of ``evaluations`` is none, or of other weights.
    """
    about, head = checkpoint.about(), read_json(root / CONFIG_NAME)
    before = about.get(SHARED_KEY, {})
    try:
        told = [Evaluated.from_json(each) for each in before.get("evaluations", ())]
        licence, subjects = licence or before.get("licence", ""), before.get("subjects")
    except WRONG_FACTS as error:
        raise facts_are_wrong(checkpoint, error) from error
    learned = tuple(dict.fromkeys(_learned_by(root, frozenset())))
    told += _evaluations(root, checkpoint.fingerprint(), evaluations)
    seen = len(seen_digests(about))
    detector = kind == "detector"
    foreign = trained_with(root)
    return Card(
        kind=kind, place=place, version=str(head.get("version", "")),
        steps=None if foreign else int(about.get("chosen_step", checkpoint.step)),
        trained_with=foreign, size=config.size,
        licence=licence, fingerprint=checkpoint.fingerprint(),
        subjects=subjects if SHARED_KEY in about else seen or None, digests=digests and seen > 0,
        unnamed=digests and 0 < seen < max((each.subjects or 0 for each in learned), default=0),
        learned=learned,
        evaluations=tuple(each for n, each in enumerate(told) if each not in told[:n]),
        settings=() if foreign else told_settings(_told_of(config, learned), _TOLD),
        window=window_of(about),
        task=Task.from_json(about) if detector else None,
        domains=tuple(about.get("source_domains", ())),
        adapted=detector and any(each.role == _ROLES["target"][0] for each in learned),
    )  # fmt: skip


def _told_of(config: Any, learned: Sequence[Learned]) -> dict[str, Any]:
    """Return settings by dotted name as a card may tell them: of a file only that it is one."""
    if isinstance(config, TranslatorConfig):  # a 0 would say nothing to who has the card alone
        config = replace(config, generator=chosen_generator(config))
    found = flatten(config)
    # Not by what it began from: a copy does not know that any more.
    if not any(each.role == INITIAL_WEIGHTS for each in learned):
        found.pop("pretrained", None)
    elif found.get("pretrained") not in (None, "none", "imagenet"):
        found["pretrained"] = "a file"
    return found


def facts_are_wrong(checkpoint: Checkpoint, error: Exception) -> RunError:
    """Return what to raise where facts of a network that was handed on are not as we wrote them."""
    return RunError(
        f"{checkpoint.folder}: what it says for its model card cannot be read "
        f"({type(error).__name__}: {reason(error)})."
    )


def shared_facts(card: Card) -> dict[str, Any]:
    """Return the facts of a card that no copy of the run could tell any more."""
    return {
        "learned": [asdict(each) for each in card.learned],
        "evaluations": [each.to_json() for each in card.evaluations],
        "licence": card.licence,
        "subjects": card.subjects,
    }


def _learned_by(root: Path, known: frozenset[Path]) -> Iterator[Learned]:
    """Yield what a run has learned from, and what the networks before it have."""
    if root.resolve() in known:
        return
    known |= {root.resolve()}
    checkpoint = finished_checkpoint(root, told=False)
    if SHARED_KEY in checkpoint.about():
        yield from _handed_on(checkpoint)
        return
    settings: Any = run_config(root, kind := run_kind(root), CONFIGS[kind])
    inputs = read_json(root / CONFIG_NAME).get("inputs", {})
    for name, (role, splits) in _ROLES.items():
        for path in getattr(settings, name, ()):
            place = _beside(root, path, CSV_NAME)
            index = None if place is None else _unchanged(place, inputs.get(path))
            if index is None:
                yield Learned(role=role)
                continue
            if name == "source":
                index = source_rows(index, settings)
            elif name != "data":
                index = index.select(domain="thermal")
            yield _told(index, role, splits)
            if index.info.translator_hash:
                yield from _before(index.root, index.info.translator, _MADE_BY, known)
    yield from _initial_weights(settings)
    for name, role in _NETWORKS.items():
        named = getattr(settings, name, ())
        for path in filter(None, (named,) if isinstance(named, str) else named):
            yield from _before(root, path, role, known)


def _handed_on(checkpoint: Checkpoint) -> list[Learned]:
    try:
        return [Learned.from_json(each) for each in checkpoint.about()[SHARED_KEY]["learned"]]
    except WRONG_FACTS as error:
        raise facts_are_wrong(checkpoint, error) from error


def _initial_weights(config: Any) -> Iterator[Learned]:
    """Yield what a network began from where ``pretrained`` says it."""
    if not isinstance(config, DetectorConfig) or config.backbone not in PUBLISHED or config.initial:
        return
    if config.pretrained != "none":
        imagenet = config.pretrained == "imagenet"
        source = "ImageNet-1k, by torchvision" if imagenet else "a local file"
        yield Learned(role=INITIAL_WEIGHTS, source=source)


def _before(root: Path, named: str, role: str, known: frozenset[Path]) -> Iterator[Learned]:
    """Yield what a network before this one has learned from, or that it is not known."""
    network = _beside(root, named, CONFIG_NAME)
    try:
        found = None if network is None else list(_learned_by(network, known))
    except CycadaError:  # it has been changed since
        found = None
    yield from (Learned(role=role),) if found is None else found


def _beside(root: Path, named: str, holds: str) -> Path | None:
    """Return a folder as it was named, or by that name beside another, if it holds a file."""
    places = (Path(named), root.parent / named, root.parent / Path(named).name) if named else ()
    return next((place for place in places if (place / holds).is_file()), None)


def _unchanged(place: Path, fingerprint: str | None) -> Index | None:
    """Return an index, unless it is, or may be, another than a run has learned from."""
    if fingerprint is None:
        return None
    try:
        index = read_index(place, allow_outside=True)  # no image of it is opened
    except DataError:
        return None
    return index if fingerprint == index.fingerprint() else None


def _told(index: Index, role: str, splits: Sequence[Split]) -> Learned:
    faces = [face for face in index.faces if face.split in splits]
    info = index.info
    source = without_paths(info.source)
    if info.translator_hash:
        source = f"{source or 'not stated'}; translated into thermal by cycada"
    return Learned(
        role=role, source=source, licence=without_paths(info.licence),
        labels="" if info.kind == "none" or role == _ROLES["target"][0] else info.kind,
        rgb=sum(face.domain == "rgb" for face in faces),
        thermal=sum(face.domain == "thermal" for face in faces),
        subjects=len({face.subject for face in faces}),
    )  # fmt: skip


def _evaluations(root: Path, weights: str, given: Sequence[Path]) -> Iterator[Evaluated]:
    for folder in given:
        result = read_json(folder / SCORES_NAME)
        if result.get("weights") != weights:
            raise RunError(
                f"{folder}: is no evaluation of these weights of {root}; run `cycada evaluate` "
                "again."
            )
        yield _evaluated(result, folder)
    taken = {folder.resolve() for folder in given}
    for pattern in _BESIDE:
        for file in sorted(root.resolve().parent.glob(f"{pattern}/{SCORES_NAME}")):
            if file.parent in taken:
                continue
            try:
                result = read_json(file)
                if result.get("weights") == weights:
                    yield _evaluated(result, file.parent)
            except CycadaError:
                continue  # it is not this run's, which nobody has named


def _evaluated(result: Mapping[str, Any], folder: Path) -> Evaluated:
    try:
        tell = _of_detector if result["kind"] == "detector" else _of_translator
        return tell(result, _source_of(str(result.get("index", "")), folder))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{folder / SCORES_NAME}: was not written by `cycada evaluate` ({error})."
        ) from error


def _source_of(index: str, folder: Path) -> str:
    place = _beside(folder, index, TOML_NAME)
    try:
        return without_paths(read_info(place / TOML_NAME).source) if place else ""
    except DataError:
        return ""


def _of_detector(result: Mapping[str, Any], source: str) -> Evaluated:
    scores = DetectionScores.from_json(result["scores"])
    figures = [
        Figure(name="macro F1", value=scores.macro_f1, low=scores.macro_f1_interval.low,
               high=scores.macro_f1_interval.high),
        Figure(name="macro ROC-AUC", value=scores.macro_roc_auc,
               low=scores.macro_roc_auc_interval.low, high=scores.macro_roc_auc_interval.high),
        Figure(name="expected calibration error", value=scores.macro_calibration_error),
    ]  # fmt: skip
    if scores.kind == "classes":
        accuracy = scores.accuracy_interval
        figures.insert(0, Figure(
            name="accuracy", value=scores.accuracy, low=accuracy.low, high=accuracy.high
        ))  # fmt: skip
    return Evaluated(
        faces=f"{result['domain']} {result['split']}", source=source, images=scores.frames,
        subjects=scores.subjects, figures=tuple(figures),
        units=tuple((u.name, u.f1, u.roc_auc, u.present, u.frames) for u in scores.units),
    )  # fmt: skip


def _of_translator(result: Mapping[str, Any], source: str) -> Evaluated:
    scores = result["scores"]
    figures = [
        Figure(
            name=name.replace("_", " "), value=float(each["mean"]),
            **{
                end: float(bound)
                for end, bound in zip(("low", "high"), each["interval"], strict=True)
                if bound is not None
            },
        )
        for name, each in scores["figures"].items()
        if each["mean"] is not None
    ]  # fmt: skip
    figures += [
        Figure(name=name.replace("_", " "), value=float(value))
        for name, value in scores["distances"].items()
        if value is not None
    ]
    return Evaluated(
        faces=str(result["split"]), source=source,
        images=int(scores["rgb_images"]) + int(scores["thermal_images"]),
        subjects=int(scores["subjects"]), figures=tuple(figures),
    )  # fmt: skip


def plain_json(value: Mapping[str, Any]) -> str:
    """Return JSON that any reader takes: without NaN."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"
