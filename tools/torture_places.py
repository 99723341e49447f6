"""Put what is no such file in the place of a file, for every reader and for the bulk verbs.

A folder, a file that may not be read (not by root either), a pipe, a device, links that lead
nowhere or in a circle, names that are not UTF-8 or as long as they may be, nothing at all, the
content of another kind of file, and files of some kB or MB that unpack into gigabytes. Each is read
in a process of its own, with bounded memory and time.

    python tools/torture_places.py --json places.json
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import ctypes
import json
import os
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
import torture_samples

from cycada import image_reading, image_writing
from cycada.config import DiscriminatorConfig, GeneratorConfig, TranslatorConfig
from cycada.data.index import Face, Index, IndexInfo, read_index, write_index
from cycada.errors import CycadaError
from cycada.files import replacing
from cycada.footage import ReadOptions
from cycada.progress import Progress
from cycada.rejecting import REJECTED_NAME, read_rejected
from cycada.stages.detect import DetectOptions, detect
from cycada.stages.train_translator import run_training
from cycada.stages.translate import run_translation

_MORE_MEMORY = 3 << 30  # bytes
_SIDE = 50_000  # px of a bomb
_QUIET = Progress(shown=False)


class Outcome(NamedTuple):
    """What became of one place."""

    kind: str  # read, refused, traceback, hang or lost
    told: str
    peak_mb: float  # of its process, above what it began with


Place = Callable[[Path], None]
"""Puts something in the place of a whole file."""


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _unreadable(file: Path) -> None:
    file.chmod(0)


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _device(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def _circle(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


def _nowhere(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _zeros(file: Path) -> None:
    """Leave a file that is long and takes no room."""
    file.write_bytes(b"")
    os.truncate(file, 1 << 32)


def _other_kind(file: Path) -> None:
    """Write a table under the name of a picture, and a picture under any other."""
    picture = file.suffix.lower() in image_reading.IMAGE_SUFFIXES
    file.write_bytes(b"path,AU01\na.png,1\n" if picture else _png(8, 8))


def _bomb(file: Path) -> None:
    """Write a few kB, or some MB, that unpack into gigabytes, by what the name promises."""
    nested = b"a = " * (file.suffix == ".toml") + b"[" * 10**6
    make: dict[str, Callable[[], bytes]] = {
        ".png": lambda: _png(_SIDE, _SIDE), ".jpg": lambda: _png(_SIDE, _SIDE),
        ".tif": _tiff, ".npy": _npy_head, ".npz": _npz, ".cptv": _gz, ".gz": _gz,
    }  # fmt: skip
    file.write_bytes(make.get(file.suffix.lower(), lambda: nested)())
    if file.suffix.lower() == ".npy":
        os.truncate(file, 128 + 2 * _SIDE * _SIDE)


PLACES: Mapping[str, Place] = MappingProxyType(
    {
        "folder": _folder, "unreadable": _unreadable, "pipe": _pipe, "device": _device,
        "circle": _circle, "nowhere": _nowhere, "empty": _empty, "zeros": _zeros,
        "other kind": _other_kind, "bomb": _bomb,
    }
)  # fmt: skip

NAMES: Mapping[str, bytes] = MappingProxyType(
    {"not UTF-8": b"caf\xe9", "long": b"n" * 240, "line break": b"a\nb", "backslash": b"a\\b"}
)
"""Stems of files whose content is whole. (No file system here has names of 300 bytes: those are
asked for in indexes, ``_asked_for``.)"""


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    head = struct.pack(">2I5B", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width // 8 + 1) * min(height, 2000)))
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def _tiff() -> bytes:
    packed = zlib.compress(bytes(10**6))
    entries = [
        (256, 4, _SIDE), (257, 4, _SIDE), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 8),
        (278, 4, _SIDE), (279, 4, len(packed)),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value)
    head = b"II*\0" + struct.pack("<I", 8 + len(packed))
    return head + packed + directory + bytes(4)


def _npy_head(shape: tuple[int, ...] = (_SIDE, _SIDE), *, fortran: bool = False) -> bytes:
    text = f"{{'descr': '<u2', 'fortran_order': {fortran}, 'shape': {shape}}}"
    padded = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode()


@cache
def _npz() -> bytes:
    """Return 5 GB of frames in 5 MB."""
    with tempfile.TemporaryFile() as stream:
        with (
            zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("frames.npy", "w", force_zip64=True) as member,
        ):
            member.write(_npy_head((20_000, 500, 250), fortran=True))
            for _ in range(1250):
                member.write(bytes(4_000_000))
        stream.seek(0)
        return stream.read()


@cache
def _gz() -> bytes:
    """Return 2 GB of zeros after the head of a CPTV recording, packed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = b"CPTV\x02H\x01\x08T" + bytes(8)
    parts = [packer.compress(head)]
    parts += [packer.compress(bytes(1 << 24)) for _ in range(128)]
    return b"".join((*parts, packer.flush()))


