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
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import bench_machine
import torch
from bench_duel import Bench, compare, duel, rounded
from bench_opponents import (
    DETECTOR_BATCH,
    DETECTOR_SIZE,
    Configuration,
    Part,
    Side,
    Spec,
    writing,
)
from bench_process import alone

from cycada import image_writing
from cycada.data import phantom
from cycada.training.loading import device_named

PARTS = ("train", "translate", "detect")
BUDGETS = MappingProxyType({"train": 1200.0, "translate": 600.0, "detect": 600.0})  # seconds
QUICK_BUDGETS = MappingProxyType({"train": 230.0, "translate": 80.0, "detect": 80.0})
DEFAULT = ("256/9/64/1", "128/6/64/4", "64/3/24/4")
PERFORMANCE = Path(__file__).resolve().parents[1] / "docs" / "performance.json"

_BOTH: tuple[Side, ...] = ("textbook", "package")
_DRAWN = 16  # different faces in a folder
_IMAGES = MappingProxyType({"cpu": 64, "cuda": 512})  # to translate
_QUICK_IMAGES = MappingProxyType({"cpu": 24, "cuda": 256})
_READ = MappingProxyType({"cpu": 16, "cuda": 4})  # times as many are read by detectors
_STARTING = 80.0  # seconds beside the budgets


def train(bench: Bench) -> None:
    """Measure the translator's training step; the smallest first, which leaves its time."""
    made: dict[str, dict[str, Any]] = {}
    facts: dict[str, Any] = {}
    ordered = sorted(bench.configurations, key=lambda c: c.size**2 * c.batch * c.width**2)
    for number, size in enumerate(ordered):
        with bench.guarded(f"train {size}"):
            bench.say(f"training step, {size}")
            specs = [
                Spec(part="train", side=side, device=bench.device, configuration=size)
                for side in _BOTH
            ]
            share = bench.share(len(ordered) - number)
            found, facts[str(size)] = duel(bench, specs, share=share, by_steps=True)
            made[str(size)] = figures = _step(found, facts[str(size)])
            figures["images_per_s"] = rounded(size.batch / figures["seconds"])
            bench.say(f"  {figures}")
            # In the order that was asked for.
            bench.result["train"] = {
                str(each): made[str(each)] for each in bench.configurations if str(each) in made
            }
    with bench.guarded("FLOPs of training steps"):
        _add_flops(bench, made)
    if bench.profiled:
        with bench.guarded("profile of training steps"):
            for name, figures in made.items():
                figures["profile"] = _profiles(bench, facts[name], figures)


