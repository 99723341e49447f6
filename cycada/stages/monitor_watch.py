"""A patient watched frame by frame, in constant memory: a row for each second, and alarms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from cycada.stages.monitor_face import Seen
from cycada.vitals.alarms import Alarm, AlarmConfig, Event
from cycada.vitals.breathing import Breathing, BreathingMonitor
from cycada.vitals.dyspnea import Dyspnea, DyspneaConfig, Observed, dyspnea_score
from cycada.vitals.expressivity import ExpressivityMonitor, TalkMonitor
from cycada.vitals.record import Vitals
from cycada.vitals.respiration import Estimate
from cycada.vitals.smoothing import Smoother

_UNSEEN = Breathing(Estimate(math.nan, 0.0, "not seen"))  # no frame came

# That breathing has stopped is told after ten seconds of it: nothing more is waited for.
# It is not over because the face is hidden, only when breathing is seen again.
_APNEA = AlarmConfig(on=0.5, off=0.4, raise_after=0.0, end_after=0.0, longest_gap=math.inf)


class Watch:
    """Takes in what is seen of a patient; tells once a second."""

    def __init__(self, config: DyspneaConfig, units: Sequence[int]) -> None:
        """Begin with nothing seen.

        Args:
            config: Of the score, and what it is made of.
            units: FACS numbers of what the detector answers; empty without one.
        """
        self._config, self._units = config, tuple(units)
        self._breathing = BreathingMonitor()
        self._smoother = Smoother(config.smoothing)
        self._expressivity = ExpressivityMonitor(config.expressivity)
        self._talk = TalkMonitor()
        self._alarms = (Alarm(config.alarm), Alarm(_APNEA, kind="apnea"))
        self._told = 0  # seconds that there is a row of
        self._frames = self._looks = self._faces = 0  # since
        self._why = ""  # there was no face when it was last looked for
        self._last = 0.0
        self._stopped = math.nan  # time at which breathing did
        self._had: set[str] = set()  # items that were known when the alarm was raised, or since
        self.changed: list[Event] = []
        """Alarms that were raised or ended and that nobody has taken yet."""

    def see(self, seconds: float, seen: Seen) -> Iterator[Vitals]:
        """Take in a frame; before, yield the rows of the seconds that it ends.

        Args:
            seconds: Since the first frame; more than of the one before.
            seen: In it.
        """
        yield from self.until(seconds)
        self._breathing.see(seconds, seen.parts)
        if seen.face is not None:
            self._smoother.see(seconds, seen.probabilities)
            self._talk.see(seconds, seen.probabilities)
        self._frames += 1
        self._last = seconds
        if seen.face is not None:
            self._looks, self._faces = self._looks + 1, self._faces + seen.face
            self._why = seen.reason

    def until(self, seconds: float) -> Iterator[Vitals]:
        """Yield the rows of the seconds that have passed at a time."""
        while self._told + 1 <= seconds:
            self._told += 1
            yield self._row(float(self._told))

    def close(self) -> None:
        """End the alarms that last: there is nothing more to see."""
        for alarm in self._alarms:
            self._note(alarm.close(max(self._last, self._told)))

    def _row(self, now: float) -> Vitals:
        # What was told of the last frame does not hold for a second that nothing was seen of.
        breathing = self._breathing.tell() if self._frames else _UNSEEN
        estimate = breathing.estimate
        units = self._smoother.tell(now)
        self._expressivity.see(now, units)
        moving = self._expressivity.tell(now)
        reason = breathing.not_applicable or estimate.reason
        dyspnea = dyspnea_score(
            Observed(
                respiration_rate=estimate.rate, respiration_reason=reason, part=estimate.part,
                action_units=units, face_reason=self._face_reason(), expressivity=moving.rate,
                talks=self._talk.tell(now),
            ),
            self._config,
        )  # fmt: skip
        self._see_dyspnea(now, dyspnea)
        self._see_apnea(now, breathing)
        row = Vitals(
            seconds=now, frames=self._frames, face=self._faces / max(self._looks, 1),
            rate=estimate.rate, quality=estimate.quality, reason=reason, part=estimate.part,
            apnea=breathing.apnea,
            units={number: units.get(number, math.nan) for number in self._units},
            expressivity_rate=moving.rate, expressivity_entropy=moving.entropy,
            expressivity_lost=moving.lost,
            score=math.nan if dyspnea.score is None else dyspnea.score,
            missing=dyspnea.missing, reasons=dyspnea.reasons,
        )  # fmt: skip
        self._frames = self._looks = self._faces = 0
        return row

    def _face_reason(self) -> str:
        if not self._units:
            return "no detector of Action Units was given"
        return self._why or ("" if self._frames else "no frame came")

    def _see_dyspnea(self, now: float, dyspnea: Dyspnea) -> None:
        """Raise no alarm because an item is lost, and end none.

        So it is raised by the lowest that the score can be. Only items that it has known may hold
        it: one that was never known had no part in it.
        """
        alarm = self._alarms[0]
        if alarm.event is None:
            self._had.clear()
        self._had.update(item.name for item in dyspnea.items if not item.missing)
        self._note(alarm.see(
            now, dyspnea.lowest, dyspnea.reasons,
            highest=dyspnea.highest_with(self._had), missing=dyspnea.missing,
        ))  # fmt: skip

    def _see_apnea(self, now: float, breathing: Breathing) -> None:
        if breathing.apnea and math.isnan(self._stopped):
            self._stopped = min(breathing.apnea_since, now)
        told = None if breathing.apnea is None else float(breathing.apnea)
        self._note(self._alarms[1].see(now, told, "breathing has stopped"))
        if self._alarms[1].event is None:
            self._stopped = math.nan

    def _note(self, event: Event | None) -> None:
        if event is None:
            return
        if event.kind == "apnea":  # it began before it was told
            event = replace(event, start=self._stopped)
        self.changed.append(event)
