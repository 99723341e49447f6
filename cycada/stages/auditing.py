"""Look at the data before any time is spent on training."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import torch

from cycada import images
from cycada.data.auditing.cameras import audit_cameras
from cycada.data.auditing.duplicates import audit_duplicates
from cycada.data.auditing.files import audit_files, fault_of, sets_of
from cycada.data.auditing.finding import Finding, by_severity
from cycada.data.auditing.labels import audit_labels
from cycada.data.auditing.looks import Seen
from cycada.data.auditing.luminance import audit_luminance
from cycada.data.auditing.pixels import Spread, audit_pair, audit_set, spread_of
from cycada.data.auditing.sequences import audit_sequences
from cycada.data.auditing.subjects import audit_subjects
from cycada.data.dataset import FaceImages, signed
from cycada.data.index import Domain, Index
from cycada.errors import DataError
from cycada.progress import Progress
from cycada.stages.leaving_out import LEARNED, Inputs

_LOOKED_AT = 256  # images of each set, as networks see them


def audit_inputs(inputs: Inputs, *, labelled: Sequence[Index], progress: Progress) -> list[Finding]:
    """Refuse data that a training must not begin with, and say what else looks wrong.

    What concerns test faces alone does not stop a training.

    Args:
        inputs: The images that the training reads, and those kept to test on.
        labelled: The indexes of which it learns the labels.
        progress: Says what is not fatal.

    Returns:
        All findings.

    Raises:
        DataError: With the first error, how many more there are, and how to see them.
    """
    labels = [finding for index in labelled for finding in audit_labels(index)]
    findings = by_severity([*audit_images(inputs.seen), *labels])
    fatal = [finding for finding in findings if finding.fatal and finding.splits & LEARNED]
    if fatal:
        command = f"`cycada audit {' '.join(map(str, inputs.roots))}`"
        more = f"; {len(fatal) - 1} more errors" if len(fatal) > 2 else "; one more error"
        raise DataError(
            f"{fatal[0].text.rstrip('.')}{more if len(fatal) > 1 else ''}; {command} shows all."
        )
    for finding in findings:
        if finding.severity != "note":
            progress.say(f"Warning: {finding.text}")
    return findings


def audit_images(seen: Sequence[Seen]) -> list[Finding]:
    """Return all that is wrong with images and with who is on them, by their files."""
    sound = [one for one in seen if fault_of(one) is None]
    return [
        *audit_files(seen),
        *audit_subjects(seen),
        *audit_duplicates(seen),
        *audit_sequences(sound),
        *audit_luminance(sound),
        *audit_cameras(sound),
    ]


def audit_faces(
    source: Iterable[FaceImages],
    target: Iterable[FaceImages],
    *,
    found: Collection[Finding] = (),
    progress: Progress,
) -> None:
    """Refuse images that nothing can be learned from as networks see them, and say what is odd.

    Args:
        source: Labelled images, or those to translate.
        target: Images of the other domain, if there are any: they are compared with the source.
        found: What was found by the files, which is not said again.
        progress: Says what is not fatal.

    Raises:
        DataError: Naming the set and the cause.
    """
    blank = any(finding.check == "blank" for finding in found)
    for finding in audit_pixels(source, target):
        if finding.fatal:
            raise DataError(finding.text)
        if not (blank and finding.check == "blank"):
            progress.say(f"Warning: {finding.text}")


def audit_pixels(source: Iterable[FaceImages], target: Iterable[FaceImages]) -> list[Finding]:
    """Return what is wrong with the values of two sets of images as networks see them."""
    known: list[tuple[str, Spread]] = []
    others: list[tuple[str, Spread]] = []
    found: list[Finding] = []
    for parts, told in ((source, known), (target, others)):
        for part in parts:
            name = f"{part.domain} images of {', '.join(map(str, part.roots))}"
            spread = _spread(part)
            found += audit_set(spread, name=name, sixteen_bit=part.sixteen_bit)
            told.append((name, spread))
    if not any(finding.fatal for finding in found):
        for name, spread in known:
            for other, there in others:
                found += audit_pair(spread, there, names=(name, other))
    return by_severity(found)


def face_images(seen: Sequence[Seen], domain: Domain, *, size: int) -> list[FaceImages]:
    """Return the images of one domain as networks see them, a set for each index."""
    return [
        FaceImages(
            [Index(root, rows[0].info, tuple(one.face for one in rows))], domain=domain, size=size
        )
        for (root, kind), rows in sets_of(seen).items()
        if kind == domain
    ]


def _spread(part: FaceImages) -> Spread:
    rows = torch.linspace(0, len(part) - 1, min(len(part), _LOOKED_AT)).long()
    return spread_of(images.with_channels(signed(part.batch(rows)), 1))