def _step(found: Mapping[str, Sequence[float]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the comparison of training steps."""
    return compare(found) | {
        "peak_mb": facts["package"]["peak_mb"],
        "textbook_peak_mb": facts["textbook"]["peak_mb"],
        "precision": facts["package"]["precision"],
    }


def _add_flops(bench: Bench, made: Mapping[str, dict[str, Any]]) -> None:
    sizes = [Configuration.read(name) for name in made]
    counts = alone(
        bench_machine.flops_of_steps, sizes, device="cpu", patience=max(bench.patience(), 60.0)
    )
    for figures, counted in zip(made.values(), counts, strict=True):
        for prefix, count in zip(("", "textbook_"), counted, strict=True):
            figures[f"{prefix}tflop"] = rounded(count / 1e12)
            rate = bench_machine.rate_of(
                bench.result["machine"], "no" if prefix else figures["precision"]
            )
            reached = count / figures[f"{prefix}seconds"]
            figures[f"{prefix}share_of_rate"] = rounded(reached / rate) if rate else None


def _profiles(bench: Bench, facts: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the time goes, and what share of the machine's rate convolutions reach."""
    found = {}
    for side, prefix in (("package", ""), ("textbook", "textbook_")):
        found[side] = profiled = dict(facts[side]["profile"])
        rate = bench_machine.rate_of(bench.result["machine"], facts[side]["precision"])
        spent = profiled["convolution_seconds"]
        if spent and rate and f"{prefix}tflop" in figures:
            reached = figures[f"{prefix}tflop"] * 1e12 / spent
            profiled["convolution_share_of_rate"] = rounded(reached / rate)
    return found


def translate(bench: Bench) -> None:
    """Measure bulk translation, by the paper's network and by the default one."""
    size = bench.translated
    with bench.guarded("translate"):
        bench.say(f"translation of {bench.images} images of {size.size} px")
        pictures = write_faces(bench.scratch / "translate", bench.images, size.size)
        sides: tuple[Side, ...] = (*_BOTH, "knee")
        specs = [
            _folder_spec(bench, "translate", side, pictures, configuration=size) for side in sides
        ]
        found, facts = duel(bench, specs, share=bench.share(1), by_steps=False)
        made = {side: _folder(found, facts, side, bench.images) for side in sides[1:]}
        bench.result["translate"] = {str(size.size): made["package"]}
        bench.result["knee"] = {**made["knee"], **preservation(PERFORMANCE)}
        bench.say(f"  {made}")


def preservation(file: Path) -> dict[str, float | None]:
    """Return how well AUs are kept, which takes trainings to measure: as ``file`` tells, if any."""
    measured = json.loads(file.read_text("utf-8")) if file.exists() else {}
    knee = measured.get("knee", {})
    return {name: knee.get(name) for name in ("preservation", "textbook_preservation")}


def detect(bench: Bench) -> None:
    """Measure the detector: reading a folder, and the training step."""
    made = bench.result.setdefault("detect", {})
    pictures = write_faces(bench.scratch / "detect", bench.read, DETECTOR_SIZE)
    left = 2 * len(bench.backbones)
    for backbone in bench.backbones:
        with bench.guarded(f"detect {backbone}"):
            bench.say(f"{backbone} reads {bench.read} images of {DETECTOR_SIZE} px")
            specs = [
                _folder_spec(bench, "detect", side, pictures, backbone=backbone) for side in _BOTH
            ]
            found, facts = duel(bench, specs, share=bench.share(left), by_steps=False)
            made[backbone] = _folder(found, facts, "package", bench.read)
            bench.say(f"  {made[backbone]}")
        left -= 1
        with bench.guarded(f"detector's step {backbone}"):
            bench.say(f"training step of {backbone}, {DETECTOR_BATCH} images")
            specs = [
                Spec(part="detector_step", side=side, device=bench.device, backbone=backbone)
                for side in _BOTH
            ]
            found, facts = duel(bench, specs, share=bench.share(left), by_steps=True)
            made.setdefault(backbone, {})["step"] = step = _step(found, facts)
            if bench.profiled:
                step["profile"] = {side: facts[side]["profile"] for side in _BOTH}
            bench.say(f"  {step}")
        left -= 1


def _folder_spec(bench: Bench, part: Part, side: Side, pictures: Path, **more: Any) -> Spec:
    scratch = Path(tempfile.mkdtemp(dir=bench.scratch, prefix=f"{part}-{side}-"))
    spec = Spec(
        part=part, side=side, device=bench.device, pictures=pictures, scratch=scratch, **more
    )
    if side != "textbook":
        alone(*writing(spec), device="cpu", patience=max(bench.patience(), 60.0))
    return spec


def _folder(
    found: Mapping[str, Sequence[float]], facts: Mapping[str, Any], side: str, count: int
) -> dict[str, Any]:
    """Return the comparison of passes over a folder, with images per second."""
    figures = compare(found, side=side)
    return figures | {
        "images": count,
        "images_per_s": rounded(count / figures["seconds"]),
        "textbook_images_per_s": rounded(count / figures["textbook_seconds"]),
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
        image_writing.write_image(folder / f"{number:06d}.png", face)
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
        if "step" in figures:
            line(f"training step of {name}", figures["step"], "s", "seconds")
    lines += ["", json.dumps(result.get("machine", {}))]
    lines += [f"FAILED {name}: {told}" for name, told in result.get("failed", {}).items()]
    return "\n".join(lines)


def measure(bench: Bench, parts: Sequence[str]) -> None:
    """Fill the result of ``bench``, part by part."""
    bench.result |= {part: {} for part in parts}
    bench.result["machine"] = {}
    with bench.guarded("machine"):
        bench.result["machine"] = bench_machine.describe(bench.device)
        rates = alone(bench_machine.rates, bench.device, device=bench.device, patience=120.0)
        bench.result["machine"] |= rates
        bench.say(f"{bench.result['machine']}")
    for number, part in enumerate(parts, start=1):
        bench.begin(part, later=parts[number:])
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
    options.add_argument("--images", type=int, help="to translate; detectors read more")
    options.add_argument("--alternations", type=int, help="(default 7; 5 with --quick)")
    options.add_argument("--budget", type=float, help="seconds for each part")
    options.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    options.add_argument("--profile", action="store_true", help="also where the time of steps goes")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns 1 if a part failed."""
    options = parser().parse_args(arguments)
    device = device_named(options.device).type
    many = options.images or (_QUICK_IMAGES if options.quick else _IMAGES)[device]
    budgets: Mapping[str, float] = QUICK_BUDGETS if options.quick else BUDGETS
    if options.budget:
        budgets = dict.fromkeys(PARTS, options.budget)
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(
            device=device,
            alternations=options.alternations or (5 if options.quick else 7),
            budgets=budgets,
            most=sum(budgets[part] for part in options.only) + _STARTING,
            configurations=options.configurations,
            backbones=("resnet18",) if options.quick else ("resnet18", "resnet50"),
            translated=options.translate,
            images=many,
            read=_READ[device] * many,
            profiled=options.profile,
            scratch=Path(scratch),
            out=options.out,
        )  # fmt: skip
        measure(bench, options.only)
    print(json.dumps(bench.result) if options.json else table(bench.result))
    return int(bool(bench.result.get("failed")))


if __name__ == "__main__":
    sys.exit(main())
