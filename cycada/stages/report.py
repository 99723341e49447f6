"""Gather runs, evaluations and datasets into one page to look at."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

import cycada
from cycada.config import TranslatorConfig
from cycada.data.index import CSV_NAME, Index, read_index
from cycada.data.index_checks import check_links
from cycada.data.index_info import TOML_NAME, read_info
from cycada.errors import CycadaError, DataError, RunError, UsageError
from cycada.files import check_text
from cycada.metrics.scores import DetectionScores, IntensityScores
from cycada.progress import Progress
from cycada.report.full_size import FULL_SIZE_PIXELS
from cycada.report.methods import (
    Scored,
    detection_figures,
    detection_section,
    in_order,
    spoken,
)
from cycada.report.page import Block, Page, Section, Strip, Text, write_page
from cycada.report.provenance import audit_section, provenance_section
from cycada.report.sections import curves_section, settings_section, translation_section
from cycada.stages.audit import JSON_NAME
from cycada.stages.evaluate_translator import MEAN_NAME
from cycada.stages.report_audit import read_audits
from cycada.stages.report_choice import COUNT, GalleryOptions
from cycada.stages.report_faces import (
    dataset_strips,
    mean_strip,
    samples_strip,
    translated_strips,
)
from cycada.stages.report_gallery import (
    dataset_gallery,
    detections_section,
    gallery_options,
    translator_gallery,
)
from cycada.stages.report_health import health_section
from cycada.stages.report_scores import score_sections
from cycada.stages.scoring import SCORES_NAME
from cycada.training.loading import load_translator
from cycada.training.run_reading import CONFIG_NAME, read_log, run_config, run_kind, trained_with

Kind = Literal["translator", "detector", "evaluation", "dataset", "audit"]

PAGE_NAME = "report.html"
_DEPTH = 3  # folders below a given one that are searched


@dataclass(slots=True)
class _Found:
    """What the given folders are."""

    translators: list[Path] = field(default_factory=list)
    detectors: list[Path] = field(default_factory=list)
    evaluations: list[Path] = field(default_factory=list)
    datasets: list[Path] = field(default_factory=list)
    audits: list[Path] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shown:
    """What a page shows beside figures."""

    subjects: bool  # names of subjects, and paths with their folders
    outside: bool  # images that an index from elsewhere names outside its folder
    galleries: GalleryOptions | None  # None: no pictures of faces

    @property
    def samples(self) -> bool:
        """Whether it shows pictures of faces."""
        return self.galleries is not None


def report(
    paths: Sequence[Path], out: Path, *, title: str = "", samples: bool = True,
    include_subjects: bool = False, allow_outside: bool = False, count: int | None = COUNT,
    full_pixels: int | None = FULL_SIZE_PIXELS, progress: Progress | None = None,
) -> Path:  # fmt: skip
    """Write a page about runs, evaluations and datasets, and return its file.

    Unless asked for it names no subject, and of a path only the last part.

    Args:
        paths: Run directories, folders of ``evaluate`` and ``audit``, indexes, or a folder that
            holds some of them.
        out: The HTML file, or the folder for it.
        title: Heading; empty chooses one.
        samples: Show pictures of faces.
        include_subjects: Name subjects, and paths with their folders.
        allow_outside: Believe paths of an index from elsewhere that leave its folder.
        count: Images of each gallery at most; None: all.
        full_pixels: Pixels of all galleries together in full size at most; None: any number.
        progress: Shows the images of the galleries; None shows nothing.

    Raises:
        UsageError: A path is none of these.
        CycadaError: Something in them cannot be read.
    """
    file = out if out.suffix.lower() in (".html", ".htm") else out / PAGE_NAME
    options = gallery_options(
        file, count=count, full_pixels=full_pixels, subjects=include_subjects,
        progress=progress or Progress(shown=False),
    )  # fmt: skip
    shown = _Shown(
        subjects=include_subjects, outside=allow_outside, galleries=options if samples else None
    )
    found = _sorted(paths)
    methods, translations = _read_evaluations(found.evaluations)
    sections: list[Section] = []
    heroes: list[Strip] = []
    runs = [*found.translators, *found.detectors]
    heads = [(run.name, _read_json(run / CONFIG_NAME)) for run in runs]
    names = [name for name, _ in heads]
    settings = {name: head["settings"] for name, head in heads if names.count(name) == 1}
    for group in _comparable(methods):
        sections += score_sections(group, settings)
    if shown.galleries is not None:
        scored = [(each.folder, each.head) for each in methods if each.folder is not None]
        faces = detections_section(scored, shown.galleries, allow_outside=shown.outside)
        sections += [faces] if faces is not None else []
    for run in found.translators:
        glance, section, hero = _translator_sections(run, found, shown)
        if glance is not None:  # before all else where it warns
            warned = any(isinstance(block, Text) and block.warns for block in glance.blocks)
            sections.insert(0 if warned else len(sections), glance)
        sections.append(section)
        heroes += hero
    if translations:
        means = [
            mean_strip(path / MEAN_NAME, _read_json(path / SCORES_NAME))
            for path in found.evaluations
            if shown.samples and (path / MEAN_NAME).is_file()
        ]
        if not shown.subjects:
            translations = [(name, _with_short_reasons(each)) for name, each in translations]
        sections.append(translation_section(translations, means))
    for dataset in found.datasets:
        section, hero = _dataset_section(dataset, shown)
        sections.append(section)
        heroes += hero
    sections += _detector_sections(found.detectors)
    health = health_section([(run, head) for run, (_, head) in zip(runs, heads, strict=True)])
    sections += [health] if health else []
    near = [*found.datasets, *_roots(runs, [head for _, head in heads])]
    audits = read_audits(found.audits, near, named=shown.subjects)
    if near or audits:
        sections.append(audit_section(audits, named=shown.subjects))
    if heads:
        told = heads if shown.subjects else [(n, _without_folders_of(head)) for n, head in heads]
        sections.append(provenance_section(told))
        sections.append(settings_section([(name, head["settings"]) for name, head in told]))
    groups = _comparable(methods)
    page = Page(
        title=title or _title(found, groups),
        subtitle=_subtitle(groups, found),
        figures=detection_figures(groups[0]) if groups else (),
        hero=heroes[0] if heroes else None,
        sections=tuple(sections),
        provenance=_provenance([head for _, head in heads]),
    )
    write_page(file, page)
    return file


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Return the runs among what :func:`report` would show.

    Raises:
        UsageError: A path is nothing that it shows.
    """
    found = _sorted(paths)
    return [*found.translators, *found.detectors]


