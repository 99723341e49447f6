"""Draw clips of phantom patients as camera files, each with a table of what happened."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from cycada.action_units import column
from cycada.cores import lone_threads
from cycada.data import phantom
from cycada.data.sampling import generator
from cycada.errors import DataError
from cycada.files import replacing
from cycada.locking import sole_writer
from cycada.progress import Progress
from cycada.stages.phantom import CLAIM_NAME, UNIT, ClipOptions, claim, write_table
from cycada.thermal import counts_from_celsius
from cycada.vitals.truth import NO_ROUTE, Truth

CLIPS_NAME = "clips.csv"
VIDEO_FOLDER, TRUTH_FOLDER = "videos", "truth"


class Patient(NamedTuple):
    """A person and what happens to them."""

    name: str
    identity: phantom.Identity  # one row
    clip: phantom.Clip


def patient(
    seed: int, number: int, *, scenario: phantom.Scenario | None = None, seconds: float = 120.0
) -> Patient:
    """Draw a phantom patient; the same numbers give the same one.

    Args:
        seed: Of everything.
        number: Of the patient.
        scenario: The story of the clip; ``None`` for a mixture of all that disturbs.
        seconds: That the story lasts; a mixture lasts two minutes.
    """
    draw = generator(seed, "clip", scenario or "", number)
    if scenario is None:
        spec = phantom.sample_spec(draw)
    else:
        spec = phantom.scenario(scenario, generator=draw, seconds=seconds)
    identity = phantom.sample_identities(1, generator=draw)
    return Patient(f"{number:04d}", identity, phantom.sample_clip(spec, generator=draw))


def truth_of(clip: phantom.Clip) -> Truth:
    """Return what happens in a clip, as the evaluation wants to know it."""
    told = clip.truth
    return Truth(told.seconds, told.rate, told.apnea, told.dyspnea, seen=clip.spec.depth > 0)


def make_clips(options: ClipOptions, *, progress: Progress) -> list[Path]:
    """Draw clips, and write each as 16-bit centikelvin with times, and what is true of it.

    ``videos/0000.npz`` is such a clip, ``truth/0000.csv`` tells of each of its frames, and
    ``clips.csv`` of all clips. Those drawn before, by an interrupted run, are kept.

    Returns:
        The videos.

    Raises:
        DataError: ``out`` holds clips that are finished, or begun with other options.
        RunError: Another process writes to ``out``.
    """
    out = options.out
    with sole_writer(out):
        if (out / CLIPS_NAME).exists() and not (out / CLAIM_NAME).exists():
            raise DataError(f"{out}: holds clips already; choose another --out.")
        claim(out, options)
        numbers = range(options.clips)
        with lone_threads(torch.get_num_threads()) as pool:
            work = pool.map(partial(_make, options=options), numbers)
            rows = list(progress(work, total=len(numbers), desc="phantom clips"))
        write_table(
            out / CLIPS_NAME,
            ["clip", "scenario", "frames_per_second", "route", "rate", "motion", "noise"],
            rows,
        )
        (out / CLAIM_NAME).unlink()
    return [out / VIDEO_FOLDER / f"{row[0]}.npz" for row in rows]


def _make(number: int, options: ClipOptions) -> list[str]:
    """Draw and write a clip unless it is there; return its row."""
    name, identity, clip = patient(
        options.seed, number, scenario=options.scenario, seconds=options.seconds
    )
    video = options.out / VIDEO_FOLDER / f"{name}.npz"
    if not video.exists():  # it is written last
        (options.out / TRUTH_FOLDER).mkdir(exist_ok=True)
        video.parent.mkdir(exist_ok=True)
        write_table(options.out / TRUTH_FOLDER / f"{name}.csv", *_truth_table(clip))
        spec = clip.spec
        counts = np.empty((spec.frames, spec.size, spec.size), dtype=np.uint16)
        for at, frame in enumerate(phantom.render_clip(identity, clip)):
            counts[at] = counts_from_celsius(torch.from_numpy(frame), UNIT).numpy()
        with replacing(video) as temporary:
            np.savez(temporary, frames=counts, seconds=clip.truth.seconds)
    spec = clip.spec
    rates = [f"{phase.rate:.1f}" for phase in spec.breathing]
    return [
        name, options.scenario or "mixed", f"{spec.frames_per_second:g}", _route(spec),
        "; ".join(rates), f"{spec.motion:.2f}", f"{spec.netd:.3f}",
    ]  # fmt: skip


def _truth_table(clip: phantom.Clip) -> tuple[list[str], Iterator[list[str]]]:
    names = [column(number) for number in phantom.PHANTOM_ACTION_UNITS]
    header = ["seconds", "respiration_rate", "air_flow", "apnea", "dyspnea", "route", *names]
    told, route = clip.truth, _route(clip.spec)
    rows = (
        [
            f"{seconds:.4f}", f"{rate:.3f}", f"{flow:.3f}", str(int(apnea)), str(int(dyspnea)),
            route, *(f"{value:.2f}" for value in values),
        ]
        for seconds, rate, flow, apnea, dyspnea, values in zip(
            *told, clip.intensities.tolist(), strict=True
        )
    )  # fmt: skip
    return header, rows


def _route(spec: phantom.ClipSpec) -> str:
    return spec.route if spec.depth > 0 else NO_ROUTE
