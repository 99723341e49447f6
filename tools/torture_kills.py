"""What ``torture.py`` kills: every verb that runs long, at random moments, until it has ended.

Half of the moments are a time, drawn evenly over the seconds of an uninterrupted run; half are a
change of a file, drawn evenly over all that it makes, before which or in whose midst the process
ends. Most end by SIGKILL, some by SIGTERM and SIGINT, which must end with 143 and 130 and say how
to go on. Then the same command runs again. What it leaves at its end is compared, file by file and
byte by byte, with what ``python -m cycada`` leaves that nobody disturbs, and so is one undisturbed
run of a forked child. Left out of the comparison is what tells times, nothing else: ``seconds`` and
``waiting`` of each line of ``metrics.jsonl``, ``seconds`` of ``demo.json`` and ``summary.json``;
TensorBoard's event files, which are named by the time of their making and repeat the log; and
``audit.npz``, which keeps when each image was changed.

A run is lost when the same command is refused or fails, a stop is not answered as promised, or
something that had been saved is gone: a file that was as it is to be at the end, the newest
checkpoint, a row of a table.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image

_SERVER = Path(__file__).with_name("torture_server.py")
_SERVERS = 2  # verbs that are killed side by side
_STOPS = {signal.SIGTERM: 143, signal.SIGINT: 130}
_TOLD = "Stopped. The same command continues."
_RECORDINGS, _PICTURES = {"a": 40, "b": 36}, 9  # frames
_LOG = "metrics.jsonl"  # its lines after the last checkpoint are written again
_LOOKS = "audit.npz"
_EVENTS = "events.out.tfevents."  # how the names of TensorBoard's begin
_TIMES = frozenset({"demo.json", "summary.json", _LOG})
_TELL_TIMES = frozenset({"seconds", "waiting"})
_SHARE_OF_TIMES, _SHARE_OF_TEARING, _SHARE_OF_SIGKILL = 0.5, 0.25, 0.7

VERBS = (
    "demo", "phantom", "convert", "index", "train-detector", "train-translator", "translate",
    "translate-shards", "detect", "monitor", "export",
)  # fmt: skip
"""What can be killed, by name; the one that takes longest comes first."""

_VERB_OF = {"translate-shards": "translate"}

Snapshot = Mapping[str, str]
"""Path below the output folder -> digest of what is in the file."""


class Ended(NamedTuple):
    """How a child of the server ended."""

    code: int
    seconds: float
    operations: int  # changes of files
    fired: bool  # whether its moment came
    log: str


@dataclass(frozen=True, slots=True)
class Case:
    """A command to be killed."""

    verb: str  # its name in ``VERBS``
    words: tuple[str, ...]
    out: Path


@dataclass(slots=True)
class Counts:
    """What became of the runs of a verb."""

    tried: int = 0
    lost: int = 0
    different: int = 0
    whole: int = 0  # runs that have ended and were compared
    harm: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing happened that must not."""
        return not self.lost and not self.different

    def lose(self, told: str) -> None:
        """Count a lost run."""
        self.lost += 1
        self.harm.append(told)

    def compare(self, found: Snapshot, wanted: Snapshot, told: str) -> None:
        """Count the files that differ."""
        self.whole += 1
        differing = sorted(
            name for name in {*found, *wanted} if found.get(name) != wanted.get(name)
        )
        self.different += len(differing)
        if differing:
            self.harm.append(f"{told}: {len(differing)} files differ: {', '.join(differing[:5])}")


