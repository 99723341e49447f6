r"""What int8 gains and loses: exported networks quantised, against themselves in float32.

Exports the runs of translators and detectors to ONNX (``--exports`` keeps the files for another
time), and quantises each on faces of the training split in two ways: all layers (``all``), or all
but the first and the last (``inner``), as ``cycada export --int8`` does. On labelled faces of the
test split it then asks what is kept: of a translator how alike the images are, and what the judge
reads in faces that were translated there and back, as ``cycada evaluate`` does; of a detector what
it reads. float32 and int8 take turns on one thread with PyTorch from the run, and seconds are those
of the processor. Prints a Markdown table.

    python tools/bench_int8.py demo/translator demo/structure demo/target_supervised \
        --faces demo/faces --judge demo/structure
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from cycada import images
from cycada.data.dataset import FaceImages, signed
from cycada.data.index import Domain, Index, Split, read_index
from cycada.metrics.detection import f1_scores, roc_auc
from cycada.metrics.translation import label_flip_rate, root_mean_square_error
from cycada.progress import Progress
from cycada.stages.export import run_export
from cycada.training.loading import LoadedDetector, load_detector, load_translator
from cycada.training.quantising import quantise
from cycada.training.run_reading import run_kind

Layers = Literal["all", "inner"]
Engine = Callable[[Tensor], Tensor]

_BATCH = 16
_PROCESSOR = torch.device("cpu")


class Network(NamedTuple):
    """A network in ONNX, and what it is shown."""

    file: Path
    domain: Domain
    channels: int


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured on what."""

    faces: Index
    calibrating: int  # faces
    judging: int  # faces
    rounds: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="runs of translators and detectors")
    parser.add_argument("--faces", type=Path, required=True, help="index with labels")
    parser.add_argument("--judge", type=Path, help="run of an RGB detector; judges translators")
    parser.add_argument("--exports", type=Path, help="folder of the exports; those there are taken")
    parser.add_argument("--layers", nargs="+", choices=get_args(Layers), default=get_args(Layers))
    parser.add_argument("--calibrating", type=int, default=64, help="faces (default 64)")
    parser.add_argument("--judging", type=int, default=320, help="faces (default 320)")
    parser.add_argument("--rounds", type=int, default=15, help="of timing (default 15)")
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    setting = Setting(
        read_index(options.faces), options.calibrating, options.judging, options.rounds
    )
    judge = load_detector(options.judge, _PROCESSOR) if options.judge else None
    found: dict[str, Any] = {}
    print("| Network | int8 | MB | ms per face: PyTorch, float32, int8 | Ratio (lowest to highest) "
          "| Alike | Macro F1: float32, int8 | ROC-AUC | Turned decisions |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        kept = options.exports or Path(folder)
        for run in options.runs:
            for layers in options.layers:
                made = Path(folder) / layers
                made.mkdir(exist_ok=True)
                figures = (
                    of_translator(run, judge, setting, kept, made, layers)
                    if run_kind(run) == "translator"
                    else of_detector(run, setting, kept, made, layers)
                )
                found.setdefault(run.name, {})[layers] = figures
                print(row(run.name, layers, figures), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def of_translator(
    run: Path, judge: LoadedDetector | None, setting: Setting, kept: Path, made: Path,
    layers: Layers,
) -> dict[str, Any]:  # fmt: skip
    """Return the figures of a translator; of the faces there and back where there is a judge."""
    folder = kept / run.name
    if not (folder / "to_rgb.onnx").exists():
        run_export(run, folder, form="onnx", progress=Progress(shown=False))
    translator = load_translator(run, _PROCESSOR)
    size = translator.size
    there = Network(folder / "to_thermal.onnx", "rgb", 3)
    back = Network(folder / "to_rgb.onnx", "thermal", 1)
    pairs = [
        {"float32": opened(each.file),
         "int8": opened(quantised(each, made / f"{run.name}-{each.file.name}", setting, size,
                                  layers))}
        for each in (there, back)
    ]  # fmt: skip
    rgb, rows = shown(setting.faces, "rgb", "test", count=setting.judging, size=size)
    thermal = {name: computed(session, rgb) for name, session in pairs[0].items()}
    away = root_mean_square_error(thermal["float32"], thermal["int8"])
    figures: dict[str, Any] = {
        **timed(
            {"torch": translator.to_thermal, **engines_of(pairs[0])}, rgb, rounds=setting.rounds
        ),
        **_megabytes(there.file, made / f"{run.name}-{there.file.name}"),
        "psnr": float((20 * torch.log10(2 / away)).mean()),
        "mean_difference": float((thermal["float32"] - thermal["int8"]).abs().mean()),
    }
    if judge is not None:
        again = {name: computed(pairs[1][name], thermal[name]) for name in thermal}
        told = {
            name: torch.cat([judge.predict(images.resize(part, judge.size)) for part in
                             torch.split(made_faces, _BATCH)])
            for name, made_faces in again.items()
        }  # fmt: skip
        figures |= read(judge, told, rows)
    return figures


def of_detector(
    run: Path, setting: Setting, kept: Path, made: Path, layers: Layers
) -> dict[str, Any]:
    """Return the figures of a detector, on thermal faces if it has learned from any."""
    detector = load_detector(run, _PROCESSOR)
    file = kept / f"{run.name}.onnx"
    if not file.exists():
        run_export(run, file, form="onnx", progress=Progress(shown=False))
    domain: Domain = "rgb" if detector.window is None else "thermal"
    network = Network(file, domain, detector.channels)
    whole = quantised(network, made / file.name, setting, detector.size, layers)
    sessions = {"float32": opened(file), "int8": opened(whole)}
    pictures, rows = shown(setting.faces, domain, "test", count=setting.judging, size=detector.size)
    ready = images.with_channels(pictures, detector.channels)
    told = {name: computed(session, ready) for name, session in sessions.items()}
    return {
        **timed({"torch": detector.predict, **engines_of(sessions)}, ready, rounds=setting.rounds),
        **_megabytes(file, whole),
        **read(detector, told, rows),
    }


def read(detector: LoadedDetector, told: Mapping[str, Tensor], rows: Index) -> dict[str, Any]:
    """Return how right probabilities are, and how many decisions differ between the two."""
    labels, known = rows.labels(detector.task)
    decided = {name: detector.decide(probabilities) for name, probabilities in told.items()}
    flips = label_flip_rate(decided["float32"], decided["int8"])
    return {
        "macro_f1": {
            name: float(np.nanmean(f1_scores(each, labels, known)))
            for name, each in decided.items()
        },
        "roc_auc": {
            name: float(np.nanmean(roc_auc(each, labels, known))) for name, each in told.items()
        },
        "turned": float(flips.mean()),
        "turned_most": float(flips.max()),
    }


def shown(
    faces: Index, domain: Domain, split: Split, *, count: int, size: int
) -> tuple[Tensor, Index]:
    """Return ``count`` faces, always the same, ``(B, C, S, S)`` in [-1, 1], and their rows."""
    rows = faces.select(domain=domain, split=split)
    order = torch.randperm(len(rows.faces), generator=torch.Generator().manual_seed(0))
    chosen = order[:count].sort().values
    pictures = FaceImages([rows], domain=domain, size=size).batch(chosen)
    return signed(pictures), replace(rows, faces=tuple(rows.faces[n] for n in chosen.tolist()))


def quantised(network: Network, file: Path, setting: Setting, size: int, layers: Layers) -> Path:
    """Write a network in int8 to ``file``; return that."""
    pictures, _ = shown(
        setting.faces, network.domain, "train", count=setting.calibrating, size=size
    )
    ready = images.with_channels(pictures, network.channels)
    shutil.copyfile(network.file, file)
    quantise(file, torch.split(ready, _BATCH), exact=() if layers == "all" else (0, -1))
    return file


def opened(file: Path) -> Any:
    """Return a session of one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def engines_of(sessions: Mapping[str, Any]) -> dict[str, Engine]:
    """Return what computes by each session."""
    return {name: partial(computed, session) for name, session in sessions.items()}


def computed(session: Any, pictures: Tensor) -> Tensor:
    """Return what a network makes of pictures."""
    return torch.cat(
        [torch.from_numpy(session.run(None, {"image": part.numpy()})[0])
         for part in torch.split(pictures, _BATCH)]
    )  # fmt: skip


def timed(engines: Mapping[str, Engine], pictures: Tensor, *, rounds: int) -> dict[str, Any]:
    """Return milliseconds of the processor per face, and how many times as fast int8 is as float32.

    Engines take turns, in reversed order in every second round. A ratio is the median over the
    rounds.
    """
    shown = pictures[:_BATCH]
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(rounds):
        for name in sorted(engines, reverse=bool(turn % 2)):
            began = time.process_time()
            engines[name](shown)
            seconds[name].append(time.process_time() - began)
    ratios = [a / b for a, b in zip(seconds["float32"], seconds["int8"], strict=True)]
    return {
        "ms": {name: 1e3 * statistics.median(each) / len(shown) for name, each in seconds.items()},
        "ratio": statistics.median(ratios),
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
    }


def row(name: str, layers: str, figures: Mapping[str, Any]) -> str:
    """Return a row of the table."""

    def each(key: str, digits: int) -> str:
        found: Mapping[str, float] = figures.get(key, {})
        return ", ".join(f"{value:.{digits}f}" for value in found.values()) or "-"

    psnr = figures.get("psnr", math.nan)
    cells = (
        name, layers, each("mb", 2), each("ms", 1),
        "{ratio:.2f} ({ratio_lowest:.2f} to {ratio_highest:.2f})".format(**figures),
        f"{psnr:.1f} dB" if math.isfinite(psnr) else "-",
        each("macro_f1", 3), each("roc_auc", 3),
        f"{figures['turned']:.2%}" if "turned" in figures else "-",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _megabytes(whole: Path, small: Path) -> dict[str, Any]:
    return {"mb": {"float32": whole.stat().st_size / 1e6, "int8": small.stat().st_size / 1e6}}


if __name__ == "__main__":
    main()
