"""How much a face moves: onsets of Action Units (AUs) per minute, and their entropy.

Faces of seriously ill people move less (Kline et al., Emergency Medicine Journal 2015, 32:3;
Madrigal-Garcia et al., Critical Care Explorations 2020, e0115). That is a sign of its own, beside
dyspnea. Both studies counted what trained people coded; how a detector's onsets compare with that
is not known, so a rate is compared with the same patient's earlier one, which is a hypothesis.
An AU that cannot be assessed, as under a mask, is not still: only AUs that were assessed are
compared, each for as long as it was.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cycada.errors import ConfigError
from cycada.settings import setting

LIPS = (25, 26, 27)
"""AUs by which a mouth is open."""

_LONGEST_STEP = 2.0  # s between two sights that count as seen
_FORGOTTEN = 0.01  # s that are left of those at which an AU was assessed long ago
_LEAST_ASSESSED = 0.5  # of the usual onsets: the share that AUs that are assessed have to make
_TALK_WINDOW = 8.0  # s
_TALK_OPENINGS = 7  # in it: fewer than syllables, and more than breaths up to 45 per minute
_OPEN, _SHUT = 0.6, 0.4  # probabilities of lips apart


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpressivityConfig:
    """How expressivity is told, and from when on it counts as lost (a hypothesis)."""

    window: float = setting(60.0, "s that are looked back at", low=10, high=600)
    on: float = setting(0.6, "smoothed probability at which an AU begins", low=0, high=1)
    off: float = setting(0.4, "smoothed probability at which it has ended", low=0, high=1)
    least_seen: float = setting(0.7, "share of the window that must be seen", low=0, high=1)
    usual: float = setting(
        600.0, "time in s after which what was seen counts 37 % in the patient's usual rate", low=60
    )
    usual_from: float = setting(300.0, "s to be seen before there is a usual rate", low=10)
    lost_below: float = setting(
        0.3, "share of the usual rate below which expressivity counts as lost", low=0, high=1
    )

    def __post_init__(self) -> None:
        """Refuse thresholds without hysteresis."""
        if not self.off < self.on:
            raise ConfigError(
                "expressivity.off must be below expressivity.on, found "
                f"{self.off:g} and {self.on:g}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Expressivity:
    """What the last window tells.

    Attributes:
        rate: Onsets of the AUs that were assessed per minute of seen face; NaN where too little
            was seen. The fewer AUs are assessed, the lower it is.
        entropy: Of the AUs among the onsets: 0 where all are of one AU, or there are none, 1
            where all AUs begin equally often; NaN like the rate.
        seen: Share of the window in which the face was seen.
        units: How many AUs were looked at.
        usual: The same patient's rate before the window, of the AUs that were assessed in it and
            for as long as they were; NaN while too little was seen of all of them before.
        lost: Whether the rate is far below the usual one; ``None`` where that cannot be told, for
            nothing is usual yet, or the AUs that were assessed make less than half of the usual
            onsets.
        reason: Why there is no rate; empty where there is one.
    """

    rate: float
    entropy: float
    seen: float
    units: int
    usual: float
    lost: bool | None
    reason: str


class ExpressivityMonitor:
    """Counts what AUs do, in memory that grows with the window and not with the recording."""

    def __init__(self, config: ExpressivityConfig | None = None) -> None:
        """Begin with nothing seen; without a config with the defaults."""
        self._config = config or ExpressivityConfig()
        self._active: dict[int, bool] = {}
        self._seconds: deque[_Second] = deque()
        self._last: float | None = None  # s at which a face was seen last
        self._usual_seen = 0.0  # s before the window, those long ago by a part
        self._usual: dict[int, _Usual] = {}  # of each AU

    def see(self, seconds: float, probabilities: Mapping[int, float]) -> None:
        """Take in smoothed probabilities, each frame or each second.

        An AU that comes into sight while it is there has no onset.

        Args:
            seconds: Their time, not before that of the ones before.
            probabilities: AU -> probability, as
                :meth:`cycada.vitals.smoothing.Smoother.tell` returns them; empty where there is no
                face.
        """
        known = {unit: value for unit, value in probabilities.items() if not math.isnan(value)}
        self._forget(seconds)
        for unit in self._active.keys() - known.keys():
            del self._active[unit]
        if not known:
            self._last = None
            return
        now = self._of(seconds)
        now.units |= known.keys()
        if self._last is None or seconds - self._last > _LONGEST_STEP:
            self._active.clear()
        else:
            now.see(seconds - self._last, self._active)
        self._last = seconds
        for unit, value in known.items():
            before = self._active.get(unit)
            active = value >= (self._config.off if before else self._config.on)
            self._active[unit] = active
            if before is False and active:
                now.onsets[unit] += 1

    def tell(self, seconds: float) -> Expressivity:
        """Return the expressivity of the window that ends now."""
        self._forget(seconds)
        seen = sum(each.seen for each in self._seconds)
        units = len(set().union(*(each.units for each in self._seconds)))
        share = min(seen / self._config.window, 1.0)
        usual = self._usual_rate(seen)
        if share < self._config.least_seen:
            return Expressivity(
                rate=math.nan, entropy=math.nan, seen=share, units=units, usual=usual, lost=None,
                reason=f"the face was seen for {seen:.0f} of {self._config.window:.0f} s",
            )  # fmt: skip
        onsets = sum((each.onsets for each in self._seconds), Counter[int]())
        rate = 60 * onsets.total() / seen
        return Expressivity(
            rate=rate, entropy=_entropy(onsets, units), seen=share, units=units, usual=usual,
            lost=self._lost(rate, usual), reason="",
        )  # fmt: skip

    def _usual_rate(self, seen: float) -> float:
        """Return how often per minute the AUs that were assessed in the window usually begin."""
        expected = [
            length * usual.onsets / usual.assessed
            for second in self._seconds for unit, length in second.assessed.items()
            if (usual := self._usual.get(unit)) and usual.ever >= self._config.usual_from
        ]  # fmt: skip
        return 60 * sum(expected) / seen if expected else math.nan

    def _lost(self, rate: float, usual: float) -> bool | None:
        if not usual > 0:
            return None
        whole = 60 * sum(each.onsets for each in self._usual.values()) / self._usual_seen
        return None if usual < _LEAST_ASSESSED * whole else rate < self._config.lost_below * usual

    def _of(self, seconds: float) -> _Second:
        number = math.floor(seconds)
        if not self._seconds or self._seconds[-1].number != number:
            self._seconds.append(_Second(number))
        return self._seconds[-1]

    def _forget(self, seconds: float) -> None:
        """Let what is before the window pass into what is usual."""
        while self._seconds and self._seconds[0].number < math.floor(seconds - self._config.window):
            old = self._seconds.popleft()
            kept = math.exp(-old.seen / self._config.usual)
            self._usual_seen = kept * self._usual_seen + old.seen
            for unit in old.assessed:
                self._usual.setdefault(unit, _Usual())
            for unit, usual in self._usual.items():
                usual.add(old.assessed.get(unit, 0.0), old.onsets[unit], kept=kept)
            for unit in [unit for unit, it in self._usual.items() if it.assessed < _FORGOTTEN]:
                del self._usual[unit]


@dataclass(slots=True)
class _Second:
    number: int
    seen: float = 0.0
    onsets: Counter[int] = field(default_factory=Counter)
    units: set[int] = field(default_factory=set)
    assessed: dict[int, float] = field(default_factory=dict)  # AU -> s

    def see(self, length: float, units: Iterable[int]) -> None:
        self.seen += length
        for unit in units:
            self.assessed[unit] = self.assessed.get(unit, 0.0) + length


@dataclass(slots=True)
class _Usual:
    """What an AU did before the window, long ago by a part."""

    assessed: float = 0.0  # s
    onsets: float = 0.0
    ever: float = 0.0  # s, all of them

    def add(self, assessed: float, onsets: int, *, kept: float) -> None:
        self.assessed = kept * self.assessed + assessed
        self.onsets = kept * self.onsets + onsets
        self.ever += assessed


def _entropy(onsets: Counter[int], units: int) -> float:
    """Return Shannon's entropy of which AU begins, as a share of the highest possible."""
    total = onsets.total()
    if units < 2 or not total:
        return 0.0
    shares = [count / total for count in onsets.values()]
    return -sum(share * math.log(share) for share in shares) / math.log(units)


class TalkMonitor:
    """Tells whether a mouth opens and shuts as in talk: more often than anybody breathes."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._openings: deque[float] = deque()
        self._open: bool | None = None

    def see(self, seconds: float, probabilities: Mapping[int, float]) -> None:
        """Take in a frame's probabilities as the detector gives them, not smoothed ones."""
        lips = [probabilities[unit] for unit in LIPS if unit in probabilities]
        known = [value for value in lips if not math.isnan(value)]
        if not known:
            self._open = None
            return
        before, value = self._open, max(known)
        self._open = value >= (_SHUT if before else _OPEN)
        if before is False and self._open:
            self._openings.append(seconds)
        self._forget(seconds)

    def tell(self, seconds: float) -> bool:
        """Return whether the mouth has moved so in the last eight seconds."""
        self._forget(seconds)
        return len(self._openings) >= _TALK_OPENINGS

    def _forget(self, seconds: float) -> None:
        while self._openings and self._openings[0] <= seconds - _TALK_WINDOW:
            self._openings.popleft()