def find_datasets(paths: Sequence[Path]) -> list[Path]:
    """Return the indexes among what :func:`report` would show.

    Raises:
        UsageError: A path is nothing that it shows.
    """
    return _sorted(paths).datasets


def _sorted(paths: Sequence[Path]) -> _Found:
    found = _Found()
    for path in paths:
        kind = _kind(path)
        places = [(path, kind)] if kind else list(_below(path, _DEPTH))
        if not places:
            raise UsageError(
                f"{path}: expected a run, a folder of `cycada evaluate` or `cycada audit`, an "
                "index, or a folder that holds some of them."
            )
        for place, what in places:
            known: list[Path] = getattr(found, f"{what}s")
            if place not in known:
                known.append(place)
    for known in (found.detectors, found.evaluations):
        order = in_order([path.name for path in known])
        known.sort(key=lambda path: order.index(path.name))
    return found


def _kind(path: Path) -> Kind | None:
    if (path / CONFIG_NAME).is_file():
        return run_kind(path)
    if (path / SCORES_NAME).is_file():
        return "evaluation"
    if (path / JSON_NAME).is_file() and not (path / CSV_NAME).is_file():
        return "audit"
    if (path / CSV_NAME).is_file() or (path.name == CSV_NAME and path.is_file()):
        return "dataset"
    return None


