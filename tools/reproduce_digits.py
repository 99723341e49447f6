"""Repeat the digit experiments of ADDA and CyCADA with the stages of the package.

python tools/reproduce_digits.py --pair usps2mnist --data digits --json usps2mnist.json
python tools/reproduce_digits.py --pair mnist2usps --data digits --seeds 0 1 2

One corpus of digits is labelled, the other one is not; a network is to read the second. The
columns, from the first one on: trained on the source alone; its features aligned to the target
(ADDA); trained on the source's images, translated to the target (pixel); that one aligned too
(pixel + feature, which is CyCADA); with what the package offers beyond the paper; trained on the
target's labels. No label of the target is read by any of them but the last. All images of both
training sets are used, and the usual test sets; each image is an own subject, since nobody knows
who wrote what.

The files are those that MNIST, USPS and SVHN are known by (see ``tools/digit_files.py``). Stopped,
the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

sys.path.insert(0, str(Path(__file__).parent))  # also where Python is not told to (-P)

import digit_files
from ending import run_tool

from cycada.config import DetectorConfig, TranslatorConfig
from cycada.errors import DataError
from cycada.files import replacing
from cycada.metrics.scores import DetectionScores
from cycada.progress import Progress
from cycada.settings import load_config
from cycada.stages import train_detector, train_translator
from cycada.stages.evaluate import evaluate
from cycada.stages.scoring import SCORES_NAME, EvaluateOptions
from cycada.stages.side_by_side import Job, start_workers
from cycada.stages.translate import run_translation

Pair = Literal["mnist2usps", "usps2mnist", "svhn2mnist"]
Budget = Literal["quick", "full"]

METHODS = ("source_only", "feature", "pixel", "both", "beyond", "target_supervised")
FURTHER = ("source_own", "self_trained")  # beside the table, to tell what brings what

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "source_only": "Source only",
        "feature": "Feature (ADDA)",
        "pixel": "Pixel",
        "both": "Pixel + feature",
        "beyond": "Beyond",
        "target_supervised": "Target supervised",
        "source_own": "Source only, own network, augmented",
        "self_trained": "The same, self-trained, without translation",
    }
)

PAPERS: Mapping[Pair, Sequence[tuple[str, Mapping[str, str]]]] = {
    "mnist2usps": (
        (
            "CyCADA (Hoffman et al., ICML 2018)",
            {
                "source_only": "82.2 ± 0.8",
                "pixel": "95.6",
                "both": "95.6 ± 0.2",
                "target_supervised": "96.3",
            },
        ),
        (
            "ADDA (Tzeng et al., CVPR 2017), part of the images",
            {"source_only": "75.2 ± 1.6", "feature": "89.4 ± 0.2"},
        ),
        (
            "SHOT (Liang et al., ICML 2020)",
            {"source_only": "79.7", "beyond": "97.9", "target_supervised": "97.0"},
        ),
    ),
    "usps2mnist": (
        (
            "CyCADA (Hoffman et al., ICML 2018)",
            {
                "source_only": "69.6 ± 3.8",
                "pixel": "96.4",
                "both": "96.5 ± 0.1",
                "target_supervised": "99.2",
            },
        ),
        (
            "ADDA (Tzeng et al., CVPR 2017), part of the images",
            {"source_only": "57.1 ± 1.7", "feature": "90.1 ± 0.8"},
        ),
        (
            "SHOT (Liang et al., ICML 2020)",
            {"source_only": "88.0", "beyond": "98.0", "target_supervised": "99.2"},
        ),
    ),
    "svhn2mnist": (
        (
            "CyCADA (Hoffman et al., ICML 2018)",
            {
                "source_only": "67.1 ± 0.6",
                "feature": "83.8",
                "pixel": "70.3",
                "both": "90.4 ± 0.4",
                "target_supervised": "99.2",
            },
        ),
        (
            "ADDA (Tzeng et al., CVPR 2017)",
            {"source_only": "60.1 ± 1.1", "feature": "76.0 ± 1.8"},
        ),
        (
            "SHOT (Liang et al., ICML 2020)",
            {"source_only": "70.2", "beyond": "98.9", "target_supervised": "99.2"},
        ),
    ),
}
"""Accuracies in per cent as published, by our columns; from secondary sources, see docs."""

NO_CHANGES = {
    f"augment.{name}": 0.0
    for name in ("flip", "rotate", "scale", "shift", "brightness", "contrast", "blur", "noise")
}
OWN_NETWORK: Mapping[str, Any] = {
    **NO_CHANGES, "augment.rotate": 15.0, "augment.scale": 0.2, "augment.shift": 0.1,
    "backbone": "small", "width": 24, "batch_size": 64, "learning_rate": 2e-3,
    "average_decay": 0.99,
}  # fmt: skip
"""From ``pixel`` on: batch normalisation, and digits turned, scaled and shifted a little."""

UNEVEN: Mapping[str, Any] = {
    "augment.blur": 1.0, "augment.contrast": 0.25, "augment.brightness": 0.15,
    "augment.noise": 0.03,
}  # fmt: skip
"""Corpora differ in sharpness and grey levels; the mean teacher sees each digit as it is."""

SELF_TRAINING: Mapping[str, Any] = {
    "self_training.consistency": 1.0, "self_training.information": 1.0,
    "self_training.confidence": 0.9, "self_training.warm_up": 0.1,
}  # fmt: skip

SIDE = 28  # px
VALIDATION = 1000  # images of each corpus, kept from training
SUMMARY_NAME = "summary.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long each stage learns, in steps."""

    plain: int  # the papers' network, on labels alone; batches of 128
    adda: int  # batches of 128
    translator: int
    translator_batch: int
    own: int  # our network, on labels alone, and aligned; batches of 64
    self_trained: int  # from random weights; batches of 64
    beyond: int  # batches of 64


