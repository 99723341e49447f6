"""How much faster the package is than the textbook, both measured in turn in the same run.

The opponent is a plain CycleGAN and a plain detector (``textbook.py``), eager and in float32.
Each opponent has a process of its own; they make rounds in turn, so that what else the machine
does hits both. A ratio is the textbook's seconds over the package's, the median over the
alternations.

    python tools/bench.py --quick --json
    python tools/bench.py --only train --configurations 256/9/64/1,256/9/64/16 --profile

A configuration is size/blocks/width/batch. Progress goes to standard error; ``--out`` keeps what
is measured so far. Exit code 1: a part failed, which is told under ``failed``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench_machine
import torch
from bench_opponents import DETECTOR_BATCH, DETECTOR_SIZE, Backbone, Configuration, Part, Side, Spec
from bench_process import PartFailedError, Process, alone

from cycada import images
from cycada.data import phantom
from cycada.files import replacing
from cycada.training.loading import device_named

PARTS = ("train", "translate", "detect")
BUDGETS = {"train": 1200.0, "translate": 600.0, "detect": 600.0}  # seconds
QUICK_BUDGETS = {"train": 230.0, "translate": 70.0, "detect": 70.0}
DEFAULT = ("256/9/64/1", "128/6/64/4", "64/3/24/4")
PERFORMANCE = Path(__file__).resolve().parents[1] / "docs" / "performance.json"

_FEWEST = 3  # alternations, even where the budget is used up
_STRICT = "textbook, strict"
_ROUND_SECONDS = {"cpu": 1.0, "cuda": 0.5}  # of steps that are timed together
_OVERRUN, _GRACE = 0.5, 30.0  # share of a budget and seconds after it when a part is given up
_DRAWN = 16  # different faces in a folder


@dataclass(slots=True)
class Bench:
    """What is measured, and the result so far."""

    device: str
    alternations: int
    budgets: Mapping[str, float]  # seconds for each part
    configurations: Sequence[Configuration]
    backbones: Sequence[Backbone]
    translated: Configuration
    images: int  # in the folder to translate or to detect in
    profiled: bool
    scratch: Path
    out: Path | None
    result: dict[str, Any]
    deadline: float = 0.0  # of the part, by time.monotonic
    overrun: float = 0.0  # seconds after it when the part is given up

    def say(self, text: str) -> None:
        """Print a line of progress."""
        print(text, file=sys.stderr, flush=True)

    def keep(self) -> None:
        """Write what is measured so far."""
        if self.out is not None:
            with replacing(self.out) as temporary:
                temporary.write_text(json.dumps(self.result, indent=1) + "\n", encoding="utf-8")

    @contextmanager
    def guarded(self, name: str) -> Iterator[None]:
        """Note a failure within the block, and go on after it."""
        try:
            yield
        except (PartFailedError, RuntimeError, ValueError, OSError) as error:
            told = f"{error}" if isinstance(error, PartFailedError) else repr(error)
            self.result.setdefault("failed", {})[name] = told
            self.say(f"{name}: FAILED: {told}")
        self.keep()

    def patience(self) -> float:
        """Return the seconds after which the part is given up."""
        return self.deadline + self.overrun - time.monotonic()


def alternate(
    measures: Mapping[str, Callable[[], float]], *, alternations: int, seconds: float,
    clock: Callable[[], float] = time.monotonic, told: Callable[[str], None],
) -> dict[str, list[float]]:  # fmt: skip
    """Return the measurements of every opponent, taken in turn.

    Every second time the order is reversed, so that no one always comes first.

    Args:
        measures: What takes one measurement of each opponent.
        alternations: How many of each to take.
        seconds: After these no alternation begins that would not end in time, unless there are
            fewer than three yet.
        clock: Tells seconds.
        told: Is given a line after each alternation.
    """
    found: dict[str, list[float]] = {name: [] for name in measures}
    began = clock()
    for number in range(alternations):
        spent = clock() - began
        if number >= _FEWEST and spent * (number + 1) / number > seconds:
            break
        for name in list(measures)[:: -1 if number % 2 else 1]:
            found[name].append(measures[name]())
        last = ", ".join(f"{name} {figures[-1]:.4g} s" for name, figures in found.items())
        told(f"  {number + 1}: {last}")
    return found


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Return how many times as long ``slow`` took: the median over pairs taken in turn."""
    return statistics.median(one / other for one, other in zip(slow, fast, strict=True))


