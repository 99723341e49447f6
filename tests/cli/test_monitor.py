from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cycada.cli import main
from cycada.cli.monitor import now
from cycada.vitals.record import Vitals, read_vitals

RAW = ["--raw", "48x40", "--fps", "9", "--unit", "centikelvin"]


def frames(count: int) -> bytes:
    """Return an empty room."""
    noise = np.random.default_rng(0).normal(29500, 3, (count, 40, 48))
    return noise.astype("<u2").tobytes()


def started(out: Path) -> subprocess.Popen[bytes]:
    # Tests that a script has started in the background would else be deaf to Ctrl-C.
    words = ["env", "--default-signal=INT", sys.executable, "-m", "cycada", "monitor", "-", *RAW]
    return subprocess.Popen(
        [*words, "--out", str(out)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_a_camera_is_watched_through_a_pipe_to_its_end(tmp_path: Path) -> None:
    said, errors = started(tmp_path / "out").communicate(frames(28) + b"half a frame", timeout=120)
    assert errors == b""
    assert b"raw frames of 48 x 40 pixels, 16 bits each, little-endian; 9 a second" in said
    assert b"standard input: ended with 12 of the 3840 bytes of a frame; left out." in said
    assert b"3 seconds, a rate in 0% of them, no alarms" in said
    assert len(list(read_vitals(tmp_path / "out/vitals.csv"))) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_camera_that_sends_nothing_any_more_is_left_by_a_signal(
    number: signal.Signals, tmp_path: Path
) -> None:
    process = started(tmp_path / "out")
    assert process.stdin is not None
    process.stdin.write(frames(20))
    process.stdin.flush()
    table = tmp_path / "out/vitals.csv"
    for _ in range(1200):
        if table.exists() and table.read_bytes().count(b"\n") == 3:
            break
        time.sleep(0.1)
    process.send_signal(number)
    process.wait(timeout=60)  # its standard input is open till then: that is not what ends it
    said, errors = process.communicate()
    assert process.returncode == 0, errors
    assert errors == b""
    assert b"2 seconds" in said
    assert b"(stopped)" in said
    assert (tmp_path / "out/monitor.html").exists()


def test_mistakes_end_with_two_and_a_sentence(tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "out")]
    for words, told in (
        (["-", *out], "need --raw WIDTHxHEIGHT and --fps"),
        (["-", "--raw", "48", "--fps", "9", *out], "--raw 48: expected the width and height"),
        (["x.npy", "--fps", "0", *out], "0.0 is not in the range"),
        (["x.npy", "--fps", "nan", *out], "--fps nan: expected a number of frames per second"),
    ):
        done = CliRunner().invoke(main, ["monitor", *words])
        assert done.exit_code == 2
        assert told in done.output
    assert not (tmp_path / "out").exists()


def test_a_closed_standard_input_is_one_sentence(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "cycada", "monitor", "-", *RAW, "--out", str(tmp_path / "out")]
    done = subprocess.run(["sh", "-c", '"$@" <&-', "sh", *words], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"standard input is closed." in done.stderr + done.stdout
    assert b"Traceback" not in done.stderr


def test_the_help_says_what_it_is_not() -> None:
    shown = " ".join(CliRunner().invoke(main, ["monitor", "--help"]).output.split())
    assert "Research use only: this is not a medical device." in shown


def test_a_second_is_told_in_a_line() -> None:
    known = Vitals(
        seconds=65, face=1, rate=16.26, quality=0.814, part="nostrils", apnea=False,
        units={1: 0.5}, score=0.123,
    )  # fmt: skip
    assert now(known) == "1:05  16.3/min (0.81, nostrils)  score 0.12"
    assert now(Vitals(seconds=3, reason="not seen")) == "0:03  no rate: not seen  no face"
    stopped = Vitals(seconds=9, face=1, apnea=True, units={1: math.nan})
    assert now(stopped) == "0:09  APNEA  no score"
