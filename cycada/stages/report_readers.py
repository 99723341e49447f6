"""Which detectors say what a translation keeps: one that reads RGB faces, one that reads thermal.

Nobody can judge alone. A detector that learned from translations with the labels of their sources
has learned whatever the translator does to them, a swap of two AUs included. So thermal faces are
read, if the page has one, by a detector that learned labels of real thermal faces, else by one
that was aligned to them, else by one that sees only what both domains share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cycada import images
from cycada.config import DetectorConfig
from cycada.data.index import Domain
from cycada.data.index_info import TOML_NAME, read_info
from cycada.errors import CycadaError
from cycada.report.methods import spoken
from cycada.stages.evaluate import own_detector
from cycada.stages.report_choice import near
from cycada.task import Task, decided, logits_of, probabilities_of
from cycada.training.loading import LoadedDetector, LoadedTranslator, load_detector, window_of
from cycada.training.run_reading import CONFIG_NAME, finished_checkpoint, run_config

_HALF = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """A detector, and which of its answers are asked for."""

    detector: LoadedDetector
    places: tuple[int, ...]

    def read(self, pictures: Tensor) -> Tensor:
        """Return ``(B, A)`` of ``(B, C, S, S)``; of AUs shifted so that 0.5 is their threshold.

        The shift is one of log-odds. With it two detectors can be compared, whose thresholds lie
        elsewhere.
        """
        detector = self.detector
        said = detector.predict(images.resize(pictures, detector.size))
        if detector.task.kind == "action_units":
            logits = logits_of(said.double(), "action_units")
            at = logits_of(detector.thresholds.double(), "action_units")
            said = probabilities_of(logits - at, "action_units").to(said.dtype)
        return said[:, list(self.places)]

    def decide(self, said: Tensor) -> Tensor:
        """Return ``(B, A)`` bool of what :meth:`read` returned."""
        return decided(said, torch.full((said.shape[1],), _HALF), self.detector.task.kind)

    def activation(self, pictures: Tensor) -> Tensor:
        """Return ``(B, A, 16, 16)`` in [0, 1]: the places that speak for each answer."""
        there = self.detector.activation(images.resize(pictures, self.detector.size))
        return there[:, list(self.places)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Readers:
    """Who reads RGB and thermal faces; their answers are those of ``task``."""

    task: Task
    rgb: Reader | None = None
    thermal: Reader | None = None
    rgb_name: str = ""
    thermal_name: str = ""
    thermal_is: str = ""  # what is to be known of it
    there_and_back: bool = True  # False: the translator knows one direction alone

    def sides(self, source: Domain) -> tuple[str, ...]:
        """Return the views that can be read of faces of a domain and their translations."""
        here, there = (self.rgb, self.thermal) if source == "rgb" else (self.thermal, self.rgb)
        views = (("source", here), ("made", there), ("again", here))
        seen = views if self.there_and_back else views[:-1]
        return tuple(key for key, reader in seen if reader is not None)

    def told(self) -> str:
        """Return who reads, as a sentence or two."""
        parts = []
        if self.rgb is not None:
            parts.append(f"RGB faces are read by \u201c{self.rgb_name}\u201d.")
        if self.thermal is not None:
            parts.append(
                f"Thermal faces are read by \u201c{self.thermal_name}\u201d, {self.thermal_is}."
            )
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A detector's run, before its weights are loaded."""

    run: Path
    config: DetectorConfig
    about: dict[str, Any]

    @property
    def rgb_only(self) -> bool:
        """Whether it has learned from RGB faces alone."""
        return (
            self.about.get("source_domains", []) == ["rgb"]
            and not self.config.target
            and not self.config.labelled_target
        )

    @property
    def sureness(self) -> float:
        """How well it did on its validation faces."""
        return float(self.about.get("validation") or 0.0)

    def rank(self) -> tuple[int, str] | None:
        """Return how well it is placed to read thermal faces, 0 first, and why; None: it cannot."""
        domains = self.about.get("source_domains", [])
        if self._translated():
            return 3, "which learned from translations, so that it may take a swap for right"
        if "thermal" in domains or self.config.labelled_target or self.config.target_labels:
            return 0, "which learned the labels of real thermal faces"
        if self.config.target:
            return 1, "which was adapted to real thermal faces"
        if self.config.view == "structure" and domains == ["rgb"]:
            return 2, "which knows RGB faces alone, but sees only what thermal ones share with them"
        return None

    def _translated(self) -> bool:
        """Tell whether it learned labels from translated faces; where unknown it may have."""
        try:
            roots = [near(name, self.run) for name in self.config.source]
            return any(read_info(root / TOML_NAME).translator for root in roots)
        except CycadaError:
            return "thermal" in self.about.get("source_domains", ["thermal"])


