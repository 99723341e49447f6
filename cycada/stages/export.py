"""Write a trained network as one file for other programs, once it gives there what it gives here.

The file is read back and compared with PyTorch on phantom faces before it gets its name.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from cycada import images, thermal
from cycada.data import phantom
from cycada.errors import RunError, UsageError, reason
from cycada.files import replacing
from cycada.models.tiling import MULTIPLE, SMALLEST
from cycada.progress import Progress
from cycada.stages.export_int8 import LOSS, Kept, Trial, detector_trial, translator_trials
from cycada.thermal import Window
from cycada.training.exported import DIRECTIONS, Direction, detector_facts, translator_facts
from cycada.training.exporting import (
    SUFFIXES,
    DetectorForExport,
    Format,
    load_archive,
    write_exported,
)
from cycada.training.loading import detector_fingerprint, load_detector, load_translator
from cycada.training.onnx_engine import load_onnx_detector, load_onnx_translator
from cycada.training.quantising import quantise
from cycada.training.run_reading import run_kind

FACES = 32
"""Phantom faces on which an exported network is compared."""

LIMIT = 1e-4
"""Largest difference that is allowed, of images in [-1, 1] and of probabilities."""

_BATCHES = (1, 2, 3, 4, 6, 8)
_BATCHES_OF_OTHER_SIZE = (3, 5)
_LARGEST_DRAWN = 128  # px; larger faces are drawn so and enlarged
_PROCESSOR = torch.device("cpu")
_Network = Callable[[Tensor], Tensor]


class Exported(NamedTuple):
    """A file that was written."""

    file: Path
    difference: float  # largest in float32 from PyTorch, of images in [-1, 1] or of probabilities
    sizes: tuple[tuple[int, int], ...]  # heights and widths in px that were compared
    kept: Kept | None  # what it keeps in int8, where that was asked for; else it is in float32


@dataclass(frozen=True, slots=True)
class _Part:
    """One network to export."""

    name: str
    module: nn.Module
    reference: _Network
    faces: Sequence[Tensor]  # batches
    facts: Mapping[str, Any]
    any_size: bool
    trial: Trial | None  # of int8, where that is asked for


def run_export(
    run: Path, out: Path, *, form: Format, int8: bool = False, allow_outside: bool = False,
    progress: Progress,
) -> list[Exported]:  # fmt: skip
    """Export the translator or detector of a run, and compare what was written with PyTorch.

    Args:
        run: Run of a translator or a detector.
        out: A file with the suffix of the format, which gets the detector, or of a translator the
            direction from RGB to thermal; or a folder, which gets ``detector``, or the directions
            that there are as ``to_thermal`` and ``to_rgb``. Files of these names are replaced; one
            of a direction that there is not is removed.
        form: Of the file.
        int8: Whether layers are to compute in 8 bits, for processors; of ONNX alone.
        allow_outside: With ``int8``, believe paths of an index from elsewhere that leave its
            folder.
        progress: Shows the faces that are compared.

    Returns:
        The files.

    Raises:
        CycadaError: The run cannot be used, a package is missing, or PyTorch cannot express the
            network in this format.
        RunError: The exported network differs from PyTorch's by ``LIMIT`` or more, or loses more
            of the AUs in int8 than :data:`cycada.stages.export_int8.LOSS`; then nothing is written.
    """
    single = _is_file(out, form)
    if int8 and form != "onnx":
        raise UsageError(f"--int8 is of --format onnx, not of {form}.")
    if run_kind(run) == "translator":
        parts = _translator_parts(run, single=single, int8=int8, allow_outside=allow_outside)
    else:
        parts = [_detector_part(run, int8=int8, allow_outside=allow_outside)]
    done: list[Exported] = []
    with ExitStack() as held:
        for part in parts:
            file = out if single else out / f"{part.name}{SUFFIXES[form]}"
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary = held.enter_context(replacing(file, lone=True))
            write_exported(
                part.module, form, temporary, example=part.faces[1], facts=part.facts,
                any_size=part.any_size,
            )  # fmt: skip
            network = _read_back(temporary, form, part)
            difference = _compared(part, network, progress=progress)
            if not difference < LIMIT:  # or it is no number
                raise RunError(
                    f"{run}: exported as {form} it differs from PyTorch by up to {difference:.2g} "
                    f"on {FACES} faces, and less than {LIMIT:g} is promised; nothing was written. "
                    "Try another --format."
                )
            kept = _in_int8(run, temporary, part, progress) if int8 else None
            sizes = {(int(faces.shape[-2]), int(faces.shape[-1])) for faces in part.faces}
            done.append(Exported(file, difference, tuple(sorted(sizes)), kept))
    if not single and parts[0].name in DIRECTIONS:
        _forget_others(out, form, kept={each.file for each in done})
    return done


def _in_int8(run: Path, file: Path, part: _Part, progress: Progress) -> Kept:
    """Quantise an exported file, and return what it keeps.

    Raises:
        RunError: It loses too much.
    """
    trial = cast("Trial", part.trial)
    quantise(file, trial.calibrating)
    network = _read_back(file, "onnx", part)
    kept = trial.kept(part.reference, network, progress=progress, name=part.name)
    if not kept.enough:
        raise RunError(
            f"{run}: in int8 {part.name} brings the macro F1 of {kept.faces} labelled validation "
            f"faces from {kept.exact:.3f} to {kept.macro_f1:.3f}, and no more than {LOSS:g} may be "
            "lost; nothing was written. Leave out --int8."
        )
    return kept


def _forget_others(out: Path, form: Format, *, kept: set[Path]) -> None:
    """Remove a direction of an earlier export that this run does not have.

    Raises:
        RunError: It cannot be removed.
    """
    for name in DIRECTIONS:
        old = out / f"{name}{SUFFIXES[form]}"
        if old in kept:
            continue
        try:
            old.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(
                f"{old}: is of another run, and cannot be removed ({reason(error)}); remove it."
            ) from error


def _is_file(out: Path, form: Format) -> bool:
    """Tell whether ``--out`` names a file or a folder.

    Raises:
        UsageError: It names a file of another format.
    """
    if out.is_dir() or not out.suffix:
        return False
    if out.suffix != SUFFIXES[form]:
        raise UsageError(
            f"--out {out}: a file of --format {form} ends in {SUFFIXES[form]}; a folder has no "
            "suffix."
        )
    return True


def _translator_parts(run: Path, *, single: bool, int8: bool, allow_outside: bool) -> list[_Part]:
    translator = replace(load_translator(run, _PROCESSOR), in_bf16=False)
    trials = translator_trials(run, translator, allow_outside=allow_outside) if int8 else {}
    directions = DIRECTIONS[:1] if single or not translator.goes_back else DIRECTIONS
    size = translator.size
    step = MULTIPLE * max(1, size // 16)
    other = (max(SMALLEST, size - step), size + step)

    def part(direction: Direction) -> _Part:
        rgb = direction == "to_thermal"
        drawn = _drawn(size, None if rgb else translator.window or Window())
        count = sum(_BATCHES)
        return _Part(
            name=direction,
            module=_plain(getattr(translator.module, direction)),
            reference=translator.to_thermal if rgb else translator.to_rgb,
            faces=[
                *_batches(drawn[:count], _BATCHES),
                *_batches(images.resize(drawn[count:], other), _BATCHES_OF_OTHER_SIZE),
            ],
            facts=translator_facts(translator, direction),
            any_size=True,
            trial=trials.get(direction),
        )

    return [part(direction) for direction in directions]


def _detector_part(run: Path, *, int8: bool, allow_outside: bool) -> _Part:
    detector = replace(load_detector(run, _PROCESSOR), in_bf16=False)
    seen = detector.window or Window()
    drawn = _drawn(detector.size, seen if detector.channels == 1 else None)
    return _Part(
        name="detector",
        module=_plain(DetectorForExport(detector.module, detector.task.kind)).eval(),
        reference=detector.predict,
        faces=_batches(drawn, (*_BATCHES, *_BATCHES_OF_OTHER_SIZE)),
        facts=detector_facts(detector, detector_fingerprint(run)),
        any_size=False,
        trial=detector_trial(run, detector, allow_outside=allow_outside) if int8 else None,
    )


def _batches(faces: Tensor, counts: Sequence[int]) -> list[Tensor]:
    ends = itertools.accumulate(counts)
    return [faces[end - count : end] for count, end in zip(counts, ends, strict=True)]


def _plain(module: nn.Module) -> nn.Module:
    """Return a network whose weights lie in memory as files expect them."""
    return module.to(memory_format=torch.contiguous_format)


def _drawn(size: int, window: Window | None) -> Tensor:
    """Return ``(FACES, C, size, size)`` phantom faces in [-1, 1].

    Args:
        size: Side in px.
        window: Deg C of -1 and 1 of thermal ones; ``None`` for RGB.
    """
    draw = torch.Generator().manual_seed(0)
    identity = phantom.sample_identities(FACES, generator=draw)
    strengths = phantom.sample_intensities(
        FACES, domain="rgb" if window is None else "thermal", generator=draw
    )
    scene = phantom.sample_scenes(FACES, generator=draw)
    side = max(16, min(size, _LARGEST_DRAWN))
    if window is None:
        drawn = images.to_signed(phantom.render_rgb(identity, strengths, scene, size=side))
    else:
        celsius = phantom.render_celsius(identity, strengths, scene, size=side)
        drawn = thermal.to_signed(celsius[:, None], window)
    return images.resize(drawn, size)


def _read_back(file: Path, form: Format, part: _Part) -> _Network:
    if form != "onnx":
        return load_archive(form, file)[0]
    if part.name == "detector":
        return load_onnx_detector(file).predict
    translator = load_onnx_translator(file)
    return translator.to_thermal if part.name == "to_thermal" else translator.to_rgb


@torch.no_grad()
def _compared(part: _Part, network: _Network, *, progress: Progress) -> float:
    """Return the largest difference between PyTorch and the exported network."""
    shown: Iterator[Tensor] = progress(part.faces, total=len(part.faces), desc=part.name)
    away = [(network(faces) - part.reference(faces)).abs().max() for faces in shown]
    return float(torch.stack(away).max())  # NaN if any is
