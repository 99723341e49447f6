"""Progress bars with the figures that matter."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")

_FIRST_LINE, _NEXT_LINE = 10.0, 60.0  # seconds between lines in a file, which no one watches
_SHORTEST_BAR = 2  # columns
_SMOOTHING = 0.1  # weight of the newest speed; 1 forgets all before
_MINUTE, _HOUR, _DAY = 60, 3600, 86400  # seconds


class Progress:
    """Shows how far loops are, on standard error; silent where it is not wanted.

    A terminal gets a bar of one line, a file a line now and then.
    """

    def __init__(self, *, shown: bool, label: str = "", line: int | None = None) -> None:
        """Show bars, or nothing (other processes than the main one, tests).

        Args:
            shown: Whether anything is shown.
            label: What the bars are about, where others are shown beside them.
            line: Where they are shown, counted from 0, if several processes show theirs.
        """
        self.shown, self.label, self.line = shown, label, line
        self._figures: dict[str, float] = {}
        self._bar: Any = None

    def __call__(
        self, items: Iterable[T], *, total: int | None, desc: str, done: int = 0, images: int = 0
    ) -> Iterator[T]:
        """Yield the items, counting from ``done`` to ``total``; the time left is shown if known.

        Args:
            items: What is worked on.
            total: How many there are, those that were done before among them.
            desc: What is done.
            done: How many were done before.
            images: How many images an item is, over all processes, where the speed is told in
                images; else it is told in items.
        """
        if not self.shown:
            yield from items
            return
        name = self.label or desc
        if self.label and not images:  # a training is named by its label already
            name = f"{self.label}: {desc}"
        self._figures.clear()
        if sys.stderr.isatty():
            yield from self._as_bar(items, total=total, name=name, done=done, images=images)
        else:
            yield from self._as_lines(items, total=total, name=name, done=done, images=images)

    def show(self, figures: Mapping[str, float]) -> None:
        """Show the newest figures at the end of the bar, in their order; others stay."""
        self._figures.update(figures)
        if self._bar is not None:
            self._bar.refresh()

    def say(self, text: str) -> None:
        """Print a line, such as the name of the next stage."""
        if self.shown:
            # Another process may have left the cursor behind a bar of its own.
            clear = "\r\x1b[K" if sys.stderr.isatty() else ""
            tqdm.write(clear + text, file=sys.stderr)

    def _as_bar(
        self, items: Iterable[T], *, total: int | None, name: str, done: int, images: int
    ) -> Iterator[T]:
        kind: Any = _TrainingBar if images else tqdm
        self._bar = kind(
            items, total=total, initial=done, desc=name, position=self.line,
            leave=self.line is None, dynamic_ncols=True, mininterval=0.5, smoothing=_SMOOTHING,
            bar_format="{head} {bar} {tail}" if images else None,
        )  # fmt: skip
        if images:
            self._bar.images, self._bar.figures = images, self._figures
        try:
            yield from self._bar
        finally:
            self._bar.close()
            self._bar = None

    def _as_lines(
        self, items: Iterable[T], *, total: int | None, name: str, done: int, images: int
    ) -> Iterator[T]:
        began = last = time.monotonic()
        count, told, wait = done, done, _FIRST_LINE
        for item in items:
            yield item
            count += 1
            now = time.monotonic()
            if now - last < wait or count == total:
                continue
            speed = (count - told) / (now - last)
            left = "" if total is None else f"{duration((total - count) / speed)} left"
            self._write(name, count, total, left, speed * images, self._figures)
            last, told, wait = now, count, _NEXT_LINE
        took = time.monotonic() - began
        if count > done and (images or told > done):
            speed = (count - done) * images / max(took, 1e-9)
            self._write(name, count, total, f"in {duration(took)}", speed, self._figures)

    def _write(
        self, name: str, count: int, total: int | None, when: str, speed: float,
        figures: Mapping[str, float],
    ) -> None:  # fmt: skip
        parts = [name, _of(count, total), when, *_speed(speed), *_shortly(figures)]
        self.say(" ".join(part for part in parts if part))


class _TrainingBar(tqdm):  # type: ignore[type-arg]
    """A bar that tells the speed in images, and as many figures as there is room for."""

    images = 1
    figures: Mapping[str, float] = {}

    @property
    def format_dict(self) -> dict[str, Any]:
        """Return what tqdm writes, with what is before and behind the bar."""
        found = super().format_dict
        made, elapsed = found["n"] - found["initial"], found["elapsed"]
        rate = found["rate"] or (made / elapsed if made and elapsed else 0.0)
        left = (found["total"] - found["n"]) / rate if rate else None
        head = f"{found['prefix'].rstrip(': ')} {_of(found['n'], found['total'])}"
        tail = ["" if left is None else f"{duration(left)} left", *_speed(rate * self.images)]
        room = (found["ncols"] or sys.maxsize) - len(head) - _SHORTEST_BAR - 2
        for figure in _shortly(self.figures):
            if len(" ".join([*tail, figure])) > room:
                break
            tail.append(figure)
        return {**found, "head": head, "tail": " ".join(part for part in tail if part)}


def duration(seconds: float) -> str:
    """Return a time in the two units that matter, such as ``1h05m``."""
    whole = round(seconds)
    for unit, letters in ((_DAY, "dh"), (_HOUR, "hm"), (_MINUTE, "ms")):
        if whole >= unit:
            smaller = {"h": _HOUR, "m": _MINUTE, "s": 1}[letters[1]]
            return f"{whole // unit}{letters[0]}{whole % unit // smaller:02d}{letters[1]}"
    return f"{whole}s"


def _of(count: int, total: int | None) -> str:
    return str(count) if total is None else f"{count}/{total}"


def _speed(images: float) -> list[str]:
    """Return images per second in three digits, or nothing where it is not known."""
    if not images:
        return []
    return [f"{images:.0f} img/s" if images >= 100 else f"{images:.3g} img/s"]


def _shortly(figures: Mapping[str, float]) -> list[str]:
    return [f"{name} {value:.2g}" for name, value in figures.items()]


def share_lines(lock: Any) -> None:
    """Let processes take turns at the terminal; all must be given the same lock."""
    tqdm.set_lock(lock)
