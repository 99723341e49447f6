"""Train for hours, and watch what a process must not let grow.

Trains a translator and a detector side by side on phantom faces, each in a process of its own as
users start it, and samples the memory, the open files and the threads of both, and the steps that
they have made. At the end both are asked to stop by SIGTERM. Prints a table; exit code 1 where
memory has grown by more than 3 per cent after the warm-up, or files or threads have changed.

    python tools/soak.py --out soak --minutes 120 --json soak.json
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from cycada.files import replacing
from cycada.progress import Progress
from cycada.stages.phantom import PhantomOptions, make_phantom
from cycada.training.run_reading import read_log

WARM_UP = 0.2  # share of the time before growth counts
MOST_GROWTH = 0.03
_FEWEST = 50  # samples
_PARTS = 10  # of the time after the warm-up, that are compared

TRAININGS: Mapping[str, Sequence[str]] = {
    "train-translator": (
        "data", "generator.width=16", "generator.blocks=2", "discriminator.width=16",
        "discriminator.layers=2", "batch_size=4", "sample_every=50", "weights.semantic=0.0",
    ),
    "train-detector": (
        "source", "backbone=small", "pretrained=none", "view=structure", "batch_size=8",
        "validate_every=100",
    ),
}  # fmt: skip
"""Verb -> name of the setting that takes the index, and the settings."""


class Sample(NamedTuple):
    """What a training held at a moment."""

    second: float
    memory_mb: float  # resident, of the process and its children
    files: int
    threads: int
    step: int  # last logged


def main() -> None:
    """Read the command, train, watch, print and write."""
    options = _parser().parse_args()
    faces = options.out / "faces"
    if not (faces / "index.csv").exists():
        make_phantom(
            PhantomOptions(
                out=faces, rgb_subjects=40, thermal_subjects=40, frames=8, size=64, seed=0,
                paired=(),
            ),
            progress=Progress(shown=True),
        )  # fmt: skip
    started = {verb: _start(verb, faces, options.out / verb) for verb in TRAININGS}
    found: dict[str, list[Sample]] = {verb: [] for verb in started}
    began = time.monotonic()
    codes: dict[str, int | None] = {}
    try:
        while time.monotonic() - began < 60 * options.minutes:
            time.sleep(options.every)
            for verb, process in started.items():
                if process.poll() is not None:
                    sys.exit(f"Error: {verb} ended with {process.returncode} after "
                             f"{time.monotonic() - began:.0f} s.")  # fmt: skip
                sample = _sample(process, options.out / verb, time.monotonic() - began)
                if sample.step:
                    found[verb].append(sample)
                    _append(options.out / f"{verb}.csv", sample)
    finally:
        for process in started.values():
            process.send_signal(signal.SIGTERM)
        for verb, process in started.items():
            codes[verb] = process.wait()
    result = {
        verb: {**summary(samples), "exit_code": codes[verb]} for verb, samples in found.items()
    }
    print(table(result))
    if options.json:
        with replacing(options.json) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.exit(any(not each["flat"] or each["exit_code"] != 143 for each in result.values()))


def _start(verb: str, faces: Path, run: Path) -> subprocess.Popen[bytes]:
    index, *settings = TRAININGS[verb]
    words = [f"{index}={json.dumps([str(faces)])}", *settings, "size=64", "steps=100000000",
             "log_every=20", "save_every=100"]  # fmt: skip
    command = [sys.executable, "-m", "cycada", verb, "--out", str(run)]
    for word in words:
        command += ["--set", word]
    with (run.parent / f"{verb}.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603  # our own program
            command, stdout=log, stderr=log, env={"OMP_NUM_THREADS": "1", **os.environ}
        )


def _sample(process: subprocess.Popen[bytes], run: Path, second: float) -> Sample:
    family = [psutil.Process(process.pid)]
    family += family[0].children(recursive=True)
    log = [line["step"] for line in read_log(run)] if (run / "config.json").exists() else []
    return Sample(
        round(second, 1),
        round(sum(each.memory_info().rss for each in family) / 2**20, 1),
        sum(each.num_fds() for each in family),
        sum(each.num_threads() for each in family),
        int(log[-1]) if log else 0,
    )


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return what has changed after the warm-up.

    Memory is compared by the medians of the first and the last tenth of the time, for a process
    holds more while it saves; files and threads by the fewest and the most in each tenth, for the
    same reason: what leaks raises the fewest.
    """
    if len(samples) < _FEWEST:
        raise SystemExit(f"Error: {len(samples)} samples are too few to tell; give --minutes more.")
    first = samples[0].second + WARM_UP * (samples[-1].second - samples[0].second)
    kept = [sample for sample in samples if sample.second >= first]
    length = max(len(kept) // _PARTS, 1)
    parts = [kept[at : at + length] for at in range(0, length * _PARTS, length)]
    parts = [part for part in parts if part]
    memory = [statistics.median(sample.memory_mb for sample in part) for part in parts]
    files = [min(sample.files for sample in part) for part in parts]
    threads = [min(sample.threads for sample in part) for part in parts]
    speed = [
        (later[-1].step - earlier[-1].step) / (later[-1].second - earlier[-1].second)
        for earlier, later in itertools.pairwise(parts)
    ]
    growth = memory[-1] / memory[0] - 1
    return {
        "minutes": round(samples[-1].second / 60, 1),
        "steps": samples[-1].step,
        "memory_mb": [round(memory[0], 1), round(memory[-1], 1)],
        "growth": round(growth, 4),
        "files": [files[0], files[-1]],
        "threads": [threads[0], threads[-1]],
        "steps_per_second": [round(each, 2) for each in speed],
        "flat": growth <= MOST_GROWTH and files[-1] <= files[0] and threads[-1] <= threads[0],
    }


def table(result: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a Markdown table, one row for each training."""
    heads = ("training", "minutes", "steps", "memory, MB", "growth", "files", "threads",
             "steps per second, slowest to fastest tenth")  # fmt: skip
    lines = [heads, ("---",) * len(heads)]
    for verb, found in result.items():
        speed = sorted(found["steps_per_second"])
        span = f"{speed[0]:.2f} to {speed[-1]:.2f}" if speed else ""
        pairs = (" to ".join(map(str, found[name])) for name in ("memory_mb", "files", "threads"))
        memory, files, threads = pairs
        lines.append((verb, f"{found['minutes']:.0f}", str(found["steps"]), memory,
                      f"{100 * found['growth']:+.1f} %", files, threads, span))  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _append(file: Path, sample: Sample) -> None:
    fresh = not file.exists()
    with file.open("a", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        if fresh:
            writer.writerow(Sample._fields)
        writer.writerow(sample)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="faces, runs and samples")
    add("--minutes", type=float, default=120.0, help="of training (default 120)")
    add("--every", type=float, default=10.0, help="seconds between two samples (default 10)")
    add("--json", type=Path, metavar="FILE", help="also write the figures here")
    return parser


if __name__ == "__main__":
    main()
