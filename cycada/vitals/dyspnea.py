"""A score of dyspnea from what a camera sees of the observation scales RDOS and MV-RDOS.

Research use only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from cycada.settings import setting
from cycada.vitals.alarms import AlarmConfig
from cycada.vitals.expressivity import ExpressivityConfig
from cycada.vitals.smoothing import SmoothingConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class DyspneaConfig:
    """Everything that the score and its alarm depend on; ``cycada monitor --score FILE``."""

    # tables of the items (rate, flaring, fear, mouth), confounders and a fitted model follow
    smoothing: SmoothingConfig = setting(SmoothingConfig(), "")
    expressivity: ExpressivityConfig = setting(ExpressivityConfig(), "")
    alarm: AlarmConfig = setting(AlarmConfig(), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What is known of a patient at one time.

    Attributes:
        respiration_rate: Breaths per minute; NaN where none is given.
        respiration_reason: Why none is given.
        part: Of the face at which breathing is seen, ``nostrils``, ``mouth`` or another.
        action_units: FACS number -> smoothed probability; AUs that cannot be assessed are left
            out or NaN; empty where there is no face.
        face_reason: Why there is no face or no AU at all.
    """

    respiration_rate: float = math.nan
    respiration_reason: str = ""
    part: str = ""
    action_units: Mapping[int, float] = field(default_factory=dict)
    face_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What one item of the score says.

    Attributes:
        name: ``respiratory rate``, ``nasal flaring``, ``fearful face``, ``mouth breathing``.
        points: It gives, from 0 to ``most``; NaN where it is missing.
        most: It could give.
        text: What was seen, such as ``32 breaths per minute``.
        missing: Why it cannot be told; empty where it is.
        hypothesis: Whether no published study supports it as it is measured here.
    """

    name: str
    points: float
    most: float
    text: str
    missing: str
    hypothesis: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Dyspnea:
    """The score at one time.

    Attributes:
        score: From 0 to 1; ``None`` where too little is known.
        points: Of the items that are known, together.
        most: They could have given.
        items: All of them, the missing ones as well.
        confounders: What else may look like this: a smile, talk, pain.
        reason: Why there is no score; empty where there is one.
    """

    score: float | None
    points: float
    most: float
    items: tuple[Item, ...]
    confounders: tuple[str, ...]
    reason: str

    @property
    def missing(self) -> str:
        """The items that are missing, for the table: ``nasal flaring (AU38 is not detected)``."""
        return "; ".join(f"{each.name} ({each.missing})" for each in self.items if each.missing)

    @property
    def reasons(self) -> str:
        """What gave points, and what else may look so, in one line for the table."""
        raise NotImplementedError


def dyspnea_score(observed: Observed, config: DyspneaConfig = DyspneaConfig()) -> Dyspnea:  # noqa: B008  # frozen
    """Return the score of what is observed; nothing that is missing is made up."""
    raise NotImplementedError