def compare(found: Mapping[str, Sequence[float]], *, other: str = "package") -> dict[str, Any]:
    """Return ratio, its extremes, and the median seconds of both."""
    pairs = [a / b for a, b in zip(found["textbook"], found[other], strict=True)]
    figures = {
        "ratio": ratio(found["textbook"], found[other]),
        "ratio_lowest": min(pairs),
        "ratio_highest": max(pairs),
        "seconds": statistics.median(found[other]),
        "textbook_seconds": statistics.median(found["textbook"]),
    }
    if _STRICT in found:
        figures["ratio_strict_float32"] = ratio(found[_STRICT], found[other])
        figures["textbook_strict_seconds"] = statistics.median(found[_STRICT])
    return {
        **{name: _rounded(value) for name, value in figures.items()},
        "alternations": len(pairs),
    }


def _rounded(value: float) -> float:
    """Return a figure with the digits that a measurement has."""
    return float(f"{value:.4g}")


def _duel(
    bench: Bench, specs: Mapping[str, Spec], *, share: float, by_steps: bool
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Return the seconds of a round of each opponent, and further facts of each.

    Args:
        bench: The run.
        specs: The opponents by name, ``textbook`` among them.
        share: Seconds for the whole of it.
        by_steps: Whether rounds are short, so that several are timed together, and computed by
            the device alone, so that its precision for convolutions matters.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(Process(spec, patience=bench.patience))
            for name, spec in specs.items()
        }
        warm = {name: process.warm() for name, process in processes.items()}
        rounds = {
            name: _rounds(facts.seconds, bench.device) if by_steps else 1
            for name, facts in warm.items()
        }
        measures: dict[str, Callable[[], float]] = {
            name: lambda name=name: processes[name].ask("time", rounds[name])  # type: ignore[misc]
            for name in processes
        }
        if by_steps and bench.device == "cuda":
            measures[_STRICT] = lambda: _strictly(processes["textbook"], rounds["textbook"])
        found = alternate(
            measures, alternations=bench.alternations,
            seconds=share - (time.monotonic() - began), told=bench.say,
        )  # fmt: skip
        facts: dict[str, Any] = {
            name: {"precision": warm[name].precision, "peak_mb": round(process.ask("memory"))}
            for name, process in processes.items()
        }
        if bench.profiled and by_steps:
            for name, process in processes.items():
                steps = min(rounds[name], 10)
                facts[name]["profile"] = process.ask("profile", steps)
    return found, facts


def _strictly(process: Process, rounds: int) -> float:
    """Time the textbook without TF32, which PyTorch takes for float32 unless it is forbidden."""
    process.ask("strict", True)  # noqa: FBT003
    process.ask("time", 2)  # the first ones choose other algorithms
    seconds: float = process.ask("time", rounds)
    process.ask("strict", False)  # noqa: FBT003
    process.ask("time", 2)
    return seconds


def _rounds(seconds: float, device: str) -> int:
    fewest = 5 if device == "cuda" else 1
    return max(fewest, min(200, round(_ROUND_SECONDS[device] / max(seconds, 1e-6))))


def _share(bench: Bench, left: int) -> float:
    """Return the seconds for the next of ``left`` equal tasks of the part."""
    return max(bench.deadline - time.monotonic(), 0.0) / left


