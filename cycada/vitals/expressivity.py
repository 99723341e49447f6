"""How much a face moves: onsets of Action Units per minute, and their entropy.

Faces of seriously ill people move less, and in fewer ways (Kline et al., Emergency Medicine Journal
2015; Critical Care Explorations 2020, e0115). That is a sign of its own, beside dyspnea.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cycada.settings import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpressivityConfig:
    """How expressivity is told, and from when on it counts as lost."""

    window: float = setting(60.0, "s that are looked back at", low=10, high=600)
    on: float = setting(0.6, "smoothed probability at which an AU begins", low=0, high=1)
    off: float = setting(0.4, "smoothed probability at which it has ended", low=0, high=1)
    least_seen: float = setting(0.7, "share of the window that must be seen", low=0, high=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expressivity:
    """What the last window tells.

    Attributes:
        rate: Onsets of AUs per minute of seen face; NaN where too little was seen.
        entropy: From 0 (the same face all the time) to 1; NaN likewise.
        seen: Share of the window in which the face was seen.
        units: How many AUs were looked at.
        lost: Whether it counts as lost; ``None`` where it cannot be told.
        reason: Why there is none; empty where there is one.
    """

    rate: float
    entropy: float
    seen: float
    units: int
    lost: bool | None
    reason: str


class ExpressivityMonitor:
    """Counts in constant memory what AUs do."""

    def __init__(self, config: ExpressivityConfig = ExpressivityConfig()) -> None:  # noqa: B008  # frozen
        """Begin with nothing seen."""
        raise NotImplementedError

    def see(self, seconds: float, probabilities: Mapping[int, float]) -> None:
        """Take in smoothed probabilities (:class:`cycada.vitals.smoothing.Smoother`); frame or
        second, as they come; empty where there is no face."""
        raise NotImplementedError

    def tell(self, seconds: float) -> Expressivity:
        """Return the expressivity of the window that ends now."""
        raise NotImplementedError
