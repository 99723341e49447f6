"""Parts of a page from plain data: scores, logs, settings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from cycada.action_units import meaning
from cycada.report.methods import figure_text, percent, sentence, shade, spoken, tones
from cycada.report.page import (
    Beside,
    Block,
    Cell,
    Code,
    Legend,
    Plot,
    Plots,
    Section,
    Strip,
    Table,
    Text,
)
from cycada.report.plots import Curve, curves_plot, ranges_plot

_CURVES: Mapping[str, str] = MappingProxyType(
    {
        "adversarial": "Adversarial (generators)",
        "judge_rgb": "Discriminator, RGB",
        "judge_thermal": "Discriminator, thermal",
        "cycle": "Cycle, L1",
        "identity": "Identity, L1",
        "semantic": "Semantic consistency",
        "perceptual": "LPIPS",
        "action_units": "AU loss, nats",
        "classes": "Class loss, nats",
        "landmarks": "Landmarks: smooth L1, eye distances",
        "validation": "Validation: average precision, or accuracy",
        "domain": "Domain classifier loss",
        "domain_accuracy": "Domain classifier accuracy",
        "confusion": "Confusion (target encoder)",
        "follower": "Judge that follows translations",
        "teachers": "Answers of the teachers, nats",
        "waiting": "Waiting for images, share of time",
        "target_entropy": "Target answers: entropy, share of most",
        "target_shift": "Target answers: shift, nats",
        "criterion_information": "Unlabelled target: information, nats",
        "criterion_net_information": "Unlabelled target: net information, nats",
        "criterion_density": "Unlabelled target: soft neighbourhood density",
        "criterion_nuclear_norm": "Unlabelled target: nuclear norm",
        "criterion_entropy": "Unlabelled target: entropy",
        "criterion_shift": "Unlabelled target: shift, nats",
    }
)

_FIGURES: Mapping[str, str] = MappingProxyType(
    {
        "paired_l1_celsius": "Made against true thermal: L1, °C",
        "paired_rmse_celsius": "Made against true thermal: RMSE, °C",
        "paired_l1": "Made against true thermal: L1 in [-1, 1]",
        "paired_rmse": "Made against true thermal: RMSE in [-1, 1]",
        "paired_ssim": "Made against true thermal: SSIM",
        "paired_lpips": "Made against true thermal: LPIPS",
        "cycle_rgb": "RGB there and back: L1 in [-1, 1]",
        "cycle_rgb_ssim": "RGB there and back: SSIM",
        "cycle_rgb_lpips": "RGB there and back: LPIPS",
        "cycle_thermal_celsius": "Thermal there and back: L1, °C",
        "cycle_thermal": "Thermal there and back: L1 in [-1, 1]",
        "cycle_thermal_ssim": "Thermal there and back: SSIM",
        "cycle_thermal_lpips": "Thermal there and back: LPIPS",
        "luminance_correlation_made": "Correlation with luminance, made thermal",
        "luminance_correlation_real": "Correlation with luminance, true thermal",
    }
)


def translation_section(
    evaluations: Sequence[tuple[str, Mapping[str, Any]]], means: Sequence[Strip] = ()
) -> Section:
    """Return what was measured of translators: figures, temperatures, what became of the AUs.

    Args:
        evaluations: Name and content of each ``scores.json``.
        means: The mean real and the mean made thermal image of each, where there are any.
    """
    names = [name for name, _ in evaluations]
    scores = [evaluation["scores"] for _, evaluation in evaluations]
    drawings = [
        _values_plot(name, each["values"])
        for name, each in zip(names, scores, strict=True)
        if each.get("values")
    ]
    figures = _figures_table(names, scores)
    blocks: list[Block] = (
        [Beside(left=figures, right=drawings[0])] if len(drawings) == 1 else [figures, *drawings]
    )
    blocks += means
    for each in scores:
        if each.get("units"):
            blocks.append(_agreement_table(each["units"]))
        reasons = each.get("not_available", {})
        if reasons:
            listed = " ".join(
                f"{key.replace('_', ' ')}: {sentence(why)}" for key, why in reasons.items()
            )
            blocks.append(Text(text=f"Not available: {listed}"))
    return Section(
        title="Translator scores",
        intro="How faithful the way there and back is, how close made thermal images come to true "
        "ones, and what becomes of the Action Units on the way.",
        blocks=tuple(blocks),
    )


def curves_section(
    title: str, logs: Sequence[tuple[str, Sequence[Mapping[str, float]]]]
) -> Section | None:
    """Return the training curves of one or more runs, one small plot for each figure."""
    colours = tones([name for name, _ in logs])
    figures = dict.fromkeys(
        key for _, log in logs for line in log for key in line if key not in ("step", "seconds")
    )
    plots = []
    for figure in figures:
        curves = []
        for name, log in logs:
            lines = [line for line in log if figure in line]
            if lines:
                curves.append(
                    Curve(
                        name=spoken(name),
                        x=[line["step"] for line in lines],
                        y=[line[figure] for line in lines],
                        tone=colours[name],
                    )
                )
        heading = _CURVES.get(figure, figure.replace("_", " ").capitalize())
        plots.append(curves_plot(curves, title=heading))
    if not plots:
        return None
    blocks: list[Block] = []
    if len(logs) > 1:
        blocks.append(Legend(items=tuple((spoken(name), colours[name]) for name, _ in logs)))
    blocks.append(
        Plots(svgs=tuple(plots), caption="Over steps. Faint: as logged. Strong: moving mean.")
    )
    return Section(title=title, blocks=tuple(blocks))


def settings_section(settings: Sequence[tuple[str, Mapping[str, Any]]]) -> Section:
    """Return the resolved settings of each run, folded away."""
    return Section(
        title="Settings",
        intro="As resolved; `--config` takes each of them again.",
        blocks=tuple(
            Code(title=spoken(name), text=json.dumps(values, indent=2, ensure_ascii=False))
            for name, values in settings
        ),
    )


def _figures_table(names: Sequence[str], scores: Sequence[Mapping[str, Any]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    found = {key for each in scores for key in each["figures"]}
    for key in (*(k for k in _FIGURES if k in found), *sorted(found - set(_FIGURES))):
        cells = []
        for each in scores:
            figure = each["figures"].get(key)
            if figure is None:
                cells.append(Cell(text="\u2013"))
            else:
                low, high = figure["interval"]
                note = "" if low is None else f"{low:.3f} to {high:.3f}"
                cells.append(Cell(text=f"{figure['mean']:.3f}", note=note))
        rows.append((Cell(text=_FIGURES.get(key, key.replace("_", " "))), *cells))
    for key in sorted({key for each in scores for key in each["distances"]}):
        values = [each["distances"].get(key) for each in scores]
        cells = [Cell(text="\u2013" if value is None else f"{value:.4g}") for value in values]
        rows.append((Cell(text=key[0].upper() + key[1:]), *cells))
    return Table(
        header=("", *map(spoken, names)),
        rows=tuple(rows),
        caption="Means over images with 95 % intervals over subjects. A correlation near -1 of "
        "made thermal images alone would betray mere inverted grey.",
    )


def _values_plot(name: str, values: Mapping[str, Any]) -> Plot:
    unit = "°C" if values["unit"] == "deg C" else str(values["unit"])
    return Plot(
        svg=ranges_plot(
            [("Real thermal", values["real"], "1"), ("Made thermal", values["made"], "2")],
            title=f"Distribution of thermal values, {name}",
            unit=unit,
        ),
        caption="Pixel values: median, quartiles, 5\u201395 % and 1\u201399 %. Wasserstein-1 "
        f"distance {values['wasserstein']:.2f} {unit}.",
    )


def _agreement_table(units: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for unit in units:
        rows.append(
            (
                Cell(text=unit["name"], note=meaning(unit["name"])),
                Cell(text=percent(_or_nan(unit["flip_rate"]), decimals=1)),
                *(
                    Cell(text=figure_text(value), shade=shade(value))
                    for value in map(_or_nan, (unit["kappa"], unit["f1_before"], unit["f1_after"]))
                ),
            )
        )
    return Table(
        header=("Answer", "Flipped", "Kappa", "F1 before", "F1 after"),
        rows=tuple(rows),
        caption="What the RGB detector says of a face before and after the way to thermal and "
        "back: share of decisions turned around, agreement beyond chance, F1 against the labels.",
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
