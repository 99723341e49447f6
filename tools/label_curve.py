"""Tell what a few labelled infrared subjects buy, on phantom faces: a table and a plot.

cycada demo --seed 0 --out demo-0
python tools/label_curve.py demo-0 --out curve --svg docs/images/label-curve.svg

From each finished demo it trains the last detector once more with the labels of some thermal
subjects mixed in (``target_labels``), and beside it a detector that learns from these subjects
alone. The latter may choose its weights and thresholds by labelled validation subjects, which the
former does without, so the gap between them is rather too small. Stopped, the same command goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ending import run_tool

from cycada.config import DetectorConfig
from cycada.data.index import CSV_NAME, Face, Index, read_index, write_index
from cycada.files import replacing
from cycada.metrics.scores import DetectionScores
from cycada.progress import Progress
from cycada.report.plots import Estimates, standalone, units_plot
from cycada.stages.detector_rows import few_subjects
from cycada.stages.evaluate import evaluate
from cycada.stages.scoring import SCORES_NAME, EvaluateOptions
from cycada.stages.train_detector import run_training
from cycada.training.run_reading import run_config

ALONE_STEPS = 1000  # more only overfit

SERIES = {"adapted": "Adapted, with their labels", "alone": "Their labels alone"}


def main() -> None:
    """Read the command, train what is missing, print and write the curve."""
    options = _parser().parse_args()
    progress = Progress(shown=True)
    found: dict[str, dict[int, list[float]]] = {name: {} for name in SERIES}
    for demo in options.demos:
        folder = options.out / hashlib.sha256(str(demo.resolve()).encode()).hexdigest()[:8]
        for subjects in options.subjects:
            progress.say(f"{demo}: labels of {subjects} subjects")
            score = adapted(demo, folder / f"adapted-{subjects}", subjects, progress)
            found["adapted"].setdefault(subjects, []).append(score)
            if subjects:
                score = alone(demo, folder / f"alone-{subjects}", subjects, progress)
                found["alone"].setdefault(subjects, []).append(score)
    print(table(found))
    if options.json:
        with replacing(options.json) as temporary:
            temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.svg:
        with replacing(options.svg) as temporary:
            temporary.write_text(standalone(plot(found)), encoding="utf-8")


def adapted(demo: Path, out: Path, subjects: int, progress: Progress) -> float:
    """Return the macro F1 of the demo's last detector, with the labels of some subjects."""
    if not subjects:
        return _score(demo / "both", demo / "faces", demo / "evaluation" / "both", progress)
    config = run_config(demo / "both", "detector", DetectorConfig)
    config = replace(
        config,
        source=tuple(str(demo / Path(index).name) for index in config.source),
        target=(str(demo / "faces"),),
        teachers=tuple(str(demo / Path(teacher).name) for teacher in config.teachers),
        initial=str(demo / Path(config.initial).name),
        target_labels=subjects,
    )
    run_training(config, out, progress=progress)
    return _score(out, demo / "faces", out / "evaluation", progress)


def alone(demo: Path, out: Path, subjects: int, progress: Progress) -> float:
    """Return the macro F1 of a detector that learns from some labelled thermal subjects."""
    whole = read_index(demo / "faces").select(domain="thermal")
    config = run_config(demo / "target_supervised", "detector", DetectorConfig)
    chosen = few_subjects([whole.select(split="train")], subjects, seed=config.seed)
    kept = [face for face in whole.faces if face.split == "val" or face.subject in chosen]
    if not (out / CSV_NAME).exists():
        write_index(Index(out, whole.info, tuple(_beside(face, whole, out) for face in kept)))
    steps = min(config.steps, ALONE_STEPS)
    config = replace(config, source=(str(out),), steps=steps, validate_every=max(steps // 5, 1))
    run_training(config, out / "run", progress=progress)
    return _score(out / "run", demo / "faces", out / "evaluation", progress)


def table(found: Mapping[str, Mapping[int, Sequence[float]]]) -> str:
    """Return a Markdown table: one row for each number of subjects."""
    lines = [("subjects", *SERIES.values()), ("---",) * 3]
    for subjects in found["adapted"]:
        cells = (_mean(found[name].get(subjects, ())) for name in SERIES)
        lines.append((str(subjects), *cells))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(found: Mapping[str, Mapping[int, Sequence[float]]]) -> str:
    """Return the means as dots, with the range over the demos, as SVG."""
    rows = list(found["adapted"])
    estimates = []
    for name, title, tone in zip(SERIES, SERIES.values(), ("2", "baseline"), strict=True):
        values = [found[name].get(row) or [float("nan")] for row in rows]
        estimates.append(
            Estimates(
                name=title,
                values=[statistics.fmean(each) for each in values],
                low=[min(each) for each in values],
                high=[max(each) for each in values],
                tone=tone,  # type: ignore[arg-type]
            )
        )
    names = [f"{row} subjects" if row != 1 else "1 subject" for row in rows]
    return units_plot(estimates, names, title="Macro F1 by labelled thermal subjects")


def _beside(face: Face, whole: Index, out: Path) -> Face:
    """Return the face as a row of an index in another folder."""
    path = os.path.relpath(whole.file(face).resolve(), out.resolve())
    return replace(face, path=Path(path).as_posix(), pair="")


def _score(run: Path, index: Path, out: Path, progress: Progress) -> float:
    if not (out / SCORES_NAME).exists():
        evaluate(EvaluateOptions(run=run, index=index, out=out), progress=progress)
    result = json.loads((out / SCORES_NAME).read_text(encoding="utf-8"))
    return round(DetectionScores.from_json(result["scores"]).macro_f1, 4)


def _mean(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("demos", type=Path, nargs="+", metavar="DEMO", help="folders of finished demos")
    add("--out", type=Path, required=True, metavar="DIR", help="where the runs go")
    add("--subjects", type=int, nargs="+", default=[0, 1, 5, 10, 50], help="default: 0 1 5 10 50")
    add("--json", type=Path, metavar="FILE", help="also write the figures here")
    add("--svg", type=Path, metavar="FILE", help="also write the plot here")
    return parser


if __name__ == "__main__":
    run_tool(main)