def _below(path: Path, depth: int) -> Iterable[tuple[Path, Kind]]:
    """Yield what lies below a folder: runs, evaluations, and datasets made by translation."""
    if depth == 0 or not path.is_dir():
        return
    for child in sorted(path.iterdir()):
        kind = _kind(child) if child.is_dir() else None
        if kind is None:
            yield from _below(child, depth - 1)
        elif kind != "dataset" or read_info(child / TOML_NAME).translator:
            yield child, kind


def _read_evaluations(
    paths: Sequence[Path],
) -> tuple[list[Scored], list[tuple[str, dict[str, Any]]]]:
    methods, translations = [], []
    for path in paths:
        result = _read_json(path / SCORES_NAME)
        try:
            # Shown by itself first, so that what a file lacks is told of that file.
            if result["kind"] == "detector":
                scores = DetectionScores.from_json(result["scores"])
                graded = result.get("intensities")
                intensities = IntensityScores.from_json(graded) if graded else None
                method = Scored(
                    name=path.name, scores=scores, head=result, intensities=intensities,
                    folder=path,
                )  # fmt: skip
                detection_section([method])
                detection_figures([method])
                methods.append(method)
            else:
                translation_section([(path.name, result)], [])
                translations.append((path.name, result))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path / SCORES_NAME}: was not written by `cycada evaluate` ({error})."
            ) from error
    return methods, translations


def _comparable(methods: Sequence[Scored]) -> list[list[Scored]]:
    """Group scores of the same faces: only those may stand in one table."""
    groups: dict[tuple[Any, ...], list[Scored]] = {}
    for method in methods:
        head, scores = method.head, method.scores
        where = (head.get(name) for name in ("index", "split", "domain"))
        key = (*where, scores.kind, scores.frames)
        groups.setdefault(key, []).append(method)
    return sorted(groups.values(), key=len, reverse=True)


def _translator_sections(
    run: Path, found: _Found, shown: _Shown
) -> tuple[Section | None, Section, list[Strip]]:
    """Return what is seen of a translator at a glance, and of its faces one by one."""
    many = len(found.translators) > 1
    config = run_config(run, "translator", TranslatorConfig)
    blocks: list[Block] = []
    heroes: list[Strip] = []
    glance: Section | None = None
    if shown.galleries is not None:
        try:
            translator = load_translator(run, torch.device("cpu"))
            indexes = _indexes(config.data, run, shown)
            strips = translated_strips(translator, indexes, named=shown.subjects)
            heroes = strips[:1]
            blocks += strips if many else strips[1:]
        except CycadaError as error:
            told = str(error) if shown.subjects else _told_of_run(error, run)
            blocks.append(Text(text=f"No translations to show: {told}", warns=True))
        else:
            title = f"{spoken(run.name)} at a glance" if many else "Translations at a glance"
            seen = translator_gallery(run, indexes, found.detectors, shown.galleries, title=title)
            glance = seen.glance
            blocks += seen.blocks
        blocks += samples_strip(run)
    curves = curves_section("", [(run.name, read_log(run))])
    blocks += curves.blocks if curves else ()
    title = f"Translator {spoken(run.name)}" if many else "Translations"
    intro = f"{config.steps:,} steps at {config.size} px, batches of {config.batch_size}."
    if other := trained_with(run):
        intro = f"Trained with {other}'s code; it is shown images of {config.size} px."
    return glance, Section(title=title, intro=intro, blocks=tuple(blocks)), heroes


def _indexes(paths: Sequence[str], run: Path, shown: _Shown) -> list[Index]:
    """Read the indexes of a run, where they were or beside the run."""
    found = []
    for text in paths:
        places = (Path(text), run.parent / text, run.parent / Path(text).name)
        place = next((p for p in places if (p / CSV_NAME).is_file()), Path(text))
        index = read_index(place, allow_outside=shown.outside)
        check_links(index)
        found.append(index)
    return found