class Server:
    """A process that forks a child for each command (``torture_server.py``)."""

    def __init__(self) -> None:
        """Start it; it is ready when it has imported all."""
        self.process = subprocess.Popen(  # noqa: S603  # our own
            [sys.executable, str(_SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=environment(),
        )  # fmt: skip
        self.orders, self.answers = _pipes(self.process)

    def run(
        self, words: Sequence[str], log: Path, moment: Mapping[str, Any] | None = None
    ) -> Ended:
        """Run a command, killed at a moment if one is given."""
        order = {"words": list(words), "log": str(log), "moment": moment}
        self.orders.write(json.dumps(order) + "\n")
        self.orders.flush()
        answer = self.answers.readline()
        if not answer:
            raise RuntimeError(f"torture_server.py has ended ({self.process.wait()})")
        return Ended(**json.loads(answer), log=log.read_text(encoding="utf-8", errors="replace"))

    def close(self) -> None:
        """End it."""
        self.process.communicate()


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a process without pipes")
    return process.stdin, process.stdout


def environment() -> dict[str, str]:
    """Return the environment of all runs: one thread each, so that two do not hinder another.

    A demo has two, of which one would keep the other from its core while it waits.
    """
    path = os.pathsep.join([str(_SERVER.parents[1]), str(_SERVER.parent)])
    one = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return {**os.environ, "PYTHONPATH": path, **one}


def contents(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder, hidden files too.

    Workers of a process that was killed may still be writing: what vanishes meanwhile is not there.
    """
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                file = Path(place, name)
                found[file.relative_to(folder).as_posix()] = file.read_bytes()
    return found


def snapshot(found: Mapping[str, bytes]) -> Snapshot:
    """Return digests of contents, without the times."""
    return {
        name: _digest(file, content)
        for name, content in found.items()
        if (file := PurePosixPath(name)).name != _LOOKS and not file.name.startswith(_EVENTS)
    }


def _digest(file: PurePosixPath, content: bytes) -> str:
    if file.name in _TIMES:
        try:
            parts = content.splitlines() if file.suffix == ".jsonl" else [content]
            content = json.dumps([_without_times(part) for part in parts]).encode()
        except (ValueError, AttributeError):
            pass  # torn: then it differs
    return hashlib.sha256(content).hexdigest()


def _without_times(content: bytes) -> dict[str, Any]:
    return {name: value for name, value in json.loads(content).items() if name not in _TELL_TIMES}


def saved(found: Mapping[str, bytes]) -> tuple[int, int]:
    """Return the step of the newest checkpoint, and the rows of all tables, begun ones too.

    What a process was writing under a temporary name was never saved.
    """
    sums = [PurePosixPath(name).parent.name for name in found if name.endswith("/SHA256SUMS")]
    rows = [max(content.count(b"\n") - 1, 0) for name, content in found.items() if
            name.endswith(".csv") and ".part-" not in name]  # fmt: skip
    return max((int(step) for step in sums if step.isdigit()), default=-1), sum(rows)


def draw_moment(draw: np.random.Generator, undisturbed: Ended, largest: int) -> dict[str, Any]:
    """Return when and how to end a run.

    Args:
        draw: What is random.
        undisturbed: How the run ends by itself.
        largest: Bytes of the largest file that it leaves.
    """
    number = signal.SIGKILL
    if draw.random() > _SHARE_OF_SIGKILL:
        number = (signal.SIGTERM, signal.SIGINT)[int(draw.integers(2))]
    if draw.random() < _SHARE_OF_TIMES:
        return {"after": draw.random() * undisturbed.seconds, "signal": int(number)}
    operation = 1 + int(draw.integers(undisturbed.operations))
    if draw.random() < _SHARE_OF_TEARING:
        return {"operation": operation, "bytes": int(largest ** draw.random())}
    return {"operation": operation, "signal": int(number)}


def torture(
    case: Case, server: Server, *, kills: int, seed: int, log: Path, keep: Path | None,
    real: bool = True,
) -> Counts:  # fmt: skip
    """Kill a command ``kills`` times, and go on until it has ended; return what became of it.

    Args:
        case: The command.
        server: Runs it.
        kills: How often.
        seed: Of the moments.
        log: File for what the command prints.
        keep: Folder for output folders that differ or are lost.
        real: Whether to compare with a process started anew, not with a forked one.
    """
    counts = Counts()
    if real:
        subprocess.run(  # noqa: S603  # our own
            command(case), check=True, env=environment(), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wanted = _taken_away(case.out)
    undisturbed = server.run(case.words, log)
    if undisturbed.code:
        raise RuntimeError(f"cycada {case.verb} fails undisturbed: {undisturbed.log}")
    largest = max(map(len, contents(case.out).values()))
    forked = _taken_away(case.out)
    if real:
        counts.compare(forked, wanted, "undisturbed, forked and not")
    draw = np.random.default_rng((seed, *case.verb.encode()))
    before = _Before()
    while counts.tried < kills or case.out.exists():
        moment = draw_moment(draw, undisturbed, largest) if counts.tried < kills else None
        ended = server.run(case.words, log, moment)
        counts.tried += ended.fired and ended.code != 0
        files = contents(case.out)
        found = snapshot(files)
        told = f"kill {counts.tried}, {moment}"
        fault = _fault(ended, moment, whole=found == forked) or before.lost(files, found, forked)
        if fault:
            counts.lose(f"{told}: {fault}")
        elif ended.code == 0 or found == forked:
            counts.compare(found, forked, told)
        else:
            continue
        if keep is not None and (fault or found != forked):
            place = keep / case.verb / f"{counts.tried:05d}"
            place.mkdir(parents=True, exist_ok=True)
            if case.out.exists():
                shutil.copytree(case.out, place, dirs_exist_ok=True)
            (place / "told.txt").write_text(f"{told}: {fault}\n\n{ended.log}", encoding="utf-8")
        _remove(case.out)
        before = _Before()
    return counts


def command(case: Case) -> list[str]:
    """Return the command line of a process of its own; a demo is as tiny as that of the server."""
    start = ["-m", "cycada"]
    if case.verb == "demo":
        start = ["-c", "import sys, torture_server as s; s.run_verb(sys.argv[1:])"]
    return [sys.executable, *start, *case.words]


def _fault(ended: Ended, moment: Mapping[str, Any] | None, *, whole: bool) -> str:
    """Return what is wrong with how a run has ended; empty if nothing is."""
    last = (ended.log.strip().splitlines() or [""])[-1]
    wrong = f"ended with {ended.code}: {last}"
    number = moment.get("signal") if moment is not None and ended.fired else None
    if whole:
        return ""  # nothing was left to do; some verbs refuse to do it again, others say it is done
    if ended.fired and ended.code < 0 and number not in _STOPS:
        return "" if "Traceback" not in ended.log else wrong
    if number in _STOPS and not ended.operations:
        return ""  # before the verb had begun
    if number in _STOPS:
        answered = ended.code == _STOPS[signal.Signals(number)] and _TOLD in ended.log
        return "" if answered and "Traceback" not in ended.log else wrong
    return wrong if ended.code else ""


class _Before:
    """What was saved when the run was killed the last time."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.numbers = (-1, 0)

    def lost(self, files: Mapping[str, bytes], found: Snapshot, wanted: Snapshot) -> str:
        """Return what is gone that was there; empty if nothing is."""
        names = {name for name, digest in found.items() if wanted.get(name) == digest}
        names = {name for name in names if PurePosixPath(name).name != _LOG}
        numbers = saved(files)
        gone = sorted(self.names - names)
        before, self.names, self.numbers = self.numbers, names, numbers
        if gone:
            return f"{len(gone)} files that were done are not any more, such as {gone[0]}"
        if any(new < old for new, old in zip(numbers, before, strict=True)):
            return f"of checkpoint {before[0]} and {before[1]} rows are left {numbers}"
        return ""


def _taken_away(folder: Path) -> Snapshot:
    found = snapshot(contents(folder))
    _remove(folder)
    return found


def _remove(folder: Path) -> None:
    """Remove a folder, in which workers of a killed process may still be writing."""
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.2)
    raise RuntimeError(f"{folder}: cannot be removed")


def prepare(root: Path, server: Server, log: Path) -> dict[str, Case]:
    """Make what the verbs work on, small, and return what is to be killed."""
    faces, recordings = root / "faces", root / "recordings"
    common = ["size=16", "batch_size=4", "steps=10", "average_decay=0.9", 'mixed_precision="no"',
              "workers=0", "log_every=2", "save_every=3", "keep=2"]  # fmt: skip
    translator = [
        f'data=["{faces}"]', "generator.width=4", "generator.blocks=1", "discriminator.width=4",
        "discriminator.layers=1", "learning_rate=2e-3", "pool=8", "sample_every=4", *common,
    ]  # fmt: skip
    detector = [
        f'source=["{faces}"]', 'source_domain="rgb"', f'target=["{faces}"]', 'backbone="small"',
        "width=4", 'pretrained="none"', 'alignment.method="dann"', "alignment.hidden=8",
        "self_training.consistency=0.5", "learning_rate=5e-3", "validate_every=5", *common,
    ]  # fmt: skip
    phantom = ["--subjects", "10", "--frames-per-subject", "4", "--size", "16"]
    judge = [f'source=["{faces}"]', 'source_domain="rgb"', 'backbone="small"', "width=4",
             'pretrained="none"', *common]  # fmt: skip
    made = {
        "detector": ["train-detector", *_set(detector)], "judge": ["train-detector", *_set(judge)],
    }  # fmt: skip
    made["translator"] = ["train-translator", *_set(translator)]
    for name, words in {"faces": ["phantom", *phantom], **made}.items():
        ended = server.run([*words, "--out", str(root / name)], log)
        if ended.code:
            raise RuntimeError(f"cycada {words[0]} fails undisturbed: {ended.log}")
    _write_recordings(recordings)
    boxes = root / "boxes.csv"
    _write_boxes(boxes)
    shards = root / "shards"
    _write_shards(shards, faces)
    runs = {
        "phantom": ["--subjects", "6", "--frames-per-subject", "3", "--size", "16", "--video"],
        "convert": [str(recordings)],
        "index": ["--thermal", str(recordings), "--crop", str(boxes), "--unit", "centikelvin"],
        "train-detector": _set(detector),
        "train-translator": _set([*translator, f'detector="{root / "judge"}"']),
        "translate": [str(root / "translator"), str(faces)],
        "translate-shards": [str(root / "translator"), str(shards)],
        "detect": [str(root / "detector"), str(recordings / "a.npy"), str(recordings / "c"),
                   "--faces", "whole", "--overlay"],
        "monitor": [str(recordings / "a.npy"), "--detector", str(root / "detector"),
                    "--faces", "whole", "--fps", "2", "--unit", "centikelvin"],
        "export": [str(root / "translator")],
        "demo": ["--size", "16"],
    }  # fmt: skip
    return {
        name: Case(
            name,
            (_VERB_OF.get(name, name), *words, "--out", str(root / "out" / name)),
            root / "out" / name,
        )
        for name, words in runs.items()
    }


def _set(settings: Sequence[str]) -> list[str]:
    return [f"--set={setting}" for setting in settings]


def _write_recordings(folder: Path) -> None:
    """Write two recordings, a folder of frames and a single image, in centikelvin."""
    y, x = np.mgrid[:30, :40]
    warm = 29500 + 1200 * np.exp(-((y - 15.0) ** 2 + (x - 20.0) ** 2) / 60)
    for name, count in _RECORDINGS.items():
        shift = np.arange(count)[:, None, None]
        folder.mkdir(exist_ok=True)
        np.save(folder / f"{name}.npy", np.asarray(warm + 5 * shift, dtype=np.uint16))
    (folder / "c").mkdir()
    for number in range(_PICTURES):
        frame = Image.fromarray(np.asarray(warm - 3 * number, dtype=np.uint16))
        frame.save(folder / "c" / f"{number:04d}.png")


def _write_shards(folder: Path, faces: Path) -> None:
    """Pack RGB faces, each with a label that is carried along, into shards of a few."""
    folder.mkdir()
    for number, subject in enumerate(sorted((faces / "rgb").iterdir())):
        with tarfile.open(folder / f"{number:03d}.tar", "w") as shard:
            for face in sorted(subject.iterdir()):
                label = face.name.encode()
                for name, content in ((face.name, face.read_bytes()), (f"{face.stem}.txt", label)):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    shard.addfile(member, io.BytesIO(content))


def _write_boxes(file: Path) -> None:
    """Write where the face is in each frame."""
    rows = ["path,frame,left,top,width,height"]
    for name, count in (
        *((f"{name}.npy", count) for name, count in _RECORDINGS.items()),
        ("c", _PICTURES),
    ):
        rows += [f"{name},{number},{7 + number % 3},2,26,26" for number in range(count)]
    file.write_text("\n".join([*rows, ""]), encoding="utf-8")


def kill_all(
    verbs: Sequence[str], *, kills: Mapping[str, int], seed: int, keep: Path | None, real: bool,
    tell: Callable[[str, Counts, float], None],
) -> dict[str, Counts]:  # fmt: skip
    """Kill verbs, two at a time, and return what became of each.

    Args:
        verbs: Some of ``VERBS``.
        kills: Verb -> how often.
        seed: Of the moments.
        keep: Folder for what was lost or differs.
        real: Whether to compare with processes started anew.
        tell: Called with each verb that is done, its counts and its seconds.
    """
    free: queue.SimpleQueue[Server] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        servers = [Server() for _ in range(min(_SERVERS, len(verbs)))]
        for server in servers:
            free.put(server)
        cases = prepare(root, servers[0], root / "log.txt")

        def work(verb: str) -> Counts:
            server, started = free.get(), time.monotonic()
            counts = torture(
                cases[verb], server, kills=kills[verb], seed=seed, keep=keep, real=real,
                log=root / f"{verb}.log",
            )  # fmt: skip
            free.put(server)
            tell(verb, counts, time.monotonic() - started)
            return counts

        with ThreadPoolExecutor(len(servers)) as pool:
            found = dict(zip(verbs, pool.map(work, verbs), strict=True))
        for server in servers:
            server.close()
    return found