def train(bench: Bench) -> None:
    """Measure the translator's training step; the smallest first, which leaves its time."""
    made = bench.result.setdefault("train", {})
    ordered = sorted(bench.configurations, key=lambda c: c.size**2 * c.batch * c.width**2)
    for number, size in enumerate(ordered):
        with bench.guarded(f"train {size}"):
            bench.say(f"training step, {size}")
            sides: tuple[Side, ...] = ("textbook", "package")
            specs: dict[str, Spec] = {
                side: Spec(part="train", side=side, device=bench.device, configuration=size)
                for side in sides
            }
            share = _share(bench, len(ordered) - number)
            found, facts = _duel(bench, specs, share=share, by_steps=True)
            made[str(size)] = figures = compare(found)
            figures |= {
                "peak_mb": facts["package"]["peak_mb"],
                "textbook_peak_mb": facts["textbook"]["peak_mb"],
                "precision": facts["package"]["precision"],
                "images_per_s": _rounded(size.batch / figures["seconds"]),
            }
            bench.say(f"  {figures}")
            bench.keep()
            _add_flops(bench, size, figures)
            if bench.profiled:
                figures["profile"] = _profiles(bench, facts, figures)
    bench.result["train"] = {str(c): made[str(c)] for c in bench.configurations if str(c) in made}


def _add_flops(bench: Bench, size: Configuration, figures: dict[str, Any]) -> None:
    machine = bench.result["machine"]
    for side, prefix in (("package", ""), ("textbook", "textbook_")):
        counted = alone(
            bench_machine.step_flops, size, side, device="cpu", patience=bench.patience()
        )
        figures[f"{prefix}tflop"] = _rounded(counted / 1e12)
        if "float32_conv_gflops" in machine:
            rate = bench_machine.rate_of(machine, figures["precision"] if not prefix else "no")
            reached = counted / figures[f"{prefix}seconds"]
            figures[f"{prefix}share_of_rate"] = _rounded(reached / rate)


