"""Audit indexes: all that would spoil a training, as a list, a file and a page to look at."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import cycada
from cycada import image_reading, images
from cycada.data.auditing.files import fault_of
from cycada.data.auditing.finding import SEVERITIES, Example, Finding, by_severity
from cycada.data.auditing.labels import audit_labels
from cycada.data.auditing.looks import PALETTE, Seen, look_at, look_at_all
from cycada.data.index import Index, read_index
from cycada.data.index_checks import check_links
from cycada.errors import DataError
from cycada.files import replacing
from cycada.progress import Progress
from cycada.report.images import rgb_uri, thermal_uri
from cycada.report.page import (
    Block,
    Cell,
    Figure,
    Page,
    Section,
    Strip,
    StripRow,
    Table,
    Text,
    Tile,
    write_page,
)
from cycada.stages.auditing import audit_images, audit_pixels, face_images

JSON_NAME = "audit.json"
PAGE_NAME = "audit.html"

_SIZE = 64  # px at which the values are looked at as networks see them
_TILES = 6  # side by side


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found."""

    paths: tuple[Path, ...]  # of the indexes
    seen: tuple[Seen, ...]
    findings: tuple[Finding, ...]  # the worst first

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.fatal for finding in self.findings)


def audit(paths: Sequence[Path], *, allow_outside: bool = False, progress: Progress) -> Audit:
    """Look for everything that would spoil a training on indexes, used one by one or together.

    An index that cannot be read is a finding, too, and the others are looked at all the same.
    """
    indexes: list[Index] = []
    findings: list[Finding] = []
    for path in paths:
        try:
            index = read_index(path, one_split=False, allow_outside=allow_outside)
            check_links(index)
            indexes.append(index)
        except DataError as error:  # noqa: PERF203  # a few indexes
            findings.append(Finding(severity="error", check="index", text=str(error)))
    seen = look_at_all(indexes, progress=progress)
    findings += audit_images(seen)
    sound = [one for one in seen if fault_of(one) is None]
    try:
        rgb, thermal = (face_images(sound, domain, size=_SIZE) for domain in ("rgb", "thermal"))
        findings += audit_pixels(rgb, thermal)
    except DataError as error:  # a file that was changed while it was looked at
        findings.append(Finding(severity="error", check="corrupt", text=str(error)))
    for index in indexes:
        findings += audit_labels(index)
    return Audit(tuple(paths), tuple(seen), tuple(by_severity(findings)))


def summary(found: Audit) -> str:
    """Return one line: how many findings of each kind, in how many images of which indexes."""
    counts = [
        f"{count} {severity}{'' if count == 1 else 's'}"
        for severity in SEVERITIES
        if (count := sum(finding.severity == severity for finding in found.findings))
    ]
    where = f"{len(found.seen):,} images of {', '.join(map(str, found.paths))}"
    return f"{', '.join(counts) or 'Nothing found'} in {where}."


def write_audit(found: Audit, out: Path) -> Path:
    """Write ``audit.json`` and ``audit.html`` with the images concerned; return the page.

    Raises:
        CycadaError: They cannot be written.
    """
    findings = [
        {
            "severity": finding.severity,
            "check": finding.check,
            "text": finding.text,
            "splits": sorted(finding.splits),
            "examples": [
                {"files": [str(file) for file in example.files], "reason": example.reason}
                for example in finding.examples
            ],
        }
        for finding in found.findings
    ]
    told = {
        "cycada": cycada.__version__,
        "indexes": [str(path) for path in found.paths],
        "images": len(found.seen),
        "findings": findings,
    }
    page = out / PAGE_NAME
    write_page(page, _page(found))  # makes the folder
    with replacing(out / JSON_NAME, lone=True) as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return page


def _page(found: Audit) -> Page:
    known = {one.file: one for one in found.seen}
    rows = tuple(
        (Cell(text=finding.severity, strong=finding.fatal), Cell(text=finding.check),
         Cell(text=finding.text, prose=True))
        for finding in found.findings
    )  # fmt: skip
    table = Table(header=("severity", "check", "what, where, and what to do"), rows=rows, names=3)
    pictured = [
        Section(
            title=f"{finding.severity.capitalize()}: {finding.check}",
            intro=finding.text,
            blocks=_pictures(finding.examples, known),
        )
        for finding in found.findings
        if finding.examples
    ]
    nothing: Block = Text(text="Nothing was found that would spoil a training.")
    return Page(
        title="Audit",
        subtitle=summary(found),
        figures=tuple(
            Figure(
                value=str(sum(finding.severity == severity for finding in found.findings)),
                label=f"{severity}s",
                accent=severity == "error",
            )
            for severity in SEVERITIES
        ),
        sections=(Section(title="Findings", blocks=(table if rows else nothing,)), *pictured),
        provenance=(("cycada", cycada.__version__),),
    )


def _pictures(examples: Sequence[Example], known: dict[Path, Seen]) -> tuple[Block, ...]:
    """Return a row of pictures for each example, and in words those that cannot be shown."""
    rows, words = [], []
    for example in examples:
        tiles = [tile for file in example.files[:_TILES] if (tile := _tile(file, known))]
        names = ", ".join(_short(file) for file in example.files[:_TILES])
        if tiles:
            rows.append(StripRow(label=example.reason, note=names, tiles=tuple(tiles)))
        else:
            words.append(Text(text=f"{names}: {example.reason}."))
    strips = (Strip(rows=tuple(rows)),) if rows else ()
    return (*strips, *words)


def _short(file: Path) -> str:
    """Return the name of a file and of its folder: enough beside a picture."""
    return "/".join(Path(os.path.normpath(file)).parts[-2:])


def _tile(file: Path, known: dict[Path, Seen]) -> Tile | None:
    """Return an image as it is, temperatures within the window; ``None`` if it cannot be read."""
    one = known.get(file)
    look = one.look if one else look_at(file)
    if look.problem:
        return None
    image = image_reading.read_image(file)
    thermal = one.face.domain == "thermal" if one else look.bits > 8
    if one and thermal and one.info.unit != "grey" and look.bits > 8:
        shown = images.to_signed(image, unit=one.info.unit, window=one.info.window)
    elif look.bits == 8:
        shown = images.to_signed(image)
    else:  # without a scale of its own
        span = max(look.high - look.low, 1e-6)
        shown = (image.to(torch.float32) - look.low) / span * 2 - 1
    if thermal and look.colour <= PALETTE:
        return Tile(uri=thermal_uri(shown), alt=file.name, thermal=True)
    return Tile(uri=rgb_uri(shown), alt=file.name)
