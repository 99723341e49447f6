"""Assemble stage two: labelled and unlabelled faces and a network, then train."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from cycada.config import DetectorConfig
from cycada.data.dataset import FaceImages, preload_all
from cycada.data.index import Domain, Index, Split, read_index
from cycada.data.index_checks import check_disjoint, check_links
from cycada.data.landmarks import LANDMARKS_NAME, Landmarks, read_landmarks
from cycada.data.subjects import DIGESTS_KEY, digests_of
from cycada.errors import ConfigError, DataError
from cycada.landmarks import EYE_CORNERS, mirror_order
from cycada.losses.landmarks import known_landmarks
from cycada.models.backbones import PUBLISHED, imagenet_address
from cycada.models.build import build_detector
from cycada.models.detector import Detector
from cycada.models.regions import RegionBackbone
from cycada.progress import Progress
from cycada.rejecting import REJECTED_NAME, Limit
from cycada.stages.auditing import audit_faces, audit_inputs
from cycada.stages.detector_rows import few_labelled, source_domains, source_rows, task_of
from cycada.stages.leaving_out import look_at_inputs
from cycada.task import Task
from cycada.training.detector import Faces, train_detector
from cycada.training.examples import Examples
from cycada.training.finite import stepping_back
from cycada.training.launch import make_accelerator, my_share, neighbours_of
from cycada.training.loading import LoadedDetector, detector_fingerprint, load_detector
from cycada.training.run import check_run, running
from cycada.training.selection import CRITERIA
from cycada.training.teachers import joint_answers
from cycada.training.trackers import chosen_trackers
from cycada.weights import fetch


def run_training(
    config: DetectorConfig, out: Path, *, progress: Progress | None = None,
    download: bool = False, limit: Limit | None = None, allow_outside: bool = False,
) -> None:  # fmt: skip
    """Train a detector into the run directory ``out``, or go on with it.

    Args:
        config: Settings.
        out: Run directory.
        progress: Shows the steps; ``None`` shows them on the main process.
        download: Fetch ImageNet's weights if the settings name them and they are not here.
        limit: How many images that cannot be read may be left out; ``None`` for the default.
        allow_outside: Believe paths of an index from elsewhere that leave its folder.

    Raises:
        CycadaError: Something in the settings, the data or the run directory is wrong.
    """
    _check(config)
    accelerator = make_accelerator(
        config.mixed_precision, double=config.double, accumulate=config.accumulate,
        trackers=chosen_trackers(config.trackers, out), root=out,
    )  # fmt: skip
    my_share(config.batch_size, accelerator)  # so that a batch that cannot be shared fails here
    sources, extras, targets = (
        [read_index(Path(path), allow_outside=allow_outside) for path in paths]
        for paths in (config.source, config.labelled_target, config.target)
    )
    paths = (*config.source, *config.labelled_target, *config.target)
    indexes = zip(paths, (*sources, *extras, *targets), strict=True)
    inputs = {path: index.fingerprint() for path, index in indexes}
    inputs |= {path: detector_fingerprint(Path(path)) for path in config.teachers}
    tables = _landmarks(config, sources)
    for index in sources:
        if index.root in tables:
            learned = tables[index.root].fingerprint(index.select(split="train").faces)
            inputs[str(index.root / LANDMARKS_NAME)] = learned
    check_run(out, "detector", config, inputs=inputs)
    check_disjoint([*sources, *extras, *targets])
    for index in (*sources, *extras, *targets):
        check_links(index)
    sources = [source_rows(index, config) for index in sources]
    parts = _parts(config, sources, extras, targets, tables)
    detector, inherited = _detector(
        config, parts.task, parts.channels, accelerator, parts.landmarks, download=download
    )
    window = _window(parts.used)
    teachers = _teachers(config, parts.task, window, accelerator)
    if progress is None:
        progress = Progress(shown=accelerator.is_local_main_process)
    looked = look_at_inputs(
        [*sources, *(index.select(domain="thermal") for index in (*extras, *targets))],
        out, limit=limit or Limit(), accelerator=accelerator, progress=progress,
    )  # fmt: skip
    if looked.left_out:
        sources, extras, targets = (
            [looked.of(index) for index in indexes] for indexes in (sources, extras, targets)
        )
        parts = _parts(config, sources, extras, targets, tables, task=parts.task)
    faces, used = parts.faces, parts.used
    _start_finder(detector, faces.source, config)
    about: dict[str, Any] = {
        **parts.task.to_json(),
        "landmarks": list(detector.landmarks),
        "channels": parts.channels,
        "source_domains": list(parts.domains),
        "window": window,
        DIGESTS_KEY: sorted(
            inherited.union(
                *(teacher.seen for teacher in teachers),
                *(digests_of(e.subjects()) for e in used),
                *(index.info.seen for index in (*sources, *extras, *targets)),
            )
        ),
        "faces": {"source": len(faces.source), "target": len(faces.target or ())},
    }
    inputs[REJECTED_NAME] = looked.fingerprint()
    found = audit_inputs(looked, labelled=sources, progress=progress)
    images = (part for examples in used for part in examples.parts)
    preload_all(
        images, limit_mb=config.cache_mb, progress=progress, neighbours=neighbours_of(accelerator)
    )
    others = [*faces.target.parts] if faces.target else []
    # With ``target_labels`` they are among the target's, and need not be told of twice.
    looked_at = {part.roots for part in others}
    others += [part for part in (faces.extra.parts if faces.extra else ())
               if part.roots not in looked_at]  # fmt: skip
    audit_faces(faces.source.parts, others, found=found, progress=progress)
    if teachers and faces.target is not None:
        answers = joint_answers(
            teachers, faces.target, answers=config.teacher_answers,
            centring=config.teacher_centring, mirrored=config.augment.flip > 0,
            accelerator=accelerator, progress=progress,
        )  # fmt: skip
        answers = answers if config.double else answers.float()
        _answer(faces.target, answers, parts.few)
    with running(out, "detector", config, accelerator=accelerator, inputs=inputs) as run:
        about[DIGESTS_KEY] = run.ever_seen(about[DIGESTS_KEY])
        if run.writes:
            looked.left_out.close()
        stepping_back(
            lambda slower: train_detector(
                run, config, detector=detector, faces=faces, about=about, slower=slower,
                accelerator=accelerator, progress=progress,
            ),
            run, limit=config.steps_back, accelerator=accelerator, tell=progress.say,
        )  # fmt: skip


class _Parts(NamedTuple):
    faces: Faces
    used: list[Examples]  # all of ``faces``
    few: set[str]  # subjects of the target whose labels are learned
    task: Task
    channels: int
    domains: tuple[Domain, ...]  # of the source
    landmarks: tuple[str, ...]


def _parts(
    config: DetectorConfig, sources: Sequence[Index], extras: Sequence[Index],
    targets: Sequence[Index], tables: Mapping[Path, Landmarks], *, task: Task | None = None,
) -> _Parts:  # fmt: skip
    """Return the faces that a training learns from; no image is looked at.

    Args:
        config: Settings.
        sources: The rows to learn from.
        extras: Indexes whose thermal faces and labels are mixed in.
        targets: Indexes of faces to adapt to.
        tables: Landmarks of the sources, by folder.
        task: What is learned; ``None`` for what the sources are labelled with.
    """
    few = few_labelled(targets, config)
    labelled = [*extras, *few]
    domains = source_domains(sources, config)
    task = task or task_of([*sources, *extras], domains, config)
    channels = config.channels or (3 if "rgb" in domains else 1)
    make = _Maker(config, task, channels, tables)
    faces = Faces(
        source=make.examples(sources, domains, "train", what="source"),
        extra=make.examples(labelled, ("thermal",), "train", what="labelled_target")
        if labelled
        else None,
        target=make.examples(targets, ("thermal",), "train", what="target") if targets else None,
        validation=make.examples(sources, domains, "val", what="source"),
    )
    _check_labels(faces.source, "train")
    _check_labels(faces.validation, "val")
    _check_eyes(faces.source, tables)
    used = [e for e in (faces.source, faces.extra, faces.target, faces.validation) if e]
    subjects = {face.subject for index in few for face in index.faces}
    return _Parts(faces, used, subjects, task, channels, domains, make.landmarks)


class _Maker:
    """Makes the examples of this training: fixed answers, channels and size."""

    def __init__(
        self, config: DetectorConfig, task: Task, channels: int, tables: Mapping[Path, Landmarks]
    ) -> None:
        self.config, self.task, self.channels, self.tables = config, task, channels, tables
        self.landmarks = next((table.names for table in tables.values()), ())

    def examples(
        self, indexes: Sequence[Index], domains: Sequence[Domain], split: Split, *, what: str
    ) -> Examples:
        """Return the faces of one split with their labels."""
        parts, labels, known, graded, points = [], [], [], [], []
        wanted = self.landmarks and split == "train" and what != "target"
        for domain in domains:
            chosen = [index.select(domain=domain, split=split) for index in indexes]
            if not any(index.faces for index in chosen):
                continue
            for index in chosen:
                occurs, annotated = index.labels(self.task)
                labels.append(occurs)
                known.append(annotated)
                graded.append(index.intensities(self.task.action_units))
                if wanted:
                    points.append(self._points(index, learned=what == "source"))
            parts.append(FaceImages(chosen, domain=domain, size=self.config.size))
        if not parts:
            listed = ", ".join(str(index.root) for index in indexes)
            raise DataError(
                f"{what}: no {' or '.join(domains)} face in the split {split!r} of {listed}."
            )
        return Examples(
            parts, labels=torch.cat(labels), known=torch.cat(known), task=self.task,
            channels=self.channels, intensities=torch.cat(graded),
            landmarks=torch.cat(points) if points else None,
            mirror_order=mirror_order(self.landmarks),
        )  # fmt: skip

    def _points(self, index: Index, *, learned: bool) -> Tensor:
        """Return the landmarks of the index's faces; those of labelled target faces are unknown."""
        if learned and index.root in self.tables:
            return self.tables[index.root].of(index, self.landmarks, size=self.config.size)
        return torch.full((len(index.faces), len(self.landmarks), 2), math.nan)


