"""Progress bars with the figures that matter."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")


class Progress:
    """Shows how far loops are, on standard error; silent where it is not wanted."""

    def __init__(self, *, shown: bool, label: str = "", line: int | None = None) -> None:
        """Show bars, or nothing (other processes than the main one, tests).

        Args:
            shown: Whether anything is shown.
            label: What the bars are about, where others are shown beside them.
            line: Where they are shown, counted from 0, if several processes show theirs.
        """
        self.shown, self.label, self.line = shown, label, line
        self._bar: Any = None

    def __call__(
        self, items: Iterable[T], *, total: int | None, desc: str, done: int = 0
    ) -> Iterator[T]:
        """Yield the items, counting from ``done`` to ``total``; the time left is shown if known."""
        self._bar = tqdm(
            items, total=total, initial=done, disable=not self.shown,
            desc=f"{self.label}: {desc}" if self.label else desc,
            # A file has no lines to go back to.
            position=self.line if sys.stderr.isatty() else None, leave=self.line is None,
            dynamic_ncols=True, mininterval=0.5, smoothing=0.1,
        )  # fmt: skip
        try:
            yield from self._bar
        finally:
            self._bar.close()

    def show(self, figures: Mapping[str, float]) -> None:
        """Show the newest figures at the end of the bar."""
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.3g}" for name, value in figures.items()})

    def say(self, text: str) -> None:
        """Print a line, such as the name of the next stage."""
        if self.shown:
            # Another process may have left the cursor behind a bar of its own.
            clear = "\r\x1b[K" if sys.stderr.isatty() else ""
            tqdm.write(clear + text, file=sys.stderr)


def share_lines(lock: Any) -> None:
    """Let processes take turns at the terminal; all must be given the same lock."""
    tqdm.set_lock(lock)
