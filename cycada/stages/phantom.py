"""Draw a dataset of phantom faces: RGB subjects and thermal subjects, with everything known."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from cycada import image_writing
from cycada.cores import lone_threads
from cycada.data import phantom
from cycada.data.index import SPLITS, Domain, Face, Index, IndexInfo, Split, write_index
from cycada.data.landmarks import write_landmarks
from cycada.data.sampling import generator
from cycada.data.splits import split_subjects
from cycada.errors import DataError
from cycada.files import replacing
from cycada.locking import holds_anything, sole_writer
from cycada.progress import Progress
from cycada.thermal import Unit, Window, counts_from_celsius

UNIT: Unit = "centikelvin"
WINDOW = Window(28.0, 37.0)  # skin fills it; hair, glasses and the room are below
CLAIM_NAME = ".phantom"
SEQUENCES_NAME = "sequences.csv"

_VIDEO_RATE = 10.0  # frames per second; thermal cameras give 9 to 30
_BREATHS = (8.0, 32.0)  # per minute: from slow to tachypnea


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomOptions:
    """What to draw."""

    out: Path
    rgb_subjects: int
    thermal_subjects: int
    frames: int  # per subject
    size: int = 64  # px
    seed: int = 0
    video: bool = False  # consecutive frames with breathing, instead of single ones
    paired: tuple[Split, ...] = SPLITS  # splits whose faces are also drawn in the other domain
    splits: tuple[float, float, float] = (0.7, 0.1, 0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOptions:
    """Which clips to draw."""

    out: Path
    clips: int
    scenario: phantom.Scenario | None = None  # None: mixtures of all that disturbs
    seconds: float = 120.0  # of a scenario; mixtures last two minutes
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Subject:
    name: str
    domain: Domain
    split: Split
    identity: phantom.Identity  # one row per frame
    intensities: Tensor  # (frames, 18)
    scene: phantom.Scene
    truth: phantom.SequenceTruth | None


def make_phantom(options: PhantomOptions, *, progress: Progress) -> Index:
    """Draw the faces and write them with their index, landmarks and, for video, sequences.

    RGB and thermal subjects are different people. A face that is also drawn in the other domain
    names that image in the column ``pair``; it serves to judge translations, never to train.
    Images drawn before, by an interrupted run, are kept.

    Raises:
        DataError: ``out`` holds another index, or faces begun with other options.
        RunError: Another process writes to ``out``.
    """
    with sole_writer(options.out):
        return _make(options, progress)


def _make(options: PhantomOptions, progress: Progress) -> Index:
    # With the claim still there, a process was killed between its last two steps.
    if (options.out / "index.csv").exists() and not (options.out / CLAIM_NAME).exists():
        raise DataError(f"{options.out}: holds an index already; choose another --out.")
    subjects = [*_subjects(options, "rgb"), *_subjects(options, "thermal")]
    claim(options.out, options)
    drawn = [_faces_of(subject, options) for subject in subjects]
    with lone_threads(torch.get_num_threads()) as pool:  # a subject per core
        work = pool.map(partial(_draw, options=options), subjects, drawn)
        places = list(progress(work, total=len(subjects), desc="phantom subjects"))
    faces = [face for some in drawn for face in some]
    index = Index(
        options.out,
        IndexInfo(
            kind="intensity",
            unit=UNIT,
            window=WINDOW,
            source=f"phantom faces of cycada, seed {options.seed}",
            licence="MIT",
        ),
        tuple(faces),
    )
    write_landmarks(
        options.out, phantom.LANDMARK_NAMES,
        (
            (face.path, place.flatten().tolist())
            for face, place in zip(faces, torch.cat(places), strict=True)
        ),
    )  # fmt: skip
    if options.video:
        _write_sequences(options.out / SEQUENCES_NAME, subjects)
    write_index(index)
    (options.out / CLAIM_NAME).unlink()
    return index


def claim(out: Path, options: PhantomOptions | ClipOptions) -> None:
    """Note in ``out`` what is drawn there; refuse what was begun with other options.

    Raises:
        DataError: ``out`` holds something else. Its images would belie the labels.
    """
    wanted = repr(dataclasses.replace(options, out=Path()))
    note = out / CLAIM_NAME
    if note.exists():
        if note.read_text(encoding="utf-8") != wanted:
            raise DataError(
                f"{out}: holds faces that were begun with other options; give those again to "
                "finish them, or choose another --out."
            )
        return
    if out.exists() and (not out.is_dir() or holds_anything(out)):
        raise DataError(f"{out}: is not empty; choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    with replacing(note) as temporary:
        temporary.write_text(wanted, encoding="utf-8")


def _subjects(options: PhantomOptions, domain: Domain) -> Iterator[_Subject]:
    count = options.rgb_subjects if domain == "rgb" else options.thermal_subjects
    names = [f"{domain}{number:04d}" for number in range(count)]
    split = split_subjects(names, fractions=options.splits, seed=options.seed) if names else {}
    for name in names:
        draw = generator(options.seed, "phantom", name)
        identity = phantom.sample_identities(1, generator=draw).take([0] * options.frames)
        truth = None
        if options.video:
            low, high = _BREATHS
            rate = low + (high - low) * float(torch.rand((), generator=draw))
            sequence = phantom.sample_sequence(
                options.frames, domain=domain, generator=draw, frames_per_second=_VIDEO_RATE,
                breaths_per_minute=rate,
            )  # fmt: skip
            intensities, scene, truth = sequence
        else:
            intensities = phantom.sample_intensities(options.frames, domain=domain, generator=draw)
            scene = phantom.sample_scenes(options.frames, generator=draw)
        yield _Subject(name, domain, split[name], identity, intensities, scene, truth)


def _faces_of(subject: _Subject, options: PhantomOptions) -> list[Face]:
    """Return the rows of a subject, in the order of its frames."""
    other = "thermal" if subject.domain == "rgb" else "rgb"
    numbers = phantom.PHANTOM_ACTION_UNITS
    return [
        Face(
            path=f"{subject.domain}/{subject.name}/{frame:04d}.png",
            domain=subject.domain,
            subject=subject.name,
            split=subject.split,
            frame=frame,
            sequence=subject.name if options.video else "",
            pair=(
                f"pairs/{subject.name}/{frame:04d}_{other}.png"
                if subject.split in options.paired
                else ""
            ),
            action_units=dict(zip(numbers, (round(float(x), 2) for x in values), strict=True)),
        )
        for frame, values in enumerate(subject.intensities)
    ]


def _draw(subject: _Subject, faces: Sequence[Face], options: PhantomOptions) -> Tensor:
    """Draw and write the images of a subject, unless they are all there.

    Returns:
        The landmarks, ``(frames, K, 2)`` in px.
    """
    files = [options.out / face.path for face in faces]
    pairs = [options.out / face.pair for face in faces if face.pair]
    what = (subject.identity, subject.intensities, subject.scene)
    places = phantom.landmarks(*what, size=options.size)
    if all(file.exists() for file in (*files, *pairs)):
        return places
    if pairs:
        drawn = phantom.render_pair(*what, size=options.size)
        rgb, celsius = drawn.rgb, drawn.celsius
    elif subject.domain == "rgb":
        rgb, celsius = phantom.render_rgb(*what, size=options.size), None
    else:
        rgb, celsius = None, phantom.render_celsius(*what, size=options.size)
    thermal = None if celsius is None else counts_from_celsius(celsius, UNIT)[:, None]
    own, other = (rgb, thermal) if subject.domain == "rgb" else (thermal, rgb)
    for names, pictures in ((files, own), (pairs, other)):
        for name, picture in zip(names, () if pictures is None else pictures, strict=False):
            image_writing.write_image(name, picture)
    return places


def _write_sequences(file: Path, subjects: Sequence[_Subject]) -> None:
    rows = (
        [subject.name, frame, *(f"{float(column[frame]):.4f}" for column in subject.truth)]
        for subject in subjects
        if subject.truth is not None
        for frame in range(len(subject.intensities))
    )
    write_table(file, ["sequence", "frame", "breaths_per_minute", "air_flow", "seconds"], rows)


def write_table(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV table, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    with replacing(file) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