def choose_readers(
    translator: LoadedTranslator, runs: Sequence[Path], device: torch.device
) -> Readers | None:
    """Return who judges a translator; None where no detector can.

    Args:
        translator: Its settings name detectors, too.
        runs: Runs of detectors on the page.
        device: For the detectors.
    """
    config, root = translator.config, translator.root
    own = own_detector(root, config.detector)
    known = list(_candidates([own, own_detector(root, config.thermal_detector), *runs]))
    reads_rgb = [each for each in known if each.rgb_only and _window(each) is None]
    first = next((each for each in reads_rgb if each.run == own), None)
    first = first or max(reads_rgb, key=lambda each: each.sureness, default=None)
    ranked = [
        (rank, -each.sureness, number, each)
        for number, each in enumerate(known)
        if (rank := each.rank()) is not None and _window(each) in (None, translator.window)
    ]
    second, why = None, ""
    if ranked:
        rank, _, _, second = min(ranked)
        why = rank[1]
    if first is None and second is None:
        return None
    readers = _joined(first, second, why, device)
    return readers and replace(readers, there_and_back=translator.goes_back)


def _joined(
    first: _Candidate | None, second: _Candidate | None, why: str, device: torch.device
) -> Readers | None:
    """Load both; a thermal reader of other answers is left out."""
    rgb = None if first is None else _loaded(first.run, device)
    thermal = None if second is None else _loaded(second.run, device)
    base = rgb or thermal
    if base is None:
        return None
    task = base.task
    if rgb is not None and thermal is not None:
        shared = [name for name in rgb.task.names if name in thermal.task.names]
        if rgb.task.kind != thermal.task.kind or not shared:
            thermal = None
        elif task.kind == "action_units":
            task = Task(
                tuple(n for n, name in zip(task.action_units, task.names, strict=True)
                      if name in shared)
            )  # fmt: skip
        elif set(task.names) != set(thermal.task.names):
            thermal = None  # probabilities of some classes alone do not add up

    def reader(detector: LoadedDetector | None) -> Reader | None:
        if detector is None:
            return None
        return Reader(detector=detector, places=tuple(task.places_in(detector.task)))

    return Readers(
        task=task,
        rgb=reader(rgb),
        thermal=reader(thermal),
        rgb_name="" if first is None else spoken(first.run.name),
        thermal_name="" if second is None else spoken(second.run.name),
        thermal_is=why,
    )


def _candidates(runs: Iterable[Path | None]) -> Iterable[_Candidate]:
    """Yield the runs that are finished detectors, each once."""
    seen = set()
    for run in runs:
        if run is None or run.resolve() in seen or not (run / CONFIG_NAME).is_file():
            continue
        seen.add(run.resolve())
        try:
            config = run_config(run, "detector", DetectorConfig)
            yield _Candidate(run, config, finished_checkpoint(run, told=False).about())
        except CycadaError:  # the page shows it where it is the matter
            continue


def _window(candidate: _Candidate) -> Any:
    return window_of(candidate.about)


def _loaded(run: Path, device: torch.device) -> LoadedDetector | None:
    try:
        return load_detector(run, device)
    except CycadaError:
        return None
