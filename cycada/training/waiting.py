"""Whether the steps of a training wait for their images, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from cycada.data.dataset import FaceImages

MUCH = 0.1
"""Share of the steps' time that is worth a word."""

_LOGS = 2  # in a row; the first one has the start of the workers in it


class WaitingForImages:
    """Looks at how long steps wait, and tells once if it is long.

    Where all images are in memory nothing is told, for nothing can be done.
    """

    def __init__(self, parts: Iterable[FaceImages], *, cache_mb: int, workers: int) -> None:
        """Take the images of a training, and the settings of their reading."""
        self._parts, self._cache_mb, self._workers = tuple(parts), cache_mb, workers
        self._long, self._told = 0, False

    def look(self, waiting: float) -> Iterator[str]:
        """Yield a sentence if it is time for it.

        Args:
            waiting: Share of the steps' time since the last look for which they waited.
        """
        self._long = self._long + 1 if waiting > MUCH else 0
        helps = not all(part.cached for part in self._parts)
        if self._long == _LOGS and helps and not self._told:
            self._told = True
            needed = math.ceil(sum(part.decoded_mb for part in self._parts))
            more = 2 * self._workers or 2
            yield (
                f"The steps wait for images for {100 * waiting:.0f} % of their time. "
                f"--set cache_mb={needed} (now {self._cache_mb}) holds them all in memory, "
                f"decoded; --set workers={more} (now {self._workers}) decodes more at once."
            )
