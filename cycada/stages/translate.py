"""Translate the RGB faces of an index, or of a folder, into thermal ones, labels carried along."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor

from cycada import image_reading, image_writing
from cycada.data.folders import find_images
from cycada.data.index import (
    CSV_NAME,
    Face,
    Index,
    IndexInfo,
    fault_of_path,
    read_index,
    write_index,
)
from cycada.data.index_checks import check_links
from cycada.data.landmarks import Landmarks, read_landmarks, write_landmarks
from cycada.errors import DataError, RunError
from cycada.files import check_apart, replacing
from cycada.locking import holds_anything, sole_writer
from cycada.progress import Progress
from cycada.rejecting import Limit, Rejections
from cycada.stages.translate_images import WINDOW, Bits, Scale, Translating, translated
from cycada.thermal import INTEGER_UNITS, Unit
from cycada.training.engines import Engine, UsableTranslator, open_translator, precision_told
from cycada.training.launch import joins_on_processor

Depth = Literal["auto", "8", "16"]

CLAIM_NAME = ".translator"

_PATIENCE = timedelta(days=30)


def run_translation(
    run: Path, source: Path, out: Path, *, depth: Depth, scale: Scale = "fit",
    limit: Limit | None = None, allow_outside: bool = False, engine: Engine = "torch",
    progress: Progress,
) -> Index:  # fmt: skip
    """Translate every RGB face of ``source`` and write the new index into ``out``.

    A translated face has the name (with ``.png`` for JPEG and NPY), size, subject, split and
    labels of its original, and its landmarks where there are any. Images that are in ``out``
    already, from an interrupted translation of the same images by the same weights, are kept.
    Several processes under ``accelerate launch``
    share the work. Images that cannot be read are set aside in ``rejected.csv``, are not in the
    new index, and are tried again by the next run.

    Args:
        run: Run of a translator, or what was exported from one.
        source: An index, or a plain folder of images (then without labels).
        out: Folder of the new index.
        depth: Bits of the written images: ``auto`` writes 16 where the translator learned from
            temperatures, and else as many as the original has.
        scale: ``fit`` shows the translator every image at the size that it was trained on, which
            suits faces cut out alike; ``keep`` shows it the pixels as they are, which suits whole
            frames whose faces are about as large as those it was trained on.
        limit: How many images may be set aside; ``None`` for the default.
        allow_outside: Believe paths of an index from elsewhere that leave its folder.
        engine: What computes: PyTorch a run, ONNX Runtime an export.
        progress: Shows the images.

    Returns:
        The new index.

    Raises:
        CycadaError: The run, too many images, or what is in ``out`` cannot be used, or another
            process writes there.
    """
    state = several_processes()
    making = open_making(run, engine, depth=depth, scale=scale, device=state.device)
    index = _source_index(source, out, allow_outside=allow_outside)
    landmarks = read_landmarks(index.root) if (index.root / CSV_NAME).exists() else None
    info = making.info(index.info)
    jobs = [_job(index, number, out) for number in range(len(index.faces))]
    _check_names(jobs)
    rejected = Rejections(out, total=len(jobs), limit=limit or Limit())
    with ExitStack() as held:
        with state.main_process_first():
            if state.is_main_process:
                held.enter_context(sole_writer(out))
            check_claim(out, making.claim(index.root, out), writes=state.is_main_process)
            if state.is_main_process:
                rejected.begin()
        check_apart((job.target for job in jobs), out, originals=(job.source for job in jobs))
        windows = [jobs[start : start + WINDOW] for start in range(0, len(jobs), WINDOW)]
        mine = [
            window
            for window in windows[state.process_index :: state.num_processes]
            if not all(job.done for job in window)
        ]
        with closing(translated(making.work(rejected), mine)) as made_now:
            for _ in progress(made_now, total=sum(map(len, mine)), desc="faces"):
                pass
        rejected.join(gather_object([rejected.rows]))  # waits for all
        if state.is_main_process:
            rejected.close()
        rejected.check_some_left()  # now all have the same list, and come to the same end
        rejected.check()
        jobs = [job for job in jobs if job.place not in rejected]
        made = Index(out, info, tuple(_carried(index, job, out) for job in jobs))
        if state.is_main_process:
            if landmarks is not None:  # before the index, which says that the folder is whole
                _carry_landmarks(landmarks, jobs, made)
            write_index(made)
        state.wait_for_everyone()
    return made


def several_processes() -> PartialState:
    """Join the other processes, if there are any, which may wait for this one as long as it takes.

    Shares of the work take different times; the launcher ends all when one has died.
    """
    return PartialState(cpu=joins_on_processor(), timeout=_PATIENCE)


@dataclass(frozen=True, slots=True)
class Making:
    """A translator, and what it makes of images."""

    run: Path
    translator: UsableTranslator
    unit: Unit
    bits: Bits
    scale: Scale
    engine: Engine

    def work(self, rejected: Rejections) -> Translating:
        """Return what translates, and sets aside what it cannot read."""
        return Translating(self.translator, self.unit, self.bits, self.scale, rejected)

    def info(self, originals: IndexInfo) -> IndexInfo:
        """Return what is true of all translations of what ``originals`` is true of."""
        return dataclasses.replace(
            originals,
            unit=self.unit,
            translator=str(self.run),
            translator_hash=self.translator.fingerprint,
            seen_digests=tuple(sorted(self.translator.seen | originals.seen)),
            seen_subjects=(),
            window=self.translator.window or originals.window,
        )

    def claim(self, root: Path, out: Path, *, form: str = "") -> dict[str, str]:
        """Return what is noted in ``out`` of what fills it from the originals below ``root``.

        Args:
            root: Where the originals are.
            out: Where the translations are.
            form: What they are in, such as ``, in shards``; empty for files.
        """
        return {
            "weights": self.translator.fingerprint,
            "originals": relative(root, out),
            "pixels": f"{'as many' if self.bits == 'original' else self.bits} bit {self.unit}"
            + (", scale kept" if self.scale == "keep" else "")
            # Engines differ in the last bits, so a folder is filled by one of them.
            + (", by ONNX Runtime" if self.engine == "onnx" else "")
            + precision_told(self.translator)
            + form,
        }


def open_making(
    run: Path, engine: Engine, *, depth: Depth, scale: Scale, device: torch.device
) -> Making:
    """Return the translator of a run, or of what was exported from one, and what it is to make.

    Raises:
        CycadaError: It cannot be used.
    """
    translator = open_translator(run, engine, device=device)
    unit = unit_to_write(translator, depth)
    bits: Bits = "original" if depth == "auto" and unit == "grey" else "16"
    if depth == "8":
        bits = "8"
    return Making(run, translator, unit, bits, scale, engine)


@dataclass(frozen=True, slots=True)
class FileJob:
    """A face of an index to translate: a file that becomes another."""

    number: int  # in the order of the index
    face: Face
    source: Path
    target: Path

    @property
    def place(self) -> tuple[int, ...]:
        """Where it is in the index."""
        return (self.number,)

    @property
    def name(self) -> str:
        """Its path in the index."""
        return self.face.path

    @property
    def original(self) -> Path:
        """Its file."""
        return self.source

    @property
    def done(self) -> bool:
        """Whether the translation is there."""
        try:
            return self.target.exists()
        except OSError:  # a name that is too long; reading the original tells
            return False

    def size(self) -> tuple[int, int]:
        """Return height and width of the original."""
        if fault := fault_of_path(self.face.path):
            raise DataError(fault)
        return image_reading.read_size(self.source)

    def read(self) -> Tensor:
        """Return the original."""
        return image_reading.read_image(self.source)

    def write(self, pixels: Tensor) -> None:
        """Write the translation whole or not at all."""
        image_writing.write_image(self.target, pixels)


def _carry_landmarks(landmarks: Landmarks, jobs: Sequence[FileJob], made: Index) -> None:
    write_landmarks(
        made.root, landmarks.names,
        (
            (face.path, landmarks.places[job.face.path])
            for job, face in zip(jobs, made.faces, strict=True)
            if job.face.path in landmarks.places
        ),
    )  # fmt: skip


def _source_index(source: Path, out: Path, *, allow_outside: bool) -> Index:
    if (source / CSV_NAME).exists() or source.suffix.lower() == ".csv":
        index = read_index(source, allow_outside=allow_outside).select(domain="rgb")
        check_links(index)
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


def unit_to_write(translator: UsableTranslator, depth: Depth) -> Unit:
    """Return what the pixels of translations are to count."""
    if translator.window is None or depth == "8":
        return "grey"
    return translator.unit if translator.unit in INTEGER_UNITS else "centikelvin"


def _job(index: Index, number: int, out: Path) -> FileJob:
    face = index.faces[number]
    path = Path(face.path)
    inside = path if not path.is_absolute() and ".." not in path.parts else _below(path)
    target = inside if is_lossless(inside.suffix) else inside.with_suffix(".png")
    return FileJob(number, face, index.file(face), out / target)


def is_lossless(suffix: str) -> bool:
    """Tell whether translations are written in the format of their original; else as PNG."""
    return suffix.lower() in (".png", ".tif", ".tiff")


def _below(path: Path) -> Path:
    """Return a path without its steps upwards, so that it lies below any folder."""
    parts = [part for part in path.parts if part not in ("..", path.anchor)]
    return Path(*parts)


def _check_names(jobs: Sequence[FileJob]) -> None:
    taken: dict[Path, Path] = {}
    for job in jobs:
        other = taken.setdefault(job.target, job.source)
        if other != job.source:
            raise DataError(
                f"{job.source} and {other} would both become {job.target}; give them different "
                "names."
            )


def _carried(index: Index, job: FileJob, out: Path) -> Face:
    """Return the original's row as that of its translation: another path and domain."""
    pair = job.face.pair
    return dataclasses.replace(
        job.face,
        path=job.target.relative_to(out).as_posix(),
        domain="thermal",
        origin=relative(job.source, out),
        pair=relative(index.root / pair, out) if pair else "",
    )


def relative(path: Path, start: Path) -> str:
    """Return the path that leads from one place to another, links resolved."""
    return Path(os.path.relpath(path.resolve(), start.resolve())).as_posix()


def check_claim(out: Path, wanted: dict[str, str], *, writes: bool) -> None:
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