def _profiles(bench: Bench, facts: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the time goes, and what share of the machine's rate convolutions reach."""
    found = {}
    for side, prefix in (("package", ""), ("textbook", "textbook_")):
        found[side] = profiled = dict(facts[side]["profile"])
        machine, spent = bench.result["machine"], profiled["convolution_seconds"]
        if spent and "float32_conv_gflops" in machine:
            rate = bench_machine.rate_of(machine, facts[side]["precision"])
            reached = figures[f"{prefix}tflop"] * 1e12 / spent
            profiled["convolution_share_of_rate"] = _rounded(reached / rate)
    return found


def translate(bench: Bench) -> None:
    """Measure bulk translation, by the paper's network and by the default one."""
    size = bench.translated
    with bench.guarded("translate"):
        bench.say(f"translation of {bench.images} images of {size.size} px")
        pictures = write_faces(bench.scratch / "translate", bench.images, size.size)
        specs = {
            side: _folder_spec(bench, "translate", side, pictures, configuration=size)
            for side in ("textbook", "package", "knee")
        }
        found, facts = _duel(bench, specs, share=_share(bench, 1), by_steps=False)
        bench.result["translate"] = {str(size.size): _per_image(bench, found, facts, "package")}
        knee = _per_image(bench, found, facts, "knee")
        bench.result["knee"] = {**knee, **_preservation()}
        bench.say(f"  ratio {bench.result['translate']}, knee {bench.result['knee']}")


def _preservation() -> dict[str, float | None]:
    """Return how well AUs are kept, which takes trainings, as ``tools/knee.py`` measured it."""
    measured = json.loads(PERFORMANCE.read_text("utf-8")) if PERFORMANCE.exists() else {}
    knee = measured.get("knee", {})
    return {name: knee.get(name) for name in ("preservation", "textbook_preservation")}


def detect(bench: Bench) -> None:
    """Measure the detector: reading a folder, and the training step."""
    made = bench.result.setdefault("detect", {})
    for number, backbone in enumerate(bench.backbones):
        pictures = write_faces(bench.scratch / "detect", bench.images * 4, DETECTOR_SIZE)
        figures: dict[str, Any] = {}
        with bench.guarded(f"detect {backbone}"):
            bench.say(f"{backbone} reads {bench.images * 4} images of {DETECTOR_SIZE} px")
            specs = {
                side: _folder_spec(bench, "detect", side, pictures, backbone=backbone)
                for side in ("textbook", "package")
            }
            left = 2 * (len(bench.backbones) - number)
            found, facts = _duel(bench, specs, share=_share(bench, left), by_steps=False)
            figures |= _per_image(bench, found, facts, "package", count=bench.images * 4)
            made[backbone] = figures
            bench.say(f"  {figures}")
        with bench.guarded(f"detector step {backbone}"):
            bench.say(f"training step of {backbone}, {DETECTOR_BATCH} images")
            specs = {
                side: Spec(part="detector_step", side=side, device=bench.device, backbone=backbone)
                for side in ("textbook", "package")
            }
            found, facts = _duel(bench, specs, share=_share(bench, left - 1), by_steps=True)
            step = compare(found)
            step |= {
                "peak_mb": facts["package"]["peak_mb"],
                "textbook_peak_mb": facts["textbook"]["peak_mb"],
                "precision": facts["package"]["precision"],
            }
            made.setdefault(backbone, figures)
            figures |= {f"train_{name}": value for name, value in step.items()}
            bench.say(f"  {step}")


def _folder_spec(bench: Bench, part: Part, side: Side, pictures: Path, **more: Any) -> Spec:
    scratch = Path(tempfile.mkdtemp(dir=bench.scratch, prefix=f"{part}-{side}-"))
    return Spec(
        part=part, side=side, device=bench.device, pictures=pictures, scratch=scratch, **more
    )


def _per_image(
    bench: Bench, found: Mapping[str, Sequence[float]], facts: Mapping[str, Any], side: str,
    *, count: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Return the comparison of passes over a folder, with images per second."""
    figures, count = compare(found, other=side), count or bench.images
    return figures | {
        "images": count,
        "images_per_s": _rounded(count / figures["seconds"]),
        "textbook_images_per_s": _rounded(count / figures["textbook_seconds"]),
        "peak_mb": facts[side]["peak_mb"],
        "textbook_peak_mb": facts["textbook"]["peak_mb"],
    }


def write_faces(folder: Path, count: int, size: int) -> Path:
    """Draw RGB phantom faces into a folder, some of them several times, and return it."""
    if folder.exists():
        return folder
    folder.mkdir(parents=True)
    drawn, draw = min(count, _DRAWN), torch.Generator().manual_seed(0)
    faces = phantom.render_rgb(
        phantom.sample_identities(drawn, generator=draw),
        phantom.sample_intensities(drawn, domain="rgb", generator=draw),
        phantom.sample_scenes(drawn, generator=draw),
        size=size,
    )
    for number, face in enumerate(faces):
        images.write_image(folder / f"{number:06d}.png", face)
    for number in range(drawn, count):
        shutil.copy(folder / f"{number % drawn:06d}.png", folder / f"{number:06d}.png")
    return folder


def table(result: Mapping[str, Any]) -> str:
    """Return the figures for people to read, in Markdown."""
    lines = [
        "| what | ratio | package | textbook | peak MB | textbook MB |",
        "|---|---|---|---|---|---|",
    ]

    def line(name: str, figures: Mapping[str, Any], unit: str, key: str) -> None:
        cells = [figures.get(k) for k in ("ratio", key, f"textbook_{key}", "peak_mb",
                                          "textbook_peak_mb")]  # fmt: skip
        told = [f"{cell:.4g}" if isinstance(cell, float) else f"{cell}" for cell in cells]
        told[1:3] = [f"{value} {unit}" for value in told[1:3]]
        lines.append(f"| {name} | {' | '.join(told)} |")

    for name, figures in result.get("train", {}).items():
        line(f"training step {name}", figures, "s", "seconds")
    for name, figures in result.get("translate", {}).items():
        line(f"translation, {name} px", figures, "images/s", "images_per_s")
    if "ratio" in result.get("knee", {}):
        line("translation, default network", result["knee"], "images/s", "images_per_s")
    for name, figures in result.get("detect", {}).items():
        if "ratio" in figures:
            line(f"detection, {name}", figures, "images/s", "images_per_s")
        steps = {k.removeprefix("train_"): v for k, v in figures.items() if k.startswith("train_")}
        if steps:
            line(f"training step of {name}", steps, "s", "seconds")
    lines += ["", json.dumps(result.get("machine", {}))]
    lines += [f"FAILED {name}: {told}" for name, told in result.get("failed", {}).items()]
    return "\n".join(lines)


def measure(bench: Bench, parts: Sequence[str]) -> None:
    """Fill the result of ``bench``, part by part."""
    for key in ("train", "translate", "detect"):
        if key in parts:
            bench.result[key] = {}
    bench.result["machine"] = {}
    with bench.guarded("machine"):
        bench.result["machine"] = alone(
            bench_machine.describe, bench.device, device=bench.device, patience=120.0
        )
        bench.say(f"{bench.result['machine']}")
    for part in parts:
        bench.deadline = time.monotonic() + bench.budgets[part]
        bench.overrun = _OVERRUN * bench.budgets[part] + _GRACE
        with bench.guarded(part):
            {"train": train, "translate": translate, "detect": detect}[part](bench)


def _configurations(text: str) -> list[Configuration]:
    try:
        return [Configuration.read(each) for each in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parts(text: str) -> list[str]:
    wanted = text.split(",")
    if not set(wanted) <= set(PARTS):
        raise argparse.ArgumentTypeError(f"{text}: choose of {', '.join(PARTS)}.")
    return wanted


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--quick", action="store_true", help="less of all, within 8 minutes")
    options.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options.add_argument("--out", type=Path, help="JSON file to keep, also of what is done so far")
    options.add_argument("--only", type=_parts, default=list(PARTS), metavar="PART,...")
    options.add_argument(
        "--configurations", type=_configurations, metavar="SIZE/BLOCKS/WIDTH/BATCH,...",
        default=_configurations(",".join(DEFAULT)),
        help=f"default: {','.join(DEFAULT)}",
    )  # fmt: skip
    options.add_argument(
        "--translate", type=Configuration.read, default=Configuration.read("256/9/64/1"),
        help="the network that translates (default 256/9/64/1)",
    )  # fmt: skip
    options.add_argument("--images", type=int, help="to translate; four times as many are read")
    options.add_argument("--alternations", type=int, help="(default 7; 5 with --quick)")
    options.add_argument("--budget", type=float, help="seconds for each part")
    options.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    options.add_argument("--profile", action="store_true", help="also where the time of steps goes")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns 1 if a part failed."""
    options = parser().parse_args(arguments)
    device = device_named(options.device).type
    many = {"cpu": 8 if options.quick else 32, "cuda": 256 if options.quick else 512}[device]
    budgets = QUICK_BUDGETS if options.quick else BUDGETS
    if options.budget:
        budgets = dict.fromkeys(PARTS, options.budget)
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(
            device=device,
            alternations=options.alternations or (5 if options.quick else 7),
            budgets=budgets,
            configurations=options.configurations,
            backbones=("resnet18",) if options.quick else ("resnet18", "resnet50"),
            translated=options.translate,
            images=options.images or many,
            profiled=options.profile,
            scratch=Path(scratch),
            out=options.out,
            result={},
        )  # fmt: skip
        measure(bench, options.only)
    print(json.dumps(bench.result) if options.json else table(bench.result))
    return int(bool(bench.result.get("failed")))


if __name__ == "__main__":
    sys.exit(main())
