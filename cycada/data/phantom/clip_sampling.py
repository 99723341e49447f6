"""Which clips there are: named scenarios, and any mixture of all that disturbs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cycada.data.phantom.clip import ClipSpec

if TYPE_CHECKING:
    from torch import Generator

Scenario = Literal["calm", "fear", "smile", "talk", "pain", "apnea", "intubated"]


def scenario(
    name: Scenario, *, generator: Generator, seconds: float = 120.0, frames_per_second: float = 9.0
) -> ClipSpec:
    """Return a clip that tells one story.

    Args:
        name: ``fear``: calm, then for the middle third a fearful face and fast breathing
            (dyspnea), then calm again; ``smile``, ``talk``, ``pain``: calm breathing and such a
            face in the middle third; ``calm``: neither; ``apnea``: breathing stops for 20 s in
            the middle; ``intubated``: no air passes nose or mouth.
        generator: Source of randomness, for the rates.
        seconds: Length.
        frames_per_second: Of the camera.
    """
    raise NotImplementedError


def sample_spec(generator: Generator) -> ClipSpec:
    """Draw a clip of two minutes, with rates from 6 to 45 per minute and all that disturbs.

    One in five has no breathing to be seen: apnea throughout, or an intubated patient.
    """
    raise NotImplementedError
