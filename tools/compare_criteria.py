"""Compare criteria that need no label of the target with what the labels say.

python tools/compare_criteria.py demo/feature demo/pixel demo/both --index demo/faces

Of each run it prints the criteria of ``cycada/metrics/validators.py``, on the target's unlabelled
training images, and the score on its labelled test images; and below, for each criterion, which
run it chooses, what is lost against the best one (the oracle's choice), and its rank correlation
with the score. Nothing is chosen by the test images: they only judge the criteria.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from ending import run_tool

from cycada.data.dataset import FaceImages
from cycada.data.index import read_index
from cycada.errors import UsageError
from cycada.metrics.scores import score_detector
from cycada.progress import Progress
from cycada.stages.evaluate import predict_faces
from cycada.training.examples import Examples
from cycada.training.launch import make_accelerator
from cycada.training.loading import LoadedDetector, load_detector
from cycada.training.selection import judged_on_target

SIGNS = {
    "information": 1, "net_information": 1, "density": 1, "nuclear_norm": 1, "entropy": -1,
    "shift": -1,
}  # fmt: skip
"""Criteria, and whether more of them is better."""


def main() -> None:
    """Read the command, judge the runs, print the table."""
    options = _parser().parse_args()
    if len(options.runs) < 2:
        raise UsageError("give at least two runs: a criterion chooses among them.")
    rows = [
        (str(run), *judge(load_detector(run), options.index))
        for run in Progress(shown=True)(options.runs, total=len(options.runs), desc="runs")
    ]
    print(table(rows))


def judge(detector: LoadedDetector, path: Path) -> tuple[dict[str, float], float]:
    """Return the criteria on the training images of the target, and the score on its test ones."""
    thermal = read_index(path).select(domain="thermal")
    train, test = thermal.select(split="train"), thermal.select(split="test")
    labels, known = train.labels(detector.task)
    examples = Examples(
        [FaceImages([train], domain="thermal", size=detector.size)],
        labels=labels, known=known, task=detector.task, channels=detector.channels,
    )  # fmt: skip
    frequencies = torch.full((len(detector.task),), 1 / len(detector.task))
    if detector.task.kind == "action_units":
        labels, known = read_index(path).select(domain="rgb", split="train").labels(detector.task)
        frequencies = (labels * known).sum(0) / known.sum(0).clamp(min=1)
    found = judged_on_target(
        detector.module, examples, make_accelerator("no", double=False), expected=frequencies
    )
    truth, annotated = test.labels(detector.task)
    scores = score_detector(
        predict_faces(detector, test, domain="thermal", progress=Progress(shown=False)).double(),
        truth, annotated, subjects=np.array([face.subject for face in test.faces]),
        thresholds=detector.thresholds.double(), task=detector.task, resamples=1,
    )  # fmt: skip
    return found, scores.headline


def table(rows: Sequence[tuple[str, dict[str, float], float]]) -> str:
    """Return two Markdown tables: the runs, and how each criterion chooses among them."""
    names = list(SIGNS)
    lines = [("run", *names, "score"), ("---",) * (len(names) + 2)]
    for run, found, score in rows:
        lines.append((run, *(f"{found[name]:.3f}" for name in names), f"{score:.4f}"))
    scores = np.array([score for _, _, score in rows])
    lines += [(), ("criterion", "chooses", "lost", "rank correlation"), ("---",) * 4]
    for name, sign in SIGNS.items():
        values = sign * np.array([found[name] for _, found, _ in rows])
        chosen = int(values.argmax())
        lost = scores.max() - scores[chosen]
        correlation = np.corrcoef(_ranks(values), _ranks(scores))[0, 1]
        lines.append((name, rows[chosen][0], f"{lost:.4f}", f"{correlation:+.2f}"))
    return "\n".join(f"| {' | '.join(line)} |" if line else "" for line in lines)


def _ranks(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
    """Return ranks; equal values share the middle of theirs."""
    return [float((values < v).sum() + (values <= v).sum()) / 2 for v in values]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="runs of detectors")
    parser.add_argument("--index", type=Path, required=True, help="with the target, test labelled")
    return parser


if __name__ == "__main__":
    run_tool(main)
