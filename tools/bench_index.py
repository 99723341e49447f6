"""What an index costs by its size: reading, choosing, labels, sampling, writing, auditing.

Makes indexes with 18 Action Units, intensities with two decimals, of which each subject lacks one
in ten, and measures each use of them in a process of its own: seconds of the processor (and in
``--json`` those of the clock), and the most memory that the process held, with Python and PyTorch.
Where images are needed they are small (64 px), and there are as many as ``--images`` at most.
Prints a Markdown table.

    python tools/bench_index.py --rows 1000 10000
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from cycada.action_units import column
from cycada.data.dataset import FaceImages
from cycada.data.folders import Found
from cycada.data.folds import folds
from cycada.data.index import Domain, read_index, write_index
from cycada.data.index_checks import check_disjoint, check_files
from cycada.data.label_table import Reading
from cycada.data.labels import read_labels
from cycada.data.matching import match_labels
from cycada.data.sampling import Order
from cycada.data.splits import deal_subjects
from cycada.progress import Progress
from cycada.task import Task

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28)

_SUBJECT_ROWS = 500  # rows of a subject, half of them thermal
_SEQUENCE_ROWS = 100
_SPLITS = ("train", "train", "train", "train", "train", "train", "train", "val", "test", "test")
_SIDE = 64  # px
_STEPS, _LANES = 2000, 16  # drawn of an order
_SECONDS = 1200  # after which a measurement is given up


class Row(NamedTuple):
    """What names one image."""

    path: str
    domain: Domain
    subject: str
    split: str
    frame: int
    sequence: str


def rows_of(count: int) -> Iterator[Row]:
    """Yield the rows of an index of ``count`` images: at least ten subjects in each domain."""
    of_subject = min(_SUBJECT_ROWS, count // 10)
    for number in range(count):
        who, place = divmod(number, of_subject)
        domain: Domain = "thermal" if place % 2 else "rgb"
        take, frame = divmod(place // 2, _SEQUENCE_ROWS)
        subject, sequence = f"s{who:05d}", f"take{take}"
        path = f"{domain}/{subject}/{sequence}/{frame:06d}.png"
        yield Row(path, domain, subject, _SPLITS[who % len(_SPLITS)], frame, sequence)


def make_table(folder: Path, count: int) -> None:
    """Write ``index.csv`` and ``index.toml``, without images."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(count)  # noqa: S311  # no secret
    with (folder / "index.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*Row._fields, *map(column, UNITS)])
        for row in rows_of(count):
            writer.writerow([*row, *_values(draw, row.subject)])
    (folder / "index.toml").write_text('kind = "intensity"\n', encoding="utf-8")


def make_images(folder: Path, count: int) -> None:
    """Draw the image of each row: smooth blots, colours in RGB, grey in thermal."""
    draw = np.random.default_rng(count)
    for row in rows_of(count):
        shape = (6, 6, 3) if row.domain == "rgb" else (6, 6)
        blots = Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8))
        file = folder / row.path
        file.parent.mkdir(parents=True, exist_ok=True)
        blots.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).save(file, compress_level=1)


