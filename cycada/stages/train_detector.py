"""Assemble stage two: labelled and unlabelled faces and a network, then train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from cycada.config import DetectorConfig
from cycada.data.dataset import FaceImages, preload_all
from cycada.data.index import Domain, Index, Split, check_disjoint, check_files, read_index
from cycada.errors import ConfigError, DataError
from cycada.models.build import build_detector
from cycada.models.detector import Detector
from cycada.progress import Progress
from cycada.training.detector import Faces, train_detector
from cycada.training.examples import Examples
from cycada.training.launch import make_accelerator, my_share
from cycada.training.loading import LoadedDetector, detector_fingerprint, load_detector
from cycada.training.run import check_run, open_run
from cycada.training.teachers import joint_answers


def run_training(config: DetectorConfig, out: Path, *, progress: Progress | None = None) -> None:
    """Train a detector into the run directory ``out``, or go on with it.

    Args:
        config: Settings.
        out: Run directory.
        progress: Shows the steps; ``None`` shows them on the main process.

    Raises:
        CycadaError: Something in the settings, the data or the run directory is wrong.
    """
    _check(config)
    accelerator = make_accelerator(config.mixed_precision, double=config.double)
    my_share(config.batch_size, accelerator)  # so that a batch that cannot be shared fails here
    sources = _read(config.source)
    extras, targets = _read(config.labelled_target), _read(config.target)
    paths = (*config.source, *config.labelled_target, *config.target)
    indexes = zip(paths, (*sources, *extras, *targets), strict=True)
    inputs = {path: index.fingerprint() for path, index in indexes}
    inputs |= {path: detector_fingerprint(Path(path)) for path in config.teachers}
    check_run(out, "detector", config, inputs=inputs)
    check_disjoint([*sources, *extras, *targets])
    sources = [_source_rows(index, config) for index in sources]
    domains = _domains(sources, config)
    numbers = _action_units([*sources, *extras], domains, config)
    channels = config.channels or (3 if "rgb" in domains else 1)
    make = _Maker(config, numbers, channels)
    faces = Faces(
        source=make.examples(sources, domains, "train", what="source"),
        extra=make.examples(extras, ("thermal",), "train", what="labelled_target")
        if extras
        else None,
        target=make.examples(targets, ("thermal",), "train", what="target") if targets else None,
        validation=make.examples(sources, domains, "val", what="source"),
    )
    _check_labels(faces.source, numbers, "train")
    _check_labels(faces.validation, numbers, "val")
    used = [e for e in (faces.source, faces.extra, faces.target, faces.validation) if e]
    detector, inherited = _detector(config, numbers, channels, accelerator)
    window = _window(used)
    teachers = _teachers(config, numbers, window, accelerator)
    about: dict[str, Any] = {
        "action_units": list(numbers),
        "channels": channels,
        "source_domains": list(domains),
        "window": window,
        "seen_subjects": sorted(
            inherited.union(
                *(teacher.seen_subjects for teacher in teachers),
                *(e.subjects() for e in used),
                *(index.info.seen_subjects for index in (*sources, *extras, *targets)),
            )
        ),
        "faces": {"source": len(faces.source), "target": len(faces.target or ())},
    }
    if progress is None:
        progress = Progress(shown=accelerator.is_local_main_process)
    parts = (part for examples in used for part in examples.parts)
    preload_all(parts, limit_mb=config.cache_mb, progress=progress)
    if teachers and faces.target is not None:
        answers = joint_answers(
            teachers, faces.target, numbers, centring=config.teacher_centring,
            accelerator=accelerator, progress=progress,
        )  # fmt: skip
        faces.target.labels = answers if config.double else answers.float()
        faces.target.known = torch.ones_like(faces.target.known)
    with accelerator.main_process_first():
        run = open_run(out, "detector", config, writes=accelerator.is_main_process, inputs=inputs)
    about["seen_subjects"] = run.ever_seen(about["seen_subjects"])
    train_detector(
        run, config, detector=detector, faces=faces, about=about, accelerator=accelerator,
        progress=progress,
    )  # fmt: skip


class _Maker:
    """Makes the examples of this training: fixed AUs, channels and size."""

    def __init__(self, config: DetectorConfig, numbers: Sequence[int], channels: int) -> None:
        self.config, self.numbers, self.channels = config, numbers, channels

    def examples(
        self, indexes: Sequence[Index], domains: Sequence[Domain], split: Split, *, what: str
    ) -> Examples:
        """Return the faces of one split with their labels."""
        parts, labels, known = [], [], []
        for domain in domains:
            chosen = [index.select(domain=domain, split=split) for index in indexes]
            if not any(index.faces for index in chosen):
                continue
            for index in chosen:
                check_files(index)
                occurs, annotated = index.occurrences(self.numbers)
                labels.append(occurs)
                known.append(annotated)
            parts.append(FaceImages(chosen, domain=domain, size=self.config.size))
        if not parts:
            listed = ", ".join(str(index.root) for index in indexes)
            raise DataError(
                f"{what}: no {' or '.join(domains)} face in the split {split!r} of {listed}."
            )
        return Examples(
            parts, labels=torch.cat(labels), known=torch.cat(known), numbers=self.numbers,
            channels=self.channels,
        )  # fmt: skip


def _check(config: DetectorConfig) -> None:
    if not config.source:
        raise ConfigError("give at least one index with labelled faces: --source INDEX.")
    method = config.alignment.method
    if method != "none" and not config.target:
        raise ConfigError(
            f"alignment.method={method} aligns to unlabelled thermal faces: give --target INDEX."
        )
    if method == "none" and config.target and not config.teachers:
        raise ConfigError(
            "--target is for adaptation: add --set alignment.method=dann (or adda) or --teacher "
            "RUN, or leave it out."
        )
    if config.teachers and not config.target:
        raise ConfigError("teachers answer for unlabelled thermal faces: give --target INDEX.")
    if config.teachers and method == "adda":
        raise ConfigError("adda learns from no labels; let teachers teach with dann or none.")
    if method == "adda" and not config.initial:
        raise ConfigError(
            "adda begins from a trained detector: train one on the source first, then "
            "--set initial=RUN."
        )
    if method == "adda" and config.labelled_target:
        raise ConfigError("adda learns from no labels; mix labelled_target in with dann or none.")


def _read(paths: Sequence[str]) -> list[Index]:
    return [read_index(Path(path)) for path in paths]


def _source_rows(index: Index, config: DetectorConfig) -> Index:
    """Return the rows to learn from; of a corpus in RGB beside a translated one, those of each."""
    if config.source_domain == "both":
        return index
    if config.source_domain != "auto":
        return index.select(domain=config.source_domain)
    rgb = index.select(domain="rgb")
    return rgb if rgb.faces else index.select(domain="thermal")


def _domains(sources: Sequence[Index], config: DetectorConfig) -> tuple[Domain, ...]:
    """Return the domains of the rows to learn from; the one asked for, even if none is there."""
    if config.source_domain in ("rgb", "thermal"):
        return (config.source_domain,)
    both: tuple[Domain, ...] = ("rgb", "thermal")
    return tuple(d for d in both if any(i.select(domain=d).faces for i in sources))


def _action_units(
    indexes: Sequence[Index], domains: Sequence[Domain], config: DetectorConfig
) -> tuple[int, ...]:
    found = sorted(
        {n for index in indexes for d in domains for n in index.select(domain=d).action_units()}
    )
    if not found:
        raise DataError(
            f"no AU labels on {' or '.join(domains)} faces in "
            f"{', '.join(str(index.root) for index in indexes)}; the detector has nothing to learn."
        )
    missing = sorted(set(config.action_units) - set(found))
    if missing:
        raise ConfigError(
            f"action_units: AU{missing[0]:02d} is not annotated in the source; annotated are "
            f"{', '.join(str(n) for n in found)}."
        )
    return tuple(sorted(set(config.action_units))) or tuple(found)


def _check_labels(examples: Examples, numbers: Sequence[int], split: str) -> None:
    """Refuse a split in which some AU has no annotation at all."""
    for column, number in enumerate(numbers):
        if not examples.known[:, column].any():
            raise DataError(
                f"AU{number:02d} is annotated nowhere in the split {split!r} of the source; choose "
                "the AUs with --set action_units=[…]."
            )


def _window(used: Sequence[Examples]) -> list[float] | None:
    spans = {part.window for e in used for part in e.parts if part.domain == "thermal"}
    if len(spans) > 1:
        told = " and ".join(
            "grey" if span is None else f"{span.low:g} to {span.high:g} deg C" for span in spans
        )
        raise DataError(f"source and target thermal faces span different temperatures: {told}.")
    window = spans.pop() if spans else None
    return None if window is None else [window.low, window.high]


def _teachers(
    config: DetectorConfig,
    numbers: Sequence[int],
    window: list[float] | None,
    accelerator: Accelerator,
) -> list[LoadedDetector]:
    """Load the teachers, and refuse those that cannot answer for these faces."""
    teachers = [load_detector(Path(path), accelerator.device) for path in config.teachers]
    for path, teacher in zip(config.teachers, teachers, strict=True):
        if missing := sorted(set(numbers) - set(teacher.action_units)):
            raise ConfigError(
                f"teachers: the detector {path} does not know AU{missing[0]:02d}, which this "
                "training detects; choose AUs that all know with --set action_units=[…]."
            )
        if teacher.size != config.size:
            raise ConfigError(
                f"teachers: the detector {path} was trained on images of {teacher.size} px, this "
                f"training has size {config.size}; they must agree."
            )
        known = None if teacher.window is None else [teacher.window.low, teacher.window.high]
        reads_thermal = known is not None or "thermal" in teacher.source_domains
        if reads_thermal and known != window:
            raise ConfigError(
                f"teachers: the detector {path} learned from thermal images of another "
                "temperature window than the target's; index them with one window."
            )
        if config.double:
            teacher.module.double()
    return teachers


def _detector(
    config: DetectorConfig, numbers: Sequence[int], channels: int, accelerator: Accelerator
) -> tuple[Detector, frozenset[str]]:
    """Return a fresh or the initial detector, and the subjects that the latter has seen."""
    if not config.initial:
        with torch.random.fork_rng(devices=[]), accelerator.main_process_first():
            torch.manual_seed(config.seed)
            return build_detector(config, channels=channels, outputs=len(numbers)), frozenset()
    loaded = load_detector(Path(config.initial), torch.device("cpu"))
    expected: dict[str, tuple[Any, Any]] = {
        "action_units": (loaded.action_units, tuple(numbers)),
        "channels": (loaded.channels, channels),
        "size": (loaded.size, config.size),
        "backbone": (loaded.config.backbone, config.backbone),
        "view": (loaded.config.view, config.view),
        "width": (loaded.config.width, config.width),
    }
    for name, (found, wanted) in expected.items():
        if found != wanted:
            raise ConfigError(
                f"initial: the detector {config.initial} has {name} {found}, this training "
                f"{wanted}; they must agree."
            )
    return loaded.module.train().requires_grad_(True), loaded.seen_subjects  # noqa: FBT003