def _dataset_section(path: Path, shown: _Shown) -> tuple[Section, list[Strip]]:
    index = read_index(path, allow_outside=shown.outside)
    check_links(index)
    strips = dataset_strips(index, named=shown.subjects) if shown.samples else []
    intro = (
        f"{len(index.faces):,} faces of {len(index.subjects()):,} subjects; "
        f"{len(index.action_units())} Action Units annotated."
        + (f" Classes: {', '.join(index.classes())}." if index.classes() else "")
    )
    title = f"Dataset {spoken(index.root.name)}"
    blocks: list[Block] = list(strips)
    if shown.galleries is not None:
        blocks += dataset_gallery(index, shown.galleries)
    return Section(title=title, intro=intro, blocks=tuple(blocks)), strips


def _detector_sections(runs: Sequence[Path]) -> list[Section]:
    section = curves_section(
        "Detector training", [(run.name, read_log(run)) for run in runs if read_log(run)]
    )
    return [section] if section else []


def _title(found: _Found, groups: Sequence[Sequence[Scored]]) -> str:
    if groups and groups[0][0].scores.kind == "classes":
        return "Classes told in another domain"
    if found.translators and (found.detectors or found.evaluations):
        return "Action Units in infrared faces"
    if found.translators:
        return "RGB faces as infrared faces"
    return "Detectors compared" if found.detectors or found.evaluations else "Faces"


def _subtitle(groups: Sequence[Sequence[Scored]], found: _Found) -> str:
    if groups:
        head, scores = groups[0][0].head, groups[0][0].scores
        return (
            f"{len(groups[0])} detectors, scored on {scores.frames:,} {head.get('domain', '')} "
            f"faces of {scores.subjects:,} {head.get('split', '')} subjects."
        )
    names = [path.name for paths in (found.translators, found.datasets) for path in paths]
    return ", ".join(map(spoken, names))


def _provenance(heads: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    rows = {"cycada": {cycada.__version__}}
    for head in heads:
        for name, key in (("cycada", "version"), ("PyTorch", "torch"), ("Python", "python")):
            if key in head:
                rows.setdefault(name, set()).add(str(head[key]))
        if "seed" in head["settings"]:
            rows.setdefault("Seed", set()).add(str(head["settings"]["seed"]))
    return tuple((name, ", ".join(sorted(values))) for name, values in rows.items())


_FOLDERS = re.compile(r"(?<![\w:/])(?:[A-Za-z]:)?[/\\](?:[^\s/\\]+[/\\])*")


def _without_folders(value: Any) -> Any:
    """Return settings with the last part alone of every path among them."""
    if isinstance(value, dict):
        return {name: _without_folders(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_folders(each) for each in value]
    if isinstance(value, str):
        return value.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return value


def _without_folders_of(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return the head of a run with the last part alone of every path in it."""
    inputs: dict[str, Any] = {}
    for path, value in head.get("inputs", {}).items():
        name = shown = _without_folders(path)
        count = 1
        while shown in inputs:  # another of the same name
            count += 1
            shown = f"{name} ({count})"
        inputs[shown] = value
    return {**head, "settings": _without_folders(head["settings"]), "inputs": inputs}


def _roots(runs: Sequence[Path], heads: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Return the folders of the indexes that runs learned from, of those that are there."""
    return [
        place
        for run, head in zip(runs, heads, strict=True)
        for path in head.get("inputs", {})
        for place in (Path(path), run.parent / path, run.parent / Path(path).name)
        if (place / CSV_NAME).is_file()
    ]


def _told_of_run(error: CycadaError, run: Path) -> str:
    """Return an error without folders; what is wrong with data may name subjects, too."""
    if not isinstance(error, RunError):
        return "its faces cannot be read; --include-subjects tells why."
    return _FOLDERS.sub("", str(error).replace(str(run), run.name))


def _with_short_reasons(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return an evaluation whose reasons for what is missing name files without their folders."""
    scores = dict(result["scores"])
    missing = scores.get("not_available", {})
    scores["not_available"] = {name: _FOLDERS.sub("", why) for name, why in missing.items()}
    return {**result, "scores": scores}


def _read_json(file: Path) -> dict[str, Any]:
    check_text(file)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file}: cannot be read ({error}).") from error
    if not isinstance(found, dict):
        raise DataError(f"{file}: expected a JSON object.")
    return found
