"""Sections of a page about trainings: whether the adversaries stayed sound, and what went wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cycada.errors import DataError
from cycada.files import check_text
from cycada.rejecting import REJECTED_NAME, read_rejected
from cycada.report.curve_plots import watched_plot
from cycada.report.methods import percent, sentence, spoken
from cycada.report.page import Block, Plots, Section, Text
from cycada.report.plots import Curve, Tone
from cycada.task import Task
from cycada.training.checkpoint import newest_checkpoint
from cycada.training.health import FEWEST, LONG, WINS, Health, shift_of_one_answer
from cycada.training.run_reading import STEPS_BACK_NAME, read_log

Line = Mapping[str, float]

_JUDGES: tuple[tuple[str, str, Tone], ...] = (
    ("judge_thermal", "thermal", "2"), ("judge_rgb", "RGB", "1"),
)  # fmt: skip
_GUESSES = {"least_squares": 0.25, "hinge": 1.0}
"""Loss of a discriminator that scores real and made images alike."""

_BLIND = 0.9
"""Share of the loss of guessing from which a discriminator tells hardly anything ..."""

_WINS = 0.1
"""... and below which it tells nearly every image. Rules of thumb: in sound trainings of the demo
the loss of the last fifth is between 0.4 and 0.8 of that of guessing."""


def health_section(runs: Sequence[tuple[Path, Mapping[str, Any]]]) -> Section | None:
    """Return how sound trainings were, in drawings and in words; ``None`` of none with a log.

    Args:
        runs: Folder and ``config.json`` of each.
    """
    blocks: list[Block] = []
    for run, head in runs:
        log = read_log(run)
        own = [*_adversaries(run, head, log), *_incidents(run)]
        if own and len(runs) > 1:
            own = [_named(block, spoken(run.name)) for block in own]
        blocks += own
    if not blocks:
        return None
    return Section(
        title="Training health",
        intro="A discriminator should be right more often than by chance, and not always: one that "
        "guesses teaches nothing, one that wins is no longer followed.",
        blocks=tuple(blocks),
    )


def _named(block: Block, name: str) -> Block:
    if isinstance(block, Text):
        return Text(text=f"{name}: {block.text[:1].lower()}{block.text[1:]}", warns=block.warns)
    if isinstance(block, Plots):
        return Plots(svgs=block.svgs, caption=f"{name}. {block.caption}")
    return block


def _adversaries(run: Path, head: Mapping[str, Any], log: Sequence[Line]) -> list[Block]:
    if head.get("kind") == "translator":
        return _judges(log, str(head["settings"].get("adversarial", "least_squares")))
    return _domain_classifier(run, head, log)


def _judges(log: Sequence[Line], kind: str) -> list[Block]:
    """Return what became of the discriminators of a translator."""
    guess = _GUESSES.get(kind)
    plots, words = [], []
    for key, domain, tone in _JUDGES:
        lines = [line for line in log if key in line]
        if not lines or guess is None:
            continue
        curve = Curve(
            name=domain, x=[line["step"] for line in lines], y=[line[key] for line in lines],
            tone=tone,
        )  # fmt: skip
        plots.append(
            watched_plot(
                curve, [(guess, "guessing"), (0.0, "always right")],
                title=f"Discriminator of {domain} images: loss",
            )
        )  # fmt: skip
        words.append(_judged(_late(lines, key), guess, domain, lines[-1]["step"]))
    if not plots:
        return []
    shown = Plots(svgs=tuple(plots), caption="Over steps. Faint: as logged. Strong: moving mean.")
    return [shown, *words]


def _judged(late: float, guess: float, domain: str, steps: float) -> Text:
    share = late / guess
    told = (
        f"The discriminator of {domain} images has a loss of {late:.3g} over the last fifth of the "
        f"training, {percent(share)} of that of guessing: "
    )
    if steps < FEWEST:
        return Text(text=f"{told}after {steps:.0f} steps that says nothing yet.")
    if share > _BLIND:
        return Text(
            text=f"{told}it can hardly tell made images from real ones. Either they pass for real, "
            "which the pictures show, or it has not learned.",
            warns=True,
        )
    if share < _WINS:
        return Text(
            text=f"{told}it tells nearly all made images, so it wins, and the generators no longer "
            "follow it.",
            warns=True,
        )
    return Text(text=f"{told}it finds faults, and not always. That is sound.")


def _domain_classifier(run: Path, head: Mapping[str, Any], log: Sequence[Line]) -> list[Block]:
    """Return what became of the domain classifier of a detector, and of its answers."""
    trained = [line for line in log if "validation" not in line]
    lines = [line for line in trained if "domain_accuracy" in line]
    steps = int(head["settings"].get("steps", 0))
    found = _watched(run, trained, steps)
    blocks: list[Block] = []
    if lines:
        curve = Curve(
            name="domain", x=[line["step"] for line in lines],
            y=[line["domain_accuracy"] for line in lines], tone="3",
        )  # fmt: skip
        svg = watched_plot(
            curve, [(0.5, "guessing"), (WINS, "wins")], span=(0.4, 1.0),
            title="Domain classifier: share of faces told",
        )  # fmt: skip
        caption = "Over steps. Faint: as logged. Strong: moving mean."
        blocks.append(Plots(svgs=(svg,), caption=caption))
        late = _late(lines, "domain_accuracy")
        told = (
            f"The domain classifier is right in {percent(late, decimals=1)} of the faces over the "
            "last fifth of the training"
        )
        if lines[-1]["step"] < FEWEST:
            told += f"; after {lines[-1]['step']:.0f} steps that says nothing yet."
            blocks.append(Text(text=told))
        elif found:
            blocks.append(Text(text=f"{told}."))
        else:
            blocks.append(Text(text=f"{told}: it neither wins nor guesses. That is sound."))
    return [*blocks, *(Text(text=sentence(text), warns=True) for text in found)]


def _watched(run: Path, log: Sequence[Line], steps: int) -> list[str]:
    """Return what was said while a detector trained, told from its log as it was then."""
    if not log or not steps:
        return []
    checkpoint = newest_checkpoint(run, with_state=False, told=False)
    about = {} if checkpoint is None else checkpoint.about()
    expected = about.get("expected")
    figures = log
    one_answer = math.log(2)
    if expected:
        kind = Task.from_json(about).kind
        one_answer = shift_of_one_answer(torch.tensor(expected, dtype=torch.float64), kind)
    else:  # of an earlier version: how far answers may move away is not known
        figures = [{k: v for k, v in line.items() if k != "target_shift"} for line in log]
    health = Health(steps, one_answer=one_answer)
    return [text for line in figures for text in health.look(int(line["step"]), line)]


def _late(lines: Sequence[Line], key: str) -> float:
    """Return the mean of a figure over the last fifth of the steps."""
    last = lines[-1]["step"]
    late = [line[key] for line in lines if line["step"] > (1 - LONG) * last]
    return sum(late) / len(late)


def _incidents(run: Path) -> list[Block]:
    """Return what went wrong and was dealt with."""
    blocks: list[Block] = []
    back = _steps_back(run / STEPS_BACK_NAME)
    if back:
        times = "once" if len(back) == 1 else f"{len(back)} times"
        blocks.append(
            Text(
                text=f"The training went back to its last checkpoint {times}, and on with "
                f"1/{2 ** len(back)} of the learning rates: {'; '.join(back)}.",
                warns=True,
            )
        )
    if left_out := len(read_rejected(run / REJECTED_NAME)):
        told = "1 image" if left_out == 1 else f"{left_out:,} images"
        verb = "is" if left_out == 1 else "are"
        told += f" could not be read and {verb} left out ({REJECTED_NAME} of the run)."
        blocks.append(Text(text=told))
    return blocks


def _steps_back(file: Path) -> list[str]:
    """Return why a training went back, each time."""
    if not file.exists():
        return []
    check_text(file)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        return [str(json.loads(line)["found"]) for line in lines]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{file}: cannot be read ({error}).") from error
