"""Progress bars with the figures that matter."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")


class Progress:
    """Shows how far loops are, on standard error; silent where it is not wanted."""

    def __init__(self, *, shown: bool) -> None:
        """Show bars, or nothing (other processes than the main one, tests)."""
        self.shown = shown
        self._bar: Any = None

    def __call__(self, items: Iterable[T], *, total: int, desc: str, done: int = 0) -> Iterator[T]:
        """Yield the items, counting from ``done`` to ``total``; the time left is shown."""
        self._bar = tqdm(
            items, total=total, initial=done, desc=desc, disable=not self.shown,
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
            tqdm.write(text, file=sys.stderr)
