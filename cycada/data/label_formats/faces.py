"""What the readers of programs' output share: one face per image, and whose labels these are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from cycada.data.label_table import LabelRow
from cycada.image_reading import IMAGE_SUFFIXES

_MORE_IMAGES = frozenset({".bmp", ".gif", ".webp"})  # that programs read, though we do not


class Named(NamedTuple):
    """What a row names its image by; the fields are those of :class:`LabelRow`."""

    tail: str = ""
    stem: str = ""
    recording: str = ""
    frame: int | None = None


class FoundFace(NamedTuple):
    """A row of a program's output."""

    file: Path
    row: int
    named: Named
    shown: bool  # whether the program found a face
    units: Mapping[int, float]


def one_face_each(
    found: Iterable[FoundFace], root: Path, *, what: str
) -> tuple[tuple[LabelRow, ...], list[str]]:
    """Return one row per image, and notes about those left out.

    Of an image that shows several faces the labels are left out: nothing tells which of them an
    image of one face was cut from. Like that of one without a face, its row knows nothing; both are
    there to tell which frames the recording has.

    Args:
        found: every row of the output.
        root: the file or folder, for the notes.
        what: the rows are of: ``"frame"`` or ``"image"``.
    """
    shown: dict[tuple[Path, Named], list[FoundFace]] = {}
    without: dict[tuple[Path, Named], FoundFace] = {}
    for face in found:
        if face.shown:
            shown.setdefault((face.file, face.named), []).append(face)
        else:
            without.setdefault((face.file, face.named), face)
    single = [faces[0] for faces in shown.values() if len(faces) == 1]
    several = [faces[0]._replace(units={}) for faces in shown.values() if len(faces) > 1]
    empty = [face for image, face in without.items() if image not in shown]
    notes = []
    if several:
        notes.append(f"{root}: {len(several)} {what}(s) with several faces left out.")
    if empty:
        notes.append(f"{root}: {len(empty)} {what}(s) without a face are not annotated.")
    rows = (
        LabelRow(
            row=face.row,
            file=face.file,
            tail=face.named.tail,
            stem=face.named.stem,
            recording=face.named.recording,
            frame=face.named.frame,
            action_units=face.units,
        )
        for face in (*single, *several, *empty)
    )
    return tuple(rows), notes


def machine_made(root: Path, program: str, *, kind: str) -> str:
    """Return the note that no person coded these labels."""
    return f"{root}: {kind} by a program ({program}), not by FACS coders."


def image_name(text: str) -> str | None:
    """Return the path of an image with ``/``; ``None`` for a video or anything else."""
    path = text.replace("\\", "/")
    suffix = PurePosixPath(path).suffix.lower()
    return path if suffix in IMAGE_SUFFIXES | _MORE_IMAGES else None


def video_name(text: str) -> str:
    """Return the name of a video without folder and suffix; paths of Windows will do."""
    name = PureWindowsPath(text).name if "\\" in text else PurePosixPath(text).name
    return PurePosixPath(name).stem
