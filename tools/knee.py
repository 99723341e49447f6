"""Find the cheapest generator that keeps Action Units as well as the paper's: cost against quality.

python tools/knee.py demo --out knee --seeds 0 1 2 --json docs/performance.json

Translators that differ in their generator alone are trained on the faces of a finished ``cycada
demo``, with its recipe, and translate its RGB faces. What is kept is told by the demo's detector
that learned from labelled thermal faces (``target_supervised``): its ROC-AUC on the translations,
mean over Action Units, and how far these are from the phantoms' true thermal images. What it costs
is counted (products of one image) and measured (networks in turn, one image at a time).

The knee is the cheapest network whose mean on *validation* subjects is at most 0.005 below the best
of all, the paper's network among them; the figures that are published are of test subjects. A
network is named WIDTH/BLOCKS, and ``/paper`` behind it leaves out the long shortcuts. Stopped, the
same command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bench_machine
import numpy as np
import torch
from ending import run_tool
from torch.utils.flop_counter import FlopCounterMode

from cycada.config import GeneratorConfig
from cycada.data.index import Split, read_index
from cycada.errors import UsageError
from cycada.files import replacing
from cycada.metrics.detection import mean_over_units, roc_auc
from cycada.models.generator import make_generator
from cycada.progress import Progress
from cycada.stages.demo_jobs import PLANS, Maker, jobs_at_a_time
from cycada.stages.evaluate import evaluate, predict_faces
from cycada.stages.scoring import SCORES_NAME, EvaluateOptions
from cycada.stages.side_by_side import Job, start_workers
from cycada.training.loading import load_detector

SIZE = 64  # px, of the demo's faces
_COUNTED = 256  # px, of the image whose cost is told
_TURNS = 5
_NEARLY = 0.005  # of ROC-AUC: what other seeds would change
_NAME = re.compile(r"(\d+)/(\d+)(/paper)?")
_READER = "target_supervised"
PAPER = "64/9/paper"
NETWORKS = (PAPER, "64/3", "32/3", "24/6", "24/3", "16/3", "12/3")
"""The dearest first: it takes as long as all others, which are trained beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A generator: what it costs, and what it keeps for each seed."""

    name: str
    gflop: float  # of one image of 256 px, two for a multiplication and its addition
    ms: float  # of the same image
    validation: Sequence[float]  # ROC-AUC of the translations
    test: Sequence[float]
    celsius: Sequence[float]  # mean absolute difference from the true thermal image


def main() -> None:
    """Read the command, train what is missing, print and write the table."""
    options = _parser().parse_args()
    progress = Progress(shown=True)
    generators = {name: generator(name) for name in dict.fromkeys((PAPER, *options.networks))}
    chains = {
        (name, seed): _jobs(options.demo, options.out, name, config, seed)
        for name, config in generators.items()
        for seed in options.seeds
    }
    with start_workers(jobs_at_a_time(), progress) as workers:
        workers.run(
            [job for jobs in chains.values() for job in jobs],
            begun=lambda job: progress.say(job.title), ended=lambda: None,
        )  # fmt: skip
    costs = measured(generators)
    found = []
    for name in generators:
        kept = [
            figures(options.demo, _place(options.out, name, seed), progress)
            for seed in options.seeds
        ]
        found.append(
            Network(
                name=name,
                gflop=costs[name]["gflop"],
                ms=costs[name]["ms"],
                validation=[each["validation"] for each in kept],
                test=[each["test"] for each in kept],
                celsius=[each["celsius"] for each in kept],
            )
        )
    print(table(found))
    if options.json:
        with replacing(options.json, lone=True) as temporary:
            text = json.dumps(result(found, options.seeds), indent=1)
            temporary.write_text(f"{text}\n", encoding="utf-8")


def generator(name: str) -> GeneratorConfig:
    """Return the settings of a network by its name.

    Raises:
        UsageError: It is no name of a network.
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise UsageError(f"--networks {name}: expected WIDTH/BLOCKS or WIDTH/BLOCKS/paper.")
    return GeneratorConfig(width=int(parts[1]), blocks=int(parts[2]), skips=parts[3] is None)


def knee(found: Sequence[Network]) -> Network:
    """Return the cheapest network that keeps as much as any on validation subjects, or nearly."""
    best = max(statistics.fmean(each.validation) for each in found)
    enough = [each for each in found if statistics.fmean(each.validation) >= best - _NEARLY]
    return min(enough, key=lambda each: each.gflop)


