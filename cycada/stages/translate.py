"""Translate the RGB faces of an index, or of a folder, into thermal ones, labels carried along."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from accelerate import PartialState
from accelerate.utils import gather_object

from cycada.data.folders import find_images
from cycada.data.index import CSV_NAME, Face, Index, IndexInfo, read_index, write_index
from cycada.data.index_checks import check_links
from cycada.data.landmarks import Landmarks, read_landmarks, write_landmarks
from cycada.errors import DataError, RunError
from cycada.files import check_apart, replacing
from cycada.locking import holds_anything, sole_writer
from cycada.progress import Progress
from cycada.rejecting import Limit, Rejections
from cycada.stages.translate_images import WINDOW, Bits, Job, Scale, Translating, translate_all
from cycada.thermal import INTEGER_UNITS, Unit
from cycada.training.engines import Engine, UsableTranslator, open_translator, precision_told
from cycada.training.launch import joins_on_processor

Depth = Literal["auto", "8", "16"]

CLAIM_NAME = ".translator"


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
    state = PartialState(cpu=joins_on_processor())
    translator = open_translator(run, engine, device=state.device)
    index = _source_index(source, out, allow_outside=allow_outside)
    landmarks = read_landmarks(index.root) if (index.root / CSV_NAME).exists() else None
    unit = unit_to_write(translator, depth)
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
    jobs = [_job(index, number, out) for number in range(len(index.faces))]
    _check_names(jobs)
    rejected = Rejections(out, total=len(jobs), limit=limit or Limit())
    claim = {
        "weights": translator.fingerprint,
        "originals": _relative(index.root, out),
        "pixels": f"{'as many' if bits == 'original' else bits} bit {unit}"
        + (", scale kept" if scale == "keep" else "")
        # Engines differ in the last bits, so a folder is filled by one of them.
        + (", by ONNX Runtime" if engine == "onnx" else "")
        + precision_told(translator),
    }
    with ExitStack() as held:
        with state.main_process_first():
            if state.is_main_process:
                held.enter_context(sole_writer(out))
            _claim(out, claim, writes=state.is_main_process)
            if state.is_main_process:
                rejected.begin()
        check_apart((job.target for job in jobs), out, originals=(job.source for job in jobs))
        windows = [jobs[start : start + WINDOW] for start in range(0, len(jobs), WINDOW)]
        mine = [
            window
            for window in windows[state.process_index :: state.num_processes]
            if not all(job.done for job in window)
        ]
        translate_all(Translating(translator, unit, bits, scale, rejected), mine, progress=progress)
        rejected.join(gather_object([rejected.rows]))  # waits for all
        if state.is_main_process:
            rejected.close()
        rejected.check_some_left()  # now all have the same list, and come to the same end
        rejected.check()
        jobs = [job for job in jobs if (job.number,) not in rejected]
        made = Index(out, info, tuple(_carried(index, job, out) for job in jobs))
        if state.is_main_process:
            if landmarks is not None:  # before the index, which says that the folder is whole
                _carry_landmarks(landmarks, jobs, made)
            write_index(made)
        state.wait_for_everyone()
    return made


def _carry_landmarks(landmarks: Landmarks, jobs: Sequence[Job], made: Index) -> None:
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


def _job(index: Index, number: int, out: Path) -> Job:
    face = index.faces[number]
    path = Path(face.path)
    inside = path if not path.is_absolute() and ".." not in path.parts else _below(path)
    lossless = inside.suffix.lower() in (".png", ".tif", ".tiff")
    target = inside if lossless else inside.with_suffix(".png")
    return Job(number, face, index.file(face), out / target)


def _below(path: Path) -> Path:
    """Return a path without its steps upwards, so that it lies below any folder."""
    parts = [part for part in path.parts if part not in ("..", path.anchor)]
    return Path(*parts)


def _check_names(jobs: Sequence[Job]) -> None:
    taken: dict[Path, Path] = {}
    for job in jobs:
        other = taken.setdefault(job.target, job.source)
        if other != job.source:
            raise DataError(
                f"{job.source} and {other} would both become {job.target}; give them different "
                "names."
            )


def _carried(index: Index, job: Job, out: Path) -> Face:
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
