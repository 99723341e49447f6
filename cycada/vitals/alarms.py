"""Alarms that neither flicker nor go off at a single second: hysteresis and least durations."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from cycada.errors import ConfigError
from cycada.settings import setting

_TELLS = 1.0  # s before a score of which it tells
_LONGEST_DOUBT = 60.0  # s for which a raised alarm is held that can be neither kept nor ended


@dataclass(frozen=True, kw_only=True, slots=True)
class AlarmConfig:
    """When an alarm is raised, and when it ends (all of it a hypothesis: tuned on phantoms)."""

    on: float = setting(0.47, "score from which an alarm may be raised", low=0, high=1)
    off: float = setting(0.38, "score below which it may end; below `on`", low=0, high=1)
    raise_after: float = setting(
        3.0, "s for which scores must have stayed at `off` or above before it is raised", low=0
    )
    end_after: float = setting(5.0, "s for which scores must stay below `off` to end it", low=0)
    longest_gap: float = setting(
        5.0,
        "s without a score that change nothing: a pending alarm stays pending; a longer gap drops "
        "a pending alarm and ends a raised one",
        low=0,
    )

    def __post_init__(self) -> None:
        """Refuse thresholds without hysteresis."""
        if not self.off < self.on:
            raise ConfigError(
                f"alarm.off must be below alarm.on, found {self.off:g} and {self.on:g}."
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
    """Tells from scores as they come in when an alarm begins and ends.

    A score of ``on`` makes an alarm pending, and it is raised when scores have stayed at ``off``
    or above for ``raise_after`` seconds. Seconds without a score count neither for nor against.
    It ends when scores have stayed below ``off`` for ``end_after`` seconds.

    A score may be the lowest of what is possible while something is not known. What is lost must
    not raise an alarm, and not end one either: a raised one is held through seconds in which the
    lowest is below ``off`` and the highest is not, for 60 s at most (a hypothesis).
    """

    def __init__(self, config: AlarmConfig | None = None, *, kind: str = "dyspnea") -> None:
        """Begin at rest; without a config with the defaults."""
        self._config = config or AlarmConfig()
        self._kind = kind
        self._pending: _Pending | None = None
        self._event: Event | None = None
        self._fell: float | None = None  # s at which a raised one's scores fell below `off`
        self._below = 0.0  # s with scores since then
        self._known: float | None = None  # s of the last score
        self._decided = math.nan  # s of the last that told whether a raised one lasts
        self._silent = True  # whether the last score was none, or left open what it is

    @property
    def event(self) -> Event | None:
        """The alarm that lasts, if one does."""
        return self._event

    def see(
        self,
        seconds: float,
        score: float | None,
        reason: str = "",
        *,
        highest: float | None = None,
        missing: str = "",
    ) -> Event | None:
        """Take in a score; return the alarm that is raised or ended by it.

        Args:
            seconds: Its time, after that of the score before.
            score: From 0 to 1; ``None`` or NaN where there is none.
            reason: What was seen, for the event if one is raised now.
            highest: What the score may be with what has been lost; ``score`` if left out.
            missing: What is not known, for the event if it ends for want of that.

        Returns:
            The event with ``end`` NaN when it is raised, the same with ``end`` when it has ended;
            ``None`` where nothing changes.
        """
        if score is None or math.isnan(score):
            self._silent = True
            return self._after_gap(seconds)
        ended = self._after_gap(seconds - _TELLS)
        passed = 0.0 if self._silent or self._known is None else seconds - self._known
        self._known, self._silent = seconds, False
        if self._event is not None:
            if score < self._config.off <= (score if highest is None else highest):
                return self._in_doubt(seconds, missing)
            self._decided = seconds
            return self._while_raised(self._event, seconds, score, passed)
        self._make_pending(seconds, score, passed)
        # One answer at a time: the first score after a gap that ended an alarm raises none.
        return ended or self._raise(seconds, reason)

    def close(self, seconds: float) -> Event | None:
        """Return the alarm that lasted at the end of the recording, ended there, if one did."""
        return self._after_gap(seconds) or self._end(seconds, "the recording ended")

    def _after_gap(self, seconds: float) -> Event | None:
        """End what was before a silence that has lasted until now for too long."""
        if self._known is None or seconds - self._known <= self._config.longest_gap:
            return None
        self._pending, self._silent = None, True
        return self._end(
            self._known, f"ended for want of a score for {self._config.longest_gap:g} s"
        )

    def _make_pending(self, seconds: float, score: float, passed: float) -> None:
        if self._pending is not None and score < self._config.off:
            self._pending = None
        elif self._pending is not None:
            self._pending.held += passed
            self._pending.peak = max(self._pending.peak, score)
        elif score >= self._config.on:
            self._pending = _Pending(seconds, score)

    def _raise(self, seconds: float, reason: str) -> Event | None:
        if self._pending is None or self._pending.held < self._config.raise_after:
            return None
        self._event = Event(
            kind=self._kind, start=self._pending.start, raised=seconds, end=math.nan,
            peak=self._pending.peak, reason=reason,
        )  # fmt: skip
        self._pending, self._decided = None, seconds
        return self._event

    def _in_doubt(self, seconds: float, missing: str) -> Event | None:
        self._silent = True
        if seconds - self._decided <= _LONGEST_DOUBT:
            return None
        return self._end(
            self._decided,
            f"ended, for in {_LONGEST_DOUBT:g} s what is known neither kept it nor ruled it out"
            + (f"; missing: {missing}" if missing else ""),
        )

    def _while_raised(
        self, event: Event, seconds: float, score: float, passed: float
    ) -> Event | None:
        self._event = replace(event, peak=max(event.peak, score))
        if score >= self._config.off:
            self._fell = None
            return None
        if self._fell is None:
            self._fell, self._below = seconds, 0.0
        else:
            self._below += passed
        return self._end(self._fell) if self._below >= self._config.end_after else None

    def _end(self, seconds: float, why: str = "") -> Event | None:
        if self._event is None:
            return None
        told = "; ".join(filter(None, [self._event.reason, why]))
        event = replace(self._event, end=seconds, reason=told)
        self._event = self._fell = None
        return event


@dataclass(slots=True)
class _Pending:
    start: float
    peak: float
    held: float = 0.0  # s with scores at `off` or above
