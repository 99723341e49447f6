"""Whoever waits is told how long, how fast and how well, in a line that a terminal can hold."""

from __future__ import annotations

import os
import re
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cycada import progress
from cycada.progress import Progress, duration

FIGURES = {"cycle": 0.3123, "adv": 0.5123, "sem": 0.0213}


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def ticking(self, steps: range, seconds: float) -> Iterator[int]:
        for step in steps:
            self.now += seconds
            yield step


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def in_terminal(act: Callable[[], None], *, columns: int) -> str:
    """Return what ``act`` writes on standard error in a terminal of that width."""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs a pseudoterminal")
    import fcntl
    import pty
    import termios

    child, terminal = pty.fork()
    if child == 0:
        try:
            fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            sys.stderr = os.fdopen(2, "w", closefd=False)
            act()
            sys.stderr.flush()
        finally:
            os._exit(0)
    written = b""
    try:
        while part := os.read(terminal, 1 << 16):
            written += part
    except OSError:  # how Linux tells that the other end is closed
        pass
    os.waitpid(child, 0)
    os.close(terminal)
    return written.decode()


def train(*, name: str, done: int, total: int, figures: dict[str, float]) -> Callable[[], None]:
    def act() -> None:
        shown = Progress(shown=True)
        steps = shown(range(done, total), total=total, desc=name, done=done, images=8)
        for number, _ in enumerate(steps):
            time.sleep(0.06)
            shown.show(figures)
            if number == 20:
                break

    return act


def drawn(written: str) -> list[str]:
    """Return all states of the line."""
    states = re.split(r"[\r\n]+", written)
    return [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", state).rstrip() for state in states if state]


def test_in_80_columns_a_translators_line_tells_step_speed_time_left_and_three_figures() -> None:
    written = in_terminal(
        train(name="translator", done=39_000, total=48_000, figures=FIGURES), columns=80
    )
    states = drawn(written)
    assert max(map(len, states)) <= 80
    line = states[-1]
    told = re.fullmatch(
        r"translator 390\d\d/48000 \S+ +(\d+)m\d\ds left (\d+) img/s cycle 0.31 adv 0.51 sem 0.021",
        line,
    )
    assert told, line
    assert 60 < float(told[2]) < 140  # 8 images in 0.06 s and a little more
    assert 7 < float(told[1]) < 20  # 9,000 steps


def test_a_narrow_terminal_drops_figures_from_the_end_and_never_wraps() -> None:
    for columns, kept in ((200, 3), (70, 1), (40, 0)):
        act = train(name="detector: pixel only", done=0, total=6000, figures=FIGURES)
        states = drawn(in_terminal(act, columns=columns))
        assert max(map(len, states)) <= columns
        assert [name in states[-1] for name in FIGURES] == [n < kept for n in range(3)]


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_file_gets_a_line_after_ten_seconds_one_each_minute_and_one_at_the_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = Progress(shown=True)
    for step in shown(clock.ticking(range(100, 1000), 0.25), total=1000, desc="translator",
                      done=100, images=8):  # fmt: skip
        if step == 100:
            shown.show(FIGURES)
        if step == 500:
            shown.show({"sem": 1.5})
    assert lines(capsys) == [
        "translator 140/1000 3m35s left 32 img/s cycle 0.31 adv 0.51 sem 0.021",
        "translator 380/1000 2m35s left 32 img/s cycle 0.31 adv 0.51 sem 0.021",
        "translator 620/1000 1m35s left 32 img/s cycle 0.31 adv 0.51 sem 1.5",
        "translator 860/1000 35s left 32 img/s cycle 0.31 adv 0.51 sem 1.5",
        "translator 1000/1000 in 3m45s 32 img/s cycle 0.31 adv 0.51 sem 1.5",
    ]


def test_short_work_that_is_no_training_leaves_no_line_in_a_file(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = Progress(shown=True, label="phantom")
    assert list(shown(clock.ticking(range(9), 1), total=9, desc="drawing")) == list(range(9))
    assert lines(capsys) == []
    list(shown(clock.ticking(range(30), 1), total=30, desc="drawing"))
    assert lines(capsys) == ["phantom: drawing 10/30 20s left", "phantom: drawing 30/30 in 30s"]


def test_figures_of_one_loop_are_not_shown_at_the_next(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = Progress(shown=True, label="detector: both")
    for _ in shown(clock.ticking(range(4), 1), total=4, desc="detector", images=2):
        shown.show({"loss": 0.5})
    list(shown(clock.ticking(range(4), 1), total=4, desc="detector", images=2))
    line = "detector: both 4/4 in 4s 2 img/s"
    assert lines(capsys) == [f"{line} loss 0.5", line]


def test_what_is_not_shown_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress(shown=False)
    assert list(shown(range(3), total=3, desc="x", images=1)) == [0, 1, 2]
    shown.show(FIGURES)
    shown.say("word")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.4, "0s"), (59.4, "59s"), (60, "1m00s"), (3599, "59m59s"), (3599.9, "1h00m"),
     (5430, "1h30m"), (86399, "23h59m"), (90_000, "1d01h"), (30 * 86400, "30d00h")],
)  # fmt: skip
def test_a_time_is_told_in_the_two_units_that_matter(seconds: float, told: str) -> None:
    assert duration(seconds) == told


@pytest.mark.parametrize("verb", ["translator", "detector"])
def test_a_training_tells_images_of_all_processes_and_its_figures(
    verb: str, tiny_translator: Any, tiny_detector: Any, detector_run: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from cycada.stages import train_detector, train_translator

    seen = []
    real = progress.Progress.__call__

    def call(self: Any, items: Any, **named: Any) -> Any:
        seen.append(named)
        return real(self, items, **named)

    monkeypatch.setattr(progress.Progress, "__call__", call)
    if verb == "translator":
        config = tiny_translator(detector=str(detector_run))
        train_translator.run_training(config, tmp_path / "run", progress=Progress(shown=True))
        shown = r"cycle [\d.]+ adv [\d.]+ sem [\d.e-]+"
    else:
        train_detector.run_training(
            tiny_detector(), tmp_path / "run", progress=Progress(shown=True)
        )
        shown = r"loss [\d.]+ val -?[\d.]+"
    (last,) = [line for line in lines(capsys) if line.startswith(f"{verb} ")]
    assert re.fullmatch(rf"{verb} 4/4 in \d+s [\d.]+ img/s {shown}", last), last
    # Of both domains each; no target for the detector.
    assert [each["images"] for each in seen if "images" in each] == [
        8 if verb == "translator" else 4
    ]
