"""Score a translator: faithful there and back, plausible as temperatures, keeping the AUs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cycada import image_writing, images
from cycada.data.dataset import FaceImages
from cycada.data.index import Domain, Face, Index
from cycada.errors import CycadaError
from cycada.images import with_channels
from cycada.losses.perceptual import PerceptualDistance, alexnet_address
from cycada.metrics import translation as metrics
from cycada.metrics.bootstrap import bootstrap_mean
from cycada.metrics.detection import f1_scores
from cycada.metrics.features import FeatureExtractor, load_features
from cycada.metrics.translation import Measured, TranslationScores, UnitAgreement, ValueStatistics
from cycada.progress import Progress
from cycada.stages.scoring import (
    SCORES_NAME,
    EvaluateOptions,
    batches,
    check_window,
    described,
    write_results,
)
from cycada.thermal import Window
from cycada.training.loading import LoadedDetector, LoadedTranslator
from cycada.weights import fetch

MEAN_NAME = "mean_thermal.png"

Measure = Callable[[Tensor, Tensor], Tensor]
"""Distance of each image pair."""


class Collected:
    """Figures of single images by name, with the subjects they belong to."""

    def __init__(self) -> None:
        """Start empty."""
        self._values: dict[str, list[Tensor]] = defaultdict(list)
        self._subjects: dict[str, list[str]] = defaultdict(list)

    def add(self, name: str, values: Tensor, faces: Sequence[Face]) -> None:
        """Add ``(B,)`` values of ``faces``."""
        self._values[name].append(values.double().cpu())
        self._subjects[name] += [face.subject for face in faces]

    def means(self, *, resamples: int, seed: int) -> dict[str, Measured]:
        """Return the mean of each figure with its interval over subjects."""
        result = {}
        for name, parts in self._values.items():
            values, subjects = torch.cat(parts).numpy(), self._subjects[name]
            result[name] = Measured(
                mean=float(values.mean()),
                interval=bootstrap_mean(values, subjects, resamples=resamples, seed=seed),
                images=len(values),
            )
        return result


def evaluate_translator(
    translator: LoadedTranslator,
    judge: LoadedDetector | None,
    index: Index,
    options: EvaluateOptions,
    *,
    weights: str = "",
    progress: Progress,
) -> dict[str, Any]:
    """Score ``translator`` on the faces of ``index``; write ``scores.json`` and the mean images.

    Args:
        translator: Both directions.
        judge: RGB detector to ask before and after the way there and back; None leaves that out.
        index: RGB faces, thermal faces, or both; paired where ``pair`` is filled in.
        options: Settings.
        weights: SHA-256 of the translator's weights; empty: of no run.
        progress: Shows the batches.

    Raises:
        DataError: The index spans other temperatures than the translator, or a file of weights
            for LPIPS or the features is missing or damaged.
    """
    rgb, thermal = index.select(domain="rgb"), index.select(domain="thermal")
    size, window = translator.size, translator.window
    missing: dict[str, str] = {}
    lpips, extract = _helpers(options, missing)
    collected, seen = Collected(), _Seen(size)
    decisions = None
    pairs = paired_faces(index)
    if not rgb.faces:
        missing["cycle_rgb"] = "the index has no RGB face in this split."
    if not thermal.faces:
        missing["cycle_thermal"] = "the index has no thermal face in this split."
    if not (rgb.faces and thermal.faces):
        missing["thermal_values"] = (
            "real and made thermal faces are compared only where this split of the index has both "
            "RGB and thermal faces; give an index with both domains."
        )
    if thermal.faces:
        images_of = FaceImages([thermal], domain="thermal", size=size)
        check_window(images_of.window, window, root=index.root, network="translator")
        _there_and_back_thermal(
            translator, images_of, collected, seen,
            progress=progress, lpips=lpips, extract=extract,
        )  # fmt: skip
    if rgb.faces:
        decisions = _there_and_back_rgb(
            translator, judge, FaceImages([rgb], domain="rgb", size=size), collected, seen,
            progress=progress, lpips=lpips, extract=extract,
        )  # fmt: skip
    if pairs is None:
        missing["paired"] = "the index names no pair of one face in both domains."
    else:
        sources = FaceImages([pairs[0]], domain="rgb", size=size)
        truths = FaceImages([pairs[1]], domain="thermal", size=size)
        check_window(truths.window, window, root=index.root, network="translator")
        _compare_pairs(translator, sources, truths, collected, progress=progress, lpips=lpips)
    units: tuple[UnitAgreement, ...] = ()
    if judge is None:
        missing["answers"] = "no RGB detector; give one with --detector."
    elif decisions is not None:
        units = _agreement(judge, decisions, rgb)
    figures = collected.means(resamples=options.resamples, seed=options.seed)
    scores = TranslationScores(
        rgb_images=len(rgb.faces),
        thermal_images=len(thermal.faces),
        subjects=len(index.subjects()),
        paired=0 if pairs is None else len(pairs[0].faces),
        figures=figures | _in_celsius(figures, window),
        distances=seen.distances(extract.name if extract else "", missing),
        values=seen.statistics(window),
        units=units,
        not_available=missing,
    )
    result = {
        **described(options, "translator", weights=weights),
        "window": None if window is None else [window.low, window.high],
        "notes": [],
        "scores": scores.to_json(),
    }
    write_results(options.out, {SCORES_NAME: json.dumps(result, indent=1, allow_nan=False) + "\n"})
    if (mean := seen.mean_images()) is not None:
        image_writing.write_image(
            options.out / MEAN_NAME, images.from_signed(mean, dtype=torch.uint8)
        )
    return result


class _Seen:
    """Sums over all thermal images, real and made: histograms, mean images, features."""

    def __init__(self, size: int) -> None:
        self.histograms = {
            kind: np.zeros(metrics.BINS, dtype=np.int64) for kind in ("real", "made")
        }
        self.sums = {kind: torch.zeros(1, size, size) for kind in ("real", "made")}
        self.counts = {"real": 0, "made": 0}
        self.features: dict[str, list[Tensor]] = {"real": [], "made": []}

    def add(self, kind: str, thermal: Tensor, extract: FeatureExtractor | None) -> None:
        self.histograms[kind] += metrics.histogram(thermal)
        self.sums[kind] += thermal.float().sum(0).cpu()
        self.counts[kind] += len(thermal)
        if extract is not None:
            device = next(extract.network.parameters()).device
            self.features[kind].append(extract(thermal.to(device)).cpu())

    def mean_images(self) -> Tensor | None:
        """Return the mean real image beside the mean made one."""
        if not all(self.counts.values()):
            return None
        return torch.cat([self.sums[kind] / self.counts[kind] for kind in ("real", "made")], -1)

    def statistics(self, window: Window | None) -> ValueStatistics | None:
        if not all(self.counts.values()):
            return None
        half = 1.0 if window is None else (window.high - window.low) / 2
        middle = 0.0 if window is None else (window.high + window.low) / 2
        real, made = (
            tuple(float(v) for v in middle + half * metrics.quantiles(self.histograms[kind]))
            for kind in ("real", "made")
        )
        distance = metrics.wasserstein(self.histograms["real"], self.histograms["made"])
        return ValueStatistics(
            unit="of [-1, 1]" if window is None else "deg C",
            at=metrics.QUANTILES,
            real=real,
            made=made,
            wasserstein=half * distance,
        )

    def distances(self, name: str, missing: dict[str, str]) -> dict[str, float]:
        if not name:
            return {}
        if min(self.counts.values()) < 2:
            missing["feature_distances"] = "needs at least two real and two made thermal images."
            return {}
        real, made = torch.cat(self.features["real"]), torch.cat(self.features["made"])
        return {
            f"kernel distance, {name}": metrics.kernel_distance(real, made),
            f"Frechet distance, {name}": metrics.frechet_distance(real, made),
        }


def _there_and_back_rgb(
    translator: LoadedTranslator,
    judge: LoadedDetector | None,
    faces: FaceImages,
    collected: Collected,
    seen: _Seen,
    *,
    progress: Progress,
    lpips: Measure | None,
    extract: FeatureExtractor | None,
) -> tuple[Tensor, Tensor] | None:
    before: list[Tensor] = []
    after: list[Tensor] = []
    done = 0
    for rgb in batches(faces, progress=progress, desc="RGB there and back"):
        rows = faces.faces[done : done + len(rgb)]
        done += len(rgb)
        made = translator.to_thermal(rgb)
        again = translator.to_rgb(made)
        seen.add("made", made, extract)
        collected.add("cycle_rgb", metrics.absolute_error(rgb, again), rows)
        collected.add("cycle_rgb_ssim", metrics.structural_similarity(rgb, again), rows)
        if lpips is not None:
            collected.add("cycle_rgb_lpips", lpips(rgb, again), rows)
        correlation = metrics.luminance_correlation(rgb, made)
        collected.add("luminance_correlation_made", correlation, rows)
        if judge is not None:
            for picture, decided in ((rgb, before), (again, after)):
                resized = images.resize(picture, judge.size)
                decided.append(judge.decide(judge.predict(resized)))
    return (torch.cat(before), torch.cat(after)) if judge is not None else None


def _there_and_back_thermal(
    translator: LoadedTranslator,
    faces: FaceImages,
    collected: Collected,
    seen: _Seen,
    *,
    progress: Progress,
    lpips: Measure | None,
    extract: FeatureExtractor | None,
) -> None:
    done = 0
    for thermal in batches(faces, progress=progress, desc="thermal there and back"):
        rows = faces.faces[done : done + len(thermal)]
        done += len(thermal)
        again = translator.to_thermal(translator.to_rgb(thermal))
        seen.add("real", thermal, extract)
        collected.add("cycle_thermal", metrics.absolute_error(thermal, again), rows)
        collected.add("cycle_thermal_ssim", metrics.structural_similarity(thermal, again), rows)
        if lpips is not None:
            collected.add("cycle_thermal_lpips", lpips(thermal, again), rows)


def _compare_pairs(
    translator: LoadedTranslator,
    sources: FaceImages,
    truths: FaceImages,
    collected: Collected,
    *,
    progress: Progress,
    lpips: Measure | None,
) -> None:
    done = 0
    for source, truth in zip(
        batches(sources, progress=progress, desc="pairs"),
        batches(truths, progress=Progress(shown=False), desc=""),
        strict=True,
    ):
        rows = sources.faces[done : done + len(source)]
        done += len(source)
        made = translator.to_thermal(source)
        collected.add("paired_l1", metrics.absolute_error(made, truth), rows)
        collected.add("paired_rmse", metrics.root_mean_square_error(made, truth), rows)
        collected.add("paired_ssim", metrics.structural_similarity(made, truth), rows)
        if lpips is not None:
            collected.add("paired_lpips", lpips(made, truth), rows)
        correlation = metrics.luminance_correlation(source, truth)
        collected.add("luminance_correlation_real", correlation, rows)


def _agreement(
    judge: LoadedDetector, decisions: tuple[Tensor, Tensor], rgb: Index
) -> tuple[UnitAgreement, ...]:
    before, after = decisions
    labels, known = rgb.labels(judge.task)
    flips, kappa = metrics.label_flip_rate(before, after), metrics.cohen_kappa(before, after)
    first, second = f1_scores(before, labels, known), f1_scores(after, labels, known)
    return tuple(
        UnitAgreement(
            name=name,
            flip_rate=float(flips[unit]),
            kappa=float(kappa[unit]),
            f1_before=float(first[unit]),
            f1_after=float(second[unit]),
        )
        for unit, name in enumerate(judge.task.names)
    )


def _helpers(
    options: EvaluateOptions, missing: dict[str, str]
) -> tuple[Measure | None, FeatureExtractor | None]:
    """Return LPIPS and the feature extractor, or None and a reason in ``missing``.

    A failed download is such a reason; a local file that cannot be used is an error.
    """
    lpips = extract = None
    if options.lpips is None:
        missing["lpips"] = "not asked for; give AlexNet's weights with --lpips."
    else:
        try:
            weights = options.lpips or str(fetch(alexnet_address()))
            distance = PerceptualDistance(weights).to(options.device)
        except CycadaError as error:
            if options.lpips:
                raise
            missing["lpips"] = str(error)
        else:
            lpips = _each(distance, options.device)
    if options.features is None:
        missing["feature_distances"] = (
            "KID and FID not asked for; give Inception v3's weights with --features."
        )
    else:
        extract = load_features(options.features)
        extract.network.to(options.device)
    return lpips, extract


def _each(distance: PerceptualDistance, device: torch.device) -> Measure:
    """Return LPIPS of each image pair instead of the batch mean."""

    def measure(first: Tensor, second: Tensor) -> Tensor:
        three = (with_channels(image, 3).to(device) for image in (first, second))
        values: Tensor = distance.metric(*three)
        return values.flatten().cpu()

    return measure


def paired_faces(index: Index) -> tuple[Index, Index] | None:
    """Return the RGB and the thermal image of every face that has both, in one order.

    A row names the other image of its face in ``pair``; that image need not be a row itself.
    """
    found: dict[tuple[str, str], tuple[Face, Face]] = {}
    for face in index.faces:
        if face.pair and (index.root / face.pair).is_file():
            other: Domain = "thermal" if face.domain == "rgb" else "rgb"
            partner = replace(face, path=face.pair, domain=other, pair=face.path)
            rgb, thermal = (face, partner) if face.domain == "rgb" else (partner, face)
            found[rgb.path, thermal.path] = rgb, thermal
    if not found:
        return None
    sources, truths = zip(*found.values(), strict=True)
    return replace(index, faces=sources), replace(index, faces=truths)


def _in_celsius(figures: dict[str, Measured], window: Window | None) -> dict[str, Measured]:
    """Return the errors of thermal images once more, in deg C."""
    if window is None:
        return {}
    half = (window.high - window.low) / 2
    return {
        f"{name}_celsius": Measured(
            mean=figure.mean * half,
            interval=type(figure.interval)(*(bound * half for bound in figure.interval)),
            images=figure.images,
        )
        for name, figure in figures.items()
        if name in ("cycle_thermal", "paired_l1", "paired_rmse")
    }
