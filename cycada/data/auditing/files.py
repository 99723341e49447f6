"""Files that are missing, broken, blank, in false colours, or of other values than stated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from cycada.data.auditing.finding import Check, Example, Finding, some
from cycada.data.auditing.looks import PALETTE, Seen
from cycada.data.index import Domain
from cycada.thermal import Unit, celsius_from_counts, guess_unit

_SAME_KELVIN = 0.25  # between the 1 % and 99 % quantiles: a closed shutter, with its noise
_MOSTLY = 0.5  # share of blank images from which nothing can be learned
_COLDEST, _HOTTEST = -20.0, 80.0  # deg C that the median of a frame with a face cannot leave
_LARGEST_BYTE = 255
_SHOWN = 6


class Fault(NamedTuple):
    """What is wrong with one file."""

    check: Check
    what: str  # ends the sentence "3 of 40 images ..."
    advice: str
    detail: str = ""  # of this file alone


def audit_files(seen: Sequence[Seen]) -> list[Finding]:
    """Return what is wrong with single files, each kind of fault once for each set."""
    found = []
    for (root, domain), rows in sets_of(seen).items():
        name = f"{domain} images of {root}"
        groups: dict[tuple[Check, str, str], list[tuple[Seen, str]]] = {}
        for one in rows:
            fault = fault_of(one)
            if fault is not None:
                groups.setdefault(fault[:3], []).append((one, fault.detail))
        found += [_finding(kind, bad, len(rows), name) for kind, bad in groups.items()]
        found += _grey_in_three_channels(rows, name)
    return found


def fault_of(one: Seen) -> Fault | None:  # noqa: PLR0911  # one kind of fault after the other
    """Return the first thing that is wrong with a file, ``None`` if nothing is."""
    look, domain, unit = one.look, one.face.domain, one.info.unit
    thermal = domain == "thermal"
    if look.length < 0:
        return Fault("missing", "are missing", "restore them, or index what is there")
    if look.problem:
        advice = "restore them, or index again, which sets them aside"
        return Fault("corrupt", "cannot be read", advice, look.problem)
    if thermal and look.colour > PALETTE:
        return Fault(
            "palette", "are in colour, as a palette such as iron makes them",
            "a palette is no temperature scale: export them in grey or with 16 bits",
        )  # fmt: skip
    if thermal and unit != "grey" and look.bits == 8:
        return Fault(
            "depth", f"are 8-bit images, which cannot count {unit}",
            'export temperatures with 16 bits, or write unit = "grey"',
        )  # fmt: skip
    if look.bits == 32 and (unit == "grey" or not thermal):
        advice = "save them with 8 or 16 bits" + (", or state their unit" if thermal else "")
        return Fault("depth", "hold floats, whose range is unknown", advice)
    if look.bits == 16 and look.high <= _LARGEST_BYTE and look.low < look.high:
        return Fault(
            "depth", "hold values from 0 to 255 in files of 16 bits", "save them as 8 bits"
        )
    if look.bits == 8 and look.high == 1 and look.low == 0:
        return Fault("depth", "hold values from 0 to 1 in 8 bits", "multiply them by 255")
    if _blank(one):
        return Fault("blank", "show nothing", "leave them out of the index")
    if thermal and unit != "grey":
        return _wrong_unit(one)
    return None


def sets_of(seen: Iterable[Seen]) -> dict[tuple[Path, Domain], list[Seen]]:
    """Return the rows by index and domain."""
    sets: dict[tuple[Path, Domain], list[Seen]] = {}
    for one in seen:
        sets.setdefault((one.root, one.face.domain), []).append(one)
    return sets


def celsius(value: float, unit: Unit) -> float:
    """Return the temperature in deg C that a pixel stands for."""
    return float(celsius_from_counts(torch.tensor(value, dtype=torch.float64), unit))


def _finding(
    kind: tuple[Check, str, str], bad: Sequence[tuple[Seen, str]], total: int, name: str
) -> Finding:
    check, what, advice = kind
    files = some([f"{one.place}{f' ({detail})' if detail else ''}" for one, detail in bad])
    harmless = check == "blank" and len(bad) <= _MOSTLY * total
    return Finding(
        severity="warning" if harmless else "error",
        check=check,
        text=f"{name}: {len(bad)} of {total} {what} ({files}); {advice}.",
        examples=tuple(Example((one.file,), detail or what) for one, detail in bad[:_SHOWN]),
        splits=frozenset(one.face.split for one, _ in bad),
    )


def _blank(one: Seen) -> bool:
    look, unit = one.look, one.info.unit
    if look.bits == 8:
        return look.high - look.low <= 1
    if one.face.domain == "rgb" or unit == "grey":
        return look.high == look.low
    return celsius(look.bright, unit) - celsius(look.dark, unit) < _SAME_KELVIN


def _wrong_unit(one: Seen) -> Fault | None:
    look, unit = one.look, one.info.unit
    degrees = celsius(look.median, unit)
    if _COLDEST <= degrees <= _HOTTEST:
        return None
    better = guess_unit(look.median, integer=look.bits == 16)
    return Fault(
        "unit",
        f"have temperatures that no face has if their unit is {unit}",
        f"their values look like {better}: state it with --unit"
        if better
        else "state their unit, or scale raw counts to temperatures first",
        f"median {degrees:.0f} deg C",
    )


def _grey_in_three_channels(rows: Sequence[Seen], name: str) -> list[Finding]:
    """Return a note on thermal images that were saved as if they were in colour."""
    grey = [
        one for one in rows
        if one.face.domain == "thermal" and one.look.channels == 3 and one.look.colour <= PALETTE
    ]  # fmt: skip
    if not grey:
        return []
    return [
        Finding(
            severity="note",
            check="palette",
            text=f"{name}: {len(grey)} of {len(rows)} are grey in three channels; "
            "cameras write one, so look what has converted them, and from what.",
            splits=frozenset(one.face.split for one in grey),
        )
    ]
