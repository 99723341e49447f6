"""Labels that name frames, and the numbers of frames: those of labels against those of images.

DISFA, Aff-Wild2 and OpenFace count frames from 1, others from 0, and so do the programs that take a
video apart. Labels that are off by one frame look right and are wrong, so the images are asked.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from cycada.data.claims import Claims
from cycada.data.folders import Found, frame_of, sequence_of, subject_of
from cycada.data.index import DOMAINS, Domain
from cycada.data.label_table import ALIGNED, LabelRow, LabelTable, listed, place_of
from cycada.data.subject_codes import Corpus, code_of
from cycada.errors import DataError

_CODES: Mapping[str, Corpus] = MappingProxyType(
    {"disfa": "disfa", "bp4d": "bp4d", "bp4d-intensity": "bp4d"}
)

_Key = tuple[str, ...]  # (recording,) or (subject, sequence)
_Rows = Mapping[_Key, Mapping[int, LabelRow]]


@dataclass(frozen=True, slots=True)
class Recording:
    """The frames of one recording that have labels, and those that are there as images."""

    name: str
    labels: AbstractSet[int]
    images: AbstractSet[int]  # and 0, if it is known to have been one


def frame_offset(
    recordings: Iterable[Recording], *, first: int, file: Path, images: str
) -> tuple[int, str]:
    """Return what to add to the frame of a label to get that of its image, and a note about it.

    An image of frame 0 proves, where labels begin at 1, that images count from 0; where labels
    begin at 0, the lack of image 0 and an image beyond the last label prove that they count from
    1. In the same way they may prove that both count alike. Without proof they are taken to.

    Programs that are given a folder of images may count the images in it, whatever their numbers.
    As many images as labels, some of them with numbers beyond those of the labels, tell so.

    Args:
        recordings: those with labels and images.
        first: number that the layout of the labels gives the first frame of a recording, 0 or 1.
        file: the labels, for messages.
        images: what to call the images in messages.

    Raises:
        DataError: one recording proves the one, another the other; labels count images.
    """
    recordings = list(recordings)
    for recording in recordings:
        _check_same_numbers(recording, file=file, images=images)
    proof: dict[int, str] = {}
    for recording in recordings:
        offset = _proved(recording, first)
        if offset is not None:
            proof.setdefault(offset, recording.name)
    if len(proof) > 1:
        (one, name), (other, another) = sorted(proof.items())
        raise DataError(
            f"{file}: labels count frames from {first}, but the {images} of {name} from "
            f"{first + one} and those of {another} from {first + other}; index them apart, each "
            f"with its --frame-offset."
        )
    offset = next(iter(proof), 0)
    if offset:
        return offset, (
            f"{file}: {images} count from {first + offset}, labels from {first}: label {first} "
            f"belongs to frame {first + offset}."
        )
    if proof:
        return 0, f"{file}: {images} count from {first}, as labels do."
    return 0, (
        f"{file}: labels count from {first}; {images} are assumed to do so, too, for none proves "
        f"the contrary. --frame-offset says otherwise."
    )


def _check_same_numbers(recording: Recording, *, file: Path, images: str) -> None:
    """Refuse labels that count the images of a folder in their order, whatever their numbers."""
    there, labelled = recording.images, recording.labels
    if there and len(there) == len(labelled) and max(there) > max(labelled) + 1:
        raise DataError(
            f"{file}: {recording.name} has labels of {len(labelled)} frames, {min(labelled)} to "
            f"{max(labelled)}, and as many {images}, but with numbers up to {max(there)}; labels "
            f"seem to count the images, not the frames. Number the images likewise, or give "
            f"--frame-offset if the numbers do mean the same."
        )


def _check_not_shifted(recording: Recording, *, file: Path, images: str) -> None:
    """Refuse images whose numbers are those of the labels, all shifted by the same."""
    there, labelled = recording.images, recording.labels
    if len(there) < 2 or len(there) != len(labelled):
        return
    by = min(there) - min(labelled)
    if by and there == {frame + by for frame in labelled}:
        raise DataError(
            f"{file}: {recording.name} has labels of the frames {min(labelled)} to "
            f"{max(labelled)}, but {images} {min(there)} to {max(there)}, as many. If they are the "
            f"same frames, give --frame-offset {by}; if the numbers are right, --frame-offset 0."
        )


def _proved(recording: Recording, first: int) -> int | None:
    """Return the offset that the recording proves, if any."""
    labels, images = recording.labels, recording.images
    if not labels or not images or min(labels) != first:
        return None
    if first == 1:
        if 0 in images:
            return -1
        return 0 if max(labels) in images else None
    if 0 in images:
        return 0
    return 1 if max(labels) + 1 in images else None


@dataclass(frozen=True, slots=True)
class _Group:
    """The labels and the images of one recording, by the numbers of their frames."""

    name: str
    rows: Mapping[int, LabelRow]
    images: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))


def match_frames(
    claims: Claims,
    rows: Sequence[LabelRow],
    pattern: re.Pattern[str] | None,
    offset: int | None,
    from_zero: AbstractSet[Path],
) -> list[str]:
    """Match rows that name frames, domain by domain, and return notes.

    Args:
        claims: of their table.
        rows: with the name of a recording, or of a subject and perhaps a sequence.
        pattern: gives the subject of an image that no table names.
        offset: from the frame of a label to that of its image; ``None``: found, or 0.
        from_zero: folders in which images are known to count from 0, even if 0 is not there.

    Raises:
        DataError: two rows are of the same frame; two images are; a recording fits two folders;
            frames count differently from one recording to another.
    """
    table = claims.table
    labels: dict[_Key, dict[int, LabelRow]] = defaultdict(dict)
    for row in rows:
        frame = row.frame or 0
        key = (row.recording,) if row.recording else (row.subject, row.sequence)
        first = labels[key].setdefault(frame, row)
        if first is not row:
            raise DataError(
                f"{place_of(table, row)}: frame {frame} of {' '.join(filter(None, key))} is there "
                f"already in {place_of(table, first)}."
            )
    notes = []
    hits: list[tuple[LabelRow, list[int]]] = []
    last: dict[str, dict[Domain, int]] = {}
    for domain in DOMAINS:
        groups, told = _by_subject(claims, labels, domain, pattern)
        groups += _by_recording(claims, labels, domain)
        notes += [note for note in told if note not in notes]
        if not groups:
            continue
        for group in groups:
            there = (claims.images[number] for same in group.images.values() for number in same)
            if any(found.file.parent in from_zero for found in there):
                group.images.setdefault(0, [])
        shift, note = _shift(table, groups, domain, offset)
        notes += [note] if note else []
        for group in groups:
            if group.images:
                last.setdefault(group.name, {})[domain] = max(group.images) - shift
            for frame, row in group.rows.items():
                if numbers := group.images.get(frame + shift):
                    hits.append((row, numbers))
    for row, numbers in hits:
        claims.claim(row, numbers)
    return notes + _not_together(table, last)


def _not_together(table: LabelTable, last: Mapping[str, Mapping[Domain, int]]) -> list[str]:
    """Return the note about recordings of which one camera seems to have taken more frames."""
    odd = [name for name, ends in last.items() if max(ends.values()) - min(ends.values()) > 1]
    if not odd:
        return []
    ends = last[odd[0]]
    more = f", and so of {len(odd) - 1} more" if len(odd) > 1 else ""
    note = (
        f"{table.file}: rgb images of {odd[0]} end with frame {ends['rgb']} of the labels, thermal "
        f"ones with {ends['thermal']}{more}; both have the same labels, which is right only if the "
        f"cameras took frames together."
    )
    return [note]


def _shift(
    table: LabelTable, groups: Iterable[_Group], domain: Domain, offset: int | None
) -> tuple[int, str]:
    """Return what to add to the frame of a label, and a note if there is something to say."""
    if offset is not None:
        return offset, (
            f"{table.file}: label 1 belongs to frame {1 + offset} of the {domain} images, as "
            f"--frame-offset says."
        )
    recordings = [Recording(group.name, group.rows.keys(), group.images.keys()) for group in groups]
    if table.first_frame is None:
        for recording in recordings:
            _check_not_shifted(recording, file=table.file, images=f"{domain} images")
        return 0, ""
    return frame_offset(
        recordings, first=table.first_frame, file=table.file, images=f"{domain} images"
    )


def _by_recording(claims: Claims, labels: _Rows, domain: Domain) -> list[_Group]:
    """Return the recordings whose frames lie in a folder of their name."""
    wanted = {key[0]: rows for key, rows in labels.items() if len(key) == 1}
    if not wanted:
        return []
    folders: dict[str, dict[Path, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, found in enumerate(claims.images):
        if found.domain == domain:
            folder = found.file.parent
            folders[folder.name.removesuffix(ALIGNED)][folder].append(number)
            if folder.name.endswith(ALIGNED):
                folders[folder.name][folder].append(number)
    parts = {name: PurePosixPath(name).parts for name in wanted}
    depth = _telling_depth(list(parts.values()))
    groups = []
    for name, rows in wanted.items():
        places = folders.get(parts[name][-1], {})
        place = _folder_of(parts[name], places, depth, claims.table)
        if place is not None:
            group = _Group(name, rows)
            _add_images(group, places[place], claims.images)
            groups.append(group)
    return groups


def _telling_depth(names: Sequence[tuple[str, ...]]) -> int:
    """Return how many of their last parts tell the names apart."""
    deepest = max(map(len, names))
    return next(
        (n for n in range(1, deepest) if len({name[-n:] for name in names}) == len(names)), deepest
    )


def _folder_of(
    name: tuple[str, ...], places: Iterable[Path], depth: int, table: LabelTable
) -> Path | None:
    """Return the folder of a recording: it agrees in ``depth`` parts, or in more than others."""
    fitting: dict[int, list[Path]] = defaultdict(list)
    for place in places:
        common = 1
        while common < len(name) and place.parts[-common - 1] == name[-common - 1]:
            common += 1
        if common >= min(depth, len(name)):
            fitting[common].append(place)
    if not fitting:
        return None
    best = fitting[max(fitting)]
    if len(best) > 1:
        raise DataError(
            f"{table.file}: both {best[0]} and {best[1]} may be the recording {'/'.join(name)!r}; "
            f"index them apart."
        )
    return best[0]


def _by_subject(
    claims: Claims, labels: _Rows, domain: Domain, pattern: re.Pattern[str] | None
) -> tuple[list[_Group], list[str]]:
    """Return the sequences of the subjects, and notes about names that were taken for codes."""
    wanted: _Rows = {key: rows for key, rows in labels.items() if len(key) == 2}
    if not wanted:
        return [], []
    drafts = zip(claims.images, claims.drafts, strict=True)
    subjects = [draft.subject or subject_of(found, pattern) for found, draft in drafts]
    aliases = _aliases({*subjects}, {key[0] for key in wanted}, claims.table)
    depths = sorted({len(PurePosixPath(key[1]).parts) for key in wanted}, reverse=True)
    groups: dict[_Key, _Group] = {}
    for number, (found, name) in enumerate(zip(claims.images, subjects, strict=True)):
        if found.domain != domain:
            continue
        sequence = sequence_of(found, subject=name)
        key = _sequence_key(aliases.get(name, name), sequence, depths, wanted)
        if key is not None:
            group = groups.setdefault(key, _Group(" ".join(filter(None, key)), wanted[key]))
            _add_images(group, [number], claims.images)
    taken = [f"{name} for {code}" for name, code in sorted(aliases.items())]
    notes = [f"{claims.table.file}: subjects of images taken: {listed(taken)}."] if taken else []
    return list(groups.values()), notes


def _aliases(names: set[str], labelled: set[str], table: LabelTable) -> dict[str, str]:
    """Return the codes of subjects that the images call otherwise, such as SN2 for SN002.

    None, if some are called as the labels do, in either domain: then others are those of another
    corpus, or of a clinic.
    """
    corpus = _CODES.get(table.layout)
    if corpus is None or names & labelled:
        return {}
    aliases: dict[str, str] = {}
    name_of: dict[str, str] = {}
    for name in sorted(names):
        code = code_of(name, corpus)
        if code in labelled:
            aliases[name] = code
            other = name_of.setdefault(code, name)
            if other != name:
                raise DataError(
                    f"{table.file}: images of both {other!r} and {name!r} may be of the subject "
                    f"{code}; call them as the labels do, or index them apart."
                )
    return aliases


def _sequence_key(subject: str, sequence: str, depths: Sequence[int], wanted: _Rows) -> _Key | None:
    """Return the key of the labels of an image's sequence.

    Labels may name the last folders only; labels without any sequence are of all of a subject's.
    """
    parts = PurePosixPath(sequence).parts
    for depth in depths:
        whole = depths == [0] or not parts
        if depth == 0 and not whole:
            continue
        key = (subject, "/".join(parts[len(parts) - depth :]) if depth else "")
        if depth <= len(parts) and key in wanted:
            return key
    return None


def _add_images(group: _Group, numbers: Iterable[int], images: Sequence[Found]) -> None:
    for number in numbers:
        frame = frame_of(images[number])
        if frame is not None:
            group.images[frame].append(number)
