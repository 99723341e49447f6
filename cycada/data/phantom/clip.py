"""Clips of a phantom patient: known breathing, known faces, and a camera that disturbs them.

Where :mod:`cycada.data.phantom.video` lets a face live, a clip is told what happens and when: how
fast the patient breathes, by nose or by mouth, when breathing stops, what the face does, how the
head moves, and what the camera does to all that. All of it is known for every frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch

from cycada.data.phantom.scene import Scene

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator, Tensor

    from cycada.data.phantom.identity import Identity

Route = Literal["nose", "mouth"]
Look = Literal["fear", "smile", "talk", "pain", "random"]


class Phase(NamedTuple):
    """How the patient breathes from a time on."""

    start: float  # s
    rate: float  # breaths per minute; 0 where breathing stops


class Expression(NamedTuple):
    """What the face does for a while."""

    start: float  # s
    end: float  # s
    look: Look


class Span(NamedTuple):
    """A while."""

    start: float  # s
    end: float  # s


class Freeze(NamedTuple):
    """A closed shutter: the camera repeats a frame and goes on at another level (NUC)."""

    start: float  # s
    duration: float  # s
    offset: float  # K by which all later frames differ from those before


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSpec:
    """What happens in a clip. The defaults are a calm patient before a usual camera."""

    seconds: float = 120.0
    frames_per_second: float = 9.0
    size: int = 100  # px, side of the square frames
    scale: float = 0.8  # size of the face; 1 fills the frame
    breathing: tuple[Phase, ...] = (Phase(0.0, 15.0),)
    change: float = 8.0  # s that it takes from one rate to another
    depth: float = 0.6  # K by which the air warms and cools; 0: none passes nose or mouth
    route: Route = "nose"
    irregularity: float = 0.06  # standard deviation of a breath's length, share of it
    speech: tuple[Span, ...] = ()
    expressions: tuple[Expression, ...] = ()
    dyspnea: tuple[Span, ...] = ()  # when the patient is short of breath
    motion: float = 1.0  # of the head, times that of a patient at rest
    netd: float = 0.05  # K, noise of the camera
    drift: float = 0.0  # K per minute by which the camera's level drifts
    freezes: tuple[Freeze, ...] = ()

    @property
    def frames(self) -> int:
        """Number of frames."""
        return round(self.seconds * self.frames_per_second)


class ClipTruth(NamedTuple):
    """What is known exactly of each of the ``T`` frames of a clip."""

    seconds: NDArray[np.float64]  # (T,)
    rate: NDArray[np.float64]  # (T,) breaths per minute: of the breath that is taken; 0 in apnea
    flow: NDArray[np.float64]  # (T,) of air at nose or mouth, -1 in to 1 out; 0 without
    apnea: NDArray[np.bool_]  # (T,)
    dyspnea: NDArray[np.bool_]  # (T,)


class Clip(NamedTuple):
    """A clip that can be drawn."""

    spec: ClipSpec
    intensities: Tensor  # (T, 18) AUs, 0 to 5
    scene: Scene  # T rows
    truth: ClipTruth


def sample_clip(spec: ClipSpec, *, generator: Generator) -> Clip:
    """Draw what ``spec`` leaves open: single breaths, the pose, the strength of each AU, noise."""
    raise NotImplementedError


def render_clip(identity: Identity, clip: Clip) -> Iterator[NDArray[np.float32]]:
    """Yield the frames of a clip, ``(size, size)`` in deg C, as a camera reports them.

    Args:
        identity: One person: one row.
        clip: What happens.

    Yields:
        One frame after the other; memory does not grow with their number. While the shutter is
        closed, the pixels of the last frame come again exactly.
    """
    raise NotImplementedError