def places(
    *, patience: float = 60.0, keep: Path | None = None, only: Sequence[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Return the counts of every reader and of the bulk verbs, as ``torture.py`` counts.

    Args:
        patience: Seconds that one place may take.
        keep: Folder for what was told of those that did harm.
        only: Names of readers and verbs; ``None`` for all.
    """
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        samples = torture_samples.write_samples(root / "samples", recordings=None)
        runs = _runs(root) if only is None or {"translate", "detect"} & set(only) else {}
        for reader, folders in samples.items():
            if only is None or reader in only:
                counts = found.setdefault(reader, _counts())
                for what, made in _trials(folders, root / "trial"):
                    read = torture_samples.READERS[reader]
                    _count(counts, what, _tried(partial(read, made, 40),
                                                patience=patience), keep, reader)  # fmt: skip
                    _remove(root / "trial")
        for verb, run in runs.items():
            if only is None or verb in only:
                counts = found.setdefault(verb, _counts())
                for what, bad in _mixed(root / "mixed", verb):
                    work = _VERBS[verb]
                    _count(counts, what, _tried(
                        partial(work, run, root / "mixed", bad),
                        patience=patience,
                    ), keep, verb)  # fmt: skip
                    _remove(root / "mixed")
    return found


def _counts() -> dict[str, Any]:
    return {
        "inputs": 0, "read": 0, "refused": 0, "tracebacks": 0, "hangs": 0, "lost": 0,
        "peak_mb": 0.0, "harm": {},
    }  # fmt: skip


def _count(counts: dict[str, Any], what: str, found: Outcome, keep: Path | None, name: str) -> None:
    plural = {"traceback": "tracebacks", "hang": "hangs"}.get(found.kind, found.kind)
    counts["inputs"] += 1
    counts[plural] += 1
    counts["peak_mb"] = round(max(counts["peak_mb"], found.peak_mb), 1)
    if found.kind in ("traceback", "hang", "lost"):
        counts["harm"][what] = (found.told.strip().splitlines() or [""])[-1]
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{name}-{len(counts['harm'])}.txt").write_text(
                f"{what}\n{found.told}", encoding="utf-8", errors="backslashreplace"
            )


def _trials(folders: Sequence[Path], trial: Path) -> Any:
    """Yield what is in the place of which file, and the folder: one file for each suffix."""
    seen: set[tuple[str, str]] = set()
    for sample in folders:
        for file in sorted(each for each in sample.rglob("*") if each.is_file()):
            below = file.relative_to(sample)
            if (kind := (below.stem.rstrip("0123456789_"), below.suffix)) in seen:
                continue
            seen.add(kind)
            for name, place in PLACES.items():
                shutil.copytree(sample, trial)
                place(trial / below)
                yield f"{below}: {name}", trial
            for name, stem in NAMES.items():
                shutil.copytree(sample, trial)
                (trial / below).rename((trial / below).with_name(_named(stem, below.suffix)))
                yield f"{below}: {name}", trial


def _named(stem: bytes, suffix: str) -> str:
    return os.fsdecode(stem + suffix.encode())


def _remove(folder: Path) -> None:
    shutil.rmtree(folder)


def _tried(work: Callable[[], None], *, patience: float) -> Outcome:
    """Return what becomes of work in a child that may use neither rights, memory nor time at will.

    The child is a fork, which has imported everything and runs no threads of this process.
    """
    inside, outside = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(inside)
        _work(work, outside)
    os.close(outside)
    end, answer = time.monotonic() + patience, b""
    os.set_blocking(inside, False)
    while time.monotonic() < end:
        with contextlib.suppress(BlockingIOError):
            if not (part := os.read(inside, 1 << 16)):
                break
            answer += part
            continue
        time.sleep(0.01)
    else:
        os.kill(child, signal.SIGKILL)
    os.close(inside)
    _, status, usage = os.wait4(child, 0)
    if os.WIFSIGNALED(status) and not answer:
        killed = os.WTERMSIG(status)
        kind = "hang" if killed == signal.SIGKILL else "traceback"
        return Outcome(kind, f"ended by signal {killed}", usage.ru_maxrss / 1024)
    return Outcome(*json.loads(answer))


def _work(work: Callable[[], None], pipe: int) -> None:
    """Do the work, answer through the pipe, and end this process."""
    kind, told = "read", ""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        limit = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (limit + _MORE_MEMORY, limit + _MORE_MEMORY))
        torch.set_num_threads(1)
        _obey_modes()
        work()
    except CycadaError as error:
        kind, told = "refused", str(error)
        if "\n" in told.replace("a\nb", "").strip() or not told:
            kind = "traceback"  # no single sentence
    except _LostError as error:
        kind, told = "lost", str(error)
    except BaseException:  # noqa: BLE001  # it is what is counted
        kind, told = "traceback", traceback.format_exc()
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    os.write(pipe, json.dumps((kind, told[-4000:], peak)).encode())
    os._exit(0)


def _obey_modes() -> None:
    """Give up root's right to read and write whatever the modes of files say (Linux).

    Another user might be unable to import what is imported late.
    """
    if os.getuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    head = struct.pack("<Ii", 0x20080522, 0)  # version 3 of the interface, this process
    data = ctypes.create_string_buffer(24)  # effective, permitted, inheritable; low and high words
    if libc.capget(head, data) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    words = list(struct.unpack("<6I", data.raw))
    words[0] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    words[1] &= ~0b110
    if libc.capset(head, struct.pack("<6I", *words)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


class _LostError(Exception):
    """Something good was not made, or something bad was not listed."""


def _runs(root: Path) -> dict[str, Path]:
    """Train a translator and a detector for a step, and return where they are."""
    faces = root / "samples" / "index" / "000"
    run = root / "translator"
    config = TranslatorConfig(
        data=(str(faces),), size=16, generator=GeneratorConfig(width=4, blocks=1),
        discriminator=DiscriminatorConfig(width=4, layers=1), batch_size=2, steps=1,
        mixed_precision="no", workers=0,
    )  # fmt: skip
    run_training(config, run, progress=_QUIET)
    return {"translate": run, "detect": root / "samples" / "run" / "000"}


_GOOD = ("a 1.png", "b.png", "z.png")
_KINDS = (".png", ".tif", ".npy", ".jpg")


def _mixed(folder: Path, verb: str) -> Any:
    """Yield what is wrong with one file among good ones, and that file; each in a fresh folder."""
    kinds = (*_KINDS, ".npz", ".cptv", ".csv") if verb == "detect" else _KINDS
    wrong = {**PLACES, **dict.fromkeys(NAMES), "asked for": None}
    for name, place in wrong.items():
        for suffix in kinds:
            (folder / "in").mkdir(parents=True)
            folder.chmod(0o777)
            draw = np.random.default_rng(0)
            for good in _GOOD:
                _picture(folder / "in" / good, draw)
            bad = folder / "in" / f"m{suffix}"
            if name == "asked for":  # a name that is too long to be that of a file
                if suffix != ".png" or verb == "detect":
                    _remove(folder)
                    continue
                bad = bad.with_name("n" * 300 + suffix)
                _asked_for(folder / "in", bad.name)
            elif name in NAMES:
                if suffix != ".png":
                    _remove(folder)
                    continue
                bad = bad.with_name(_named(NAMES[name], suffix))
                _picture(bad, draw)
            else:
                bad.write_bytes(b"")
                assert place is not None  # noqa: S101  # those of NAMES have none
                place(bad)
            yield f"{suffix}: {name}", bad


def _picture(file: Path, draw: np.random.Generator) -> None:
    image_writing.write_image(file, torch.from_numpy(draw.integers(0, 256, (3, 16, 16), np.uint8)))


def _asked_for(folder: Path, name: str) -> None:
    faces = (Face(path=p, domain="rgb", subject="s", split="test") for p in (*_GOOD, name))
    write_index(Index(folder, IndexInfo(kind="none"), tuple(faces)))


def _is_folder(file: Path) -> bool:
    try:
        return file.is_dir()
    except OSError:  # a name that no file can have
        return False


def _translate(run: Path, folder: Path, bad: Path) -> None:
    out = folder / "out"
    run_translation(run, folder / "in", out, depth="auto", progress=_QUIET)
    made = {face.path for face in read_index(out).faces}
    lost = [name for name in _GOOD if name not in made or not (out / name).is_file()]
    if lost:
        raise _LostError(f"not translated: {lost}")
    # A folder is no image, whatever it is called.
    if len(made) == len(_GOOD) and not _is_folder(bad) and not read_rejected(out / REJECTED_NAME):
        raise _LostError(f"{bad.name!r} is in no list")


def _detect(run: Path, folder: Path, bad: Path) -> None:
    out = folder / "out"
    found = detect(
        DetectOptions(run=run, sources=(folder / "in",), out=out, faces="whole",
                      read=ReadOptions(domain="rgb")),
        progress=_QUIET,
    )  # fmt: skip
    rows = []
    for each in found:
        with each.table.open(newline="", encoding="utf-8") as stream:
            rows += list(csv.DictReader(stream))
    told = {Path(row["input"]).name for row in rows if row["success"] == "1"}
    lost = [name for name in _GOOD if name not in told]
    if lost:
        raise _LostError(f"not detected in: {lost}")
    listed = [row["input"] for row in rows if row["reason"]]
    listed += [row.path for row in read_rejected(out / REJECTED_NAME)]
    if len(told) == len(_GOOD) and not listed and not _is_folder(bad) and bad.suffix != ".csv":
        raise _LostError(f"{bad.name!r} is in no list")


_VERBS: Mapping[str, Callable[[Path, Path, Path], None]] = MappingProxyType(
    {"translate": _translate, "detect": _detect}
)


def main() -> None:
    """Read the command, try all places, print and write the counts; 1 if any did harm."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=[*torture_samples.READERS, *_VERBS])
    parser.add_argument("--patience", type=float, default=60.0, help="seconds for each place")
    parser.add_argument("--keep", type=Path, help="folder for what was told of those that did harm")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    started = time.monotonic()
    found = places(patience=options.patience, keep=options.keep, only=options.only)
    for name, counts in found.items():
        print(
            f"{name}: {counts['inputs']} places, {counts['read']} read, {counts['refused']} "
            f"refused, {counts['tracebacks']} tracebacks, {counts['hangs']} hangs, "
            f"{counts['lost']} lost, {counts['peak_mb']:.0f} MB more at most",
            flush=True,
        )
        for what, told in counts["harm"].items():
            print(f"  {what!r}: {told}", flush=True)
    print(f"{time.monotonic() - started:.0f} s")
    if options.json:
        with replacing(options.json) as temporary:
            temporary.write_text(json.dumps({"places": found}, indent=1) + "\n", encoding="utf-8")
    sys.exit(
        any(counts[kind] for counts in found.values() for kind in ("tracebacks", "hangs", "lost"))
    )


if __name__ == "__main__":
    main()
