"""Translate the RGB faces of an index, or of a folder, into thermal ones, labels carried along."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import torch
from accelerate import PartialState
from torch import Tensor

from cycada import images
from cycada.data.dataset import scaled_size
from cycada.data.folders import find_images
from cycada.data.index import CSV_NAME, Face, Index, IndexInfo, read_index, write_index
from cycada.data.landmarks import Landmarks, read_landmarks, write_landmarks
from cycada.errors import DataError, RunError
from cycada.files import check_apart, replacing
from cycada.locking import holds_anything, sole_writer
from cycada.models.tiling import MULTIPLE, translate_any_size
from cycada.progress import Progress
from cycada.stopping import threads
from cycada.thermal import INTEGER_UNITS, Unit
from cycada.training.launch import joins_on_processor
from cycada.training.loading import LoadedTranslator, load_translator

Depth = Literal["auto", "8", "16"]
Scale = Literal["fit", "keep"]

Bits = Literal["8", "16", "original"]

BATCH = 32
MOST_PIXELS = BATCH * 512 * 512
"""Pixels of the images that are in memory at a time, unless one alone has more."""

CLAIM_NAME = ".translator"

_DTYPES: Mapping[str, torch.dtype] = MappingProxyType({"8": torch.uint8, "16": torch.uint16})
_LONGEST_OF_MANY = 512  # px; larger ones go alone, so that a batch of them fits into memory


@dataclass(frozen=True, slots=True)
class _Job:
    face: Face
    source: Path
    target: Path


def run_translation(
    run: Path, source: Path, out: Path, *, depth: Depth, scale: Scale = "fit", progress: Progress
) -> Index:
    """Translate every RGB face of ``source`` and write the new index into ``out``.

    A translated face has the name (with ``.png`` for JPEG and NPY), size, subject, split and
    labels of its original, and its landmarks where there are any. Images that are in ``out``
    already, from an interrupted translation of the same images by the same weights, are kept.
    Several processes under ``accelerate launch``
    share the work.

    Args:
        run: Run of a translator.
        source: An index, or a plain folder of images (then without labels).
        out: Folder of the new index.
        depth: Bits of the written images: ``auto`` writes 16 where the translator learned from
            temperatures, and else as many as the original has.
        scale: ``fit`` shows the translator every image at the size that it was trained on, which
            suits faces cut out alike; ``keep`` shows it the pixels as they are, which suits whole
            frames whose faces are about as large as those it was trained on.
        progress: Shows the images.

    Returns:
        The new index.

    Raises:
        CycadaError: The run, an image, or what is in ``out`` cannot be used, or another process
            writes there.
    """
    state = PartialState(cpu=joins_on_processor())
    translator = load_translator(run, state.device)
    index = _source_index(source, out)
    landmarks = read_landmarks(index.root) if (index.root / CSV_NAME).exists() else None
    unit = _unit_to_write(translator, depth)
    info = dataclasses.replace(
        index.info,
        unit=unit,
        translator=str(run),
        translator_hash=translator.fingerprint,
        seen_digests=tuple(sorted(translator.seen | index.info.seen)),
        seen_subjects=(),
        window=translator.window or index.info.window,
    )
    bits: Bits = "original" if depth == "auto" and unit == "grey" else "16"
    if depth == "8":
        bits = "8"
    jobs = [_job(index, face, out) for face in index.faces]
    _check_names(jobs)
    claim = {
        "weights": translator.fingerprint,
        "originals": _relative(index.root, out),
        "pixels": f"{'as many' if bits == 'original' else bits} bit {unit}"
        + (", scale kept" if scale == "keep" else ""),
    }
    with ExitStack() as held:
        with state.main_process_first():
            if state.is_main_process:
                held.enter_context(sole_writer(out))
            _claim(out, claim, writes=state.is_main_process)
        check_apart((job.target for job in jobs), out, originals=(job.source for job in jobs))
        mine = jobs[state.process_index :: state.num_processes]
        _translate(
            translator, [job for job in mine if not job.target.exists()], unit=unit, bits=bits,
            scale=scale, progress=progress,
        )  # fmt: skip
        made = Index(out, info, tuple(_carried(index, job, out) for job in jobs))
        state.wait_for_everyone()
        if state.is_main_process:
            if landmarks is not None:  # before the index, which says that the folder is whole
                _carry_landmarks(landmarks, jobs, made)
            write_index(made)
        state.wait_for_everyone()
    return made


def _carry_landmarks(landmarks: Landmarks, jobs: Sequence[_Job], made: Index) -> None:
    write_landmarks(
        made.root, landmarks.names,
        (
            (face.path, landmarks.places[job.face.path])
            for job, face in zip(jobs, made.faces, strict=True)
            if job.face.path in landmarks.places
        ),
    )  # fmt: skip


def translated(translator: LoadedTranslator, rgb: Tensor, *, scale: Scale = "fit") -> Tensor:
    """Return ``(1, H, W)`` thermal in [-1, 1] for one ``(3, H, W)`` image of any size."""
    size = rgb.shape[-2:]
    seen = images.resize(rgb, scaled_size(size, translator.size)) if scale == "fit" else rgb
    made = translate_any_size(translator.to_thermal, seen)
    return images.resize(made, (size[0], size[1]))


def _translate(
    translator: LoadedTranslator, jobs: Sequence[_Job], *, unit: Unit, bits: Bits, scale: Scale,
    progress: Progress,
) -> None:  # fmt: skip
    def read(job: _Job) -> tuple[Tensor, torch.dtype]:
        image = images.read_image(job.source)
        dtype = image.dtype if bits == "original" else _DTYPES[bits]
        try:
            return images.with_channels(images.to_signed(image), 3), dtype
        except DataError as error:  # of a plain folder, that no index has checked
            raise DataError(f"{job.source}: {error}") from None

    def write(job: _Job, made: Tensor, dtype: torch.dtype) -> None:
        pixels = images.from_signed(made, dtype=dtype, unit=unit, window=translator.window)
        images.write_image(job.target, pixels)

    several = [jobs[start : start + BATCH] for start in range(0, len(jobs), BATCH)]
    with threads() as pool:
        for some in progress(several, total=len(several), desc="faces"):
            sizes = pool.map(images.read_size, [job.source for job in some])
            # One batch at a time: reading ahead without a limit would fill the memory.
            for batch in _batches(some, [math.prod(size) for size in sizes]):
                pictures, dtypes = zip(*pool.map(read, batch), strict=True)
                made = _translated_together(translator, pictures, scale=scale)
                list(pool.map(write, batch, made, dtypes))


def _batches(jobs: Sequence[_Job], pixels: Sequence[int]) -> Iterator[list[_Job]]:
    """Yield the jobs in runs of ``MOST_PIXELS`` at most, or of one."""
    batch: list[_Job] = []
    held = 0
    for job, count in zip(jobs, pixels, strict=True):
        if batch and held + count > MOST_PIXELS:
            yield batch
            batch, held = [], 0
        batch.append(job)
        held += count
    if batch:
        yield batch


def _translated_together(
    translator: LoadedTranslator, pictures: Sequence[Tensor], *, scale: Scale
) -> list[Tensor]:
    """Translate images in one pass where all have the size that the translator knows."""
    shapes = {tuple(picture.shape) for picture in pictures}
    height, width = pictures[0].shape[-2:]
    fits = min(height, width) == translator.size and height % MULTIPLE == width % MULTIPLE == 0
    if len(shapes) == 1 and fits and max(height, width) <= _LONGEST_OF_MANY:
        return list(translator.to_thermal(torch.stack(list(pictures))))
    return [translated(translator, picture, scale=scale) for picture in pictures]


def _source_index(source: Path, out: Path) -> Index:
    if (source / CSV_NAME).exists() or source.suffix.lower() == ".csv":
        index = read_index(source).select(domain="rgb")
        if not index.faces:
            raise DataError(f"{source}: has no RGB face to translate.")
        return index
    if out.resolve().is_relative_to(source.resolve()):
        raise DataError(
            f"{out}: lies in the folder to be translated, where its images would be taken for "
            "originals; choose another --out."
        )
    faces = (
        Face(path=found.relative, domain="rgb", subject=found.relative, split="train")
        for found in find_images(source, "rgb")
    )
    return Index(source, IndexInfo(kind="none"), tuple(faces))


def _unit_to_write(translator: LoadedTranslator, depth: Depth) -> Unit:
    if translator.window is None or depth == "8":
        return "grey"
    return translator.unit if translator.unit in INTEGER_UNITS else "centikelvin"


def _job(index: Index, face: Face, out: Path) -> _Job:
    path = Path(face.path)
    inside = path if not path.is_absolute() and ".." not in path.parts else _below(path)
    lossless = inside.suffix.lower() in (".png", ".tif", ".tiff")
    target = inside if lossless else inside.with_suffix(".png")
    return _Job(face, index.file(face), out / target)


def _below(path: Path) -> Path:
    """Return a path without its steps upwards, so that it lies below any folder."""
    parts = [part for part in path.parts if part not in ("..", path.anchor)]
    return Path(*parts)


def _check_names(jobs: Sequence[_Job]) -> None:
    taken: dict[Path, Path] = {}
    for job in jobs:
        other = taken.setdefault(job.target, job.source)
        if other != job.source:
            raise DataError(
                f"{job.source} and {other} would both become {job.target}; give them different "
                "names."
            )


def _carried(index: Index, job: _Job, out: Path) -> Face:
    """Return the original's row as that of its translation: another path and domain."""
    pair = job.face.pair
    return dataclasses.replace(
        job.face,
        path=job.target.relative_to(out).as_posix(),
        domain="thermal",
        origin=_relative(job.source, out),
        pair=_relative(index.root / pair, out) if pair else "",
    )


def _relative(path: Path, start: Path) -> str:
    return Path(os.path.relpath(path.resolve(), start.resolve())).as_posix()


def _claim(out: Path, wanted: dict[str, str], *, writes: bool) -> None:
    """Note in ``out`` what fills it; refuse a folder that something else fills.

    Images that are kept from other faces or another depth would belie the index.

    Raises:
        RunError: ``out`` holds something else.
    """
    note = out / CLAIM_NAME
    if note.exists():
        found = dict(line.split(" = ", 1) for line in note.read_text("utf-8").splitlines())
        for name, value in wanted.items():
            if found.get(name) != value:
                raise RunError(
                    f"{out}: was made by other {name} ({found.get(name)}, now {value}); choose "
                    "another --out, or delete it."
                )
        return
    if out.exists() and (not out.is_dir() or holds_anything(out)):
        raise RunError(f"{out}: is not empty; choose another --out.")
    if writes:
        out.mkdir(parents=True, exist_ok=True)
        with replacing(note) as temporary:
            text = "".join(f"{name} = {value}\n" for name, value in wanted.items())
            temporary.write_text(text, encoding="utf-8")
