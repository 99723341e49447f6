"""Where results come from: versions, seeds, machines, fingerprints of data, what an audit said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from cycada.report.methods import spoken
from cycada.report.page import Block, Cell, Section, Table, Text

_DIGITS = 16  # of a fingerprint that are shown
_PRECISIONS: Mapping[str, str] = MappingProxyType(
    {"no": "32 bits", "bf16": "bfloat16", "fp16": "16 bits"}
)

_CHECKS: Mapping[str, str] = MappingProxyType(
    {
        "index": "an index that cannot be read",
        "missing": "files that are not there",
        "corrupt": "files that break off",
        "blank": "images that show nothing",
        "palette": "thermal images in colours",
        "depth": "values that do not fit the depth of the files",
        "unit": "temperatures that no face has",
        "range": "values cut off, faint, or unlike the other domain",
        "duplicates": "a picture in two splits",
        "near duplicates": "nearly the same picture in two splits",
        "subjects": "a subject in two splits",
        "names": "a picture under two names, or names that are nearly alike",
        "prevalence": "labels that never vary",
        "stretch": "contrast stretched frame by frame",
        "luminance": "thermal images made of colour ones",
        "cameras": "several cameras in one set",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Audited:
    """What ``audit.json`` tells."""

    version: str  # of cycada
    indexes: tuple[str, ...]
    images: int
    findings: tuple[tuple[str, str, str], ...]  # severity, check, sentence


def provenance_section(heads: Sequence[tuple[str, Mapping[str, Any]]]) -> Section:
    """Return what each run was made with, and of what.

    Args:
        heads: Name and ``config.json`` of each run, with paths as they are to be shown.
    """
    runs = Table(
        header=("Run", "Versions", "Machine", "Precision", "Seed", "Steps"),
        rows=tuple(_run_row(name, head) for name, head in heads),
        names=4,
        caption="Machine: the kinds of hardware that the run was trained on, in order.",
    )
    return Section(
        title="Provenance",
        intro="What the runs were made with. The same settings, data, versions and machine make "
        "the same weights: bit for bit on a processor, on a GPU nearly so.",
        blocks=(runs, *_inputs(heads)),
    )


def audit_section(audits: Sequence[Audited], *, named: bool) -> Section:
    """Return what audits said of the data.

    Args:
        audits: What was found of it; none is told, too.
        named: Show the sentences, which name files and subjects.
    """
    blocks: list[Block] = []
    if not audits:
        blocks.append(
            Text(
                text="No audit of the data was given to this page. `cycada audit INDEX… --out DIR` "
                "looks for what would spoil a training, and `cycada report` shows it when DIR is "
                "among its paths."
            )
        )
    for audit in audits:
        counts = dict.fromkeys(("error", "warning", "note"), 0)
        for severity, _, _ in audit.findings:
            counts[severity] = counts.get(severity, 0) + 1
        told = ", ".join(
            f"{count} {severity}{'' if count == 1 else 's'}"
            for severity, count in counts.items()
            if count
        )
        of = ", ".join(audit.indexes)
        text = f"{told or 'Nothing was found'} in {audit.images:,} images of {of}."
        blocks.append(Text(text=text[:1].upper() + text[1:], warns=counts["error"] > 0))
        if audit.findings:
            blocks.append(_findings_table(audit, named=named))
    hint = "" if named else " What exactly, and in which files, the page of the audit shows."
    intro = "What `cycada audit` found that may spoil a training or its scores."
    return Section(title="Audit", intro=intro + (hint if audits else ""), blocks=tuple(blocks))


def _findings_table(audit: Audited, *, named: bool) -> Table:
    if named:
        rows = tuple(
            (Cell(text=severity, strong=severity == "error"), Cell(text=check),
             Cell(text=text, prose=True))
            for severity, check, text in audit.findings
        )  # fmt: skip
        return Table(header=("severity", "check", "what"), rows=rows, names=3)
    counts: dict[tuple[str, str], int] = {}
    for severity, check, _ in audit.findings:
        counts[severity, check] = counts.get((severity, check), 0) + 1
    summed = tuple(
        (
            Cell(text=severity, strong=severity == "error"),
            Cell(text=check),
            Cell(text=_CHECKS.get(check, ""), prose=True),
            Cell(text=f"{count:,}"),
        )
        for (severity, check), count in counts.items()
    )
    return Table(header=("severity", "check", "looks for", "findings"), rows=summed, names=3)


def _run_row(name: str, head: Mapping[str, Any]) -> tuple[Cell, ...]:
    versions = ", ".join(
        f"{what} {head[key]}"
        for what, key in (("cycada", "version"), ("PyTorch", "torch"), ("Python", "python"))
        if head.get(key)
    )
    settings = head.get("settings", {})
    machines = [each for each in head.get("machines", ()) if isinstance(each, Mapping)]
    steps = settings.get("steps")
    return (
        Cell(text=spoken(name)),
        Cell(text=versions),
        Cell(text="; ".join(map(_machine, machines)) or "not recorded", prose=True),
        Cell(text="; ".join(dict.fromkeys(map(_precision, machines))) or "\u2013"),
        Cell(text=str(settings.get("seed", "\u2013"))),
        Cell(text=f"{steps:,}" if isinstance(steps, int) else "\u2013"),
    )


def _machine(machine: Mapping[str, Any]) -> str:
    """Return a machine in words."""
    processes, threads = machine.get("processes", 1), machine.get("threads", 1)
    parts = [str(machine.get("gpu") or machine.get("processor") or "unknown")]
    if machine.get("cuda"):
        parts.append(f"CUDA {machine['cuda']}")
    if machine.get("system"):
        parts.append(str(machine["system"]))
    if processes != 1:
        parts.append(f"{processes} processes")
    if machine.get("hosts", 1) != 1:
        parts.append(f"{machine['hosts']} hosts")
    if machine.get("accumulate", 1) != 1:
        parts.append(f"batches in {machine['accumulate']} portions")
    parts.append(f"{threads} thread{'' if threads == 1 else 's'}")
    return ", ".join(parts)


def _precision(machine: Mapping[str, Any]) -> str:
    found = str(machine.get("mixed_precision", "no"))
    return _PRECISIONS.get(found, found)


def _inputs(heads: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterable[Block]:
    """Yield the fingerprints of what the runs read, each once with the runs that did."""
    readers: dict[tuple[str, str], list[str]] = {}
    for name, head in heads:
        for path, fingerprint in head.get("inputs", {}).items():
            readers.setdefault((str(path), str(fingerprint)), []).append(spoken(name))
    if not readers:
        return
    yield Table(
        header=("Read", "Fingerprint (SHA-256)", "By"),
        rows=tuple(
            (
                Cell(text=path),
                Cell(text=fingerprint[:_DIGITS]),
                Cell(text=", ".join(by), prose=True),
            )
            for (path, fingerprint), by in sorted(readers.items())
        ),
        names=3,
        caption="Of an index: paths, subjects, splits and labels of what is learned from, in "
        "their order. Of a run: its weights. Of rejected.csv: which images could not be read and "
        "are left out. Equal fingerprints are equal inputs.",
    )