def measured(generators: Mapping[str, GeneratorConfig]) -> dict[str, dict[str, float]]:
    """Return what each network costs on one RGB image: GFLOP, and milliseconds in turn."""
    image = torch.zeros(1, 3, _COUNTED, _COUNTED)
    networks = {name: make_generator(c, 3, 1).eval() for name, c in generators.items()}
    costs: dict[str, dict[str, float]] = {}
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    with torch.inference_mode():
        for name, network in networks.items():
            with FlopCounterMode(display=False) as counter:
                network(image)
            costs[name] = {"gflop": round(counter.get_total_flops() / 1e9, 2)}
        for _ in range(_TURNS):
            for name, network in networks.items():
                began = time.perf_counter()
                network(image)
                seconds[name].append(time.perf_counter() - began)
    for name, times in seconds.items():
        costs[name]["ms"] = round(1000 * statistics.median(times), 1)
    return costs


def figures(demo: Path, place: Path, progress: Progress) -> dict[str, float]:
    """Return what the translations of one run keep; asked once, then read from a file."""
    file = place / "kept.json"
    if not file.exists():
        scores = place / "evaluation"
        if not (scores / SCORES_NAME).exists():
            evaluate(
                EvaluateOptions(run=place / "translator", index=demo / "faces", out=scores),
                progress=progress,
            )
        told = json.loads((scores / SCORES_NAME).read_text(encoding="utf-8"))["scores"]["figures"]
        kept = {
            "validation": _kept(demo, place, "val", progress),
            "test": _kept(demo, place, "test", progress),
            "celsius": round(told["paired_l1_celsius"]["mean"], 4),
        }
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(kept) + "\n", encoding="utf-8")
    found: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _kept(demo: Path, place: Path, split: Split, progress: Progress) -> float:
    detector = load_detector(demo / _READER)
    faces = read_index(place / "translated").select(domain="thermal", split=split)
    labels, known = faces.labels(detector.task)
    said = predict_faces(detector, faces, domain="thermal", progress=progress)
    return round(float(mean_over_units(np.asarray(roc_auc(said, labels, known)))), 4)


def result(found: Sequence[Network], seeds: Sequence[int]) -> dict[str, Any]:
    """Return what is written: each network, and the knee beside the paper's network."""
    chosen, paper = knee(found), next(each for each in found if each.name == PAPER)
    return {
        "seeds": list(seeds),
        "machine": bench_machine.describe("cpu"),
        "networks": [
            {
                "name": each.name, "gflop": each.gflop, "ms": each.ms,
                "validation": list(each.validation), "test": list(each.test),
                "celsius": list(each.celsius),
            }
            for each in found
        ],
        "knee": {
            "network": chosen.name,
            "gflop_ratio": round(paper.gflop / chosen.gflop, 2),
            "preservation": round(statistics.fmean(chosen.test), 4),
            "textbook_preservation": round(statistics.fmean(paper.test), 4),
        },
    }  # fmt: skip


def table(found: Sequence[Network]) -> str:
    """Return a Markdown table, the cheapest network first; the knee is in bold."""
    chosen = knee(found).name
    lines = [
        "| network | GFLOP | ms | ROC-AUC, validation | ROC-AUC, test | off by, deg C |",
        "|---|---|---|---|---|---|",
    ]
    for each in sorted(found, key=lambda one: one.gflop):
        name = f"**{each.name}**" if each.name == chosen else each.name
        kept = [_spread(values) for values in (each.validation, each.test, each.celsius)]
        lines.append(f"| {name} | {each.gflop:.1f} | {each.ms:.0f} | {' | '.join(kept)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    told = f"{statistics.fmean(values):.3f}"
    return told if len(values) == 1 else f"{told} ({min(values):.3f} to {max(values):.3f})"


def _place(out: Path, name: str, seed: int) -> Path:
    return out / name.replace("/", "-") / f"seed-{seed}"


def _jobs(demo: Path, out: Path, name: str, config: GeneratorConfig, seed: int) -> Sequence[Job]:
    """Return the training of a translator and its translation; what the demo made is there."""
    make = Maker(_place(out, name, seed), demo, demo / "faces", PLANS["quick"], SIZE, seed)
    trained, translated = make.translation(
        **{
            "generator.width": config.width, "generator.blocks": config.blocks,
            "generator.skips": config.skips,
        }
    )  # fmt: skip
    key = f"{name}, seed {seed}"
    return [
        replace(trained, name=f"{key}: translator", title=f"{key}: translator", after=()),
        replace(
            translated, name=f"{key}: translation", title=f"{key}: translation",
            after=(f"{key}: translator",),
        ),
    ]  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("demo", type=Path, metavar="DEMO", help="a finished demo")
    add("--out", type=Path, required=True, metavar="DIR", help="where all runs go")
    add("--networks", nargs="+", default=list(NETWORKS), metavar="WIDTH/BLOCKS")
    add("--seeds", type=int, nargs="+", default=[0], metavar="SEED", help="of the translators")
    add("--json", type=Path, metavar="FILE", help="also write the figures here")
    return parser


if __name__ == "__main__":
    run_tool(main)
