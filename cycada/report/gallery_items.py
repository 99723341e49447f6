"""What a gallery knows of its faces: kinds of pictures, figures, Action Units, and each face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One kind of picture of every item."""

    key: str  # "source", "made", "again", "truth", "nearest" or "image"
    label: str
    kind: Literal["rgb", "thermal"]
    of: str = ""  # key of the view that it should equal: makes a view of the difference


@dataclass(frozen=True, kw_only=True, slots=True)
class FigureColumn:
    """A figure of every item, to sort by and to show."""

    key: str
    label: str
    worst: Literal["high", "low"]
    note: str = ""  # one sentence: what it is


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitColumns:
    """Action Units or classes that a detector tells."""

    names: tuple[str, ...]
    meanings: tuple[str, ...]
    thresholds: tuple[float, ...]  # probability from which on a unit counts as present
    sides: tuple[str, ...]  # keys of the views that were read
    exclusive: bool = False  # classes: the most probable one holds, whatever the thresholds


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One face and all that is known of it.

    Attributes:
        name: Path as in the index; shown only where subjects are, else known by its digest.
        subject: Empty unless subjects are shown.
        pictures: By view, ``(3 or 1, H, W)`` float32 in [-1, 1]; a view may be missing.
        figures: By column; NaN or absent where unknown.
        true: For each unit 1, 0 or ``None`` (unknown); empty where there are no units.
        probability: By side, for each unit a probability in [0, 1] or ``None``.
        activation: By side and unit, ``(h, w)`` in [0, 1], at most 16 x 16.
    """

    name: str
    split: str = ""
    domain: str = ""
    subject: str = ""
    pictures: Mapping[str, Tensor]
    figures: Mapping[str, float] = field(default_factory=dict)
    true: Sequence[float | None] = ()
    probability: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    activation: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
