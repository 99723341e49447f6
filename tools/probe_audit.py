"""Measure what the audit finds and what it takes for a fault, on images of your own.

``portraits``: colour portraits of different people. They are dealt to splits again and again,
which should give no near duplicate; then every tenth is changed (mirrored, in JPEG of quality 10,
...) and put into another split under another name, which should give one each.

``clips``: CPTV files of a radiometric camera. As they are, and in fixed windows of 8 bits, no
sequence should seem stretched; stretched frame by frame, each should.

    python tools/probe_audit.py portraits faces
    python tools/probe_audit.py clips recordings
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cycada import image_reading, image_writing, images, thermal
from cycada.data.auditing.alike import same_pictures
from cycada.data.auditing.duplicates import audit_duplicates
from cycada.data.auditing.looks import Seen, look_at
from cycada.data.auditing.sequences import is_stretched
from cycada.data.index import Face, IndexInfo
from cycada.data.splits import split_subjects
from cycada.thermal import Window

_DEALS = 10
_EVERY = 10  # portraits, of which one is changed
_FRAMES = 40  # of a clip
_WINDOWS = ((20, 36), (23, 33), (25, 30), (28, 34))  # deg C


def _seen(file: Path, subject: str, **more: object) -> Seen:
    face = Face(path=file.name, domain="rgb", subject=subject, split="train")
    info = IndexInfo(kind="none")
    return Seen(replace(face, **more), file, file.parent, info, look_at(file))  # type: ignore[arg-type]


def _shifted(picture: Tensor, pixels: int) -> Tensor:
    return picture[:, pixels:, pixels:]


def _blurred(picture: Tensor) -> Tensor:
    for _ in range(3):
        picture = F.avg_pool2d(picture, 5, stride=1, padding=2, count_include_pad=False)
    return picture


CHANGES: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "saved as JPEG": (".jpg", lambda p: p),
    "mirrored": (".png", lambda p: p.flip(-1)),
    "half the size": (".png", lambda p: images.resize(p, p.shape[-1] // 2)),
    "48 px": (".png", lambda p: images.resize(p, 48)),
    "blurred": (".png", _blurred),
    "gamma 0.5": (".png", lambda p: 255 * (p / 255) ** 0.5),
    "brighter, clipped": (".png", lambda p: 1.4 * p),
    "in grey": (".png", lambda p: images.with_channels(p, 1)),
    "noise of 10": (".png", lambda p: p + 10 * torch.randn(p.shape)),
    "shifted by 1 px": (".png", lambda p: _shifted(p, 1)),
    "shifted by 2 px": (".png", lambda p: _shifted(p, 2)),
    "shifted by 3 px": (".png", lambda p: _shifted(p, 3)),
}


def portraits(folder: Path) -> None:
    """Print false alarms among portraits, and which changed copies are found."""
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in image_reading.IMAGE_SUFFIXES)
    begin = time.perf_counter()
    rows = [_seen(file, file.stem) for file in files]
    print(
        f"looked at {len(rows)} images, {1000 * (time.perf_counter() - begin) / len(rows):.1f} ms"
    )
    digests: dict[bytes, str] = {}  # equal images are of one person
    rows = [
        replace(
            one, face=replace(one.face, subject=digests.setdefault(one.look.digest, one.file.stem))
        )
        for one in rows
    ]
    alarms = 0
    begin = time.perf_counter()
    for seed in range(_DEALS):
        dealt = split_subjects([one.face.subject for one in rows], seed=seed)
        again = [
            replace(one, face=replace(one.face, split=dealt[one.face.subject])) for one in rows
        ]
        alarms += sum(len(finding.examples) for finding in audit_duplicates(again))
    spent = (time.perf_counter() - begin) / _DEALS
    print(f"false alarms in {_DEALS} deals: {alarms}; {spent:.1f} s for each")
    for name, (suffix, change) in CHANGES.items():
        with tempfile.TemporaryDirectory() as place:
            copies = []
            for one in rows[::_EVERY]:
                file = Path(place, one.file.stem + suffix)
                made = change(image_reading.read_image(one.file).float())
                image_writing.write_image(file, made.round().clamp(0, 255).to(torch.uint8))
                copies.append(_seen(file, f"copy of {one.face.subject}", split="test"))
            found = [
                match for start in range(0, len(copies), 50)
                for match in same_pictures(copies[start : start + 50], rows)
            ]  # fmt: skip
            right = sum(match.one.file.stem == match.other.file.stem for match in found)
            print(
                f"{name:20} {right} of {len(copies)} found, {len(found) - right} taken for others"
            )


def _stretched(celsius: Tensor, share: float) -> Tensor:
    flat = celsius.flatten(1)
    low, high = (flat.quantile(at, dim=1)[:, None, None, None] for at in (share, 1 - share))
    return (((celsius - low) / (high - low)).clamp(0, 1) * 255).round().to(torch.uint8)


def clips(folder: Path) -> None:
    """Print how many clips seem stretched, as they are, in fixed windows, and stretched."""
    from cptv import CPTVReader  # noqa: PLC0415  # not needed else

    counts: dict[str, list[bool]] = {}
    for file in sorted(folder.glob("*.cptv")):
        with file.open("rb") as stream:
            frames = [np.rot90(frame.pix, -1).copy() for frame in CPTVReader(stream)][:_FRAMES]
        if len(frames) < 8:
            continue
        raw = torch.from_numpy(np.stack(frames).astype(np.int32))[:, None]
        celsius = thermal.celsius_from_counts(raw, "centikelvin")
        variants = {"as it is": raw.to(torch.uint16)}
        for low, high in _WINDOWS:
            shown = thermal.to_signed(celsius, Window(low, high))
            variants[f"window {low} to {high}"] = images.from_signed(shown, dtype=torch.uint8)
        for share in (0.0, 0.01, 0.05):
            variants[f"stretched, {share:.0%} cut"] = _stretched(celsius, share)
        for name, pictures in list(variants.items()):
            counts.setdefault(name, []).append(_judged(pictures, ".png"))
            if pictures.dtype == torch.uint8:
                counts.setdefault(f"{name}, JPEG", []).append(_judged(pictures, ".jpg"))
    for name, found in counts.items():
        print(f"{name:30} {sum(found)} of {len(found)} seem stretched")


def _judged(pictures: Tensor, suffix: str) -> bool:
    with tempfile.TemporaryDirectory() as place:
        rows = []
        for number, picture in enumerate(pictures):
            file = Path(place, f"{number:04d}{suffix}")
            image_writing.write_image(file, picture)
            rows.append(_seen(file, "one", domain="thermal", sequence="one", frame=number))
        return is_stretched(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the two measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("portraits", "clips"))
    parser.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    {"portraits": portraits, "clips": clips}[given.what](given.folder)


if __name__ == "__main__":
    main()
