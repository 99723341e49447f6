"""Sections of a page about scored detectors: compared, and with every decision behind a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from cycada.data.predictions import PREDICTIONS_NAME, Predictions, read_predictions
from cycada.errors import DataError
from cycada.report.comparison import comparison_section
from cycada.report.decisions import decision_sections
from cycada.report.judged import Judged
from cycada.report.methods import Scored, detection_section
from cycada.report.page import Section


def score_sections(
    methods: Sequence[Scored], settings: Mapping[str, Mapping[str, Any]]
) -> list[Section]:
    """Return what is to be said of detectors that were scored on the same faces.

    Args:
        methods: In the order of the page.
        settings: Of runs, by the names of their folders: what was learned from.

    Raises:
        DataError: A table of predictions is not that of the scores.
    """
    said = [_predictions(method) for method in methods]
    judged = [
        None if each is None else Judged(method=method, predictions=each)
        for method, each in zip(methods, said, strict=True)
    ]
    learned = [_learned(method, settings) for method in methods]
    compared = comparison_section(methods, judged, learned=learned)
    lacking = [method.title for method, each in zip(methods, said, strict=True) if each is None]
    return [
        *([compared] if compared else []),
        detection_section(methods),
        *decision_sections([each for each in judged if each], lacking=lacking),
    ]


def _predictions(method: Scored) -> Predictions | None:
    """Return what was said of every face; ``None`` where the table is not there."""
    file = None if method.folder is None else method.folder / PREDICTIONS_NAME
    if file is None or not file.exists():
        return None
    said = read_predictions(file, [unit.name for unit in method.scores.units])
    scored = int(said.known.any(axis=1).sum())
    if scored != method.scores.frames:
        raise DataError(
            f"{file}: holds {scored} faces with a label, but the scores beside it are of "
            f"{method.scores.frames}; `cycada evaluate` writes both anew."
        )
    return said


def _learned(method: Scored, settings: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what a detector learned from, in a few words; of paths the last part."""
    run = PurePosixPath(str(method.head.get("run", "")).replace("\\", "/")).name
    found = settings.get(run) or settings.get(method.name)
    if not found:
        return ""
    told = " + ".join(_names(found.get("source")))
    if target := _names(found.get("target")):
        how = str(found.get("alignment", {}).get("method", "none"))
        told += f"; {'beside' if how == 'none' else f'{how} to'} {' + '.join(target)}"
    if labelled := _names(found.get("labelled_target")):
        told += f"; labels of {' + '.join(labelled)}"
    if teachers := _names(found.get("teachers")):
        told += f"; taught by {', '.join(teachers)}"
    elif initial := _names([found.get("initial")]):
        told += f"; begun from {initial[0]}"
    return told


def _names(paths: Any) -> list[str]:
    if not isinstance(paths, (list, tuple)):
        return []
    parts = (str(path).replace("\\", "/").rstrip("/").rpartition("/")[2] for path in paths if path)
    return [part for part in parts if part]