def make_labels(folder: Path, count: int) -> None:
    """Write what ``--labels`` reads: a table that names paths, and one that names frames."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(count)  # noqa: S311
    names = [column(number) for number in UNITS]
    with (
        (folder / "paths.csv").open("w", encoding="utf-8", newline="") as by_path,
        (folder / "frames.csv").open("w", encoding="utf-8", newline="") as by_frame,
    ):
        paths, frames = (csv.writer(file, lineterminator="\n") for file in (by_path, by_frame))
        paths.writerow(["path", *names])
        frames.writerow(["subject", "sequence", "frame", *names])
        for row in rows_of(count):
            values = _values(draw, row.subject)
            paths.writerow([row.path, *values])
            if row.domain == "rgb":  # the thermal images have the same frames
                frames.writerow([row.subject, row.sequence, row.frame, *values])


def _values(draw: random.Random, subject: str) -> list[str]:
    lacks = random.Random(subject)  # noqa: S311
    return ["" if lacks.random() < 0.1 else f"{5 * draw.random():.2f}" for _ in UNITS]


class Cost(NamedTuple):
    """What one use took, in seconds."""

    cpu: float  # of all threads; the same on a machine that others use, too
    wall: float


def _cost(act: Callable[[], object]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


def _read(folder: Path) -> Cost:
    return _cost(lambda: read_index(folder))


def _select(folder: Path) -> Cost:
    index = read_index(folder)
    return _cost(lambda: index.select(domain="rgb", split="train"))


def _labels(folder: Path) -> Cost:
    index = read_index(folder)
    return _cost(lambda: index.labels(Task(UNITS)))


def _units(folder: Path) -> Cost:
    return _cost(read_index(folder).action_units)


def _fingerprint(folder: Path) -> Cost:
    return _cost(read_index(folder).fingerprint)


def _disjoint(folder: Path) -> Cost:
    index = read_index(folder)
    return _cost(lambda: check_disjoint([index, index]))


def _write(folder: Path) -> Cost:
    index = replace(read_index(folder), root=folder / "written")
    return _cost(lambda: write_index(index))


def _faces(folder: Path) -> Cost:
    index = read_index(folder)
    return _cost(lambda: FaceImages([index], domain="rgb", size=_SIDE))


def _splits(folder: Path) -> Cost:
    index = read_index(folder)

    def deal() -> None:
        domains: dict[str, frozenset[Domain]] = {}
        for face in index.faces:
            domains[face.subject] = domains.get(face.subject, frozenset()) | {face.domain}
        deal_subjects(domains, fractions=(0.7, 0.1, 0.2), seed=0)
        folds("5", domains, fractions=(0.7, 0.1, 0.2), seed=0)

    return _cost(deal)


def _subjects(folder: Path) -> Cost:
    """Deal as many subjects as the index has rows: a corpus of one image each."""
    count = len(read_index(folder).faces)
    everyone = {f"s{number}": frozenset[Domain](["rgb"]) for number in range(count)}
    return _cost(lambda: folds("5", everyone, fractions=(0.7, 0.1, 0.2), seed=0))


def _order(folder: Path) -> Cost:
    order = Order(len(read_index(folder).faces), _LANES, seed=0, stream="bench")
    return _cost(lambda: [order(step) for step in range(_STEPS)])


def _matching(folder: Path, name: str) -> Cost:
    images = [Found(folder / row.domain, row.path.partition("/")[2], row.domain)
              for row in rows_of(len(read_index(folder).faces))]  # fmt: skip

    def match() -> None:
        tables = read_labels(folder / name, reading=Reading(kind="intensity"))
        known, _ = match_labels(images, tables, None)
        assert all(said.action_units for said in known)  # noqa: S101

    return _cost(match)


def _files(folder: Path) -> Cost:
    index = read_index(folder)
    return _cost(lambda: check_files(index))


def _first_audit(folder: Path) -> Cost:
    (folder / "audit.npz").unlink(missing_ok=True)
    return _audit(folder)


def _audit(folder: Path) -> Cost:
    from cycada.stages.audit import audit  # noqa: PLC0415  # imports much that others do not need

    return _cost(lambda: audit([folder], progress=Progress(shown=False)))


def _index(folder: Path) -> Cost:
    from cycada.stages.index import make_index  # noqa: PLC0415  # likewise
    from cycada.stages.index_options import IndexOptions  # noqa: PLC0415  # likewise

    options = IndexOptions(
        out=folder / "new", rgb=folder / "rgb", thermal=folder / "thermal",
        labels=(folder / "paths.csv",), kind="intensity", unit="grey", overwrite=True,
    )  # fmt: skip
    return _cost(lambda: make_index(options, progress=Progress(shown=False)))


class Use(NamedTuple):
    """One use of an index."""

    title: str
    measure: Callable[[Path], Cost]
    on_images: bool = False


USES = MappingProxyType(
    {
        "read": Use("`read_index`", _read),
        "select": Use("`Index.select`", _select),
        "units": Use("`Index.action_units`", _units),
        "labels": Use("`Index.labels`", _labels),
        "fingerprint": Use("`Index.fingerprint`", _fingerprint),
        "disjoint": Use("`check_disjoint` of two", _disjoint),
        "write": Use("`write_index`", _write),
        "splits": Use("splits and 5 folds", _splits),
        "subjects": Use("5 folds of a subject per row", _subjects),
        "faces": Use("`FaceImages`", _faces),
        "order": Use(f"`Order`, {_STEPS} steps of {_LANES}", _order),
        "paths": Use("labels by path, read and matched", lambda at: _matching(at, "paths.csv")),
        "frames": Use("labels by frame, read and matched", lambda at: _matching(at, "frames.csv")),
        "files": Use("`check_files`", _files, on_images=True),
        "audit": Use("`cycada audit`, first time", _first_audit, on_images=True),
        "again": Use("`cycada audit`, again", _audit, on_images=True),
        "index": Use("`cycada index --labels`", _index, on_images=True),
    }
)  # fmt: skip


def _measured(name: str, folder: Path) -> dict[str, float] | None:
    """Return the cost and the MB of one use in a process of its own, ``None`` if it failed."""
    command = [sys.executable, __file__, "--measure", name, "--folder", str(folder)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)  # noqa: S603
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"{name}: {error}", error.stderr, sep="\n", file=sys.stderr)
        return None
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def _cell(found: dict[str, float] | None) -> str:
    if found is None:
        return "failed"
    seconds, peak = found["cpu"], found["peak_mb"]
    return f"{1000 * seconds:.1f} ms" if seconds < 0.1 else f"{seconds:.1f} s, {peak:.0f} MB"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000], metavar="N")
    add("--images", type=int, default=10_000, metavar="N", help="at most (default 10000)")
    add("--uses", nargs="+", default=list(USES), choices=USES, metavar="USE", help=", ".join(USES))
    add("--json", type=Path, metavar="FILE", help="where to write all figures")
    add("--measure", choices=USES, help=argparse.SUPPRESS)
    add("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        cost = USES[options.measure].measure(options.folder)
        unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        print(json.dumps({**cost._asdict(), "peak_mb": peak / 2**20}))
        return
    results: dict[str, dict[str, dict[str, float] | None]] = {name: {} for name in options.uses}
    for count in options.rows:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            make_table(folder, count)
            if {"paths", "frames", "index"} & {*options.uses}:
                make_labels(folder, count)
            fits = count <= options.images
            if fits and any(USES[name].on_images for name in options.uses):
                make_images(folder, count)
            for name in options.uses:
                if fits or not USES[name].on_images:
                    results[name][str(count)] = found = _measured(name, folder)
                    print(f"{count:,} rows, {name}: {_cell(found)}", file=sys.stderr, flush=True)
        if options.json:
            told = {"torch": torch.__version__, "uses": results}
            options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(f"| rows | {' | '.join(f'{count:,}' for count in options.rows)} |")
    print(f"|{'---|' * (len(options.rows) + 1)}")
    for name, found_by_size in results.items():
        cells = [
            _cell(found_by_size[str(count)]) if str(count) in found_by_size else ""
            for count in options.rows
        ]
        print(f"| {USES[name].title} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