PLANS: Mapping[Budget, Plan] = {
    "quick": Plan(
        plain=2000, adda=1000, translator=1000, translator_batch=16, own=800, self_trained=1500,
        beyond=2000,
    ),
    # CyCADA: 100 epochs of the source, 200 of ADDA, 75 of the translator with batches of 100.
    "full": Plan(
        plain=46_000, adda=90_000, translator=45_000, translator_batch=100, own=10_000,
        self_trained=20_000, beyond=20_000,
    ),
}  # fmt: skip


def main() -> None:
    """Read the command, run what is missing, print and write the table."""
    options = _parser().parse_args()
    options.out = options.out or Path(f"digits-{options.pair}-{options.budget}")
    corpora = options.pair.split("2")
    progress = Progress(shown=True)
    started = time.monotonic()
    source, target = ((name, digit_files.read_digits(name, options.data)) for name in corpora)
    index = digit_files.write_index_of_digits(
        source, target, options.out / "digits", validation=VALIDATION, seed=0, progress=progress,
    )  # fmt: skip
    found: dict[str, list[float]] = {method: [] for method in (*METHODS, *FURTHER)}
    seconds = []
    for seed in options.seeds:
        summary = run_seed(
            index.root, options.out / f"seed-{seed}", seed=seed, plan=PLANS[options.budget],
            progress=progress,
        )  # fmt: skip
        for method, values in found.items():
            values.append(summary["accuracy"][method])
        seconds.append(summary["seconds"])
    print(table(options.pair, found))
    print(f"{time.monotonic() - started:.0f} s in this sitting; per seed {seconds} s.")
    if options.json:
        result = {
            "pair": options.pair, "seeds": options.seeds, "budget": options.budget,
            "accuracy": {method: found[method] for method in METHODS},
            "further": {method: found[method] for method in FURTHER}, "seconds": seconds,
        }  # fmt: skip
        with replacing(options.json) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.results:
        insert_table(options.results, options, table(options.pair, found))


