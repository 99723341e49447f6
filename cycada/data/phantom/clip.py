"""Clips of a phantom patient: known breathing, known faces, and a camera that disturbs them.

Where :mod:`cycada.data.phantom.video` lets a face live, a clip is told what happens and when: how
fast the patient breathes, by nose or by mouth, when breathing stops, what the face does, how the
head moves, and what the camera does to all that. All of it is known for every frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from cycada.data.phantom.clip_breathing import Air, breathe
from cycada.data.phantom.clip_faces import face_courses, wandering
from cycada.data.phantom.clip_spec import Clip, ClipSpec, ClipTruth
from cycada.data.phantom.render import render_celsius
from cycada.data.phantom.scene import Scene, sample_scenes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Generator, Tensor

    from cycada.data.phantom.clip_spec import Span
    from cycada.data.phantom.identity import Identity

_BATCH = 32  # frames that are drawn at once
_OTHER_WAY = 0.25  # share of the air that goes by the nose of who breathes by the mouth, or so
_DEEPEST = 2.5  # times the depth of a usual breath
_FRONTAL = 0.5  # of the poses of single pictures: a bedside camera looks at the face
_TURNS = 1.0  # per minute of a patient at rest, in which the head goes to another place


def sample_clip(spec: ClipSpec, *, generator: Generator) -> Clip:
    """Draw what ``spec`` leaves open: single breaths, the pose, the strength of each AU, noise.

    The same generator state gives the same clip.
    """
    seconds = np.arange(spec.frames) / spec.frames_per_second
    times = torch.from_numpy(seconds).float()
    air = breathe(spec, seconds, generator=generator)
    intensities = face_courses(spec, times, generator=generator)
    scene = _scene(spec, times, air, generator)
    truth = ClipTruth(
        seconds=seconds,
        rate=air.rate,
        flow=air.flow if spec.depth else np.zeros_like(air.flow),
        apnea=air.rate == 0,
        dyspnea=_inside(spec.dyspnea, seconds),
    )
    return Clip(spec, intensities, scene, truth)


def render_clip(identity: Identity, clip: Clip) -> Iterator[NDArray[np.float32]]:
    """Yield the frames of a clip, ``(size, size)`` in deg C, as a camera reports them.

    Args:
        identity: One person: one row.
        clip: What happens.

    Yields:
        One frame after the other; memory does not grow with their number. While the shutter is
        closed, the pixels of the last frame come again exactly.
    """
    spec, seconds = clip.spec, clip.truth.seconds
    level = torch.from_numpy(_level(spec, seconds)).float()
    frozen = _inside([(each.start, each.start + each.duration) for each in spec.freezes], seconds)
    frozen[0] = False  # a camera that starts with a closed shutter shows nothing yet
    repeats = np.diff(np.append(np.flatnonzero(~frozen), len(frozen)))
    people = identity.take([0] * _BATCH)
    drawn = np.flatnonzero(~frozen)
    for start in range(0, len(drawn), _BATCH):
        rows = torch.from_numpy(drawn[start : start + _BATCH])
        heat = render_celsius(
            people.slice(0, len(rows)),
            clip.intensities.index_select(0, rows),
            clip.scene.take(rows),
            size=spec.size,
        )
        shown = (heat + level[rows][:, None, None]).numpy()
        for frame, times in zip(shown, repeats[start : start + _BATCH], strict=True):
            for _ in range(times):
                yield frame.copy()


def _scene(spec: ClipSpec, times: Tensor, air: Air, generator: Generator) -> Scene:
    """Return the circumstances of every frame: a head that moves, air, and fresh noise."""
    count = len(times)
    every = sample_scenes(1, generator=generator).take([0] * count)
    turned = _turns(spec, times, generator)

    def place(still: Tensor, sway: float, kind: int) -> Tensor:
        moved = sway * spec.motion * wandering(times, generator)
        return still * _FRONTAL + moved + turned[:, kind]

    # The chest moves the head with every breath, a ventilator's as well.
    heave = 0.03 * torch.from_numpy(air.warmth).float()
    right, down = place(every.shift[:, 0], 0.06, 2), place(every.shift[:, 1], 0.05, 3)
    share = torch.from_numpy(air.warmth / _DEEPEST).float().clamp(-1, 1)
    depth = torch.full((count,), spec.depth * _DEEPEST)
    other = depth * _OTHER_WAY
    return dataclasses.replace(
        every,
        yaw=place(every.yaw, 0.8, 0),
        pitch=place(every.pitch, 0.6, 1),
        roll=every.roll * _FRONTAL + 0.4 * spec.motion * wandering(times, generator),
        scale=torch.full((count,), spec.scale),
        shift=torch.stack([right, down + heave], dim=1),
        breathing_phase=share.asin(),
        breathing_depth=depth if spec.route == "nose" else other,
        mouth_depth=depth if spec.route == "mouth" else other,
        netd=torch.full((count,), spec.netd),
        seed=torch.randint(2**31 - 1, (count,), generator=generator),
    )


def _turns(spec: ClipSpec, times: Tensor, generator: Generator) -> Tensor:
    """Return ``(T, 4)`` yaw and pitch in degrees, right and down in cm, of a head that turns."""
    sizes = torch.tensor([4.0, 2.5, 0.35, 0.25])
    turned = torch.zeros(len(times), len(sizes))
    many = float(torch.poisson(torch.tensor(_TURNS * spec.motion * spec.seconds / 60), generator))
    for _ in range(int(many)):
        start, length = torch.rand(2, generator=generator)
        towards = sizes * torch.randn(len(sizes), generator=generator).clamp(-2, 2)
        share = ((times - start * spec.seconds) / (0.5 + length)).clamp(0, 1)
        share = (share * share * (3 - 2 * share))[:, None]
        turned = turned * (1 - share) + towards * share  # from wherever it was
    return turned


def _level(spec: ClipSpec, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the camera's level in K at each frame."""
    level: NDArray[np.float64] = spec.drift * seconds / 60
    for freeze in spec.freezes:
        level = level + np.where(seconds >= freeze.start, freeze.offset, 0.0)
    return level


def _inside(
    spans: Sequence[Span] | Sequence[tuple[float, float]], seconds: NDArray[np.float64]
) -> NDArray[np.bool_]:
    inside = np.zeros(len(seconds), dtype=bool)
    for start, end in spans:
        inside |= (seconds >= start) & (seconds < end)
    return inside
