"""The folder of a monitor: tables that grow while it watches, and what they were made of."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cycada.errors import DataError, RunError
from cycada.files import append_text, replacing, whole_lines
from cycada.vitals.alarms import Event
from cycada.vitals.record import (
    EVENT_COLUMNS,
    EVENTS_NAME,
    VITALS_NAME,
    Vitals,
    as_lines,
    event_row,
    vitals_columns,
    vitals_row,
)

NOTE_NAME = "monitor.json"
AT_ITS_END = "at its end"


class Record:
    """``vitals.csv``, which has each row as soon as it is told, ``events.csv`` and their note.

    What a recording was begun with goes on: it is watched again from its first frame, which gives
    the same rows, and those that are there stay.
    """

    def __init__(
        self, out: Path, settings: Mapping[str, Any], units: Sequence[int], *, again: bool
    ) -> None:
        """Look at what is there.

        Args:
            out: The folder.
            settings: Everything that the rows depend on, as JSON knows it.
            units: FACS numbers of the columns of Action Units.
            again: Whether the source can be watched again; a stream cannot.

        Raises:
            RunError: What is there was made with other settings, or cannot be made again.
        """
        self.vitals, self.events = out / VITALS_NAME, out / EVENTS_NAME
        self._note, self._units = out / NOTE_NAME, tuple(units)
        self._facts: dict[str, Any] = {
            "settings": json.loads(json.dumps(settings)), "ended": "", "shown": 0
        }  # fmt: skip
        self._events: dict[tuple[str, float], Event] = {}
        self.whole = False
        """Whether all of the source is told already."""
        found = self._found()
        if found is not None and not again:
            raise RunError(
                f"{out}: holds the record of a stream, which does not come again; choose another "
                "--out."
            )
        self.whole = found is not None and found.get("ended") == AT_ITS_END
        if found is not None and isinstance(found.get("shown"), int):
            self._facts["shown"] = found["shown"]
        self.kept = 0
        """Rows that are there."""
        self._told = 0

    def begin(self) -> None:
        """Write what is needed before the first row."""
        header = as_lines([vitals_columns(self._units)])
        if self._note.exists() and self.vitals.exists():
            lines = list(csv.reader(io.StringIO(whole_lines(self.vitals))))
            if lines and as_lines(lines[:1]) == header:
                self.kept = len(lines) - 1
        self._write_note()
        if not self.kept:
            self.vitals.unlink(missing_ok=True)
            append_text(self.vitals, header)
            self._write_events()

    def add(self, row: Vitals) -> None:
        """Append a row, unless it is there; once this returns it survives the process."""
        if not self.is_behind:
            append_text(self.vitals, as_lines([vitals_row(row, self._units)]))
        self._told += 1

    def note(self, events: Sequence[Event]) -> None:
        """Write down alarms that were raised or have ended."""
        for event in events:
            self._events[event.kind, event.start] = event
        if events and not self.is_behind:  # else there are more than these
            self._write_events()

    @property
    def is_behind(self) -> bool:
        """Whether an earlier watch had come further than this one has."""
        return self._told < self.kept

    @property
    def shows_more(self) -> bool:
        """Whether the page shows more rows than were told to this watch."""
        return bool(self._facts["shown"] > self._told)

    def note_shown(self) -> None:
        """Note that the page, which is about to be written, shows all rows so far."""
        self._facts["shown"] = self._told
        self._write_note()

    @property
    def alarms(self) -> list[Event]:
        """All alarms so far, by their beginnings."""
        return sorted(self._events.values(), key=lambda event: (event.start, event.kind))

    def finish(self, ended: str, **facts: Any) -> None:
        """Note how it ended, and facts about it."""
        self._facts |= {"ended": ended, **facts}
        if not self.is_behind:
            self._write_events()
        self._write_note()

    def _found(self) -> dict[str, Any] | None:
        """Return the note that is there; refuse what was made otherwise."""
        if not self._note.exists():
            for file in (self.vitals, self.events):
                if file.exists():
                    raise RunError(
                        f"{file}: exists, and nothing says what made it; choose another --out."
                    )
            return None
        try:
            found: dict[str, Any] = json.loads(self._note.read_text("utf-8"))
            was = found["settings"]
            wanted = self._facts["settings"]
            differing = [
                name for name in dict.fromkeys((*was, *wanted)) if was.get(name) != wanted.get(name)
            ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise RunError(
                f"{self._note}: does not say how {VITALS_NAME} was made; delete both, or choose "
                "another --out."
            ) from None
        if differing:
            name = differing[0]
            raise RunError(
                f"{self.vitals}: was made with other settings ({', '.join(differing)}; {name} was "
                f"{was.get(name)!r}, now {wanted.get(name)!r}); choose another --out."
            )
        return found

    def _write_events(self) -> None:
        rows = [list(EVENT_COLUMNS), *(event_row(event) for event in self.alarms)]
        self._write(self.events, as_lines(rows))

    def _write_note(self) -> None:
        self._write(self._note, json.dumps(self._facts, indent=1) + "\n")

    def _write(self, file: Path, text: str) -> None:
        try:
            with replacing(file) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")
        except OSError as error:
            raise DataError(f"{file}: cannot be written ({error.strerror}).") from error