def run_seed(
    index: Path, out: Path, *, seed: int, plan: Plan, progress: Progress
) -> dict[str, Any]:
    """Train and score every method with one seed; what is there already is kept.

    Returns:
        ``accuracy``: method -> per cent of the target's test digits; ``seconds`` over all
        sittings.
    """
    clock = out / SUMMARY_NAME
    before = json.loads(clock.read_text(encoding="utf-8")) if clock.exists() else {"seconds": 0.0}
    started = time.monotonic()
    jobs = _jobs(index, out, plan, seed=seed)
    begun = there = sum(job.done() for job in jobs)

    def begin(job: Job) -> None:
        nonlocal begun
        begun += 1
        progress.say(f"[seed {seed}, {begun}/{len(jobs)}] {job.title}")

    def tick() -> None:
        out.mkdir(parents=True, exist_ok=True)
        seconds = round(before["seconds"] + time.monotonic() - started, 1)
        told = {"seed": seed, "seconds": seconds, "accuracy": _accuracies(out)}
        with replacing(clock) as temporary:
            temporary.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")

    try:
        with start_workers(2, progress) as workers:
            workers.run(jobs, begun=begin, ended=tick)
    finally:
        if begun > there or not clock.exists():
            tick()
    summary: dict[str, Any] = json.loads(clock.read_text(encoding="utf-8"))
    return summary


def table(pair: Pair, found: Mapping[str, Sequence[float]]) -> str:
    """Return a Markdown table: the papers' rows, then ours."""
    heads = ("", *(TITLES[method] for method in METHODS))
    rows: list[Sequence[str]] = [
        (paper, *(values.get(method, "") for method in METHODS)) for paper, values in PAPERS[pair]
    ]
    count = len(next(iter(found.values())))
    ours = f"cycada, {count} seed{'s' if count > 1 else ''}"
    rows.append((ours, *(f"**{_mean(found[method])}**" for method in METHODS)))
    lines = [heads, ("---",) * len(heads), *rows]
    told = [f"| {' | '.join(line)} |" for line in lines]
    beside = [f"{TITLES[method]}: {_mean(found[method])}." for method in FURTHER]
    return "\n".join([*told, "", f"Beside the table: {' '.join(beside)}"])


def insert_table(file: Path, options: argparse.Namespace, text: str) -> None:
    """Put the table between the marks ``<!-- PAIR BUDGET -->`` and ``<!-- end -->`` of ``file``.

    Raises:
        DataError: The file or its marks are missing.
    """
    first, last = f"<!-- {options.pair} {options.budget} -->", "<!-- end -->"
    try:
        page = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as text ({error}).") from error
    head, found, rest = page.partition(first)
    _, closed, tail = rest.partition(last)
    if not (found and closed):
        raise DataError(
            f"{file}: the marks {first} and {last}, between which the table goes, are missing."
        )
    with replacing(file) as temporary:
        temporary.write_text(f"{head}{first}\n\n{text}\n\n{last}{tail}", encoding="utf-8")


def _mean(values: Sequence[float]) -> str:
    mean = f"{statistics.fmean(values):.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean


def _accuracies(out: Path) -> dict[str, float]:
    found = {}
    for method in (*METHODS, *FURTHER):
        file = out / "evaluation" / method / SCORES_NAME
        if file.exists():
            result = json.loads(file.read_text(encoding="utf-8"))
            accuracy = DetectionScores.from_json(result["scores"]).accuracy
            found[method] = round(100 * accuracy, 2)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--pair", choices=get_args(Pair), required=True, help="labelled digits 2 unlabelled ones")
    add("--data", type=Path, required=True, metavar="DIR", help="folder with the digits' files")
    add("--budget", choices=get_args(Budget), default="quick",
        help="quick: for two CPU cores; full: the papers' schedule, for a GPU")  # fmt: skip
    add("--seeds", type=_seed, nargs="+", default=[0], metavar="SEED", help="default: 0")
    add("--out", type=Path, metavar="DIR", help="where all runs go; default: digits-PAIR-BUDGET")
    add("--json", type=Path, metavar="FILE", help="also write the accuracies here")
    add("--results", type=Path, metavar="FILE", help="Markdown file to put the table into")
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a seed is a whole number from 0, not {text!r}")
    return int(text)