def _check(config: DetectorConfig) -> None:
    if not config.source:
        raise ConfigError("give at least one index with labelled faces: --source INDEX.")
    method = config.alignment.method
    if method != "none" and not config.target:
        raise ConfigError(
            f"alignment.method={method} aligns to unlabelled thermal faces: give --target INDEX."
        )
    learns = [
        f"self_training.{name}" for name in ("information", "consistency")
        if getattr(config.self_training, name)
    ]  # fmt: skip
    if learns and not config.target:
        raise ConfigError(f"{learns[0]} needs unlabelled thermal faces: give --target INDEX.")
    if (
        method == "none"
        and config.target
        and not (config.teachers or learns or config.target_labels)
    ):
        raise ConfigError(
            "--target is for adaptation: add --set alignment.method=dann (or cdan, adda), "
            "--teacher RUN or --set self_training.…, or leave it out."
        )
    if config.choose in CRITERIA and not config.target:
        raise ConfigError(
            f"choose={config.choose} judges by unlabelled faces: give --target INDEX."
        )
    if learns and method == "adda":
        raise ConfigError(f"adda learns from no labels; use {learns[0]} with dann, cdan or none.")
    if config.teachers and not config.target:
        raise ConfigError("teachers answer for unlabelled thermal faces: give --target INDEX.")
    if config.teachers and method == "adda":
        raise ConfigError("adda learns from no labels; let teachers teach with dann or none.")
    if method == "adda" and not config.initial:
        raise ConfigError(
            "adda begins from a trained detector: train one on the source first, then "
            "--set initial=RUN."
        )
    if config.target_labels and not config.target:
        raise ConfigError(
            "target_labels are those of some of the target's faces: give --target INDEX."
        )
    if method == "adda" and (config.labelled_target or config.target_labels):
        raise ConfigError("adda learns from no labels; mix labelled faces in with dann or none.")


