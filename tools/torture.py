"""Feed every reader broken files, kill every long verb, and count what must not happen.

Each input is a whole file with some bytes changed: cut off, flipped, filled with zeros or noise,
given the head of another kind of file, or numbers that are huge, infinite or none. A reader may
read it, or refuse it in one sentence (:class:`cycada.errors.CycadaError`). It must not raise
anything else, hang, or ask for memory without bound. Every reader works in a process of its own,
which may have 3 GB more than it begins with and is killed after ``--patience`` seconds.

Then other things stand in the places of files, such as pipes, folders, bombs and names that no
index can hold (``torture_places.py``; not with ``--quick``).

Each verb is killed at random moments and begun again by the same command, ``--kills`` times
(``translate`` 10/3 as often; ``demo`` and ``export``, which begin slowly, a third as often). No
run may be lost, and what it leaves at its end may not differ from what one leaves that nobody
disturbed (``torture_kills.py``).

    python tools/torture.py --inputs 2000 --kills 30 --json torture.json
    python tools/torture.py --only fuzz --readers images labels --inputs 500 --keep broken
    python tools/torture.py --only fuzz --samples recordings     (also files of your own)
    python tools/torture.py --only kills --verbs translate --kills 30
    python tools/torture.py --quick                              (both, small, in 3 minutes)

Inputs and moments depend on the seed and their number alone, but a moment that is a time falls
where the machine then is. ``--keep`` keeps those that did harm. The exit code is 1 if any did.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torture_kills
import torture_places
import torture_samples

from cycada.errors import CycadaError
from cycada.files import replacing

_MORE_MEMORY = 3 << 30  # bytes
_FRAMES = 40  # of a recording that are read
_SHARES = {"translate": 10 / 3, "demo": 1 / 3, "export": 1 / 3}  # of --kills
_QUICK_INPUTS, _QUICK_KILLS = 60, 4
_HUGE = (b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\x7f\xff\xff\xff")
_WORDS = (
    b"nan", b"inf", b"-inf", b"1e999", b"-1", b"", b"999999999999999999999", b"0x10", b"\x00",
    b"NULL", b"\xff\xfe", "é".encode(), "é".encode("latin-1"), b'"', b"..", b"/", b"{}", b"[1]",
)  # fmt: skip

Bytes = bytes
Reader = Callable[[Path], None]
"""Takes the folder or file of a sample."""


class Outcome(NamedTuple):
    """What became of one input."""

    kind: str  # read, refused, traceback or hang
    told: str
    peak_mb: float  # of the process so far, above what it began with


def mutated(data: Bytes, others: Sequence[Bytes], draw: np.random.Generator) -> Bytes:
    """Return ``data`` with one to three faults."""
    changed = data
    for _ in range(int(draw.integers(1, 4))):
        changed = _FAULTS[int(draw.integers(len(_FAULTS)))](changed, others, draw)
    return changed


def _place(data: Bytes, draw: np.random.Generator) -> int:
    """Return a place; every second one in the head, where the meaning of the rest is told."""
    end = len(data) if draw.random() < 0.5 else min(len(data), 256)
    return int(draw.integers(max(end, 1)))


def _cut(data: Bytes, _others: Sequence[Bytes], draw: np.random.Generator) -> Bytes:
    return data[: _place(data, draw)]


def _flip(data: Bytes, _others: Sequence[Bytes], draw: np.random.Generator) -> Bytes:
    changed = bytearray(data)
    for _ in range(int(draw.integers(1, 20)) if changed else 0):
        changed[_place(data, draw)] ^= 1 << int(draw.integers(8))
    return bytes(changed)


def _fill(data: Bytes, _others: Sequence[Bytes], draw: np.random.Generator) -> Bytes:
    at, length = _place(data, draw), int(draw.integers(1, 64))
    filling = bytes(length) if draw.random() < 0.5 else draw.bytes(length)
    return data[:at] + filling + data[at + length :]


def _head(data: Bytes, others: Sequence[Bytes], draw: np.random.Generator) -> Bytes:
    length = int(draw.integers(2, 64))
    return others[int(draw.integers(len(others)))][:length] + data[length:]


def _large(data: Bytes, _others: Sequence[Bytes], draw: np.random.Generator) -> Bytes:
    at = _place(data, draw)
    return data[:at] + _HUGE[int(draw.integers(len(_HUGE)))] + data[at + 4 :]


def _twice(data: Bytes, _others: Sequence[Bytes], draw: np.random.Generator) -> Bytes:
    at = _place(data, draw)
    return data[: at + int(draw.integers(1, 200))] + data[at:]


def _word(data: Bytes, _others: Sequence[Bytes], draw: np.random.Generator) -> Bytes:
    """Put an odd word in the place of a number or a name of a text."""
    words = _words_of(data)
    if not words:
        return data
    start, end = words[int(draw.integers(len(words)))]
    return data[:start] + _WORDS[int(draw.integers(len(_WORDS)))] + data[end:]


def _words_of(data: Bytes) -> list[tuple[int, int]]:
    found, start = [], None
    for at, byte in enumerate(data[:20000]):
        inside = chr(byte).isalnum() or byte in b".-+_"
        if inside and start is None:
            start = at
        if not inside and start is not None:
            found.append((start, at))
            start = None
    return found


_FAULTS = (_cut, _flip, _fill, _head, _large, _twice, _word, _word)


def _work(reader: str, pipe: Connection) -> None:
    """Read what comes through the pipe, and answer how it went."""
    read = torture_samples.READERS[reader]
    pipe.send("ready")
    started = _peak_mb()
    limit = int(_status_mb("VmSize") * 2**20) + _MORE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    while True:
        place = pipe.recv()
        if place is None:
            return
        kind, told = "read", ""
        try:
            read(place, _FRAMES)
        except CycadaError as error:
            kind, told = "refused", str(error)
            if "\n" in told.strip() or not told:
                kind = "traceback"  # no single sentence
        except BaseException:  # noqa: BLE001  # it is what is counted
            kind, told = "traceback", traceback.format_exc()
        pipe.send(Outcome(kind, told, _peak_mb() - started))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _status_mb(name: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return float(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status tells no {name}")


class Worker:
    """A process that reads, and is replaced when it hangs or dies."""

    def __init__(self, reader: str, patience: float) -> None:
        """Start the process of ``reader``."""
        self.reader, self.patience = reader, patience
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, end = context.Pipe()
        self.process = context.Process(target=_work, args=(self.reader, end))
        self.process.start()
        end.close()
        self.pipe.recv()

    def __call__(self, place: Path) -> Outcome:
        """Return what became of the input at ``place``."""
        try:
            self.pipe.send(place)
            if self.pipe.poll(self.patience):
                found: Outcome = self.pipe.recv()
                return found
            told = Outcome("hang", f"not done after {self.patience:g} s", 0.0)
        except (EOFError, OSError):
            self.process.join()
            told = Outcome("traceback", f"the process died ({self.process.exitcode})", 0.0)
        self.process.kill()
        self.process.join()
        self._start()
        return told

    def close(self) -> None:
        """End the process."""
        self.pipe.send(None)
        self.process.join()


def fuzz(
    reader: str, samples: Sequence[Path], *, inputs: int, seed: int, patience: float,
    keep: Path | None,
) -> dict[str, Any]:  # fmt: skip
    """Return the counts of a reader over ``inputs`` broken samples.

    Args:
        reader: One of ``torture_samples.READERS``.
        samples: Folders, each a whole input: its one file, or files of which one at a time is
            changed.
        inputs: How many to try.
        seed: Of the faults.
        patience: Seconds that an input may take.
        keep: Folder for those that did harm.
    """
    counts: dict[str, Any] = {
        "inputs": inputs, "read": 0, "refused": 0, "tracebacks": 0, "hangs": 0, "peak_mb": 0.0,
        "harm": {},
    }  # fmt: skip
    files = [(sample, file) for sample in samples for file in _files(sample)]
    contents = [file.read_bytes() for _, file in files]
    worker = Worker(reader, patience)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(inputs):
            draw = np.random.default_rng((seed, *reader.encode(), number))
            sample, file = files[number % len(files)]
            trial = Path(folder) / "trial"
            shutil.copytree(sample, trial)
            broken = trial / file.relative_to(sample)
            broken.write_bytes(mutated(contents[number % len(files)], contents, draw))
            found = worker(trial)
            counts["peak_mb"] = round(max(counts["peak_mb"], found.peak_mb), 1)
            name = {"traceback": "tracebacks", "hang": "hangs"}.get(found.kind, found.kind)
            counts[name] += 1
            if found.kind in ("traceback", "hang"):
                kind = found.told.strip().splitlines()[-1].partition(":")[0]
                counts["harm"].setdefault(f"{file.name}: {kind}", []).append(number)
                if keep is not None:
                    place = keep / reader / f"{number:05d}"
                    shutil.copytree(trial, place, dirs_exist_ok=True)
                    (place / "told.txt").write_text(found.told, encoding="utf-8")
            shutil.rmtree(trial)
    worker.close()
    return counts


def _files(sample: Path) -> list[Path]:
    return sorted(file for file in sample.rglob("*") if file.is_file())


def main() -> None:
    """Read the command, fuzz and kill, print and write the counts; 1 if anything did harm."""
    options = _options()
    result: dict[str, Mapping[str, Any]] = {}
    harmed = False
    if options.only != "fuzz":
        killed = _kill(options)
        harmed = any(not counts.is_clean for counts in killed.values())
        result["kills"] = {
            verb: {name: getattr(counts, name) for name in ("tried", "lost", "different")}
            for verb, counts in killed.items()
        }
    if options.only != "kills":
        fuzzed = _fuzz(options)
        harmed = harmed or any(
            counts["tracebacks"] or counts["hangs"] for counts in fuzzed.values()
        )
        names = ("inputs", "tracebacks", "hangs", "peak_mb")
        result["fuzz"] = {
            reader: {name: counts[name] for name in names} for reader, counts in fuzzed.items()
        }
    if options.json:
        with replacing(options.json) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.exit(harmed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("fuzz", "kills"))
    parser.add_argument("--quick", action="store_true", help="few inputs and kills, no demo")
    parser.add_argument("--inputs", type=int, default=2000, help="for each reader")
    parser.add_argument("--readers", nargs="+", choices=list(torture_samples.READERS))
    parser.add_argument("--samples", type=Path, help="a folder with recordings of your own")
    parser.add_argument("--patience", type=float, default=20.0, help="seconds for each input")
    parser.add_argument("--kills", type=int, default=30, help="of each verb")
    parser.add_argument("--verbs", nargs="+", choices=torture_kills.VERBS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for what did harm")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.inputs, options.kills, options.seed = _QUICK_INPUTS, _QUICK_KILLS, 0
        options.verbs = options.verbs or [v for v in torture_kills.VERBS if v != "demo"]
    return options


def _kill(options: argparse.Namespace) -> dict[str, torture_kills.Counts]:
    def tell(verb: str, counts: torture_kills.Counts, seconds: float) -> None:
        print(
            f"{verb}: killed {counts.tried} times, {counts.lost} lost, {counts.whole} whole runs "
            f"compared, {counts.different} files different, {seconds:.0f} s",
            *(f"\n  {told}" for told in counts.harm), flush=True, sep="",
        )  # fmt: skip

    verbs = options.verbs or torture_kills.VERBS
    return torture_kills.kill_all(
        verbs, kills={verb: round(options.kills * _SHARES.get(verb, 1)) for verb in verbs},
        seed=options.seed, keep=options.keep, real=not options.quick, tell=tell,
    )  # fmt: skip


def _fuzz(options: argparse.Namespace) -> dict[str, Mapping[str, Any]]:
    result: dict[str, Mapping[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        made = torture_samples.write_samples(Path(folder), recordings=options.samples)
        for reader in options.readers or torture_samples.READERS:
            started = time.monotonic()
            counts = fuzz(
                reader, made[reader], inputs=options.inputs, seed=options.seed,
                patience=options.patience, keep=options.keep,
            )  # fmt: skip
            result[reader] = counts
            print(
                f"{reader}: {counts['inputs']} inputs, {counts['read']} read, {counts['refused']} "
                f"refused, {counts['tracebacks']} tracebacks, {counts['hangs']} hangs, "
                f"{counts['peak_mb']:.0f} MB more at most, {time.monotonic() - started:.0f} s",
                flush=True,
            )
            for told, numbers in counts["harm"].items():
                print(f"  {len(numbers)} x {told} (such as {numbers[0]})", flush=True)
    if not options.quick:
        _add_places(result, options)
    return result


def _add_places(result: dict[str, Any], options: argparse.Namespace) -> None:
    """Add what becomes of other things in the place of files; what bulk verbs lose is harm."""
    placed = torture_places.places(
        patience=max(options.patience, 60), keep=options.keep, only=options.readers
    )
    for name, counts in placed.items():
        print(f"{name}, other things in place of files: {counts}", flush=True)
        before = result.get(name, {"inputs": 0, "tracebacks": 0, "hangs": 0, "peak_mb": 0.0})
        result[name] = {
            "inputs": before["inputs"] + counts["inputs"],
            "tracebacks": before["tracebacks"] + counts["tracebacks"] + counts["lost"],
            "hangs": before["hangs"] + counts["hangs"],
            "peak_mb": max(before["peak_mb"], counts["peak_mb"]),
        }


if __name__ == "__main__":
    main()
