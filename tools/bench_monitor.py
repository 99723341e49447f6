"""How fast ``cycada monitor`` is: frames per second, the latest a second was told, and memory.

A phantom patient is drawn once; its frames come from a pipe again and again, as fast as they are
taken (throughput) and at the pace of a camera (latency: from the moment at which the frame that
ends a second was written to the moment at which its row could be read).

    python tools/bench_monitor.py --minutes 10 --json
    python tools/bench_monitor.py --fps 30 --size 160 --detector runs/both
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from cycada.data import phantom
from cycada.data.phantom.clip import render_clip, sample_clip
from cycada.data.phantom.clip_spec import ClipSpec
from cycada.data.sampling import generator

_DRAWN = 40.0  # s of different frames
_POLL = 0.005  # s between two looks at the table


def drawn(size: int, rate: float, seconds: float) -> NDArray[np.uint16]:
    """Return ``(T, size, size)`` centikelvin of a patient who breathes."""
    draw = generator(0, "bench")
    spec = ClipSpec(seconds=seconds, frames_per_second=rate, size=size)
    person = phantom.sample_identities(1, generator=draw)
    frames = render_clip(person, sample_clip(spec, generator=draw))
    return np.stack([np.round((frame + 273.15) * 100).astype("<u2") for frame in frames])


def measure(
    frames: NDArray[np.uint16], out: Path, *, count: int, rate: float, detector: str, paced: bool
) -> dict[str, Any]:
    """Return what was measured of one process that is given ``count`` frames."""
    side = frames.shape[1]
    words = [sys.executable, "-m", "cycada", "monitor", "-", "--raw", f"{side}x{side}",
             "--fps", str(rate), "--unit", "centikelvin", "--out", str(out)]  # fmt: skip
    words += ["--detector", detector] if detector else []
    process = subprocess.Popen(  # noqa: S603  # our own words
        words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    watched = _Watched(process, out / "vitals.csv")
    assert process.stdin is not None  # noqa: S101  # it was asked for
    began = written = 0.0
    for number in range(count):
        content = frames[number % len(frames)].tobytes()
        if number == 1:
            watched.until_begun()  # starting Python is no part of it
            began = time.monotonic()
        if paced and number > 1:
            time.sleep(max(0.0, began + (number - 1) / rate - time.monotonic()))
        process.stdin.write(content)
        process.stdin.flush()
        written = time.monotonic()
        if number and number % rate < 1:
            watched.ended[round(number / rate)] = written
    process.stdin.close()
    process.wait()
    took = time.monotonic() - began
    watched.close()
    late = [watched.told[s] - at for s, at in watched.ended.items() if s in watched.told]
    found = {
        "frames": count,
        "frames_per_s": round((count - 1) / took, 1),
        "peak_mb": round(max(watched.memory) / 2**20),
        "grown_mb": round((watched.memory[-1] - watched.memory[len(watched.memory) // 4]) / 2**20),
    }
    if paced:
        found |= {"latency_s": round(float(np.median(late)), 3), "worst_s": round(max(late), 3)}
    return found


class _Watched(threading.Thread):
    """Looks on from outside: when rows appear, and how much memory is taken."""

    def __init__(self, process: subprocess.Popen[bytes], table: Path) -> None:
        super().__init__(daemon=True)
        self.process, self.table = psutil.Process(process.pid), table
        self.ended: dict[int, float] = {}
        self.told: dict[int, float] = {}
        self.memory: list[int] = []
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        looked = 0.0
        while not self._over.wait(_POLL):
            now = time.monotonic()
            if self.table.exists():
                for second in range(len(self.told) + 1, self._rows() + 1):
                    self.told[second] = now
            if now > looked + 0.5:
                looked = now
                try:
                    self.memory.append(self.process.memory_info().rss)
                except psutil.Error:  # it has ended
                    return

    def _rows(self) -> int:
        return self.table.read_bytes().count(b"\n") - 1

    def until_begun(self) -> None:
        """Wait until the first frame was looked at."""
        while not self.table.exists() and self.process.is_running():
            time.sleep(_POLL)

    def close(self) -> None:
        time.sleep(0.1)
        self._over.set()
        self.join()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fps", type=float, default=9.0, help="frames per second of the camera")
    parser.add_argument("--size", type=int, default=120, help="px, side of the frames")
    parser.add_argument("--minutes", type=float, default=5.0, help="of video, as fast as it goes")
    parser.add_argument("--paced", type=float, default=40.0, help="seconds at the camera's pace")
    parser.add_argument("--detector", default="", help="run of a detector")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    frames = drawn(given.size, given.fps, min(_DRAWN, given.minutes * 60))
    with tempfile.TemporaryDirectory() as folder:
        found = {
            name: measure(
                frames, Path(folder) / name, count=round(seconds * given.fps), rate=given.fps,
                detector=given.detector, paced=name == "latency",
            )
            for name, seconds in (("latency", given.paced), ("throughput", given.minutes * 60))
        }  # fmt: skip
    about = {"fps": given.fps, "size": given.size, "cores": os.cpu_count()}
    print(json.dumps(about | found, indent=None if given.json else 1))


if __name__ == "__main__":
    main()
