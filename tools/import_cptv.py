"""Cut the faces out of radiometric CPTV clips, as folders of images for ``cycada index``.

python tools/import_cptv.py clips lepton --detector face.tflite --rotate 90
cycada index --thermal lepton --unit centikelvin --window 20 40 --out data/thermal

Needs the extra cptv and the package ai-edge-litert. The detector is a TFLite file as the project
thermal-face publishes it: uint8 RGB in; boxes (top, left, bottom, right, 0 to 1), classes and
scores out.

Each clip becomes one folder, hence one subject of the index. The same person may appear in
several clips, and one clip may show several persons, so a split by clip is not one by person.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cycada import images, thermal
from cycada.errors import CycadaError, DataError, UsageError
from cycada.footage import ReadOptions, Rotation, open_footage

Box = list[float]  # top, left, bottom, right in pixels: forehead to chin
Frame = NDArray[np.uint16]  # (H, W) in centikelvin
_SEEN = thermal.Window(20, 40)  # deg C that the detector sees as black and white

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_COUNT = click.IntRange(min=1)
_SHARE = click.FloatRange(0, 1)
_TURNS = click.Choice(["0", "90", "180", "270"])


@click.command(context_settings={"show_default": True})
@click.argument("clips", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--detector", type=_FILE, required=True, help="TFLite detector of thermal faces.")
@click.option("--rotate", type=_TURNS, default="0", help="Clockwise, to turn frames upright.")
@click.option("--every", type=_COUNT, default=5, help="Take each n-th frame.")
@click.option("--margin", type=_SHARE, default=0.15, help="Above and below, in heights of a face.")
@click.option("--score", type=_SHARE, default=0.5, help="Least score of a face.")
@click.option("--smallest", type=_COUNT, default=24, help="Least height of a face in pixels.")
@click.option("--exclude", type=_FILE, help="List of patterns: clips or CLIP/NNNN to leave out.")
def main(
    clips: Path,
    out: Path,
    *,
    detector: Path,
    rotate: str,
    every: int,
    margin: float,
    score: float,
    smallest: int,
    exclude: Path | None,
) -> None:
    """Cut the face of each frame NNNN of CLIPS/CLIP.cptv into OUT/CLIP/NNNN.png (centikelvin)."""
    if out.exists():
        raise UsageError(f"{out}: exists already; choose another folder.")
    find = _finder(detector, score)
    skipped = exclude.read_text(encoding="utf-8").split() if exclude else []
    counts: Counter[str] = Counter()
    with _whole(out) as part:
        for file in sorted(clips.glob("*.cptv")):
            before = counts["crop"]
            for number, upright in enumerate(_frames(file, int(rotate))):
                name = f"{file.stem}/{number:04d}"
                if number % every or any(fnmatch(n, p) for n in (file.stem, name) for p in skipped):
                    continue
                crop, fate = _crop(upright, find(upright), margin, smallest)
                counts[fate] += 1
                if crop is not None:
                    images.write_image(part / f"{name}.png", torch.from_numpy(crop))
            counts["clips"] += counts["crop"] > before
            click.echo(f"{file.stem}: {counts['crop'] - before} crops")
        if not counts["crop"]:
            raise DataError(f"{clips}: no .cptv clip shows a face; is --rotate {rotate} upright?")
    click.echo(
        f"{counts['crop']} crops of {counts['clips']} clips in {out}; left out: "
        f"{counts['none']} frames without a face, {counts['small']} with too small a face, "
        f"{counts['cut']} with a face cut off by the edge."
    )


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UsageError(f"{name} is missing: pip install ai-edge-litert.") from None


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """Yield a folder beside ``out`` that takes its name when the block succeeds."""
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        yield part
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _frames(file: Path, rotate: int) -> Iterator[Frame]:
    """Yield the frames, turned upright."""
    footage = open_footage(file, ReadOptions(rotate=cast(Rotation, rotate)))
    if footage.unit != "centikelvin":
        raise DataError(f"{file}: should count centikelvin, about 30000, and does not.")
    return (frame.image[0].numpy() for frame in footage.frames())


def _finder(detector: Path, score: float) -> Callable[[Frame], list[Box]]:
    """Return what finds the faces of an upright frame."""
    litert = _package("ai_edge_litert.interpreter")
    try:
        net: Any = litert.Interpreter(model_path=str(detector), num_threads=1)
        net.allocate_tensors()
        entry = net.get_input_details()[0]
        boxes_at, _, scores_at = (o["index"] for o in net.get_output_details()[:3])
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{detector}: is no TFLite detector ({error}).") from error
    _, tall, wide, channels = map(int, entry["shape"])
    if entry["dtype"] is not np.uint8 or channels != 3:
        raise DataError(f"{detector}: should take uint8 RGB images, and does not.")

    def find(frame: Frame) -> list[Box]:
        signed = images.to_signed(torch.tensor(frame.copy()), unit="centikelvin", window=_SEEN)
        grey = Image.fromarray(images.from_signed(signed, dtype=torch.uint8).numpy())
        # The frame is stretched to the square: with bars at its sides fewer faces are found.
        seen = grey.resize((wide, tall), Image.Resampling.BILINEAR).convert("RGB")
        net.set_tensor(entry["index"], np.asarray(seen)[None])
        net.invoke()
        boxes, scores = net.get_tensor(boxes_at)[0], net.get_tensor(scores_at)[0]
        return list((boxes[scores >= score] * (2 * frame.shape)).tolist())

    return find


def _crop(frame: Frame, faces: list[Box], margin: float, smallest: int) -> tuple[Frame | None, str]:
    """Return the square around the face that covers most of the largest warm region, and its fate.

    A square that leaves the frame is moved inside: at most by the margin, so the face stays whole.
    """
    if not faces:
        return None, "none"
    if len(faces) > 1:
        warm = _largest_warm_region(frame)
        edges = np.round(faces).astype(int).clip(min=0)
        covered = [warm[top:bottom, left:right].sum() for top, left, bottom, right in edges]
        faces = [faces[int(np.argmax(covered))]]
    top, left, bottom, right = faces[0]
    if (height := bottom - top) < smallest:
        return None, "small"
    side = round(height * (1 + 2 * margin))
    wanted = round((top + bottom - side) / 2), round((left + right - side) / 2)
    y, x = (min(max(w, 0), n - side) for w, n in zip(wanted, frame.shape, strict=True))
    if min(y, x) < 0 or max(abs(y - wanted[0]), abs(x - wanted[1])) > margin * height:
        return None, "cut"
    return frame[y : y + side, x : x + side].copy(), "crop"


def _largest_warm_region(frame: Frame) -> NDArray[np.bool_]:
    """Mark the largest connected region warmer than half way between cold and warm pixels."""
    mask = frame > np.percentile(frame, (5, 99)).mean()
    labels = np.pad(mask * np.arange(1, mask.size + 1).reshape(mask.shape), 1)
    inner = labels[1:-1, 1:-1]
    while True:  # each pixel takes the largest label around it until none changes
        near = [labels[:-2, 1:-1], labels[2:, 1:-1], labels[1:-1, :-2], labels[1:-1, 2:]]
        spread = mask * np.maximum.reduce([inner, *near])
        if np.array_equal(spread, inner):
            return np.asarray(mask & (inner == np.bincount(inner[mask], minlength=1).argmax()))
        inner[...] = spread


if __name__ == "__main__":
    try:
        main()
    except CycadaError as problem:
        click.echo(f"Error: {problem}", err=True)
        sys.exit(problem.exit_code)
