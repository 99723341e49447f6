"""What an audit says: how bad it is, which check found it, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from cycada.data.index import SPLITS, Split

Severity = Literal["error", "warning", "note"]
"""``error``: training on it makes no sense, or its scores would. ``warning``: it may do harm.
``note``: worth knowing."""

Check = Literal[
    "index",
    "missing",
    "corrupt",
    "blank",
    "palette",
    "depth",
    "unit",
    "range",
    "duplicates",
    "near duplicates",
    "subjects",
    "names",
    "prevalence",
    "stretch",
    "luminance",
    "cameras",
]

SEVERITIES: tuple[Severity, ...] = get_args(Severity)

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Example:
    """Images that show a finding, to be looked at side by side."""

    files: tuple[Path, ...]
    reason: str  # a few words


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong with a dataset, or may be."""

    severity: Severity
    check: Check
    text: str  # a sentence: where, what, and what to do
    examples: tuple[Example, ...] = ()  # the worst first
    splits: frozenset[Split] = frozenset(SPLITS)  # whose images it is about

    @property
    def fatal(self) -> bool:
        """Whether a training on it makes no sense."""
        return self.severity == "error"


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings, the worst first, otherwise in their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def some(names: Sequence[object], *, most: int = _NAMED) -> str:
    """Return the first names as a list in words, and how many more there are."""
    more = len(names) - most
    listed = ", ".join(map(str, names[:most]))
    return f"{listed} and {more} more" if more > 0 else listed
