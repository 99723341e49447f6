"""Labelled and unlabelled faces as batches for the detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cycada import images
from cycada.config import AugmentConfig, DetectorConfig
from cycada.data.augment import Changes, apply_changes, draw_changes, move_points
from cycada.data.dataset import FaceImages, signed
from cycada.data.sampling import Order, Share, generator
from cycada.losses.labels import answer_weights
from cycada.task import Task


class Labelled(NamedTuple):
    """A batch of faces with what is known of their AUs or classes."""

    images: Tensor  # (B, C, S, S) in [-1, 1]
    labels: Tensor  # (B, A) 0 or 1
    known: Tensor  # (B, A) bool
    landmarks: Tensor | None = None  # (B, K, 2) px, NaN where unknown; None where not asked for


class Examples:
    """Faces of one or more sets, numbered through, with labels for the answers of ``task``."""

    def __init__(
        self,
        parts: Sequence[FaceImages],
        *,
        labels: Tensor,
        known: Tensor,
        task: Task,
        channels: int,
        intensities: Tensor | None = None,
        landmarks: Tensor | None = None,
        mirror_order: Sequence[int] = (),
    ) -> None:
        """Join ``parts``; ``labels`` and ``known`` are ``(N, A)`` over all of them.

        ``intensities``, of what was graded, are ``(N, A)`` from 0 to 5, NaN where unknown.
        ``landmarks``, where they are asked for, are ``(N, K, 2)`` px, NaN where unknown, and
        ``mirror_order`` says which of a face's points is which of its mirror image's.
        """
        self.parts, self.labels, self.known = tuple(parts), labels, known
        self.intensities = intensities
        self.landmarks, self.mirror_order = landmarks, list(mirror_order)
        self.task, self.channels = task, channels
        self._starts = torch.tensor([0, *(len(part) for part in parts)]).cumsum(0)
        self._partner = task.partners()

    def __len__(self) -> int:
        """Return the number of faces."""
        return int(self._starts[-1])

    @property
    def cached(self) -> bool:
        """Whether all decoded images are in memory."""
        return all(part.cached for part in self.parts)

    def subjects(self) -> set[str]:
        """Return the names of all subjects."""
        return set(self.subject_of())

    def subject_of(self) -> list[str]:
        """Return the subject of every face, in order."""
        return [face.subject for part in self.parts for face in part.faces]

    def batch(self, numbers: Tensor) -> Labelled:
        """Return the faces ``numbers``, images in [-1, 1]."""
        pictures: list[Tensor | None] = [None] * len(numbers)
        for part, first, last in zip(self.parts, self._starts, self._starts[1:], strict=False):
            rows = ((numbers >= first) & (numbers < last)).nonzero().squeeze(1)
            if len(rows):
                stored = part.batch(numbers[rows] - first)
                converted = images.with_channels(signed(stored), self.channels)
                for row, picture in zip(rows.tolist(), converted, strict=True):
                    pictures[row] = picture
        return Labelled(
            torch.stack([p for p in pictures if p is not None]),
            self.labels[numbers],
            self.known[numbers],
            None if self.landmarks is None else self.landmarks[numbers],
        )

    def mirror(self, labels: Tensor, known: Tensor, flipped: Tensor) -> tuple[Tensor, Tensor]:
        """Swap left and right AUs of the flipped faces; a missing partner becomes unknown."""
        partner = torch.tensor(self._partner)
        other = (partner >= 0)[None] & flipped[:, None].cpu()
        other, partner = (
            tensor.to(labels.device, non_blocking=True) for tensor in (other, partner.clamp(min=0))
        )
        lost = (torch.tensor(self._partner) < 0)[None] & flipped[:, None].cpu()
        labels = torch.where(other, labels[:, partner], labels)
        known = torch.where(other, known[:, partner], known)
        known = known & ~lost.to(known.device, non_blocking=True)
        return labels, known


@dataclass(frozen=True, slots=True)
class Frequencies:
    """What the labels of the source say of how often each answer occurs; ``(A,)`` each."""

    weight: Tensor  # in the loss, to offset rarity
    expected: Tensor  # frequency to be expected in the target

    @classmethod
    def of(cls, source: Examples, config: DetectorConfig) -> Frequencies:
        """Count: AUs are expected as often as in the source, classes all alike."""
        labels, known, kind = source.labels, source.known, source.task.kind
        weight = answer_weights(labels, known, config.positive_weight, kind=kind)
        share = torch.full_like(weight, 1 / len(source.task))
        if kind == "action_units":
            share = (labels * known).sum(0) / known.sum(0).clamp(min=1)
        return cls(weight, share)

    def to(self, device: torch.device, dtype: torch.dtype) -> Frequencies:
        """Return the same on a device."""
        return Frequencies(self.weight.to(device, dtype), self.expected.to(device, dtype))


class Mixture:
    """What each step sees: mostly source faces, a share of labelled target faces."""

    def __init__(
        self, source: Examples, extra: Examples | None, *, share: Share, extra_share: float,
        seed: int,
    ) -> None:  # fmt: skip
        """Take ``extra_share`` of the lanes, at least one, from ``extra`` where there is any."""
        self.source, self.extra, self.share = source, extra, share
        count = 0
        if extra is not None:
            count = min(max(1, round(extra_share * share.lanes)), share.lanes - 1)
        self._source_order = Order(len(source), share.lanes - count, seed=seed, stream="source")
        self._extra_order = (
            None if extra is None else Order(len(extra), count, seed=seed, stream="extra")
        )

    def batch(self, step: int) -> Labelled:
        """Return this process's part of the batch of ``step``."""
        source, first, last = self._source_order(step), self.share.first, self.share.last
        parts = [self.source.batch(source[first:last])] if first < len(source) else []
        if self.extra is not None and self._extra_order is not None and last > len(source):
            extra = self._extra_order(step)
            parts.append(self.extra.batch(extra[max(first - len(source), 0) : last - len(source)]))
        landmarks = [part.landmarks for part in parts if part.landmarks is not None]
        return Labelled(
            torch.cat([part.images for part in parts]),
            torch.cat([part.labels for part in parts]),
            torch.cat([part.known for part in parts]),
            torch.cat(landmarks) if landmarks else None,
        )


def augmented(
    batch: Labelled,
    examples: Examples,
    config: AugmentConfig,
    *,
    share: Share,
    key: tuple[int | str, ...],
) -> tuple[Labelled, Changes]:
    """Return the batch with random changes that depend on ``key`` and the lane alone, and these."""
    size = batch.images.shape[-1]
    changes = draw_changes(share.lanes, config, size=size, generator=generator(*key)).rows(
        share.first, share.last
    )
    labels, known = examples.mirror(batch.labels, batch.known, changes.flipped)
    landmarks = batch.landmarks
    if landmarks is not None:
        landmarks = move_points(landmarks, changes, examples.mirror_order)
    return Labelled(apply_changes(batch.images, changes), labels, known, landmarks), changes
