"""What happens in a clip of a phantom patient, as it is told; and what is known of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from cycada.data.phantom.scene import Scene

Route = Literal["nose", "mouth"]
Look = Literal["fear", "smile", "pain", "random"]


class Phase(NamedTuple):
    """How the patient breathes from a time on."""

    start: float  # s
    rate: float  # breaths per minute; 0 where breathing stops


class Span(NamedTuple):
    """A while."""

    start: float  # s
    end: float  # s


class Expression(NamedTuple):
    """What the face does for a while."""

    start: float  # s
    end: float  # s
    look: Look


class Freeze(NamedTuple):
    """A closed shutter: the camera repeats a frame and goes on at another level (NUC)."""

    start: float  # s
    duration: float  # s
    offset: float  # K by which all later frames differ from those before


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSpec:
    """What happens in a clip. The defaults are a calm patient before a usual camera.

    Raises:
        ValueError: There are no phases, the first does not start at 0, or their starts do not
            rise; a length or a rate of frames is not positive.
    """

    seconds: float = 120.0
    frames_per_second: float = 9.0
    size: int = 100  # px, side of the square frames; 100 is drawn fastest for what it shows
    scale: float = 0.8  # size of the face; 1 fills the frame
    breathing: tuple[Phase, ...] = (Phase(0.0, 15.0),)
    change: float = 8.0  # s that it takes from one rate to another; breathing stops at once
    depth: float = 0.6  # K by which the air warms and cools; 0: none passes nose or mouth
    route: Route = "nose"
    irregularity: float = 0.05  # standard deviation of a breath's length, share of it
    speech: tuple[Span, ...] = ()
    expressions: tuple[Expression, ...] = ()
    dyspnea: tuple[Span, ...] = ()  # when the patient is short of breath
    motion: float = 1.0  # of the head, times that of a patient at rest
    netd: float = 0.05  # K, noise of the camera
    drift: float = 0.0  # K per minute by which the camera's level drifts
    freezes: tuple[Freeze, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        starts = [phase.start for phase in self.breathing]
        if not starts or starts[0] != 0 or sorted(set(starts)) != starts:
            raise ValueError(f"phases start at 0 and rise, not at {starts}")
        if not (self.frames_per_second > 0 and math.isfinite(self.seconds) and self.seconds > 0):
            raise ValueError("a clip has a positive length and rate of frames")

    @property
    def frames(self) -> int:
        """Number of frames, at least one."""
        return max(1, round(self.seconds * self.frames_per_second))

    @property
    def breathes(self) -> bool:
        """Whether air ever passes nose or mouth."""
        return self.depth > 0 and any(phase.rate > 0 for phase in self.breathing)


class ClipTruth(NamedTuple):
    """What is known exactly of each of the ``T`` frames of a clip."""

    seconds: NDArray[np.float64]  # (T,)
    rate: NDArray[np.float64]  # (T,) breaths per minute, of the breath that is taken; 0 in apnea
    flow: NDArray[np.float64]  # (T,) of air at nose or mouth, about -1 in to 1 out; 0 without
    apnea: NDArray[np.bool_]  # (T,)
    dyspnea: NDArray[np.bool_]  # (T,)


class Clip(NamedTuple):
    """A clip that can be drawn by :func:`cycada.data.phantom.render_clip`."""

    spec: ClipSpec
    intensities: Tensor  # (T, 18) AUs, 0 to 5
    scene: Scene  # T rows
    truth: ClipTruth
