"""Sums over the translations of a set, for what is said of all of them together."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cycada.metrics import translation as metrics
from cycada.metrics.face_regions import PartValues
from cycada.metrics.flips import FlipCounts
from cycada.metrics.nearest import CELLS, coarse
from cycada.report.findings import Flips, Translated
from cycada.stages.report_readers import Readers
from cycada.stages.report_reading import Reading
from cycada.thermal import Window


class Seen:
    """Sums over images of one kind; no more memory for more of them."""

    def __init__(self, channels: int, size: int) -> None:
        """Begin without images."""
        self.values = PartValues()
        self._sum = torch.zeros(channels, size, size, dtype=torch.float64)
        self._cells = torch.zeros(CELLS**2, dtype=torch.float64)
        self._squares = torch.zeros(CELLS**2, dtype=torch.float64)

    @property
    def count(self) -> int:
        """Images so far."""
        return self.values.images

    def add(self, pictures: Tensor, masks: Tensor | None = None) -> None:
        """Add ``(B, C, S, S)``, and masks of the parts of their faces."""
        self.values.add(pictures, masks)
        self._sum += pictures.double().sum(0)
        cells = coarse(pictures).double()
        self._cells += cells.sum(0)
        self._squares += cells.square().sum(0)

    def mean(self) -> Tensor:
        """Return the mean image."""
        return (self._sum / max(self.count, 1)).float()

    def spread(self) -> float:
        """Return how much images differ: the deviation of their cells, root mean square."""
        if self.count < 2:  # one image does not differ
            return math.nan
        mean = self._cells / self.count
        variance = self._squares / self.count - mean.square()
        return float(variance.clamp(min=0).mean().sqrt())


class Summary:
    """What is seen of a translator's RGB faces, taken together."""

    def __init__(self, size: int, readers: Readers | None) -> None:
        """Begin without faces."""
        self.readers = readers
        self.source, self.made, self.true = Seen(3, size), Seen(1, size), Seen(1, size)
        units = len(readers.task) if readers is not None else 0
        self.flips, self.true_flips = FlipCounts(units), FlipCounts(units)
        self._luminance: dict[str, list[float]] = {"made": [], "true": [], "follows": []}

    @property
    def faces(self) -> int:
        """Faces so far."""
        return self.made.count

    def add(
        self, source: Tensor, made: Tensor, truth: Tensor | None, masks: Tensor | None,
        read: Reading,
    ) -> None:  # fmt: skip
        """Add a batch.

        Args:
            source: ``(B, 3, S, S)``.
            made: ``(B, 1, S, S)``.
            truth: ``(B, 1, S, S)``, NaN where a face has none.
            masks: Of the parts of the faces.
            read: What readers say of ``source``, ``made`` and ``truth``.
        """
        self.source.add(source)
        self.made.add(made, masks)
        self._luminance["made"] += metrics.luminance_correlation(source, made).tolist()
        if {"source", "made"} <= set(read.decided):
            self.flips.add(read.decided["source"], read.decided["made"])
        if truth is None:
            return
        there = ~truth.isnan().flatten(1).any(1)
        self.true.add(truth[there], None if masks is None else masks[there])
        true = metrics.luminance_correlation(source[there], truth[there])
        self._luminance["true"] += true.tolist()
        self._luminance["follows"] += metrics.correlation(made[there], truth[there]).tolist()
        if {"source", "truth"} <= set(read.decided):
            self.true_flips.add(read.decided["source"][there], read.decided["truth"][there])

    def result(self, real: Seen | None, *, window: Window | None) -> Translated:
        """Return all that is said of the faces, beside their true images or else real faces.

        Args:
            real: Other real thermal faces, if there are any.
            window: Temperatures of -1 and 1.
        """
        paired = self.true.count * 2 > self.faces or (real is None and self.true.count > 0)
        beside = self.true if paired else real
        means = {
            key: sum(values) / len(values) if values else math.nan
            for key, values in self._luminance.items()
        }
        usual = math.nan if beside is None else beside.spread()
        flips, missing = self._flips()
        return Translated(
            faces=self.faces,
            window=window,
            luminance_made=means["made"],
            luminance_true=means["true"],
            follows_truth=means["follows"],
            mean_source=self.source.mean(),
            mean_made=self.made.mean(),
            mean_real=None if beside is None else beside.mean(),
            made=self.made.values,
            real=PartValues() if beside is None else beside.values,
            real_is="their true thermal images" if paired else "real thermal faces",
            paired=paired,
            spread=self.made.spread() / usual if usual else math.nan,
            flips=flips,
            flips_missing=missing,
        )

    def _flips(self) -> tuple[Flips | None, str]:
        if self.readers is None or self.readers.thermal is None:
            return None, (
                "What becomes of Action Units cannot be told without a detector that reads thermal "
                "faces: give the run of one beside the translator."
            )
        if self.readers.rgb is None:
            return None, (
                "What becomes of Action Units cannot be told without a detector that reads RGB "
                "faces: give the run of one beside the translator."
            )
        return (
            Flips(
                names=self.readers.task.names,
                made=self.flips,
                true=self.true_flips if self.true_flips.faces else None,
                read_by=self.readers.told(),
            ),
            "",
        )
