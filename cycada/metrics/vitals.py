"""What is measured of a monitor: rates, apneas and dyspnea, with intervals over subjects."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from cycada.metrics.agreement import Agreement, Figure
from cycada.metrics.bootstrap import plain

HIGH_QUALITY = 0.8
"""Of an estimate that is given where only sure ones are wanted."""

APNEA = 10.0
"""Seconds without a breath that make an apnea, as in sleep medicine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreathingScores:
    """Rates: all that were given, and those of high quality alone."""

    windows: int  # in which the patient breathes throughout
    windows_without: int  # in which no breathing is to be seen
    all: Agreement
    high_quality: Agreement
    coverage: Figure  # share of the windows of breathing for which a rate was given
    coverage_high_quality: Figure
    silent: Figure  # share of the windows without breathing for which none was given


@dataclass(frozen=True, slots=True, kw_only=True)
class EventScores:
    """Apneas, or spans of dyspnea, and what was told of them."""

    events: int
    found: Figure  # share
    delay: Figure  # s, median over those that were found
    delay_longest: float
    false_per_hour: Figure
    hours: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VitalsScores:
    """All figures; of dyspnea none where neither truth nor monitor speaks of it."""

    clips: int
    subjects: int
    breathing: BreathingScores
    apnea: EventScores
    apnea_seconds: Figure  # share of the seconds of apnea, after the first ten, that were flagged
    apnea_false: Figure  # share of the seconds of breathing that were flagged
    dyspnea: EventScores | None
    dyspnea_false: Figure | None  # share of the seconds without dyspnea under an alarm of it
    dyspnea_auc: Figure | None

    def to_json(self) -> dict[str, Any]:
        """Return plain data: figures as value and interval, null where they cannot be had."""
        data: dict[str, Any] = plain(_told(self))
        return data


def _told(part: Any) -> Any:
    if isinstance(part, Figure):
        return part._asdict()
    if is_dataclass(part):
        return {each.name: _told(getattr(part, each.name)) for each in fields(part)}
    return part