def _jobs(index: Path, out: Path, plan: Plan, *, seed: int) -> Sequence[Job]:
    """Return what is to be done with one seed; what the most others wait for comes first."""

    def detector(name: str, steps: int, *after: str, **values: Any) -> Job:
        settings = {
            "backbone": "lenet", "pretrained": "none", "size": SIDE, "channels": 1, "seed": seed,
            "steps": steps, "batch_size": 128, "learning_rate": 1e-3, "save_every": 500,
            "validate_every": max(steps // 5, 1), **NO_CHANGES, **values,
        }  # fmt: skip
        config = load_config(DetectorConfig, None, (), settings)
        return Job(
            name,
            f"detector: {TITLES.get(name, name).lower()}",
            partial(train_detector.run_training, config, out / name),
            done=(out / name / f"{steps:06d}").is_dir,
            after=after,
        )

    def score(name: str) -> Job:
        folder = out / "evaluation" / name
        options = EvaluateOptions(run=out / name, index=index, out=folder, seed=seed)
        return Job(
            f"evaluation/{name}",
            f"evaluation: {TITLES[name].lower()}",
            partial(evaluate, options),
            done=(folder / SCORES_NAME).exists,
            after=(name,),
        )

    translator = load_config(
        TranslatorConfig, None, (),
        {
            "data": [str(index)], "detector": str(out / "source_only"),
            "thermal_detector": str(out / "self_trained"), "size": SIDE, "seed": seed,
            "steps": plan.translator, "batch_size": plan.translator_batch, "learning_rate": 5e-4,
            "generator.width": 24, "generator.blocks": 3, "generator.skips": False,
            "discriminator.width": 32, "discriminator.layers": 2, "weights.cycle": 10.0,
            "weights.identity": 0.0, "weights.semantic": 1.0, "flip": False,
            "save_every": max(plan.translator // 5, 1),
            "sample_every": max(plan.translator // 4, 1),
        },
    )  # fmt: skip
    labelled, unlabelled = [str(index)], {"target": [str(index)]}
    made = {"source": [str(out / "translated")], **OWN_NETWORK}
    return (
        # Self-training alone reads the target well enough to judge translations into it.
        detector("self_trained", plan.self_trained, source=labelled, **unlabelled, **OWN_NETWORK,
                 **SELF_TRAINING),
        detector("source_only", plan.plain, source=labelled),
        Job(
            "translator",
            "translator",
            partial(train_translator.run_training, translator, out / "translator"),
            done=(out / "translator" / f"{plan.translator:06d}").is_dir,
            after=("source_only", "self_trained"),
        ),
        detector("feature", plan.adda, "source_only", source=labelled, **unlabelled,
                 initial=str(out / "source_only"), learning_rate=2e-5,
                 **{"alignment.method": "adda", "alignment.reads": "scores",
                    "alignment.weight": 1.0, "alignment.learning_rate": 2e-4}),
        detector("target_supervised", plan.plain, source=labelled, source_domain="thermal"),
        detector("source_own", plan.own, source=labelled, **OWN_NETWORK),
        Job(
            "translated",
            "translation",
            partial(run_translation, out / "translator", index, out / "translated", depth="auto"),
            done=(out / "translated" / "index.csv").exists,
            after=("translator",),
        ),
        detector("pixel", plan.own, "translated", **made),
        detector("both", plan.own, "pixel", **unlabelled, initial=str(out / "pixel"), **{
            **made, "alignment.method": "cdan", "alignment.weight": 0.3, "learning_rate": 1e-3}),
        detector("beyond", plan.beyond, "both", **unlabelled, initial=str(out / "both"), **{
            **made, **SELF_TRAINING, **UNEVEN, "source": [str(index), str(out / "translated")]}),
        *(score(name) for name in (*METHODS, *FURTHER)),
    )  # fmt: skip


if __name__ == "__main__":
    run_tool(main)
