"""Alarms that neither flicker nor go off at a single second: hysteresis and least durations."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cycada.settings import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class AlarmConfig:
    """When an alarm is raised, and when it ends."""

    on: float = setting(0.45, "score from which an alarm may be raised", low=0, high=1)
    off: float = setting(0.3, "score below which it may end; below `on`", low=0, high=1)
    raise_after: float = setting(4.0, "s that the score has to stay above `off` first", low=0)
    end_after: float = setting(5.0, "s that the score has to stay below `off` to end it", low=0)
    longest_gap: float = setting(
        5.0,
        "s without a score that change nothing: a pending alarm stays pending; a longer gap drops "
        "a pending alarm and ends a raised one",
        low=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An alarm.

    Attributes:
        kind: What it is about, such as ``dyspnea``.
        start: Seconds at which the score rose.
        raised: Seconds at which the alarm was raised, ``raise_after`` later or more.
        end: Seconds at which the score fell for good; NaN while the alarm lasts.
        peak: The highest score.
        reason: What was seen when it was raised, and why it ended where that was no fall.
    """

    kind: str
    start: float
    raised: float
    end: float
    peak: float
    reason: str

    @property
    def lasts(self) -> bool:
        """Whether it has not ended yet."""
        return math.isnan(self.end)


class Alarm:
    """Tells from scores as they come in when an alarm begins and ends."""

    def __init__(self, config: AlarmConfig = AlarmConfig(), *, kind: str = "dyspnea") -> None:  # noqa: B008  # frozen
        """Begin at rest.

        Raises:
            ConfigError: ``off`` is not below ``on``.
        """
        raise NotImplementedError

    @property
    def event(self) -> Event | None:
        """The alarm that lasts, if one does."""
        raise NotImplementedError

    def see(self, seconds: float, score: float | None, reason: str = "") -> Event | None:
        """Take in a score; return the alarm that is raised or ended by it.

        Args:
            seconds: Its time, after that of the score before.
            score: From 0 to 1; ``None`` where there is none.
            reason: What was seen, for the event if one is raised now.

        Returns:
            The event with ``end`` NaN when it is raised, the same with ``end`` when it has ended;
            ``None`` where nothing changes.
        """
        raise NotImplementedError

    def close(self, seconds: float) -> Event | None:
        """Return the alarm that lasted at the end of the recording, ended there."""
        raise NotImplementedError