def _answer(target: Examples, answers: Tensor, labelled: set[str]) -> None:
    """Give the target's faces teachers' answers for labels, but where labels are to be used."""
    used = torch.tensor([subject in labelled for subject in target.subject_of()])
    mine = used[:, None] & target.known
    target.labels = torch.where(mine, target.labels.to(answers.dtype), answers)
    target.known = torch.ones_like(target.known)


def _check_labels(examples: Examples, split: str) -> None:
    """Refuse a split in which some AU has no annotation at all, or some class no face."""
    task = examples.task
    for column, name in enumerate(task.names):
        if not examples.known[:, column].any():
            raise DataError(
                f"{name} is annotated nowhere in the split {split!r} of the source; choose "
                "the AUs with --set action_units=[…]."
                if task.kind == "action_units"
                else f"no face in the split {split!r} of the source has a class label."
            )
        if task.kind == "classes" and split == "train" and not examples.labels[:, column].any():
            raise DataError(f"no face in the split {split!r} of the source shows class {name!r}.")


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
    task: Task,
    window: list[float] | None,
    accelerator: Accelerator,
) -> list[LoadedDetector]:
    """Load the teachers, and refuse those that cannot answer for these faces."""
    teachers = [load_detector(Path(path), accelerator.device) for path in config.teachers]
    for path, teacher in zip(config.teachers, teachers, strict=True):
        try:
            task.places_in(teacher.task)
        except KeyError as error:
            raise ConfigError(
                f"teachers: the detector {path} does not know {error.args[0]}, which this "
                "training detects; choose teachers that know all answers, or the AUs that all know "
                "with --set action_units=[…]."
            ) from None
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


