"""Images that cannot be read are left out of a training before its first step, by all processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from cycada.data.auditing.looks import Seen, look_at_all
from cycada.data.index import Index, Split
from cycada.progress import Progress
from cycada.rejecting import REJECTED_NAME, Limit, Rejection, Rejections, as_listed, read_rejected
from cycada.training.checkpoint import checkpoints

LEARNED: frozenset[Split] = frozenset(["train", "val"])
"""Splits that a training reads."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was seen of the images that a training reads, and which of them it leaves out."""

    seen: tuple[Seen, ...]  # without those that are left out
    left_out: Rejections
    roots: tuple[Path, ...]  # of the indexes

    def fingerprint(self) -> str:
        """Return a SHA-256 of what is left out."""
        paths = [row.path for row in self.left_out.rows]
        return hashlib.sha256(json.dumps(paths).encode()).hexdigest()

    def of(self, index: Index) -> Index:
        """Return an index without the images that are left out."""
        paths = {row.path for row in self.left_out.rows}
        kept = (face for face in index.faces if as_listed(str(index.file(face))) not in paths)
        return replace(index, faces=tuple(kept)) if paths else index


def look_at_inputs(
    indexes: Sequence[Index], out: Path, *, limit: Limit, accelerator: Accelerator,
    progress: Progress,
) -> Inputs:  # fmt: skip
    """Look at every image that a training reads, and decide which cannot be read.

    The main process decides, and the others take its word: what one of them could not read would
    else be another image to each. A training that goes on leaves out what it has left out from the
    beginning, by the list in its directory, and nothing else: the order of its images depends on
    how many there are.

    Args:
        indexes: The rows that the training reads, and those kept to test on.
        out: Run directory; nothing is written.
        limit: How many may be left out.
        accelerator: Lets the main process look first; the others read what it has seen.
        progress: Shows how far the look at the files is.

    Raises:
        DataError: Too many cannot be read.
    """
    merged = _merged(indexes)
    with accelerator.main_process_first():
        seen = look_at_all(merged, progress=progress)
    learned = [one for one in seen if one.face.split in LEARNED]
    decided: list[list[Rejection]] = [[]]
    if accelerator.is_main_process:
        decided = [_decided(learned, out)]
    if accelerator.num_processes > 1:
        broadcast_object_list(decided)
    left_out = Rejections(out, limit=limit, total=len(learned))
    left_out.join(decided)
    roots = tuple(index.root for index in merged)
    left_out.check(listed=f"`cycada audit {' '.join(map(str, roots))}` shows all.")
    paths = {row.path for row in left_out.rows}
    kept = tuple(one for one in seen if as_listed(str(one.file)) not in paths)
    return Inputs(kept, left_out, roots)


def _decided(learned: Collection[Seen], out: Path) -> list[Rejection]:
    if checkpoints(out):
        return read_rejected(out / REJECTED_NAME)
    return [
        Rejection((number,), as_listed(str(one.file)), one.look.problem)
        for number, one in enumerate(learned)
        if one.look.problem
    ]


def _merged(indexes: Sequence[Index]) -> list[Index]:
    """Return each index once, with the rows of all its parts."""
    parts: dict[Path, Index] = {}
    for index in indexes:
        before = parts.get(index.root)
        faces = {face.path: face for part in (before, index) if part for face in part.faces}
        parts[index.root] = replace(index, faces=tuple(faces.values()))
    return [index for index in parts.values() if index.faces]