def _landmarks(config: DetectorConfig, sources: Sequence[Index]) -> dict[Path, Landmarks]:
    """Return the tables of landmarks that a fresh network of regions learns from, by folder.

    Raises:
        ConfigError: The source has none.
        DataError: A table cannot be used.
    """
    if config.backbone != "regions" or config.initial:
        return {}
    found = {index.root: read_landmarks(index.root) for index in sources}
    tables = {root: table for root, table in found.items() if table is not None}
    if not tables:
        raise ConfigError(
            f"backbone=regions learns where eyes, nose and mouth are from {LANDMARKS_NAME}, which "
            f"is missing in {', '.join(map(str, found))}; add one, begin from a detector of "
            "regions with --set initial=RUN, or take another backbone."
        )
    return tables


def _check_eyes(source: Examples, tables: Mapping[Path, Landmarks]) -> None:
    """Refuse landmarks by which no face can be aligned."""
    if source.landmarks is None:
        return
    names = next(iter(tables.values())).names
    eyes = [names.index(corner) for corner in EYE_CORNERS]
    if not known_landmarks(source.landmarks, eyes=eyes).any():
        raise DataError(
            f"{', '.join(str(root / LANDMARKS_NAME) for root in tables)}: all four corners of the "
            "eyes are known of no training face of the source; the paths must be those of "
            "index.csv."
        )


def _start_finder(detector: Detector, source: Examples, config: DetectorConfig) -> None:
    """Let a fresh finder of landmarks begin at their means; one that has learned stays."""
    if not isinstance(detector.backbone, RegionBackbone):
        return
    if config.initial:
        detector.backbone.fix_finder()
    elif source.landmarks is not None:
        means = (source.landmarks.nanmean(0) + 0.5) / config.size
        detector.backbone.finder.mean.copy_(means.nan_to_num(0.5))


def _detector(
    config: DetectorConfig,
    task: Task,
    channels: int,
    accelerator: Accelerator,
    landmarks: Sequence[str],
    *,
    download: bool,
) -> tuple[Detector, frozenset[str]]:
    """Return a fresh or the initial detector, and digests of whom the latter has seen."""
    if not config.initial:
        with torch.random.fork_rng(devices=[]), accelerator.main_process_first():
            if download and config.pretrained == "imagenet" and config.backbone in PUBLISHED:
                fetch(imagenet_address(config.backbone))
            torch.manual_seed(config.seed)
            made = build_detector(config, channels=channels, task=task, landmarks=landmarks)
            return made, frozenset()
    loaded = load_detector(Path(config.initial), torch.device("cpu"))
    expected: dict[str, tuple[Any, Any]] = {
        "answers": (", ".join(loaded.task.names), ", ".join(task.names)),
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
    return loaded.module.train().requires_grad_(True), loaded.seen  # noqa: FBT003
